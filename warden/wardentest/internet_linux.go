package wardentest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"cloudlet/warden"
)

// The surroundings of the tests of the network: the host is a fresh network namespace,
// and "the internet" another one behind it.
//
//	containers ── host 192.0.2.1 ── 192.0.2.2 internet 203.0.113.80, .53, and metaAddrs
const (
	hostAddr  = "192.0.2.1"
	peerAddr  = "192.0.2.2"
	webAddr   = "203.0.113.80"
	dnsAddr   = "203.0.113.53"
	wideRange = "0.0.0.0/0"
)

// metaAddrs are where clouds tell secrets.
var metaAddrs = []string{"169.254.169.254", "100.100.100.200", "168.63.129.16"}

// InternetEnv is set for the process that a test of the network runs in.
const InternetEnv = "WARDENTEST_INTERNET"

// InOwnHost runs the tests that match a pattern in a process with a network and mounts
// of its own, and tells if the caller is that process already.
func InOwnHost(t *testing.T, pattern string) bool {
	if os.Getenv(InternetEnv) != "" {
		return true
	}
	cmd := ownHost(t, pattern)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// internet is what lies behind the host.
type internet struct {
	*suite
	ns   netns.NsHandle
	host *netlink.Handle
	far  *netlink.Handle

	seen *datagrams
}

// datagrams are what has come, with the address of who sent it.
type datagrams struct {
	mu  sync.Mutex
	all []string
}

// newInternet makes the surroundings. They go with the process.
func newInternet(s *suite) *internet {
	n := &internet{suite: s, seen: &datagrams{}}
	s.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	s.must(os.WriteFile(forwardFile, []byte("0"), 0)) // which it may have from the real host
	file, err := filepath.EvalSymlinks("/etc/resolv.conf")
	s.must(err)
	s.must(unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	n.write(file, "") // which may lie below /run
	n.resolver("/etc/resolv.conf", "nameserver "+dnsAddr)
	n.inside(netns.None(), func() (err error) {
		n.ns, err = netns.New()
		return err
	})
	n.host, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	s.must(err)
	n.far, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	s.must(err)
	n.wire("wan", n.ns, n.far, hostAddr, peerAddr)
	for _, a := range append([]string{webAddr, dnsAddr}, metaAddrs...) {
		n.address(n.far, "lo", a+"/32")
	}
	n.up(n.host, "lo")
	n.up(n.far, "lo")
	n.route(n.host, wideRange, peerAddr)
	n.route(n.far, "10.254.0.0/16", hostAddr) // whoever sends from there gets an answer
	n.serve()
	return n
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// write makes a file, unless there is one.
func (n *internet) write(file, text string) {
	n.Helper()
	if _, err := os.Stat(file); err == nil {
		return
	}
	n.must(os.MkdirAll(filepath.Dir(file), 0o755))
	n.must(os.WriteFile(file, []byte(text), 0o644))
}

// resolver has a resolv.conf of the host's say something else.
func (n *internet) resolver(at, text string) {
	n.Helper()
	file := filepath.Join(n.TempDir(), "resolv.conf")
	n.write(file, text+"\n")
	real, err := filepath.EvalSymlinks(at)
	n.must(err)
	n.must(unix.Mount(file, real, "", unix.MS_BIND, ""))
	n.Cleanup(func() { n.must(unix.Unmount(real, unix.MNT_DETACH)) })
}

// inside calls do in a namespace. A socket that it makes stays there. The thread is not
// used for anything else afterwards.
func (n *internet) inside(ns netns.NsHandle, do func() error) {
	n.Helper()
	err := make(chan error)
	go func() {
		runtime.LockOSThread()
		if ns.IsOpen() {
			if e := netns.Set(ns); e != nil {
				err <- e
				return
			}
		}
		err <- do()
	}()
	n.must(<-err)
}

// wire connects the host with another namespace.
func (n *internet) wire(name string, ns netns.NsHandle, far *netlink.Handle, here, there string) {
	n.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	n.must(n.host.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}))
	n.address(n.host, name, here+"/24")
	n.address(far, "eth0", there+"/24")
	n.up(n.host, name)
	n.up(far, "eth0")
}

func (n *internet) link(h *netlink.Handle, name string) netlink.Link {
	n.Helper()
	l, err := h.LinkByName(name)
	n.must(err)
	return l
}

func (n *internet) address(h *netlink.Handle, link, addr string) {
	n.Helper()
	a, err := netlink.ParseAddr(addr)
	n.must(err)
	n.must(h.AddrAdd(n.link(h, link), a))
}

func (n *internet) up(h *netlink.Handle, link string) {
	n.Helper()
	n.must(h.LinkSetUp(n.link(h, link)))
}

func (n *internet) route(h *netlink.Handle, to, by string) {
	n.Helper()
	_, dst, err := net.ParseCIDR(to)
	n.must(err)
	n.must(h.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(by)}))
}

