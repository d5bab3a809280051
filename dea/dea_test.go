package dea_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/dea"
	"cloudlet/internal/testkit"
	"cloudlet/warden"
)

// rig is a DEA with a real bus and real containers, and a server of droplets in the
// controller's place.
type rig struct {
	t        *testing.T
	bus      *bus.Bus
	conn     *bus.Conn
	pool     *warden.Pool
	droplets map[string][]byte
	server   *httptest.Server
	id       string

	beats        <-chan bus.Heartbeat
	exits        <-chan bus.Exited
	registered   <-chan bus.Route
	unregistered <-chan bus.Route
}

func newRig(t *testing.T, cfg dea.Config) *rig { return newRigAt(t, "", cfg) }

// newRigAt has containers at a level that is not the highest.
func newRigAt(t *testing.T, level warden.Level, cfg dea.Config) *rig {
	t.Helper()
	needsPython(t)
	r := &rig{t: t, bus: testkit.Bus(t), droplets: map[string][]byte{}}
	r.conn = testkit.Conn(t, r.bus)
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		data, ok := r.droplets[filepath.Base(q.URL.Path)]
		if !ok {
			http.NotFound(w, q)
			return
		}
		w.Write(data) //nolint:errcheck // the DEA went away
	}))
	t.Cleanup(r.server.Close)
	r.beats = testkit.Collect(t, r.conn, bus.DEAHeartbeat)
	r.exits = testkit.Collect(t, r.conn, bus.DropletExited)
	r.registered = testkit.Collect(t, r.conn, bus.RouterRegister)
	r.unregistered = testkit.Collect(t, r.conn, bus.RouterUnregister)
	hello := testkit.Collect(t, r.conn, bus.DEAHello)

	dir := t.TempDir()
	r.pool = warden.New(warden.Config{Dir: filepath.Join(dir, "containers"), DiskEvery: time.Millisecond, Level: level}, testkit.Log(t))
	if err := r.pool.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := r.pool.List(); len(left) > 0 {
			t.Errorf("%d containers are left", len(left))
		}
		if err := r.pool.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Dir = filepath.Join(dir, "dea")
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = 1024
	}
	cfg.Runtimes = []dea.Runtime{{Name: "python", Executable: python}}
	testkit.Run(t, dea.New(cfg, r.bus, r.pool, testkit.Log(t)))
	r.id = testkit.Next(t, hello).ID
	testkit.Next(t, r.beats) // the first one, empty
	return r
}

// python is the app of these tests.
const python = "/usr/bin/python3"

func needsPython(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(python); err != nil {
		t.Skip("python3 is the app of these tests; install it to run them")
	}
}

// droplet makes one whose startup is the given lines of bash.
func (r *rig) droplet(startup string, files ...string) string {
	r.t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	add := func(h tar.Header, body string) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			r.t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, dir := range []string{"./app/", "./logs/", "./tmp/"} {
		add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, "")
	}
	add(tar.Header{Name: "./startup", Typeflag: tar.TypeReg, Mode: 0o500}, "#!/bin/bash\n"+startup)
	for i := 0; i < len(files); i += 2 {
		add(tar.Header{Name: "./app/" + files[i], Typeflag: tar.TypeReg, Mode: 0o644}, files[i+1])
	}
	add(tar.Header{Name: "./app/leads-out", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, "")
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		r.t.Fatal(err)
	}
	sum := sha1.Sum(buf.Bytes())
	name := hex.EncodeToString(sum[:])
	r.droplets[name] = buf.Bytes()
	return name
}

// serving is a startup that answers on the port.
const serving = `cd app; exec %VCAP_LOCAL_RUNTIME% -m http.server $VCAP_APP_PORT --bind $VCAP_APP_HOST`

func (r *rig) message(sum string) bus.StartApp {
	return bus.StartApp{
		Droplet: 42, Name: "hello", URIs: []string{"hello.example"}, Runtime: "python", Framework: "standalone",
		SHA1: sum, ExecutableURI: r.server.URL + "/staged_droplets/42/" + sum, Version: sum + "-1",
		Limits: bus.Limits{Mem: 256, Disk: 64, FDs: 256}, Users: []string{"me@example.com"}, Partition: "default",
	}
}

