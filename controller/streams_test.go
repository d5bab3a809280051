package controller_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/controller/api"
	"cloudlet/dea"
	"cloudlet/internal/testkit"
	"cloudlet/warden"
)

// real is a cloud with a real DEA, whose instances run in real containers.
type real struct {
	*cloud
	pool *warden.Pool
	api  *api.Client
}

// withDEA runs an app of alice, hello, whose droplet is a startup script. Nothing listens.
func withDEA(t *testing.T, level warden.Level, script string) *real {
	t.Helper()
	c := start(t, func(cfg *controller.Config) { cfg.Gather = 200 * time.Millisecond })
	r := &real{cloud: c, api: api.NewClient(c.ctl.URL(), c.tokens[alice])}
	dir := t.TempDir()
	r.pool = warden.New(warden.Config{Dir: filepath.Join(dir, "containers"), Level: level, LogMax: 16 << 10}, testkit.Log(t))
	if err := r.pool.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, box := range r.pool.List() { // those of crashed instances stay
			if err := box.Destroy(context.Background()); err != nil {
				t.Error(err)
			}
		}
		r.pool.Close() //nolint:errcheck // as in every test's end
	})
	d := dea.New(dea.Config{
		Dir: filepath.Join(dir, "dea"), MaxMemory: 4096, Runtimes: []dea.Runtime{{Name: "node", Executable: "/bin/sh"}},
	}, c.bus, r.pool, testkit.Log(t))
	testkit.Run(t, d)
	s := c.stager()
	s.instead(func(task bus.StagingTask) bus.StagingResult {
		if err := bus.Logs(task.AppID).Publish(c.conn, bus.LogLine{App: task.AppID, Source: bus.SourceStaging, Text: "packing", Time: time.Now()}); err != nil {
			t.Error(err)
		}
		return bus.StagingResult{TaskID: "t", Error: text(sendDroplet(task.UploadURI, tarball(t, script)))}
	})
	r.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"},"uris":[],"instances":1,"resources":{"memory":64}}`)
	if a := r.upload(alice, "hello", pack(t, "app.js", "hello"), "[]"); a.status != 200 {
		t.Fatal(a)
	}
	return r
}

// tarball is a droplet.
func tarball(t *testing.T, script string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, dir := range []string{"./app/", "./logs/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			t.Error(err)
		}
	}
	script = "#!/bin/sh\n" + script
	err := w.WriteHeader(&tar.Header{Name: "./startup", Typeflag: tar.TypeReg, Mode: 0o500, Size: int64(len(script))})
	if err == nil {
		_, err = io.WriteString(w, script)
	}
	if err = errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Error(err)
	}
	return &b
}

// home is the folder of the container of the instance of an index.
func (r *real) home(index int) (home string) {
	r.t.Helper()
	testkit.Eventually(r.t, func() error {
		q := bus.FindDroplet{Droplet: bus.AppNumber(r.app(alice, "hello").ID), Indices: []int{index}, States: []bus.State{bus.Running}}
		found := bus.DEAFindDroplet.Gather(r.t.Context(), r.conn, q, 1, 200*time.Millisecond)
		if len(found) == 0 {
			return fmt.Errorf("instance %d does not run", index)
		}
		box, err := r.pool.Get("app-" + found[0].Instance)
		if err == nil {
			home = box.Home()
		}
		return err
	})
	return home
}

