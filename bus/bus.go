// Package bus is the message bus that all components meet on: an embedded NATS
// server, and the v1 protocol as typed subjects.
//
// Protocol: Cloud Foundry v1 of late 2012 ("G3"), one file per pair of speakers:
// dea.go, health.go, router.go, staging.go, services.go, cloud.go. A Subject carries
// the type of its payload, a Request also that of its reply, so that a mismatch does
// not compile.
// State: none. Nothing on the bus is a record; what must last is in package store.
// Source: the vcap components; subjects and payloads are theirs to the field.
package bus

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Config says who may reach the bus.
type Config struct {
	// Listen opens the bus to NATS clients on this TCP address ("127.0.0.1:4222").
	// Empty keeps it inside the process.
	Listen string
}

// Bus is the embedded server.
type Bus struct {
	srv            *server.Server
	user, password string // set when the bus listens: in-process clients need them too
}

// Start runs the server; it is ready when Start returns. Close ends it.
func Start(cfg Config) (*Bus, error) {
	opts := &server.Options{
		ServerName: "cloudlet",
		NoSigs:     true, // or the server would handle SIGINT itself and call os.Exit
		DontListen: true,
	}
	b := &Bus{}
	if cfg.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("bus address %q: %w", cfg.Listen, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("bus address %q: port: %w", cfg.Listen, err)
		}
		if err := probe(cfg.Listen); err != nil {
			return nil, fmt.Errorf("bus: %w", err)
		}
		b.user, b.password = "cloudlet", rand.Text()
		opts.DontListen, opts.Host, opts.Port = false, host, int(n)
		if n == 0 {
			opts.Port = server.RANDOM_PORT
		}
		opts.Users = []*server.User{{Username: b.user, Password: b.password}}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return nil, fmt.Errorf("bus: the NATS server cannot serve on %q; is the address in use?", cfg.Listen)
	}
	b.srv = srv
	return b, nil
}

// probe fails at once where the server would try an address for ten seconds.
func probe(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// URL is where NATS clients connect, credentials included; empty while the bus is
// inside the process only.
func (b *Bus) URL() string {
	if b.user == "" {
		return ""
	}
	u := url.URL{Scheme: "nats", User: url.UserPassword(b.user, b.password), Host: b.srv.Addr().String()}
	return u.String()
}

// Close ends the server after its clients.
func (b *Bus) Close() {
	b.srv.Shutdown()
	b.srv.WaitForShutdown()
}

// Conn is one component's connection.
type Conn struct {
	nc  *nats.Conn
	log *slog.Logger
}

// Connect gives a component, called name in logs, its own connection.
func (b *Bus) Connect(name string, log *slog.Logger) (*Conn, error) {
	opts := []nats.Option{
		nats.Name(name),
		nats.InProcessServer(b.srv),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Error("bus error", "subject", subject, "err", err)
		}),
	}
	if b.user != "" {
		opts = append(opts, nats.UserInfo(b.user, b.password))
	}
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the bus: %w", name, err)
	}
	return &Conn{nc: nc, log: log}, nil
}

// Close sends what is buffered and ends the connection.
func (c *Conn) Close() {
	if err := c.Flush(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.log.Warn("bus flush", "err", err)
	}
	c.nc.Close()
}

// Flush returns when the server has seen all that was published and subscribed.
func (c *Conn) Flush() error { return c.nc.FlushTimeout(5 * time.Second) }
