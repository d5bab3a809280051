package wardentest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"cloudlet/warden"
)

// RunNetwork runs the tests of containers with addresses of their own. It needs root, and
// a process that InOwnHost has started.
func RunNetwork(t *testing.T, open Open) {
	shared := newInternet(&suite{T: t, open: open})
	for _, test := range []struct {
		name string
		run  func(*internet)
	}{
		{"Reach", testReach},
		{"Outward", testOutward},
		{"Names", testNames},
		{"NamesByForwarder", testNamesByForwarder},
		{"NamesOfResolved", testNamesOfResolved},
		{"Closed", testClosed},
		{"Neighbours", testNeighbours},
		{"Host", testHost},
		{"Spoofed", testSpoofed},
		{"Foreign", testForeign},
		{"Exhaustion", testExhaustion},
		{"Questions", testQuestions},
		{"QuestionBomb", testQuestionBomb},
		{"Bandwidth", testBandwidth},
		{"AdoptedNetwork", testAdoptedNetwork},
		{"LeftOverLinks", testLeftOverLinks},
		{"DeadCloudlets", testDeadCloudlets},
		{"NoNetwork", testNoNetwork},
		{"OtherFirewall", testOtherFirewall},
		{"Many", testMany},
		{"HostUnmounts", testHostUnmounts},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := *shared
			n.suite = &suite{T: t, open: open, dir: folder(t)}
			before := n.traces()
			t.Cleanup(func() {
				n.T = t
				if after := n.traces(); !slices.Equal(before, after) {
					t.Errorf("left over: %q, before: %q", after, before)
				}
			})
			test.run(&n)
		})
	}
}

// networkPool is a pool whose containers have a way outward.
func (n *internet) networkPool(cfg warden.Config) *warden.Pool {
	n.Helper()
	p := n.pool(cfg)
	if iso := p.Isolation(); !iso.Outward {
		n.Fatal(iso.Reasons)
	}
	return p
}

func (n *internet) container(p *warden.Pool, spec warden.Spec) *warden.Container {
	n.Helper()
	spec.Mounts = append(spec.Mounts, helperMounts(p)...)
	return n.create(p, spec)
}

// own is a container's own address.
func own(c *warden.Container) string {
	host, _, _ := net.SplitHostPort(c.Addrs()[0])
	return host
}

// testReach: an app is reached at its own address if it listens there, by the relay in
// any case.
func testReach(n *internet) {
	p := n.networkPool(warden.Config{})
	everywhere, local := n.server(p, "echo", "0.0.0.0"), n.server(p, "echo", "127.0.0.1")
	for _, c := range []*warden.Container{everywhere, local} {
		if l := c.Addrs(); len(l) != 2 || l[1] != address(c) {
			n.Errorf("addresses of %s: %q", c.Handle(), l)
		}
		n.echo(c, []byte("by the relay"))
	}
	conn, err := net.Dial("tcp", everywhere.Addrs()[0])
	n.must(err)
	defer conn.Close()
	conn.Write([]byte("direct"))
	b := make([]byte, 6)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "direct" {
		n.Errorf("%q, %v", b, err)
	}
	if _, err := net.Dial("tcp", local.Addrs()[0]); !errors.Is(err, unix.ECONNREFUSED) {
		n.Errorf("an app on 127.0.0.1 answers elsewhere: %v", err)
	}
	u, err := everywhere.Usage()
	if err != nil || u.Received < 6 || u.Sent < 6 {
		n.Errorf("usage %+v, %v", u, err)
	}
	out, _ := n.run(everywhere, "hostname -i; cat /sys/class/net/eth0/address 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort; cut -d' ' -f1,6 /proc/net/if_inet6")
	n.expect("inside", strings.Split(strings.TrimSpace(out), "\n"), own(everywhere), "eth0", "lo", "00000000000000000000000000000001")
}

func testOutward(n *internet) {
	p := n.networkPool(warden.Config{})
	c := n.container(p, warden.Spec{})
	n.expect("the internet sees the host", n.helps(p, c, "get", webAddr+":80"), hostAddr)
	for _, addr := range metaAddrs {
		n.expect("metadata", n.helps(p, c, "get", addr+":80"), "no")
	}
	n.helps(p, c, "send", "outward", webAddr+":9")
	if l := n.noted("outward"); !slices.Contains(l, hostAddr+" outward") {
		n.Errorf("datagrams: %q", l)
	}
}

