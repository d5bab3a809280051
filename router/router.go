// Package router is the reverse proxy that leads requests to app instances, and to
// the components that serve HTTP.
//
// Protocol: hears router.register and router.unregister, answers router.greet, and
// publishes router.start at its start and every 30 s, upon which everybody registers
// again. It knows hosts and ports and nothing else. Where it is told to, it publishes
// the apps that are in use as router.active_apps.
// State: the routes registered within the last two minutes, in memory. The component's
// loop alone writes them; requests read an immutable snapshot.
// Source: the v1 router (rules of registration, sticky sessions, traces, plain answers)
// and gorouter (matching of hosts, upgrades, X-Cf-RouterError).
package router

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/component"
)

// Config bounds and paces a router. Zero values mean the defaults.
type Config struct {
	// Listener accepts the clients; the router closes it. Nil: Run listens on Addr.
	Listener net.Listener
	// Addr is where to listen without a Listener; "127.0.0.1:8080".
	Addr string

	// StartEvery is the rhythm of router.start; 30 s.
	StartEvery time.Duration
	// Stale is the age at which a registration that nobody repeated is dropped; 120 s.
	Stale time.Duration
	// Prune is the rhythm of looking for stale registrations; 30 s.
	Prune time.Duration
	// Settle is how long after the start a request for an unknown host waits for its
	// route: the registrants need a moment to answer router.start; 250 ms.
	Settle time.Duration
	// ActiveApps is the rhythm of router.active_apps; not published where zero.
	ActiveApps time.Duration
	// Drain is how long requests may take to finish after the router was told to stop; 10 s.
	Drain time.Duration

	// Dial bounds the connecting to a backend; 3 s.
	Dial time.Duration
	// Rest is how long a backend that could not be connected is passed over while the
	// host has others; 5 s.
	Rest time.Duration
	// BackendIdle is how long an unused connection to a backend is kept; 4 s, which is
	// less than the servers usual in apps wait before they close one themselves.
	BackendIdle time.Duration
	// ClientIdle is how long an unused connection of a client is kept; 60 s.
	ClientIdle time.Duration
	// HeaderRead bounds the reading of one request's head; 15 s.
	HeaderRead time.Duration
	// MaxHeader bounds the head of a request, and of a response, in bytes; 64 KiB.
	MaxHeader int

	// TraceKey is what X-Vcap-Trace must hold for an answer to name router and
	// backend; "22".
	TraceKey string
}

func (c Config) withDefaults() Config {
	orDefault(&c.Addr, "127.0.0.1:8080")
	orDefault(&c.StartEvery, 30*time.Second)
	orDefault(&c.Stale, 120*time.Second)
	orDefault(&c.Prune, 30*time.Second)
	orDefault(&c.Settle, 250*time.Millisecond)
	orDefault(&c.Drain, 10*time.Second)
	orDefault(&c.Dial, 3*time.Second)
	orDefault(&c.Rest, 5*time.Second)
	orDefault(&c.BackendIdle, 4*time.Second)
	orDefault(&c.ClientIdle, 60*time.Second)
	orDefault(&c.HeaderRead, 15*time.Second)
	orDefault(&c.MaxHeader, 64<<10)
	orDefault(&c.TraceKey, "22")
	return c
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Router is the component.
type Router struct {
	cfg   Config
	bus   *bus.Bus
	log   *slog.Logger
	id    string
	ready chan struct{}

	table     table
	transport *http.Transport
	buffers   bufferPool
	stats     counters
	active    active
	errorLog  *log.Logger // what net/http has to say

	addr     atomic.Pointer[net.TCPAddr]
	ip       string    // the router's own address as others see it
	settled  time.Time // until then an unknown host may be one that is about to register
	inflight sync.WaitGroup

	// Of the loop alone.
	dropped int       // messages the inbox had lost when last looked at
	pruned  time.Time // when routes were last checked
}

// New assembles a router; Run brings it to life.
func New(cfg Config, b *bus.Bus, logger *slog.Logger) *Router {
	cfg = cfg.withDefaults()
	r := &Router{
		cfg:       cfg,
		bus:       b,
		log:       logger.With("component", "router"),
		id:        bus.RandomID(),
		ready:     make(chan struct{}),
		transport: newTransport(cfg),
	}
	r.errorLog = slog.NewLogLogger(r.log.Handler(), slog.LevelDebug)
	r.table.init()
	return r
}

// Ready is closed when the router listens and hears registrations.
func (r *Router) Ready() <-chan struct{} { return r.ready }

// Addr is where the router listens; nil until Ready.
func (r *Router) Addr() net.Addr {
	if a := r.addr.Load(); a != nil {
		return a
	}
	return nil
}

// Run serves until ctx is cancelled, then lets requests finish.
func (r *Router) Run(ctx context.Context) error {
	ln, err := r.listen()
	if err != nil {
		return err
	}
	defer ln.Close() //nolint:errcheck // the server has closed it already, unless it never ran
	c, err := r.bus.Connect("router", r.log)
	if err != nil {
		return err
	}
	defer c.Close()
	in, err := c.Subscribe(
		bus.RouterRegister.To(r.register),
		bus.RouterUnregister.To(r.unregister),
		bus.RouterGreet.Answer(func(_ bus.Empty, reply func(bus.RouterHello)) { reply(r.hello()) }),
	)
	if err != nil {
		return err
	}
	srv, abort := r.server(ctx)
	defer abort()
	status, err := component.Start(c, component.Spec{Type: "Router", Numbers: r.varz}, r.log)
	if err != nil {
		return err
	}
	defer status.Close()
	r.solicit(c)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	close(r.ready)

	if err := r.loop(ctx, c, in, served); err != nil {
		return err
	}
	r.drain(ctx, srv, abort)
	return nil
}

// listen takes the listener, and what follows from its address.
func (r *Router) listen() (net.Listener, error) {
	ln := r.cfg.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", r.cfg.Addr); err != nil {
			return nil, err
		}
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("listen: %s is no TCP address", ln.Addr())
	}
	r.addr.Store(addr)
	r.ip = visibleIP(addr.IP).String()
	r.settled = time.Now().Add(r.cfg.Settle)
	return ln, nil
}

