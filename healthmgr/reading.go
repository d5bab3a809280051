package healthmgr

import (
	"context"
	"maps"
	"slices"
	"time"

	"cloudlet/bus"
)

// fewApps is up to how many apps are read one by one; more are read with all others.
const fewApps = 8

// reading is an outcome of asking the bulk API.
type reading struct {
	all  bool
	ids  map[bus.AppID]bool // those to act upon
	apps map[bus.AppID]App

	users int // with all only; -1 where unknown
	err   error
}

// read asks the bulk API for what is wanted, beside the loop, one reading at a time.
func (m *Manager) read(ctx context.Context) {
	if m.reading || !m.scan && len(m.wanted) == 0 {
		return
	}
	r := reading{all: m.scan || len(m.wanted) > fewApps, ids: m.wanted}
	m.reading, m.scan, m.wanted = true, false, map[bus.AppID]bool{}
	m.work.Go(func() {
		if r.all {
			if r.apps, r.err = m.source.all(ctx); r.err == nil {
				r.users = m.source.users(ctx)
			}
		} else {
			r.apps, r.err = m.source.some(ctx, r.ids)
		}
		m.readings <- r // there is room for the one
	})
}

// took takes in a reading and acts upon the apps for which it was made.
func (m *Manager) took(r reading) {
	if r.err != nil {
		m.readAgain(r)
		return
	}
	m.reading, m.failures = false, 0
	if r.all {
		m.desired, m.users, m.scanned = r.apps, r.users, true
	} else {
		for id := range r.ids {
			delete(m.desired, id)
		}
		maps.Copy(m.desired, r.apps)
	}
	now := time.Now()
	if !m.settled {
		m.trySettle(now)
		return
	}
	ids := slices.SortedFunc(maps.Keys(r.ids), func(a, b bus.AppID) int {
		return m.desired[a].Updated.Compare(m.desired[b].Updated) // the longest unchanged first, as v1 did
	})
	for _, id := range ids {
		m.act(id, now)
	}
	m.flush(now)
}

// readAgain repeats a reading after a while: the controller may be about to start.
func (m *Manager) readAgain(r reading) {
	m.scan = m.scan || r.all
	maps.Copy(m.wanted, r.ids)
	m.retry.Reset(m.cfg.Retry)
	if m.failures++; m.failures == 10 {
		m.log.Warn("no controller tells what ought to run", "err", r.err)
	}
}
