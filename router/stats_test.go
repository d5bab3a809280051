package router

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudlet/bus"
	"cloudlet/internal/component"
	"cloudlet/internal/testkit"
)

// numbers are the router's varz after a way over JSON.
func (c *cloud) numbers() (v varz) {
	c.t.Helper()
	data, err := json.Marshal(c.router.varz())
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// Requests count for the router, and for each known tag of whoever answered.
func TestVarzByTag(t *testing.T) {
	c := start(t, Config{})
	node := routeTo(t, c.backend(says("hello")).URL, "node.example")
	node.Tags = map[string]string{"framework": "node", "runtime": "node20", "flavour": "sweet", "component": ""}
	c.register(node)
	api := routeTo(t, c.backend(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) }).URL, "api.example")
	api.App, api.Tags = "", map[string]string{"component": "CloudController"}
	c.register(api)
	for range 3 {
		c.expect("node.example", 200)
	}
	c.expect("api.example", 302)
	c.expect("nowhere.example", 404)

	three := load{Requests: 3, Responses2xx: 3, Latency: component.Sum{Samples: 3}}
	want := varz{
		Stats:   Stats{Requests: 5, BadRequests: 1, Responses2xx: 3, Responses3xx: 1, Responses4xx: 1, URLs: 2, Droplets: 2},
		Latency: component.Sum{Samples: 5},
		Tags: map[string]map[string]load{
			"component": {"CloudController": {Requests: 1, Responses3xx: 1, Latency: component.Sum{Samples: 1}}},
			"framework": {"node": three},
			"runtime":   {"node20": three},
		},
	}
	ignored := cmp.Options{cmpopts.IgnoreFields(component.Sum{}, "Value"), cmpopts.IgnoreFields(varz{}, "PerSecond")}
	testkit.Eventually(t, func() error {
		if d := cmp.Diff(want, c.numbers(), ignored); d != "" {
			return fmt.Errorf("want (-), got (+):\n%s", d)
		}
		return nil
	})
}

func TestMeter(t *testing.T) {
	now := time.Unix(1351934045, 0)
	var m meter
	for _, status := range []int{0, 101, 200, 204, 302, 404, 503, 999} {
		m.count(status, now, 20*time.Millisecond)
	}
	want := load{Requests: 8, Responses2xx: 2, Responses3xx: 1, Responses4xx: 1, Responses5xx: 1, ResponsesXxx: 3, Latency: component.Sum{Value: 100, Samples: 5}}
	if got := m.load(now); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// Whatever is registered, the meters stay few.
func TestMetersAreBounded(t *testing.T) {
	var tags tagged
	for i := range 2 * maxTagged {
		tags.of(map[string]string{"framework": fmt.Sprint(i)})
	}
	if n := len(tags.loads(time.Now())["framework"]); n != maxTagged {
		t.Errorf("%d meters, want %d", n, maxTagged)
	}
}

// The apps that had requests are told, once each, where the router is told to.
func TestActiveApps(t *testing.T) {
	c := start(t, Config{ActiveApps: 20 * time.Millisecond})
	lists := testkit.Collect(t, c.dea, bus.RouterActiveApps)
	if got := testkit.Next(t, lists); len(got) != 0 {
		t.Errorf("active without a request: %v", got)
	}
	c.serve("a.example", says("a"))
	other := routeTo(t, c.backend(says("b")).URL, "b.example")
	other.App = "57"
	c.register(other)
	api := routeTo(t, c.backend(says("api")).URL, "api.example")
	api.App = ""
	c.register(api)
	for _, host := range []string{"a.example", "b.example", "a.example", "api.example", "nowhere.example"} {
		c.get(host)
	}
	var seen bus.ActiveApps
	for len(seen) < 2 {
		seen = append(seen, testkit.Next(t, lists)...)
		slices.Sort(seen)
		seen = slices.Compact(seen) // a.example was asked for twice, and may be in two lists
	}
	if !slices.Equal(seen, bus.ActiveApps{"42", "57"}) {
		t.Errorf("active: %v", seen)
	}
	testkit.Eventually(t, func() error { return testkit.Equal(len(testkit.Next(t, lists)), 0) })
}

// By default nobody keeps, or tells, who is active.
func TestActiveAppsAreOffByDefault(t *testing.T) {
	c := start(t, Config{})
	c.serve("a.example", says("a"))
	c.expect("a.example", 200)
	testkit.Eventually(t, func() error { return testkit.Equal(c.router.Stats().Responses2xx, 1) })
	if got := c.router.active.take(); len(got) != 0 {
		t.Errorf("kept %v", got)
	}
}