// touch makes a file for an instance that waits for it.
func (r *real) touch(home, name string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(home, name), nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// logs opens a stream.
func (r *real) logs(q api.LogQuery) *api.LogStream {
	r.t.Helper()
	s, err := r.api.Logs(r.t.Context(), "hello", q)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	return s
}

// until reads up to a line, which is "source: text" or the beginning of that; to the end
// of the stream where that is empty.
func until(t *testing.T, s *api.LogStream, last string) (got []string) {
	t.Helper()
	for {
		l, err := s.Next()
		if last == "" && errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		if l.Mark {
			continue
		}
		text := l.Source + ": " + l.Line
		if l.Instance >= 0 {
			text = strconv.Itoa(l.Instance) + " " + text
		}
		got = append(got, text)
		if last != "" && strings.HasPrefix(text, last) {
			return got
		}
	}
}

// levels runs a test at each level that this machine has.
func levels(t *testing.T, test func(t *testing.T, level warden.Level)) {
	for _, level := range []warden.Level{warden.Full, warden.Process} {
		t.Run(string(level), func(t *testing.T) {
			if level == warden.Full && (runtime.GOOS != "linux" || os.Geteuid() != 0) {
				t.Skip("level full needs root on Linux")
			}
			test(t, level)
		})
	}
}

// A reader sees the staging, each instance from its first line to its last, and what
// befalls them, across a crash, a scaling and a deletion.
func TestLogsOfALife(t *testing.T) {
	levels(t, func(t *testing.T, level warden.Level) {
		r := withDEA(t, level, `cd $HOME; echo up; echo odd >&2; until [ -e go ]; do sleep 0.02; done; echo last; exit 3`)
		s := r.logs(api.LogQuery{Lines: 100, Follow: true})
		if got := until(t, s, "event:"); !slices.Equal(got, []string{"event: No instance has logs at present."}) {
			t.Errorf("before the start: %q", got)
		}
		r.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
		if got := until(t, s, "0 stdout: up"); got[0] != "staging: packing" {
			t.Errorf("at the start: %q", got)
		}
		home := r.home(0)
		if got := words(until(t, r.logs(api.LogQuery{Lines: 100}), "")); got != "0 stderr: odd,0 stdout: up" {
			t.Errorf("without following: %s", got)
		}
		r.touch(home, "go")
		got := until(t, s, "0 event: crashed")
		if i := slices.Index(got, "0 stdout: last"); i < 0 || got[len(got)-1] != "0 event: crashed, exit status 3: app instance exited" {
			t.Errorf("the crash: %q", got)
		}
		// Nothing runs now: the past is that of what crashed last.
		if got := words(until(t, r.logs(api.LogQuery{Lines: 1}), "")); !strings.HasSuffix(got, "0 stderr: odd,0 stdout: last") {
			t.Errorf("after the crash: %s", got)
		}
		r.publish(bus.HMRequests.Publish(r.conn, bus.HMRequest{
			Droplet: bus.AppNumber(r.app(alice, "hello").ID).ID(), Op: "START", Version: r.app(alice, "hello").Version(), Indices: []int{0},
			LastUpdated: bus.At(r.app(alice, "hello").Updated),
		}))
		until(t, s, "0 stdout: up")
		r.ok(alice, "PUT", "/apps/hello", `{"instances":2,"state":"STARTED"}`)
		until(t, s, "1 stdout: up")
		r.ok(alice, "DELETE", "/apps/hello", "")
		if got := until(t, s, ""); got[len(got)-1] != "event: The application was deleted." {
			t.Errorf("the end: %q", got)
		}
	})
}

// running is withDEA with one instance of it running.
func running(t *testing.T, level warden.Level, script string) *real {
	t.Helper()
	r := withDEA(t, level, script)
	r.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	r.home(0)
	return r
}

// exec runs a command of alice and gives its output and how it ended.
func (r *real) exec(req api.ExecRequest, input string) (out, errs string, exit api.ExecExit) {
	r.t.Helper()
	var o, e bytes.Buffer
	exit, err := r.api.Exec(r.t.Context(), "hello", "0", req, api.ExecStreams{Stdin: strings.NewReader(input), Stdout: &o, Stderr: &e})
	if err != nil {
		r.t.Fatalf("%v; it said %q and %q", err, &o, &e)
	}
	return o.String(), e.String(), exit
}

func TestExec(t *testing.T) {
	levels(t, func(t *testing.T, level warden.Level) {
		r := running(t, level, "exec sleep 1000")
		out, errs, exit := r.exec(api.ExecRequest{Args: []string{"sh", "-c", `cat; echo odd >&2; echo $A $PORT; exit 4`}, Env: map[string]string{"A": "a b"}}, "hello\n")
		if port := fmt.Sprint(r.pool.List()[0].Port()); out != "hello\na b "+port+"\n" || errs != "odd\n" || exit != (api.ExecExit{Status: 4, Reason: "exited with status 4"}) {
			t.Errorf("%q, %q, %+v", out, errs, exit)
		}
		out, _, exit = r.exec(api.ExecRequest{}, "pwd; [ $HOME/app = $PWD ] && exit 5\n") // a shell
		if !strings.HasSuffix(out, "/app\n") || exit.Status != 5 {
			t.Errorf("a shell: %q, %+v", out, exit)
		}
		big := strings.Repeat("0123456789abcde\n", 1<<16) // 1 MiB
		if out, _, _ := r.exec(api.ExecRequest{Args: []string{"cat"}}, big); out != big {
			t.Errorf("%d bytes of %d came back", len(out), len(big))
		}
		if _, _, exit := r.exec(api.ExecRequest{Args: []string{"sh", "-c", "kill -9 $$"}}, ""); exit.Signal != 9 || exit.Status != 137 {
			t.Errorf("a signal: %+v", exit)
		}
		if _, err := r.api.Exec(t.Context(), "hello", "0", api.ExecRequest{Args: []string{"no-such-program"}}, api.ExecStreams{}); err == nil || err.Error() != "no-such-program: no such program in PATH" {
			t.Errorf("no such program: %v", err)
		}
		r.expectEvents("instance 0, sh", "instance 0, a shell", "instance 0, cat", "instance 0, sh", "instance 0, no-such-program")
	})
}

// expectEvents compares the details of the commands that were run.
func (r *real) expectEvents(want ...string) {
	r.t.Helper()
	events, err := r.api.Events(r.t.Context(), "hello", 0, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, e := range slices.Backward(events) {
		if e.Action == "app.exec" && e.Actor == alice {
			got = append(got, e.Detail)
		}
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("events: %q, want %q", got, want)
	}
}

func TestExecOnATerminal(t *testing.T) {
	r := running(t, "", "exec sleep 1000")
	keys, typist := io.Pipe()
	shown, screen := io.Pipe()
	resize, signals := make(chan api.TerminalSize), make(chan string)
	ended := make(chan error, 1)
	go func() {
		req := api.ExecRequest{Args: []string{"sh", "-c", `trap got=yes USR1; echo $TERM; stty size
			until [ "$(stty size)" = "40 100" ]; do sleep 0.02; done; echo resized
			until [ "$got" ]; do sleep 0.02; done; echo signalled
			while read a; do echo "<$a>"; done; exit 6`}, TTY: true, Rows: 30, Cols: 90}
		exit, err := r.api.Exec(t.Context(), "hello", "0", req, api.ExecStreams{Stdin: keys, Stdout: screen, Resize: resize, Signals: signals})
		if err == nil && exit.Status != 6 {
			err = fmt.Errorf("%+v", exit)
		}
		ended <- err
		screen.Close()
	}()
	in := bufio.NewReader(shown)
	shows := func(want string) {
		t.Helper()
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%v instead of %q", err, want)
			}
			if strings.TrimSpace(line) == want {
				return
			}
		}
	}
	shows("xterm")
	shows("30 90")
	resize <- api.TerminalSize{Rows: 40, Cols: 100}
	shows("resized")
	signals <- "USR1"
	shows("signalled")
	fmt.Fprintln(typist, "one")
	shows("<one>")
	typist.Close()
	io.Copy(io.Discard, in) //nolint:errcheck // to the end
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A command ends with its client, with its whole session, and with its instance.
func TestExecEnds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	r := running(t, "", "exec sleep 1000")
	mark := fmt.Sprintf("86400.%09d", time.Now().Nanosecond())
	lives := func(want int) error {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		n := 0
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && string(b) == "sleep\x00"+mark+"\x00" {
				n++
			}
		}
		return errors.Join(err, testkit.Equal(n, want))
	}
	exec := func(ctx context.Context) <-chan error {
		ended, began := make(chan error, 1), make(chan struct{})
		go func() {
			req := api.ExecRequest{Args: []string{"sh", "-c", "sleep " + mark + " & sleep " + mark + "; echo"}}
			_, err := r.api.Exec(ctx, "hello", "0", req, api.ExecStreams{Started: func() { close(began) }})
			ended <- err
		}()
		select {
		case <-began:
		case err := <-ended:
			ended <- err
		}
		return ended
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all := []<-chan error{}
	for range 8 {
		all = append(all, exec(ctx))
	}
	testkit.Eventually(t, func() error { return lives(16) })
	if err := <-exec(ctx); err == nil || !strings.Contains(err.Error(), "8 commands run") {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for _, ended := range all {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that leaves: %v", err)
		}
	}
	testkit.Eventually(t, func() error { return lives(0) })
	var ended <-chan error
	testkit.Eventually(t, func() error { // the DEA counts those that have ended for a moment longer
		ended = exec(t.Context())
		select {
		case err := <-ended:
			return err
		default:
			return nil
		}
	})
	testkit.Eventually(t, func() error { return lives(2) })
	r.ok(alice, "PUT", "/apps/hello", `{"state":"STOPPED"}`)
	if err := <-ended; err != nil && err.Error() != "the instance has ended" {
		t.Errorf("an instance that ends: %v", err)
	}
	testkit.Eventually(t, func() error { return lives(0) })
}