func testNames(n *internet) {
	p := n.networkPool(warden.Config{})
	c := n.container(p, warden.Spec{})
	n.expect("names", n.helps(p, c, "names", "web.example.", "big.example."), webAddr, webAddr)
	n.expect("get", n.helps(p, c, "get", "web.example.:80"), hostAddr)
}

// testNamesByForwarder: the host's server is on its own loopback, where only the forwarder
// gets to.
func testNamesByForwarder(n *internet) {
	n.resolver("/etc/resolv.conf", "nameserver 127.0.0.1\nsearch example\noptions ndots:1")
	n.serveNames(netns.None(), "127.0.0.1", netip.MustParseAddr(dnsAddr))
	p := n.networkPool(warden.Config{})
	c := n.container(p, warden.Spec{})
	n.expect("names", n.helps(p, c, "names", "web.example.", "big.example."), dnsAddr, dnsAddr)
	out, _ := n.run(c, "grep -c . /etc/resolv.conf; grep 127 /etc/resolv.conf; grep -v nameserver /etc/resolv.conf")
	n.expect("resolv.conf", strings.Split(strings.TrimSpace(out), "\n"), "3", "search example", "options ndots:1")
	n.resolver("/etc/resolv.conf", "nameserver 127.0.0.99")
	n.expect("no server", n.helps(p, c, "names", "web.example."), "no")
	n.resolver("/etc/resolv.conf", "nameserver 127.0.0.1")
	other := n.networkPoolOf("other")
	d := n.container(other, warden.Spec{})
	n.expect("another pool's", n.helps(other, d, "names", "web.example."), dnsAddr)
}

// testNamesOfResolved: where the host's resolv.conf names systemd-resolved, containers
// have the servers that it asks.
func testNamesOfResolved(n *internet) {
	const file = "/run/systemd/resolve/resolv.conf"
	n.write(file, "nameserver "+dnsAddr+"\n")
	defer os.Remove(file)
	n.resolver("/etc/resolv.conf", "nameserver 127.0.0.53")
	p := n.networkPool(warden.Config{})
	c := n.container(p, warden.Spec{})
	n.expect("names", n.helps(p, c, "names", "web.example."), webAddr)
	out, _ := n.run(c, "head -1 /etc/resolv.conf")
	n.expect("first server", []string{strings.TrimSpace(out)}, "nameserver "+dnsAddr)
}

// networkPoolOf is a pool in another folder.
func (n *internet) networkPoolOf(name string) *warden.Pool {
	n.Helper()
	return n.networkPool(warden.Config{Dir: n.dir + "-" + name})
}

func testClosed(n *internet) {
	p := n.networkPool(warden.Config{})
	c := n.server(p, "echo", "0.0.0.0")
	closed := n.container(p, warden.Spec{Network: warden.NetworkClosed, Port: true})
	n.expect("outward", n.helps(p, closed, "get", webAddr+":80", own(c)+":80", hostAddr+":80"), "no", "no", "no")
	n.expect("names", n.helps(p, closed, "names", "web.example."), "no")
	n.must(closed.Start(helper(n, p, closed, "echo", fmt.Sprintf("0.0.0.0:%d", closed.Port()))))
	n.eventually(func() error {
		conn, err := net.Dial("tcp", closed.Addrs()[0])
		if err == nil {
			conn.Close()
		}
		return err
	})
	// Not even with a route.
	n.inside(n.namespace(closed), func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		_, all, _ := net.ParseCIDR(wideRange)
		return h.RouteAdd(&netlink.Route{Dst: all, Gw: n.gateway(closed), LinkIndex: n.link(h, "eth0").Attrs().Index, Flags: int(netlink.FLAG_ONLINK)})
	})
	n.expect("with a route", n.helps(p, closed, "get", webAddr+":80", fmt.Sprintf("%s:%d", own(c), c.Port())), "no", "no")
}

// gateway is the host's address as a container sees it.
func (n *internet) gateway(c *warden.Container) net.IP {
	a := netip.MustParseAddr(own(c))
	return netip.PrefixFrom(a, 20).Masked().Addr().Next().AsSlice()
}

