package warden

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Each container has a pair of links: one end in its namespace, with an address of
// its own, the other on the host, with nothing but a route to that address. There is
// no bridge: whatever two containers send each other passes the packet filter. The
// gateway's address lies on the host's loopback interface, with a label that tells whose
// it is: by it a pool claims its range of addresses among other Cloudlets, and a
// restarted one finds its own again.

const (
	allLinks   = "clt-" // begins the names of links of all Cloudlets
	insideLink = "eth0"
	loopback   = 1 // the index of lo in every namespace
)

// ranges are searched for a range that the host has no other use for.
var ranges = []netip.Prefix{
	netip.MustParsePrefix("10.254.0.0/16"),
	netip.MustParsePrefix("172.30.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/16"), // for measurements within one's own network
}

// gatewayMAC is the same on all links: each is a wire with two ends. Containers know
// it, so that nothing on the host needs to answer for the gateway's address.
var gatewayMAC = net.HardwareAddr{0x02, 0xc1, 0x0d, 0x1e, 0x70, 0x01}

// network is what the containers of a pool share.
type network struct {
	id      string       // begins the names of the pool's links
	prefix  netip.Prefix // of the containers' addresses
	mtu     int
	handle  *netlink.Handle
	numbers numbers // of addresses within prefix; the pool's lock guards them
	dns     *forwarder

	removing sync.WaitGroup // of links
}

// openNetwork makes all that containers share. Where it cannot be made they have
// loopback only, and the error says why.
func openNetwork(dir string, log *slog.Logger) (n *network, err error) {
	unlock, err := lockHost()
	if err != nil {
		return nil, err
	}
	defer unlock()
	n = &network{id: allLinks + poolID(dir), mtu: 1500}
	if n.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"what others have left", n.removeDead},
		{"range of addresses", n.claim},
		{"pair of links", n.tryLink},
		{"rules of the packet filter", n.writeRules},
		{"forwarding of packets", allowForwarding},
	} {
		if err := step.do(); err != nil {
			n.handle.Close()
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	n.numbers = newNumbers(2, 1<<(32-rangeBits)-2) // the gateway is 1
	n.dns = serveDNS(n.prefix, log)
	return n, nil
}

// lockHost keeps other Cloudlets away from what is the host's: its range of addresses
// and its forwarding.
func lockHost() (unlock func(), err error) {
	f, err := os.OpenFile("/run/cloudlet-network.lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// dump asks for a list again where it changed while the kernel wrote it.
func dump[T any](list func() ([]T, error)) (l []T, err error) {
	for range 20 {
		if l, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return l, err
}

func (n *network) label() string { return "lo:" + n.id }

// claim finds the range that this pool has already, or takes a free one.
func (n *network) claim() error {
	taken, err := n.claimed()
	if err != nil {
		return err
	}
	routes, err := dump(func() ([]netlink.Route, error) { return n.handle.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return err
	}
	for _, r := range routes {
		p, ok := toPrefix(r.Dst)
		if ok && p.Bits() >= 8 { // shorter ones mean "everything"
			taken = append(taken, p)
		} else {
			n.useMTU(r.LinkIndex)
		}
	}
	if n.prefix.IsValid() {
		return nil
	}
	for p := range candidates {
		if !overlaps(p, taken) {
			n.prefix = p
			return n.handle.AddrAdd(loopbackLink(), n.gatewayAddr())
		}
	}
	return errors.New("all that Cloudlet may use are in use")
}

// claimed sets the prefix, if this pool has one, and gives all addresses of the host.
func (n *network) claimed() (taken []netip.Prefix, err error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return n.handle.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		p, ok := toPrefix(a.IPNet)
		if ok && a.Label == n.label() {
			n.prefix = netip.PrefixFrom(p.Addr(), rangeBits).Masked()
		}
		if ok {
			taken = append(taken, p)
		}
	}
	return taken, nil
}

// removeDead removes the network of Cloudlets that were killed and may have no folder any
// more to be started in: nobody answers for names there, and no container has a link.
func (n *network) removeDead() error {
	addrs, err := dump(func() ([]netlink.Addr, error) { return n.handle.AddrList(loopbackLink(), unix.AF_INET) })
	if err != nil {
		return err
	}
	links, err := dump(n.handle.LinkList)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		id, found := strings.CutPrefix(a.Label, "lo:")
		p, ok := toPrefix(a.IPNet)
		if !found || !ok || !strings.HasPrefix(id, allLinks) || id == n.id || isAlive(id, p.Addr(), links) {
			continue
		}
		dead := &network{id: id, prefix: netip.PrefixFrom(p.Addr(), rangeBits).Masked(), handle: n.handle}
		if err := dead.remove(); err != nil {
			return err
		}
	}
	return nil
}

// isAlive says if a pool is open, and so holds the port of its gateway, or has containers.
func isAlive(id string, gateway netip.Addr, links []netlink.Link) bool {
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, id+"-") {
			return true
		}
	}
	ln, err := net.Listen("tcp4", netip.AddrPortFrom(gateway, dnsPort).String())
	if err != nil {
		return true
	}
	ln.Close()
	return false
}

// useMTU makes packets fit through the host's way outward.
func (n *network) useMTU(link int) {
	if l, err := n.handle.LinkByIndex(link); err == nil && l.Attrs().MTU >= 576 {
		n.mtu = min(n.mtu, l.Attrs().MTU)
	}
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}

// candidates are the ranges that a pool may have.
func candidates(yield func(netip.Prefix) bool) {
	for _, p := range ranges {
		for a := p.Addr(); p.Contains(a); {
			c := netip.PrefixFrom(a, rangeBits)
			if !yield(c) {
				return
			}
			a = nth(c, 1<<(32-rangeBits))
		}
	}
}

func overlaps(p netip.Prefix, with []netip.Prefix) bool {
	for _, w := range with {
		if p.Overlaps(w) {
			return true
		}
	}
	return false
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

func loopbackLink() netlink.Link {
	return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: loopback}}
}

