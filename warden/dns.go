package warden

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Where the host says which servers know names. The second is what systemd-resolved
// asks itself, while the first names its own address.
const (
	resolvFile     = "/etc/resolv.conf"
	resolvedByFile = "/run/systemd/resolve/resolv.conf"
)

// Bounds of the forwarder.
const (
	dnsPort     = 53
	dnsQueries  = 1024 // at a time
	dnsQueriesA = 64   // of one container
	dnsWait     = 2 * time.Second
	dnsStream   = 10 * time.Second // life of a connection
	dnsMessage  = 64 << 10
)

// resolver is what a resolv.conf says.
type resolver struct {
	servers []netip.Addr
	rest    []string // the lines that are of use to containers as well
}

func readResolver(file string) (r resolver) {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(r.servers) < 3 {
				r.servers = append(r.servers, a)
			}
		case "search", "domain", "options":
			r.rest = append(r.rest, strings.Join(f, " "))
		}
	}
	return r
}

// resolvConf is a container's resolv.conf. With a way outward it has the host's own
// servers as far as containers reach them, which go on answering while Cloudlet does not
// run, and the forwarder, which goes on when the host has moved to other servers.
func resolvConf(r record) string {
	if r.Spec.Network == NetworkHost {
		b, _ := os.ReadFile(resolvFile)
		return string(b)
	}
	if r.Spec.Network == NetworkClosed || !r.Address.IsValid() && !r.Pasta {
		return "" // there is nobody to ask
	}
	host := readResolver(resolvFile)
	if !slices.ContainsFunc(host.servers, reachable) {
		host.servers = readResolver(resolvedByFile).servers
	}
	lines := host.rest
	for _, a := range host.servers[:min(2, len(host.servers))] {
		if reachable(a) {
			lines = append(lines, "nameserver "+a.String())
		}
	}
	forwarder := pastaDNS
	if r.Address.IsValid() {
		forwarder = gateway(netip.PrefixFrom(r.Address, rangeBits)).String()
	}
	return strings.Join(append(lines, "nameserver "+forwarder), "\n") + "\n"
}

// hosts is a container's /etc/hosts.
func hosts(r record) string {
	own := relayHost
	if r.Address.IsValid() {
		own = r.Address.String()
	}
	return "127.0.0.1 localhost\n" + own + " " + r.Spec.Handle + "\n::1 localhost ip6-localhost\n"
}

// reachable tells if containers get to a server: they speak IPv4 only, and have no way to
// addresses of the host itself or of its cloud.
func reachable(a netip.Addr) bool {
	return a.Is4() && a.IsGlobalUnicast() && !holds(metadata, a) && !holds(ownAddresses(), a)
}

// forwarder answers on the gateway's address what containers want to know, by asking
// the servers that the host has at that moment.
type forwarder struct {
	within netip.Prefix // of those who may ask
	log    *slog.Logger
	udp    net.PacketConn
	tcp    net.Listener
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	asking map[netip.Addr]int
	total  int
}