// testNeighbours: containers do not reach each other, be they of one Cloudlet or of two.
func testNeighbours(n *internet) {
	p, q := n.networkPool(warden.Config{}), n.networkPoolOf("other")
	one, two, three := n.server(p, "echo", "0.0.0.0"), n.server(p, "echo", "0.0.0.0"), n.server(q, "echo", "0.0.0.0")
	if own(one) == own(two) || n.gateway(one).Equal(n.gateway(three)) {
		n.Errorf("addresses %s, %s, %s", own(one), own(two), own(three))
	}
	for _, other := range []*warden.Container{two, three} {
		at := other.Addrs()[0]
		if _, err := net.Dial("tcp", at); err != nil {
			n.Error(err)
		}
		n.expect("other", n.helps(p, one, "dial", at, own(other)+":22", address(other)), "no", "no", "no")
	}
}

// testHost: nothing of the host's is in reach, by none of its addresses.
func testHost(n *internet) {
	p := n.networkPool(warden.Config{})
	c := n.server(p, "echo", "0.0.0.0")
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	n.must(err)
	defer ln.Close()
	go accept(ln, false)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	var addrs []string
	for _, host := range []string{"127.0.0.1", hostAddr, n.gateway(c).String()} {
		if conn, err := net.Dial("tcp", host+":"+port); err != nil {
			n.Error(err)
		} else {
			conn.Close()
		}
		addrs = append(addrs, host+":"+port)
	}
	n.expect("the host", n.helps(p, c, "get", addrs...), "no", "no", "no")
	// Nor are containers, or the gateway, in reach from elsewhere.
	n.inside(n.ns, func() error {
		for _, at := range []string{n.gateway(c).String() + ":" + port, c.Addrs()[0]} {
			if conn, err := net.DialTimeout("tcp", at, 200*time.Millisecond); err == nil {
				conn.Close()
				return fmt.Errorf("%s is reached from the internet", at)
			}
		}
		return nil
	})
}

// testSpoofed: what comes with a foreign source goes nowhere.
func testSpoofed(n *internet) {
	p := n.networkPool(warden.Config{})
	c, other := n.container(p, warden.Spec{Port: true}), n.container(p, warden.Spec{Port: true})
	ns := n.namespace(c)
	n.inside(ns, func() error {
		for i, from := range []string{"198.51.100.7", own(other), n.gateway(c).String(), own(c)} {
			if err := sendFrom(from, fmt.Sprintf("spoofed %d", i)); err != nil {
				return fmt.Errorf("from %s: %w", from, err)
			}
		}
		return nil
	})
	n.expect("datagrams", slices.DeleteFunc(n.noted("spoofed 3"), func(s string) bool {
		return !strings.Contains(s, "spoofed")
	}), hostAddr+" spoofed 3")
}

// sendFrom sends a datagram as somebody who may do everything in the namespace.
func sendFrom(from, text string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(from).As4()}); err != nil {
		return err
	}
	return unix.Sendto(fd, []byte(text), 0, &unix.SockaddrInet4{Port: 9, Addr: netip.MustParseAddr(webAddr).As4()})
}

// testForeign: what the host did not forward before, it does not forward now; what it
// did, it still does.
func testForeign(n *internet) {
	var lan netns.NsHandle
	n.inside(netns.None(), func() (err error) {
		lan, err = netns.New()
		return err
	})
	defer lan.Close()
	far, err := netlink.NewHandleAt(lan, unix.NETLINK_ROUTE)
	n.must(err)
	defer far.Close()
	n.wire("lan", lan, far, "198.51.100.1", "198.51.100.2")
	defer func() { n.must(n.host.LinkDel(n.link(n.host, "lan"))) }()
	n.route(far, wideRange, "198.51.100.1")
	n.route(n.far, "198.51.100.0/24", hostAddr)
	through := func() (err error) {
		n.inside(lan, func() error {
			var conn net.Conn
			if conn, err = net.DialTimeout("tcp", webAddr+":80", 300*time.Millisecond); err == nil {
				conn.Close()
			}
			return nil
		})
		return err
	}
	if through() == nil {
		n.Fatal("the host forwards from the beginning")
	}
	p := n.openPool(warden.Config{})
	c := n.container(p, warden.Spec{})
	n.expect("container", n.helps(p, c, "get", webAddr+":80"), hostAddr)
	if !forwards() || through() == nil {
		n.Error("with a pool the host forwards for others")
	}
	p.Close()
	p = n.openPool(warden.Config{})
	if through() == nil {
		n.Error("with the second pool the host forwards for others")
	}
	n.empty(p)
	if forwards() {
		n.Error("forwarding stays on")
	}
	n.must(os.WriteFile(forwardFile, []byte("1"), 0))
	defer os.WriteFile(forwardFile, []byte("0"), 0)
	p = n.openPool(warden.Config{})
	n.eventually(through) // a host that forwards goes on
	n.empty(p)
	if !forwards() {
		n.Error("forwarding was switched off")
	}
}

