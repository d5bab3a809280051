package wardentest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cloudlet/warden"
)

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func testLogs(s *suite) {
	const max = 32 << 10
	c := s.create(s.pool(warden.Config{LogMax: max}), warden.Spec{})
	s.start(c, "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo quiet >&2")
	s.wait(c)
	all := s.log(c, "stdout.log.1") + s.log(c, "stdout.log")
	if !strings.HasSuffix(all, "line 19999\n") || len(all) < max {
		s.Errorf("the last lines are missing in %d bytes", len(all))
	}
	// What is kept has no gap.
	lines := strings.Split(strings.TrimSpace(all), "\n")
	for i, l := range lines[1:] {
		if want := fmt.Sprintf("line %d", 20000-len(lines)+1+i); l != want {
			s.Fatalf("%q where %q should be", l, want)
		}
	}
	for _, name := range []string{"stdout.log", "stdout.log.1"} {
		if n := len(s.log(c, name)); n > max+64<<10 {
			s.Errorf("%s has %d bytes", name, n)
		}
	}
	if s.log(c, "stderr.log") != "quiet\n" {
		s.Errorf("stderr.log: %q", s.log(c, "stderr.log"))
	}
}

// testHostileLogs: whatever an app does to its logs folder, the supervisor
// neither writes elsewhere nor blocks nor dies, and the app's end is known.
func testHostileLogs(s *suite) {
	p := s.pool(warden.Config{LogMax: 4 << 10})
	outside := filepath.Join(filepath.Dir(s.dir), "outside")
	if err := os.WriteFile(outside, []byte("precious"), 0o666); err != nil {
		s.Fatal(err)
	}
	os.Chmod(outside, 0o666)
	noise := "; i=0; while [ $i -lt 2000 ]; do echo 0123456789 $i; i=$((i+1)); done; exit 7"
	for name, script := range map[string]string{
		"symlink":            "rm logs/stdout.log; ln -s " + outside + " logs/stdout.log",
		"symlink in home":    "echo mine > mine; rm logs/stdout.log; ln -s ../mine logs/stdout.log",
		"fifo":               "rm logs/stdout.log; mkfifo logs/stdout.log",
		"fifo with a reader": "rm logs/stdout.log; mkfifo logs/stdout.log; (sleep 1000 < logs/stdout.log &)",
		"hard link":          "echo mine > mine; rm logs/stdout.log; ln mine logs/stdout.log",
		"folder":             "rm logs/stdout.log; mkdir -p logs/stdout.log/x",
		"folder for the old": "mkdir -p logs/stdout.log.1/x",
		"no folder":          "rm -rf logs",
		"folder is a link":   "rm -rf logs; ln -s " + filepath.Dir(outside) + " logs",
		"folder is a file":   "rm -rf logs; echo > logs",
		"folder is a fifo":   "rm -rf logs; mkfifo logs",
		"folder moved away":  "mv logs elsewhere",
		"not writable":       "chmod 0 logs logs/stdout.log",
		"truncated":          ": > logs/stdout.log",
	} {
		c := s.create(p, warden.Spec{})
		s.start(c, "while ! [ -e logs/stderr.log ]; do sleep 0.01; done; "+script+noise)
		if e := s.wait(c); e.Status != 7 || !e.Known {
			s.Errorf("%s: %+v", name, e)
		}
		if b, _ := os.ReadFile(filepath.Join(c.Home(), "mine")); len(b) > 0 && string(b) != "mine\n" {
			s.Errorf("%s: the app's file was written: %d bytes", name, len(b))
		}
	}
	if b, err := os.ReadFile(outside); string(b) != "precious" {
		s.Errorf("a file outside was written: %d bytes, %v", len(b), err)
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(outside), "stdout.log")); err == nil {
		s.Error("a log was written outside")
	}
	// A folder that comes back is used again.
	c := s.create(p, warden.Spec{})
	s.start(c, "rm -rf logs; echo > logs; echo lost; sleep 0.01; rm logs; while ! [ -s logs/stdout.log ]; do echo found; sleep 0.05; done; exit 2")
	if e := s.wait(c); e.Status != 2 {
		s.Errorf("after the folder came back: %+v", e)
	}
}

func testOwn(s *suite) {
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{})
	outside := filepath.Join(filepath.Dir(s.dir), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		s.Fatal(err)
	}
	before := owner(s, outside)
	home := c.Home()
	must := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(home, "a/b"), 0o700))
	must(os.WriteFile(filepath.Join(home, "a/b/file"), []byte("x"), 0o600))
	must(os.Link(filepath.Join(home, "a/b/file"), filepath.Join(home, "a/twin")))
	must(os.Symlink(outside, filepath.Join(home, "link")))
	must(os.Symlink(filepath.Dir(outside), filepath.Join(home, "linked")))
	must(os.Symlink("nowhere", filepath.Join(home, "a/dangling")))
	must(syscall.Mkfifo(filepath.Join(home, "fifo"), 0o600))
	must(os.Link(outside, filepath.Join(home, "hard")))
	must(c.Own())
	if owner(s, outside) != before {
		s.Error("a file outside was given away")
	}
	if out, e := s.run(c, "echo y >> a/b/file && cat a/twin && touch a/new && : > a/b/own && rm -r a fifo link"); out != "xy\n" || e.Status != 0 {
		s.Errorf("%q, %+v", out, e)
	}
	deep := home
	for range 400 {
		deep = filepath.Join(deep, "deep")
	}
	must(os.MkdirAll(deep, 0o700))
	if err := c.Own(); err == nil && os.Geteuid() == 0 {
		s.Error("a very deep tree was walked")
	}
}

