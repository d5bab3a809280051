package router

import (
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"cloudlet/bus"
)

// table maps host names to what serves them. Its working copy belongs to the loop,
// which publishes it as a snapshot; nothing that is reachable from a snapshot changes,
// but for what is atomic, and each member's seen, which the loop alone looks at.
type table struct {
	pools map[string]*pool
	pairs int  // of host name and member
	dirty bool // the snapshot is behind

	snap atomic.Pointer[snapshot]
	tags tagged
}

type snapshot struct {
	pools map[string]*pool
	pairs int
}

// pool is what serves one host name; it has a member at least.
type pool struct {
	members []*member
	turn    *atomic.Uint32 // counts the choices, across versions of the pool
}

// member is one registration: a backend in its role for one host name.
type member struct {
	addr   string // host:port
	app    bus.AppID
	id     string   // private instance id, the value of the sticky cookie
	meters []*meter // of its tags

	rest atomic.Int64 // passed over until this time, in Unix nanoseconds
	seen time.Time    // last registration; of the loop alone
}

func (t *table) init() {
	t.pools = make(map[string]*pool)
	t.dirty = true
	t.publish()
}

// lookup finds the pool of a host name in normal form; nil where there is none.
func (t *table) lookup(host string) *pool { return t.snap.Load().pools[host] }

// size counts the host names, and the pairs of host name and backend.
func (t *table) size() (hosts, pairs int) {
	s := t.snap.Load()
	return len(s.pools), s.pairs
}

// publish shows the working copy to requests.
func (t *table) publish() {
	if t.dirty {
		t.snap.Store(&snapshot{pools: maps.Clone(t.pools), pairs: t.pairs})
		t.dirty = false
	}
}

// register adds a backend to a host, or refreshes it: what the first registration said
// about it stays. It reports whether the backend is new.
func (t *table) register(host string, m bus.Route, now time.Time) bool {
	addr := address(m)
	p := t.pools[host]
	if i := p.find(addr); i >= 0 {
		p.members[i].seen = now
		return false
	}
	next := &pool{turn: new(atomic.Uint32)}
	if p != nil {
		next.turn = p.turn
		next.members = slices.Clip(p.members)
	} else {
		next.turn.Store(rand.Uint32())
	}
	next.members = append(next.members, &member{
		addr:   addr,
		app:    m.App,
		id:     cookieValue(m.PrivateInstanceID),
		meters: t.tags.of(m.Tags),
		seen:   now,
	})
	t.pools[host] = next
	t.pairs++
	t.dirty = true
	return true
}

// unregister removes a backend from a host and reports whether it was there.
func (t *table) unregister(host string, m bus.Route) bool {
	addr := address(m)
	return t.remove(host, func(m *member) bool { return m.addr == addr })
}

// prune removes what was not seen since then; it returns the hosts concerned.
func (t *table) prune(then time.Time) (hosts []string) {
	for host := range t.pools {
		if t.remove(host, func(m *member) bool { return m.seen.Before(then) }) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// refresh counts every backend as seen now.
func (t *table) refresh(now time.Time) {
	for _, p := range t.pools {
		for _, m := range p.members {
			m.seen = now
		}
	}
}

func (t *table) remove(host string, gone func(*member) bool) bool {
	p := t.pools[host]
	if p == nil || !slices.ContainsFunc(p.members, gone) {
		return false
	}
	left := slices.DeleteFunc(slices.Clone(p.members), gone)
	t.pairs -= len(p.members) - len(left)
	t.dirty = true
	if len(left) == 0 {
		delete(t.pools, host)
	} else {
		t.pools[host] = &pool{members: left, turn: p.turn}
	}
	return true
}

func (p *pool) find(addr string) int {
	if p == nil {
		return -1
	}
	return slices.IndexFunc(p.members, func(m *member) bool { return m.addr == addr })
}

func address(m bus.Route) string { return net.JoinHostPort(m.Host, strconv.Itoa(m.Port)) }

// cookieValue is id, or nothing where it could not stand in a cookie as it is.
func cookieValue(id string) string {
	if len(id) > 256 {
		return ""
	}
	for _, c := range []byte(id) {
		if !isAlnum(c) && c != '-' && c != '_' {
			return ""
		}
	}
	return id
}
