package dea_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/dea"
	"cloudlet/internal/testkit"
)

// logs opens the log stream of an instance.
func (r *rig) logs(f bus.FoundDroplet, query string) *http.Response {
	r.t.Helper()
	uri := strings.Replace(f.FileURI, "/droplets/", "/logs/", 1) + f.Staged + "?" + query
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, uri, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth(f.Credentials[0], f.Credentials[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// lines are the log lines up to the first that is wanted to be the last, or the end.
func lines(t *testing.T, in *bufio.Reader, last func(api.LogLine) bool) (got []api.LogLine) {
	t.Helper()
	for {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		var l api.LogLine
		if len(text) == 1 {
			continue
		}
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
		if last != nil && last(l) {
			return got
		}
	}
}

func words(lines []api.LogLine) (out []string) {
	for _, l := range lines {
		if !l.Mark {
			out = append(out, l.Source+": "+l.Line)
		}
	}
	return out
}

// waiting is an app that says something, waits for a file, says more and crashes.
const waiting = `cd $HOME; echo one; echo two >&2; echo own > logs/own.log; until [ -e go ]; do sleep 0.05; done; echo three; printf four; exit 3`

func TestLogsAreFollowed(t *testing.T) {
	r := newRig(t, dea.Config{})
	m := r.message(r.droplet(waiting))
	m.URIs = nil
	r.start(m)
	found := r.find(bus.FindDroplet{States: []bus.State{bus.Running}}, 1)[0]
	home := r.pool.List()[0].Home()
	for name, want := range map[string]string{"stdout.log": "one\n", "stderr.log": "two\n", "own.log": "own\n"} {
		testkit.Eventually(t, func() error {
			text, err := os.ReadFile(filepath.Join(home, "logs", name))
			return errors.Join(err, testkit.Equal(string(text), want))
		})
	}
	in := bufio.NewReader(r.logs(found, "lines=10&follow=1").Body)
	past := lines(t, in, func(l api.LogLine) bool { return l.Mark && l.Source == "stdout" })
	if got := words(past); !slices.Equal(got, []string{"own: own", "stderr: two", "stdout: one"}) {
		t.Errorf("the past: %q", got)
	}
	cursor := api.LogCursor{}
	for _, l := range past {
		cursor.Add(l)
		if l.App != "hello" || l.Instance != 0 || !strings.HasPrefix(found.Instance, l.ID) || !l.Time.IsZero() {
			t.Errorf("%+v", l)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	rest := lines(t, in, nil)
	got := words(rest)
	slices.Sort(got)
	if len(got) != 3 || !strings.HasPrefix(got[0], "err: [") || !strings.HasSuffix(got[0], "exited with status 3 after "+got[0][strings.LastIndexByte(got[0], ' ')+1:]) ||
		got[1] != "stdout: four" || got[2] != "stdout: three" {
		t.Errorf("to the end: %q", got)
	}
	for _, l := range rest {
		if !l.Mark && l.Time.IsZero() {
			t.Errorf("%+v has no time", l)
		}
	}
	// The files of a crash stay, and who comes back misses nothing.
	again := words(lines(t, bufio.NewReader(r.logs(found, "lines=0&follow=1&since="+cursor.String()).Body), nil))
	slices.Sort(again)
	if !slices.Equal(again, got) {
		t.Errorf("since a cursor: %q, want %q", again, got)
	}
	if got := words(lines(t, bufio.NewReader(r.logs(found, "lines=1").Body), nil)); len(got) != 5 {
		t.Errorf("without following: %q", got)
	}
	if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
		t.Fatal(err)
	}
	r.find(bus.FindDroplet{}, 0)
}

// The folder of the logs is the app's: what it puts there keeps nobody waiting.
func TestLogsOfAHostileFolder(t *testing.T) {
	r := newRig(t, dea.Config{})
	for _, script := range []string{
		"rm -rf logs; mkfifo logs", "rm -rf logs; ln -s /etc logs", "rm -rf logs; echo x > logs",
		"cd logs; rm stdout.log; mkfifo stdout.log; ln -s /etc/passwd own.log; mkdir stderr.log.1 other.log",
	} {
		// The supervisor makes the two logs when the script has begun.
		m := r.message(r.droplet("cd $HOME; until [ -e logs/stdout.log -a -e logs/stderr.log ]; do sleep 0.01; done; " + script + "; touch $HOME/done; sleep 1000"))
		m.URIs = nil
		r.start(m)
		found := r.find(bus.FindDroplet{States: []bus.State{bus.Running}}, 1)[0]
		testkit.Eventually(t, func() error {
			_, err := os.Stat(filepath.Join(r.pool.List()[0].Home(), "done"))
			return err
		})
		if got := words(lines(t, bufio.NewReader(r.logs(found, "lines=all").Body), nil)); len(got) > 0 {
			t.Errorf("%s: %q", script, got)
		}
		if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
			t.Fatal(err)
		}
		r.find(bus.FindDroplet{}, 0)
		testkit.Eventually(t, func() error { return testkit.Equal(len(r.pool.List()), 0) })
	}
}

func TestLogsAreForOwners(t *testing.T) {
	r := newRig(t, dea.Config{})
	m := r.message(r.droplet("sleep 1000"))
	m.URIs = nil
	r.start(m)
	found := r.find(bus.FindDroplet{States: []bus.State{bus.Running}}, 1)[0]
	for query, want := range map[string]int{"lines=1": 200, "lines=x": 400, "": 400, "lines=1&since=x": 400} {
		if resp := r.logs(found, query); resp.StatusCode != want {
			t.Errorf("%s: %s", query, resp.Status)
		}
	}
	wrong := found
	wrong.Staged = "hello-0-0000"
	if resp := r.logs(wrong, "lines=1"); resp.StatusCode != 404 {
		t.Errorf("another instance: %s", resp.Status)
	}
	wrong = found
	wrong.Credentials = []string{"a", "b"}
	if resp := r.logs(wrong, "lines=1"); resp.StatusCode != 401 {
		t.Errorf("other credentials: %s", resp.Status)
	}
	// A stream that is followed ends with the DEA.
	r.logs(found, "lines=all&follow=1")
}
