package wardentest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"cloudlet/warden"
)

func testLifecycle(s *suite) {
	p := s.pool(warden.Config{})
	spec := warden.Spec{Handle: "one-1", Properties: map[string]string{"app": "hello"}, Limits: warden.Limits{Memory: 64 << 20}}
	c := s.create(p, spec)
	if _, err := p.Create(s.ctx(), spec); !errors.Is(err, warden.ErrHandleTaken) {
		s.Errorf("second container of the name: %v", err)
	}
	if got, err := p.Get("one-1"); got != c || err != nil {
		s.Errorf("Get: %v, %v", got, err)
	}
	if _, err := p.Get("two"); !errors.Is(err, warden.ErrUnknownHandle) {
		s.Errorf("Get of an unknown container: %v", err)
	}
	if l := p.List(); len(l) != 1 || l[0] != c {
		s.Errorf("List: %v", l)
	}
	if got := c.Spec(); got.Properties["app"] != "hello" || got.Limits != spec.Limits {
		s.Errorf("Spec: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(c.Home(), "droplet"), []byte("bits"), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := c.Own(); err != nil {
		s.Fatal(err)
	}
	s.start(c, "pwd; cat droplet; echo oops >&2; exit 3")
	e := s.wait(c)
	if !e.Known || e.Status != 3 || e.Signal != 0 || e.Reason != "exited with status 3" || e.At.IsZero() {
		s.Errorf("Exit: %+v", e)
	}
	if out := s.log(c, "stdout.log"); out != c.HomeInside()+"\nbits" {
		s.Errorf("stdout.log: %q", out)
	}
	if out := s.log(c, "stderr.log"); out != "oops\n" {
		s.Errorf("stderr.log: %q", out)
	}
	if err := c.Start(shell("true")); !errors.Is(err, warden.ErrGone) {
		s.Errorf("start after the end: %v", err)
	}
	if err := c.Stop(s.ctx(), time.Second); err != nil {
		s.Errorf("stop after the end: %v", err)
	}
	for range 2 {
		s.destroy(c)
	}
	if l, _ := filepath.Glob(filepath.Join(s.dir, "one-1*")); len(l) > 0 || len(p.List()) > 0 {
		s.Errorf("left over: %v, %v", l, p.List())
	}
	if _, err := os.Lstat(c.Home()); !errors.Is(err, os.ErrNotExist) {
		s.Errorf("home: %v", err)
	}
	s.destroy(s.create(p, spec))
}

func testExits(s *suite) {
	p := s.pool(warden.Config{})
	for _, test := range []struct {
		script         string
		status, signal int
	}{
		{"exit 0", 0, 0},
		{"exit 255", 255, 0},
		{"kill -9 $$", 137, 9},
		{"kill -TERM $$", 143, 15},
	} {
		c := s.create(p, warden.Spec{})
		if _, e := s.run(c, test.script); e.Status != test.status || e.Signal != test.signal || !e.Known {
			s.Errorf("run %q: %+v", test.script, e)
		}
		s.start(c, test.script)
		if e := s.wait(c); e.Status != test.status || e.Signal != test.signal || !e.Known {
			s.Errorf("start %q: %+v", test.script, e)
		}
	}
}

func testStartErrors(s *suite) {
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{})
	for _, cmd := range []warden.Command{
		{},
		{Args: []string{""}},
		{Args: []string{"no-such-program"}, Env: []string{path}},
		{Args: []string{"/no/such/program"}},
		{Args: []string{"/bin"}},
		{Args: []string{"sh"}}, // no PATH
		{Args: []string{"/bin/sh", "-c", "a\x00b"}},
		{Args: []string{"/bin/sh"}, Dir: "/no/such/folder"},
	} {
		if err := c.Start(cmd); err == nil {
			s.Errorf("%+v was started", cmd)
		}
		if _, err := c.Run(s.ctx(), cmd, warden.Streams{}); err == nil {
			s.Errorf("%+v was run", cmd)
		}
	}
	if err := c.Start(warden.Command{Args: []string{"no-such-program"}, Env: []string{path}}); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		s.Errorf("the error does not name the program: %v", err)
	}
	if err := c.Signal(syscall.SIGTERM); err == nil {
		s.Error("a signal reached a main process that is not there")
	}
	// None of this has used up the one start.
	s.start(c, "sleep 1000")
	if err := c.Start(shell("true")); !errors.Is(err, warden.ErrStarted) {
		s.Errorf("second start: %v", err)
	}
}