func (r *rig) start(m bus.StartApp) {
	r.t.Helper()
	if err := bus.DEAStart(r.id).Publish(r.conn, m); err != nil {
		r.t.Fatal(err)
	}
}

// running starts an instance and returns it once it is routed.
func (r *rig) running(m bus.StartApp) bus.Beat {
	r.t.Helper()
	r.start(m)
	route := testkit.Next(r.t, r.registered)
	for {
		h := testkit.Next(r.t, r.beats)
		for _, b := range h.Droplets {
			if b.State == bus.Running && b.Index == m.Index {
				if route.Port == 0 {
					r.t.Fatal("registered without a port")
				}
				return b
			}
		}
	}
}

func (r *rig) find(q bus.FindDroplet, want int) []bus.FoundDroplet {
	r.t.Helper()
	q.Droplet = 42
	var found []bus.FoundDroplet
	testkit.Eventually(r.t, func() error {
		found = bus.DEAFindDroplet.Gather(r.t.Context(), r.conn, q, max(want, 1), 200*time.Millisecond)
		return testkit.Equal(len(found), want)
	})
	return found
}

// file reads a file of an instance through the viewer.
func (r *rig) file(f bus.FoundDroplet, path string, header ...string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, f.FileURI+f.Staged+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth(f.Credentials[0], f.Credentials[1])
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestInstanceLivesAndStops(t *testing.T) {
	r := newRig(t, dea.Config{})
	m := r.message(r.droplet(serving, "index.html", "hello there"))
	r.start(m)

	beat := testkit.Next(t, r.beats) // comes before the route, as in v1
	if len(beat.Droplets) != 1 || beat.Droplets[0].State != bus.Running || beat.Droplets[0].Droplet != "42" {
		t.Fatalf("the first heartbeat is %+v", beat)
	}
	route := testkit.Next(t, r.registered)
	want := map[string]string{"framework": "standalone", "runtime": "python"}
	if route.App != "42" || route.DEA != r.id || !slices.Equal(route.URIs, m.URIs) || fmt.Sprint(route.Tags) != fmt.Sprint(want) || len(route.PrivateInstanceID) != 64 {
		t.Errorf("the route is %+v", route)
	}
	resp, err := http.Get(fmt.Sprintf("http://%s:%d/index.html", route.Host, route.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "hello there" { //nolint:errcheck // then it is empty
		t.Errorf("the app answers %q", body)
	}

	f := r.find(bus.FindDroplet{Version: m.Version, Indices: []int{0}, IncludeStats: true}, 1)[0]
	if f.Stats == nil || f.Stats.MemQuota != 256<<20 || f.Stats.Port == nil || *f.Stats.Port != route.Port || f.Stats.FDsQuota != 256 {
		t.Errorf("the stats are %+v", f.Stats)
	}
	r.find(bus.FindDroplet{Version: "another-1"}, 0)
	r.find(bus.FindDroplet{InstanceIDs: []string{f.Instance}}, 1)

	if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42, Version: "another-1"}); err != nil {
		t.Fatal(err)
	}
	if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42, Indices: []int{0}}); err != nil {
		t.Fatal(err)
	}
	if gone := testkit.Next(t, r.unregistered); gone.Port != route.Port {
		t.Errorf("unregistered %+v", gone)
	}
	exit := testkit.Next(t, r.exits)
	if exit.Reason != bus.ReasonStopped || exit.Instance != f.Instance || exit.CrashTimestamp != 0 {
		t.Errorf("exited %+v", exit)
	}
	r.find(bus.FindDroplet{}, 0)
	testkit.Eventually(t, func() error { return testkit.Equal(len(r.pool.List()), 0) })
}

