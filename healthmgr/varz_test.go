package healthmgr

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudlet/bus"
	"cloudlet/internal/component"
	"cloudlet/internal/testkit"
)

func TestVarz(t *testing.T) {
	m := New(Config{}, nil, quiet)
	m.users, m.received = 3, received{1, 2, 3, 4, 5}
	m.outbox.waiting = make([]bus.HMRequest, 2)
	kind := func(name, framework, runtime string, memory int) func(*App) {
		return func(a *App) { a.Name, a.Framework, a.Runtime, a.Memory = name, framework, runtime, memory }
	}
	now := time.Now()
	recently := func(h *Heard) {
		for _, i := range h.Instances {
			i.Seen = now
		}
	}
	m.desired = map[bus.AppID]App{
		"1": app(4, kind("full", "node", "node20", 64)),
		"2": app(1, kind("gone", "node", "node18", 32)),
		"3": app(2, kind("off", "sinatra", "ruby19", 128), func(a *App) { a.Started = false }),
	}
	m.heard["1"] = heard(lives("a", 0), lives("b", 1, starting), lives("old", 2, func(i *Instance) { i.Version = "v-0" }), recently,
		history(3, Index{Crashes: 2, Crashed: now}), func(h *Heard) { h.Crashes["c"] = Crash{At: now, Seen: now} })

	want := varz{
		TotalApps: 3, TotalUsers: 3, Users: []struct{}{}, TotalInstances: 7, Queue: 2, received: m.received, places: unknownPlaces,
		Apps: []varzApp{
			{Droplet: "1", State: "STARTED", Name: "full", Instances: 4},
			{Droplet: "2", State: "STARTED", Name: "gone", Instances: 1},
			{Droplet: "3", State: "STOPPED", Name: "off", Instances: 2},
		},
		Total: grouped[total]{
			Frameworks: map[string]*total{"node": {2, 2, 5, 5, 288, 288}, "sinatra": {1, 0, 2, 0, 256, 0}},
			Runtimes:   map[string]*total{"node20": {1, 1, 4, 4, 256, 256}, "node18": {1, 1, 1, 1, 32, 32}, "ruby19": {1, 0, 2, 0, 256, 0}},
		},
		Running: grouped[running]{
			Frameworks: map[string]*running{"node": {2, 1, 2, 2, 1}},
			Runtimes:   map[string]*running{"node20": {1, 1, 2, 1, 1}, "node18": {1, 0, 0, 1, 0}},
		},
	}
	exported := cmp.AllowUnexported(varz{})
	if d := cmp.Diff(any(want), m.varz(), exported); d != "" {
		t.Errorf("before the first pass: %s", d)
	}
	m.settled = true
	want.places = places{Running: 2, Crashed: 1, Down: 2, Missing: 2, Flapping: 1}
	if d := cmp.Diff(any(want), m.varz(), exported); d != "" {
		t.Errorf("after it: %s", d)
	}
}

// The numbers of one that runs come from its loop, and the users from the controller.
func TestVarzOfARunningOne(t *testing.T) {
	ctl := newController(t, wanted(42, 2, func(a *bulkApp) { a.Name, a.Framework, a.Memory = "hello", "node", 64 }))
	ctl.users = 7
	c := start(t, fast(), ctl, runs(42, "a", 0), runs(42, "b", 1))
	c.settled(42, 2)
	c.exits(crashes(42, "b", 1, 3600))
	c.expect(starts(42, 1))
	testkit.Eventually(t, func() error {
		found := component.Gather(t.Context(), c.conn, 50*time.Millisecond)
		if len(found) != 1 || found[0].Type != "HealthManager" {
			return fmt.Errorf("found %+v", found)
		}
		for key, want := range map[string]json.Number{
			"droplet_exited_msgs_received": "1", "running_instances": "1", "missing_instances": "1", "total_users": "7",
		} {
			if got := found[0].Varz[key]; got != want {
				return fmt.Errorf("%s is %v, want %s", key, got, want)
			}
		}
		return nil
	})
}