// empty destroys the containers of a pool and closes it.
func (n *internet) empty(p *warden.Pool) {
	n.Helper()
	for _, c := range p.List() {
		n.destroy(c)
	}
	n.must(p.Close())
}

// testExhaustion: a container that talks to 65,000 ports at once is refused, before
// others notice.
func testExhaustion(n *internet) {
	p := n.networkPool(warden.Config{})
	bomb, c := n.container(p, warden.Spec{}), n.container(p, warden.Spec{})
	n.expect("before", n.helps(p, bomb, "get", webAddr+":80"), hostAddr)
	n.helps(p, bomb, "flood", webAddr, "64000")
	n.expect("bomb", n.helps(p, bomb, "get", webAddr+":80"), "no")
	n.expect("neighbour", n.helps(p, c, "get", webAddr+":80"), hostAddr)
}

// testHostUnmounts: what the host unmounts is not kept by supervisors that wait for a
// container; and what it mounts later does not come into containers.
func testHostUnmounts(n *internet) {
	n.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")) // as systemd has it
	defer func() { n.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")) }()
	disk, shown := n.TempDir(), n.TempDir()
	n.must(unix.Mount("disk", disk, "tmpfs", 0, ""))
	p := n.networkPool(warden.Config{})
	c := n.container(p, warden.Spec{Mounts: []warden.Mount{{Source: shown, Target: "/opt/shown"}}})
	holders := func() (l []string) {
		found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range found {
			name, _ := os.ReadFile(f)
			mounts, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "mountinfo"))
			if strings.HasPrefix(string(name), "cloudlet-supervisor\x00") && strings.Contains(string(mounts), " "+disk+" ") {
				l = append(l, f)
			}
		}
		return l
	}
	n.run(c, "true") // the next container is prepared once a process runs
	n.eventually(func() error {
		if len(holders()) == 0 {
			return errors.New("no supervisor waits that was made with the disk there")
		}
		return nil
	})
	n.must(unix.Unmount(disk, 0))
	n.must(unix.Mount("late", shown, "tmpfs", 0, ""))
	defer func() { n.must(unix.Unmount(shown, 0)) }()
	n.must(os.WriteFile(filepath.Join(shown, "late"), nil, 0o644))
	if l := holders(); len(l) > 0 {
		n.Errorf("the disk is still held: %q", l)
	}
	if out, _ := n.run(c, "ls /opt/shown"); out != "" {
		n.Errorf("inside: %q", out)
	}
}

