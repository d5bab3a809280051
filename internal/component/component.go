// Package component makes a component known: who it is, that it lives, and its numbers.
//
// Protocol: publishes vcap.component.announce and answers vcap.component.discover; both
// name an HTTP server of the component's own on loopback, which takes the announced
// credentials and serves /healthz and /varz as vcap::Component did. Gather and
// WriteMetrics turn the varz of all components into Prometheus' text format.
// State: the last varz, for a second.
// Source: vcap-common's component.rb, with both the memory keys of 2011 and of 2013.
package component

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"cloudlet/bus"
)

// Spec says what a component is.
type Spec struct {
	Type string // as tools know it: "DEA", "Router"
	UUID string // from NewUUID; a new one where empty

	// Numbers are the component's own entries of /varz: something that is a JSON
	// object. They are asked for at most once a second.
	Numbers func() any
	// Loop is where the loop to which the numbers belong takes functions to run. Nil:
	// Numbers may be called from any goroutine.
	Loop chan<- func()
}

// Component is a component that others can see.
type Component struct {
	spec   Spec
	self   bus.Component
	since  time.Time
	srv    *http.Server
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	varz  []byte
	taken time.Time // when varz was made
}

const (
	// index is that of every component: one process has one of each.
	index = 0
	// fresh is how long a varz is not made anew.
	fresh = time.Second
	// patience bounds the wait for a component's loop.
	patience = 5 * time.Second
)

// NewUUID is the id of a component in v1's form.
func NewUUID() string { return strconv.Itoa(index) + "-" + bus.RandomID() }

// Start makes a component known on conn until Close.
func Start(conn *bus.Conn, spec Spec, log *slog.Logger) (*Component, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", spec.Type, err)
	}
	if spec.UUID == "" {
		spec.UUID = NewUUID()
	}
	c := &Component{spec: spec, since: time.Now()}
	c.self = bus.Component{
		Type: spec.Type, Index: new(index), UUID: spec.UUID, Host: l.Addr().String(),
		Credentials: []string{bus.RandomID(), bus.RandomID()}, Start: c.since.Format(bus.TimeFormat),
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.srv = &http.Server{
		Handler:        c.routes(),
		ReadTimeout:    10 * time.Second,
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: 16 << 10,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	c.work.Go(func() {
		if err := c.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("status server", "err", err)
		}
	})
	if err := c.introduce(ctx, conn); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends what Start began.
func (c *Component) Close() {
	c.cancel()
	c.srv.Close() //nolint:errcheck // nobody depends on the rest of an answer
	c.work.Wait()
}

// introduce answers those who look for components, and announces this one.
func (c *Component) introduce(ctx context.Context, conn *bus.Conn) error {
	in, err := conn.Subscribe(bus.ComponentDiscover.Answer(func(_ bus.Empty, reply func(bus.Component)) {
		reply(c.now(time.Now()))
	}))
	if err != nil {
		return err
	}
	c.work.Go(func() {
		for {
			select {
			case m := <-in.C:
				in.Handle(m)
			case <-ctx.Done():
				return
			}
		}
	})
	return bus.ComponentAnnounce.Publish(conn, c.self)
}

// now is the announced object with the uptime.
func (c *Component) now(now time.Time) bus.Component {
	self := c.self
	s := int(now.Sub(c.since).Seconds())
	self.Uptime = fmt.Sprintf("%dd:%dh:%dm:%ds", s/86400, s/3600%24, s/60%60, s%60)
	return self
}

func (c *Component) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, []byte("ok\n")) })
	mux.HandleFunc("GET /varz", c.serveVarz)
	want := []byte(c.self.Credentials[0] + ":" + c.self.Credentials[1])
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(user+":"+password), want) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="status"`)
			http.Error(w, "Not authorized", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body) //nolint:errcheck // the client went away
}

func (c *Component) serveVarz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	body, err := c.refresh(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer(w, body)
}

// refresh is the varz, made anew if it is older than a second.
func (c *Component) refresh(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.taken) < fresh {
		return c.varz, nil
	}
	own, err := c.numbers(ctx)
	if err != nil {
		return nil, fmt.Errorf("the component does not answer: %w", err)
	}
	common, err := json.Marshal(struct {
		bus.Component
		process
	}{c.now(now), processNow(now)})
	if err != nil {
		return nil, err
	}
	body, err := merge(own, common)
	if err == nil {
		c.varz, c.taken = body, now
	}
	return body, err
}

// numbers are the component's own as JSON, encoded where they belong.
func (c *Component) numbers(ctx context.Context) ([]byte, error) {
	if c.spec.Loop == nil {
		return json.Marshal(c.spec.Numbers())
	}
	type encoded struct {
		data []byte
		err  error
	}
	done := make(chan encoded, 1)
	ask := func() {
		data, err := json.Marshal(c.spec.Numbers())
		done <- encoded{data, err}
	}
	select {
	case c.spec.Loop <- ask:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case e := <-done:
		return e.data, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// merge makes one pretty object of several; later ones win.
func merge(objects ...[]byte) ([]byte, error) {
	all := map[string]json.RawMessage{}
	for _, o := range objects {
		if err := json.Unmarshal(o, &all); err != nil {
			return nil, err
		}
	}
	body, err := json.MarshalIndent(all, "", "  ")
	return append(bytes.TrimSpace(body), '\n'), err
}
