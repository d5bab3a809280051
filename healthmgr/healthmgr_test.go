package healthmgr

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// controller has a bulk API, as the real one does.
type controller struct {
	t    *testing.T
	srv  *httptest.Server
	mu   sync.Mutex
	apps map[int]bulkApp
	down bool
	asks int

	users int // 0: the controller does not count them
}

func newController(t *testing.T, apps ...bulkApp) *controller {
	c := &controller{t: t, apps: map[int]bulkApp{}}
	for _, a := range apps {
		c.apps[int(a.ID)] = a
	}
	c.srv = httptest.NewServer(http.HandlerFunc(c.bulk))
	t.Cleanup(c.srv.Close)
	return c
}

// bulk pages through the apps, two at a time at most, so that tests page too.
func (c *controller) bulk(w http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks++
	user, password, _ := req.BasicAuth()
	var token struct {
		ID int `json:"id"`
	}
	size, err := strconv.Atoi(req.FormValue("batch_size"))
	switch {
	case c.down:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case req.URL.Path == "/bulk/counts" && c.users > 0 && req.FormValue("model") == "user" && password == "secret":
		fmt.Fprintf(w, `{"counts":{"user":%d}}`, c.users)
		return
	case user != "bulk_api" || password != "secret" || req.URL.Path != "/bulk/apps":
		w.WriteHeader(http.StatusUnauthorized)
		return
	case err != nil || json.Unmarshal([]byte(req.FormValue("bulk_token")), &token) != nil:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	results, next := map[string]bulkApp{}, map[string]int{}
	ids := slices.Sorted(func(yield func(int) bool) {
		for id := range c.apps {
			if id > token.ID && !yield(id) {
				return
			}
		}
	})
	for _, id := range ids[:min(len(ids), size, 2)] {
		results[strconv.Itoa(id)] = c.apps[id]
		next["id"] = id
	}
	json.NewEncoder(w).Encode(map[string]any{"results": results, "bulk_token": next})
}

func (c *controller) set(edit func(map[int]bulkApp)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edit(c.apps)
}

// serve answers for credentials on the bus.
func (c *controller) serve(conn *bus.Conn) {
	testkit.Handle(c.t, conn, bus.BulkCredentials.Answer(func(_ bus.Empty, reply func(bus.BulkLogin)) {
		reply(bus.BulkLogin{User: "bulk_api", Password: "secret", URL: c.srv.URL})
	}))
}

// wanted is an app of the controller that has not changed for an hour.
func wanted(id, instances int, edit ...func(*bulkApp)) bulkApp {
	a := bulkApp{
		ID: bus.AppNumber(id), Instances: instances, State: "STARTED", PackageState: "STAGED",
		UpdatedAt: time.Now().Add(-time.Hour).UTC().Truncate(time.Second), Version: "v-1",
	}
	for _, e := range edit {
		e(&a)
	}
	return a
}

// cloud is a health manager with its surroundings.
type cloud struct {
	t        *testing.T
	conn     *bus.Conn
	requests <-chan bus.HMRequest

	mu    sync.Mutex
	beats []bus.Beat // what dea-1 reports when asked
}

// fast are rules for tests: what v1 does in minutes takes milliseconds, but for what a
// slow machine must not mistake for a loss.
func fast(edit ...func(*Config)) Config {
	c := Config{
		Rules: Rules{
			DropletLost:     time.Minute,
			RestartTimeout:  time.Minute,
			MinRestartDelay: 20 * time.Millisecond,
			MaxRestartDelay: 100 * time.Millisecond,
		},
		DropletsAnalysis: 20 * time.Millisecond,
		Listen:           time.Millisecond,
		Retry:            5 * time.Millisecond,
	}
	for _, e := range edit {
		e(&c)
	}
	return c
}

// start runs a health manager in a cloud whose one DEA, dea-1, has these instances.
func start(t *testing.T, cfg Config, ctl *controller, beats ...bus.Beat) *cloud {
	t.Helper()
	b := testkit.Bus(t)
	conn := testkit.Conn(t, b)
	c := &cloud{t: t, conn: conn, requests: testkit.Collect(t, conn, bus.HMRequests), beats: beats}
	testkit.Handle(t, testkit.Conn(t, b),
		bus.HealthStart.To(func(bus.Empty) { c.report() }),
		bus.DEALocate.To(func(bus.Empty) { publish(t, conn, bus.DEAAdvertise, bus.Advertise{ID: "dea-1"}) }),
	)
	if ctl != nil {
		ctl.serve(conn)
	}
	testkit.Run(t, New(cfg, b, testkit.Log(t)))
	return c
}

func publish[T any](t *testing.T, conn *bus.Conn, s bus.Subject[T], v T) {
	t.Helper()
	if err := s.Publish(conn, v); err != nil {
		t.Error(err)
	}
}

func (c *cloud) heartbeat(dea string, beats ...bus.Beat) {
	c.t.Helper()
	publish(c.t, c.conn, bus.DEAHeartbeat, bus.Heartbeat{DEA: dea, Droplets: beats})
}

// report is the heartbeat of dea-1.
func (c *cloud) report() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heartbeat("dea-1", c.beats...)
}

