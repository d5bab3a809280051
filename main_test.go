package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cloudlet/internal/operator"
	"cloudlet/warden"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cloudlet": main, "vmc": main})
}

// TestStories runs the real binary through testdata/script, a file a story.
func TestStories(t *testing.T) {
	apps, err := filepath.Abs("testdata/apps")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		WorkdirRoot:         t.TempDir(), // which goes also where only some stories run
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "node":
				_, err := exec.LookPath("node")
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("CLOUDLET_DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("CLOUDLET_LISTEN", "127.0.0.1:"+freePort(e.T()))
			e.Setenv("APPS", apps)
			e.Setenv("npm_config_cache", filepath.Join(e.WorkDir, "npm"))
			e.Defer(func() { stopLeftovers(t, filepath.Join(e.WorkDir, "data")) })
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": awaitReady,
			"fetch": fetchURL,
			"until": until,
			"slay":  slay,
			"ids":   collectIDs,
			"pty":   runPty,
		},
	})
}

const patience = 45 * time.Second

// retry calls f until it returns nil; the last error fails the story.
func retry(ts *testscript.TestScript, f func() error) {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still after %s: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func status(ts *testscript.TestScript) (operator.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return operator.Dial(ts.Getenv("CLOUDLET_DATA")).Status(ctx)
}

// awaitReady waits until the cloud of the story answers: ready. It sets API, LISTEN,
// PORT and PID.
func awaitReady(ts *testscript.TestScript, _ bool, args []string) {
	retry(ts, func() error {
		s, err := status(ts)
		if err != nil {
			return err
		}
		ts.Setenv("API", s.API)
		ts.Setenv("LISTEN", s.Listen)
		ts.Setenv("PID", strconv.Itoa(s.PID))
		_, port, err := net.SplitHostPort(s.Listen)
		if err != nil {
			return err
		}
		ts.Setenv("PORT", port)
		code, _, err := get(s.Listen, s.API+"/info")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("info answers %d", code)
		}
		return err
	})
}

// get fetches a URL through the router, whatever its name resolves to.
func get(listen, url string) (int, string, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, listen)
		},
	}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// fetchURL gets a page until it answers as wanted: fetch [-status N] HOST PATH [REGEXP].
// Its body is the command's output.
func fetchURL(ts *testscript.TestScript, neg bool, args []string) {
	want := http.StatusOK
	if len(args) > 1 && args[0] == "-status" {
		var err error
		want, err = strconv.Atoi(args[1])
		ts.Check(err)
		args = args[2:]
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fetch [-status N] HOST PATH [REGEXP]")
	}
	pattern := regexp.MustCompile(strings.Join(args[2:], " "))
	retry(ts, func() error {
		code, body, err := get(ts.Getenv("LISTEN"), "http://"+args[0]+args[1])
		if err != nil {
			return err
		}
		if code != want || !pattern.MatchString(body) {
			return fmt.Errorf("%s%s answers %d %q", args[0], args[1], code, body)
		}
		_, err = io.WriteString(ts.Stdout(), body)
		return err
	})
}

// until repeats a command until its output matches: until REGEXP COMMAND ARG...
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND [ARG...]")
	}
	pattern := regexp.MustCompile(args[0])
	retry(ts, func() error {
		err := ts.Exec(args[1], args[2:]...)
		if out := ts.ReadFile("stdout") + ts.ReadFile("stderr"); !pattern.MatchString(out) {
			return fmt.Errorf("%s prints %q (%v)", strings.Join(args[1:], " "), out, err)
		}
		return nil
	})
}

// slay kills with SIGKILL: the server (slay server), or the processes named COMM of the
// instance whose id a file holds (slay app FILE COMM).
func slay(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 1 && args[0] == "server":
		pid, err := strconv.Atoi(ts.Getenv("PID"))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
		retry(ts, func() error {
			if s, err := status(ts); err == nil {
				return fmt.Errorf("process %d still answers", s.PID)
			}
			return nil
		})
	case !neg && len(args) == 3 && args[0] == "app":
		pids := instancePIDs(strings.TrimSpace(ts.ReadFile(args[1])), args[2])
		if len(pids) == 0 {
			ts.Fatalf("no process %s of the instance in %s", args[2], args[1])
		}
		for _, pid := range pids {
			ts.Check(syscall.Kill(pid, syscall.SIGKILL))
		}
	default:
		ts.Fatalf("usage: slay server | slay app FILE COMM")
	}
}

// instancePIDs finds an instance's processes by its id in their environment.
func instancePIDs(instance, comm string) (pids []int) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(env), "VMC_APP_ID="+instance) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		if err != nil || strings.TrimSpace(string(name)) != comm {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// collectIDs asks a page until it has given N different answers: ids N HOST PATH.
func collectIDs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: ids N HOST PATH")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	seen := map[string]bool{}
	retry(ts, func() error {
		code, body, err := get(ts.Getenv("LISTEN"), "http://"+args[1]+args[2])
		if err != nil {
			return err
		}
		if code == http.StatusOK {
			seen[body] = true
		}
		if len(seen) < want {
			return fmt.Errorf("%d different answers so far", len(seen))
		}
		return nil
	})
	if len(seen) > want {
		ts.Fatalf("%d different answers, want %d", len(seen), want)
	}
}

// stopLeftovers ends a cloud that a failed story left, and destroys the containers that
// nobody owns any more.
func stopLeftovers(t *testing.T, data string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := operator.Dial(data).Down(ctx); err != nil && !errors.Is(err, operator.ErrNotRunning) {
		t.Error(err)
	}
	p := warden.New(warden.Config{Dir: filepath.Join(data, "containers")}, slog.New(slog.DiscardHandler))
	if err := p.Open(ctx); err != nil {
		t.Error(err)
		return
	}
	for _, c := range p.List() {
		if err := c.Destroy(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// freePort is a port below those that systems give to who names none: nobody takes it
// while the cloud that has it is being started, or started again.
func freePort(t interface{ Fatal(...any) }) string {
	for range 100 {
		port := strconv.Itoa(20_000 + rand.IntN(12_000))
		if ln, err := net.Listen("tcp", ":"+port); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// The status that programs read has what design.md promises.
func TestStatusNames(t *testing.T) {
	data, err := json.Marshal(operator.Status{BusURL: "nats://x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"bus_url"`, `"api"`, `"isolation"`, `"runtimes"`} {
		if !strings.Contains(string(data), key) {
			t.Errorf("status lacks %s: %s", key, data)
		}
	}
}
