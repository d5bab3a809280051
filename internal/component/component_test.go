package component

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// launch starts a component until the test ends, and gives what it announced.
func launch(t *testing.T, b *bus.Bus, spec Spec) bus.Component {
	t.Helper()
	announced := testkit.Collect(t, testkit.Conn(t, b), bus.ComponentAnnounce)
	c, err := Start(testkit.Conn(t, b), spec, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return testkit.Next(t, announced)
}

func numbers(v any) func() any { return func() any { return v } }

// fetch asks the component's status server with these credentials.
func fetch(t *testing.T, c bus.Component, method, path, user, password string) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func get(t *testing.T, c bus.Component, path string) (*http.Response, string) {
	t.Helper()
	return fetch(t, c, http.MethodGet, path, c.Credentials[0], c.Credentials[1])
}

func varz(t *testing.T, c bus.Component) map[string]any {
	t.Helper()
	res, body := get(t, c, "/varz")
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %q: %v", res.Status, body, err)
	}
	return v
}

func TestAnnounceAndDiscover(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	c := launch(t, b, Spec{Type: "DEA", Numbers: numbers(nil)})
	if !regexp.MustCompile(`^0-[0-9a-f]{32}$`).MatchString(c.UUID) || c.Type != "DEA" || c.Index == nil || *c.Index != 0 || c.Uptime != "" {
		t.Errorf("announced %+v", c)
	}
	for _, secret := range c.Credentials {
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(secret) {
			t.Errorf("credentials %q", c.Credentials)
		}
	}
	if _, err := time.Parse(bus.TimeFormat, c.Start); err != nil {
		t.Error(err)
	}
	found, err := bus.ComponentDiscover.Ask(t.Context(), testkit.Conn(t, b), bus.Empty{})
	if err != nil || !regexp.MustCompile(`^0d:0h:\d+m:\d+s$`).MatchString(found.Uptime) {
		t.Errorf("%+v, %v", found, err)
	}
	found.Uptime = ""
	if d := cmp.Diff(c, found); d != "" {
		t.Errorf("discovered is not what was announced: %s", d)
	}
}

func TestUptime(t *testing.T) {
	t.Parallel()
	start := time.Unix(1351934045, 0)
	c := &Component{since: start}
	for after, want := range map[time.Duration]string{
		0:                      "0d:0h:0m:0s",
		192 * time.Second:      "0d:0h:3m:12s",
		76*time.Hour + 17*1e9:  "3d:4h:0m:17s",
		86399*1e9 + 999_999_99: "0d:23h:59m:59s",
	} {
		if got := c.now(start.Add(after)).Uptime; got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
}

func TestGivenUUIDIsKept(t *testing.T) {
	t.Parallel()
	id := NewUUID()
	if c := launch(t, testkit.Bus(t), Spec{Type: "DEA", UUID: id, Numbers: numbers(nil)}); c.UUID != id {
		t.Errorf("%s, want %s", c.UUID, id)
	}
}

func TestEverythingWantsThePassword(t *testing.T) {
	t.Parallel()
	c := launch(t, testkit.Bus(t), Spec{Type: "Router", Numbers: numbers(nil)})
	user, password := c.Credentials[0], c.Credentials[1]
	for _, path := range []string{"/healthz", "/varz", "/", "/nowhere", "//varz"} {
		for _, login := range [][2]string{{"", ""}, {user, ""}, {user, "x"}, {"x", password}, {password, user}, {user + ":" + password, ""}} {
			res, body := fetch(t, c, http.MethodGet, path, login[0], login[1])
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" || strings.Contains(body, password) {
				t.Errorf("%s with %q: %s %q", path, login, res.Status, body)
			}
		}
	}
	for request, want := range map[string]int{"GET /nowhere": 404, "POST /varz": 405, "HEAD /varz": 200, "HEAD /healthz": 200} {
		method, path, _ := strings.Cut(request, " ")
		if res, _ := fetch(t, c, method, path, user, password); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", request, res.Status, want)
		}
	}
}

func TestHealthz(t *testing.T) {
	t.Parallel()
	c := launch(t, testkit.Bus(t), Spec{Type: "Router", Numbers: numbers(nil)})
	res, body := get(t, c, "/healthz")
	if body != "ok\n" || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" || res.ContentLength != 3 {
		t.Errorf("%s %v %q", res.Status, res.Header, body)
	}
}