// testQuestions: the forwarder asks for names in a container's stead, and does nothing else
// that a server does for its own machine.
func testQuestions(n *internet) {
	n.resolver("/etc/resolv.conf", "nameserver 127.0.0.1")
	n.serveNames(netns.None(), "127.0.0.1", netip.MustParseAddr(dnsAddr))
	p := n.networkPool(warden.Config{})
	c := n.container(p, warden.Spec{Port: true})
	at := net.JoinHostPort(n.gateway(c).String(), "53")
	question := func(operation dnsmessage.OpCode, kind dnsmessage.Type) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, OpCode: operation}, Questions: []dnsmessage.Question{
			{Name: dnsmessage.MustNewName("web.example."), Type: kind, Class: dnsmessage.ClassINET},
		}}
		b, err := m.Pack()
		n.must(err)
		return b
	}
	ask := func(network string, question []byte) (answer dnsmessage.Message, err error) {
		n.inside(n.namespace(c), func() error {
			conn, err := net.Dial(network, at)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			if network == "tcp" {
				question = append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
			}
			conn.Write(question)
			b := make([]byte, 1500)
			k, _ := conn.Read(b)
			if network == "tcp" {
				b, k = b[2:], max(k-2, 0)
			}
			if k > 0 {
				return answer.Unpack(b[:k])
			}
			answer.RCode = dnsmessage.RCodeRefused // without words
			return nil
		})
		return answer, err
	}
	for name, test := range map[string]struct {
		operation dnsmessage.OpCode
		kind      dnsmessage.Type
		want      dnsmessage.RCode
	}{
		"a name":                 {0, dnsmessage.TypeA, dnsmessage.RCodeSuccess},
		"a change":               {5, dnsmessage.TypeSOA, dnsmessage.RCodeRefused},
		"all names":              {0, dnsmessage.TypeAXFR, dnsmessage.RCodeRefused},
		"all names that changed": {0, 251, dnsmessage.RCodeRefused},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if answer, err := ask(network, question(test.operation, test.kind)); err != nil || answer.RCode != test.want {
				n.Errorf("%s by %s: %v, %v", name, network, answer.RCode, err)
			}
		}
	}
}

// testQuestionBomb: who asks for more names than anybody needs is not heard, before others
// are not; nor does it fill what the kernel follows of connections.
func testQuestionBomb(n *internet) {
	// Where somebody has the port already, he answers.
	server, err := net.ListenPacket("udp4", "0.0.0.0:53")
	n.must(err)
	defer server.Close()
	n.must(server.(*net.UDPConn).SetReadBuffer(64 << 20))
	var came atomic.Int64
	go func() {
		b := make([]byte, 1500)
		for {
			k, who, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			came.Add(1)
			server.WriteTo(b[:k], who)
		}
	}()
	p := n.networkPool(warden.Config{})
	bomb, c := n.container(p, warden.Spec{Port: true, Limits: warden.Limits{Files: times(60000, 60000)}}), n.container(p, warden.Spec{})
	began := time.Now()
	const many = 20000
	n.expect("one conversation", n.helps(p, bomb, "ask", n.gateway(bomb).String(), fmt.Sprint(many), "one"), "asked")
	if most := 1000 + 500*int64(time.Since(began).Seconds()+1); came.Load() == 0 || came.Load() > most {
		n.Errorf("%d of %d questions came, at most %d were to", came.Load(), many, most)
	}
	// On a slow machine the kernel would forget the first before the last come.
	const timeout = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout"
	before, err := os.ReadFile(timeout)
	n.must(err)
	n.must(os.WriteFile(timeout, []byte("3600"), 0))
	defer os.WriteFile(timeout, before, 0)
	n.eventually(func() error {
		n.expect("conversations", n.helps(p, bomb, "ask", n.gateway(bomb).String(), "5000", "each"), "asked")
		if l := n.helps(p, bomb, "get", webAddr+":80"); l[0] != "no" {
			return errors.New("it still connects")
		}
		return nil
	})
	n.expect("neighbour", n.helps(p, c, "get", webAddr+":80"), hostAddr)
}

// testBandwidth: no more passes than is allowed, either way; without a limit all does.
func testBandwidth(n *internet) {
	const rate, burst = 2 << 20, 64 << 10
	p := n.networkPool(warden.Config{})
	limits := warden.Limits{Bandwidth: warden.Bandwidth{Rate: rate, Burst: burst}}
	c := n.container(p, warden.Spec{Port: true, Limits: limits})
	n.must(c.Start(helper(n, p, c, "echo", fmt.Sprintf("0.0.0.0:%d", c.Port()))))
	n.eventually(func() error {
		conn, err := net.Dial("tcp", c.Addrs()[0])
		if err == nil {
			conn.Close()
		}
		return err
	})
	within := func(limited bool) {
		n.Helper()
		before, err := c.Usage()
		n.must(err)
		began := time.Now()
		n.transfer(c, 2*rate)
		took := time.Since(began)
		after, err := c.Usage()
		n.must(err)
		in, out := after.Received-before.Received, after.Sent-before.Sent
		if in < 2*rate || out < 2*rate {
			n.Errorf("%d bytes in and %d out were counted", in, out)
		}
		if most := int64(took.Seconds()*rate*1.1) + 2*burst; limited && (in > most || out > most) {
			n.Errorf("%d bytes in and %d out in %s, at most %d", in, out, took, most)
		}
	}
	within(true)
	n.must(c.SetLimits(warden.Limits{}))
	within(false)
	inside, err := netlink.NewHandleAt(n.namespace(c), unix.NETLINK_ROUTE)
	n.must(err)
	defer inside.Close()
	for _, want := range []bool{false, true} {
		if want {
			n.must(c.SetLimits(limits))
		}
		l, err := inside.QdiscList(n.link(inside, "eth0"))
		n.must(err)
		if got := slices.ContainsFunc(l, func(q netlink.Qdisc) bool { return q.Type() == "tbf" }); got != want {
			n.Errorf("limited inside: %v, want %v: %v", got, want, l)
		}
	}
}

