// Package wardentest is the conformance suite of warden: what every level must
// do, and what the stronger ones do besides. It is imported by tests only.
//
// Protocol: none. Programs that the tests run inside containers are this test
// binary itself, started with the variable of helper.go, or /bin/sh.
// State: none beyond the test's temporary folders.
// Source: the promises in warden's doc comments.
package wardentest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudlet/warden"
)

// patience guards against hanging; nothing is measured with it.
const patience = time.Minute

// Open gives an opened pool with the settings in cfg, of the level under test.
// The pool is closed by whoever asked for it.
type Open func(t *testing.T, cfg warden.Config) *warden.Pool

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Lifecycle", testLifecycle},
		{"Exits", testExits},
		{"StartErrors", testStartErrors},
		{"Streams", testStreams},
		{"RunEnds", testRunEnds},
		{"RunOfDestroyed", testRunOfDestroyed},
		{"Terminal", testTerminal},
		{"TerminalEnds", testTerminalEnds},
		{"RunSignals", testRunSignals},
		{"RunDoesNotWaitForOthers", testRunDoesNotWait},
		{"Environment", testEnvironment},
		{"Limits", testLimits},
		{"Stop", testStop},
		{"Signal", testSignal},
		{"NothingIsLeft", testNothingIsLeft},
		{"SupervisorKilled", testSupervisorKilled},
		{"SupervisorTerminated", testSupervisorTerminated},
		{"SupervisorStuck", testSupervisorStuck},
		{"HeldUp", testHeldUp},
		{"Adoption", testAdoption},
		{"ExitUnwatched", testExitUnwatched},
		{"CloseEndsUnstarted", testCloseEndsUnstarted},
		{"HalfMade", testHalfMade},
		{"SecondPool", testSecondPool},
		{"Logs", testLogs},
		{"HostileLogs", testHostileLogs},
		{"Own", testOwn},
		{"Usage", testUsage},
		{"Port", testPort},
		{"Relay", testRelay},
		{"RelayManyConnections", testRelayMany},
		{"RelayReset", testRelayReset},
		{"LongNames", testLongNames},
		{"CreateErrors", testCreateErrors},
		{"Unremovable", testUnremovable},
		{"NoLeaks", testNoLeaks},
		{"ManyAtOnce", testManyAtOnce},
		{"MemoryLimit", testMemoryLimit},
		{"MemoryRaised", testMemoryRaised},
		{"ProcessLimit", testProcessLimit},
		{"DiskLimit", testDiskLimit},
		{"Freeze", testFreeze},
		{"Shares", testShares},
		{"DiskShare", testDiskShare},
		{"Quota", testQuota},
		{"Isolation", testIsolation},
		{"OwnFiles", testOwnFiles},
		{"ControlSockets", testControlSockets},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, open: open, dir: folder(t)})
		})
	}
}

// folder is a temporary folder that other users can walk through, as a user's
// data folder usually lies.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "wardentest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.RemoveAll(dir + "-home")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "containers")
}

// suite is one test's surroundings.
type suite struct {
	*testing.T
	open Open
	dir  string
}

// pool opens a pool that is closed at the end, its containers destroyed.
func (s *suite) pool(cfg warden.Config) *warden.Pool {
	s.Helper()
	p := s.openPool(cfg)
	s.Cleanup(func() {
		for _, c := range p.List() {
			s.destroy(c)
		}
		if err := p.Close(); err != nil {
			s.Error(err)
		}
	})
	return p
}

// openPool opens a pool that the test closes itself.
func (s *suite) openPool(cfg warden.Config) *warden.Pool {
	s.Helper()
	if cfg.Dir == "" {
		cfg.Dir = s.dir
	}
	return s.open(s.T, cfg)
}

func (s *suite) create(p *warden.Pool, spec warden.Spec) *warden.Container {
	s.Helper()
	if spec.Handle == "" {
		spec.Handle = fmt.Sprintf("c%d", rand.Uint32())
	}
	c, err := p.Create(s.ctx(), spec)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *suite) destroy(c *warden.Container) {
	s.Helper()
	// The test's own context is over when a clean-up runs.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), patience)
	defer cancel()
	if err := c.Destroy(ctx); err != nil {
		s.Error(err)
	}
}

func (s *suite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

func (s *suite) start(c *warden.Container, script string) {
	s.Helper()
	if err := c.Start(shell(script)); err != nil {
		s.Fatal(err)
	}
}

// run runs a script to its end and gives what it wrote.
func (s *suite) run(c *warden.Container, script string) (string, warden.Exit) {
	s.Helper()
	return s.runCommand(c, shell(script))
}

func (s *suite) runCommand(c *warden.Container, cmd warden.Command) (string, warden.Exit) {
	s.Helper()
	var out both
	e, err := c.Run(s.ctx(), cmd, warden.Streams{Stdout: &out, Stderr: &out})
	if err != nil {
		s.Fatalf("run %q: %v", cmd.Args, err)
	}
	return out.text.String(), e
}

// both takes output and errors as they come.
type both struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *both) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (s *suite) wait(c *warden.Container) warden.Exit {
	s.Helper()
	select {
	case <-c.Done():
	case <-time.After(patience):
		s.Fatal("the container does not end")
	}
	return c.Exit()
}

func (s *suite) log(c *warden.Container, name string) string {
	s.Helper()
	b, err := os.ReadFile(filepath.Join(c.Home(), "logs", name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Fatal(err)
	}
	return string(b)
}

// eventually waits until f has no objection.
func (s *suite) eventually(f func() error) {
	s.Helper()
	end := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// says waits until the main process has written text.
func (s *suite) says(c *warden.Container, text string) {
	s.Helper()
	s.eventually(func() error {
		if out := s.log(c, "stdout.log"); !strings.Contains(out, text) {
			return fmt.Errorf("output is %q, want %q in it", out, text)
		}
		return nil
	})
}

// path lists where the tests' programs are found.
const path = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

func shell(script string) warden.Command {
	return warden.Command{Args: []string{"sh", "-c", script}, Env: []string{path}}
}

// marker is a command that runs for a day and is found by its arguments.
func marker() string { return fmt.Sprintf("sleep 86400.%09d", rand.IntN(1e9)) }

// living gives the processes of the machine whose command line is the marker.
func living(mark string) (pids []string) {
	want := strings.ReplaceAll(mark, " ", "\x00")
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if b, _ := os.ReadFile(f); strings.TrimRight(string(b), "\x00") == want {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// needsProc skips tests that look into the process table.
func (s *suite) needsProc() {
	if runtime.GOOS != "linux" {
		s.Skip("needs /proc")
	}
}

func (s *suite) noneLives(mark string) {
	s.Helper()
	if pids := living(mark); len(pids) > 0 {
		s.Errorf("%q still runs: %v", mark, pids)
	}
}

func (s *suite) lives(mark string, n int) {
	s.Helper()
	s.eventually(func() error {
		if pids := living(mark); len(pids) != n {
			return fmt.Errorf("%d processes of %q, want %d", len(pids), mark, n)
		}
		return nil
	})
}
