package warden

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The packet filter has one table for each pool. Its rules go by the names of links, so
// that none is needed for a single container. They stand while Cloudlet does not run.

const (
	tablePrefix     = "cloudlet-"
	forwardTable    = "cloudlet-forward" // there while forwarding is on because of us; of all pools
	forwardFile     = "/proc/sys/net/ipv4/ip_forward"
	mostConnections = 4096 // of a container at a time: the kernel follows 65,536 or more in all
	mostQuestions   = 500  // of a container in a second, for names
)

// match is the beginning of a rule; a verdict is its end.
type match = []expr.Any

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) match {
	return match{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

// A link's name is compared as far as the given one goes.
func from(link string) match    { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, []byte(link)) }
func notFrom(link string) match { return meta(expr.MetaKeyIIFNAME, expr.CmpOpNeq, []byte(link)) }
func to(link string) match      { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, []byte(link)) }
func notTo(link string) match   { return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, []byte(link)) }

func protocol(op expr.CmpOp, p byte) match { return meta(expr.MetaKeyL4PROTO, op, []byte{p}) }

// notIPv4 is what containers do not speak.
var notIPv4 = meta(expr.MetaKeyNFPROTO, expr.CmpOpNeq, []byte{unix.NFPROTO_IPV4})

// address matches the source, at offset 12 of the header, or the destination, at 16.
func address(offset uint32, p netip.Prefix) match {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	return slices.Concat(
		meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4}),
		match{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
		})
}

func source(p netip.Prefix) match      { return address(12, p) }
func destination(p netip.Prefix) match { return address(16, p) }

func port(p uint16) match {
	return match{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p)},
	}
}

