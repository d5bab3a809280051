package warden

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"

	"cloudlet/warden/supervisor"
)

// relayHost is where the supervisor's relay listens, and apps at level process.
const relayHost = "127.0.0.1"

// rangeBits is the length of a pool's range of addresses, which holds as many containers
// as there are ports for them.
const rangeBits = 20

// metadata are where clouds tell the secrets of their machines: most in their nearest
// surroundings, Alibaba, Azure and Amazon also elsewhere.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("fd00:ec2::254/128"),
}

// holds says if an address is in one of the ranges.
func holds(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}

// mostLinks bounds the links of a container.
const mostLinks = 16

// useNetwork has containers get addresses of their own, where that works.
func (p *Pool) useNetwork(ctx context.Context) (err error) {
	switch p.iso.Level {
	case Process:
		p.iso.Outward = true // by the host's network
		return nil
	case Rootless:
		return p.useUserNetwork(ctx)
	}
	n, err := openNetwork(p.cfg.Dir, p.log)
	if err != nil {
		p.iso.Reasons = append(p.iso.Reasons, "applications are reached through Cloudlet and have no network outward: "+err.Error())
		return nil
	}
	p.net, p.iso.Outward = n, true
	if table := n.hindrance(); table != "" {
		p.iso.Reasons = append(p.iso.Reasons, "applications may have no network outward: the packet filter's table "+table+
			" drops what is forwarded; let it accept what comes from, and goes to, links named clt-*")
	}
	return nil
}

// useUserNetwork has containers get the way outward that an ordinary user can give them.
// The proxy goes on for those that were made when there was no pasta.
func (p *Pool) useUserNetwork(ctx context.Context) (err error) {
	if err := p.findPasta(ctx); err != nil {
		p.iso.Proxy = true
		p.iso.Reasons = append(p.iso.Reasons, "applications reach the outside by an HTTP proxy only, which their environment names: "+err.Error())
	}
	p.iso.Outward = true
	p.proxy, err = serveProxy(p.cfg.Dir, p.Get, p.log)
	return err
}

// sweepNetwork removes what an earlier pool has left and no container needs.
func (p *Pool) sweepNetwork() error {
	if p.net == nil {
		return p.removeNetwork()
	}
	var keep []record
	for _, c := range p.containers {
		if p.hasLink(c.rec) {
			keep = append(keep, c.rec)
		}
	}
	return p.net.sweep(keep)
}

// closeNetwork lets go of the network, which stays for the containers that run.
func (p *Pool) closeNetwork() error {
	if p.net != nil {
		p.net.close()
	}
	return p.removeNetwork()
}

// removeNetwork removes the network, unless a container still runs in it.
func (p *Pool) removeNetwork() error {
	for _, c := range p.List() {
		select {
		case <-c.done:
		default:
			if c.rec.Address.IsValid() {
				return nil
			}
		}
	}
	return removeNetwork(p.cfg.Dir)
}

// hasLink says if a container has a link in the pool's network. One that had ended when
// an earlier pool was closed has not: its range of addresses may be another.
func (p *Pool) hasLink(r record) bool { return p.net != nil && p.net.prefix.Contains(r.Address) }

// takeAddress gives an address that no container has.
func (p *Pool) takeAddress() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.net.numbers.take(func(int) bool { return true })
	if err != nil {
		return netip.Addr{}, err
	}
	return nth(p.net.prefix, n), nil
}

// useAddress marks the address of a container that was found again.
func (p *Pool) useAddress(a netip.Addr) {
	if p.net != nil && p.net.prefix.Contains(a) {
		p.net.numbers.use(number(p.net.prefix, a))
	}
}

// freeAddress gives an address back.
func (p *Pool) freeAddress(a netip.Addr) {
	if p.net != nil && p.net.prefix.Contains(a) {
		p.net.numbers.free(number(p.net.prefix, a))
	}
}

// nth gives an address by its number in a range, or beyond it.
func nth(p netip.Prefix, n int) netip.Addr {
	b := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b)
}

// number is the other way round.
func number(p netip.Prefix, a netip.Addr) int {
	first, b := p.Masked().Addr().As4(), a.As4()
	return int(binary.BigEndian.Uint32(b[:]) - binary.BigEndian.Uint32(first[:]))
}

// gateway is the first address of a range.
func gateway(p netip.Prefix) netip.Addr { return nth(p, 1) }

// connect sets the bandwidth of the container's link, or gives one without a link another
// way outward.
func (m *making) connect(ctx context.Context) error {
	if b := m.rec.Spec.Limits.Bandwidth; m.rec.Address.IsValid() && b.Rate > 0 {
		return m.p.net.limit(m.rec, b)
	}
	if m.rec.Level != Rootless || m.rec.Spec.Network != NetworkOwn {
		return nil
	}
	if m.rec.Pasta = m.p.pasta != ""; m.rec.Pasta {
		return m.startPasta(ctx)
	}
	m.rec.Proxy = rand.Text()
	return nil
}

// links are the container's own, and the one to the proxy.
func (m *making) links() (l []supervisor.Link, err error) {
	if m.rec.Level == Process || m.rec.Spec.Network == NetworkHost {
		return nil, nil
	}
	if len(m.rec.Spec.Links) > mostLinks {
		return nil, fmt.Errorf("%d links: more than %d", len(m.rec.Spec.Links), mostLinks)
	}
	for _, k := range m.rec.Spec.Links {
		l = append(l, supervisor.Link(k))
	}
	if m.rec.Proxy != "" {
		l = append(l, supervisor.Link{Port: proxyPort, Socket: filepath.Join(m.p.cfg.Dir, proxySocket)})
	}
	return l, nil
}

// disconnect removes a container's link.
func (p *Pool) disconnect(r record) error {
	if !p.hasLink(r) {
		return nil
	}
	return p.net.disconnect(r)
}

// traffic gives the bytes that the container has received and sent.
func (c *Container) traffic() (received, sent int64) {
	if !c.p.hasLink(c.rec) {
		return 0, 0
	}
	return c.p.net.traffic(c.rec)
}

// shape holds a new bandwidth.
func (c *Container) shape(b Bandwidth) error {
	if !c.p.hasLink(c.rec) {
		return nil
	}
	err := c.p.net.limit(c.rec, b)
	select {
	case <-c.done:
		return nil // there is nothing left to limit
	default:
		return c.err(err)
	}
}

// Addrs are the addresses, host:port, at which the container's port may be reached from
// this machine, the best first: its own, and 127.0.0.1 with a relay behind it, which
// alone reaches apps that listen on 127.0.0.1 inside. It is empty without a port.
func (c *Container) Addrs() []string {
	if c.rec.Port == 0 {
		return nil
	}
	port := strconv.Itoa(c.rec.Port)
	relay := net.JoinHostPort(relayHost, port)
	if !c.rec.Address.IsValid() {
		return []string{relay}
	}
	return []string{net.JoinHostPort(c.rec.Address.String(), port), relay}
}