func testStreams(s *suite) {
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	in := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18) // 4 MiB
	var out, errs bytes.Buffer
	e, err := c.Run(s.ctx(), shell("cat; echo done >&2"), warden.Streams{Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &errs})
	if err != nil || e.Status != 0 {
		s.Fatal(e, err)
	}
	if !bytes.Equal(out.Bytes(), in) || errs.String() != "done\n" {
		s.Errorf("%d bytes of %d came back, and %q", out.Len(), len(in), errs.String())
	}
	if _, e := s.run(c, "cat"); e.Status != 0 {
		s.Errorf("without streams: %+v", e)
	}
	// A writer that fails must not block the process.
	if e, err := c.Run(s.ctx(), shell("head -c 1000000 /dev/zero; exit 4"), warden.Streams{Stdout: failing{}}); err != nil || e.Status != 4 {
		s.Errorf("failing writer: %+v, %v", e, err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no") }

func testRunEnds(s *suite) {
	s.needsProc()
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	mark := marker()
	ctx, cancel := context.WithCancel(s.ctx())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, shell(mark+" & (setsid "+mark+" &) ; "+mark), warden.Streams{})
		ended <- err
	}()
	s.lives(mark, 3)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		s.Errorf("Run: %v", err)
	}
	// What went into a session of its own ends with the container, if not before.
	s.eventually(func() error {
		if n := len(living(mark)); n > 1 {
			return fmt.Errorf("%d processes are left", n)
		}
		return nil
	})
	if _, e := s.run(c, "true"); e.Status != 0 {
		s.Errorf("the container is not usable any more: %+v", e)
	}
	ctx, cancel = context.WithCancel(s.ctx())
	cancel()
	if _, err := c.Run(ctx, shell("true"), warden.Streams{}); !errors.Is(err, context.Canceled) {
		s.Errorf("Run with a context that is over: %v", err)
	}
	s.destroy(c)
	s.noneLives(mark)
}

// testRunOfDestroyed: who takes a process's output slowly, longer than its container is
// there, is told that the process was killed, or that the container ended.
func testRunOfDestroyed(s *suite) {
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{})
	out, in := io.Pipe()
	ended := make(chan string, 1)
	go func() {
		e, err := c.Run(s.ctx(), shell("echo up; sleep 1000"), warden.Streams{Stdout: in})
		if e.Signal != int(syscall.SIGKILL) && !errors.Is(err, warden.ErrGone) {
			ended <- fmt.Sprintf("Run: %+v, %v", e, err)
		}
		close(ended)
	}()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		s.Fatal(err)
	}
	s.destroy(c)
	s.run(s.create(p, warden.Spec{}), "true") // meanwhile whoever waits for the end hears of it
	out.Close()
	if wrong := <-ended; wrong != "" {
		s.Error(wrong)
	}
}

func testRunDoesNotWait(s *suite) {
	s.needsProc()
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	mark := marker()
	if out, e := s.run(c, mark+" & echo started"); out != "started\n" || e.Status != 0 {
		s.Errorf("%q, %+v", out, e)
	}
	s.lives(mark, 1)
	s.destroy(c)
	s.noneLives(mark)
}

func testEnvironment(s *suite) {
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	cmd := helper(s, p, c, "env")
	cmd.Env = append(cmd.Env, "A=1", "B=x y")
	if out, _ := s.runCommand(c, cmd); out != strings.Join(cmd.Env, "\n")+"\n" {
		s.Errorf("environment is %q", out)
	}
	if out, _ := s.run(c, "umask"); out != "0022\n" {
		s.Errorf("umask is %q", out)
	}
	cmd = warden.Command{Args: []string{"sh", "-c", "pwd"}, Env: []string{path}, Dir: "/usr"}
	if out, _ := s.runCommand(c, cmd); out != "/usr\n" {
		s.Errorf("folder is %q", out)
	}
	if runtime.GOOS != "linux" {
		return
	}
	cmd = helper(s, p, c, "fds")
	if out, _ := s.runCommand(c, cmd); out != "0 1 2\n" {
		s.Errorf("descriptors of a further process: %q", out)
	}
	if err := c.Start(cmd); err != nil {
		s.Fatal(err)
	}
	s.wait(c)
	if out := s.log(c, "stdout.log"); out != "0 1 2\n" {
		s.Errorf("descriptors of the main process: %q", out)
	}
}

