package wardentest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloudlet/warden"
)

const mega = 1 << 20

// held says whether the kernel holds the limits, and skips the test if not.
func (s *suite) held(p *warden.Pool) {
	s.Helper()
	if iso := p.Isolation(); iso.Limits == "watched" {
		s.Skipf("limits are watched: %v", iso.Reasons)
	}
}

// exact skips where the race detector's own memory would be measured.
func (s *suite) exact() {
	s.Helper()
	if testing.Short() {
		s.Skip("the test program takes more memory than it says under the race detector")
	}
}

// own skips on a shared machine, where the counters depend on what else runs.
func (s *suite) own() {
	s.Helper()
	if os.Getenv("CLOUDLET_TEST_VM") == "" {
		s.Skip("shares of processors are measured in the virtual machine (make test-vm)")
	}
}

// helpMemory takes memory, a mebibyte at a time, says so, and takes more when a file
// "more" appears: memory BYTES [BYTES].
func helpMemory(args []string) {
	for i, a := range args {
		for i > 0 && !there("more") {
			time.Sleep(10 * time.Millisecond)
		}
		n, _ := strconv.Atoi(a)
		b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for at := 0; at < n; at += os.Getpagesize() {
			b[at] = 1
		}
		fmt.Printf("holding %d\n", i+1)
	}
	time.Sleep(time.Hour)
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// helpBusy keeps all processors busy.
func helpBusy([]string) {
	var spun atomic.Bool
	fmt.Println("busy")
	for range runtime.NumCPU() {
		go func() {
			for n := 0; ; n++ {
				spun.Store(n&1 == 0)
			}
		}()
	}
	time.Sleep(time.Hour)
}

func (s *suite) startHelper(p *warden.Pool, c *warden.Container, name string, args ...string) {
	s.Helper()
	cmd := helper(s, p, c, name, args...)
	cmd.Env = append(cmd.Env, "GOMAXPROCS="+strconv.Itoa(runtime.NumCPU()))
	if err := c.Start(cmd); err != nil {
		s.Fatal(err)
	}
}

// testMemoryLimit: what is below the limit is there to be used, what is above it ends
// the container, and the reason is told.
func testMemoryLimit(s *suite) {
	s.exact()
	p := s.pool(warden.Config{})
	s.held(p)
	const limit = 256 * mega
	spec := warden.Spec{Limits: warden.Limits{Memory: limit}, Mounts: helperMounts(p)}
	below, neighbour := s.create(p, spec), s.create(p, spec)
	s.start(neighbour, "echo up; sleep 1000")
	s.startHelper(p, below, "memory", fmt.Sprint(limit/100*95), fmt.Sprint(limit/10))
	s.says(below, "holding 1")
	s.swapless(p, below)
	if u, err := below.Usage(); err != nil || u.Memory < limit/100*95 || u.Memory > limit {
		s.Errorf("usage is %+v, %v", u, err)
	}
	s.run(below, "touch more")
	s.starved(below)
	above := s.create(p, spec)
	s.startHelper(p, above, "memory", fmt.Sprint(limit/100*105))
	s.starved(above)
	if out := s.log(above, "stdout.log"); out != "" {
		s.Errorf("above the limit: %q", out)
	}
	if out, e := s.run(neighbour, "echo fine"); out != "fine\n" || e.Status != 0 {
		s.Errorf("the neighbour: %q, %+v", out, e)
	}
}

// swapless: what a container holds cannot leave its limit by way of swap.
func (s *suite) swapless(p *warden.Pool, c *warden.Container) {
	s.Helper()
	file := "memory.swap.max"
	if p.Isolation().Limits == "cgroup v1" {
		file = "memory.swappiness"
	}
	if got := s.setting(c, file); got != "0" {
		s.Errorf("%s is %q", file, got)
	}
}

// setting reads a file of a container's control group.
func (s *suite) setting(c *warden.Container, file string) string {
	s.Helper()
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", mainProcess(c.PID())))
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", f[1], f[2], file)); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	s.Errorf("%s is nowhere", file)
	return ""
}

// starved waits for the end of a container for want of memory.
func (s *suite) starved(c *warden.Container) {
	s.Helper()
	if e := s.wait(c); !e.Known || e.Signal != int(syscall.SIGKILL) || e.Reason != warden.OutOfMemory {
		s.Errorf("Exit: %+v", e)
	}
}

// testMemoryRaised: limits that are set anew hold for what runs.
func testMemoryRaised(s *suite) {
	s.exact()
	p := s.pool(warden.Config{})
	s.held(p)
	c := s.create(p, warden.Spec{Limits: warden.Limits{Memory: 64 * mega}, Mounts: helperMounts(p)})
	s.startHelper(p, c, "memory", fmt.Sprint(40*mega), fmt.Sprint(60*mega), fmt.Sprint(60*mega))
	s.says(c, "holding 1")
	if err := c.SetLimits(warden.Limits{Memory: 192 * mega}); err != nil {
		s.Fatal(err)
	}
	s.run(c, "touch more")
	s.says(c, "holding 3")
	s.destroy(c)
}

// testProcessLimit: a fork bomb comes to an end at the limit; its supervisor and its
// neighbours answer.
func testProcessLimit(s *suite) {
	p := s.pool(warden.Config{})
	s.held(p)
	const limit = 30
	c := s.create(p, warden.Spec{Limits: warden.Limits{Processes: limit}})
	mark := marker()
	s.start(c, "(while :; do "+mark+" & done) & exec "+mark) // a shell that cannot fork ends
	s.eventually(func() error {
		u, err := c.Usage()
		if u.Processes > limit {
			s.Errorf("%d processes", u.Processes)
		}
		if err == nil && u.Processes < limit/2 {
			err = fmt.Errorf("%d processes so far", u.Processes)
		}
		return err
	})
	neighbour := s.create(p, warden.Spec{})
	if out, _ := s.run(neighbour, "echo fine"); out != "fine\n" {
		s.Errorf("the neighbour: %q", out)
	}
	if err := c.Stop(s.ctx(), 10*time.Millisecond); err != nil {
		s.Error(err)
	}
	s.noneLives(mark)

	// Whoever asks for one more is told why there is none.
	full := s.create(p, warden.Spec{Limits: warden.Limits{Processes: 10}})
	refused := make(chan error, 20)
	for range cap(refused) {
		go func() {
			_, err := full.Run(s.ctx(), shell("exec "+mark), warden.Streams{})
			refused <- err
		}()
	}
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "as many processes") {
		s.Errorf("one more process: %v", err)
	}
}