func TestVarz(t *testing.T) {
	t.Parallel()
	c := launch(t, testkit.Bus(t), Spec{Type: "Router", Numbers: numbers(map[string]any{
		"requests": 3, "tags": map[string]any{}, "type": "an impostor",
	})})
	res, body := get(t, c, "/varz")
	if res.Header.Get("Content-Type") != "application/json" || res.ContentLength != int64(len(body)) {
		t.Errorf("%v", res.Header)
	}
	if !strings.HasPrefix(body, "{\n  \"") || !strings.HasSuffix(body, "\n}\n") || !strings.Contains(body, "\"credentials\": [\n") {
		t.Errorf("not pretty: %q", body)
	}
	v := varz(t, c)
	for key, want := range map[string]any{
		"type": "Router", "index": 0.0, "uuid": c.UUID, "host": c.Host, "start": c.Start, "requests": 3.0,
		"credentials": []any{c.Credentials[0], c.Credentials[1]}, "tags": map[string]any{},
	} {
		if d := cmp.Diff(want, v[key]); d != "" {
			t.Errorf("%s: %s", key, d)
		}
	}
	mem, cores := v["mem"].(float64), v["num_cores"].(float64)
	if mem < 1024 || v["mem_bytes"].(float64) < mem*1024 || cores < 1 || v["cpu"].(float64) < 0 {
		t.Errorf("mem %v, mem_bytes %v, num_cores %v, cpu %v", mem, v["mem_bytes"], cores, v["cpu"])
	}
}

// However often it is read, the numbers are asked for once a second.
func TestVarzIsKeptForASecond(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	began := time.Now()
	c := launch(t, testkit.Bus(t), Spec{Type: "Router", Numbers: func() any {
		asked.Add(1)
		return nil
	}})
	for range 50 {
		varz(t, c)
	}
	if n, seconds := asked.Load(), int64(time.Since(began)/time.Second)+1; n < 1 || n > seconds {
		t.Errorf("asked %d times within %d s", n, seconds)
	}
}

// Numbers that belong to a loop are read, and encoded, by that loop.
func TestNumbersOfALoop(t *testing.T) {
	t.Parallel()
	loop := make(chan func())
	state := map[string]int{"turns": 0}
	c := launch(t, testkit.Bus(t), Spec{Type: "HealthManager", Numbers: numbers(state), Loop: loop})
	done := make(chan struct{})
	var stop atomic.Bool
	go func() {
		defer close(done)
		for !stop.Load() {
			state["turns"]++ // the race detector looks on
			select {
			case f := <-loop:
				f()
			default:
			}
		}
	}()
	for range 3 {
		if v := varz(t, c); v["turns"].(float64) < 1 {
			t.Errorf("%v", v["turns"])
		}
	}
	stop.Store(true)
	<-done
}

// A loop that does not answer keeps readers waiting no longer than they wish, and
// healthz not at all.
func TestLoopThatIsStuck(t *testing.T) {
	t.Parallel()
	c := &Component{spec: Spec{Loop: make(chan func()), Numbers: numbers(nil)}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if body, err := c.refresh(ctx); err == nil {
		t.Errorf("varz %q", body)
	}
	taken := make(chan func(), 1) // taken, and never run
	c.spec.Loop = taken
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-taken
		cancel()
	}()
	if body, err := c.refresh(ctx); err == nil {
		t.Errorf("varz %q", body)
	}
	stuck := launch(t, testkit.Bus(t), Spec{Type: "DEA", Numbers: numbers(nil), Loop: make(chan func())})
	if _, body := get(t, stuck, "/healthz"); body != "ok\n" {
		t.Errorf("healthz %q", body)
	}
}

// Closing ends also a reader that waits for the loop.
func TestCloseWithAReader(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	announced := testkit.Collect(t, testkit.Conn(t, b), bus.ComponentAnnounce)
	loop := make(chan func(), 1)
	c, err := Start(testkit.Conn(t, b), Spec{Type: "DEA", Numbers: numbers(nil), Loop: loop}, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	self := testkit.Next(t, announced)
	status := make(chan int, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodGet, "http://"+self.Host+"/varz", nil) //nolint:errcheck // it is one
		req.SetBasicAuth(self.Credentials[0], self.Credentials[1])
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Do(req)
		if err != nil {
			status <- 0 // the connection was cut
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}()
	testkit.Next(t, loop)
	c.Close()
	if got := testkit.Next(t, status); got == http.StatusOK {
		t.Error("a varz without the loop's numbers")
	}
}

func TestNumbersThatAreNoObject(t *testing.T) {
	t.Parallel()
	for _, v := range []any{3, []int{1}, func() {}} {
		c := launch(t, testkit.Bus(t), Spec{Type: "DEA", Numbers: numbers(v)})
		if res, body := get(t, c, "/varz"); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%T: %s %q", v, res.Status, body)
		}
	}
}
