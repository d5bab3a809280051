package component_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/dea"
	"cloudlet/healthmgr"
	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/router"
	"cloudlet/stager"
	"cloudlet/store"
	"cloudlet/uaa"
	"cloudlet/warden"
)

// cloud runs all components on one bus.
func cloud(t *testing.T, b *bus.Bus) {
	t.Helper()
	dir, log := t.TempDir(), testkit.Log(t)
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	id, err := identity.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	pool := warden.New(warden.Config{Dir: filepath.Join(dir, "containers")}, log)
	if err := pool.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	testkit.Run(t, uaa.New(uaa.Config{Domain: "localhost"}, b, st, id, log))
	testkit.Run(t, stager.New(stager.Config{Dir: filepath.Join(dir, "staging")}, b, pool, log))
	testkit.Run(t, dea.New(dea.Config{Dir: filepath.Join(dir, "dea"), MaxMemory: 512}, b, pool, log))
	testkit.Run(t, healthmgr.New(healthmgr.Config{}, b, log))
	testkit.Run(t, controller.New(controller.Config{Domain: "localhost"}, b, st, id, log))
	testkit.Run(t, router.New(router.Config{Addr: "127.0.0.1:0"}, b, log))
}

// Every component announces itself, can be discovered, is healthy, and has the varz that
// v1's tools read. UPDATE=1 rewrites the golden file.
func TestComponents(t *testing.T) {
	b := testkit.Bus(t)
	conn := testkit.Conn(t, b)
	announced := testkit.Collect(t, conn, bus.ComponentAnnounce)
	deas := testkit.Collect(t, conn, bus.DEAHello)
	cloud(t, b)

	byType := map[string]bus.Component{}
	for range 6 {
		c := testkit.Next(t, announced)
		byType[c.Type] = c
	}
	types := slices.Sorted(maps.Keys(byType))
	if d := cmp.Diff([]string{"CloudController", "DEA", "HealthManager", "Router", "Stager", "uaa"}, types); d != "" {
		t.Fatal(d)
	}
	if hello := testkit.Next(t, deas); hello.ID != byType["DEA"].UUID {
		t.Errorf("the DEA is %s, its component %s", hello.ID, byType["DEA"].UUID)
	}
	testkit.Eventually(t, func() error { return discovered(t, conn, byType) })
	var keys strings.Builder
	for _, kind := range types {
		c := byType[kind]
		if body, status := ask(t, c, "/healthz", c.Credentials[1]); status != http.StatusOK || body != "ok\n" {
			t.Errorf("healthz of %s: %d %q", kind, status, body)
		}
		if _, status := ask(t, c, "/varz", "guess"); status != http.StatusUnauthorized {
			t.Errorf("varz of %s with a wrong password: %d", kind, status)
		}
		body, _ := ask(t, c, "/varz", c.Credentials[1])
		fmt.Fprintf(&keys, "%s: %s\n", kind, strings.Join(keysOf(t, body), " "))
	}
	golden(t, keys.String())
}

func discovered(t *testing.T, conn *bus.Conn, want map[string]bus.Component) error {
	got := map[string]bus.Component{}
	for _, c := range bus.ComponentDiscover.Gather(t.Context(), conn, bus.Empty{}, len(want), 10*time.Second) {
		if c.Uptime == "" {
			return fmt.Errorf("%s tells no uptime", c.Type)
		}
		c.Uptime = ""
		got[c.Type] = c
	}
	if d := cmp.Diff(want, got); d != "" {
		return fmt.Errorf("discovered and announced differ: %s", d)
	}
	return nil
}

func ask(t *testing.T, c bus.Component, path, password string) (body string, status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(c.Credentials[0], password)
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), res.StatusCode
}

// keysOf are the keys of a varz, those inside objects as a.b, but for what only some
// systems tell.
func keysOf(t *testing.T, body string) (keys []string) {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	for _, k := range []string{"mem_used_bytes", "mem_free_bytes", "cpu_load_avg"} {
		if _, told := v[k]; !told && runtime.GOOS == "linux" {
			t.Errorf("%s is missing", k)
		}
		delete(v, k)
	}
	for k, inner := range v {
		keys = append(keys, k)
		if object, ok := inner.(map[string]any); ok {
			for k2 := range object {
				keys = append(keys, k+"."+k2)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

func golden(t *testing.T, got string) {
	t.Helper()
	const path = "testdata/varz.golden"
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: want (-), got (+):\n%s", path, d)
	}
}