// testDiskLimit: what is full is full for one container alone.
func testDiskLimit(s *suite) {
	p := s.pool(warden.Config{})
	if iso := p.Isolation(); iso.Disk == "watched" {
		s.Skipf("limits of disk are watched: %v", iso.Reasons)
	}
	const limit = 64 * mega
	c := s.create(p, warden.Spec{Limits: warden.Limits{Disk: limit}})
	neighbour := s.create(p, warden.Spec{Limits: warden.Limits{Disk: limit}})
	fill := "head -c %d /dev/zero > %s; echo $?; stat -c %%s %[2]s"
	if out, _ := s.run(c, fmt.Sprintf(fill, limit/100*95, "most")); out != fmt.Sprintf("0\n%d\n", limit/100*95) {
		s.Errorf("below the limit: %q", out)
	}
	if u, err := c.Usage(); err != nil || u.Disk < limit/100*95 || u.Disk > limit {
		s.Errorf("usage is %+v, %v", u, err)
	}
	if out, _ := s.run(c, fmt.Sprintf(fill, limit/10, "more")); !strings.Contains(out, "No space left on device") && !strings.Contains(out, "quota") {
		s.Errorf("above the limit: %q", out)
	}
	for _, path := range []string{"/tmp/extra", "~/extra"} {
		if out, _ := s.run(c, "HOME=/home/vcap; echo x > "+path+" || echo full"); !strings.Contains(out, "full") {
			s.Errorf("%s was written: %q", path, out)
		}
	}
	if out, _ := s.run(c, "rm most more; echo x > again && cat again"); out != "x\n" {
		s.Errorf("after removing: %q", out)
	}
	if out, _ := s.run(neighbour, fmt.Sprintf(fill, limit/2, "mine")); out != fmt.Sprintf("0\n%d\n", limit/2) {
		s.Errorf("the neighbour: %q", out)
	}
}

