package wardentest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"cloudlet/warden"
)

// UserEnv is set for the process in which an ordinary user tests the way outward.
const UserEnv = "WARDENTEST_USER"

const (
	userID    = 61234
	otherAddr = "198.51.100.1" // of the host, besides hostAddr
	loopDNS   = "127.0.0.53"   // who knows names on the host, and is out of containers' reach
)

// AsUser runs the tests that match a pattern as an ordinary user behind whom lies the
// internet. It needs root, and a process that InOwnHost has started.
func AsUser(t *testing.T, pattern string) {
	n := newInternet(&suite{T: t})
	n.address(n.host, "lo", otherAddr+"/32")
	n.serveNames(netns.None(), loopDNS, netip.MustParseAddr(webAddr))
	n.resolver("/etc/resolv.conf", "nameserver "+loopDNS)
	allowTunnels(n)
	dir, err := os.MkdirTemp("", "wardentest")
	n.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	n.must(os.Chmod(dir, 0o755))
	binary, tmp := filepath.Join(dir, "test"), filepath.Join(dir, "tmp")
	n.must(copyFile(os.Args[0], binary))
	n.must(os.Mkdir(tmp, 0o755))
	n.must(os.Chown(tmp, userID, userID))
	cmd := exec.CommandContext(t.Context(), binary, "-test.run="+pattern, "-test.v="+strconv.FormatBool(testing.Verbose()))
	cmd.Env, cmd.Dir = append(os.Environ(), UserEnv+"=1", "TMPDIR="+tmp), tmp
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userID, Gid: userID}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	n.must(err)
}

// allowTunnels has every user make tunnels, as systems do; it holds in our own mounts.
func allowTunnels(n *internet) {
	const tun = "/dev/net/tun"
	if _, err := os.Stat(tun); err != nil {
		return // pasta will say so
	}
	dir := n.TempDir()
	n.must(unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	n.must(unix.Mknod(filepath.Join(dir, "tun"), unix.S_IFCHR, int(unix.Mkdev(10, 200))))
	n.must(os.Chmod(filepath.Join(dir, "tun"), 0o666))
	n.must(unix.Mount(filepath.Join(dir, "tun"), tun, "", unix.MS_BIND, ""))
	n.Cleanup(func() {
		n.must(unix.Unmount(tun, unix.MNT_DETACH))
		n.must(unix.Unmount(dir, unix.MNT_DETACH))
	})
}

// RunUserNetwork runs the tests of the way outward at level rootless, in the process that
// AsUser has started.
func RunUserNetwork(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Links", testLinks},
		{"Proxy", testProxy},
		{"ProxyRefuses", testProxyRefuses},
		{"ProxyMany", testProxyMany},
		{"ProxyAdopted", testProxyAdopted},
		{"Pasta", testPasta},
		{"PastaRefuses", testPastaRefuses},
		{"PastaEnds", testPastaEnds},
		{"PastaIsolation", testIsolation},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, open: open, dir: folder(t)}
			s.Cleanup(func() { s.expectPastas(0) })
			test.run(s)
		})
	}
}

// withoutPasta opens pools that do not find pasta.
func (s *suite) withoutPasta() *warden.Pool {
	s.Helper()
	s.Setenv("PATH", s.TempDir())
	p := s.pool(warden.Config{})
	if iso := p.Isolation(); !iso.Outward || !iso.Proxy {
		s.Fatalf("no proxy: %+v", iso)
	}
	return p
}

func (s *suite) withPasta() *warden.Pool {
	s.Helper()
	p := s.pool(warden.Config{})
	if iso := p.Isolation(); !iso.Outward || iso.Proxy {
		s.Skipf("no pasta: %q", iso.Reasons)
	}
	return p
}

func (s *suite) inside(p *warden.Pool, spec warden.Spec) *warden.Container {
	s.Helper()
	spec.Mounts = append(spec.Mounts, helperMounts(p)...)
	return s.create(p, spec)
}

// helps runs a helper, which finds the container's proxy in its environment, and gives its lines.
func (s *suite) helps(p *warden.Pool, c *warden.Container, name string, args ...string) []string {
	s.Helper()
	cmd := helper(s, p, c, name, args...)
	cmd.Env = append(cmd.Env, c.ProxyEnv(nil)...)
	out, _ := s.runCommand(c, cmd)
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

func (s *suite) expect(what string, got []string, want ...string) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("%s: %q, want %q", what, got, want)
	}
}

