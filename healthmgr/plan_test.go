package healthmgr

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudlet/bus"
)

var (
	rules = Rules{}.withDefaults()
	now   = time.Date(2012, 11, 3, 9, 0, 0, 0, time.UTC)
)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func app(instances int, edit ...func(*App)) App {
	a := App{Started: true, Staged: true, Version: "v-1", Instances: instances, Updated: ago(time.Hour)}
	for _, e := range edit {
		e(&a)
	}
	return a
}

// heard is what a health manager that is up for a day heard.
func heard(edit ...func(*Heard)) *Heard {
	h := newHeard(ago(24 * time.Hour))
	h.Ever = true
	for _, e := range edit {
		e(h)
	}
	return h
}

// lives puts an instance into an index, RUNNING for an hour and heard of just now.
func lives(id string, index int, edit ...func(*Instance)) func(*Heard) {
	return func(h *Heard) {
		i := &Instance{
			Slot: Slot{"v-1", index}, State: bus.Running,
			Since: ago(time.Hour), Running: ago(time.Hour), Seen: now,
		}
		for _, e := range edit {
			e(i)
		}
		h.Instances[id] = i
	}
}

func history(index int, x Index) func(*Heard) {
	return func(h *Heard) { h.Indices[Slot{"v-1", index}] = &x }
}

func silentFor(d time.Duration) func(*Instance) { return func(i *Instance) { i.Seen = ago(d) } }
func starting(i *Instance)                      { i.State, i.Running = bus.Starting, time.Time{} }
func runningFor(d time.Duration) func(*Instance) {
	return func(i *Instance) { i.Since, i.Running = ago(d), ago(d) }
}
func version(v string) func(*Instance) { return func(i *Instance) { i.Version = v } }