// transfer sends bytes to an echo and reads them again.
func (n *internet) transfer(c *warden.Container, size int64) {
	n.Helper()
	conn, err := net.Dial("tcp", c.Addrs()[0])
	n.must(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go io.CopyN(conn, zeros{}, size)
	if _, err := io.CopyN(io.Discard, conn, size); err != nil {
		n.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// testAdoptedNetwork: the network outlives the pool, and new containers do not take what
// the old ones have.
func testAdoptedNetwork(n *internet) {
	p := n.openPool(warden.Config{})
	c := n.server(p, "echo", "0.0.0.0")
	addrs := c.Addrs()
	conn, err := net.Dial("tcp", addrs[0])
	n.must(err)
	defer conn.Close()
	n.must(p.Close())
	p = n.networkPool(warden.Config{})
	found, err := p.Get(c.Handle())
	n.must(err)
	n.expect("addresses", found.Addrs(), addrs...)
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		n.Errorf("a connection does not outlive a restart: %v", err)
	}
	n.expect("outward", n.helps(p, found, "get", webAddr+":80"), hostAddr)
	used := map[string]bool{own(found): true}
	for range 5 {
		d := n.create(p, warden.Spec{Port: true})
		if used[own(d)] {
			n.Errorf("%s is taken twice", own(d))
		}
		used[own(d)] = true
	}
	n.destroy(found)
	if _, err := net.DialTimeout("tcp", addrs[0], 100*time.Millisecond); err == nil {
		n.Error("an address outlives its container")
	}
}

// testLeftOverLinks: what a crash has left is removed, and what is others' is not.
func testLeftOverLinks(n *internet) {
	p := n.openPool(warden.Config{})
	c := n.server(p, "echo", "127.0.0.1")
	name := n.linkOf(c)
	stale, foreign := name[:len(name)-3]+"fff", "clt-zzzzzz-o001"
	for _, l := range []string{stale, foreign} {
		n.must(n.host.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: l}, PeerName: l[4:]}))
	}
	n.must(p.Close())
	if l := n.traces(); !slices.Contains(l, "link "+name) {
		n.Errorf("with the pool closed: %q", l)
	}
	p = n.openPool(warden.Config{})
	l := n.traces()
	if slices.Contains(l, "link "+stale) || !slices.Contains(l, "link "+foreign) || !slices.Contains(l, "link "+name) {
		n.Errorf("links: %q", l)
	}
	n.must(n.host.LinkDel(n.link(n.host, foreign)))
	// A killed container's link goes; one whose folder is gone leaves nothing either.
	found, err := p.Get(c.Handle())
	n.must(err)
	n.destroy(found)
	if l := n.traces(); slices.Contains(l, "link "+name) {
		n.Errorf("after Destroy: %q", l)
	}
	n.must(p.Close())
}

