package healthmgr

import (
	"maps"
	"slices"
	"time"

	"cloudlet/bus"
)

// checkAll looks at all apps.
func (m *Manager) checkAll(now time.Time) {
	ids := slices.Collect(maps.Keys(m.heard))
	for id := range m.desired {
		if m.heard[id] == nil {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		m.check(id, now)
	}
}

// check has an app read again where it seems that something is to be done: desired
// state may have changed, and only what still holds then is acted upon.
func (m *Manager) check(id bus.AppID, now time.Time) {
	if !m.settled {
		return
	}
	do := m.plan(id, now)
	m.sleep(id, do.Next)
	if !do.Empty() {
		m.want(id)
	}
}

func (m *Manager) plan(id bus.AppID, now time.Time) Actions {
	return Plan(m.desired[id], m.hear(id), now, m.cfg.Rules)
}

// want has the app read again, and acted upon.
func (m *Manager) want(id bus.AppID) {
	if _, ours := id.Number(); ours {
		m.wanted[id] = true
	}
}

// act does what is to be done for an app whose desired state was just read.
func (m *Manager) act(id bus.AppID, now time.Time) {
	do := m.plan(id, now)
	m.sleep(id, do.Next)
	app := m.desired[id]
	m.hear(id).Asked(app, do, now)
	m.start(id, app, do.Start, false, do.Urgent)
	m.start(id, app, do.Restart, true, false)
	m.stop(id, app, do.Stop)
}

func (m *Manager) start(id bus.AppID, app App, indices []int, flapping, urgent bool) {
	if len(indices) == 0 {
		return
	}
	m.log.Info("instances are missing", "app", id, "indices", indices, "flapping", flapping)
	m.outbox.add(bus.HMRequest{
		Droplet:     id,
		Op:          bus.OpStart,
		LastUpdated: bus.At(app.Updated),
		Version:     app.Version,
		Indices:     indices,
		Flapping:    flapping,
	}, urgent)
}

func (m *Manager) stop(id bus.AppID, app App, instances []string) {
	if len(instances) == 0 {
		return
	}
	m.log.Info("instances are too many", "app", id, "instances", instances)
	req := bus.HMRequest{Droplet: id, Op: bus.OpStop, Instances: instances}
	if app != (App{}) {
		req.LastUpdated = bus.At(app.Updated)
	}
	m.tell("hm.requests", bus.HMRequests.Publish(m.conn, req))
}

// flush sends what may leave the outbox, unless its reason has gone meanwhile.
func (m *Manager) flush(now time.Time) {
	ready, wait := m.outbox.take(now)
	for _, req := range ready {
		if app := m.desired[req.Droplet]; app.wanted() && app.Version == req.Version {
			m.tell("hm.requests", bus.HMRequests.Publish(m.conn, req))
		}
	}
	if wait > 0 {
		m.send.Reset(wait)
	}
}

// sleep has the app looked at again at a time; not at all for a zero time.
func (m *Manager) sleep(id bus.AppID, until time.Time) {
	if until.IsZero() {
		delete(m.delayed, id)
		return
	}
	m.delayed[id] = until
	m.setAlarm()
}

func (m *Manager) setAlarm() {
	if len(m.delayed) > 0 {
		next := slices.MinFunc(slices.Collect(maps.Values(m.delayed)), time.Time.Compare)
		m.wake.Reset(time.Until(next))
	}
}

// wakeUp looks at the apps whose delayed restart is due.
func (m *Manager) wakeUp(now time.Time) {
	for id, at := range m.delayed {
		if !at.After(now) {
			delete(m.delayed, id)
			m.check(id, now)
		}
	}
	m.setAlarm()
}
