// Package controller is the cloud controller: the REST API that clients call, and the
// life cycle of apps.
//
// Protocol: HTTP as in package api, behind the router as api.<domain>. On the bus it
// asks staging, dea.discover, dea.find.droplet, healthmanager.status and .health; tells
// dea.<id>.start, dea.stop, dea.update and droplet.updated; hears dea.advertise, and as
// the queue group cc droplet.exited and the health manager's requests; answers
// cloudcontroller.bulk.credentials; tells each request, without its body, on
// vcap.cc.events. Files, log lines and what runs in instances by hand pass between DEAs and clients. Service gateways register over HTTP, and are asked over HTTP.
// State: apps, users, services and their bindings in the store. In memory only what can be lost: the pool of DEAs
// as they advertise, the staging runs under way, and who reads logs.
// Source: the v1 cloud_controller; the order of a change follows it step by step.
package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/internal/component"
	"cloudlet/internal/identity"
	"cloudlet/store"
)

// Config describes the cloud to its users.
type Config struct {
	// Addr is where the API listens for the router, the DEAs and the stagers; a port of
	// loopback that the system chooses where empty.
	Addr        string
	Domain      string // apps are <name>.<Domain>, the API is api.<Domain>
	Description string
	Details     []string // of the description, for administrators; one sentence each
	Support     string
	Frameworks  []Framework
	Runtimes    []Runtime
	// Registration says who may make an account besides administrators: nobody where it
	// is empty, RegistrationInvite or RegistrationOpen.
	Registration string
	// UAA is where the UAA is; empty where there is none. Clients that find it in the
	// info log in there.
	UAA string
	// Lifecycle offers snapshots, rollback and import of services' data, which is the
	// gateways' to carry out.
	Lifecycle bool
	// HTTPS refuses callers whose requests did not come over TLS.
	HTTPS HTTPS
	// AdminsOnly keeps all others from creating apps: without isolation an app could
	// read what belongs to the user that runs Cloudlet.
	AdminsOnly bool
	// StagingLimit bounds one staging run; 15 minutes where zero.
	StagingLimit time.Duration
	// MaxUpload bounds an app's files, unpacked, in bytes; v1's 512 MiB where zero.
	MaxUpload int64
	// BodyWindow is how long a client may take for each 64 KiB of what it sends; a minute
	// where zero.
	BodyWindow time.Duration
	// Gather bounds the wait for instances that do not answer; v1 waited 2 s.
	Gather time.Duration
	// Account and AdminAccount are the quotas; v1's sample where zero.
	Account, AdminAccount api.Account
}

// Who may make an account.
const (
	RegistrationInvite = "invite" // who has an invitation of an administrator
	RegistrationOpen   = "open"   // anybody
)

// HTTPS says who has to come over TLS.
type HTTPS string

// Who has to come over TLS; where empty, nobody.
const (
	HTTPSForAdmins HTTPS = "admins"
	HTTPSForAll    HTTPS = "all"
)

// Framework is an entry of the catalogue, as clients see it.
type Framework struct {
	Name      string
	Runtimes  []string // the first is the default
	Detection []map[string]any
}

// Runtime is an entry of the catalogue. Without Executable it is known, not installed.
type Runtime struct {
	Name, Version, Description, Executable string
	Install                                string // what to do to have it
}

func (c *Config) defaults() {
	setDefault(&c.Addr, "127.0.0.1:0")
	setDefault(&c.Description, "Cloudlet")
	setDefault(&c.Support, "http://"+c.Domain)
	setDefault(&c.StagingLimit, 15*time.Minute)
	setDefault(&c.MaxUpload, 512<<20)
	setDefault(&c.BodyWindow, time.Minute)
	setDefault(&c.Gather, 500*time.Millisecond)
	setDefault(&c.Account, api.Account{Memory: 2048, AppURIs: 4, Services: 16, Apps: 20})
	setDefault(&c.AdminAccount, api.Account{Memory: 32768, AppURIs: 16, Services: 32, Apps: 200})
}

func setDefault[T comparable](v *T, to T) {
	if *v == *new(T) {
		*v = to
	}
}

// Controller is the component.
type Controller struct {
	cfg   Config
	bus   *bus.Bus
	st    *store.Store
	id    *identity.Identity
	log   *slog.Logger
	ready chan struct{}

	conn      *bus.Conn
	addr      string // where the API listens
	password  string // HTTP Basic of bulk and staging, new at each start
	pool      pool
	staging   stagings
	followers followers
	diary     diary
	traffic   traffic
	scrapers  lastScraper
	work      sync.WaitGroup // staging runs and placements under way
	pending   chan chan struct{}
}

// New assembles a controller.
func New(cfg Config, b *bus.Bus, st *store.Store, id *identity.Identity, log *slog.Logger) *Controller {
	cfg.defaults()
	return &Controller{
		cfg: cfg, bus: b, st: st, id: id,
		log:      log.With("component", "controller"),
		ready:    make(chan struct{}),
		password: rand.Text(),
		pending:  make(chan chan struct{}),
	}
}