// testLinks: a port inside leads to a socket outside, also when that is made anew; a
// container without the link does not get there.
func testLinks(s *suite) {
	p := s.withoutPasta()
	socket := filepath.Join(s.TempDir(), "socket")
	link := warden.Link{Port: 5432, Socket: socket}
	with, without := s.inside(p, warden.Spec{Links: []warden.Link{link}}), s.inside(p, warden.Spec{})
	for _, text := range []string{"first", "second"} {
		ln, err := net.Listen("unix", socket)
		s.must(err)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, text)
				c.Close()
			}
		}()
		s.expect("with a link", s.helps(p, with, "get", "127.0.0.1:5432"), text)
		s.expect("without", s.helps(p, without, "get", "127.0.0.1:5432"), "no")
		ln.Close()
	}
	many := slices.Repeat([]warden.Link{link}, 17)
	if _, err := p.Create(s.ctx(), warden.Spec{Handle: "many", Links: many}); err == nil {
		s.Error("a container has 17 links")
	}
}

func testProxy(s *suite) {
	p := s.withoutPasta()
	c := s.inside(p, warden.Spec{})
	s.expect("without the proxy", s.helps(p, c, "get", webAddr+":80"), "no")
	s.expect("CONNECT", s.helps(p, c, "connect", webAddr+":80", "web.example:80"), "200 "+hostAddr, "200 "+hostAddr)
	s.expect("http://", s.helps(p, c, "fetch", "http://"+webAddr+":82/a?b", "http://web.example:82/"),
		"200 GET /a?b "+webAddr+":82", "200 GET / web.example:82")
	s.expect("refused outside", s.helps(p, c, "connect", webAddr+":1"), "502")
	s.expect("nonsense", s.helps(p, c, "fetch", "ftp://x/"), "error")
	own := c.ProxyEnv([]string{"HTTP_PROXY=mine", "no_proxy="})
	if len(own) != 2 || !strings.HasPrefix(own[0], "https_proxy=") || !strings.HasPrefix(own[1], "HTTPS_PROXY=") {
		s.Errorf("beside the user's own variables: %q", own)
	}
}

func testProxyRefuses(s *suite) {
	p := s.withoutPasta()
	c := s.inside(p, warden.Spec{})
	ln, err := net.Listen("tcp", ":0")
	s.must(err)
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, host := range []string{"127.0.0.1", "127.9.9.9", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", hostAddr, otherAddr, "[::ffff:192.0.2.1]"} {
		s.expect(host, s.helps(p, c, "connect", host+":"+port), "403")
		s.expect(host, s.helps(p, c, "fetch", "http://"+host+":"+port+"/"), "403")
	}
	for _, host := range append([]string{"224.0.0.1", "255.255.255.255", "[fe80::1%25lo]", "[fd00:ec2::254]"}, metaAddrs...) {
		s.expect(host, s.helps(p, c, "connect", host+":80"), "403")
	}
	closed := s.inside(p, warden.Spec{Network: warden.NetworkClosed})
	if env := closed.ProxyEnv(nil); env != nil {
		s.Errorf("a closed container is told of a proxy: %q", env)
	}
	s.expect("closed", s.helps(p, closed, "get", "127.0.0.1:3128"), "no")
	for _, password := range []string{"", "http://c:wrong@127.0.0.1:3128", "http://" + c.Handle() + ":@127.0.0.1:3128", "http://" + closed.Handle() + ":@127.0.0.1:3128"} {
		cmd := helper(s, p, c, "connect", webAddr+":80")
		cmd.Env = append(cmd.Env, "http_proxy="+password)
		if out, _ := s.runCommand(c, cmd); out != "407\n" {
			s.Errorf("with %q: %q", password, out)
		}
	}
}

// testProxyMany: more connections than a link carries at a time wait for their turn, and a
// flood of headers is refused.
func testProxyMany(s *suite) {
	p := s.withoutPasta()
	c := s.inside(p, warden.Spec{})
	s.expect("at once", s.helps(p, c, "connectMany", webAddr+":80", "400"), "400 of 400")
	s.expect("large head", s.helps(p, c, "largeHead", webAddr+":80"), "431")
}