func testLimits(s *suite) {
	if runtime.GOOS != "linux" {
		s.Skip("limits are set on Linux")
	}
	c := s.create(s.pool(warden.Config{}), warden.Spec{Limits: warden.Limits{Files: 100}})
	if out, _ := s.run(c, "ulimit -Sn; ulimit -Hn; ulimit -c; [ $(grep pending /proc/self/limits | tr -s ' ' | cut -d' ' -f5) -le 4096 ] && echo few"); out != "100\n100\n0\nfew\n" {
		s.Errorf("limits: %q", out)
	}
	if err := c.SetLimits(warden.Limits{Files: 64, Memory: 1 << 30}); err != nil {
		s.Fatal(err)
	}
	if out, _ := s.run(c, "ulimit -n"); out != "64\n" {
		s.Errorf("limit after SetLimits: %q", out)
	}
	if got := c.Spec().Limits; got.Files != 64 || got.Memory != 1<<30 {
		s.Errorf("remembered limits: %+v", got)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := c.SetLimits(warden.Limits{Processes: 5}); err != nil {
		s.Fatal(err)
	}
	if _, e := s.run(c, "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; kill $(jobs -p); exit 0"); e.Status == 0 {
		s.Error("more processes than allowed")
	}
}

func testStop(s *suite) {
	s.needsProc()
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{})
	mark := marker()
	s.start(c, "trap 'echo bye; exit 5' TERM; "+mark+" & echo up; while :; do wait; done")
	s.says(c, "up")
	if err := c.Stop(s.ctx(), patience); err != nil {
		s.Fatal(err)
	}
	if e := c.Exit(); e.Status != 5 || !e.Known {
		s.Errorf("a process that ends on TERM: %+v", e)
	}
	if out := s.log(c, "stdout.log"); out != "up\nbye\n" {
		s.Errorf("output: %q", out)
	}
	s.noneLives(mark)

	c = s.create(p, warden.Spec{})
	s.start(c, "trap '' TERM; "+mark+" & echo up; while :; do wait; sleep 1; done")
	s.says(c, "up")
	if err := c.Stop(s.ctx(), 50*time.Millisecond); err != nil {
		s.Fatal(err)
	}
	if e := c.Exit(); e.Signal != 9 || !e.Known {
		s.Errorf("a process that ignores TERM: %+v", e)
	}
	s.noneLives(mark)

	c = s.create(p, warden.Spec{})
	if err := c.Stop(s.ctx(), patience); err != nil {
		s.Errorf("stop of a container that was not started: %v", err)
	}
	if e := s.wait(c); e.Known {
		s.Errorf("exit without a main process: %+v", e)
	}
}

func testSignal(s *suite) {
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	s.start(c, "trap 'echo one' USR1; trap 'exit 9' INT; echo up; while :; do sleep 0.02; done")
	s.says(c, "up")
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGINT} {
		if err := c.Signal(sig); err != nil {
			s.Fatal(err)
		}
		if sig == syscall.SIGUSR1 {
			s.says(c, "one")
		}
	}
	if e := s.wait(c); e.Status != 9 {
		s.Errorf("Exit: %+v", e)
	}
}

// testNothingIsLeft: the end of the main process is the end of all, also of
// what tried to get away.
func testNothingIsLeft(s *suite) {
	s.needsProc()
	p := s.pool(warden.Config{})
	mark := marker()
	away := mark + " & (setsid " + mark + " &); (setsid sh -c '" + mark + " & exit' &); (setsid sh -c 'trap \"\" TERM; cd /; " + mark + "; true' &);"
	for name, end := range map[string]func(*warden.Container){
		"exit":    func(*warden.Container) {},
		"stop":    func(c *warden.Container) { c.Stop(s.ctx(), 10*time.Millisecond) },
		"destroy": func(c *warden.Container) { s.destroy(c) },
	} {
		c := s.create(p, warden.Spec{})
		s.start(c, away+" echo up; while ! [ -e go ]; do sleep 0.02; done")
		s.says(c, "up")
		s.lives(mark, 4)
		if name == "exit" {
			s.run(c, "touch go")
		}
		end(c)
		s.wait(c)
		if pids := living(mark); len(pids) > 0 {
			s.Errorf("%s: %v are left", name, pids)
		}
	}
}

// mainProcess gives the only child of a supervisor.
func mainProcess(supervisor int) (pid int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", supervisor))
	fmt.Sscan(string(b), &pid)
	return pid
}