// Ready is closed when the API answers.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// URL is the API's own address, behind the router; valid once Ready is closed.
func (c *Controller) URL() string { return "http://" + c.addr }

// Run serves the API until ctx is cancelled, then lets requests finish.
func (c *Controller) Run(ctx context.Context) error {
	conn, err := c.bus.Connect("controller", c.log)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.conn = conn
	l, err := net.Listen("tcp", c.cfg.Addr)
	if err != nil {
		return err
	}
	c.addr = l.Addr().String()
	in, err := conn.Subscribe(c.handlers()...)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := &http.Server{
		Handler:           c.steady(c.routes()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	status, err := component.Start(conn, component.Spec{Type: "CloudController", Numbers: c.varz}, c.log)
	if err != nil {
		return errors.Join(err, srv.Close())
	}
	defer status.Close()
	c.audit("SYSTEM", "Starting VCAP CloudController ("+c.addr+")")
	if err := errors.Join(bus.DEALocate.Publish(conn, bus.Empty{}), bus.RouterRegister.Publish(conn, c.route())); err != nil {
		return errors.Join(err, srv.Close())
	}
	close(c.ready)
	return c.loop(ctx, in, srv, served)
}

func (c *Controller) loop(ctx context.Context, in *bus.Inbox, srv *http.Server, served <-chan error) error {
	sweep := time.NewTicker(time.Hour)
	defer sweep.Stop()
	for {
		select {
		case m := <-in.C:
			in.Handle(m)
		case done := <-c.pending:
			for range len(in.C) {
				in.Handle(<-in.C)
			}
			close(done)
		case <-sweep.C:
			c.sweep()
		case err := <-served:
			return fmt.Errorf("serve %s: %w", c.addr, err)
		case <-ctx.Done():
			return c.stop(ctx, srv)
		}
	}
}

// catchUp returns when the loop has handled all messages that are here by now.
func (c *Controller) catchUp(ctx context.Context) {
	done := make(chan struct{})
	select {
	case c.pending <- done:
		<-done
	case <-ctx.Done():
	}
}

func (c *Controller) stop(ctx context.Context, srv *http.Server) error {
	if err := bus.RouterUnregister.Publish(c.conn, c.route()); err != nil {
		c.log.Warn("unregister", "err", err)
	}
	c.staging.stop()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := srv.Shutdown(stop)
	if err != nil {
		err = srv.Close() // somebody is still reading; what is saved stays saved
	}
	c.work.Wait()
	return err
}

// handlers are the subjects that the controller hears. They run on its loop.
func (c *Controller) handlers() []bus.Handler {
	credentials := func(_ bus.Empty, reply func(bus.BulkLogin)) {
		reply(bus.BulkLogin{User: bulkUser, Password: c.password, URL: c.URL()})
	}
	return []bus.Handler{
		bus.DEAAdvertise.To(func(a bus.Advertise) { c.pool.advertise(a, time.Now()) }),
		bus.HMRequests.To(c.hmRequest).Queue(bus.QueueCC),
		bus.HMRequestsOld.To(c.hmRequest).Queue(bus.QueueCC),
		bus.BulkCredentials.Answer(credentials),
		bus.BulkCredentialsOld.Answer(credentials),
		bus.RouterStart.To(func(bus.RouterHello) {
			if err := bus.RouterRegister.Publish(c.conn, c.route()); err != nil {
				c.log.Warn("register", "err", err)
			}
		}),
		bus.Logs("*").To(func(l bus.LogLine) { c.staging.line(l); c.followers.staged(l) }),
		bus.DropletExited.To(c.exited).Queue(bus.QueueCC),
		bus.DropletExited.To(c.followers.exited), // whichever controller writes the event, the reader may be here
	}
}

func (c *Controller) route() bus.Route {
	host, port, _ := net.SplitHostPort(c.addr) //nolint:errcheck // it is a listener's own
	r := bus.Route{Host: host, URIs: []string{"api." + c.cfg.Domain}, Tags: map[string]string{"component": "CloudController"}}
	fmt.Sscan(port, &r.Port) //nolint:errcheck // likewise
	return r
}

// sweep removes blobs that nothing mentions any more.
func (c *Controller) sweep() {
	err := c.st.Update(func(tx *store.Tx) error {
		return tx.DropPool("", time.Now().Add(-30*24*time.Hour))
	})
	if err == nil {
		_, err = c.st.Sweep(time.Hour, func(p store.Package) ([]string, error) { return treeBlobs(c.st.Blobs, p) })
	}
	if err != nil {
		c.log.Error("sweep", "err", err)
	}
}

// baseDomain is what every URI ends in that is not external.
func (c *Controller) baseDomain() string { return "." + strings.ToLower(c.cfg.Domain) }
