package router

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
)

func TestHostMatching(t *testing.T) {
	c := start(t, Config{})
	c.serve("Hello.Example", says("name"))
	c.serve("::1", says("literal"))
	for host, want := range map[string]string{
		"hello.example":           "name",
		"HELLO.example":           "name",
		"hello.example:8080":      "name",
		"hello.example.":          "name",
		"hello.example.:80":       "name",
		"[::1]":                   "literal",
		"[::1]:8080":              "literal",
		"[0:0:0:0:0:0:0:1]:65535": "literal",
	} {
		req := c.request("GET", "http://any/", nil)
		req.Host = host
		if _, body := c.do(req); body != want {
			t.Errorf("%s leads to %q, want %q", host, body, want)
		}
	}
}

func TestAnswersOfTheRouter(t *testing.T) {
	c := start(t, Config{})
	c.register(routeTo(t, unserved(t), "down.example"))
	const browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
	for _, s := range []struct {
		name, host, accept string
		status             int
		cause, body        string
	}{
		{"unknown, program", "no.example", "*/*", 404, "unknown_route", "VCAP ROUTER: 404 - DESTINATION NOT FOUND\r\n"},
		{"unknown, browser", "no.example", browser, 404, "unknown_route", "<strong>no.example</strong>"},
		{"down, program", "down.example", "", 502, "endpoint_failure", "502 Bad Gateway: Registered endpoint failed to handle the request.\n"},
		{"down, browser", "down.example", browser, 502, "endpoint_failure", "<strong>down.example</strong>"},
		{"no host name", "a..", browser, 400, "invalid_host", "400 Bad Request: The Host header is missing or is no host name.\n"},
	} {
		t.Run(s.name, func(t *testing.T) {
			req := c.request("GET", "http://any/", nil)
			req.Host = s.host
			req.Header.Set("Accept", s.accept)
			res, body := c.do(req)
			html := strings.HasPrefix(body, "<!DOCTYPE html>")
			switch {
			case res.StatusCode != s.status || res.Header.Get("X-Cf-RouterError") != s.cause:
				t.Errorf("got %s because of %q", res.Status, res.Header.Get("X-Cf-RouterError"))
			case html != strings.HasPrefix(res.Header.Get("Content-Type"), "text/html"):
				t.Errorf("%s for\n%s", res.Header.Get("Content-Type"), body)
			case html && !strings.Contains(body, s.body), !html && body != s.body:
				t.Errorf("got %q", body)
			}
		})
	}
	want := Stats{Requests: 5, BadRequests: 3, BadGateways: 2, Responses4xx: 3, Responses5xx: 2, URLs: 1, Droplets: 1}
	testkit.Eventually(t, func() error { return testkit.Equal(c.router.Stats(), want) })
}

func TestLoadBalancerIsAnswered(t *testing.T) {
	c := start(t, Config{})
	if got := c.raw(t, "GET / HTTP/1.0\r\nUser-Agent: HTTP-Monitor/1.1\r\n\r\n"); got.StatusCode != 200 || text(t, got) != "ok\n" {
		t.Errorf("got %s", got.Status)
	}
}

// raw sends bytes and reads one answer. The connection stays until the test ends.
func (c *cloud) raw(t *testing.T, bytes string) *http.Response {
	t.Helper()
	conn := c.dial(t)
	if _, err := io.WriteString(conn, bytes); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (c *cloud) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", c.router.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRoundRobinIsExact(t *testing.T) {
	c := start(t, Config{})
	var hits [3]atomic.Int64
	for i := range hits {
		c.serve("a.example", func(http.ResponseWriter, *http.Request) { hits[i].Add(1) })
	}
	for range 30 {
		c.get("a.example")
	}
	for i := range hits {
		if n := hits[i].Load(); n != 10 {
			t.Errorf("backend %d got %d of 30 requests, want 10", i, n)
		}
	}
}

func TestAnotherInstanceWhenOneRefuses(t *testing.T) {
	c := start(t, Config{Rest: time.Hour})
	for range 3 {
		c.register(routeTo(t, unserved(t), "a.example"))
	}
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) { io.Copy(w, req.Body) })
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
		res, body := c.do(c.request(method, "http://a.example/", strings.NewReader("precious")))
		if res.StatusCode != 200 || body != "precious" {
			t.Errorf("%s: got %s, %q", method, res.Status, body)
		}
	}
	if s := c.router.Stats(); s.Droplets != 4 || s.BadGateways != 0 {
		t.Errorf("refusing backends are not to be unregistered, nor seen by clients: %+v", s)
	}
}