// has makes these the instances of dea-1.
func (c *cloud) has(beats ...bus.Beat) {
	c.t.Helper()
	c.mu.Lock()
	c.beats = beats
	c.mu.Unlock()
	c.report()
}

// exits has an instance of dea-1 end.
func (c *cloud) exits(e bus.Exited) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats = slices.DeleteFunc(slices.Clone(c.beats), func(b bus.Beat) bool { return b.Instance == e.Instance })
	publish(c.t, c.conn, bus.DropletExited, e)
}

func runs(app int, id string, index int) bus.Beat {
	return bus.Beat{
		Droplet: bus.AppID(fmt.Sprint(app)), Version: "v-1", Instance: id, Index: index,
		State: bus.Running, StateTimestamp: bus.At(time.Now().Add(-time.Hour)),
	}
}

func crashes(app int, id string, index int, ran float64) bus.Exited {
	d := bus.Decimal(ran)
	return bus.Exited{
		Droplet: bus.AppID(fmt.Sprint(app)), Version: "v-1", Instance: id, Index: index,
		Reason: bus.ReasonCrashed, CrashTimestamp: bus.At(time.Now()), RanFor: &d,
	}
}

// settled waits until the health manager knows the app, and so many of its places to be
// filled.
func (c *cloud) settled(app bus.AppNumber, healthy int) {
	c.t.Helper()
	want := bus.Healthy{Droplet: app.ID(), Version: "v-1", Healthy: healthy}
	testkit.Eventually(c.t, func() error {
		if got := c.health(app); !slices.Equal(got, []bus.Healthy{want}) {
			return fmt.Errorf("health is %+v, want %+v", got, want)
		}
		return nil
	})
}

// health asks about the apps. For those that are unknown there is no answer.
func (c *cloud) health(apps ...bus.AppNumber) []bus.Healthy {
	var q bus.HealthOf
	for _, app := range apps {
		q.Droplets = append(q.Droplets, bus.AppVersion{Droplet: app, Version: "v-1"})
	}
	return bus.HealthHealth.Gather(c.t.Context(), c.conn, q, len(apps), 100*time.Millisecond)
}

// expect waits for a request about a known app.
func (c *cloud) expect(want bus.HMRequest) {
	c.t.Helper()
	got := testkit.Next(c.t, c.requests)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(bus.HMRequest{}, "LastUpdated")); diff != "" {
		c.t.Fatalf("want (-), got (+):\n%s", diff)
	}
	if got.LastUpdated == 0 {
		c.t.Error("the request says no last_updated")
	}
}

// silence fails on a request. It first lets the health manager act upon a crash of the
// app 999, so that what it had to say before has been said.
func (c *cloud) silence() {
	c.t.Helper()
	c.exits(crashes(999, "probe", 0, 60))
	c.expect(starts(999, 0))
}

func starts(app int, indices ...int) bus.HMRequest {
	return bus.HMRequest{Droplet: bus.AppID(fmt.Sprint(app)), Op: bus.OpStart, Version: "v-1", Indices: indices}
}

func stops(app int, instances ...string) bus.HMRequest {
	return bus.HMRequest{Droplet: bus.AppID(fmt.Sprint(app)), Op: bus.OpStop, Instances: instances}
}

func probe() (bulkApp, bus.Beat) { return wanted(999, 1), runs(999, "probe", 0) }

func TestCrashIsRestarted(t *testing.T) {
	c := start(t, fast(), newController(t, wanted(42, 2)), runs(42, "a", 0), runs(42, "b", 1))
	c.settled(42, 2)
	c.exits(crashes(42, "b", 1, 3600))
	c.expect(starts(42, 1))
	c.settled(42, 1)

	list, err := bus.HealthStatus.Ask(t.Context(), c.conn, bus.StatusOf{Droplet: 42, State: bus.Crashed})
	if err != nil || list.Instances == nil || len(*list.Instances) != 1 || (*list.Instances)[0].Instance != "b" {
		t.Errorf("crashes: %+v, %v", list, err)
	}
	list, err = bus.HealthStatus.Ask(t.Context(), c.conn, bus.StatusOf{Droplet: 42, Version: "v-1", State: bus.Flapping})
	if err != nil || list.Indices == nil || len(*list.Indices) != 0 {
		t.Errorf("flapping: %+v, %v", list, err)
	}
}