// testFreeze: a frozen container uses no time, and goes on where it was, also when it is
// another Cloudlet that thaws or stops it.
func testFreeze(s *suite) {
	p := s.openPool(warden.Config{})
	again := func(c *warden.Container) *warden.Container {
		p.Close()
		p = s.openPool(warden.Config{})
		c, err := p.Get(c.Handle())
		if err != nil {
			s.Fatal(err)
		}
		return c
	}
	s.Cleanup(func() {
		for _, c := range p.List() {
			s.destroy(c)
		}
		p.Close()
	})
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	s.startHelper(p, c, "busy")
	s.says(c, "busy")
	if err := c.Freeze(); errors.Is(err, errors.ErrUnsupported) || err != nil && p.Isolation().Limits == "watched" {
		s.Skip(err)
	} else if err != nil {
		s.Fatal(err)
	}
	before := s.spent(c)
	time.Sleep(100 * time.Millisecond)
	if after := s.spent(c); after != before {
		s.Errorf("it spent %v while it was frozen", after-before)
	}
	c = again(c)
	if err := c.Thaw(); err != nil {
		s.Fatal(err)
	}
	s.eventually(func() error {
		if s.spent(c) <= before {
			return errors.New("it does not go on")
		}
		return nil
	})
	if err := c.Freeze(); err != nil {
		s.Fatal(err)
	}
	c = again(c)
	if err := c.Stop(s.ctx(), time.Millisecond); err != nil {
		s.Errorf("stop of a frozen container: %v", err)
	}
}

func (s *suite) spent(c *warden.Container) time.Duration {
	s.Helper()
	u, err := c.Usage()
	if err != nil {
		s.Fatal(err)
	}
	return u.CPU
}

// testShares: busy containers of the same weight get the same, and one of half the
// weight half of that. They compete for one processor, as the kernel balances several
// only roughly, and over longer times.
func testShares(s *suite) {
	p := s.pool(warden.Config{})
	s.held(p)
	s.own()
	var list []*warden.Container
	for range 2 {
		c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
		cmd := helper(s, p, c, "busy")
		cmd.Args = append([]string{"/usr/bin/taskset", "-c", "0"}, cmd.Args...)
		if err := c.Start(cmd); err != nil {
			s.Fatal(err)
		}
		s.says(c, "busy")
		list = append(list, c)
	}
	for shares, want := range map[int]float64{1024: 1, 512: 0.5} {
		if err := list[1].SetLimits(warden.Limits{CPUShares: shares}); err != nil {
			s.Fatal(err)
		}
		_, spent := s.measure(list)
		if got := spent[1].Seconds() / spent[0].Seconds(); got < want*0.95 || got > want*1.05 {
			s.Errorf("with %d shares it got %.3f of the other's time, want %.1f: %v", shares, got, want, spent)
		}
	}
}

// testDiskShare: the weight holds for input and output as well, where the kernel knows of it.
func testDiskShare(s *suite) {
	p := s.pool(warden.Config{})
	s.held(p)
	reasons := strings.Join(p.Isolation().Reasons, "; ")
	if found, _ := filepath.Glob("/sys/fs/cgroup/*/io.weight"); len(found) == 0 || strings.Contains(reasons, "limits of io are not held") {
		s.Skip("no weights of input and output here: " + reasons)
	}
	c := s.create(p, warden.Spec{Limits: warden.Limits{CPUShares: 2048}})
	s.start(c, "sleep 1000")
	if got := s.setting(c, "io.weight"); got != "default 200" {
		s.Errorf("io.weight is %q", got)
	}
	if err := c.SetLimits(warden.Limits{CPUShares: 512}); err != nil {
		s.Fatal(err)
	}
	if got := s.setting(c, "io.weight"); got != "default 50" {
		s.Errorf("io.weight is %q after SetLimits", got)
	}
}

// testQuota: half a core is half a core, and may be changed.
func testQuota(s *suite) {
	p := s.pool(warden.Config{})
	s.held(p)
	s.own()
	c := s.create(p, warden.Spec{Limits: warden.Limits{CPUQuota: 0.5}, Mounts: helperMounts(p)})
	s.startHelper(p, c, "busy")
	s.says(c, "busy")
	for _, quota := range []float64{0.5, 0.2} {
		if err := c.SetLimits(warden.Limits{CPUQuota: quota}); err != nil {
			s.Fatal(err)
		}
		took, spent := s.measure([]*warden.Container{c})
		if got := spent[0].Seconds() / took.Seconds(); got < quota-0.05 || got > quota+0.05 {
			s.Errorf("a quota of %.1f cores used %.3f", quota, got)
		}
	}
}

// measure tells how long it waited, and what containers spent meanwhile.
func (s *suite) measure(list []*warden.Container) (took time.Duration, spent []time.Duration) {
	begin := time.Now()
	for _, c := range list {
		spent = append(spent, s.spent(c))
	}
	time.Sleep(10 * time.Second)
	took = time.Since(begin)
	for i, c := range list {
		spent[i] = s.spent(c) - spent[i]
	}
	return took, spent
}

// groupsOf lists the control groups of containers whose handle begins so.
func groupsOf(handle string) (list []string) {
	top := "/sys/fs/cgroup"
	filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), handle) {
			list = append(list, path)
		}
		return nil
	})
	return list
}