func TestRefusingBackendRestsAndReturns(t *testing.T) {
	now := time.Now()
	a, b := &member{addr: "a"}, &member{addr: "b"}
	p := &pool{members: []*member{a, b}, turn: new(atomic.Uint32)}
	a.restUntil(now.Add(time.Second))
	for range 4 {
		if got := p.pick("", nil, now); got != b {
			t.Fatalf("%s was chosen while it rests", got.addr)
		}
	}
	if got := p.pick("", []*member{b}, now); got != a {
		t.Error("a resting backend is better than none")
	}
	if got := p.pick("", []*member{a, b}, now); got != nil {
		t.Errorf("%s was to be asked twice", got.addr)
	}
	counts := map[*member]int{}
	for range 4 {
		counts[p.pick("", nil, now.Add(2*time.Second))]++
	}
	if counts[a] != 2 || counts[b] != 2 {
		t.Errorf("after the rest, a gets %d and b %d of 4", counts[a], counts[b])
	}
}

// A backend that took the connection may have taken the request: it is not sent again.
func TestNoSecondTryAfterTheConnection(t *testing.T) {
	c := start(t, Config{})
	var tries atomic.Int64
	for range 2 {
		c.serve("a.example", func(w http.ResponseWriter, _ *http.Request) {
			tries.Add(1)
			panic(http.ErrAbortHandler)
		})
	}
	res, _ := c.do(c.request("POST", "http://a.example/", strings.NewReader("once")))
	if res.StatusCode != 502 || tries.Load() != 1 {
		t.Errorf("got %s after %d tries", res.Status, tries.Load())
	}
}

func TestSessionsStick(t *testing.T) {
	c := start(t, Config{})
	for _, name := range []string{"one", "two", "three"} {
		m := routeTo(t, c.backend(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/login" {
				w.Header().Add("Set-Cookie", "jsessionid=abc; Path=/; HttpOnly")
			}
			io.WriteString(w, name)
		}).URL, "a.example")
		m.PrivateInstanceID = "id-" + name
		c.register(m)
	}
	res, name := c.do(c.request("GET", "http://a.example/login", nil))
	want := "__VCAP_ID__=id-" + name + "; Path=/"
	if got := res.Header["Set-Cookie"]; len(got) != 2 || got[1] != want {
		t.Fatalf("the login sets %q, want %q too", got, want)
	}
	for range 6 {
		req := c.request("GET", "http://a.example/", nil)
		req.Header.Set("Cookie", "x=1; __VCAP_ID__=id-"+name)
		if res, got := c.do(req); got != name || len(res.Header["Set-Cookie"]) != 0 {
			t.Errorf("a session of %s got to %s with cookies %q", name, got, res.Header["Set-Cookie"])
		}
	}
	seen := map[string]bool{}
	for range 3 {
		req := c.request("GET", "http://a.example/", nil)
		req.Header.Set("Cookie", "__VCAP_ID__=id-of-an-instance-that-is-gone")
		_, got := c.do(req)
		seen[got] = true
	}
	if len(seen) != 3 {
		t.Errorf("sessions of a lost instance reach %v only", seen)
	}
}

func TestNoStickyCookieWithoutAnID(t *testing.T) {
	c := start(t, Config{})
	for i, id := range []string{"", "a\r\nX-Evil: 1", "a; Domain=example"} {
		host := fmt.Sprintf("a%d.example", i)
		m := routeTo(t, c.backend(func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "1"})
		}).URL, host)
		m.PrivateInstanceID = id
		c.register(m)
		res, _ := c.do(c.request("GET", "http://"+host+"/", nil))
		if got := res.Header["Set-Cookie"]; len(got) != 1 {
			t.Errorf("private id %q sets %q", id, got)
		}
	}
}

// seen is what a backend saw of a request.
type seen struct {
	Method, Host, Target string
	Header               http.Header
}

func tells(w http.ResponseWriter, req *http.Request) {
	json.NewEncoder(w).Encode(seen{req.Method, req.Host, req.RequestURI, req.Header})
}

func (c *cloud) seen(req *http.Request) (s seen) {
	c.t.Helper()
	_, body := c.do(req)
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		c.t.Fatalf("%v in %q", err, body)
	}
	return s
}

func TestHeadersForTheApp(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", tells)
	req := c.request("GET", "http://A.example:8080/", nil)
	for k, v := range map[string]string{
		"X-Forwarded-For":   "10.1.2.3",
		"X-Forwarded-Proto": "https",
		"X-Forwarded-Host":  "evil.example",
		"Forwarded":         "host=evil.example",
		"Connection":        "X-Secret, close",
		"X-Secret":          "for the router only",
		"Keep-Alive":        "timeout=5",
		"Te":                "trailers",
		"Proxy-Connection":  "keep-alive",
		"Accept-Language":   "fr",
		"User-Agent":        "",
	} {
		req.Header.Set(k, v)
	}
	req.Header.Add("X-Forwarded-For", "10.4.5.6")
	got := c.seen(req)
	if got.Host != "A.example:8080" {
		t.Errorf("the app sees host %s", got.Host)
	}
	for k, want := range map[string]string{
		"X-Forwarded-For":   "10.1.2.3, 10.4.5.6, 127.0.0.1",
		"X-Forwarded-Proto": "http",
		"Accept-Language":   "fr",
		"Te":                "trailers",
		"X-Forwarded-Host":  "",
		"Forwarded":         "",
		"Connection":        "",
		"X-Secret":          "",
		"Keep-Alive":        "",
		"Proxy-Connection":  "",
		"User-Agent":        "",
		"Accept-Encoding":   "",
	} {
		if v := got.Header.Get(k); v != want {
			t.Errorf("the app sees %s: %q, want %q", k, v, want)
		}
	}
}

