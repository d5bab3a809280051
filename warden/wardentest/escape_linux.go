package wardentest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cloudlet/warden"
)

// RunEscape runs the attempts to get out of a container, to reach others and to bring the
// machine down. Each must fail, and in the way that is expected. Run as root in the virtual
// machine, those that harm nobody are first tried without a container, where they must work.
func RunEscape(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Attempts", testAttempts},
		{"Setuid", testSetuid},
		{"Sight", testSight},
		{"TerminalInput", testTerminalInput},
		{"Watches", testWatches},
		{"ForkBomb", testForkBomb},
		{"ThreadBomb", testThreadBomb},
		{"MemoryBombs", testMemoryBombs},
		{"FileBomb", testFileBomb},
		{"LogBomb", testLogBomb},
		{"PortBomb", testPortBomb},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, open: open, dir: folder(t)})
		})
	}
}

// world is what an attacker is told: more than one could find out.
type world struct {
	Folder   string   // of the pool
	Secret   string   // a file of the host's that everybody may read there
	Home     string   // of the victim
	Victim   int      // its main process
	Host     int      // the test's own, as Cloudlet's
	Abstract string   // a socket of the host's
	Ports    []string // of the host, and of the victim
	Address  uint64   // where the victim keeps a secret
}

const worldEnv = "WARDENTEST_WORLD"

// secret is what attackers are after.
const secret = "correct horse battery staple"

// victim is a container with something worth stealing.
func (s *suite) victim(p *warden.Pool) (*warden.Container, world) {
	s.Helper()
	c := s.create(p, warden.Spec{Handle: "victim", Port: true, Mounts: helperMounts(p)})
	cmd := helper(s, p, c, "victim", fmt.Sprintf("0.0.0.0:%d", c.Port()))
	cmd.Env = append(cmd.Env, "SECRET="+secret)
	if err := c.Start(cmd); err != nil {
		s.Fatal(err)
	}
	s.says(c, "listening")
	w := world{Folder: s.dir, Secret: filepath.Join(filepath.Dir(s.dir), "secret"), Home: c.Home(), Host: os.Getpid(), Ports: c.Addrs()}
	if _, err := fmt.Sscanf(s.log(c, "stdout.log"), "secret at %d", &w.Address); err != nil {
		s.Fatal(err)
	}
	w.Victim = mainProcess(c.PID())
	if err := errors.Join(os.Chmod(filepath.Dir(s.dir), 0o755), os.WriteFile(w.Secret, []byte(secret), 0o666), os.Chmod(w.Secret, 0o666)); err != nil {
		s.Fatal(err)
	}
	w.Abstract = "@" + filepath.Base(filepath.Dir(s.dir))
	for _, network := range []string{"unix", "tcp"} {
		ln, err := net.Listen(network, map[string]string{"unix": w.Abstract, "tcp": "127.0.0.1:0"}[network])
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { ln.Close() })
		if network == "tcp" {
			w.Ports = append(w.Ports, ln.Addr().String())
		}
	}
	return c, w
}

// helpVictim holds a secret in its memory, its environment and a file.
func helpVictim(args []string) {
	held := []byte(os.Getenv("SECRET"))
	os.WriteFile("secret", held, 0o644)
	fmt.Printf("secret at %d\n", addressOf(held))
	serve(args[0], func(*net.TCPConn) {})
}

// helpEscape makes all attempts and tells what came of each.
func helpEscape([]string) {
	var w world
	if err := json.Unmarshal([]byte(os.Getenv(worldEnv)), &w); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, a := range attempts {
		if os.Getenv(controlEnv) != "" && !a.control {
			continue
		}
		err := a.try(w)
		var no syscall.Errno
		switch {
		case err == nil:
			fmt.Printf("%s\tdone\n", a.name)
		case errors.As(err, &no):
			fmt.Printf("%s\t%s\n", a.name, unix.ErrnoName(no))
		default:
			fmt.Printf("%s\t%v\n", a.name, err)
		}
	}
}

