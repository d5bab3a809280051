// Package healthmgr keeps applications at their desired number of instances.
//
// Protocol: hears dea.heartbeat, droplet.exited and droplet.updated, and learns of DEAs
// from dea.advertise and dea.start; answers healthmanager.status and
// healthmanager.health; publishes healthmanager.start and dea.locate at its start; asks
// the controllers to start and stop on cloudcontrollers.hm.requests. What ought to be it
// reads from a controller's bulk API over HTTP.
// State: what was heard, in memory, for as long as it is repeated, and the crashes of
// each place. All of it belongs to the component's loop; Plan, which decides, is pure.
// Source: the v1 health manager in its late form, with desired state read as its
// successor did. Differences: it acts as soon as every DEA it knows has reported, an
// instance that had run for a while before it died restarts at once, and there is no
// spindown of unused apps.
package healthmgr

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/component"
)

// Config says where desired state is and paces the component. Zero values mean the
// defaults.
type Config struct {
	// API is the base URL of the bulk API for controllers that do not tell theirs
	// with the credentials; "http://api.localhost:8080".
	API string

	Rules

	// DatabaseScan is the rhythm of reading all apps; 60 s.
	DatabaseScan time.Duration
	// DropletsAnalysis is the rhythm of comparing all apps with what was heard; 20 s.
	DropletsAnalysis time.Duration
	// DequeueingRate bounds the START requests per second; 50, negative is no bound.
	DequeueingRate int
	// Listen is the least time after the start in which nothing is asked for, so that
	// DEAs can make themselves known; 300 ms. DEAs that are known and silent are
	// waited for until DropletLost has passed. Ours.
	Listen time.Duration
	// Retry is how soon a failed reading of the bulk API is repeated; 200 ms. Ours.
	Retry time.Duration
}

func (c Config) withDefaults() Config {
	orDefault(&c.API, "http://api.localhost:8080")
	orDefault(&c.DatabaseScan, 60*time.Second)
	orDefault(&c.DropletsAnalysis, 20*time.Second)
	orDefault(&c.DequeueingRate, 50)
	orDefault(&c.Listen, 300*time.Millisecond)
	orDefault(&c.Retry, 200*time.Millisecond)
	c.Rules = c.Rules.withDefaults()
	return c
}

