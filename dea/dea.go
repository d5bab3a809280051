// Package dea runs droplets: it starts instances in containers, watches them, tells how
// they fare, and serves their files.
//
// Protocol: hears dea.discover, dea.<id>.start, dea.stop, dea.update, dea.find.droplet,
// dea.status, droplet.status, dea.locate, healthmanager.start and router.start; tells
// dea.start, dea.advertise, dea.heartbeat, droplet.exited, router.register and
// router.unregister. Files are served over HTTP as v1's file viewer did; beside them
// log lines, and what runs in instances by hand.
// State: the instances, in memory and in applications.json in Config.Dir, written at
// each change, so that a restarted Cloudlet goes on with what still runs. All of it
// belongs to the loop; work that takes time runs beside it and hands its outcome in.
// Source: the v1 DEA, step by step; the exit reasons are those of its successor.
package dea

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/component"
	"cloudlet/warden"
)

// Config says what the DEA has to offer. The intervals keep v1's names and defaults.
type Config struct {
	Dir       string // droplets and the snapshot; a folder of its own
	IP        string // where instances and files are reached; 127.0.0.1 where empty
	FilerPort int    // of the file viewer; any where zero
	MaxMemory int    // MB that may be promised to instances
	Runtimes  []Runtime
	Network   warden.Network // of instances; warden's own choice where empty

	Heartbeat time.Duration // 10 s
	Advertise time.Duration // 5 s
	Monitor   time.Duration // 2 s
	Ready     time.Duration // for an instance to listen; 60 s
	ReadyFile time.Duration // for an instance that tells by a file; 5 minutes
	Grace     time.Duration // between TERM and KILL; 3 s
	KeepCrash time.Duration // how long the files of a crashed instance stay; 1 hour
	MaxCrash  int           // of how many instances of an app at most; 5
}

// Runtime is a runtime that instances may use.
type Runtime struct {
	Name       string
	Executable string         // as processes in a container see it
	Mounts     []warden.Mount // what it needs besides the system's own folders
}

func (c *Config) defaults() {
	for _, d := range []struct {
		v  *time.Duration
		to time.Duration
	}{
		{&c.Heartbeat, 10 * time.Second}, {&c.Advertise, 5 * time.Second}, {&c.Monitor, 2 * time.Second},
		{&c.Ready, time.Minute}, {&c.ReadyFile, 5 * time.Minute}, {&c.Grace, 3 * time.Second}, {&c.KeepCrash, time.Hour},
	} {
		if *d.v == 0 {
			*d.v = d.to
		}
	}
	if c.IP == "" {
		c.IP = "127.0.0.1"
	}
	if c.MaxCrash == 0 {
		c.MaxCrash = 5
	}
}

// DEA is the component.
type DEA struct {
	cfg   Config
	bus   *bus.Bus
	pool  *warden.Pool
	log   *slog.Logger
	ready chan struct{}

	id       string
	conn     *bus.Conn
	viewer   *viewer
	droplets droplets
	busy     int         // starts, stops and watches under way beside the loop
	outcomes chan func() // handed in by each when it ends, and by readers of varz; run by the loop

	instances map[string]*instance // by instance id
	reserved  int                  // MB
	stopping  bool
}

// New assembles a DEA.
func New(cfg Config, b *bus.Bus, pool *warden.Pool, log *slog.Logger) *DEA {
	cfg.defaults()
	return &DEA{
		cfg: cfg, bus: b, pool: pool, log: log.With("component", "dea"),
		ready: make(chan struct{}), id: component.NewUUID(),
		droplets:  droplets{dir: filepath.Join(cfg.Dir, "droplets")},
		outcomes:  make(chan func(), 256),
		instances: map[string]*instance{},
	}
}

// Ready is closed when starts are taken.
func (d *DEA) Ready() <-chan struct{} { return d.ready }

