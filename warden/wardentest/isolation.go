package wardentest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"cloudlet/warden"
	"cloudlet/warden/supervisor"
)

// testIsolation holds for the levels that have namespaces.
func testIsolation(s *suite) {
	p := s.pool(warden.Config{})
	if p.Isolation().Level == warden.Process {
		s.Skip("level process does not isolate")
	}
	secret := filepath.Join(filepath.Dir(s.dir), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o666); err != nil {
		s.Fatal(err)
	}
	shown := s.T.TempDir()
	if err := os.WriteFile(filepath.Join(shown, "f"), []byte("shown"), 0o644); err != nil {
		s.Fatal(err)
	}
	os.Chmod(filepath.Dir(shown), 0o755)
	other := s.create(p, warden.Spec{Handle: "other", Port: true})
	mark := marker()
	s.start(other, "echo mine > /tmp/mine; "+mark)
	s.lives(mark, 1)
	c := s.create(p, warden.Spec{Handle: "c", Mounts: append(helperMounts(p), warden.Mount{Source: shown, Target: "/var/shown"})})

	links := "lo"
	if iso := p.Isolation(); iso.Outward && !iso.Proxy {
		links = "eth0 lo"
	}
	for name, test := range map[string]struct{ script, want string }{
		"host files":           {"ls -d " + s.dir + " " + secret + " /boot /mnt /etc/shadow 2>/dev/null | wc -l", "0"},
		"keys of servers":      {"ls -d /etc/ssl/private 2>/dev/null | wc -l; ls /etc/ssl/certs | grep -c . >/dev/null && echo certificates", "0\ncertificates"},
		"root's home":          {"ls /root 2>/dev/null | wc -l", "0"},
		"only its own in sys":  {"ls /sys /sys/fs 2>/dev/null | grep -v -e '^$' -e : -e '^fs$' -e '^cgroup$' | wc -l; find /sys -writable | wc -l", "0\n0"},
		"own group is the top": {"grep '^0::' /proc/self/cgroup | grep -v '^0::/$' | wc -l", "0"},
		"masked":               {"cat /proc/kcore /proc/interrupts /proc/keys /proc/timer_list /proc/kallsyms 2>/dev/null | wc -c", "0"},
		"filtered":             {"grep Seccomp: /proc/self/status | grep -o '[0-9]$'", "2"},
		"host name":            {"hostname", "c"},
		"user":                 {"id -un", "vcap"},
		"not root":             {"[ $(id -u) -ne 0 ] && [ $(id -g) -ne 0 ] && echo ok", "ok"},
		"no groups":            {"id -G | wc -w", "1"},
		"no capabilities":      {"grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | grep -v 0000000000000000 | wc -l", "0"},
		"no new privileges":    {"grep NoNewPrivs /proc/self/status | grep -o '[01]$'", "1"},
		"usr is read-only":     {"touch /usr/x 2>/dev/null || echo no", "no"},
		"root is read-only":    {"touch /x /etc/x /dev/x /home/x 2>/dev/null; ls /x /etc/x /dev/x /home/x 2>/dev/null | wc -l", "0"},
		"own processes only":   {"cat /proc/[0-9]*/cmdline | grep -c '^sleep'; ls -d /proc/[0-9]* | wc -l | grep -qx '[0-9]' && echo few", "0\nfew"},
		"private tmp":          {"ls /tmp | wc -l; touch /tmp/x && echo ok", "0\nok"},
		"private home":         {"ls /home; touch ~/x 2>/dev/null; cd; pwd", "vcap\n/home/vcap"},
		"host process":         {fmt.Sprintf("kill -0 %d 2>/dev/null || echo no", os.Getpid()), "no"},
		"supervisor's files":   {"ls -l /proc/1/fd /proc/1/root /proc/1/cwd >/dev/null 2>&1 || echo no", "no"},
		"supervisor's memory":  {"cat /proc/1/environ /proc/1/maps 2>/dev/null | wc -c", "0"},
		"supervisor's life":    {"kill -9 1 2>/dev/null; sleep 0.1; echo lives", "lives"},
		"mount":                {"cat /etc/mtab | grep -c " + s.dir, "0"},
		"shown, read-only":     {"cat /var/shown/f; touch /var/shown/x 2>/dev/null || echo no", "shownno"},
		"devices":              {"echo x > /dev/null; head -c 3 /dev/zero | wc -c; ls /dev/sda /dev/vda /dev/mem /dev/kmsg 2>/dev/null | wc -l", "3\n0"},
		"pseudo terminals":     {"ls /dev/pts; [ -c /dev/ptmx ] && echo ok", "ptmx\nok"},
		"descriptors by path":  {"echo ok > /dev/stdout", "ok"},
		"interfaces":           {"tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | xargs", links},
		"shared memory":        {"touch /dev/shm/x && echo ok", "ok"},
		"host's sysctl":        {"echo 1 2>/dev/null > /proc/sys/kernel/panic || echo no", "no"},
		"no program as device": {"mknod d c 1 3 2>/dev/null || echo no", "no"},
	} {
		cmd := shell(test.script)
		cmd.Env = append(cmd.Env, "HOME=/home/vcap")
		out, _ := s.runCommand(c, cmd)
		if strings.TrimSpace(out) != test.want {
			s.Errorf("%s: %q, want %q", name, out, test.want)
		}
	}
	s.network(p, c, other)
}

