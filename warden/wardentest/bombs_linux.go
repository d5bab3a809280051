package wardentest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cloudlet/warden"
)

// The bombs. Each goes off beside a neighbour that must go on answering, and the limits
// must hold by the kernel's own counters.

// beside gives a neighbour and what asks it for an answer.
func (s *suite) beside(p *warden.Pool) func() {
	s.Helper()
	neighbour := s.server(p, "echo", "0.0.0.0")
	return func() {
		s.Helper()
		conn := s.dial(neighbour)
		defer conn.Close()
		b := make([]byte, 5)
		if _, err := fmt.Fprint(conn, "still"); err != nil {
			s.Error(err)
		} else if _, err := io.ReadFull(conn, b); err != nil || string(b) != "still" {
			s.Errorf("the neighbour says %q, %v", b, err)
		}
	}
}

func testForkBomb(s *suite) {
	p := s.pool(warden.Config{})
	s.held(p)
	check := s.beside(p)
	const limit = 50
	c := s.create(p, warden.Spec{Limits: warden.Limits{Processes: limit}})
	// One process waits, so that the container does not end with those that cannot fork. What
	// was forked stays: a shell that cannot fork gives up.
	s.start(c, "for i in 1 2 3; do (while :; do sleep 1000 & done) 2>/dev/null & done; exec sleep 1000")
	s.eventually(func() error {
		u, err := c.Usage()
		if u.Processes > limit {
			s.Fatalf("%d processes", u.Processes)
		}
		if err == nil && u.Processes < limit/2 {
			err = fmt.Errorf("%d processes so far", u.Processes)
		}
		return err
	})
	check()
	if err := c.Stop(s.ctx(), time.Millisecond); err != nil {
		s.Error(err)
	}
	check()
}

func testThreadBomb(s *suite) {
	p := s.pool(warden.Config{})
	s.held(p)
	check := s.beside(p)
	c := s.create(p, warden.Spec{Limits: warden.Limits{Processes: 40}, Mounts: helperMounts(p)})
	s.startHelper(p, c, "threads")
	// The runtime gives up when the kernel refuses a thread.
	if e := s.wait(c); !e.Known || e.Status == 0 {
		s.Errorf("Exit: %+v", e)
	}
	if out := s.log(c, "stderr.log"); !strings.Contains(out, "thread") {
		s.Errorf("stderr: %.300q", out)
	}
	check()
}

// helpThreads takes one thread after the other, for good.
func helpThreads([]string) {
	for range 1000 {
		ready := make(chan bool)
		go func() {
			runtime.LockOSThread()
			ready <- true
			select {}
		}()
		<-ready
	}
}

// testMemoryBombs: what fills memory without being an allocation either counts, or is
// given up by the kernel before it counts.
func testMemoryBombs(s *suite) {
	p := s.pool(warden.Config{})
	s.held(p)
	check := s.beside(p)
	const limit = 32 * mega
	// The kernel counts in batches, and what is being killed may go a little beyond the limit
	// on its way out. A bomb has twice as much as the limit.
	const slack = limit / 8
	for name, test := range map[string]struct {
		script string
		fails  bool
	}{
		"shared memory": {"head -c 70000000 /dev/zero > /dev/shm/x", true},
		"devices":       {"head -c 70000000 /dev/zero > /dev/x", true},
		"run":           {"head -c 70000000 /dev/zero > /run/x", true},
		"pipes":         {"x=$(head -c 70000000 /dev/zero | tr '\\0' x); echo ${#x}", true},
		"page cache":    {"head -c 70000000 /dev/zero > x && cat x x > /dev/null", false},
	} {
		if p.Isolation().Level == warden.Process && name != "pipes" {
			continue // these folders are the host's
		}
		c := s.create(p, warden.Spec{Limits: warden.Limits{Memory: limit}})
		s.start(c, test.script)
		most := int64(0)
		s.eventually(func() error {
			u, err := c.Usage()
			most = max(most, u.Memory)
			select {
			case <-c.Done():
				return nil
			default:
				return errors.Join(err, errors.New(name+" goes on"))
			}
		})
		if e := c.Exit(); (e.Status != 0) != test.fails || most > limit+slack {
			s.Errorf("%s: %+v with %d bytes", name, e, most)
		}
		check()
	}
}

func testFileBomb(s *suite) {
	p := s.pool(warden.Config{})
	if iso := p.Isolation(); iso.Disk == "watched" {
		s.Skipf("limits of disk are watched: %v", iso.Reasons)
	}
	check := s.beside(p)
	c := s.create(p, warden.Spec{Limits: warden.Limits{Disk: 4 * mega}, Mounts: helperMounts(p)})
	out, e := s.runCommand(c, helper(s, p, c, "files"))
	var n int
	var answer string
	if _, err := fmt.Sscan(out, &n, &answer); err != nil || e.Status != 0 || n < 100 || n > 10000 || answer != "ENOSPC" && answer != "EDQUOT" {
		s.Errorf("%q, %+v, %v", out, e, err)
	}
	if out, _ := s.run(s.create(p, warden.Spec{Limits: warden.Limits{Disk: 4 * mega}}), "echo x > x && cat x"); out != "x\n" {
		s.Errorf("a neighbour: %q", out)
	}
	check()
}

// helpFiles makes empty files until there is no room for more.
func helpFiles([]string) {
	for i := range 1_000_000 {
		f, err := os.Create(fmt.Sprint("f", i))
		if err != nil {
			var no syscall.Errno
			errors.As(err, &no)
			fmt.Println(i, unix.ErrnoName(no))
			return
		}
		f.Close()
	}
}

func testLogBomb(s *suite) {
	const limit = 64 << 10
	p := s.pool(warden.Config{LogMax: limit})
	check := s.beside(p)
	c := s.create(p, warden.Spec{})
	s.start(c, "yes | head -c 10000000; yes | head -c 10000000 >&2")
	if e := s.wait(c); e.Status != 0 {
		s.Errorf("Exit: %+v", e)
	}
	total := int64(0)
	entries, err := os.ReadDir(filepath.Join(c.Home(), "logs"))
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	if total < limit || total > 6*limit { // two logs, two generations, and what a single write adds
		s.Errorf("%d bytes of logs in %d files", total, len(entries))
	}
	check()
}

// testPortBomb: who takes all ports of its own network, or all connections that its
// descriptors allow, takes them from nobody else.
func testPortBomb(s *suite) {
	p := s.pool(warden.Config{})
	if p.Isolation().Level == warden.Process {
		s.Skip("level process has the host's network")
	}
	check := s.beside(p)
	c := s.create(p, warden.Spec{Limits: warden.Limits{Files: times(60000, 60000)}, Mounts: helperMounts(p)})
	s.startHelper(p, c, "ports")
	s.says(c, "all")
	check()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	ln.Close()
}

// helpPorts listens on as many ports as it can.
func helpPorts([]string) {
	n := 0
	for port := 1024; port < 1<<16; port++ {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			break
		}
		if unix.Bind(fd, &unix.SockaddrInet4{Port: port}) == nil && unix.Listen(fd, 1) == nil {
			n++
		}
	}
	fmt.Printf("all %d\n", n)
	time.Sleep(time.Hour)
}

// These are added before any init runs, one of which starts helpers.
var _ = addHelpers(map[string]func([]string){
	"victim": helpVictim, "escape": helpEscape, "ids": helpIDs, "type": helpType,
	"lease": helpLease, "watch": helpWatch, "threads": helpThreads, "files": helpFiles, "ports": helpPorts,
})

func addHelpers(list map[string]func([]string)) bool {
	maps.Copy(helpers, list)
	return true
}
