package controller

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cloudlet/bus"
	"cloudlet/store"
)

// advertExpiry is how long an advertisement counts; a full DEA falls silent.
const advertExpiry = 10 * time.Second

// pool remembers the DEAs by their last advertisement.
type pool struct {
	mu   sync.Mutex
	deas map[string]*offer
}

type offer struct {
	bus.Advertise
	heard time.Time
}

func (p *pool) advertise(a bus.Advertise, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deas == nil {
		p.deas = map[string]*offer{}
	}
	if a.Instances == nil {
		a.Instances = map[bus.AppID]int{}
	}
	p.deas[a.ID] = &offer{a, now}
}

// place chooses a DEA with room and takes the room, until the DEA advertises again:
// the one with the fewest instances of the app, any of several. "" if there is none.
func (p *pool) place(app *store.App, now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := bus.AppNumber(app.ID).ID()
	var best *offer
	for _, o := range p.deas {
		if now.Sub(o.heard) > advertExpiry {
			delete(p.deas, o.ID)
			continue
		}
		if o.AvailableMemory < app.Memory || o.Prod || !slices.Contains(o.Runtimes, app.Runtime) {
			continue
		}
		if best == nil || o.Instances[id] < best.Instances[id] || o.Instances[id] == best.Instances[id] && rand.IntN(2) == 0 {
			best = o
		}
	}
	if best == nil {
		return ""
	}
	best.AvailableMemory -= app.Memory
	best.Instances[id]++
	return best.ID
}

// findDEA chooses from the pool; where that has no room, it asks who could.
func (c *Controller) findDEA(ctx context.Context, app *store.App) string {
	if id := c.pool.place(app, time.Now()); id != "" {
		return id
	}
	replies := bus.DEADiscover.Gather(ctx, c.conn, bus.Discover{
		Droplet: bus.AppNumber(app.ID), Name: app.Name, Runtime: app.Runtime,
		RuntimeInfo: c.runtimeInfo(app.Runtime), Limits: limits(app), SHA: app.Droplet.SHA1,
	}, 1, c.cfg.Gather)
	if len(replies) == 0 {
		return ""
	}
	return replies[0].ID
}

// startInstances places and starts. Where there is no room for one there is none for the
// next; that is only said in the log, and the health manager asks again.
func (c *Controller) startInstances(ctx context.Context, app *store.App, indices []int, flapping bool) {
	m := c.startMessage(app, 0)
	m.Flapping = flapping
	for _, m.Index = range indices {
		dea := c.findDEA(ctx, app)
		if dea == "" {
			c.log.Warn("no DEA has room", "app", app.ID, "name", app.Name, "index", m.Index, "memory", app.Memory)
			return
		}
		c.tell(bus.DEAStart(dea).Publish(c.conn, m))
		c.followers.started(app.ID)
	}
}

func limits(app *store.App) bus.Limits {
	return bus.Limits{Mem: app.Memory, Disk: app.Disk, FDs: app.FDs}
}

func (c *Controller) runtimeInfo(name string) bus.Runtime {
	r, _ := c.runtime(name)
	return bus.Runtime{Name: name, Version: r.Version, Description: r.Description, Executable: r.Executable}
}

func (c *Controller) startMessage(app *store.App, index int) bus.StartApp {
	id := bus.AppNumber(app.ID)
	m := bus.StartApp{
		Droplet: id, Name: app.Name, URIs: list(app.URIs),
		Runtime: app.Runtime, RuntimeInfo: c.runtimeInfo(app.Runtime), Framework: app.Framework,
		Version: app.Version(), Services: c.boundServices(app.ID), Limits: limits(app),
		Env: list(app.Env), Users: []string{app.Owner},
		Partition: bus.DefaultPartition, Index: index, Debug: app.Debug, Console: app.Console,
	}
	if app.Droplet != nil {
		m.SHA1 = app.Droplet.SHA1
		m.ExecutableURI = c.URL() + "/staged_droplets/" + string(id.ID()) + "/" + app.Droplet.SHA1
	}
	return m
}
