package vmc

import (
	"bytes"
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"cloudlet/controller/api"
)

// relay passes connections on to a server, and cuts the one that has carried so many
// bytes to it; once.
type relay struct {
	to   string
	left atomic.Int64
}

func newRelay(t *testing.T, to string, bytes int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &relay{to: strings.TrimPrefix(to, "http://")}
	r.left.Store(bytes)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(client)
		}
	}()
	return "http://" + l.Addr().String()
}

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	go io.Copy(client, server)
	b := make([]byte, 4096)
	for {
		n, err := client.Read(b)
		if _, werr := server.Write(b[:n]); err != nil || werr != nil {
			return
		}
		if before := r.left.Load(); before > 0 && r.left.Add(-int64(n)) <= 0 {
			return
		}
	}
}

func TestUploadIsCut(t *testing.T) {
	for _, there := range []bool{false, true} {
		c := newCloud(t)
		u := c.at(t)
		target := newRelay(t, c.srv.URL, 300<<10)
		u.write(u.home, ".vmc_target", target)
		u.write(u.home, ".vmc_token", `{"`+target+`":"`+token+`"}`)
		const upload = "POST /apps/hello/application"
		c.handlers = map[string]http.HandlerFunc{upload: func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				t.Error("the upload was not cut")
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.handlers, upload)
		}}
		u.file("app.js", "")
		noise := make([]byte, 1<<20)
		for i := range noise {
			noise[i] = byte(rand.IntN(256))
		}
		u.file("noise", string(noise))
		want := "\nApplication 'hello' exists and is stopped: `vmc push hello` continues, `vmc delete hello` removes it.\n"
		if there {
			c.apps["hello"] = started("hello")
			want = "\nApplication 'hello' runs as it did.\n"
		}
		status, out, errs := u.vmc("push", "hello", "-n")
		if status != 1 || !strings.HasPrefix(errs, "The connection to "+target+" broke: ") || !strings.HasSuffix(errs, want) || strings.Count(errs, "\n") != 2 {
			t.Errorf("status %d, %q\n%s", status, errs, out)
		}
		if status, out, errs := u.vmc("push", "hello", "-n"); status != 0 {
			t.Errorf("again: status %d, %q\n%s", status, errs, out)
		}
	}
}

// A server that says half of what it means to.
func TestHalfAnswers(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `[{"name":"hel`)
	}
	c.handlers = map[string]http.HandlerFunc{"GET /apps": half, "DELETE /apps/hello": half}
	u.fails([]string{"The connection to " + c.srv.URL + " broke: unexpected EOF\nTry again.\n"}, "apps")
	u.fails([]string{"broke: unexpected EOF\nApplication 'hello' runs as it did.\n"}, "delete", "hello", "-n")
	c.handlers["GET /apps"] = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }
	u.fails([]string{"Error: GET /apps: the answer is not what a Cloud Foundry v1 API says: invalid character '<'"}, "apps")
	c.handlers["GET /info"] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	u.fails([]string{"The connection to " + c.srv.URL + " broke: EOF\n"}, "apps")
}

// Servers that are something else: each is told with its own address and a next step.
func TestWrongTargets(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	var answer http.HandlerFunc
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer srv.Close()
	sends := func(status int, to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to+r.URL.Path, status) }
	}
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	not := "the answer is not what a Cloud Foundry v1 API says: "
	for _, tc := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{sends(301, "https://api.example.com"), "Error: " + srv.URL + " sends its clients to https://api.example.com\n`vmc target https://api.example.com` goes there.\n"},
		{sends(302, "https://api.example.com"), "`vmc target https://api.example.com` goes there.\n"},
		{sends(302, srv.URL), not + "it sends to " + srv.URL + "/info\n" + notV1Hint},
		{sends(302, "/login?from="), not + "it sends to " + srv.URL + "/login"},
		{says(200, ""), not + "unexpected end of JSON input\n" + notV1Hint},
		{says(200, "<html>"), not + "invalid character '<' looking for beginning of value\n" + notV1Hint},
		{says(200, "[]"), not + "a JSON array is in the wrong place\n" + notV1Hint},
		{says(200, strings.Repeat(" ", 65<<20)), not + "it is longer than 64 MiB\n" + notV1Hint},
		{says(404, "<html>\n<h1>\x1b]0;none\x07</h1>"), "Error (JSON 404): <html> <h1>]0;none</h1>...\n" + notV1Hint},
		{says(502, ""), "Error (502): No Response Received\n" + notV1Hint},
	} {
		answer = tc.answer
		u.fails([]string{"Host is not available or is not valid: '" + srv.URL + "'\n", tc.want}, "target", srv.URL)
	}
	answer = says(200, "{}")
	u.write(u.home, ".vmc_target", srv.URL)
	u.fails([]string{"Error: POST /users/a%40b/tokens: " + not + "there is no token in it"}, "login", "a@b", "--passwd", "x")
}

