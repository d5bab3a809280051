// Package uaa is the User Account and Authentication service: OAuth 2 tokens for those
// clients that want them, and the accounts as SCIM users.
//
// Protocol: HTTP as the UAA of 2012 spoke it with v1's clients, behind the router as
// uaa.<domain>: the implicit grant with credentials, the password, refresh and client
// grants, token key and check, SCIM. On the bus it makes itself and its route known, and
// asks for the cloud controller (cloudcontroller.bulk.credentials), which deletes users.
// State: none of its own; identity keeps users, keys and revoked tokens in the store.
// Source: cloudfoundry/uaa of 2012, and what vmc, cfoundry, cf-uaa-lib and the Java
// client were seen to send.
package uaa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/component"
	"cloudlet/internal/identity"
	"cloudlet/store"
)

// Config says where the component is.
type Config struct {
	// Addr is where it listens for the router; a port of loopback that the system
	// chooses where empty.
	Addr   string
	Domain string // it is uaa.<Domain>
}

// UAA is the component.
type UAA struct {
	cfg     Config
	bus     *bus.Bus
	st      *store.Store
	id      *identity.Identity
	clients map[string]client
	log     *slog.Logger
	ready   chan struct{}

	conn  *bus.Conn
	addr  string
	work  sync.WaitGroup
	count counts
}

// counts are since the start.
type counts struct {
	requests, users, refusedUsers, refusedClients atomic.Int64
}

// varz are the numbers that v1's UAA told of itself.
func (u *UAA) varz() any {
	return map[string]any{
		"requests": u.count.requests.Load(),
		"audit_service": map[string]int64{
			"user_authentication_count":              u.count.users.Load(),
			"user_authentication_failure_count":      u.count.refusedUsers.Load(),
			"principal_authentication_failure_count": u.count.refusedClients.Load(),
		},
	}
}

// New assembles a UAA.
func New(cfg Config, b *bus.Bus, st *store.Store, id *identity.Identity, log *slog.Logger) *UAA {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	return &UAA{
		cfg: cfg, bus: b, st: st, id: id,
		clients: clients(id.ClientSecret),
		log:     log.With("component", "uaa"),
		ready:   make(chan struct{}),
	}
}

// Ready is closed when the endpoints answer.
func (u *UAA) Ready() <-chan struct{} { return u.ready }

// Addr is where the component listens; valid once it is ready.
func (u *UAA) Addr() string { return u.addr }

// Run serves until ctx is cancelled, then lets requests finish.
func (u *UAA) Run(ctx context.Context) error {
	conn, err := u.bus.Connect("uaa", u.log)
	if err != nil {
		return err
	}
	defer conn.Close()
	u.conn = conn
	l, err := net.Listen("tcp", u.cfg.Addr)
	if err != nil {
		return err
	}
	u.addr = l.Addr().String()
	status, err := component.Start(conn, component.Spec{Type: "uaa", Numbers: u.varz}, u.log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer status.Close()
	in, err := conn.Subscribe(bus.RouterStart.To(func(bus.RouterHello) { u.register() }))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := &http.Server{
		Handler:           u.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute, // bodies are small
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	u.register()
	u.work.Go(u.prepareKey)
	close(u.ready)
	for {
		select {
		case m := <-in.C:
			in.Handle(m)
		case err := <-served:
			return fmt.Errorf("serve %s: %w", u.addr, err)
		case <-ctx.Done():
			return u.stop(ctx, srv)
		}
	}
}

// prepareKey makes or reads the signing key beside the start, so that neither this nor
// the first login takes as long as making one does.
func (u *UAA) prepareKey() {
	if _, err := u.id.PublicKey(); err != nil {
		u.log.Error("signing key", "err", err)
	}
}

func (u *UAA) stop(ctx context.Context, srv *http.Server) error {
	if err := bus.RouterUnregister.Publish(u.conn, u.route()); err != nil {
		u.log.Warn("unregister", "err", err)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := srv.Shutdown(stop)
	if err != nil {
		err = srv.Close()
	}
	u.work.Wait() // the store is closed next
	return err
}

func (u *UAA) register() {
	if err := bus.RouterRegister.Publish(u.conn, u.route()); err != nil {
		u.log.Warn("register", "err", err)
	}
}

func (u *UAA) route() bus.Route {
	host, port, _ := net.SplitHostPort(u.addr) //nolint:errcheck // it is a listener's own
	n, _ := strconv.Atoi(port)                 //nolint:errcheck // likewise
	return bus.Route{Host: host, Port: n, URIs: []string{"uaa." + u.cfg.Domain}, Tags: map[string]string{"component": "uaa"}}
}