func TestExecRefuses(t *testing.T) {
	r := running(t, "", "exec sleep 1000")
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	for _, tc := range []struct {
		who, path string
		header    []string
		status    int
		text      string
	}{
		{alice, "/apps/hello/instances/0/exec", nil, 400, "websockets"},
		{alice, "/apps/hello/instances/0/exec", append([]string{"Origin", "http://hello.localhost"}, upgrade...), 403, "another site"},
		{alice, "/apps/hello/instances/1/exec", upgrade, 400, "304"},
		{alice, "/apps/hello/instances/0123456789abcdef/exec", upgrade, 400, "304"},
		{alice, "/apps/other/instances/0/exec", upgrade, 404, "301"},
		{bob, "/apps/hello/instances/0/exec", upgrade, 404, "301"},
		{"", "/apps/hello/instances/0/exec", upgrade, 403, "200"},
	} {
		if a := r.do(tc.who, "GET", tc.path, "", tc.header...); a.status != tc.status || !strings.Contains(a.body, tc.text) {
			t.Errorf("%s of %q %v: %+v", tc.path, tc.who, tc.header, a)
		}
	}
	uri := strings.Replace(r.ctl.URL(), "http:", "ws:", 1) + "/apps/hello/instances/0/exec"
	for first, want := range map[string]string{
		`{`: "JSON", `"x"`: "JSON", `{"args":["a\u0000"]}`: "zero byte", `{"args":[""]}`: "empty", `{"env":{"":"x"}}`: "variable", strings.Repeat("x", 70_000): "",
	} {
		ws, _, err := websocket.Dial(t.Context(), uri, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {r.tokens[alice]}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(first)); err != nil {
			t.Fatal(err)
		}
		_, answer, err := ws.Read(t.Context())
		if want == "" && err == nil || want != "" && !strings.Contains(string(answer), want) {
			t.Errorf("%.20s: %s, %v", first, answer, err)
		}
		ws.CloseNow() //nolint:errcheck // all was said
	}
}