func (n *network) gatewayAddr() *netlink.Addr {
	return &netlink.Addr{IPNet: host(gateway(n.prefix)), Label: n.label(), Scope: unix.RT_SCOPE_HOST}
}

// tryLink makes a pair of links and takes it away, to know that it works.
func (n *network) tryLink() error {
	l := n.veth(n.id + "-try")
	l.PeerName = n.id + "-yrt"
	if err := n.handle.LinkAdd(l); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return n.removeLink(l.Name)
}

// linkName is the name of a container's link on the host. The letter tells the packet
// filter what the container may do.
func (n *network) linkName(r record) string {
	kind := "o"
	if r.Spec.Network == NetworkClosed {
		kind = "c"
	}
	return fmt.Sprintf("%s-%s%03x", n.id, kind, number(netip.PrefixFrom(r.Address, rangeBits), r.Address))
}

func (n *network) veth(name string) *netlink.Veth {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = name, n.mtu, gatewayMAC
	attrs.TxQLen = 1000
	return &netlink.Veth{LinkAttrs: attrs, PeerName: insideLink, PeerTxQLen: 1000}
}

// connect gives a container, whose supervisor has been started, its link.
func (n *network) connect(r record) error {
	ns, err := netns.GetFromPid(r.PID)
	if err != nil {
		return err
	}
	defer ns.Close()
	l := n.veth(n.linkName(r))
	l.PeerNamespace = netlink.NsFd(ns)
	if err := n.handle.LinkAdd(l); err != nil {
		return err
	}
	if err := raise(n.handle, l); err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: l.Index, Dst: host(r.Address), Src: gateway(n.prefix).AsSlice(), Scope: unix.RT_SCOPE_LINK}
	if err := n.handle.RouteAdd(route); err != nil {
		return err
	}
	return within(ns, func(inside *netlink.Handle, inner netlink.Link) error {
		return n.furnish(inside, inner, r)
	})
}

// within calls do with a handle in a namespace and the container's link there.
func within(ns netns.NsHandle, do func(*netlink.Handle, netlink.Link) error) error {
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inside.Close()
	inner, err := inside.LinkByName(insideLink)
	if err != nil {
		return err
	}
	return do(inside, inner)
}

// raise brings a link up, without an address of IPv6.
func raise(h *netlink.Handle, l netlink.Link) error {
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	err := h.LinkSetIP6AddrGenMode(l, none)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return err
	}
	return h.LinkSetUp(l)
}

