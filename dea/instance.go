package dea

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"cloudlet/bus"
	"cloudlet/warden"
)

// instance is one running, or crashed, copy of an app. What is exported is what the
// snapshot keeps.
type instance struct {
	bus.StartApp
	ID        string
	PrivateID string // value of the sticky-session cookie
	State     bus.State
	StateAt   time.Time
	StartedAt time.Time
	RunningAt time.Time // zero before it was ready
	Port      int
	Host      string // where it answers on Port; Config.IP where empty

	box      *warden.Container // nil until it was made
	stopped  string            // reason given to the stop path; empty before
	released bool              // its memory was given back
	sample   *bus.Usage
	cpu      time.Duration // at the last sample
	sampled  time.Time
}

// handlePrefix begins the names of the DEA's containers.
const handlePrefix = "app-"

func (i *instance) handle() string { return handlePrefix + i.ID }

// staged names the instance's folder in the file viewer.
func (i *instance) staged() string { return fmt.Sprintf("%s-%d-%s", i.Name, i.Index, i.ID) }

func (i *instance) enter(s bus.State, now time.Time) { i.State, i.StateAt = s, now }

func (i *instance) beat() bus.Beat {
	return bus.Beat{
		Droplet: i.Droplet.ID(), Version: i.Version, Instance: i.ID, Index: i.Index,
		State: i.State, StateTimestamp: bus.At(i.StateAt), Partition: i.Partition,
	}
}

// route is where the router finds the instance. It may be an address that this machine
// alone reaches: for a router on another one it would have to be a port of Config.IP.
func (d *DEA) route(i *instance, uris []string) bus.Route {
	return bus.Route{
		DEA: d.id, App: i.Droplet.ID(), Host: cmp.Or(i.Host, d.cfg.IP), Port: i.Port, URIs: uris, PrivateInstanceID: i.PrivateID,
		Tags: map[string]string{"framework": i.Framework, "runtime": i.Runtime},
	}
}

func (d *DEA) register(i *instance, uris []string) {
	if len(uris) > 0 {
		d.tell(bus.RouterRegister.Publish(d.conn, d.route(i, uris)))
	}
}

func (d *DEA) unregister(i *instance, uris []string) {
	if len(uris) > 0 && i.Port != 0 {
		d.tell(bus.RouterUnregister.Publish(d.conn, d.route(i, uris)))
	}
}

// registerAll tells a new router all routes.
func (d *DEA) registerAll() {
	if d.stopping {
		return
	}
	for _, i := range d.instances {
		if i.State == bus.Running {
			d.register(i, i.URIs)
		}
	}
}

// update gives the instances of an app their new URIs.
func (d *DEA) update(m bus.StartApp) {
	for _, i := range d.instances {
		if i.Droplet != m.Droplet || d.stopping {
			continue
		}
		added, dropped := minus(m.URIs, i.URIs), minus(i.URIs, m.URIs)
		i.URIs = m.URIs
		if i.State == bus.Running {
			d.register(i, added)
			d.unregister(i, dropped)
		}
	}
	d.save()
}

func minus(a, b []string) (rest []string) {
	for _, s := range a {
		if !slices.Contains(b, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// matches tells whether an instance is one of those that a message selects. What is
// absent does not filter.
func (i *instance) matches(app bus.AppNumber, version string, ids []string, indices []int, states []bus.State) bool {
	return i.Droplet == app &&
		(version == "" || i.Version == version) &&
		(len(ids) == 0 || slices.Contains(ids, i.ID)) &&
		(len(indices) == 0 || slices.Contains(indices, i.Index)) &&
		(len(states) == 0 || slices.Contains(states, i.State))
}

// find answers for each instance that matches.
// find tells of the newest first: whoever takes the first answer for an index means what
// runs there, not what crashed there before.
func (d *DEA) find(q bus.FindDroplet, reply func(bus.FoundDroplet)) {
	for _, i := range slices.Backward(d.sorted()) {
		if d.stopping || !i.matches(q.Droplet, q.Version, slices.Concat(q.Instances, q.InstanceIDs), q.Indices, q.States) {
			continue
		}
		f := bus.FoundDroplet{
			DEA: d.id, Version: i.Version, Droplet: i.Droplet.ID(), Instance: i.ID, Index: i.Index,
			State: i.State, StateTimestamp: bus.At(i.StateAt),
			FileURI: d.viewer.uri(), Credentials: d.viewer.credentials(), Staged: i.staged(),
		}
		if q.IncludeStats && i.State == bus.Running {
			s := d.stats(i)
			f.Stats = &s
		}
		reply(f)
	}
}

func (d *DEA) dropletStatus(_ bus.Empty, reply func(bus.InstanceStats)) {
	for _, i := range d.sorted() {
		if i.State == bus.Starting || i.State == bus.Running {
			reply(d.stats(i))
		}
	}
}

// snapshot is the file's form: app → instance → record, as v1 had it.
type snapshot map[bus.AppID]map[string]*instance

func (d *DEA) snapshotPath() string { return filepath.Join(d.cfg.Dir, "applications.json") }

// save writes the snapshot. It is there for a restart of Cloudlet, which the kernel's
// memory outlives: the file is replaced in one step, but not forced to disk.
func (d *DEA) save() {
	s := snapshot{}
	for _, i := range d.instances {
		id := i.Droplet.ID()
		if s[id] == nil {
			s[id] = map[string]*instance{}
		}
		s[id][i.ID] = i
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = renameio.WriteFile(d.snapshotPath(), data, 0o600, renameio.WithStaticPermissions(0o600))
	}
	if err != nil {
		d.log.Error("snapshot", "err", err)
	}
}

func (d *DEA) load() (snapshot, error) {
	data, err := os.ReadFile(d.snapshotPath())
	if os.IsNotExist(err) {
		return snapshot{}, nil
	}
	if err != nil {
		return nil, err
	}
	s := snapshot{}
	if err := json.Unmarshal(data, &s); err != nil {
		d.log.Warn("the snapshot is damaged; instances start anew", "err", err)
		return snapshot{}, nil
	}
	return s, nil
}

// isOurs tells the DEA's containers from those of others in the same pool.
func isOurs(c *warden.Container) bool { return strings.HasPrefix(c.Handle(), handlePrefix) }