func TestRestartWithRunningInstancesAsksForNothing(t *testing.T) {
	p, beat := probe()
	c := start(t, fast(), newController(t, wanted(42, 2), p), runs(42, "a", 0), runs(42, "b", 1), beat)
	c.settled(42, 2)
	c.silence()
}

func TestRestartWithNothingRunningAsksForAllAtOnce(t *testing.T) {
	justNow := func(a *bulkApp) { a.UpdatedAt = time.Now().Add(-2 * time.Second).UTC() }
	var apps []bulkApp
	for id := range 30 {
		apps = append(apps, wanted(id+1, 2, justNow))
	}
	stopped := wanted(100, 1, func(a *bulkApp) { a.State = "STOPPED" })
	c := start(t, fast(), newController(t, append(apps, stopped)...))
	seen := map[bus.AppID]bool{}
	for range apps {
		r := testkit.Next(t, c.requests)
		if seen[r.Droplet] || r.Op != bus.OpStart || !slices.Equal(r.Indices, []int{0, 1}) || r.Flapping {
			t.Errorf("asks for %+v", r)
		}
		seen[r.Droplet] = true
	}
}

func TestControllerThatStartsLate(t *testing.T) {
	ctl := newController(t, wanted(42, 1))
	ctl.down = true
	c := start(t, fast(), nil) // nobody answers for credentials
	ctl.serve(c.conn)          // and then the API is not up yet
	testkit.Eventually(t, func() error {
		ctl.mu.Lock()
		defer ctl.mu.Unlock()
		if ctl.asks < 3 {
			return fmt.Errorf("asked %d times", ctl.asks)
		}
		ctl.down = false
		return nil
	})
	c.expect(starts(42, 0))
}

// A DEA that made itself known and does not report may have what seems to be missing.
func TestSilentDEAIsWaitedFor(t *testing.T) {
	p, beat := probe()
	cfg := fast(func(c *Config) { c.Listen = 200 * time.Millisecond })
	c := start(t, cfg, newController(t, wanted(42, 1), p), beat)
	publish(t, c.conn, bus.DEAHello, bus.Hello{ID: "dea-2"})
	c.settled(999, 1)
	c.heartbeat("dea-2", runs(42, "a", 0))
	c.settled(42, 1)
	c.silence()
}

func TestNobodyIsWaitedForForEver(t *testing.T) {
	b := testkit.Bus(t)
	conn := testkit.Conn(t, b)
	requests := testkit.Collect(t, conn, bus.HMRequests)
	newController(t, wanted(42, 1)).serve(conn)
	testkit.Run(t, New(fast(func(c *Config) { c.DropletLost = 50 * time.Millisecond }), b, testkit.Log(t)))
	if r := testkit.Next(t, requests); r.Op != bus.OpStart || r.Droplet != "42" {
		t.Errorf("asks for %+v", r)
	}
}

func TestLostDEA(t *testing.T) {
	cfg := fast(func(c *Config) { c.DropletLost = 2 * time.Second; c.DropletsAnalysis = 50 * time.Millisecond })
	c := start(t, cfg, nil)
	c.heartbeat("dea-2", runs(42, "b", 1), runs(42, "c", 2)) // once, and no more
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for {
			c.heartbeat("dea-1", runs(42, "a", 0))
			select {
			case <-time.After(20 * time.Millisecond):
			case <-stop:
				return
			}
		}
	}()
	newController(t, wanted(42, 3)).serve(c.conn)
	c.expect(starts(42, 1, 2))
}