// furnish gives the inner end its address and its way to the gateway, and beyond.
func (n *network) furnish(inside *netlink.Handle, inner netlink.Link, r record) error {
	if err := inside.AddrAdd(inner, &netlink.Addr{IPNet: host(r.Address)}); err != nil {
		return err
	}
	if err := raise(inside, inner); err != nil {
		return err
	}
	link, gw := inner.Attrs().Index, gateway(n.prefix)
	neighbour := &netlink.Neigh{LinkIndex: link, IP: gw.AsSlice(), HardwareAddr: gatewayMAC, State: netlink.NUD_PERMANENT}
	if err := inside.NeighAdd(neighbour); err != nil {
		return err
	}
	if r.Spec.Network == NetworkClosed {
		return inside.RouteAdd(&netlink.Route{LinkIndex: link, Dst: host(gw), Scope: unix.RT_SCOPE_LINK})
	}
	return inside.RouteAdd(&netlink.Route{LinkIndex: link, Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
}

// shape has a link send no faster than b, and hold back what comes faster for up to
// a fifth of a second.
func (n *network) shape(h *netlink.Handle, l netlink.Link, b Bandwidth) error {
	attrs := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if b.Rate <= 0 {
		err := h.QdiscDel(&netlink.Tbf{QdiscAttrs: attrs})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			return nil // there is none
		}
		return err
	}
	rate := uint64(b.Rate)
	burst := min(max(uint64(b.Burst), rate/100, uint64(2*n.mtu)), 1<<30)
	return h.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: attrs,
		Rate:       rate,
		Limit:      uint32(min(burst+rate/5, 1<<30)),
		Buffer:     netlink.Xmittime(rate, uint32(burst)),
	})
}

// limit changes the bandwidth of a container that runs. Each end of its link bounds
// what it sends.
func (n *network) limit(r record, b Bandwidth) error {
	ns, err := netns.GetFromPid(r.PID)
	if err != nil {
		return err
	}
	defer ns.Close()
	outer, err := n.handle.LinkByName(n.linkName(r))
	if err != nil {
		return err
	}
	return within(ns, func(inside *netlink.Handle, inner netlink.Link) error {
		return errors.Join(n.shape(n.handle, outer, b), n.shape(inside, inner, b))
	})
}

// traffic gives the bytes that a container has received and sent.
func (n *network) traffic(r record) (in, out int64) {
	l, err := n.handle.LinkByName(n.linkName(r))
	if err != nil || l.Attrs().Statistics == nil {
		return 0, 0
	}
	return int64(l.Attrs().Statistics.TxBytes), int64(l.Attrs().Statistics.RxBytes)
}

// disconnect removes a container's link: with its namespace it would go too, but later.
func (n *network) disconnect(r record) error { return n.removeLink(n.linkName(r)) }

// removeLink removes a link and returns when it is gone. For another while, in which
// the kernel frees what the link was made of, nobody waits but close.
func (n *network) removeLink(name string) error {
	l, err := n.handle.LinkByName(name)
	if err != nil {
		return unlessGone(err)
	}
	removed := make(chan error, 1)
	n.removing.Go(func() {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE) // of its own: others must not wait
		if err == nil {
			err = h.LinkDel(l)
			h.Close()
		}
		removed <- unlessGone(err)
	})
	for {
		select {
		case err := <-removed:
			return err
		case <-time.After(200 * time.Microsecond):
		}
		if _, err := n.handle.LinkByName(name); err != nil {
			return unlessGone(err)
		}
	}
}

func unlessGone(err error) error {
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// sweep removes the links that belong to none of the containers.
func (n *network) sweep(keep []record) error {
	known := map[string]bool{}
	for _, r := range keep {
		known[n.linkName(r)] = true
	}
	links, err := dump(n.handle.LinkList)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, n.id+"-") && !known[name] {
			errs = append(errs, n.removeLink(name))
		}
	}
	return errors.Join(errs...)
}

// close ends what needs this process. The containers keep their network.
func (n *network) close() {
	n.dns.close()
	n.removing.Wait()
	n.handle.Close()
}

// remove removes all that was made on the host for a pool that has no containers.
func (n *network) remove() error {
	defer n.removing.Wait()
	return errors.Join(
		n.sweep(nil),
		removeRules(n.id),
		forbidForwarding(),
		n.handle.AddrDel(loopbackLink(), n.gatewayAddr()),
	)
}

// removeNetwork removes what an earlier pool in the folder has left.
func removeNetwork(dir string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	n := &network{id: allLinks + poolID(dir), handle: h}
	if _, err := n.claimed(); err != nil || !n.prefix.IsValid() {
		return err // nothing was made
	}
	unlock, err := lockHost()
	if err != nil {
		return err
	}
	defer unlock()
	// Nobody answers here any more: meanwhile another Cloudlet may have tidied up.
	n.prefix = netip.Prefix{}
	if _, err := n.claimed(); err != nil || !n.prefix.IsValid() {
		return err
	}
	return n.remove()
}
