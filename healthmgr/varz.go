package healthmgr

import (
	"cmp"
	"slices"
	"time"

	"cloudlet/bus"
)

// varz are the health manager's numbers: those of v1, with the extras of its successor.
// Counts of instances are -1 before the first full pass.
type varz struct {
	TotalApps      int        `json:"total_apps"`
	TotalUsers     int        `json:"total_users"`
	Users          []struct{} `json:"users"` // the bulk API does not tell who they are
	Apps           []varzApp  `json:"apps"`
	TotalInstances int        `json:"total_instances"`
	places
	Queue   int              `json:"queue_length"`
	Total   grouped[total]   `json:"total"`
	Running grouped[running] `json:"running"`
	received
}

// places are what became of the places for instances.
type places struct {
	Running  int `json:"running_instances"`
	Crashed  int `json:"crashed_instances"`
	Down     int `json:"down_instances"` // the name of v1 for Missing
	Missing  int `json:"missing_instances"`
	Flapping int `json:"flapping_instances"`
}

var unknownPlaces = places{-1, -1, -1, -1, -1}

type varzApp struct {
	Droplet   bus.AppID `json:"droplet_id"`
	State     string    `json:"state"`
	Name      string    `json:"name"`
	User      *string   `json:"user"` // not told by the bulk API
	Instances int       `json:"instances"`
}

// grouped are numbers by framework and by runtime.
type grouped[T any] struct {
	Frameworks map[string]*T `json:"frameworks"`
	Runtimes   map[string]*T `json:"runtimes"`
}

func newGrouped[T any]() grouped[T] { return grouped[T]{map[string]*T{}, map[string]*T{}} }

// of are the numbers to which the app adds.
func (g grouped[T]) of(app App) [2]*T {
	return [2]*T{entry(g.Frameworks, app.Framework), entry(g.Runtimes, app.Runtime)}
}

func entry[T any](m map[string]*T, name string) *T {
	if m[name] == nil {
		m[name] = new(T)
	}
	return m[name]
}

// total is what ought to be, memory in MB.
type total struct {
	Apps             int `json:"apps"`
	StartedApps      int `json:"started_apps"`
	Instances        int `json:"instances"`
	StartedInstances int `json:"started_instances"`
	Memory           int `json:"memory"`
	StartedMemory    int `json:"started_memory"`
}

func (t *total) add(app App) {
	t.Apps++
	t.Instances += app.Instances
	t.Memory += app.Instances * app.Memory
	if app.Started {
		t.StartedApps++
		t.StartedInstances += app.Instances
		t.StartedMemory += app.Instances * app.Memory
	}
}

// running is what is, of started apps.
type running struct {
	Apps     int `json:"apps"`
	Crashes  int `json:"crashes"`
	Running  int `json:"running_instances"`
	Missing  int `json:"missing_instances"`
	Flapping int `json:"flapping_instances"`
}

func (r *running) add(p places) {
	r.Apps++
	r.Crashes += p.Crashed
	r.Running += p.Running
	r.Missing += p.Missing
	r.Flapping += p.Flapping
}

// received counts messages.
type received struct {
	Heartbeat int `json:"heartbeat_msgs_received"`
	Exited    int `json:"droplet_exited_msgs_received"`
	Updated   int `json:"droplet_updated_msgs_received"`
	Status    int `json:"healthmanager_status_msgs_received"`
	Health    int `json:"healthmanager_health_request_msgs_received"`
}

func (m *Manager) varz() any {
	now := time.Now()
	v := varz{
		TotalApps: len(m.desired), TotalUsers: m.users, Users: []struct{}{}, Apps: []varzApp{},
		Queue: len(m.outbox.waiting), Total: newGrouped[total](), Running: newGrouped[running](), received: m.received,
	}
	for id, app := range m.desired {
		v.Apps = append(v.Apps, varzApp{Droplet: id, State: stateOf(app), Name: app.Name, Instances: app.Instances})
		v.TotalInstances += app.Instances
		for _, t := range v.Total.of(app) {
			t.add(app)
		}
		p := m.hear(id).places(app, now, m.cfg.Rules)
		v.places.add(p)
		if app.Started {
			for _, r := range v.Running.of(app) {
				r.add(p)
			}
		}
	}
	slices.SortFunc(v.Apps, func(a, b varzApp) int { return cmp.Compare(a.Droplet, b.Droplet) })
	if !m.settled {
		v.places = unknownPlaces
	}
	return v
}

func stateOf(app App) string {
	if app.Started {
		return "STARTED"
	}
	return "STOPPED"
}

func (p *places) add(q places) {
	p.Running += q.Running
	p.Crashed += q.Crashed
	p.Down += q.Down
	p.Missing += q.Missing
	p.Flapping += q.Flapping
}

// places counts what became of an app's places. A stopped app has none that are empty.
func (h *Heard) places(app App, now time.Time, r Rules) (p places) {
	p.Crashed = len(h.CrashedInstances(now, r))
	if !app.Started {
		return p
	}
	filled := map[int]bool{}
	for _, i := range h.Instances {
		if i.Version == app.Version && r.lives(i, now) {
			filled[i.Index] = true
		}
	}
	for n := range app.Instances {
		x := h.Indices[Slot{app.Version, n}]
		switch {
		case filled[n]:
			p.Running++
		case x != nil && r.flapping(x, now):
			p.Flapping++
		default:
			p.Missing++
		}
	}
	p.Down = p.Missing
	return p
}