// Run serves until ctx is cancelled, then stops all instances.
func (d *DEA) Run(ctx context.Context) error {
	if err := os.MkdirAll(d.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := d.droplets.open(); err != nil {
		return err
	}
	conn, err := d.bus.Connect("dea", d.log)
	if err != nil {
		return err
	}
	defer conn.Close()
	d.conn = conn
	if d.viewer, err = startViewer(d.cfg.IP, d.cfg.FilerPort, d.log); err != nil {
		return err
	}
	defer d.viewer.close()
	// Work beside the loop ends with a context of its own: a stop has to outlive ctx.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	in, err := conn.Subscribe(d.handlers(work)...)
	if err != nil {
		return err
	}
	if err := d.recover(work); err != nil {
		return err
	}
	status, err := component.Start(conn, component.Spec{Type: "DEA", UUID: d.id, Numbers: d.varz, Loop: d.outcomes}, d.log)
	if err != nil {
		return err
	}
	defer status.Close()
	d.tell(bus.DEAHello.Publish(conn, d.hello()))
	d.advertise()
	d.heartbeat()
	close(d.ready)
	return d.loop(ctx, work, in)
}

func (d *DEA) loop(ctx, work context.Context, in *bus.Inbox) error {
	heartbeat, advertise := time.NewTicker(d.cfg.Heartbeat), time.NewTicker(d.cfg.Advertise)
	monitor := time.NewTicker(d.cfg.Monitor)
	defer heartbeat.Stop()
	defer advertise.Stop()
	defer monitor.Stop()
	for {
		select {
		case m := <-in.C:
			in.Handle(m)
		case f := <-d.outcomes:
			f()
		case <-heartbeat.C:
			if len(d.instances) > 0 {
				d.heartbeat()
			}
		case <-advertise.C:
			d.advertise()
		case now := <-monitor.C:
			d.monitor(work, now)
			d.reap(work, now)
		case <-ctx.Done():
			return d.shutdown(work)
		}
	}
}

// shutdown stops all instances and waits until they have ended.
func (d *DEA) shutdown(work context.Context) error {
	d.stopping = true
	for _, i := range d.sorted() {
		if i.State != bus.Crashed {
			d.stop(work, i, bus.ReasonDEAShutdown)
		}
	}
	for d.busy > 0 {
		(<-d.outcomes)()
	}
	return nil
}

// handlers are the subjects that the DEA hears. They run on its loop.
func (d *DEA) handlers(work context.Context) []bus.Handler {
	return []bus.Handler{
		bus.DEAStart(d.id).To(func(m bus.StartApp) { d.start(work, m) }),
		bus.DEAStop.To(func(m bus.StopApp) { d.stopMatching(work, m) }),
		bus.DEAUpdate.To(d.update),
		bus.DEADiscover.Answer(d.discover),
		bus.DEAFindDroplet.Answer(d.find),
		bus.DEAStatus.Answer(func(_ bus.Empty, reply func(bus.Status)) { reply(d.status()) }),
		bus.DropletStatus.Answer(d.dropletStatus),
		bus.DEALocate.To(func(bus.Empty) { d.advertise() }),
		bus.HealthStart.To(func(bus.Empty) { d.heartbeat() }),
		bus.RouterStart.To(func(bus.RouterHello) { d.registerAll() }),
	}
}

// beside runs work beside the loop, and what it returns, if anything, on the loop again.
func (d *DEA) beside(work func() func()) {
	d.busy++
	go func() {
		then := work()
		d.outcomes <- func() {
			d.busy--
			if then != nil {
				then()
			}
		}
	}()
}

// tell logs a message that could not be sent; the protocol repeats what matters.
func (d *DEA) tell(err error) {
	if err != nil {
		d.log.Error("publish", "err", err)
	}
}

func (d *DEA) hello() bus.Hello {
	return bus.Hello{ID: d.id, IP: d.cfg.IP, Port: d.viewer.port, Version: 0.99}
}

// advertise tells what room there is. A DEA that is full, or stopping, is silent.
func (d *DEA) advertise() {
	if d.stopping || d.reserved >= d.cfg.MaxMemory {
		return
	}
	a := bus.Advertise{ID: d.id, AvailableMemory: d.cfg.MaxMemory - d.reserved, Instances: map[bus.AppID]int{}}
	for _, r := range d.cfg.Runtimes {
		a.Runtimes = append(a.Runtimes, r.Name)
	}
	for _, i := range d.instances {
		if i.State != bus.Crashed {
			a.Instances[i.Droplet.ID()]++
		}
	}
	d.tell(bus.DEAAdvertise.Publish(d.conn, a))
}

// heartbeat lists all instances, the crashed ones whose files are kept included.
func (d *DEA) heartbeat() {
	if d.stopping {
		return
	}
	h := bus.Heartbeat{DEA: d.id, Droplets: []bus.Beat{}}
	for _, i := range d.sorted() {
		h.Droplets = append(h.Droplets, i.beat())
	}
	d.tell(bus.DEAHeartbeat.Publish(d.conn, h))
}

// discover answers after a delay that grows with what the DEA has: the least loaded
// one wins.
func (d *DEA) discover(q bus.Discover, reply func(bus.Hello)) {
	if d.refuse(q.Runtime, q.Limits.Mem) != "" {
		return
	}
	same := 0
	for _, i := range d.instances {
		if i.Droplet == q.Droplet {
			same++
		}
	}
	delay := min(250, 10*same+100*d.reserved/max(1, d.cfg.MaxMemory))
	hello := d.hello()
	time.AfterFunc(time.Duration(delay)*time.Millisecond, func() { reply(hello) })
}

// refuse says why the DEA cannot take an instance; empty if it can.
func (d *DEA) refuse(runtime string, mem int) string {
	_, known := d.runtime(runtime)
	switch {
	case d.stopping:
		return "the DEA is shutting down"
	case !known:
		return fmt.Sprintf("runtime %q is not installed here", runtime)
	case d.reserved+mem > d.cfg.MaxMemory:
		return fmt.Sprintf("%d MB are asked for, %d MB are left", mem, d.cfg.MaxMemory-d.reserved)
	}
	return ""
}

func (d *DEA) runtime(name string) (Runtime, bool) {
	i := slices.IndexFunc(d.cfg.Runtimes, func(r Runtime) bool { return r.Name == name })
	if i < 0 {
		return Runtime{}, false
	}
	return d.cfg.Runtimes[i], true
}

// sorted are the instances in an order that does not change by chance.
func (d *DEA) sorted() []*instance {
	return slices.SortedFunc(maps.Values(d.instances), func(a, b *instance) int {
		return a.StartedAt.Compare(b.StartedAt)
	})
}

var errDroplet = errors.New("the droplet does not have the fingerprint that was announced")
