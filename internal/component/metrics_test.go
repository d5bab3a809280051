package component

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
)

func reading(t testing.TB, kind, varz string) Reading {
	t.Helper()
	r := Reading{Component: bus.Component{Type: kind, Index: new(int)}}
	d := json.NewDecoder(strings.NewReader(varz))
	d.UseNumber()
	if err := d.Decode(&r.Varz); err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t testing.TB, readings ...Reading) string {
	t.Helper()
	var b strings.Builder
	if err := WriteMetrics(&b, readings); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteMetrics(t *testing.T) {
	t.Parallel()
	router := reading(t, "Router", `{"type":"Router","index":0,"requests":12,"pending_requests":1,"cpu":0.5,"latency":{"value":40,"samples":12},
		"credentials":["a","b"],"host":"127.0.0.1:1","tags":{"component":{"CloudController":{"requests":3,"latency":{"samples":1}}},"framework":{"a\"b\\c\nd":{"responses_2xx":4}},
		"bad-tag":{"x":{"requests":1}},"type":{"x":{"requests":1}},"runtime":7}}`)
	hm := reading(t, "HealthManager", `{"cpu":0.25,"heartbeat_msgs_received":7,"running_instances":-1,"apps":[{"instances":3}],
		"total":{"frameworks":{"node":{"apps":2}},"runtimes":{"node":{"apps":2}}},"odd-key":1e3,"state":null,"on":true,"huge":1e999}`)
	lost := Reading{Component: bus.Component{Type: "DEA"}}
	const want = `# TYPE cloudlet_cpu gauge
cloudlet_cpu{type="HealthManager",index="0"} 0.25
cloudlet_cpu{type="Router",index="0"} 0.5
# TYPE cloudlet_heartbeat_msgs_received counter
cloudlet_heartbeat_msgs_received{type="HealthManager",index="0"} 7
# TYPE cloudlet_latency_samples gauge
cloudlet_latency_samples{type="Router",index="0"} 12
# TYPE cloudlet_latency_value gauge
cloudlet_latency_value{type="Router",index="0"} 40
# TYPE cloudlet_odd_key gauge
cloudlet_odd_key{type="HealthManager",index="0"} 1e3
# TYPE cloudlet_pending_requests gauge
cloudlet_pending_requests{type="Router",index="0"} 1
# TYPE cloudlet_requests counter
cloudlet_requests{type="Router",index="0"} 12
# TYPE cloudlet_running_instances gauge
cloudlet_running_instances{type="HealthManager",index="0"} -1
# TYPE cloudlet_tags_latency_samples gauge
cloudlet_tags_latency_samples{type="Router",index="0",component="CloudController"} 1
# TYPE cloudlet_tags_requests counter
cloudlet_tags_requests{type="Router",index="0",component="CloudController"} 3
# TYPE cloudlet_tags_responses_2xx counter
cloudlet_tags_responses_2xx{type="Router",index="0",framework="a\"b\\c\nd"} 4
# TYPE cloudlet_total_frameworks_apps gauge
cloudlet_total_frameworks_apps{type="HealthManager",index="0",framework="node"} 2
# TYPE cloudlet_total_runtimes_apps gauge
cloudlet_total_runtimes_apps{type="HealthManager",index="0",runtime="node"} 2
# TYPE cloudlet_up gauge
cloudlet_up{type="DEA"} 0
cloudlet_up{type="HealthManager",index="0"} 1
cloudlet_up{type="Router",index="0"} 1
`
	if d := cmp.Diff(want, text(t, router, hm, lost)); d != "" {
		t.Error(d)
	}
}

// sample is a line of the format: no series may be on a page twice.
var sample = regexp.MustCompile(`^(cloudlet_[a-zA-Z0-9_]*\{type="(?:[^"\\]|\\.)*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*")*\}) (-?[0-9.eE+-]+)$`)

func checkPage(t testing.TB, page string) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "# TYPE ") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil || seen[m[1]] {
			t.Errorf("bad or repeated line: %q", line)
			continue
		}
		seen[m[1]] = true
	}
}

// Whatever a component tells, the page stays one that can be scraped.
func FuzzMetrics(f *testing.F) {
	f.Add("DEA", `{"a":1,"a-":2,"a_":3,"frameworks":{"x":{"frameworks":{"y":{"z":1}}}},"tags":{"framework":{"x":{"runtimes":{"y":{"z":1}}}}}}`)
	f.Add("a\"\n", `{"tags":{"tags":{"type":{"x":{"y":1}}}},"up":3}`)
	f.Fuzz(func(t *testing.T, kind, varz string) {
		r := Reading{Component: bus.Component{Type: strings.ToValidUTF8(kind, "?")}}
		d := json.NewDecoder(strings.NewReader(varz))
		d.UseNumber()
		if d.Decode(&r.Varz) != nil {
			return
		}
		checkPage(t, text(t, r, r))
	})
}

func TestGather(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	launch(t, b, Spec{Type: "Router", Numbers: numbers(map[string]int{"requests": 3})})
	launch(t, b, Spec{Type: "DEA", Numbers: numbers(map[string]int{"num_apps": 4})})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := r.BasicAuth(); user != "good" {
			http.Redirect(w, r, "http://good:x@"+r.Host+"/varz", http.StatusFound)
			return
		}
		w.Write([]byte(`{"sane":1}`)) //nolint:errcheck // the test would miss it
	}))
	t.Cleanup(elsewhere.Close)
	host := strings.TrimPrefix(elsewhere.URL, "http://")
	testkit.Handle(t, testkit.Conn(t, b), bus.ComponentDiscover.Answer(func(_ bus.Empty, reply func(bus.Component)) {
		reply(bus.Component{Type: "good", UUID: "1", Host: host, Credentials: []string{"good", ""}})
		reply(bus.Component{Type: "redirects", UUID: "2", Host: host, Credentials: []string{"bad", ""}})
		reply(bus.Component{Type: "secret", UUID: "3", Host: host})
		reply(bus.Component{Type: "nowhere", UUID: "4", Host: "\x00", Credentials: []string{"a", "b"}})
		reply(bus.Component{Type: "refuses", UUID: "5", Host: "127.0.0.1:1", Credentials: []string{"a", "b"}})
	}))
	conn := testkit.Conn(t, b)
	testkit.Eventually(t, func() error {
		page := text(t, Gather(t.Context(), conn, 200*time.Millisecond)...)
		checkPage(t, page)
		got := map[string]bool{}
		for line := range strings.Lines(page) {
			got[strings.TrimSpace(line)] = true
		}
		for _, want := range []string{
			`cloudlet_requests{type="Router",index="0"} 3`, `cloudlet_num_apps{type="DEA",index="0"} 4`, `cloudlet_sane{type="good"} 1`,
			`cloudlet_up{type="Router",index="0"} 1`, `cloudlet_up{type="good"} 1`, `cloudlet_up{type="redirects"} 0`,
			`cloudlet_up{type="secret"} 0`, `cloudlet_up{type="nowhere"} 0`, `cloudlet_up{type="refuses"} 0`,
		} {
			if err := testkit.Equal(got[want], true); err != nil {
				t.Logf("%q is missing in\n%s", want, page)
				return err
			}
		}
		return nil
	})
}