func (r Rules) withDefaults() Rules {
	orDefault(&r.DropletLost, 30*time.Second)
	orDefault(&r.StableState, 60*time.Second)
	orDefault(&r.RestartTimeout, 20*time.Second)
	orDefault(&r.UnknownApp, 120*time.Second)
	orDefault(&r.FlappingDeath, 1)
	orDefault(&r.FlappingTimeout, 500*time.Second)
	orDefault(&r.MinRestartDelay, 60*time.Second)
	orDefault(&r.MaxRestartDelay, 480*time.Second)
	orDefault(&r.GiveupCrashNumber, 4)
	orDefault(&r.Proven, 10*time.Second)
	return r
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Manager is the component.
type Manager struct {
	cfg   Config
	bus   *bus.Bus
	log   *slog.Logger
	ready chan struct{}

	// All that follows belongs to the loop.

	conn    *bus.Conn
	since   time.Time // when it began to listen
	deas    map[string]bool
	settled bool // the time of mere listening is over
	passed  time.Time
	dropped int

	desired map[bus.AppID]App
	scanned bool // desired has been read
	heard   map[bus.AppID]*Heard
	delayed map[bus.AppID]time.Time // when to look at apps again
	outbox  *outbox

	source   *desired
	wanted   map[bus.AppID]bool // apps to read again, and then to act upon
	scan     bool               // all are to be read
	reading  bool               // a reading is under way, or a retry is waited for
	readings chan reading
	failures int // readings, in a row

	users    int // -1 where unknown
	received received
	asked    chan func() // by readers of varz

	settle, wake, send, retry *time.Timer // see loop
	work                      sync.WaitGroup
}

// New assembles a health manager; Run brings it to life.
func New(cfg Config, b *bus.Bus, log *slog.Logger) *Manager {
	cfg = cfg.withDefaults()
	return &Manager{
		cfg:      cfg,
		bus:      b,
		log:      log.With("component", "healthmgr"),
		ready:    make(chan struct{}),
		deas:     map[string]bool{},
		desired:  map[bus.AppID]App{},
		heard:    map[bus.AppID]*Heard{},
		delayed:  map[bus.AppID]time.Time{},
		outbox:   newOutbox(cfg.DequeueingRate),
		source:   newDesired(cfg.API),
		wanted:   map[bus.AppID]bool{},
		scan:     true,
		readings: make(chan reading, 1),
		users:    -1,
		asked:    make(chan func()),
	}
}

// Ready is closed when the health manager listens.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Run watches until ctx is cancelled.
func (m *Manager) Run(ctx context.Context) error {
	c, err := m.bus.Connect("healthmgr", m.log)
	if err != nil {
		return err
	}
	defer c.Close()
	m.conn, m.source.conn = c, c
	m.since = time.Now()
	in, err := c.Subscribe(
		bus.DEAHeartbeat.To(m.heartbeat),
		bus.DropletExited.To(m.exited),
		bus.DropletUpdated.To(m.updated),
		bus.DEAAdvertise.To(func(a bus.Advertise) { m.knowDEA(a.ID) }),
		bus.DEAHello.To(func(h bus.Hello) { m.knowDEA(h.ID) }),
		bus.HealthStatus.Answer(m.status),
		bus.HealthHealth.Answer(m.health),
	)
	if err != nil {
		return err
	}
	status, err := component.Start(c, component.Spec{Type: "HealthManager", Numbers: m.varz, Loop: m.asked}, m.log)
	if err != nil {
		return err
	}
	defer status.Close()
	m.solicit()
	close(m.ready)

	ctx, cancel := context.WithCancel(ctx)
	defer m.work.Wait()
	defer cancel()
	m.loop(ctx, in)
	m.source.http.CloseIdleConnections()
	return nil
}

// solicit asks the DEAs for heartbeats, and to make themselves known.
func (m *Manager) solicit() {
	m.tell("healthmanager.start", bus.HealthStart.Publish(m.conn, bus.Empty{}))
	m.tell("dea.locate", bus.DEALocate.Publish(m.conn, bus.Empty{}))
}

// tell logs a message that could not be sent; analysis will come to it again.
func (m *Manager) tell(subject string, err error) {
	if err != nil {
		m.log.Error("publish", "subject", subject, "err", err)
	}
}

func (m *Manager) loop(ctx context.Context, in *bus.Inbox) {
	scan, analysis := time.NewTicker(m.cfg.DatabaseScan), time.NewTicker(m.cfg.DropletsAnalysis)
	defer scan.Stop()
	defer analysis.Stop()
	m.settle = time.NewTimer(m.cfg.Listen) // the time of listening may be over
	m.wake = newIdleTimer()                // a delayed restart is due
	m.send = newIdleTimer()                // the outbox may send again
	m.retry = newIdleTimer()               // the bulk API may be asked again
	for _, t := range []*time.Timer{m.settle, m.wake, m.send, m.retry} {
		defer t.Stop()
	}
	m.passed = time.Now()
	for {
		m.read(ctx)
		select {
		case msg := <-in.C:
			in.Handle(msg)
		case r := <-m.readings:
			m.took(r)
		case f := <-m.asked:
			f()
		case <-m.retry.C:
			m.reading = false
		case <-scan.C:
			m.scan = true
		case <-analysis.C:
			m.analyse(time.Now(), in.Dropped())
		case <-m.settle.C:
			m.trySettle(time.Now())
		case <-m.wake.C:
			m.wakeUp(time.Now())
		case <-m.send.C:
			m.flush(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

func newIdleTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// heartbeat takes in what a DEA has.
func (m *Manager) heartbeat(hb bus.Heartbeat) {
	m.received.Heartbeat++
	now := time.Now()
	for _, b := range hb.Droplets {
		if b.Droplet == "" || !b.OfPartition(bus.DefaultPartition) || !plausible(b.Version, b.Instance, b.Index) {
			continue
		}
		if m.hear(b.Droplet).Beat(b, now, m.cfg.Rules) {
			m.check(b.Droplet, now)
		}
	}
	m.reported(hb.DEA)
	m.trySettle(now)
}

// exited takes in the end of an instance, and looks at its app at once.
func (m *Manager) exited(e bus.Exited) {
	m.received.Exited++
	if e.Droplet == "" || !e.OfPartition(bus.DefaultPartition) || !plausible(e.Version, e.Instance, e.Index) {
		return
	}
	m.log.Debug("exited", "app", e.Droplet, "index", e.Index, "instance", e.Instance, "reason", e.Reason)
	if m.hear(e.Droplet).Exit(e, time.Now(), m.cfg.Rules) {
		m.want(e.Droplet)
	}
}

func (m *Manager) updated(u bus.Updated) {
	m.received.Updated++
	m.want(u.Droplet.ID())
}

// hear is where what is heard of an app is kept; beyond the bound, nowhere.
func (m *Manager) hear(id bus.AppID) *Heard {
	h := m.heard[id]
	if h == nil {
		h = newHeard(m.since)
		if len(m.heard) < maxApps {
			m.heard[id] = h
		}
	}
	return h
}

// knowDEA notes a DEA that has not reported yet.
func (m *Manager) knowDEA(id string) {
	if _, known := m.deas[id]; !known && len(m.deas) < maxDEAs && !m.settled {
		m.deas[id] = false
	}
}

const maxDEAs = 1 << 16

func (m *Manager) reported(dea string) {
	m.knowDEA(dea)
	if _, known := m.deas[dea]; known {
		m.deas[dea] = true
	}
}

// trySettle ends the time of mere listening when every known DEA has reported, or has
// been given the time v1 gives to all.
func (m *Manager) trySettle(now time.Time) {
	heard := now.Sub(m.since)
	if m.settled || !m.scanned || heard < m.cfg.Listen {
		return
	}
	silent := len(m.deas) == 0 || slices.Contains(slices.Collect(maps.Values(m.deas)), false)
	if silent && heard < m.cfg.DropletLost {
		m.settle.Reset(m.cfg.DropletLost - heard)
		return
	}
	m.settled = true
	m.log.Info("watching", "apps", len(m.desired), "deas", len(m.deas))
	m.checkAll(now)
}

// analyse compares everything. Where silence may be the health manager's own, because
// its inbox overflowed or the process was suspended, all get another term.
func (m *Manager) analyse(now time.Time, dropped int) {
	deaf := dropped != m.dropped || now.Sub(m.passed) > 2*m.cfg.DropletsAnalysis
	m.dropped, m.passed = dropped, now
	for id, h := range m.heard {
		if deaf {
			h.Refresh(now)
		}
		app, known := m.desired[id]
		h.Forget(app, now, m.cfg.Rules)
		if !known && len(h.Instances)+len(h.Crashes)+len(h.Indices) == 0 {
			delete(m.heard, id)
		}
	}
	if deaf {
		m.solicit()
		return
	}
	m.checkAll(now)
}

// status lists the flapping indices or the crashed instances of one app.
func (m *Manager) status(q bus.StatusOf, reply func(bus.StatusReply)) {
	m.received.Status++
	id, now := q.Droplet.ID(), time.Now()
	app, known := m.desired[id]
	if !known {
		return
	}
	switch q.State {
	case bus.Flapping:
		app.Version = cmp.Or(q.Version, app.Version)
		list := m.hear(id).FlappingIndices(app, now, m.cfg.Rules)
		reply(bus.StatusReply{Indices: &list})
	case bus.Crashed:
		list := m.hear(id).CrashedInstances(now, m.cfg.Rules)
		reply(bus.StatusReply{Instances: &list})
	}
}

// health tells for each known app how many of its places are filled.
func (m *Manager) health(q bus.HealthOf, reply func(bus.Healthy)) {
	m.received.Health++
	now := time.Now()
	for _, d := range q.Droplets {
		id := d.Droplet.ID()
		if _, known := m.desired[id]; known {
			reply(bus.Healthy{Droplet: id, Version: d.Version, Healthy: m.hear(id).Healthy(d.Version, now, m.cfg.Rules)})
		}
	}
}
