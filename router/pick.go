package router

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// stickyCookie names the instance that a session lives in.
const stickyCookie = "__VCAP_ID__"

// pick chooses a backend: the sticky one where it still serves the host, else the next
// in turn. It passes over what was tried, and over what rests unless all do; nil where
// everything was tried.
func (p *pool) pick(sticky string, tried []*member, now time.Time) *member {
	if sticky != "" {
		for _, m := range p.members {
			if m.id == sticky && m.awake(now) && !slices.Contains(tried, m) {
				return m
			}
		}
	}
	var resting *member
	n := uint32(len(p.members))
	turn := p.turn.Add(1)
	for i := range n {
		m := p.members[(turn+i)%n]
		switch {
		case slices.Contains(tried, m):
		case m.awake(now):
			return m
		case resting == nil:
			resting = m
		}
	}
	return resting
}

func (m *member) awake(now time.Time) bool {
	until := m.rest.Load()
	return until == 0 || until <= now.UnixNano()
}

// restUntil passes the backend over until then.
func (m *member) restUntil(then time.Time) { m.rest.Store(then.UnixNano()) }

// wake ends a rest. It writes only where there is one, since all requests come by here.
func (m *member) wake() {
	if m.rest.Load() != 0 {
		m.rest.Store(0)
	}
}

// stickyID is the instance that the request asks for; empty where for none.
func stickyID(h http.Header) string {
	for _, line := range h["Cookie"] {
		if !strings.Contains(line, stickyCookie) {
			continue // spare most requests the parsing
		}
		cookies, err := http.ParseCookie(line)
		if err != nil {
			continue
		}
		for _, c := range cookies {
			if c.Name == stickyCookie {
				return c.Value
			}
		}
	}
	return ""
}

// startsSession tells whether a response begins a session that only the instance it
// came from knows.
func startsSession(h http.Header) bool {
	for _, line := range h["Set-Cookie"] {
		name, _, _ := strings.Cut(line, "=")
		if strings.EqualFold(strings.TrimSpace(name), "JSESSIONID") {
			return true
		}
	}
	return false
}