func TestTLSMismatch(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	encrypted := httptest.NewUnstartedServer(http.NotFoundHandler())
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0)
	encrypted.StartTLS()
	defer encrypted.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096)) //nolint:errcheck // whatever it is
			io.WriteString(conn, "SSH-2.0-OpenSSH_9\r\n")
			conn.Close()
		}
	}()
	u := stranger(t)
	u.fails([]string{"https://" + other.Addr().String() + " does not speak TLS\n"}, "target", "https://"+other.Addr().String())
	u.fails([]string{"http://" + other.Addr().String() + " does not speak HTTP: malformed HTTP"}, "target", other.Addr().String())
	tls := strings.Replace(plain.URL, "http:", "https:", 1)
	u.write(u.home, ".vmc_target", tls)
	u.fails([]string{tls + " does not speak TLS\n`vmc target " + plain.URL + "` goes without.\n"}, "info")
	u.write(u.home, ".vmc_target", encrypted.URL)
	u.fails([]string{"The certificate of " + encrypted.URL + " is not to be trusted: x509: "}, "info")
	u.write(u.home, ".vmc_target", strings.Replace(encrypted.URL, "https:", "http:", 1))
	u.fails([]string{"Client sent an HTTP request to", "It wants TLS: `vmc target " + encrypted.URL + "`."}, "info")
}

// A command in an instance ends with the connection, in a line.
func TestExecIsCut(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	c.handlers = map[string]http.HandlerFunc{"GET /apps/hello/instances/0/exec": func(w http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(w, r, nil); err == nil {
			ws.CloseNow()
		}
	}}
	status, out, errs := u.vmc("exec", "hello", "--", "cat")
	if want := "The connection to " + c.srv.URL + " broke, and with it ended the command\nTry again.\n"; status != 1 || errs != want || out != "" {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}

// broken is the end of a pipe that nobody reads.
type broken struct{ bytes.Buffer }

func (*broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestClosedOutput(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	u.file("app.js", "")
	run := func(args ...string) (int, string) {
		var errs bytes.Buffer
		status := Run(context.Background(), args, Streams{Out: &broken{}, Err: &errs, Dir: u.dir, Env: func(name string) string { return u.env[name] }})
		return status, errs.String()
	}
	for _, args := range [][]string{{"apps"}, {"apps", "--json"}, {"info"}, {"help"}, {"version"}} {
		if status, errs := run(args...); status != 1 || errs != "" {
			t.Errorf("%q: status %d, %q", args, status, errs)
		}
	}
	if status, errs := run("push", "new"); status != 1 || errs != "Interrupted.\nThe cloud has no application 'new'.\n" {
		t.Errorf("status %d, %q", status, errs)
	}
}

// A token that is worth nothing any more, before a command and in the middle of it.
func TestRevokedToken(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	c.handlers = map[string]http.HandlerFunc{"PUT /apps/hello": func(w http.ResponseWriter, _ *http.Request) { refuse(w, api.Forbidden) }}
	u.fails([]string{"Error 200: Operation not permitted\n`vmc user` shows whose rights these are, `vmc login` changes that.\n"}, "stop", "hello")
	u.write(u.home, ".vmc_token", `{"`+c.srv.URL+`":"0408old"}`)
	u.fails([]string{"Not Authorized\n" + c.srv.URL + " does not accept the stored token any more: `vmc login`.\n"}, "apps")
}
