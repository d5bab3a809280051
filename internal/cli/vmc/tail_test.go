package vmc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"cloudlet/controller/api"
)

// watched is a stream that does something when a text was printed.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	text string
	do   func()
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if w.do != nil && strings.Contains(w.b.String(), w.text) {
		w.do()
		w.do = nil
	}
	return len(p), nil
}

// tailUntil runs a command until a text was printed, and presses Ctrl-C then.
func (u *user) tailUntil(text string, args ...string) (status int, out, errs string) {
	u.t.Helper()
	ctx, cancel := context.WithCancel(u.t.Context())
	defer cancel()
	o, e := watched{text: text, do: cancel}, bytes.Buffer{}
	status = Run(ctx, args, Streams{Out: &o, Err: &e, Dir: u.dir, Env: func(name string) string { return u.env[name] }})
	return status, o.b.String(), e.String()
}

func logLine(instance int, source, text string, seq int64) api.LogLine {
	id := ""
	if instance >= 0 {
		id = fmt.Sprintf("abc%d", instance)
	}
	return api.LogLine{App: "hello", Instance: instance, ID: id, Source: source, Seq: seq, Line: text}
}

func TestLogsRecent(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	lines := []api.LogLine{
		logLine(api.NoInstance, "staging", "-----> Done", 0), logLine(0, "stdout", "one", 4), logLine(1, "stderr", "two", 4), logLine(0, "migration", "three", 6),
	}
	var query string
	c.handlers = map[string]http.HandlerFunc{"GET /apps/hello/logs": func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		for _, l := range lines {
			json.NewEncoder(w).Encode(l)
		}
	}}
	u := c.at(t)
	u.wants(`app staging  | -----> Done
app/0 stdout | one
app/1 stderr | two
app/0 migration | three

`, "logs", "hello", "--recent", "--lines", "7", "--instance", "1")
	if query != "instance=1&lines=7" {
		t.Errorf("asked with %s", query)
	}
	status, out, _ := u.vmc("logs", "hello", "--recent", "--json")
	if first, _, _ := strings.Cut(out, "\n"); status != 0 || first != `{"app":"hello","instance":-1,"source":"staging","seq":0,"line":"-----> Done"}` {
		t.Errorf("status %d\n%s", status, out)
	}
	u.fails([]string{"invalid argument: --lines x: a number from 0 to 10000 is wanted"}, "logs", "hello", "--lines", "x")
}

// A tail that breaks goes on behind the last line.
func TestLogsTailGoesOn(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	var queries []string
	c.handlers = map[string]http.HandlerFunc{"GET /apps/hello/logs": func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		queries = append(queries, r.URL.RawQuery)
		n := len(queries)
		c.mu.Unlock()
		switch n {
		case 1:
			json.NewEncoder(w).Encode(logLine(0, "stdout", "one", 4))
			json.NewEncoder(w).Encode(logLine(0, "stderr", "two", 9))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			http.Error(w, "no route yet", http.StatusNotFound)
		default:
			json.NewEncoder(w).Encode(logLine(0, "stdout", "three", 10))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}}
	status, out, errs := c.at(t).tailUntil("three", "logs", "hello", "--tail")
	if status != 0 || out != "app/0 stdout | one\napp/0 stderr | two\napp/0 stdout | three\n\n" {
		t.Errorf("status %d\n%s", status, out)
	}
	if strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "Lost the log of [hello] (unexpected EOF)") {
		t.Errorf("stderr %q", errs)
	}
	if len(queries) != 3 || queries[0] != "follow=1" || queries[2] != "follow=1&lines=10000&since=abc0%3Astderr%3A9%2Cabc0%3Astdout%3A4" {
		t.Errorf("queries %q", queries)
	}
}

// What the cloud refuses is not asked for again.
func TestLogsTailEnds(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	asked := 0
	c.handlers = map[string]http.HandlerFunc{"GET /apps/hello/logs": func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked > 1 {
			refuse(w, api.AppNotFound)
			return
		}
		json.NewEncoder(w).Encode(logLine(0, "stdout", "one", 4))
	}}
	u := c.at(t)
	status, _, errs := u.vmc("logs", "hello", "--tail")
	if status != 1 || asked != 2 || !strings.HasSuffix(errs, "Error 301: Application not found\n`vmc apps` lists the applications there are.\n") {
		t.Errorf("status %d after %d requests, %q", status, asked, errs)
	}
}

