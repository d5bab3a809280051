package router

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudlet/bus"
)

func TestHostileRequests(t *testing.T) {
	c := start(t, Config{MaxHeader: 8 << 10})
	var asked atomic.Int64
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) { asked.Add(1) })
	for _, s := range []struct {
		name, request string
		want          int
	}{
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"no host, old", "GET / HTTP/1.0\r\n\r\n", 400},
		{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", 400},
		{"host with a path", "GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n", 400},
		{"host with a user", "GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n", 400},
		{"host with a bad port", "GET / HTTP/1.1\r\nHost: a.example:8x\r\n\r\n", 400},
		{"broken literal", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
		{"connect", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 405},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", 400},
		{"a list of lengths", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3, 5\r\n\r\nabcde", 400},
		{"negative length", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: -1\r\n\r\n", 400},
		{"signed length", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +3\r\n\r\nabc", 400},
		{"unknown coding", "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		{"two codings", "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		{"coding twice", "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501},
		{"space before the colon", "GET / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding : chunked\r\n\r\n", 400},
		{"header without a name", "GET / HTTP/1.1\r\nHost: a.example\r\n: x\r\n\r\n", 400},
		{"zero byte", "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\x00b\r\n\r\n", 400},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n", 400},
		{"one big header", "GET / HTTP/1.1\r\nHost: a.example\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431},
		{"many headers", "GET / HTTP/1.1\r\nHost: a.example\r\n" + strings.Repeat("X: y\r\n", 4<<10) + "\r\n", 431},
		{"long target", "GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: a.example\r\n\r\n", 431},
		{"upgrade to nonsense", "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: \xe9\r\n\r\n", 400},
	} {
		t.Run(s.name, func(t *testing.T) {
			if res := c.raw(t, s.request); res.StatusCode != s.want {
				t.Errorf("got %s, want %d", res.Status, s.want)
			}
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d of these requests reached the app", n)
	}
}

// What two parsers could read as two requests reaches the app as one, or not at all.
func TestNothingIsSmuggled(t *testing.T) {
	c := start(t, Config{})
	var bodies []string
	c.serve("a.example", func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		bodies = append(bodies, req.Method+" "+req.RequestURI+" "+string(b))
	})
	for _, s := range []struct{ name, request, want string }{
		{
			"length and chunked",
			"POST /1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 49\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
				"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a.example\r\n\r\n",
			"POST /1 ",
		},
		{
			"the same length twice",
			"POST /2 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
			"POST /2 abc",
		},
		{
			"a request in the body",
			"POST /3 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 24\r\nConnection: close\r\n\r\nGET /evil HTTP/1.1\r\n\r\nx\n",
			"POST /3 GET /evil HTTP/1.1\r\n\r\nx\n",
		},
	} {
		t.Run(s.name, func(t *testing.T) {
			bodies = nil
			conn := c.dial(t)
			io.WriteString(conn, s.request)
			io.Copy(io.Discard, bufio.NewReader(conn))
			if len(bodies) > 1 || len(bodies) == 1 && bodies[0] != s.want {
				t.Errorf("the app saw %q", bodies)
			}
		})
	}
}

// A backend cannot make the router keep endless headers.
func TestResponseHeadersAreBounded(t *testing.T) {
	c := start(t, Config{MaxHeader: 8 << 10})
	c.serve("a.example", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 64<<10))
	})
	if status, _ := c.get("a.example"); status != 502 {
		t.Errorf("got %d", status)
	}
}

func FuzzNormalHost(f *testing.F) {
	for _, s := range []string{"a.example", "A.EXAMPLE:80", "a.", ".", "", "[::1]:80", "::1", "[::", "a:b", "1.2.3.4:5", "ä.example", "[fe80::1%25x]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, ok := normalHost(s)
		if !ok {
			return
		}
		if again, ok := normalHost(host); !ok || again != host {
			t.Errorf("%q is %q at first, then %q", s, host, again)
		}
		if host != strings.ToLower(host) || strings.ContainsAny(host, "/@ []") {
			t.Errorf("%q gives %q", s, host)
		}
	})
}

func FuzzRegister(f *testing.F) {
	for _, s := range []string{
		`{"host":"10.0.0.7","port":41234,"uris":["hello.vcap.me"],"app":"42","tags":{"framework":"sinatra"},"private_instance_id":"ab"}`,
		`{"host":"10.0.0.7","port":41234,"uris":["A.","a","a:80"],"app":42}`,
		`{"host":"::1","port":1,"uris":["[::1]","::1"]}`,
		`{"uris":null}`, `[]`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := bus.Decode[bus.Route](data)
		if err != nil {
			return
		}
		r := New(Config{}, nil, quiet)
		r.register(m)
		r.register(m)
		r.table.publish()
		hosts, pairs := r.table.size()
		if hosts != pairs || hosts > len(m.URIs) {
			t.Errorf("%d uris make %d hosts and %d pairs", len(m.URIs), hosts, pairs)
		}
		r.unregister(m)
		r.table.publish()
		if hosts, pairs := r.table.size(); hosts != 0 || pairs != 0 {
			t.Errorf("%d hosts and %d pairs are left", hosts, pairs)
		}
		if left := r.table.prune(time.Now().Add(time.Hour)); left != nil {
			t.Errorf("%v are left", left)
		}
	})
}