func TestFilesOfAnInstance(t *testing.T) {
	r := newRig(t, dea.Config{})
	script := `mkfifo app/pipe; ln -s . app/self; echo hi > app/.hidden; touch app/empty; ` + serving
	r.running(r.message(r.droplet(script, "index.html", "0123456789")))
	f := r.find(bus.FindDroplet{}, 1)[0]
	for _, c := range []struct {
		path   string
		header []string
		status int
		body   string
	}{
		{"/", nil, 200, fmt.Sprintf("%-35s %10s\n%-35s %10s", "app/", "-", "logs/", "-")},
		{"", nil, 200, fmt.Sprintf("%-35s %10s\n%-35s %10s", "app/", "-", "logs/", "-")},
		{"/app/index.html", nil, 200, "0123456789"},
		{"//app//index.html", nil, 200, "0123456789"},
		{"/app/self/self/index.html", nil, 200, "0123456789"},
		{"/app/empty", nil, 200, ""},
		{"/app/index.html", []string{"Range", "bytes=2-4"}, 206, "234"},
		{"/app/index.html", []string{"Range", "bytes=-3"}, 206, "789"},
		{"/app/nothing", nil, 404, "Entity not found.\n"},
		{"/app/index.html/below", nil, 404, "Entity not found.\n"},
		{"/startup", nil, 403, "Not accessible\n"},
		{"/app/../startup", nil, 403, "Not accessible\n"},
		{"/app/%2e%2e/startup", nil, 403, "Not accessible\n"},
		{"/../../etc/passwd", nil, 403, "Not accessible\n"},
		{"/app/leads-out", nil, 403, "Not accessible\n"},
		{"/app/pipe", nil, 403, "Not accessible\n"},
	} {
		status, body := r.file(f, c.path, c.header...)
		if status != c.status || body != c.body {
			t.Errorf("%s %v: %d %q, want %d %q", c.path, c.header, status, body, c.status, c.body)
		}
	}
	if _, body := r.file(f, "/app"); strings.Contains(body, "hidden") || !strings.Contains(body, "index.html") {
		t.Errorf("the listing is\n%s", body)
	}
	f.Credentials[1] = "guess"
	if status, _ := r.file(f, "/app/index.html"); status != 401 {
		t.Errorf("a wrong password gets %d", status)
	}
	// Nobody waits for a body that is announced and does not come.
	viewer, err := url.Parse(f.FileURI)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", viewer.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /droplets/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	answer, err := io.ReadAll(conn) // until it is closed
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") {
		t.Errorf("%q, %v", answer, err)
	}
}

// errLog is what the DEA wrote for the instance's owner.
func (r *rig) errLog(instance string) string {
	r.t.Helper()
	f := r.find(bus.FindDroplet{Instances: []string{instance}, States: []bus.State{bus.Crashed}}, 1)[0]
	_, body := r.file(f, "/logs/err.log")
	return body
}

func TestCrashesSayWhy(t *testing.T) {
	for _, c := range []struct {
		name, startup, description, log string
		disk                            int
		level                           warden.Level
	}{
		{name: "exits at once", startup: "echo last words >&2; exit 3", description: "app instance exited", log: "exited with status 3"},
		{name: "killed", startup: "kill -9 $$", description: "app instance exited", log: "signal 9"},
		{name: "never listens", startup: "sleep 600", description: "App instance failed health check", log: "did not listen on port"},
		{name: "too much memory", startup: `exec %VCAP_LOCAL_RUNTIME% -c "x = bytearray(b'x') * (400 << 20); import time; time.sleep(600)"`,
			description: "out of memory", log: "Memory limit of 256M exceeded."},
		{name: "too much disk", startup: `head -c 20000000 /dev/zero > app/big; sleep 600`, disk: 8, level: warden.Process,
			description: "out of disk", log: "Disk usage limit of 8M exceeded."},
	} {
		t.Run(c.name, func(t *testing.T) {
			ready := 30 * time.Second
			if c.name == "never listens" {
				ready = 300 * time.Millisecond
			}
			r := newRigAt(t, c.level, dea.Config{Ready: ready, Monitor: 50 * time.Millisecond})
			m := r.message(r.droplet(c.startup))
			if c.disk != 0 {
				m.Limits.Disk = c.disk
			}
			r.start(m)
			exit := testkit.Next(t, r.exits)
			if exit.Reason != bus.ReasonCrashed || exit.ExitDescription != c.description || exit.CrashTimestamp == 0 {
				t.Errorf("exited %+v", exit)
			}
			if log := r.errLog(exit.Instance); !strings.Contains(log, c.log) {
				t.Errorf("err.log is %q", log)
			}
			// Its files stay until somebody stops it; then nothing is left.
			if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
				t.Fatal(err)
			}
			r.find(bus.FindDroplet{}, 0)
		})
	}
}