func testSupervisorKilled(s *suite) {
	s.needsProc()
	p := s.pool(warden.Config{})
	mark := marker()
	c := s.create(p, warden.Spec{})
	s.start(c, mark+" & (setsid "+mark+" &); echo up; "+mark)
	s.says(c, "up")
	s.lives(mark, 3)
	syscall.Kill(c.PID(), syscall.SIGKILL)
	if e := s.wait(c); e.Known || e.Reason == "" {
		s.Errorf("Exit: %+v", e)
	}
	s.noneLives(mark)
	if _, err := c.Run(s.ctx(), shell("true"), warden.Streams{}); !errors.Is(err, warden.ErrGone) {
		s.Errorf("Run: %v", err)
	}
	if _, err := c.Usage(); err != nil {
		s.Errorf("Usage: %v", err)
	}
}

func testSupervisorTerminated(s *suite) {
	s.needsProc()
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	s.start(c, "trap 'exit 6' TERM; trap 'echo hup' HUP; echo up; while :; do sleep 0.02; done")
	s.says(c, "up")
	syscall.Kill(c.PID(), syscall.SIGHUP)
	s.says(c, "hup")
	syscall.Kill(c.PID(), syscall.SIGTERM)
	if e := s.wait(c); !e.Known || e.Status != 6 {
		s.Errorf("Exit: %+v", e)
	}
}

// testSupervisorStuck: a container whose supervisor does not answer is destroyed all the
// same, is ended by a pool that finds it, and nobody waits for it longer than he wants to.
func testSupervisorStuck(s *suite) {
	s.needsProc()
	p := s.openPool(warden.Config{})
	mark := marker()
	stuck := func() *warden.Container {
		c := s.create(p, warden.Spec{})
		s.start(c, mark)
		s.lives(mark, 1)
		if err := syscall.Kill(c.PID(), syscall.SIGSTOP); err != nil {
			s.Fatal(err)
		}
		return c
	}
	c := stuck()
	ctx, cancel := context.WithCancel(s.ctx())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := c.Run(ctx, shell("true"), warden.Streams{}); !errors.Is(err, context.Canceled) {
		s.Errorf("Run: %v", err)
	}
	s.destroy(c)
	s.noneLives(mark)

	handle := stuck().Handle()
	p.Close()
	p = s.pool(warden.Config{})
	c, err := p.Get(handle)
	if err != nil {
		s.Fatal(err)
	}
	if e := s.wait(c); e.Known {
		s.Errorf("Exit: %+v", e)
	}
	s.noneLives(mark)
}

// testHeldUp: a program that the app keeps from starting holds up nobody but whoever
// started it.
func testHeldUp(s *suite) {
	s.needsProc()
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	if os.Getenv("CLOUDLET_TEST_VM") != "" && os.Geteuid() == 0 {
		// Some set this to find out why setuid programs crash.
		if err := os.WriteFile("/proc/sys/fs/suid_dumpable", []byte("1"), 0); err != nil {
			s.Fatal(err)
		}
		defer os.WriteFile("/proc/sys/fs/suid_dumpable", []byte("0"), 0)
	}
	s.run(c, "printf '#!/bin/sh\\n' > held; chmod 700 held")
	s.startHelper(p, c, "lease", "held")
	s.says(c, "taken")
	ctx, cancel := context.WithCancel(s.ctx())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, warden.Command{Args: []string{"./held"}, Env: []string{path}}, warden.Streams{})
		ended <- err
	}()
	s.says(c, "asked for")
	if _, e := s.run(c, "true"); e.Status != 0 {
		s.Errorf("another program: %+v", e)
	}
	if p.Isolation().Level != warden.Process {
		// Nor is there anything of the supervisor's to be found in what is to become the program.
		const look = "for p in /proc/[0-9]*; do [ $p != /proc/1 ] && grep -q ^cloudlet-supervisor $p/cmdline && { ls $p/fd; cat $p/environ; echo seen; }; done 2>/dev/null; true"
		if out, _ := s.run(c, look); out != "seen\n" {
			s.Errorf("before it begins: %q", out)
		}
	}
	select {
	case err := <-ended:
		s.Errorf("the program was not held up: %v", err)
	default:
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		s.Errorf("Run: %v", err)
	}
}

