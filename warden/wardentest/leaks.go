package wardentest

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"cloudlet/warden"
)

// times is n, many more in the long tests, and fewer on an emulated processor.
func times(n, long int) int {
	switch {
	case os.Getenv("CLOUDLET_TEST_LONG") != "":
		return long
	case os.Getenv("CLOUDLET_TEST_VM") == "tcg":
		return n / 5
	}
	return n
}

// testNoLeaks: nothing remains of containers that were destroyed.
func testNoLeaks(s *suite) {
	s.needsProc()
	p := s.pool(warden.Config{})
	mark := fmt.Sprintf("leak%d-", rand.Uint32())
	round := func(i int) {
		c := s.create(p, warden.Spec{Handle: fmt.Sprint(mark, i), Port: true, Limits: warden.Limits{Memory: 64 * mega, Disk: 4 * mega}})
		s.run(c, "true")
		s.start(c, "sleep 1000")
		s.destroy(c)
	}
	round(0)
	before := s.settled(mark)
	for i := range times(100, 1000) {
		round(i)
	}
	s.nothingMore(before, mark)
}

// testManyAtOnce: so many containers at the same time, made and ended side by side.
func testManyAtOnce(s *suite) {
	s.needsProc()
	p := s.pool(warden.Config{})
	mark := fmt.Sprintf("many%d-", rand.Uint32())
	spec := warden.Spec{Port: true, Limits: warden.Limits{Disk: 4 * mega}}
	s.destroy(s.create(p, spec))
	before := s.settled(mark)
	n := times(50, 200)
	s.together(n, func(i int) error {
		spec := spec
		spec.Handle = fmt.Sprint(mark, i)
		c, err := p.Create(s.ctx(), spec)
		if err == nil {
			err = c.Start(shell("echo $0; sleep 1000"))
		}
		return err
	})
	for _, c := range p.List() {
		s.says(c, "sh")
	}
	if got := len(p.List()); got != n {
		s.Errorf("%d containers, want %d", got, n)
	}
	s.together(n, func(i int) error {
		c, err := p.Get(fmt.Sprint(mark, i))
		if err == nil {
			err = c.Destroy(s.ctx())
		}
		return err
	})
	s.nothingMore(before, mark)
}

// together calls f n times at once.
func (s *suite) together(n int, f func(i int) error) {
	s.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := f(i); err != nil {
				s.Error(err)
			}
		})
	}
	all.Wait()
	if s.Failed() {
		s.FailNow()
	}
}

// settled counts when nothing changes any more: the pool prepares for the next container.
func (s *suite) settled(mark string) (c map[string]int) {
	s.Helper()
	s.eventually(func() error {
		before := s.count(mark)
		time.Sleep(500 * time.Millisecond)
		c = s.count(mark)
		for what, n := range c {
			if n != before[what] && what != "byte of the heap" {
				return fmt.Errorf("%s: %d, then %d", what, before[what], n)
			}
		}
		return nil
	})
	return c
}

// count counts what this process, and containers whose handle begins with mark, take of
// the machine.
func (s *suite) count(mark string) map[string]int {
	s.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		s.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.Fatal(err)
	}
	links, err := net.Interfaces()
	if err != nil {
		s.Fatal(err)
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	c := map[string]int{
		"file":             len(fds),
		"goroutine":        runtime.NumGoroutine(),
		"mount":            strings.Count(string(mounts), " "+s.dir+"/"), // others come and go as they like
		"control group":    len(groupsOf(mark)),
		"loop device":      s.loops(),
		"process":          children(),
		"byte of the heap": int(m.HeapAlloc) - mega, // which is never the same twice
	}
	ours := fmt.Sprintf("clt-%.3x-", sha256.Sum256([]byte(s.dir))) // others come and go as they like
	for _, l := range links {
		if strings.HasPrefix(l.Name, ours) {
			c["network link"]++
		}
	}
	return c
}

// loops counts the loop devices whose files are containers'.
func (s *suite) loops() (n int) {
	found, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range found {
		if b, _ := os.ReadFile(f); strings.HasPrefix(string(b), s.dir+"/") {
			n++
		}
	}
	return n
}

// children counts the processes that are this one's, ended ones too.
func children() (n int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, _ := os.ReadFile(f)
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == fmt.Sprint(os.Getpid()) {
			n++
		}
	}
	return n
}

// nothingMore waits until there is no more than before; the kernel takes its time.
func (s *suite) nothingMore(before map[string]int, mark string) {
	s.Helper()
	before["byte of the heap"] += mega
	s.eventually(func() error {
		for what, n := range s.count(mark) {
			if n > before[what] {
				return fmt.Errorf("more than before of what is a %s: %d, not %d", what, n, before[what])
			}
		}
		return nil
	})
}