func TestPlan(t *testing.T) {
	const s = time.Second
	cold := func(h *Heard) { h.Ever, h.Since = false, ago(s) }
	for _, c := range []struct {
		name  string
		app   App
		heard *Heard
		want  Actions
	}{
		{"all is well", app(2), heard(lives("a", 0), lives("b", 1)), Actions{}},
		{"starting counts", app(1), heard(lives("a", 0, starting)), Actions{}},
		{"none is wanted", app(0), heard(), Actions{}},

		// Missing.
		{"an index is missing", app(3), heard(lives("b", 1)), Actions{Start: []int{0, 2}}},
		{"but the app has just changed", app(3, func(a *App) { a.Updated = ago(30 * s) }), heard(lives("b", 1)), Actions{}},
		{"silent", app(1), heard(lives("a", 0, silentFor(31*s))), Actions{Start: []int{0}}},
		{"not silent for long", app(1), heard(lives("a", 0, silentFor(30*s))), Actions{}},
		{"asked for just now", app(1), heard(history(0, Index{Acted: ago(10 * s)})), Actions{}},
		{"asked for in vain", app(1), heard(history(0, Index{Acted: ago(21 * s)})), Actions{Start: []int{0}}},
		{"stopped apps miss nothing", app(1, func(a *App) { a.Started = false }), heard(), Actions{}},
		{"nor do unstaged ones", app(1, func(a *App) { a.Staged = false }), heard(), Actions{}},
		{"nor do those without a droplet", app(1, func(a *App) { a.Version = "-0" }), heard(), Actions{}},

		// After the start of the health manager.
		{"cold: at once, though just changed", app(2, func(a *App) { a.Updated = ago(5 * s) }), heard(cold), Actions{Start: []int{0, 1}}},
		{"cold, but changed since", app(2, func(a *App) { a.Updated = now }), heard(cold), Actions{}},
		{"cold, but in the same second", app(2, func(a *App) { a.Updated = ago(s) }), heard(cold), Actions{}},
		{"cold, but asked for", app(1, func(a *App) { a.Updated = ago(5 * s) }), heard(cold, history(0, Index{Acted: ago(s / 2)})), Actions{}},
		{"something of it runs", app(2, func(a *App) { a.Updated = ago(5 * s) }), heard(cold, lives("a", 0), func(h *Heard) { h.Ever = true }), Actions{}},

		// Exits.
		{"first crash", app(1), heard(history(0, Index{Crashes: 1, Crashed: now, Exited: now})), Actions{Start: []int{0}}},
		{"first crash of an app that has just changed", app(1, func(a *App) { a.Updated = now }),
			heard(history(0, Index{Crashes: 1, Crashed: now, Exited: now})), Actions{Start: []int{0}}},
		{"evacuation", app(1), heard(history(0, Index{Exited: now, Urgent: true})), Actions{Start: []int{0}, Urgent: true}},
		{"already asked for", app(1), heard(history(0, Index{Exited: ago(2 * s), Acted: ago(s)})), Actions{}},
		{"of an index that is no more", app(1), heard(lives("a", 0), history(1, Index{Exited: now})), Actions{}},
		{"of another version", app(1), heard(lives("a", 0), func(h *Heard) { h.Indices[Slot{"v-0", 0}] = &Index{Exited: now} }), Actions{}},
		{"of a stopped app", app(1, func(a *App) { a.Started = false }), heard(history(0, Index{Exited: now})), Actions{}},

		// Flapping.
		{"second crash waits 60 s", app(1), heard(history(0, Index{Crashes: 2, Crashed: ago(10 * s), Exited: ago(10 * s)})), Actions{Next: now.Add(50 * s)}},
		{"second crash is due", app(1), heard(history(0, Index{Crashes: 2, Crashed: ago(60 * s), Exited: ago(60 * s)})), Actions{Restart: []int{0}}},
		{"third waits 120 s", app(1), heard(history(0, Index{Crashes: 3, Crashed: now})), Actions{Next: now.Add(120 * s)}},
		{"fourth waits 240 s", app(1), heard(history(0, Index{Crashes: 4, Crashed: now})), Actions{Next: now.Add(240 * s)}},
		{"fifth is the last", app(1), heard(history(0, Index{Crashes: 5, Crashed: ago(499 * s), Exited: ago(499 * s)})), Actions{}},
		{"until the crashes are forgotten", app(1), heard(history(0, Index{Crashes: 5, Crashed: ago(501 * s), Exited: ago(501 * s)})), Actions{Start: []int{0}}},
		{"a delayed restart that came to nothing", app(1), heard(history(0, Index{Crashes: 2, Crashed: ago(90 * s), Acted: ago(30 * s)})), Actions{Next: now.Add(30 * s)}},
		{"a delayed restart that works", app(1), heard(lives("a", 0), history(0, Index{Crashes: 2, Crashed: ago(90 * s)})), Actions{}},
		{"the first of several", app(2), heard(history(0, Index{Crashes: 3, Crashed: now}), history(1, Index{Crashes: 2, Crashed: now})), Actions{Next: now.Add(60 * s)}},
		{"a healthy index beside", app(2), heard(history(0, Index{Crashes: 2, Crashed: now})), Actions{Start: []int{1}, Next: now.Add(60 * s)}},
		{"a shutdown does not end flapping", app(1), heard(history(0, Index{Crashes: 2, Crashed: ago(20 * s), Exited: now})), Actions{Next: now.Add(40 * s)}},

		// Extra.
		{"index too high", app(1), heard(lives("a", 0), lives("b", 1)), Actions{Stop: []string{"b"}}},
		{"wrong version", app(1), heard(lives("a", 0), lives("b", 0, version("v-0"))), Actions{Stop: []string{"b"}}},
		{"wrong version alone", app(1), heard(lives("b", 0, version("v-0"))), Actions{Start: []int{0}, Stop: []string{"b"}}},
		{"stopped", app(1, func(a *App) { a.Started = false }), heard(lives("a", 0), lives("b", 1, starting)), Actions{Stop: []string{"a", "b"}}},
		{"the app has just changed", app(1, func(a *App) { a.Updated = ago(30 * s) }), heard(lives("a", 0), lives("b", 1)), Actions{}},
		{"extra but lost", app(1), heard(lives("a", 0), lives("b", 1, silentFor(31*s))), Actions{}},
		{"extra and told so", app(1), heard(lives("a", 0), lives("b", 1, func(i *Instance) { i.Asked = ago(s) })), Actions{}},
		{"told so in vain", app(1), heard(lives("a", 0), lives("b", 1, func(i *Instance) { i.Asked = ago(21 * s) })), Actions{Stop: []string{"b"}}},

		// Duplicates.
		{"the newcomer loses", app(1), heard(lives("a", 0, runningFor(s)), lives("b", 0)), Actions{Stop: []string{"a"}}},
		{"also while it starts", app(1), heard(lives("a", 0, starting), lives("b", 0, runningFor(s))), Actions{Stop: []string{"a"}}},
		{"also when the app has just changed", app(1, func(a *App) { a.Updated = now }), heard(lives("a", 0, runningFor(s)), lives("b", 0)), Actions{Stop: []string{"a"}}},
		{"two that start may race", app(1), heard(lives("a", 0, starting), lives("b", 0, starting)), Actions{}},
		{"three", app(1), heard(lives("a", 0, runningFor(s)), lives("b", 0, runningFor(9*s)), lives("c", 0, runningFor(5*s))), Actions{Stop: []string{"a", "c"}}},
		{"a lost one is none", app(1), heard(lives("a", 0, runningFor(s)), lives("b", 0, silentFor(31*s))), Actions{}},

		// Unknown to the controller.
		{"unknown", App{}, heard(lives("a", 0)), Actions{Stop: []string{"a"}}},
		{"unknown, but young", App{}, heard(lives("a", 0, runningFor(119*s))), Actions{}},
		{"unknown, but the health manager is young", App{}, heard(lives("a", 0), func(h *Heard) { h.Since = ago(119 * s) }), Actions{}},
		{"unknown, but lost", App{}, heard(lives("a", 0, silentFor(31*s))), Actions{}},
		{"unknown and told so", App{}, heard(lives("a", 0, func(i *Instance) { i.Asked = ago(s) })), Actions{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Plan(c.app, c.heard, now, rules)); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

func TestDelays(t *testing.T) {
	for crashes, want := range map[int]time.Duration{2: 60, 3: 120, 4: 240, 5: 480, 6: 480, 1000: 480} {
		if got := rules.delay(crashes); got != want*time.Second {
			t.Errorf("after %d crashes: %s, want %d s", crashes, got, want)
		}
	}
	never := Rules{GiveupCrashNumber: -1}.withDefaults()
	at, delayed := never.due(app(1), heard(), &Index{Crashes: 99, Crashed: now}, now)
	if !delayed || at != now.Add(480*time.Second) {
		t.Errorf("who never gives up restarts at %s", at)
	}
}

// What was asked for is not asked for again at once.
func TestAskedSatisfiesPlan(t *testing.T) {
	h := heard(lives("extra", 7), history(0, Index{Exited: now, Crashed: now, Crashes: 1, Urgent: true}))
	a := app(3)
	do := Plan(a, h, now, rules)
	if want := (Actions{Start: []int{0, 1, 2}, Stop: []string{"extra"}, Urgent: true}); !cmp.Equal(do, want) {
		t.Fatalf("got %+v", do)
	}
	h.Asked(a, do, now.Add(time.Millisecond))
	if do := Plan(a, h, now.Add(2*time.Millisecond), rules); !do.Empty() {
		t.Errorf("asks again for %+v", do)
	}
}

func beat(id string, index int, state bus.State) bus.Beat {
	return bus.Beat{Droplet: "42", Version: "v-1", Instance: id, Index: index, State: state, StateTimestamp: bus.At(ago(time.Hour))}
}

func exit(id string, index int, reason string, ran float64) bus.Exited {
	d := bus.Decimal(ran)
	return bus.Exited{Droplet: "42", Version: "v-1", Instance: id, Index: index, Reason: reason, RanFor: &d}
}

func TestExitsCount(t *testing.T) {
	const s = time.Second
	type step struct {
		after  time.Duration
		reason string
		ran    float64
	}
	crash := func(after time.Duration) step { return step{after, bus.ReasonCrashed, 1} }
	for _, c := range []struct {
		name    string
		steps   []step
		crashes int
		exited  bool
	}{
		{"one crash", []step{crash(0)}, 1, true},
		{"three crashes", []step{crash(0), crash(60 * s), crash(120 * s)}, 3, true},
		{"forgotten after 500 s", []step{crash(0), crash(60 * s), crash(501 * s)}, 1, true},
		{"a stop is no exit", []step{{0, bus.ReasonStopped, 1}}, 0, false},
		{"shutdown and evacuation do not count", []step{{0, bus.ReasonDEAShutdown, 1}, {s, bus.ReasonDEAEvacuation, 1}}, 0, true},
		{"a proven instance does not count", []step{{0, bus.ReasonCrashed, 10}}, 0, true},
		{"and ends the series", []step{crash(0), crash(s), {s, bus.ReasonCrashed, 11}}, 0, true},
		{"unknown reasons are none", []step{{0, "WEATHER", 1}}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, at := heard(), now
			for n, st := range c.steps {
				at = at.Add(st.after)
				h.Exit(exit(fmt.Sprint(n), 0, st.reason, st.ran), at, rules)
			}
			x := h.Indices[Slot{"v-1", 0}]
			if x == nil {
				x = &Index{}
			}
			if x.Crashes != c.crashes || !x.Exited.IsZero() != c.exited {
				t.Errorf("got %+v", *x)
			}
		})
	}
}

func TestDuplicatesExitIsNoCrash(t *testing.T) {
	h := heard(lives("a", 0), lives("b", 0))
	if h.Exit(exit("b", 0, bus.ReasonCrashed, 1), now, rules) {
		t.Error("the place is filled and yet wants another")
	}
	if len(h.Crashes) != 1 {
		t.Error("the crash is not listed")
	}
}

// DEAs of other makers do not tell how long an instance ran.
func TestRanFromHeartbeats(t *testing.T) {
	for _, c := range []struct {
		name string
		h    *Heard
		want int
	}{
		{"ran for an hour", heard(lives("a", 0)), 0},
		{"ran for a second", heard(lives("a", 0, runningFor(time.Second))), 1},
		{"never ran", heard(lives("a", 0, starting)), 1},
		{"never heard of", heard(), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := exit("a", 0, bus.ReasonCrashed, 0)
			e.RanFor = nil
			c.h.Exit(e, now, rules)
			if got := c.h.Indices[Slot{"v-1", 0}].Crashes; got != c.want {
				t.Errorf("%d crashes count, want %d", got, c.want)
			}
		})
	}
}

func TestHeartbeats(t *testing.T) {
	h := newHeard(now)
	for _, c := range []struct {
		beat  bus.Beat
		after time.Duration
		news  bool
	}{
		{beat("a", 0, bus.Starting), 0, true},
		{beat("a", 0, bus.Starting), 10 * time.Second, false},
		{beat("a", 0, bus.Running), 20 * time.Second, true},
		{beat("a", 0, bus.Running), 40 * time.Second, false},
		{beat("a", 0, bus.Running), 71 * time.Second, true}, // it was lost in between
		{beat("a", 0, "EVACUATING"), 72 * time.Second, false},
		{beat("a", 0, bus.Crashed), 73 * time.Second, true},
		{beat("a", 0, bus.Crashed), 83 * time.Second, false},
	} {
		if got := h.Beat(c.beat, now.Add(c.after), rules); got != c.news {
			t.Errorf("%s after %s is news: %v", c.beat.State, c.after, got)
		}
	}
	if !h.Ever || len(h.Instances) != 0 || len(h.Crashes) != 1 {
		t.Errorf("%+v", h)
	}
}

// One that was lost and comes back finds its place taken.
func TestReturnedInstanceIsTheNewcomer(t *testing.T) {
	h := heard()
	h.Beat(beat("old", 0, bus.Running), now, rules)
	h.Beat(beat("new", 0, bus.Running), now.Add(40*time.Second), rules)
	h.Beat(beat("old", 0, bus.Running), now.Add(50*time.Second), rules)
	do := Plan(app(1), h, now.Add(50*time.Second), rules)
	if !cmp.Equal(do.Stop, []string{"old"}) {
		t.Errorf("stops %v", do.Stop)
	}
}

func TestAnswers(t *testing.T) {
	h := heard(
		lives("a", 0), lives("a2", 0), lives("b", 1, starting), lives("c", 2, version("v-0")), lives("d", 3, silentFor(time.Minute)),
		history(4, Index{Crashes: 2, Crashed: now, Flapping: ago(5 * time.Second)}),
		history(0, Index{Crashes: 2, Crashed: now}),
		history(5, Index{Crashes: 1, Crashed: now}),
	)
	h.Crashes["fresh"] = Crash{At: ago(time.Minute), Seen: now}
	h.Crashes["stale"] = Crash{At: ago(time.Minute), Seen: ago(31 * time.Second)}
	if n := h.Healthy("v-1", now, rules); n != 1 {
		t.Errorf("%d are healthy, want index 0", n)
	}
	if got, want := h.FlappingIndices(app(6), now, rules), []bus.FlappingIndex{{Index: 4, Since: bus.At(ago(5 * time.Second))}}; !cmp.Equal(got, want) {
		t.Errorf("flapping: %v", got)
	}
	if got, want := h.CrashedInstances(now, rules), []bus.CrashedInstance{{Instance: "fresh", Since: bus.At(ago(time.Minute))}}; !cmp.Equal(got, want) {
		t.Errorf("crashed: %v", got)
	}
}

func TestForget(t *testing.T) {
	h := heard(lives("a", 0), lives("lost", 1, silentFor(31*time.Second)), history(0, Index{Crashes: 5, Crashed: ago(time.Hour)}))
	h.Indices[Slot{"v-0", 0}] = &Index{Exited: ago(time.Hour)}
	h.Indices[Slot{"v-2", 0}] = &Index{Exited: now} // faster than the controller's word
	h.Crashes["stale"] = Crash{Seen: ago(31 * time.Second)}
	h.Forget(app(1), now, rules)
	if len(h.Instances) != 1 || len(h.Crashes) != 0 || len(h.Indices) != 2 || h.Indices[Slot{"v-0", 0}] != nil {
		t.Errorf("%+v", h)
	}
}

func TestPlausible(t *testing.T) {
	long := string(make([]byte, maxID+1))
	for _, c := range []struct {
		version, instance string
		index             int
		want              bool
	}{
		{"v-1", "a", 0, true},
		{"", "a", maxIndex - 1, true},
		{"v-1", "a", -1, false},
		{"v-1", "a", maxIndex, false},
		{"v-1", "", 0, false},
		{long, "a", 0, false},
		{"v-1", long, 0, false},
	} {
		if got := plausible(c.version, c.instance, c.index); got != c.want {
			t.Errorf("%.10q, %.10q, %d: %v", c.version, c.instance, c.index, got)
		}
	}
}

// BenchmarkHeartbeat takes in a DEA with 1000 instances: as the loop does it, and with
// the decoding before it.
func BenchmarkHeartbeat(b *testing.B) {
	var hb bus.Heartbeat
	for i := range 1000 {
		hb.Droplets = append(hb.Droplets, bus.Beat{
			Droplet: bus.AppID(fmt.Sprint(i / 4)), Version: "v-1", Instance: fmt.Sprint("instance-", i), Index: i % 4, State: bus.Running,
		})
	}
	data, err := json.Marshal(hb)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("intake", func(b *testing.B) {
		m := New(Config{}, nil, quiet)
		b.ReportAllocs()
		for b.Loop() {
			m.heartbeat(hb)
		}
	})
	b.Run("decode and intake", func(b *testing.B) {
		m := New(Config{}, nil, quiet)
		b.ReportAllocs()
		for b.Loop() {
			hb, err := bus.Decode[bus.Heartbeat](data)
			if err != nil {
				b.Fatal(err)
			}
			m.heartbeat(hb)
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	h := heard()
	for i := range 4 {
		lives(fmt.Sprint(i), i)(h)
	}
	a := app(4)
	b.ReportAllocs()
	for b.Loop() {
		Plan(a, h, now, rules)
	}
}

// An end whose message was missed is told by the heartbeat alone: its place is filled at
// once, though the app has just been changed, but not where another one lives there.
func TestMissedExit(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	rules := Rules{}.withDefaults()
	app := App{Started: true, Staged: true, Version: "v", Instances: 2, Updated: now}
	h := newHeard(now)
	for n, id := range []string{"gone", "replaced"} {
		b := bus.Beat{Version: "v", Instance: id, Index: n, State: bus.Crashed, StateTimestamp: bus.At(now)}
		h.Beat(bus.Beat{Version: "v", Instance: "alive", Index: 1, State: bus.Running, StateTimestamp: bus.At(now)}, now, rules)
		if got := h.Beat(b, now, rules); got != (id == "gone") {
			t.Errorf("%s is news: %v", id, got)
		}
	}
	if do := Plan(app, h, now, rules); !slices.Equal(do.Start, []int{0}) {
		t.Errorf("start %v, want index 0", do.Start)
	}
}
