package router

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"cloudlet/internal/testkit"
)

const chunk = 1 << 20

// Each chunk is produced when the one before it has arrived: a proxy that holds
// anything back stops the test.
func TestDownloadStreams(t *testing.T) {
	for _, s := range []struct {
		name   string
		length string // Content-Length
		size   int
	}{
		{"large, of known length", "67108864", chunk},
		{"large, chunked", "", chunk},
		{"small steps, of known length", "640", 10},
		{"small steps, chunked", "", 10},
	} {
		t.Run(s.name, func(t *testing.T) {
			c := start(t, Config{})
			taken := make(chan struct{})
			c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
				if s.length != "" {
					w.Header().Set("Content-Length", s.length)
				}
				for range 64 {
					w.Write(bytes.Repeat([]byte("x"), s.size))
					http.NewResponseController(w).Flush()
					select {
					case <-taken:
					case <-req.Context().Done():
						return
					}
				}
			})
			res, err := c.client.Do(c.request("GET", "http://a.example/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			part := make([]byte, s.size)
			for i := range 64 {
				if _, err := io.ReadFull(res.Body, part); err != nil {
					t.Fatalf("part %d: %v", i, err)
				}
				taken <- struct{}{}
			}
			if n, err := res.Body.Read(part); n != 0 || err != io.EOF {
				t.Errorf("the body goes on: %d, %v", n, err)
			}
		})
	}
}

func TestUploadStreams(t *testing.T) {
	for _, s := range []struct {
		name   string
		length int64
	}{{"of known length", 64 * chunk}, {"chunked", -1}} {
		t.Run(s.name, func(t *testing.T) {
			c := start(t, Config{})
			taken := make(chan struct{})
			c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
				sum, part := sha256.New(), make([]byte, chunk)
				for range 64 {
					if _, err := io.ReadFull(req.Body, part); err != nil {
						t.Error(err)
						close(taken)
						return
					}
					sum.Write(part)
					taken <- struct{}{}
				}
				io.WriteString(w, hex.EncodeToString(sum.Sum(nil)))
			})
			sum := sha256.New()
			body, sender := io.Pipe()
			go func() {
				defer sender.Close()
				part := make([]byte, chunk)
				for range 64 {
					rand.Read(part)
					sum.Write(part)
					sender.Write(part)
					<-taken
				}
			}()
			req := c.request("PUT", "http://a.example/", body)
			req.ContentLength = s.length
			if _, got := c.do(req); got != hex.EncodeToString(sum.Sum(nil)) {
				t.Error("the app received something else")
			}
		})
	}
}

func TestBothDirectionsAtOnce(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
		ctl := http.NewResponseController(w)
		ctl.EnableFullDuplex()
		ctl.Flush()
		part := make([]byte, 16)
		for {
			n, err := req.Body.Read(part)
			w.Write(part[:n])
			ctl.Flush()
			if err != nil {
				return
			}
		}
	})
	body, sender := io.Pipe()
	res, err := c.client.Do(c.request("POST", "http://a.example/", body))
	if err == nil {
		defer res.Body.Close()
	}
	for range 10 {
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(sender, "ping")
		_, err = io.ReadFull(res.Body, make([]byte, 4))
	}
	sender.Close()
}

// An app may refuse an upload that has only begun.
func TestAnswerBeforeTheBodyEnds(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		http.NewResponseController(w).Flush()
	})
	body, sender := io.Pipe()
	defer sender.Close()
	go io.WriteString(sender, "the first of many")
	if res, err := c.client.Do(c.request("POST", "http://a.example/", body)); err != nil {
		t.Error(err)
	} else if res.Body.Close(); res.StatusCode != 413 {
		t.Errorf("got %s", res.Status)
	}
}

func TestServerSentEvents(t *testing.T) {
	c := start(t, Config{})
	next := make(chan string)
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		for event := range next {
			io.WriteString(w, "data: "+event+"\n\n")
			http.NewResponseController(w).Flush()
		}
	})
	res, err := c.client.Do(c.request("GET", "http://a.example/", nil)) // the head comes before any event
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for _, event := range []string{"one", "two", "three"} {
		next <- event
		want := "data: " + event + "\n\n"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	close(next)
}

func TestTrailers(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.Copy(w, req.Body)
		w.Header().Set("X-Sum", req.Trailer.Get("X-Sent"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	})
	body, sender := io.Pipe()
	req := c.request("POST", "http://a.example/", body)
	req.Trailer = http.Header{"X-Sent": nil}
	go func() {
		io.WriteString(sender, "body")
		req.Trailer.Set("X-Sent", "77")
		sender.Close()
	}()
	res, got := c.do(req)
	if got != "body" || res.Trailer.Get("X-Sum") != "77" || res.Trailer.Get("X-Late") != "unannounced" {
		t.Errorf("got %q and trailers %v", got, res.Trailer)
	}
}