// visibleIP is an address under which others reach a listener bound to ip.
func visibleIP(ip net.IP) net.IP {
	if !ip.IsUnspecified() {
		return ip
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP
		}
	}
	return net.IPv4(127, 0, 0, 1)
}

// server is the HTTP server; abort ends what draining left, tunnels included.
func (r *Router) server(ctx context.Context) (srv *http.Server, abort context.CancelFunc) {
	base, abort := context.WithCancel(context.WithoutCancel(ctx))
	return &http.Server{
		Handler:                      r,
		BaseContext:                  func(net.Listener) context.Context { return base },
		ReadHeaderTimeout:            r.cfg.HeaderRead,
		IdleTimeout:                  r.cfg.ClientIdle,
		MaxHeaderBytes:               r.cfg.MaxHeader,
		DisableGeneralOptionsHandler: true, // OPTIONS * is an app's to answer
		ErrorLog:                     r.errorLog,
	}, abort
}

// loop handles the bus until ctx is cancelled.
func (r *Router) loop(ctx context.Context, c *bus.Conn, in *bus.Inbox, served <-chan error) error {
	solicit := time.NewTicker(r.cfg.StartEvery)
	defer solicit.Stop()
	prune := time.NewTicker(r.cfg.Prune)
	defer prune.Stop()
	var flush <-chan time.Time
	if r.cfg.ActiveApps > 0 {
		t := time.NewTicker(r.cfg.ActiveApps)
		defer t.Stop()
		flush = t.C
	}
	r.pruned = time.Now()
	for {
		select {
		case m := <-in.C:
			in.Handle(m)
			r.handleWaiting(in)
		case <-solicit.C:
			r.solicit(c)
		case <-prune.C:
			r.prune(time.Now(), in.Dropped())
		case <-flush:
			if err := bus.RouterActiveApps.Publish(c, r.active.take()); err != nil {
				r.log.Warn("router.active_apps", "err", err)
			}
		case err := <-served:
			return fmt.Errorf("serve %s: %w", r.Addr(), err)
		case <-ctx.Done():
			return nil
		}
	}
}

// handleWaiting takes what else has arrived, so that a burst of registrations costs
// few snapshots, and makes the outcome visible to requests.
func (r *Router) handleWaiting(in *bus.Inbox) {
	const burst = 256
	for range burst {
		select {
		case m := <-in.C:
			in.Handle(m)
			continue
		default:
		}
		break
	}
	r.table.publish()
}

// drain stops accepting, waits for requests, and closes what is left.
func (r *Router) drain(ctx context.Context, srv *http.Server, abort context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Drain)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		r.log.Warn("requests were cut off", "err", err)
	}
	abort()
	srv.Close() //nolint:errcheck // nothing is left to save
	r.inflight.Wait()
	r.transport.CloseIdleConnections()
}

func (r *Router) hello() bus.RouterHello {
	return bus.RouterHello{
		ID:       r.id,
		Version:  0.98,
		Hosts:    []string{r.ip},
		Interval: max(1, int(r.cfg.StartEvery/time.Second)),
	}
}

// solicit asks everybody to register.
func (r *Router) solicit(c *bus.Conn) {
	if err := bus.RouterStart.Publish(c, r.hello()); err != nil {
		r.log.Warn("router.start", "err", err)
	}
}

func (r *Router) register(m bus.Route) {
	now := time.Now()
	for _, uri := range m.URIs {
		host, ok := normalHost(uri)
		if !ok {
			r.log.Warn("uri is no host name", "uri", uri, "app", m.App)
			continue
		}
		if r.table.register(host, m, now) {
			r.log.Debug("registered", "uri", host, "host", m.Host, "port", m.Port, "app", m.App)
		}
	}
}

func (r *Router) unregister(m bus.Route) {
	for _, uri := range m.URIs {
		host, _ := normalHost(uri)
		if r.table.unregister(host, m) {
			r.log.Debug("unregistered", "uri", host, "host", m.Host, "port", m.Port, "app", m.App)
		}
	}
}

// prune drops the routes that nobody repeated. Where the silence may be our own, because
// the inbox overflowed or the process was suspended, all get another term.
func (r *Router) prune(now time.Time, dropped int) {
	deaf := dropped != r.dropped || now.Sub(r.pruned) > 2*r.cfg.Prune
	r.dropped, r.pruned = dropped, now
	if deaf {
		r.table.refresh(now)
		return
	}
	for _, host := range r.table.prune(now.Add(-r.cfg.Stale)) {
		r.log.Info("stale route dropped", "uri", host)
	}
	r.table.publish()
}