// network: the host's loopback is out of reach, unless the host's network was asked for.
func (s *suite) network(p *warden.Pool, c, other *warden.Container) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	if out, _ := s.runCommand(c, helper(s, p, c, "dial", addr, address(other), "127.0.0.1:1")); out != "no\nno\nno\n" {
		s.Errorf("reached from the inside: %q", out)
	}
	host := s.create(p, warden.Spec{Network: warden.NetworkHost, Port: true, Mounts: helperMounts(p)})
	if out, _ := s.runCommand(host, helper(s, p, host, "dial", addr)); out != "yes\n" {
		s.Errorf("the host's network: %q", out)
	}
	if host.Port() == 0 {
		s.Error("no port in the host's network")
	}
}

// testControlSockets: no process of a container asks a supervisor for anything, neither its
// own nor another's, also where it is the same user as Cloudlet.
func testControlSockets(s *suite) {
	p := s.pool(warden.Config{})
	if iso := p.Isolation(); !iso.OwnFiles {
		s.Skip(iso.Reasons)
	}
	s.create(p, warden.Spec{Handle: "other"})
	c := s.create(p, warden.Spec{Handle: "c", Mounts: helperMounts(p)})
	for _, handle := range []string{"other", "c"} {
		out, _ := s.runCommand(c, helper(s, p, c, "control", filepath.Join(s.dir, handle, "ctl")))
		if out != "no\n" {
			s.Errorf("%s: %q", handle, out)
		}
	}
	if out, e := s.run(c, "echo goes on"); e.Status != 0 {
		s.Errorf("%q, %+v", out, e)
	}
}

// helpControl asks a supervisor which main process it has.
func helpControl(args []string) {
	conn, err := net.Dial("unix", args[0])
	if err != nil {
		fmt.Println("no")
		return
	}
	conn.Write(supervisor.AppendFrame(nil, supervisor.KindWatch, nil))
	b := make([]byte, 1000)
	n, _ := conn.Read(b)
	if kind, _, _, err := supervisor.Parse(b[:n]); err != nil || kind == supervisor.KindError {
		fmt.Println("no")
		return
	}
	fmt.Println("answered")
}

// testOwnFiles: what a container sees of files are the system's, its own, and what it was
// given; also where its processes are the same user as Cloudlet.
func testOwnFiles(s *suite) {
	p := s.pool(warden.Config{})
	iso := p.Isolation()
	if !iso.OwnFiles {
		s.Skip(iso.Reasons)
	}
	parent := filepath.Dir(s.dir)
	for _, name := range []string{"secret", "given/f", "mine/f"} {
		path := filepath.Join(parent, name)
		os.MkdirAll(filepath.Dir(path), 0o777)
		os.Chmod(filepath.Dir(path), 0o777)
		if err := os.WriteFile(path, []byte("text"), 0o666); err != nil {
			s.Fatal(err)
		}
		os.Chmod(path, 0o666)
	}
	os.Chmod(parent, 0o755)
	given, mine := filepath.Join(parent, "given"), filepath.Join(parent, "mine")
	other := s.create(p, warden.Spec{Handle: "other"})
	s.run(other, "echo private > f")
	c := s.create(p, warden.Spec{Handle: "c", Mounts: []warden.Mount{{Source: given, Target: given}, {Source: mine, Target: mine, Writable: true}}})
	outside := filepath.Join(parent, "written")
	signal := fmt.Sprintf("kill -0 %d 2>/dev/null || echo no", os.Getpid())
	for name, test := range map[string]struct{ script, want string }{
		"a file of this user":       {"cat " + parent + "/secret", "no"},
		"by a link":                 {"ln -s " + parent + "/secret l && cat l", "no"},
		"by a hard link":            {"ln " + parent + "/secret h", "no"},
		"another app's file":        {"cat " + other.Home() + "/f", "no"},
		"its folder":                {"ls " + s.dir, "no"},
		"its supervisor's":          {"cat " + s.dir + "/c/record.json", "no"},
		"by way of Cloudlet":        {fmt.Sprintf("cat /proc/%d/cwd/isolation.go", os.Getpid()), "no"},
		"Cloudlet's environment":    {fmt.Sprintf("cat /proc/%d/environ", os.Getpid()), "no"},
		"write elsewhere":           {"(echo x > " + outside + ") || true", ""}, // in a /tmp of its own it may
		"remove":                    {"rm " + parent + "/secret", "no"},
		"what was given":            {"cat " + given + "/f", "text"},
		"what was given, to write":  {"echo x > " + given + "/f", "no"},
		"what was given as its own": {"echo x > " + mine + "/f && mv " + mine + "/f " + mine + "/g && cat " + mine + "/g", "x"},
		"its own":                   {"mkdir -p a b && echo x > a/f && mv a/f b/f && cat b/f && rm -r a b && mkfifo p && ln -s p q && [ -p q ] && echo ok", "x\nok"},
		"the system's":              {"head -1 /etc/passwd | cut -d: -f1; ls /usr | grep -c bin; head -c 3 /dev/zero > /dev/null; cat /proc/self/comm", "root\n2\ncat"},
		"filtered":                  {"grep Seccomp: /proc/self/status | grep -o '[0-9]$'", "2"},
	} {
		out, e := s.run(c, "mkdir -p logs; exec 2>/dev/null; "+test.script)
		if e.Status != 0 {
			out = "no"
		}
		if got := strings.TrimSpace(out); got != test.want {
			s.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if out, _ := s.run(c, signal); out != "no\n" && !strings.Contains(strings.Join(iso.Reasons, " "), "signals") {
		s.Errorf("signal Cloudlet: %q", out)
	}
	if b, err := os.ReadFile(filepath.Join(parent, "secret")); string(b) != "text" {
		s.Errorf("the file is %q, %v", b, err)
	}
	if _, err := os.Lstat(outside); err == nil {
		s.Error("a file was written outside")
	}
}