func owner(s *suite, path string) uint32 {
	st, err := os.Lstat(path)
	if err != nil {
		s.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Uid
}

func testUsage(s *suite) {
	p := s.pool(warden.Config{DiskEvery: time.Nanosecond})
	c := s.create(p, warden.Spec{})
	s.start(c, "x=$(head -c 8000000 /dev/zero | tr '\\0' x); head -c 3000000 /dev/zero > big; (sleep 1000 &); i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo up; sleep 1000; echo $x")
	s.says(c, "up")
	var cpu time.Duration
	s.eventually(func() error {
		u, err := c.Usage()
		if err != nil {
			return err
		}
		if u.CPU < cpu {
			s.Errorf("CPU time fell from %v to %v", cpu, u.CPU)
		}
		cpu = u.CPU
		if u.Processes < 2 || u.Memory < 8e6 || u.Memory > 1e9 || u.CPU <= 0 || u.Disk < 3e6 || u.Disk > 1e8 {
			return fmt.Errorf("usage is %+v", u)
		}
		return nil
	})
	s.destroy(c)
	if u, err := c.Usage(); err != nil || u.Processes != 0 || u.CPU < cpu {
		s.Errorf("after the end: %+v, %v", u, err)
	}
}

func testLongNames(s *suite) {
	dir := filepath.Join(filepath.Dir(s.dir), strings.Repeat("long/", 40), "containers")
	handle := strings.Repeat("h", 64)
	p := s.openPool(warden.Config{Dir: dir})
	c := s.create(p, warden.Spec{Handle: handle})
	s.start(c, "echo up; sleep 1000")
	s.says(c, "up")
	p.Close()
	p = s.pool(warden.Config{Dir: dir})
	if c, err := p.Get(handle); err != nil {
		s.Error(err)
	} else if out, _ := s.run(c, "echo fine"); out != "fine\n" {
		s.Errorf("output: %q", out)
	}
}

func testCreateErrors(s *suite) {
	p := s.pool(warden.Config{Ports: [2]int{61990, 61991}})
	for _, h := range []string{"", "A", "a/b", "..", ".", "a b", "a.b", strings.Repeat("a", 65), "ä"} {
		if _, err := p.Create(s.ctx(), warden.Spec{Handle: h}); err == nil {
			s.Errorf("a container %q was made", h)
		}
	}
	over, cancel := context.WithCancel(s.ctx())
	cancel()
	if _, err := p.Create(over, warden.Spec{Handle: "c"}); !errors.Is(err, context.Canceled) {
		s.Errorf("with a context that is over: %v", err)
	}
	if p.Isolation().Level != warden.Process {
		_, err := p.Create(s.ctx(), warden.Spec{Handle: "c", Port: true, Mounts: []warden.Mount{{Source: "/no/such/thing", Target: "/x"}}})
		if err == nil || !strings.Contains(err.Error(), "/no/such/thing") {
			s.Errorf("a mount of what is not there: %v", err)
		}
	}
	// Neither the handle nor a port was lost by that.
	a := s.create(p, warden.Spec{Handle: "c", Port: true})
	s.create(p, warden.Spec{Handle: "d", Port: true})
	if _, err := p.Create(s.ctx(), warden.Spec{Handle: "e", Port: true}); err == nil {
		s.Error("three containers have two ports")
	}
	s.destroy(a)
	s.create(p, warden.Spec{Handle: "e", Port: true})
	entries, err := os.ReadDir(s.dir)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }) // the pool's own
	if err != nil || len(entries) != 2 {
		s.Errorf("left over: %v, %v", entries, err)
	}
}

// testUnremovable: a home that its app made hard to remove is removed.
func testUnremovable(s *suite) {
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	deep := helper(s, p, c, "deep", "2000")
	s.run(c, "mkdir -p a/b/c ro/x none/y; touch ro/x/f; chmod 555 ro/x ro; chmod 0 none; cd a/b/c; i=0; while [ $i -lt 300 ]; do mkdir dddddddddddd; cd dddddddddddd; i=$((i+1)); done")
	// Deeper than any program means to.
	if err := c.Start(deep); err != nil {
		s.Fatal(err)
	}
	s.wait(c)
	if out := s.log(c, "stdout.log"); out != "2000\n" {
		s.Errorf("the program could not nest folders: %q", out)
	}
	s.destroy(c)
	if _, err := os.Lstat(c.Home()); !errors.Is(err, os.ErrNotExist) {
		s.Errorf("home: %v", err)
	}
}