func state(bits uint32) match {
	return match{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

var (
	established = state(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	invalid     = state(expr.CtStateBitINVALID)

	// spoofed is a source to which no route leads by the link that the packet came from.
	spoofed = match{
		&expr.Fib{Register: 1, ResultOIF: true, FlagSADDR: true, FlagIIF: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}

	accept     = match{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop       = match{&expr.Verdict{Kind: expr.VerdictDrop}}
	masquerade = match{&expr.Masq{}}

	// Who is refused is told so, and need not wait.
	resetTCP = slices.Concat(protocol(expr.CmpOpEq, unix.IPPROTO_TCP), match{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	refuse   = match{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
)

// firewall collects the changes of one table.
type firewall struct {
	conn  *nftables.Conn
	table *nftables.Table
}

func newFirewall(table string) (*firewall, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	return &firewall{conn: conn, table: &nftables.Table{Name: table, Family: nftables.TableFamilyINet}}, nil
}

// renew makes the table as if it had not been there, in the same step as what follows.
func (f *firewall) renew() {
	f.remove()
	f.conn.AddTable(f.table)
}

// remove removes the table; to add it first is how that cannot fail.
func (f *firewall) remove() {
	f.conn.AddTable(f.table)
	f.conn.DelTable(f.table)
}

// chain adds a chain and gives what adds rules to it.
func (f *firewall) chain(kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...match) {
	c := f.conn.AddChain(&nftables.Chain{Name: chainName(hook), Table: f.table, Type: kind, Hooknum: hook, Priority: priority})
	return func(m ...match) { f.conn.AddRule(&nftables.Rule{Table: f.table, Chain: c, Exprs: slices.Concat(m...)}) }
}

func chainName(hook *nftables.ChainHook) string {
	return map[nftables.ChainHook]string{
		*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookInput: "input",
		*nftables.ChainHookForward: "forward", *nftables.ChainHookPostrouting: "postrouting",
	}[*hook]
}

func tableName(id string) string { return tablePrefix + strings.TrimPrefix(id, allLinks) }

// writeRules puts the rules of a pool in force, in one step.
func (n *network) writeRules() error {
	f, err := newFirewall(tableName(n.id))
	if err != nil {
		return err
	}
	f.renew()
	ours := from(n.id + "-")
	tooMany, err := f.perSource("connections", &expr.Connlimit{Count: mostConnections, Flags: 1}) // 1 is "over"
	if err != nil {
		return err
	}
	tooOften, err := f.perSource("questions", &expr.Limit{
		Type: expr.LimitTypePkts, Unit: expr.LimitTimeSecond, Rate: mostQuestions, Burst: 2 * mostQuestions, Over: true,
	})
	if err != nil {
		return err
	}
	n.prerouting(f, ours)
	n.input(f, ours, tooMany, tooOften)
	n.forward(f, ours, tooMany)
	postrouting := f.chain(nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	postrouting(source(n.prefix), notTo(allLinks), masquerade)
	return f.conn.Flush()
}

// prerouting: containers have one address, and none of IPv6.
func (n *network) prerouting(f *firewall, ours match) {
	rule := f.chain(nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	rule(ours, notIPv4, drop)
	rule(ours, spoofed, drop)
}

// perSource matches what is more than a bound that each source has of its own.
func (f *firewall) perSource(name string, bound expr.Any) (match, error) {
	set := &nftables.Set{Table: f.table, Name: name, KeyType: nftables.TypeIPAddr, Dynamic: true, Size: 1 << (32 - rangeBits)}
	err := f.conn.AddSet(set, nil)
	return match{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Dynset{SrcRegKey: 1, SetName: set.Name, SetID: set.ID, Operation: unix.NFT_DYNSET_OP_ADD, Exprs: match{bound}},
	}, err
}

// input: nothing of the host's is for containers, but for names. Nor is the gateway's
// address for others. Who asks too often gets no answer, before others get none.
func (n *network) input(f *firewall, ours, tooMany, tooOften match) {
	rule := f.chain(nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	gw := destination(netip.PrefixFrom(gateway(n.prefix), 32))
	rule(from(n.id+"-o"), gw, protocol(expr.CmpOpEq, unix.IPPROTO_UDP), tooOften, drop)
	rule(ours, established, accept)
	rule(from(n.id+"-o"), gw, tooMany, drop)
	for _, p := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		rule(from(n.id+"-o"), gw, protocol(expr.CmpOpEq, p), port(dnsPort), accept)
	}
	rule(ours, resetTCP)
	rule(ours, refuse)
	rule(notFrom(allLinks), notFrom("lo\x00"), gw, drop)
}

// forward: out to anywhere but other containers and what is special to this host;
// in only what belongs to a connection from inside.
func (n *network) forward(f *firewall, ours, tooMany match) {
	rule := f.chain(nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	refuseAll := func(m ...match) {
		rule(append(m, resetTCP)...)
		rule(append(m, refuse)...)
	}
	refuseAll(ours, to(allLinks))
	refuseAll(from(allLinks), to(n.id+"-"))
	rule(to(n.id+"-"), established, accept)
	rule(to(n.id+"-"), drop)
	rule(ours, established, accept)
	rule(ours, invalid, drop)
	refuseAll(from(n.id + "-c"))
	for _, p := range metadata {
		if p.Addr().Is4() {
			refuseAll(ours, destination(p))
		}
	}
	refuseAll(ours, destination(n.prefix))
	rule(ours, tooMany, refuse)
}

func removeRules(id string) error {
	f, err := newFirewall(tableName(id))
	if err != nil {
		return err
	}
	f.remove()
	return f.conn.Flush()
}

// allowForwarding has the host forward packets. What it did not forward before it still
// does not: a table of its own drops all that is neither from nor to a container.
func allowForwarding() error {
	now, err := os.ReadFile(forwardFile)
	if err != nil || !bytes.HasPrefix(now, []byte("0")) {
		return err
	}
	f, err := newFirewall(forwardTable)
	if err != nil {
		return err
	}
	f.renew()
	f.chain(nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)(notFrom(allLinks), notTo(allLinks), drop)
	if err := f.conn.Flush(); err != nil {
		return err
	}
	return os.WriteFile(forwardFile, []byte("1"), 0)
}

// hindrance names a table, not of ours, that drops what is forwarded unless it is told
// otherwise. That a rule of ours accepts something does not change it.
func (*network) hindrance() string {
	conn, err := nftables.New()
	if err != nil {
		return ""
	}
	chains, err := conn.ListChains()
	if err != nil {
		return ""
	}
	for _, c := range chains {
		drops := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		if drops && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Table.Family != nftables.TableFamilyIPv6 {
			return c.Table.Name
		}
	}
	return ""
}

// forbidForwarding takes allowForwarding back, unless another Cloudlet needs it.
func forbidForwarding() error {
	f, err := newFirewall(forwardTable)
	if err != nil {
		return err
	}
	tables, err := f.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return err
	}
	names := map[bool]int{}
	for _, t := range tables {
		if strings.HasPrefix(t.Name, tablePrefix) {
			names[t.Name == forwardTable]++
		}
	}
	if names[false] > 0 || names[true] == 0 {
		return nil
	}
	if err := os.WriteFile(forwardFile, []byte("0"), 0); err != nil {
		return err
	}
	f.remove()
	return f.conn.Flush()
}
