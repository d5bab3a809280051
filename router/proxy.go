package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// exchange is one request on its way through the router. It is the transport of its own
// reverse proxy, because choosing a backend again is part of sending the request.
type exchange struct {
	*Router
	w      *recorder
	req    *http.Request
	start  time.Time
	host   string  // in normal form
	pool   *pool   // what serves the host
	chosen *member // who answered, or was asked last
}

// ServeHTTP answers one request.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.inflight.Add(1)
	defer r.inflight.Done()
	x := &exchange{Router: r, w: &recorder{ResponseWriter: w}, req: req, start: time.Now()}
	defer x.finish()
	x.serve()
}

// finish counts and logs the exchange. A panic ends this one request only, with what
// can still be said to its client.
func (x *exchange) finish() {
	p := recover()
	if p != nil && p != http.ErrAbortHandler {
		x.log.Error("panic in a request", "host", x.req.Host, "panic", p, "stack", string(debug.Stack()))
		if x.w.status == 0 {
			x.answer(http.StatusInternalServerError, "", "500 Internal Server Error\n", nil)
			p = nil
		}
	}
	x.count(time.Now())
	x.logAccess()
	if p != nil {
		panic(http.ErrAbortHandler) // cuts the connection, so that the client notices
	}
}

// count adds the exchange to the numbers: of the router, and of whoever answered.
func (x *exchange) count(now time.Time) {
	took := now.Sub(x.start)
	x.stats.count(x.w.status, now, took)
	if x.chosen == nil {
		return
	}
	for _, m := range x.chosen.meters {
		m.count(x.w.status, now, took)
	}
	if x.cfg.ActiveApps > 0 && x.chosen.app != "" {
		x.active.note(x.chosen.app)
	}
}

func (x *exchange) serve() {
	if x.req.Header.Get("User-Agent") == "HTTP-Monitor/1.1" {
		x.answer(http.StatusOK, "", "ok\n", nil) // a load balancer; it may name no host
		return
	}
	if x.req.Method == http.MethodConnect {
		x.refuseConnect()
		return
	}
	var ok bool
	if x.host, ok = normalHost(x.req.Host); !ok {
		x.badHost()
		return
	}
	if x.pool = x.find(); x.pool == nil {
		x.unknownRoute()
		return
	}
	x.forward()
}

// find looks the host up. Right after the router's start, it waits a moment for the
// registrants before it calls a host unknown.
func (x *exchange) find() *pool {
	const pause = 5 * time.Millisecond
	p := x.table.lookup(x.host)
	for p == nil && time.Now().Before(x.settled) {
		select {
		case <-time.After(pause):
		case <-x.req.Context().Done():
			return nil
		}
		p = x.table.lookup(x.host)
	}
	return p
}

func (x *exchange) forward() {
	if x.req.ContentLength != 0 {
		// Or the server would hold the answer back until the body has been read.
		http.NewResponseController(x.w.ResponseWriter).EnableFullDuplex() //nolint:errcheck // not every HTTP version needs it
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.modify,
		ErrorHandler:   x.fail,
		BufferPool:     &x.buffers,
		ErrorLog:       x.errorLog,
	}
	proxy.ServeHTTP(x.w, x.req)
}

// rewrite completes the request for the backend, with Host and target as the client
// wrote them. Forwarded headers of the client have been removed, all but these two
// for good.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL = target(pr.In)
	pr.Out.Trailer = pr.In.Trailer // the same map: it is filled when the body has been read
	peer, _, err := net.SplitHostPort(pr.In.RemoteAddr)
	if err != nil {
		peer = pr.In.RemoteAddr
	}
	const xff = "X-Forwarded-For"
	if prior := pr.In.Header[xff]; len(prior) > 0 {
		peer = strings.Join(prior, ", ") + ", " + peer
	}
	proto := "http"
	if pr.In.TLS != nil {
		proto = "https"
	}
	pr.Out.Header[xff] = []string{peer}
	pr.Out.Header["X-Forwarded-Proto"] = []string{proto}
}