func words(lines []string) string { return strings.Join(lines, ",") }

// However often a reader comes back, and however often the log is rotated: each line
// comes once.
func TestLogsAreResumed(t *testing.T) {
	const n = 3000
	r := withDEA(t, "", `cd $HOME; i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 10)) -ne 0 ] || sleep 0.005; done; sleep 1000`)
	r.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	q := api.LogQuery{Follow: true, Since: api.LogCursor{"00:stdout": 1}}
	next, streams := 0, 0
	for next < n {
		s := r.logs(q)
		streams++
		for upTo := next + 400; next < min(n, upTo); {
			l, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			q.Since.Add(l)
			if l.Source != "stdout" || l.Mark {
				continue
			}
			if want := fmt.Sprintf("line %d", next); l.Line != want {
				t.Fatalf("%q instead of %q in stream %d", l.Line, want, streams)
			}
			next++
		}
		s.Close()
	}
	if _, err := os.Stat(filepath.Join(r.home(0), "logs/stdout.log.1")); err != nil {
		t.Errorf("the log was not rotated: %v", err)
	}
}

func TestLogStreamsAreBounded(t *testing.T) {
	c := start(t, func(cfg *controller.Config) { cfg.Gather = 10 * time.Millisecond })
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	cl := api.NewClient(c.ctl.URL(), c.tokens[alice])
	var open []*api.LogStream
	for len(open) < 32 {
		s, err := cl.Logs(t.Context(), "hello", api.LogQuery{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if _, err := cl.Logs(t.Context(), "hello", api.LogQuery{}); !errors.Is(err, api.BadRequest) {
		t.Errorf("one stream too many: %v", err)
	}
	// A client that has gone leaves nothing behind.
	for _, s := range open {
		s.Close()
	}
	testkit.Eventually(t, func() error {
		s, err := cl.Logs(t.Context(), "hello", api.LogQuery{})
		if err != nil {
			return err
		}
		return s.Close()
	})
	// Nor does a token that ends let its stream go on.
	s, err := cl.Logs(t.Context(), "hello", api.LogQuery{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	until(t, s, "event: No instance")
	c.ok(alice, "DELETE", "/tokens", "")
	if got := until(t, s, ""); !strings.Contains(got[0], "token") {
		t.Errorf("the token has ended: %q", got)
	}
}

func TestLogsRefuse(t *testing.T) {
	c := start(t, nil)
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	for path, want := range map[string]string{
		"/apps/hello/logs?lines=-1": "lines is a number", "/apps/hello/logs?lines=10001": "lines is a number", "/apps/hello/logs?follow=x": "follow is",
		"/apps/hello/logs?since=x": "since:", "/apps/hello/logs?instance=1": "304", "/apps/other/logs": "301",
	} {
		if r := c.do(alice, "GET", path, ""); r.status < 400 || !strings.Contains(r.body, want) {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if r := c.do(bob, "GET", "/apps/hello/logs", ""); r.status != 404 {
		t.Errorf("another user: %+v", r)
	}
	if r := c.do("", "GET", "/apps/hello/logs", ""); r.status != 403 {
		t.Errorf("nobody: %+v", r)
	}
	if r := c.do(alice, http.MethodHead, "/apps/hello/logs?follow=1", ""); r.status != 200 || r.body != "" {
		t.Errorf("HEAD: %+v", r)
	}
}