func testProxyAdopted(s *suite) {
	s.Setenv("PATH", s.TempDir())
	p := s.openPool(warden.Config{})
	c := s.inside(p, warden.Spec{Handle: "c"})
	s.start(c, marker())
	env := c.ProxyEnv(nil)
	p.Close()
	p = s.pool(warden.Config{})
	c, err := p.Get("c")
	s.must(err)
	if !slices.Equal(env, c.ProxyEnv(nil)) {
		s.Error("the variables have changed")
	}
	s.expect("after the restart", s.helps(p, c, "connect", webAddr+":80"), "200 "+hostAddr)
}

func testPasta(s *suite) {
	p := s.withPasta()
	c := s.inside(p, warden.Spec{})
	s.expect("TCP", s.helps(p, c, "get", webAddr+":80"), hostAddr)
	s.expect("names", s.helps(p, c, "names", "web.example"), webAddr)
	if env := c.ProxyEnv(nil); env != nil {
		s.Errorf("a proxy: %q", env)
	}
	server := s.server(p, "echo", "127.0.0.1")
	s.echo(server, []byte("the port is reached as ever"))
}

func testPastaRefuses(s *suite) {
	p := s.withPasta()
	ln, err := net.Listen("tcp", ":0")
	s.must(err)
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	other := s.server(p, "echo", "127.0.0.1")
	c := s.inside(p, warden.Spec{})
	for _, addr := range []string{
		"127.0.0.1:" + port, hostAddr + ":" + port, otherAddr + ":" + port, "0.0.0.0:" + port, "[::1]:" + port,
		address(other), fmt.Sprintf("%s:%d", hostAddr, other.Port()), loopDNS + ":53",
		metaAddrs[0] + ":80", metaAddrs[1] + ":80", metaAddrs[2] + ":80",
	} {
		s.expect(addr, s.helps(p, c, "get", addr), "no")
	}
	closed := s.inside(p, warden.Spec{Network: warden.NetworkClosed})
	s.expect("closed", s.helps(p, closed, "get", webAddr+":80"), "no")
}

// pastas counts those of this suite's containers.
func (s *suite) pastas() (n int) {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if b, _ := os.ReadFile(f); bytes.HasPrefix(b, []byte("pasta")) || bytes.Contains(b, []byte("/pasta\x00")) {
			n += bytes.Count(b, []byte("\x00"+s.dir+"/"))
		}
	}
	return n
}

func (s *suite) expectPastas(want int) {
	s.Helper()
	s.eventually(func() error {
		if n := s.pastas(); n != want {
			return fmt.Errorf("%d pastas run, want %d", n, want)
		}
		return nil
	})
}

// testPastaEnds: it outlives Cloudlet, and ends with its container in whatever way that
// ends.
func testPastaEnds(s *suite) {
	p := s.openPool(warden.Config{})
	if p.Isolation().Proxy {
		p.Close()
		s.Skip("no pasta")
	}
	s.expectPastas(0)
	for _, handle := range []string{"stays", "ends", "killed", "destroyed"} {
		c := s.inside(p, warden.Spec{Handle: handle})
		s.start(c, "while ! [ -e end ]; do sleep 0.01; done")
	}
	s.expectPastas(4)
	homes := map[string]string{}
	for _, c := range p.List() {
		homes[c.Handle()] = c.Home()
	}
	p.Close()
	s.must(os.WriteFile(filepath.Join(homes["ends"], "end"), nil, 0o600))
	s.expectPastas(3) // nobody was there but the supervisor

	p = s.withPasta()
	stays, err := p.Get("stays")
	s.must(err)
	s.expect("after the restart", s.helps(p, stays, "get", webAddr+":80"), hostAddr)
	s.expectPastas(3)
	killed, err := p.Get("killed")
	s.must(err)
	syscall.Kill(killed.PID(), syscall.SIGKILL)
	s.wait(killed)
	s.expectPastas(2)
	destroyed, err := p.Get("destroyed")
	s.must(err)
	s.destroy(destroyed)
	s.expectPastas(1)
	s.destroy(stays)
	s.expectPastas(0)
}

// tell serves HTTP that says what it was asked, and if it was told a password.
func tell(ln net.Listener) {
	http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Method, " ", r.URL, " ", r.Host)
		if r.Header.Get("Proxy-Authorization") != "" {
			fmt.Fprint(w, " password")
		}
	}))
}