// The app decides whether the body is sent at all.
func TestExpectContinue(t *testing.T) {
	for _, s := range []struct {
		name     string
		accept   bool
		want     int
		wantBody string
	}{{"accepted", true, 200, "precious"}, {"refused", false, 417, ""}} {
		t.Run(s.name, func(t *testing.T) {
			c := start(t, Config{})
			c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
				if !s.accept {
					w.WriteHeader(http.StatusExpectationFailed)
					return
				}
				io.Copy(w, req.Body)
			})
			body := &counted{Reader: strings.NewReader("precious")}
			req := c.request("PUT", "http://a.example/", body)
			req.ContentLength = 8
			req.Header.Set("Expect", "100-continue")
			res, got := c.do(req)
			if res.StatusCode != s.want || got != s.wantBody || body.n != len(s.wantBody) {
				t.Errorf("got %s, %q, with %d bytes sent", res.Status, got, body.n)
			}
		})
	}
}

type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestEarlyHints(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "page")
	})
	var hints []int
	req := c.request("GET", "http://a.example/", nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			hints = append(hints, code)
			return nil
		},
	}))
	if res, body := c.do(req); res.StatusCode != 200 || body != "page" || len(hints) != 1 || hints[0] != 103 {
		t.Errorf("got %s, %q after %v", res.Status, body, hints)
	}
}

func TestClientsCancelReachesTheApp(t *testing.T) {
	for _, s := range []struct {
		name    string
		started bool // the response
	}{{"before the answer", false}, {"in the middle of it", true}} {
		t.Run(s.name, func(t *testing.T) {
			c := start(t, Config{})
			arrived, cancelled := make(chan struct{}, 1), make(chan struct{}, 1)
			c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
				if s.started {
					http.NewResponseController(w).Flush()
				}
				arrived <- struct{}{}
				<-req.Context().Done()
				cancelled <- struct{}{}
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{}, 1)
			go func() {
				if res, err := c.client.Do(c.request("GET", "http://a.example/", nil).WithContext(ctx)); err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				ended <- struct{}{}
			}()
			testkit.Next(t, arrived)
			cancel()
			testkit.Next(t, cancelled)
			testkit.Next(t, ended)
		})
	}
}

// A response that breaks off must not look complete.
func TestBrokenResponseIsBrokenForTheClient(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	res, err := c.client.Do(c.request("GET", "http://a.example/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the client takes %q for the whole", body)
	}
}

// echo repeats what it is told over a websocket.
func echo(w http.ResponseWriter, req *http.Request) {
	ws, err := websocket.Accept(w, req, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(64 * chunk)
	for {
		kind, data, err := ws.Read(req.Context())
		if err != nil {
			return
		}
		if err := ws.Write(req.Context(), kind, data); err != nil {
			return
		}
	}
}

func (c *cloud) websocket(t *testing.T, host string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), "ws://"+host+"/", &websocket.DialOptions{HTTPClient: c.client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	ws.SetReadLimit(64 * chunk)
	return ws
}

func TestWebsocket(t *testing.T) {
	c := start(t, Config{})
	c.register(routeTo(t, unserved(t), "a.example")) // upgrades find another instance too
	c.serve("a.example", echo)
	ws := c.websocket(t, "a.example")
	for _, size := range []int{0, 5, 70_000, 16 * chunk} {
		message := make([]byte, size)
		rand.Read(message)
		// Sent while it is read: the echo would fill the buffers on its way otherwise.
		sent := make(chan error, 1)
		go func() { sent <- ws.Write(t.Context(), websocket.MessageBinary, message) }()
		_, got, err := ws.Read(t.Context())
		if err := testkit.Next(t, sent); err != nil {
			t.Fatal(err)
		}
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes come back as %d: %v", size, len(got), err)
		}
	}
	if err := ws.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
}

func TestWebsocketEndsWithItsClient(t *testing.T) {
	c := start(t, Config{})
	gone := make(chan struct{}, 1)
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
		echo(w, req)
		gone <- struct{}{}
	})
	c.websocket(t, "a.example").CloseNow()
	testkit.Next(t, gone)
}

func TestWebsocketEndsWithTheRouter(t *testing.T) {
	c, stop := startStoppable(t, Config{Drain: time.Minute})
	c.serve("a.example", echo)
	ws := c.websocket(t, "a.example")
	ended := stop()
	if _, _, err := ws.Read(t.Context()); err == nil {
		t.Error("the websocket outlives the router")
	}
	if err := testkit.Next(t, ended); err != nil {
		t.Error(err)
	}
}

func TestAnyUpgradeIsATunnel(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") != "tcp" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		rw.Flush()
		io.Copy(conn, rw)
	})
	conn := c.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n")
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	got := make([]byte, len(head))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != head {
		t.Fatalf("got %q, %v", got, err)
	}
	io.WriteString(conn, "line\n")
	if _, err := io.ReadFull(conn, got[:5]); err != nil || string(got[:5]) != "line\n" {
		t.Fatalf("got %q, %v", got[:5], err)
	}
}