// target is the request target for the backend, without the host, byte for byte where
// that is possible.
func target(in *http.Request) *url.URL {
	u := &url.URL{Scheme: "http"}
	if raw := in.RequestURI; raw == "*" || strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") {
		u.Opaque = raw
		return u
	}
	// An absolute target, or one that would be read as such.
	u.Path, u.RawPath = in.URL.Path, in.URL.RawPath
	u.RawQuery, u.ForceQuery = in.URL.RawQuery, in.URL.ForceQuery
	return u
}

// RoundTrip sends the request to a backend, and to another one when that cannot be
// connected: then nothing of the request has left. Each is asked once.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	sticky := stickyID(out.Header)
	var tried []*member
	err := errNobody
	for now := x.start; ; now = time.Now() {
		m := x.pool.pick(sticky, tried, now)
		if m == nil {
			return nil, err
		}
		x.chosen = m
		var res *http.Response
		if res, err = x.transport.RoundTrip(aimed(out, m)); err == nil {
			m.wake()
			return res, nil
		}
		var dial *dialError
		if !errors.As(err, &dial) || out.Context().Err() != nil {
			return nil, err
		}
		m.restUntil(time.Now().Add(x.cfg.Rest))
		tried = append(tried, m)
		x.log.Debug("backend refuses", "uri", x.host, "backend", m.addr, "err", err)
	}
}

var errNobody = errors.New("no backend is left")

// aimed is the request directed at a backend, with a body that outlives a failed try.
func aimed(out *http.Request, m *member) *http.Request {
	aim := *out.URL
	aim.Host = m.addr
	o := *out
	o.URL = &aim
	if o.Body != nil {
		o.Body = keptOpen{o.Body}
	}
	return &o
}

// keptOpen is a body that the transport cannot close, as it does after each try. The
// reverse proxy closes it at the end.
type keptOpen struct{ io.Reader }

func (keptOpen) Close() error { return nil }

// modify adds the router's own headers to a backend's answer.
func (x *exchange) modify(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.w.status = res.StatusCode // what follows goes past the recorder
	}
	x.w.length = res.ContentLength
	if x.chosen.id != "" && startsSession(res.Header) {
		res.Header.Add("Set-Cookie", stickyCookie+"="+x.chosen.id+"; Path=/")
	}
	if x.req.Header.Get("X-Vcap-Trace") == x.cfg.TraceKey {
		res.Header.Set("X-Vcap-Router", x.ip)
		res.Header.Set("X-Vcap-Backend", x.chosen.addr)
	}
	return nil
}

// fail answers for a backend that did not.
func (x *exchange) fail(_ http.ResponseWriter, _ *http.Request, err error) {
	if x.req.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has gone; nobody would read an answer
	}
	if x.chosen == nil {
		x.badUpgrade()
		return
	}
	x.log.Debug("no answer from a backend", "uri", x.host, "backend", x.chosen.addr, "app", x.chosen.app, "err", err)
	x.badGateway()
}

// logAccess writes the access log in the form of the v1 routers, but for the query: it
// may hold a token or a password.
func (x *exchange) logAccess() {
	ctx := context.Background() // the request's own may be over
	if !x.log.Enabled(ctx, levelAccess) {
		return
	}
	req := x.req
	app := "-"
	if x.chosen != nil && x.chosen.app != "" {
		app = string(x.chosen.app)
	}
	target, _, _ := strings.Cut(req.RequestURI, "?")
	referer, _, _ := strings.Cut(req.Referer(), "?")
	x.log.Log(ctx, levelAccess, "access", "line", fmt.Sprintf("%s - [%s] %q %d %d %q %q %s response_time:%.6f app_id:%s",
		req.Host, x.start.Format("02/01/2006:15:04:05 -0700"), req.Method+" "+target+" "+req.Proto,
		x.w.status, x.w.bytes, referer, req.UserAgent(), req.RemoteAddr, time.Since(x.start).Seconds(), app))
}