func testAdoption(s *suite) {
	p := s.openPool(warden.Config{})
	c := s.create(p, warden.Spec{Handle: "app", Port: true, Properties: map[string]string{"k": "v"}})
	s.start(c, "echo $$; i=0; while ! [ -e stop ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 8")
	s.says(c, "line 5")
	if err := p.Close(); err != nil {
		s.Fatal(err)
	}
	select {
	case <-c.Done():
		s.Error("Done was closed by closing the pool")
	default:
	}

	p = s.pool(warden.Config{})
	again, err := p.Get("app")
	if err != nil {
		s.Fatal(err)
	}
	if again.Port() != c.Port() || again.Home() != c.Home() || again.Spec().Properties["k"] != "v" {
		s.Errorf("adopted %+v", again.Spec())
	}
	if err := again.Start(shell("true")); !errors.Is(err, warden.ErrStarted) {
		s.Errorf("start of an adopted container: %v", err)
	}
	next := s.create(p, warden.Spec{Port: true})
	if next.Port() == c.Port() {
		s.Error("the port of an adopted container was given away")
	}
	u, err := again.Usage()
	if err != nil || u.Processes == 0 || u.Memory == 0 {
		s.Errorf("Usage: %+v, %v", u, err)
	}
	s.run(again, "touch stop")
	if e := s.wait(again); e.Status != 8 || !e.Known {
		s.Errorf("Exit: %+v", e)
	}
	lines := strings.Split(strings.TrimSpace(s.log(again, "stdout.log")), "\n")
	for i, l := range lines[1:] {
		if l != fmt.Sprintf("line %d", i) {
			s.Fatalf("line %d of the log is %q", i, l)
		}
	}
}

func testExitUnwatched(s *suite) {
	p := s.openPool(warden.Config{})
	c := s.create(p, warden.Spec{Handle: "app", Limits: warden.Limits{Disk: 16 << 20}})
	s.start(c, "while ! [ -e stop ]; do sleep 0.01; done; echo last words; exit 4")
	p.Close()
	// At level process as root the home belongs to the container's user.
	if err := os.WriteFile(filepath.Join(c.Home(), "stop"), nil, 0o644); err != nil {
		s.Fatal(err)
	}
	s.eventually(func() error {
		_, err := os.Stat(filepath.Join(s.dir, "app", "exit"))
		return err
	})
	for round := range 3 {
		p = s.openPool(warden.Config{})
		again, err := p.Get("app")
		if err != nil {
			s.Fatal(err)
		}
		if e := s.wait(again); e.Status != 4 || !e.Known || time.Since(e.At) > time.Hour {
			s.Errorf("Exit: %+v", e)
		}
		if out := s.log(again, "stdout.log"); out != "last words\n" {
			s.Errorf("output in round %d: %q", round, out)
		}
		if round == 2 {
			s.destroy(again)
		}
		// What has ended and is looked at by nobody takes no mount.
		p.Close()
		if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), " "+s.dir+"/") {
			s.Error("a disk is still mounted")
		}
	}
}

func testCloseEndsUnstarted(s *suite) {
	s.needsProc()
	p := s.openPool(warden.Config{})
	mark := marker()
	c := s.create(p, warden.Spec{Handle: "app"})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(s.ctx(), shell("trap '' TERM; "+mark+"; true"), warden.Streams{})
		ended <- err
	}()
	s.lives(mark, 1)
	p.Close()
	if err := <-ended; !errors.Is(err, warden.ErrClosed) {
		s.Errorf("Run: %v", err)
	}
	if err := c.Stop(s.ctx(), 0); err != nil && !errors.Is(err, warden.ErrClosed) {
		s.Errorf("Stop: %v", err)
	}
	s.eventually(func() error {
		if err := syscall.Kill(c.PID(), 0); err != syscall.ESRCH {
			return fmt.Errorf("the supervisor is still there: %v", err)
		}
		return nil
	})
	p = s.pool(warden.Config{})
	again, err := p.Get("app")
	if err != nil {
		s.Fatal(err)
	}
	if e := s.wait(again); e.Known {
		s.Errorf("Exit: %+v", e)
	}
	s.noneLives(mark)
}

func testHalfMade(s *suite) {
	if err := os.MkdirAll(filepath.Join(s.dir, "half", "home", "x"), 0o755); err != nil {
		s.Fatal(err)
	}
	p := s.pool(warden.Config{})
	if _, err := os.Stat(filepath.Join(s.dir, "half")); !errors.Is(err, os.ErrNotExist) {
		s.Errorf("the half-made container is still there: %v", err)
	}
	s.create(p, warden.Spec{Handle: "half"})
}

func testSecondPool(s *suite) {
	s.pool(warden.Config{})
	p := warden.New(warden.Config{Dir: s.dir}, discard())
	if err := p.Open(s.ctx()); err == nil {
		s.Error("two pools own the same folder")
		p.Close()
	}
}