// escape runs the attempts with a command that is the helper's, and gives the answers.
func answers(out string) map[string]string {
	list := map[string]string{}
	for line := range strings.Lines(out) {
		name, answer, _ := strings.Cut(strings.TrimSpace(line), "\t")
		list[name] = answer
	}
	return list
}

func testAttempts(s *suite) {
	p := s.pool(warden.Config{})
	iso := p.Isolation()
	victim, w := s.victim(p)
	text, err := json.Marshal(w)
	if err != nil {
		s.Fatal(err)
	}
	s.control(string(text))
	before := s.evidence(victim)
	c := s.create(p, warden.Spec{Handle: "attacker", Mounts: helperMounts(p)})
	cmd := helper(s, p, c, "escape")
	cmd.Env = append(cmd.Env, worldEnv+"="+string(text))
	out, e := s.runCommand(c, cmd)
	if e.Status != 0 {
		s.Fatalf("%+v: %s", e, out)
	}
	got := answers(out)
	for _, a := range attempts {
		if iso.Level == warden.Process && !a.process && (!iso.OwnFiles || slices.Contains(onNetwork, a.name)) {
			continue
		}
		want := strings.Fields(a.want)
		if iso.Level == warden.Process {
			want = append(want, "EACCES") // what Landlock says
		}
		if !slices.Contains(want, got[a.name]) {
			s.Errorf("%s: %s, want %s", a.name, got[a.name], a.want)
		}
	}
	if after := s.evidence(victim); after != before {
		s.Errorf("before: %s\nafter: %s", before, after)
	}
}

// control makes sure that the attempts are good for something: without a container, as
// root, they work.
func (s *suite) control(world string) {
	s.Helper()
	if os.Getenv("CLOUDLET_TEST_VM") == "" || os.Geteuid() != 0 {
		return
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir = s.T.TempDir()
	cmd.Env = []string{helperEnv + "=escape", worldEnv + "=" + world, controlEnv + "=1"}
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	got := answers(string(out))
	for _, a := range attempts {
		if a.control && got[a.name] != "done" {
			s.Errorf("without a container, %s: %s", a.name, got[a.name])
		}
	}
}

// evidence is what the host sees of what attackers would change.
func (s *suite) evidence(victim *warden.Container) string {
	s.Helper()
	var list []string
	files := []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/kernel/panic",
		"/proc/sys/vm/drop_caches", "/proc/swaps", "/proc/modules",
		filepath.Join(victim.Home(), "secret"),
	}
	if os.Getenv("CLOUDLET_TEST_VM") != "" { // elsewhere other Cloudlets come and go
		files = append(files, forwardFile)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		switch f {
		case "/proc/modules":
			b = []byte(strconv.Itoa(bytes.Count(b, []byte("wardentest"))))
		case "/proc/swaps": // how much of each is used changes by itself
			b = []byte(strconv.Itoa(bytes.Count(b, []byte("\n"))))
		}
		list = append(list, f+" "+strings.TrimSpace(string(b)))
	}
	select {
	case <-victim.Done():
		s.Error("the victim was ended")
	default:
	}
	return strings.Join(list, "; ")
}

// testSetuid: a program that is root's, and would be root for everybody, is neither here.
func testSetuid(s *suite) {
	if os.Geteuid() != 0 {
		s.Skip("only root can make such a program")
	}
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	cmd := helper(s, p, c, "ids")
	m, _ := p.Binary()
	program := filepath.Join(c.Home(), "setuid")
	if err := errors.Join(copyFile(m.Source, program), os.Chmod(filepath.Dir(program), 0o755), os.Chmod(program, 0o6755|os.ModeSetuid|os.ModeSetgid)); err != nil {
		s.Fatal(err)
	}
	cmd.Args = []string{filepath.Join(c.HomeInside(), "setuid")}
	out, e := s.runCommand(c, cmd)
	var user, effective, group int
	if _, err := fmt.Sscan(out, &user, &effective, &group); err != nil || e.Status != 0 || user == 0 || effective != user || group != user {
		s.Errorf("%q, %+v, %v", out, e, err)
	}
}

