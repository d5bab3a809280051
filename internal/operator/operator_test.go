package operator_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"cloudlet/internal/operator"
	"cloudlet/internal/testkit"
)

func serve(t *testing.T, data string, h operator.Handlers) *operator.Client {
	t.Helper()
	testkit.Run(t, operator.NewServer(data, h, testkit.Log(t)))
	return operator.Dial(data)
}

func TestChannel(t *testing.T) {
	// Folders whose names do not fit into a socket's address are usual in home folders.
	for _, data := range []string{t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("long", 40))} {
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatal(err)
		}
		c := serve(t, data, operator.Handlers{
			Status: func() operator.Status { return operator.Status{API: "http://api.example", PID: os.Getpid()} },
			Login: func(context.Context) (operator.Login, error) {
				return operator.Login{Token: "0408"}, nil
			},
		})
		s, err := c.Status(t.Context())
		if err != nil || s.API != "http://api.example" {
			t.Errorf("status: %+v %v", s, err)
		}
		l, err := c.Login(t.Context())
		if err != nil || l.Token != "0408" {
			t.Errorf("login: %+v %v", l, err)
		}
		info, err := os.Stat(filepath.Join(data, "control.sock"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v %v", info, err)
		}
	}
}

func TestErrorsCross(t *testing.T) {
	data := t.TempDir()
	if _, err := operator.Dial(data).Status(t.Context()); !errors.Is(err, operator.ErrNotRunning) {
		t.Errorf("without a server: %v", err)
	}
	c := serve(t, data, operator.Handlers{
		Status: func() operator.Status { return operator.Status{} },
		Login: func(context.Context) (operator.Login, error) {
			return operator.Login{}, errors.New("there is no administrator")
		},
	})
	if _, err := c.Login(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no administrator") {
		t.Errorf("login: %v", err)
	}
}

// Down returns when the process has ended, not when it was asked to.
func TestDownWaits(t *testing.T) {
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Bool
	c := serve(t, t.TempDir(), operator.Handlers{
		Status: func() operator.Status { return operator.Status{PID: sleeper.Process.Pid} },
		Down: func() {
			asked.Store(true)
			sleeper.Process.Kill() //nolint:errcheck // Wait tells
			sleeper.Wait()         //nolint:errcheck // it was killed
		},
	})
	if err := c.Down(t.Context()); err != nil || !asked.Load() {
		t.Errorf("down: %v", err)
	}
}

// A socket that a killed server left is in nobody's way, and one whose owner is somebody
// else is not spoken to.
func TestLeftOverSocket(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "control.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := serve(t, data, operator.Handlers{Status: func() operator.Status { return operator.Status{API: "x"} }})
	if s, err := c.Status(t.Context()); err != nil || s.API != "x" {
		t.Errorf("%+v %v", s, err)
	}
	if os.Geteuid() != 0 {
		return
	}
	// Root opens the folder to all, so that only the check of the peer is left.
	for _, f := range []string{data, filepath.Dir(data)} {
		if err := os.Chmod(f, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(data, "control.sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is the stranger of this test")
	}
	script := `import os, socket, sys
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(10)
try: s.sendall(b"GET /status HTTP/1.0\r\n\r\n"); answer = s.recv(100)
except OSError: answer = b""
sys.exit(1 if answer else 0)`
	if out, err := exec.Command("/usr/bin/python3", "-c", script, filepath.Join(data, "control.sock")).CombinedOutput(); err != nil {
		t.Errorf("a stranger got an answer: %v %s", err, out)
	}
}

// filteredEnv names the data folder that this test binary asks about as an application would.
const filteredEnv = "OPERATOR_TEST_FILTERED"

// A process of a container may be of our own user, and is refused all the same.
func TestContainersAreRefused(t *testing.T) {
	if data := os.Getenv(filteredEnv); data != "" {
		filterCalls(t)
		if s, err := operator.Dial(data).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "filter of system calls") {
			t.Errorf("%+v %v", s, err)
		}
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("there are no such filters here")
	}
	data := t.TempDir()
	serve(t, data, operator.Handlers{Status: func() operator.Status { return operator.Status{API: "x"} }})
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestContainersAreRefused$", "-test.v")
	cmd.Env = append(os.Environ(), filteredEnv+"="+data)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v %s", err, out)
	}
}

func TestDataDir(t *testing.T) {
	env := map[string]string{"CLOUDLET_DATA": "/named", "XDG_DATA_HOME": "/xdg", "HOME": "/home/me"}
	get := func(name string) string { return env[name] }
	want := []string{"/named", "/xdg/cloudlet", "/home/me/.local/share/cloudlet"}
	if os.Geteuid() == 0 {
		want = []string{"/named", "/var/lib/cloudlet", "/var/lib/cloudlet"}
	}
	for i, drop := range []string{"", "CLOUDLET_DATA", "XDG_DATA_HOME"} {
		delete(env, drop)
		if got := operator.DataDir(get); got != want[i] {
			t.Errorf("%d: %s, want %s", i, got, want[i])
		}
	}
}