// testDeadCloudlets: what a killed Cloudlet has left is removed by any other, unless it has
// containers that run. One that is open keeps what it has.
func testDeadCloudlets(n *internet) {
	p := n.networkPool(warden.Config{})
	open := n.traces()
	conn, err := nftables.New()
	n.must(err)
	for _, name := range []string{"cloudlet-dddddd", "cloudlet-eeeeee"} {
		conn.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	}
	n.must(conn.Flush())
	addresses := map[string]string{"clt-dddddd": "172.30.16.1/32", "clt-eeeeee": "172.30.32.1/32"}
	for id, at := range addresses {
		a, err := netlink.ParseAddr(at)
		n.must(err)
		a.Label = "lo:" + id
		n.must(n.host.AddrAdd(n.link(n.host, "lo"), a))
	}
	n.must(n.host.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "clt-eeeeee-o001"}, PeerName: "eeeeee"}))
	q := n.openPool(warden.Config{Dir: n.dir + "-other"})
	l := strings.Join(n.traces(), "\n")
	if strings.Contains(l, "dddddd") || strings.Contains(l, addresses["clt-dddddd"]) || !strings.Contains(l, "table cloudlet-eeeeee") || !strings.Contains(l, addresses["clt-eeeeee"]) {
		n.Errorf("with a dead and a living one: %s", l)
	}
	for _, trace := range open {
		if !strings.Contains(l, trace) {
			n.Errorf("an open pool has lost %q: %s", trace, l)
		}
	}
	n.must(n.host.LinkDel(n.link(n.host, "clt-eeeeee-o001")))
	n.must(q.Close())
	n.networkPoolOf("other")
	if l := strings.Join(n.traces(), "\n"); strings.Contains(l, "eeeeee") {
		n.Errorf("with two dead: %s", l)
	}
	c := n.container(p, warden.Spec{})
	n.expect("outward", n.helps(p, c, "get", webAddr+":80"), hostAddr)
}

// linkOf is the name of a container's link on the host, which has the route to it.
func (n *internet) linkOf(c *warden.Container) string {
	n.Helper()
	routes, err := n.host.RouteGet(net.ParseIP(own(c)))
	n.must(err)
	l, err := n.host.LinkByIndex(routes[0].LinkIndex)
	n.must(err)
	return l.Attrs().Name
}

// testNoNetwork: where all ranges are in use containers have what they had before, and
// the reason is told.
func testNoNetwork(n *internet) {
	for _, r := range []string{"10.254.0.1/16", "172.30.0.1/16", "198.18.0.1/16"} {
		n.address(n.host, "lo", r)
		a, _ := netlink.ParseAddr(r)
		defer n.host.AddrDel(n.link(n.host, "lo"), a)
	}
	p := n.pool(warden.Config{})
	iso := p.Isolation()
	if iso.Outward || !strings.Contains(strings.Join(iso.Reasons, "\n"), "no network outward: range of addresses") {
		n.Errorf("%+v", iso)
	}
	c := n.server(p, "echo", "127.0.0.1")
	n.expect("addresses", c.Addrs(), address(c))
	n.echo(c, []byte("relayed"))
	n.expect("outward", n.helps(p, c, "get", webAddr+":80"), "no")
}

// testOtherFirewall: a table of somebody else's that forwards nothing is told of.
func testOtherFirewall(n *internet) {
	conn, err := nftables.New()
	n.must(err)
	table := conn.AddTable(&nftables.Table{Name: "elsewhere", Family: nftables.TableFamilyIPv4})
	policy := nftables.ChainPolicyDrop
	conn.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	n.must(conn.Flush())
	defer func() {
		conn.DelTable(table)
		n.must(conn.Flush())
	}()
	p := n.pool(warden.Config{})
	if said := strings.Join(p.Isolation().Reasons, "\n"); !strings.Contains(said, "table elsewhere drops") {
		n.Error(said)
	}
	n.echo(n.server(p, "echo", "127.0.0.1"), []byte("in"))
}

// testMany: many containers come and go at once, and leave nothing.
func testMany(n *internet) {
	p := n.openPool(warden.Config{})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for k := range 3 {
				c, err := p.Create(n.Context(), warden.Spec{Handle: fmt.Sprintf("many-%d-%d", i, k), Port: true})
				if err != nil {
					n.Error(err)
					return
				}
				if err := c.Destroy(n.Context()); err != nil {
					n.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := p.Close(); err != nil {
		n.Error(err)
	}
	if l := n.traces(); slices.ContainsFunc(l, func(s string) bool { return strings.HasPrefix(s, "link ") }) {
		n.Errorf("left over: %q", l)
	}
}