// testSight: what there is to be seen inside is what was meant to be.
func testSight(s *suite) {
	p := s.pool(warden.Config{})
	if p.Isolation().Level == warden.Process {
		s.Skip("level process has the host's view")
	}
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	out, _ := s.run(c, "ls -A /dev; echo; ls /proc/self/fd; echo; cat /proc/self/mountinfo")
	parts := strings.SplitN(out, "\n\n", 3)
	if want := "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"; parts[0] != want {
		s.Errorf("devices: %q", parts[0])
	}
	if parts[1] != "0\n1\n2\n3" { // 3 is the folder that ls reads
		s.Errorf("descriptors: %q", parts[1])
	}
	for line := range strings.Lines(parts[2]) {
		f := strings.Fields(line)
		where, flags := f[4], strings.Split(f[5], ",")
		if f[3] == "/null" {
			continue // a file is hidden behind the device that is empty
		}
		if !slices.Contains(flags, "nosuid") {
			s.Errorf("%s may hold setuid programs: %s", where, f[5])
		}
		if !slices.Contains(flags, "nodev") && !strings.HasPrefix(where, "/dev") {
			s.Errorf("%s may hold devices: %s", where, f[5])
		}
		own := []string{"/proc", "/tmp", "/home/vcap", "/dev/shm", "/dev/pts"}
		if !slices.Contains(flags, "ro") && !slices.Contains(own, where) && !strings.HasPrefix(where, "/dev/") {
			s.Errorf("%s is writable: %s", where, f[5])
		}
	}
}

// testTerminalInput: nothing can be typed on the terminal of whoever looks at the container.
func testTerminalInput(s *suite) {
	p := s.pool(warden.Config{})
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	seen := &screen{}
	e, err := c.Run(s.ctx(), helper(s, p, c, "type"), warden.Streams{Stdout: seen, Terminal: &warden.Terminal{}})
	if err != nil || e.Status != 0 || seen.String() != "EPERM EPERM\n" {
		s.Errorf("%q, %+v, %v", seen, e, err)
	}
}

// helpType types on its own terminal, and pastes.
func helpType([]string) {
	var answers []string
	for _, request := range []uintptr{unix.TIOCSTI, unix.TIOCLINUX} {
		key := []byte("x")
		_, _, no := unix.Syscall(unix.SYS_IOCTL, 0, request, pointer(key))
		answers = append(answers, unix.ErrnoName(no))
	}
	fmt.Println(strings.Join(answers, " "))
}

// testWatches: who watches all files that he may leaves watches to others, also where he is
// the same user as Cloudlet.
func testWatches(s *suite) {
	p := s.pool(warden.Config{})
	if p.Isolation().Level == warden.Process {
		s.Skip("level process has the host's users")
	}
	c := s.create(p, warden.Spec{Mounts: helperMounts(p)})
	s.startHelper(p, c, "watch")
	s.says(c, "EMFILE")
	if err := fd(unix.InotifyInit1(unix.IN_CLOEXEC)); err != nil {
		s.Error(err)
	}
}

// helpWatch takes all that there are.
func helpWatch([]string) {
	for {
		if _, err := unix.InotifyInit1(0); err != nil {
			fmt.Println(unix.ErrnoName(err.(syscall.Errno)))
			time.Sleep(time.Hour)
		}
	}
}

// helpLease has the kernel ask it before anybody else opens a file, and does not answer.
func helpLease(args []string) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGIO)
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	}
	fmt.Println("taken", err)
	<-asked
	fmt.Println("asked for")
	time.Sleep(time.Hour)
}

func helpIDs([]string) { fmt.Println(os.Getuid(), os.Geteuid(), os.Getegid()) }