func TestLogsPolled(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprint("ranges ", ranges), func(t *testing.T) {
			c := newCloud(t)
			c.ranges = ranges
			c.apps["hello"] = started("hello")
			c.files["hello/0/logs"] = "stderr.log      1.0K\nstdout.log      12B\n"
			c.files["hello/0/logs/stdout.log"] = "one\ntwo\nthree\nfo"
			c.files["hello/0/logs/stderr.log"] = ""
			u := c.at(t)
			u.wants("app/0 stdout | three\napp/0 stdout | fo\n\n", "logs", "hello", "--recent", "--lines", "2")

			grow := watched{text: "three", do: func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.files["hello/0/logs/stdout.log"] += "ur\n"
				c.files["hello/0/logs/stderr.log"] = "oh\n"
				c.files["hello/0/logs"] += "new.log   2B\n"
				c.files["hello/0/logs/new.log"] = "last\n"
			}}
			ctx, cancel := context.WithCancel(t.Context())
			var errs bytes.Buffer
			out := writers{&grow, &watched{text: "last", do: cancel}}
			status := Run(ctx, []string{"logs", "hello", "--tail", "--lines", "1"},
				Streams{Out: out, Err: &errs, Dir: u.dir, Env: func(name string) string { return u.env[name] }})
			if want := "app/0 stdout | three\napp/0 stderr | oh\napp/0 stdout | four\napp/0 new    | last\n\n"; status != 0 || grow.b.String() != want {
				t.Errorf("status %d, got\n%s", status, grow.b.String())
			}
			if want := c.srv.URL + " has no live log: its log files are asked for every second\n"; errs.String() != want {
				t.Errorf("stderr %q", errs.String())
			}
		})
	}
}

// writers are written to one after the other.
type writers []*watched

func (ws writers) Write(p []byte) (int, error) {
	for _, w := range ws {
		if n, err := w.Write(p); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

func TestLogColors(t *testing.T) {
	s := &session{terminal: &terminal{colors: true}}
	p := s.linePrinter()
	for _, tc := range []struct {
		line api.LogLine
		want string
	}{
		{logLine(0, "stdout", "a\x1b[1mb\x1b[0m\x1b]52;c;eA==\x07\x1b[2Jc", 1), "\x1b[36mapp/0 stdout |\x1b[0m a\x1b[1mb\x1b[0m]52;c;eA==[2Jc"},
		{logLine(1, "stderr", "oops", 1), "\x1b[33mapp/1 stderr |\x1b[0m \x1b[31moops\x1b[0m"},
		{logLine(api.NoInstance, "event", "scaled", 1), "\x1b[90mapp event    |\x1b[0m \x1b[90mscaled\x1b[0m"},
	} {
		if got := p.format(tc.line); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// A cursor stays short however many instances come and go, and keeps the newest.
func TestCursorForgets(t *testing.T) {
	var c cursor
	for i := range 10 * rememberedLogs {
		c.add(api.LogLine{ID: fmt.Sprintf("%x", i), Source: "stdout", Seq: 1})
	}
	since := c.since()
	if len(since) > 2*rememberedLogs || since[fmt.Sprintf("%x:stdout", 10*rememberedLogs-1)] != 1 || since[fmt.Sprintf("%x:stdout", 9*rememberedLogs)] != 1 {
		t.Errorf("%d entries", len(since))
	}
}

// `vmc logs --tail | head -1` ends with head, and not with the line after its last one.
func TestTailOfClosedPipe(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	c.handlers = map[string]http.HandlerFunc{"GET /apps/hello/logs": func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(api.LogLine{App: "hello", Source: "stdout", Line: "the only one"}) //nolint:errcheck // the reader sees it
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	go func() {
		bufio.NewReader(out).ReadString('\n') //nolint:errcheck // the command ends also without it
		out.Close()
	}()
	var errs bytes.Buffer
	status := Run(t.Context(), []string{"logs", "hello", "--tail"}, Streams{Out: in, Err: &errs, Dir: u.dir, Env: func(name string) string { return u.env[name] }})
	if status != 1 || errs.Len() > 0 {
		t.Errorf("status %d, %q", status, errs.String())
	}
}