func TestStartThatCannotWork(t *testing.T) {
	r := newRig(t, dea.Config{})
	wrong := r.droplet(serving)
	r.droplets[wrong] = append(r.droplets[wrong], "tampered"...)
	missing := r.message(strings.Repeat("0", 40))
	escaping := r.message(r.droplet("exit 0", "../../../escaped", "x"))
	for _, m := range []bus.StartApp{r.message(wrong), missing, escaping} {
		r.start(m)
		if exit := testkit.Next(t, r.exits); exit.Reason != bus.ReasonCrashed {
			t.Errorf("exited %+v", exit)
		}
		r.find(bus.FindDroplet{}, 0)
	}
}

func TestRefusalsAreSilent(t *testing.T) {
	r := newRig(t, dea.Config{MaxMemory: 300})
	good := r.message(r.droplet(serving))
	for _, change := range []func(*bus.StartApp){
		func(m *bus.StartApp) { m.Runtime = "cobol" },
		func(m *bus.StartApp) { m.Limits.Mem = 301 },
		func(m *bus.StartApp) { m.SHA1 = "" },
		func(m *bus.StartApp) { m.ExecutableURI = "" },
	} {
		m := good
		change(&m)
		r.start(m)
	}
	offers := testkit.Collect(t, r.conn, bus.DEAAdvertise)
	r.running(good) // what came before it on the same subject is dealt with
	r.find(bus.FindDroplet{}, 1)
	offer := testkit.Next(t, offers)
	for offer.AvailableMemory == 300 { // made before the start
		offer = testkit.Next(t, offers)
	}
	if offer.AvailableMemory != 44 || offer.Instances["42"] != 1 {
		t.Errorf("the offer is %+v", offer)
	}
	none := bus.DEADiscover.Gather(t.Context(), r.conn, bus.Discover{Droplet: 7, Runtime: "python", Limits: bus.Limits{Mem: 45}}, 1, 300*time.Millisecond)
	one := bus.DEADiscover.Gather(t.Context(), r.conn, bus.Discover{Droplet: 7, Runtime: "python", Limits: bus.Limits{Mem: 44}}, 1, 10*time.Second)
	if len(none) != 0 || len(one) != 1 || one[0].ID != r.id {
		t.Errorf("discover: %v and %v", none, one)
	}
}

func TestRoutesFollowUpdates(t *testing.T) {
	r := newRig(t, dea.Config{})
	m := r.message(r.droplet(serving))
	r.running(m)
	m.URIs = []string{"new.example"}
	if err := bus.DEAUpdate.Publish(r.conn, m); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Next(t, r.registered); !slices.Equal(got.URIs, []string{"new.example"}) {
		t.Errorf("registered %v", got.URIs)
	}
	if got := testkit.Next(t, r.unregistered); !slices.Equal(got.URIs, []string{"hello.example"}) {
		t.Errorf("unregistered %v", got.URIs)
	}
	if err := bus.RouterStart.Publish(r.conn, bus.RouterHello{ID: "r"}); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Next(t, r.registered); !slices.Equal(got.URIs, []string{"new.example"}) {
		t.Errorf("registered %v for a new router", got.URIs)
	}
}

func TestFilesOfCrashesAreBounded(t *testing.T) {
	r := newRig(t, dea.Config{MaxCrash: 2})
	m := r.message(r.droplet("exit 1"))
	for m.Index = range 4 {
		r.start(m)
		testkit.Next(t, r.exits)
	}
	r.find(bus.FindDroplet{States: []bus.State{bus.Crashed}}, 2)
	m.Flapping = true // one more of the same: nothing is kept
	r.start(m)
	testkit.Next(t, r.exits)
	r.find(bus.FindDroplet{States: []bus.State{bus.Crashed}}, 2)
	testkit.Eventually(t, func() error { return testkit.Equal(len(r.pool.List()), 2) })
	if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error { return testkit.Equal(len(r.pool.List()), 0) })
}