// serveDNS starts the forwarder of a range of addresses. Where its port is taken, whoever
// has it answers.
func serveDNS(within netip.Prefix, log *slog.Logger) *forwarder {
	f := &forwarder{within: within, log: log, asking: map[netip.Addr]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	addr := netip.AddrPortFrom(gateway(within), dnsPort).String()
	var err1, err2 error
	if f.udp, err1 = net.ListenPacket("udp4", addr); err1 == nil {
		f.work.Go(func() { f.serveUDP(ctx) })
	}
	if f.tcp, err2 = net.Listen("tcp4", addr); err2 == nil {
		f.work.Go(func() { f.serveTCP(ctx) })
	}
	if err := errors.Join(err1, err2); err != nil {
		log.Warn("names are not answered by Cloudlet", "err", err)
	}
	return f
}

func (f *forwarder) close() {
	f.cancel()
	if f.udp != nil {
		f.udp.Close()
	}
	if f.tcp != nil {
		f.tcp.Close()
	}
	f.work.Wait()
}

// admit counts a question, unless there are too many.
func (f *forwarder) admit(who net.Addr) (done func(), ok bool) {
	ap, err := netip.ParseAddrPort(who.String())
	if err != nil || !f.within.Contains(ap.Addr()) {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total >= dnsQueries || f.asking[ap.Addr()] >= dnsQueriesA {
		return nil, false
	}
	f.total++
	f.asking[ap.Addr()]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.total--
		if f.asking[ap.Addr()]--; f.asking[ap.Addr()] == 0 {
			delete(f.asking, ap.Addr())
		}
	}, true
}

func (f *forwarder) serveUDP(ctx context.Context) {
	b := make([]byte, dnsMessage)
	for {
		n, who, err := f.udp.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 12 || b[2]&0x80 != 0 { // shorter than a header, or no question
			continue
		}
		if done, ok := f.admit(who); ok {
			question := slices.Clone(b[:n])
			f.work.Go(func() {
				defer done()
				f.udp.WriteTo(askServers(ctx, question), who) //nolint:errcheck // who asks repeats it
			})
		}
	}
}

// isQuestion tells if a message asks for a name, and for nothing else: servers may trust
// their own machine, which the forwarder is on, with changes and with whole zones.
func isQuestion(b []byte) bool {
	const changes = 251 // IXFR
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.Response || h.OpCode != 0 {
		return false
	}
	q, err := p.Question()
	_, more := p.Question()
	return err == nil && more == dnsmessage.ErrSectionDone && q.Type != dnsmessage.TypeAXFR && q.Type != changes
}

// failure makes an answer of a question.
func failure(question []byte, code dnsmessage.RCode) []byte {
	question[2] |= 0x80             // it is an answer
	question[3] = 0x80 | byte(code) // of a server that may be asked for anything
	return question
}

// askServers asks the host's servers in turn. If none answers, the answer is SERVFAIL.
func askServers(ctx context.Context, question []byte) []byte {
	if !isQuestion(question) {
		return failure(question, dnsmessage.RCodeRefused)
	}
	for _, server := range readResolver(resolvFile).servers {
		if answer := askOne(ctx, server, question); answer != nil {
			return answer
		}
	}
	return failure(question, dnsmessage.RCodeServerFailure)
}

func askOne(ctx context.Context, server netip.Addr, question []byte) []byte {
	c, err := dialServer(ctx, "udp", server)
	if err != nil {
		return nil
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	c.SetDeadline(time.Now().Add(dnsWait))
	if _, err := c.Write(question); err != nil {
		return nil
	}
	b := make([]byte, dnsMessage)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil
		}
		if n >= 12 && b[0] == question[0] && b[1] == question[1] {
			return b[:n]
		}
	}
}

func dialServer(ctx context.Context, network string, server netip.Addr) (net.Conn, error) {
	d := net.Dialer{Timeout: dnsWait}
	return d.DialContext(ctx, network, netip.AddrPortFrom(server, dnsPort).String())
}

func (f *forwarder) serveTCP(ctx context.Context) {
	for {
		c, err := f.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(dnsWait / 20) // out of descriptors
			continue
		}
		done, ok := f.admit(c.RemoteAddr())
		if !ok {
			c.Close()
			continue
		}
		f.work.Go(func() {
			defer done()
			defer c.Close()
			stream(ctx, c)
		})
	}
}

// stream connects a container with the first server that takes connections.
func stream(ctx context.Context, c net.Conn) {
	for _, server := range readResolver(resolvFile).servers {
		s, err := dialServer(ctx, "tcp", server)
		if err != nil {
			continue
		}
		defer s.Close()
		defer context.AfterFunc(ctx, func() { s.Close(); c.Close() })()
		end := time.Now().Add(dnsStream)
		s.SetDeadline(end)
		c.SetDeadline(end)
		go func() {
			passQuestions(s, c)
			s.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(c, s)
		return
	}
}

// passQuestions passes on what is asked, each behind its length, until it is something else.
func passQuestions(to io.Writer, from io.Reader) {
	b := make([]byte, 2, 512)
	for {
		if _, err := io.ReadFull(from, b[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(b[:2]))
		b = slices.Grow(b[:2], n)[:2+n]
		if _, err := io.ReadFull(from, b[2:]); err != nil || !isQuestion(b[2:]) {
			return
		}
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}