// serve starts servers on the internet: TCP that tells who has connected, TCP that
// sends what it gets back, HTTP that tells what it was asked, UDP that notes who has sent, and DNS.
func (n *internet) serve() {
	n.inside(n.ns, func() error {
		for _, port := range []string{":80", ":81"} {
			ln, err := net.Listen("tcp4", port)
			if err != nil {
				return err
			}
			n.Cleanup(func() { ln.Close() })
			go accept(ln, port == ":81")
		}
		web, err := net.Listen("tcp4", ":82")
		if err != nil {
			return err
		}
		n.Cleanup(func() { web.Close() })
		go tell(web)
		udp, err := net.ListenPacket("udp4", webAddr+":9")
		if err != nil {
			return err
		}
		n.Cleanup(func() { udp.Close() })
		go n.seen.note(udp)
		return nil
	})
	n.serveNames(n.ns, dnsAddr, netip.MustParseAddr(webAddr))
}

// accept serves a listener: each connection gets its own address, or an echo.
func accept(ln net.Listener, echo bool) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if echo {
				io.Copy(c, c)
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprint(c, host)
		}()
	}
}

func (d *datagrams) note(udp net.PacketConn) {
	b := make([]byte, 64)
	for {
		n, who, err := udp.ReadFrom(b)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(who.String())
		d.mu.Lock()
		d.all = append(d.all, host+" "+string(b[:n]))
		d.mu.Unlock()
	}
}

// noted waits for a datagram and gives all that have come.
func (n *internet) noted(text string) (all []string) {
	n.Helper()
	n.eventually(func() error {
		n.seen.mu.Lock()
		defer n.seen.mu.Unlock()
		all = slices.Clone(n.seen.all)
		if !slices.ContainsFunc(all, func(s string) bool { return strings.HasSuffix(s, " "+text) }) {
			return fmt.Errorf("%q has not come, but %q", text, all)
		}
		return nil
	})
	return all
}

// serveNames answers every question for an address with one, over UDP and TCP. Names that
// begin with "big" are answered over TCP only.
func (n *internet) serveNames(ns netns.NsHandle, at string, address netip.Addr) {
	n.inside(ns, func() error {
		udp, err := net.ListenPacket("udp4", at+":53")
		if err != nil {
			return err
		}
		tcp, err := net.Listen("tcp4", at+":53")
		if err != nil {
			return err
		}
		n.Cleanup(func() { udp.Close(); tcp.Close() })
		go namesUDP(udp, address)
		go namesTCP(tcp, address)
		return nil
	})
}

func namesUDP(udp net.PacketConn, address netip.Addr) {
	b := make([]byte, 1500)
	for {
		k, who, err := udp.ReadFrom(b)
		if err != nil {
			return
		}
		if a := answerName(b[:k], address, true); a != nil {
			udp.WriteTo(a, who)
		}
	}
}

func namesTCP(tcp net.Listener, address netip.Addr) {
	for {
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			a := answerName(b, address, false)
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
		}()
	}
}

func answerName(b []byte, address netip.Addr, short bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(b) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if short && strings.HasPrefix(q.Name.String(), "big") {
		m.Truncated = true
	} else if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	}
	a, err := m.Pack()
	if err != nil {
		return nil
	}
	return a
}

// namespace gives the network namespace of a container.
func (n *internet) namespace(c *warden.Container) netns.NsHandle {
	n.Helper()
	ns, err := netns.GetFromPid(c.PID())
	n.must(err)
	n.Cleanup(func() { ns.Close() })
	return ns
}

// traces is all that pools leave on a host.
func (n *internet) traces() (l []string) {
	n.Helper()
	links, err := n.host.LinkList()
	n.must(err)
	for _, k := range links {
		if strings.HasPrefix(k.Attrs().Name, "clt-") {
			l = append(l, "link "+k.Attrs().Name)
		}
	}
	addrs, err := n.host.AddrList(nil, unix.AF_INET)
	n.must(err)
	for _, a := range addrs {
		if strings.HasPrefix(a.Label, "lo:clt-") {
			l = append(l, "address "+a.IPNet.String())
		}
	}
	conn, err := nftables.New()
	n.must(err)
	tables, err := conn.ListTables()
	n.must(err)
	for _, t := range tables {
		l = append(l, "table "+t.Name)
	}
	if forwards() {
		l = append(l, "forwarding")
	}
	return l
}

const forwardFile = "/proc/sys/net/ipv4/ip_forward"

func forwards() bool {
	b, _ := os.ReadFile(forwardFile)
	return strings.TrimSpace(string(b)) == "1"
}

// ownHost is this test binary once more, in a network and with mounts of its own.
func ownHost(t *testing.T, pattern string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+pattern, "-test.v="+strconv.FormatBool(testing.Verbose()))
	cmd.Env = append(os.Environ(), InternetEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	return cmd
}