func TestAppSeesItsEnvironment(t *testing.T) {
	r := newRig(t, dea.Config{})
	m := r.message(r.droplet(`env -0 > app/env; ` + serving))
	m.Env = []string{"GREETING=it's $NAME & \"more\"", "NAME=x", "PATH=/mine:$PATH", "COST=5$ and $$", "LITERAL='$HOME'"}
	m.Services = []bus.Service{{
		Label: "redis-2.2", Name: "it's mine", Plan: "free", Vendor: "redis", Version: "2.2",
		Credentials: json.RawMessage(`{"hostname":"10.0.0.9","port":5000}`),
	}}
	r.running(m)
	_, body := r.file(r.find(bus.FindDroplet{}, 1)[0], "/app/env")
	env := map[string]string{}
	for entry := range strings.SplitSeq(body, "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	for name, want := range map[string]string{
		"GREETING": `it's $NAME & "more"`, "COST": "5$ and $$", "LITERAL": "$HOME",
		"VMC_REDIS": "10.0.0.9:5000", "VCAP_APP_HOST": "127.0.0.1", "VMC_APP_NAME": "hello", "PORT": env["VCAP_APP_PORT"],
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if !strings.HasPrefix(env["PATH"], "/mine:/") {
		t.Errorf("PATH is %q", env["PATH"])
	}
	var app struct {
		InstanceID string `json:"instance_id"`
		Limits     struct{ Mem int64 }
		URIs       []string
	}
	if err := json.Unmarshal([]byte(env["VCAP_APPLICATION"]), &app); err != nil || app.Limits.Mem != 256<<20 || len(app.InstanceID) != 32 || len(app.URIs) != 1 {
		t.Errorf("VCAP_APPLICATION is %s (%v)", env["VCAP_APPLICATION"], err)
	}
	var services map[string][]struct{ Name string }
	if err := json.Unmarshal([]byte(env["VCAP_SERVICES"]), &services); err != nil || services["redis-2.2"][0].Name != "it's mine" {
		t.Errorf("VCAP_SERVICES is %s (%v)", env["VCAP_SERVICES"], err)
	}
	if os.Getenv("HOME") == env["HOME"] {
		t.Errorf("HOME is the server's: %q", env["HOME"])
	}
}

// A stop that overtakes the start must not leave an instance behind.
func TestStopDuringStart(t *testing.T) {
	r := newRig(t, dea.Config{})
	m := r.message(r.droplet(serving))
	for range 5 {
		r.start(m)
		if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
			t.Fatal(err)
		}
		// Starts and stops come on different subjects: either order is possible.
		testkit.Eventually(t, func() error {
			if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
				return err
			}
			return testkit.Equal(len(r.pool.List()), 0)
		})
	}
}

func TestShutdownIsNoCrash(t *testing.T) {
	needsPython(t)
	b := testkit.Bus(t)
	conn := testkit.Conn(t, b)
	exits := testkit.Collect(t, conn, bus.DropletExited)
	r := &rig{t: t, bus: b, conn: conn, droplets: map[string][]byte{}}
	dir := t.TempDir()
	pool := warden.New(warden.Config{Dir: filepath.Join(dir, "containers")}, testkit.Log(t))
	if err := pool.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer pool.Close() //nolint:errcheck // nothing is in it
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Write(r.droplets[filepath.Base(q.URL.Path)]) //nolint:errcheck // the DEA went away
	}))
	defer r.server.Close()
	hello := testkit.Collect(t, conn, bus.DEAHello)
	registered := testkit.Collect(t, conn, bus.RouterRegister)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	d := dea.New(dea.Config{
		Dir: filepath.Join(dir, "dea"), MaxMemory: 1024,
		Runtimes: []dea.Runtime{{Name: "python", Executable: python}},
	}, b, pool, testkit.Log(t))
	go func() { done <- d.Run(ctx) }()
	r.id = testkit.Next(t, hello).ID
	m := r.message(r.droplet(serving))
	for m.Index = range 3 {
		r.start(m)
		testkit.Next(t, registered)
	}
	cancel()
	for range 3 {
		if exit := testkit.Next(t, exits); exit.Reason != bus.ReasonDEAShutdown {
			t.Errorf("exited %+v", exit)
		}
	}
	if err := testkit.Next(t, done); err != nil {
		t.Error(err)
	}
	if left := pool.List(); len(left) != 0 {
		t.Errorf("%d containers are left", len(left))
	}
}