func TestScale(t *testing.T) {
	cfg := fast(func(c *Config) { c.StableState = time.Second }) // a change counts as soon as its second is over
	p, beat := probe()
	ctl := newController(t, wanted(42, 1), p)
	c := start(t, cfg, ctl, runs(42, "a", 0), beat)
	c.settled(42, 1)
	ctl.set(func(apps map[int]bulkApp) {
		apps[42] = wanted(42, 3, func(a *bulkApp) { a.UpdatedAt = time.Now().UTC() })
	})
	publish(t, c.conn, bus.DropletUpdated, bus.Updated{Droplet: 42})
	c.expect(starts(42, 1, 2)) // the controller of this test starts nothing by itself
	c.has(runs(42, "a", 0), runs(42, "b", 1), runs(42, "c", 2), beat)
	c.settled(42, 3)
	ctl.set(func(apps map[int]bulkApp) {
		apps[42] = wanted(42, 1, func(a *bulkApp) { a.UpdatedAt = time.Now().UTC() })
	})
	publish(t, c.conn, bus.DropletUpdated, bus.Updated{Droplet: 42})
	c.expect(stops(42, "b", "c"))
}

func TestChangedMeanwhile(t *testing.T) {
	p, beat := probe()
	ctl := newController(t, wanted(42, 1), p)
	c := start(t, fast(), ctl, runs(42, "a", 0), beat)
	c.settled(42, 1)
	ctl.set(func(apps map[int]bulkApp) { // and the word of it got lost
		apps[42] = wanted(42, 1, func(a *bulkApp) { a.State = "STOPPED"; a.UpdatedAt = time.Now().UTC() })
	})
	c.exits(crashes(42, "a", 0, 60))
	c.silence()
}

func TestFlapping(t *testing.T) {
	cfg := fast(func(c *Config) { c.GiveupCrashNumber = 3 })
	p, beat := probe()
	c := start(t, cfg, newController(t, wanted(42, 1), p), runs(42, "0", 0), beat)
	c.settled(42, 1)
	for n := range 3 {
		c.exits(crashes(42, fmt.Sprint(n), 0, 1))
		want := starts(42, 0)
		want.Flapping = n > 0
		c.expect(want)
	}
	c.exits(crashes(42, "last", 0, 1))
	testkit.Eventually(t, func() error {
		list, err := bus.HealthStatus.Ask(t.Context(), c.conn, bus.StatusOf{Droplet: 42, Version: "v-1", State: bus.Flapping})
		if err != nil {
			return err
		}
		if list.Indices == nil || len(*list.Indices) != 1 || (*list.Indices)[0].Index != 0 {
			return errors.New("index 0 is not flapping")
		}
		return nil
	})
	c.silence() // it was given up
}

func TestDuplicateIsStoppedAtOnce(t *testing.T) {
	c := start(t, fast(), newController(t, wanted(42, 1)), runs(42, "a", 0))
	c.settled(42, 1)
	c.heartbeat("dea-2", runs(42, "b", 0))
	c.expect(stops(42, "b"))
}

func TestUnknownApp(t *testing.T) {
	cfg := fast(func(c *Config) { c.UnknownApp = 50 * time.Millisecond })
	c := start(t, cfg, newController(t, wanted(42, 1)), runs(42, "a", 0), runs(77, "ghost", 0))
	got := testkit.Next(t, c.requests)
	if want := stops(77, "ghost"); !cmp.Equal(got, want) {
		t.Errorf("got %+v, want %+v with last_updated 0", got, want)
	}
}

func TestDeletedAppIsForgotten(t *testing.T) {
	cfg := fast(func(c *Config) { c.DatabaseScan = 20 * time.Millisecond })
	p, beat := probe()
	ctl := newController(t, wanted(42, 1), p)
	c := start(t, cfg, ctl, runs(42, "a", 0), beat)
	c.settled(42, 1)
	ctl.set(func(apps map[int]bulkApp) { delete(apps, 42) })
	testkit.Eventually(t, func() error {
		if got := c.health(42, 999); len(got) != 1 || got[0].Droplet != "999" {
			return fmt.Errorf("health of %+v is known", got)
		}
		return nil
	})
}

func TestNonsenseIsSurvived(t *testing.T) {
	p, beat := probe()
	c := start(t, fast(), newController(t, wanted(42, 1), p), runs(42, "a", 0), beat)
	c.settled(42, 1)
	odd := runs(42, "odd", 70_000)
	foreign := runs(42, "foreign", 0)
	foreign.Partition = "elsewhere"
	guid := runs(42, "guid", 0)
	guid.Droplet = "a1b2-c3"
	c.heartbeat("dea-1", odd, foreign, guid, bus.Beat{Droplet: "42", State: "SLEEPING", Instance: "x"})
	c.exits(crashes(42, "odd", -1, 0))
	publish(t, c.conn, bus.Subject[string]("dea.heartbeat"), "no object")
	publish(t, c.conn, bus.Subject[map[string]int]("droplet.exited"), map[string]int{"droplet": 42})
	c.silence()
}