func TestTargetsArriveAsWritten(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", tells)
	for _, s := range []struct{ method, target, want string }{
		{"GET", "/", "/"},
		{"GET", "/a%2Fb/../c//d?x=%zz;y&z", "/a%2Fb/../c//d?x=%zz;y&z"},
		{"GET", `/{"a"|b}^?`, `/{"a"|b}^?`},
		{"GET", "//host/path?q", "//host/path?q"},
		{"GET", "http://a.example/path?q=1", "/path?q=1"},
		{"GET", "http://A.example:80?q", "/?q"},
		{"OPTIONS", "*", "*"},
	} {
		t.Run(s.method+" "+s.target, func(t *testing.T) {
			res := c.raw(t, s.method+" "+s.target+" HTTP/1.1\r\nHost: a.example\r\n\r\n")
			var got seen
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
				t.Fatal(res.Status, err)
			}
			if got.Target != s.want || got.Method != s.method {
				t.Errorf("the app sees %s %s, want %s", got.Method, got.Target, s.want)
			}
		})
	}
}

// The target's host counts, not the Host header (RFC 9112, 3.2.2).
func TestAbsoluteTargetRules(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", says("a"))
	c.serve("b.example", says("b"))
	if got := text(t, c.raw(t, "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n")); got != "a" {
		t.Errorf("%s answers", got)
	}
}

func TestTrace(t *testing.T) {
	c := start(t, Config{TraceKey: "secret"})
	m := c.serve("a.example", says("hello"))
	for _, s := range []struct{ key, router, backend string }{
		{"secret", "127.0.0.1", address(m)},
		{"22", "", ""},
		{"", "", ""},
	} {
		req := c.request("GET", "http://a.example/", nil)
		req.Header.Set("X-Vcap-Trace", s.key)
		res, _ := c.do(req)
		if r, b := res.Header.Get("X-Vcap-Router"), res.Header.Get("X-Vcap-Backend"); r != s.router || b != s.backend {
			t.Errorf("trace %q tells %q and %q, want %q and %q", s.key, r, b, s.router, s.backend)
		}
	}
}

func TestResponsesPassAsTheyAre(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h.Set("Location", "/elsewhere")
		h.Set("Connection", "X-Internal")
		h.Set("X-Internal", "1")
		w.WriteHeader(http.StatusFound)
	})
	res, _ := c.do(c.request("HEAD", "http://a.example/", nil))
	if res.StatusCode != 302 || res.Header.Get("Location") != "/elsewhere" || len(res.Header["Set-Cookie"]) != 2 {
		t.Errorf("got %s, %v", res.Status, res.Header)
	}
	if res.Header.Get("X-Internal") != "" {
		t.Error("a hop-by-hop header of the backend got through")
	}
}

func TestAccessLog(t *testing.T) {
	lines := make(logLines, 1)
	c := startLogging(t, Config{}, slog.New(lines))
	c.serve("a.example", says("hello"))
	req := c.request("GET", "http://a.example/x?y", nil)
	req.Header.Set("User-Agent", `evil" 200`)
	c.do(req)
	want := regexp.MustCompile(`^a\.example - \[\d\d/\d\d/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /x HTTP/1\.1" 200 5 "" "evil\\" 200" 127\.0\.0\.1:\d+ response_time:\d+\.\d{6} app_id:42$`)
	if got := testkit.Next(t, lines); !want.MatchString(got) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// logLines takes the lines of the access log out of a log.
type logLines chan string

func (logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l logLines) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l logLines) WithGroup(string) slog.Handler          { return l }

func (l logLines) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "access" {
		r.Attrs(func(a slog.Attr) bool {
			l <- a.Value.String()
			return true
		})
	}
	return nil
}

func TestPanicEndsOneRequest(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", says("hello"))
	broken := httptest.NewRecorder()
	c.router.ServeHTTP(broken, (&http.Request{Host: "a.example", Header: http.Header{}}).WithContext(context.Background()))
	if broken.Code != 500 {
		t.Errorf("got %d", broken.Code)
	}
	c.expect("a.example", 200)
}

// The pools' counters do not restart with each change of the pool.
func TestTurnSurvivesChanges(t *testing.T) {
	var tab table
	tab.init()
	tab.register("a.example", bus.Route{Host: "h", Port: 1}, time.Now())
	turn := tab.pools["a.example"].turn
	tab.register("a.example", bus.Route{Host: "h", Port: 2}, time.Now())
	tab.unregister("a.example", bus.Route{Host: "h", Port: 1})
	if tab.pools["a.example"].turn != turn {
		t.Error("the counter was replaced")
	}
}
