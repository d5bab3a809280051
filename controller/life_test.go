package controller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/controller/api"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

const create = `{"name":"hello","staging":{"framework":"node"},"uris":["hello.localhost"],"instances":2,"resources":{"memory":128}}`

// The life of an app as DEAs and health manager hear of it.
func TestLife(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.stager()
	c.dea("dea-1", 1024)
	step := func(method, path, body string, want ...string) {
		t.Helper()
		c.ok(alice, method, path, body)
		c.expect(want...)
	}
	step("POST", "/apps", create)
	c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
	c.expect()
	step("PUT", "/apps/hello", `{"state":"STARTED"}`,
		"staging 1",
		started(1, 0, c.versionAfter("droplet of\n-rw-r--r-- app.js=hello\n", 1)),
		started(1, 1, c.versionAfter("droplet of\n-rw-r--r-- app.js=hello\n", 1)),
		"droplet.updated 1 default")
	v := c.app(alice, "hello").Version()
	step("PUT", "/apps/hello", `{"instances":4}`,
		started(1, 2, v), started(1, 3, v), "droplet.updated 1 default")
	step("PUT", "/apps/hello", `{"instances":1}`,
		fmt.Sprintf("dea.stop 1 version=%q indices=[1 2 3] instances=[]", v), "droplet.updated 1 default")
	step("PUT", "/apps/hello", `{"uris":["b.localhost","A.localhost"]}`,
		"dea.update 1 uris=[a.localhost b.localhost]")
	step("PUT", "/apps/hello", `{"uris":["a.localhost","b.localhost"]}`)
	step("PUT", "/apps/hello", `{"resources":{"memory":256},"env":["A=1"]}`)
	step("PUT", "/apps/hello", `{"state":"STARTED"}`)
	step("PUT", "/apps/hello", `{"state":"STOPPED","uris":[]}`,
		`dea.stop 1 version="" indices=[] instances=[]`, "dea.update 1 uris=[]", "droplet.updated 1 default")
	step("PUT", "/apps/hello", `{"state":"STARTED"}`,
		started(1, 0, strings.TrimSuffix(v, "1")+"2"), "droplet.updated 1 default")
	step("PUT", "/apps/hello/update", "",
		`dea.stop 1 version="" indices=[] instances=[]`, started(1, 0, strings.TrimSuffix(v, "1")+"3"), "droplet.updated 1 default")
	step("DELETE", "/apps/hello", "", `dea.stop 1 version="" indices=[] instances=[]`)
}

func started(app, index int, version string) string {
	return fmt.Sprintf("dea-1.start %d index=%d version=%q", app, index, version)
}

// versionAfter is the version of an app whose droplet has this content.
func (c *cloud) versionAfter(droplet string, run int) string {
	c.t.Helper()
	batch := c.st.Blobs.Batch()
	defer batch.Discard()
	blob, err := batch.Add(strings.NewReader(droplet))
	if err != nil {
		c.t.Fatal(err)
	}
	return fmt.Sprintf("%s-%d", blob.SHA1, run)
}

// What a DEA is told is all that it needs to start an instance.
func TestStartMessage(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	m := testkit.Next(t, c.starts)
	if m.URIs == nil || m.Env == nil || m.Services == nil {
		t.Errorf("null where DEAs expect an array: %+v", m)
	}
	got := fmt.Sprintf("%d %s %v %s %s %s %v %v %s %d", m.Droplet, m.Name, m.URIs, m.Runtime, m.RuntimeInfo.Executable, m.Framework, m.Limits, m.Users, m.Partition, m.Index)
	want := "1 hello [hello.localhost] node /usr/bin/node node {128 2048 256} [alice@example.com] default 0"
	if got != want {
		t.Errorf("start message: %s\nwant %s", got, want)
	}
	droplet, err := fetch(m.ExecutableURI)
	if err != nil || droplet != "droplet of\n-rw-r--r-- app.js=hello\n" {
		t.Errorf("droplet %q, %v", droplet, err)
	}
	if m.Version != m.SHA1+"-1" {
		t.Errorf("version %q of droplet %q", m.Version, m.SHA1)
	}
}

// Bits that come after the start: the app is started when they are staged.
func TestStartBeforeBits(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.stager()
	c.dea("dea-1", 1024)
	c.ok(alice, "POST", "/apps", strings.Replace(create, `"instances":2`, `"instances":1,"state":"STARTED"`, 1))
	c.ok(alice, "PUT", "/apps/hello/update", "")
	c.expect(`dea.stop 1 version="" indices=[] instances=[]`)
	c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
	c.expect()
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	c.expect("staging 1", started(1, 0, c.app(alice, "hello").Version()), "droplet.updated 1 default")
}

func TestStagingTask(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	s := c.stager()
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"standalone","runtime":"node","command":"node x.js"},"env":["A=1"],"console":true}`)
	c.upload(alice, "hello", pack(t, "x.js", "1"), "[]")
	c.ok(alice, "PUT", "/apps/hello", `{"console":true}`) // not a start: any PUT stages
	task := testkit.Next(t, s.tasks)
	p := task.Properties
	got := fmt.Sprint(task.AppID, p.Framework, p.FrameworkInfo.Name, p.Runtime, p.RuntimeInfo.Name, p.Resources, p.Environment, p.Meta.Command, *p.Meta.Console, p.Services)
	want := fmt.Sprint("1", "standalone", "standalone", "node", "node", bus.StagingLimits{Memory: 256, Disk: 2048, FDs: 256}, []string{"A=1"}, "node x.js", true, []bus.Service{})
	if got != want {
		t.Errorf("staging task:\n%s\nwant\n%s", got, want)
	}
	c.expect("staging 1")
	if err := sendDroplet(task.UploadURI, strings.NewReader("again")); err == nil || !strings.Contains(err.Error(), `"code":100`) {
		t.Errorf("the upload id works twice: %v", err)
	}
}

// Uploading the same files again keeps the droplet; other ones do not.
func TestSameFilesAreNotStagedAgain(t *testing.T) {
	t.Parallel()
	c, s := pushed(t, nil)
	c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	c.expect()
	c.upload(alice, "hello", pack(t, "app.js", "changed"), "[]")
	before := c.app(alice, "hello").Version()
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	testkit.Next(t, s.tasks)
	c.expect("staging 1")
	if after := c.app(alice, "hello").Version(); after == before {
		t.Errorf("a new droplet under the old version %s", after)
	}
}

// A droplet that comes out the same again counts runs on: no two runs share a version.
func TestSameDropletNewVersion(t *testing.T) {
	t.Parallel()
	c, s := pushed(t, nil)
	s.instead(func(task bus.StagingTask) bus.StagingResult {
		return bus.StagingResult{Error: text(sendDroplet(task.UploadURI, strings.NewReader("always the same")))}
	})
	seen := map[string]bool{}
	for i := range 3 {
		c.upload(alice, "hello", pack(t, "app.js", fmt.Sprint(i)), "[]")
		c.ok(alice, "PUT", "/apps/hello", `{"state":"STOPPED"}`)
		c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
		v := c.app(alice, "hello").Version()
		if seen[v] {
			t.Errorf("version %s a second time", v)
		}
		seen[v] = true
	}
}

func TestStagingFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		limit time.Duration
		do    func(bus.StagingTask) bus.StagingResult // nil: there is no stager
		text  string
		log   string
	}{
		{"error", 0, func(bus.StagingTask) bus.StagingResult {
			return bus.StagingResult{TaskLog: "npm: no such package\n", Error: "Staging task failed:\n Staging plugin failed: npm"}
		}, "Staging failed: 'Staging task failed:\n Staging plugin failed: npm'", "npm: no such package\n"},
		{"no droplet", 0, func(bus.StagingTask) bus.StagingResult { return bus.StagingResult{TaskLog: "done\n"} },
			"Staging failed: 'the stager has uploaded no droplet'", "done\n"},
		{"nobody", 0, nil, "Staging failed: 'no stager is running'", ""},
		{"silence", time.Second, func(bus.StagingTask) bus.StagingResult { select {} }, "Staging failed: 'Timed out after 1s.'", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, func(cfg *controller.Config) { cfg.StagingLimit = tc.limit })
			if tc.do != nil {
				c.stager().instead(tc.do)
			}
			c.ok(alice, "POST", "/apps", create)
			c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
			r := c.do(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
			f := api.ParseFault(r.status, []byte(r.body))
			if f.Status != 500 || f.Code != 310 || f.Text != tc.text || f.Hint == "" {
				t.Errorf("answer %+v, want 500, 310, %q and a hint", f, tc.text)
			}
			events := c.told()
			if tc.do != nil {
				events = events[1:] // the staging itself
			}
			if len(events) != 1 || events[0] != `dea.stop 1 version="" indices=[] instances=[]` {
				t.Errorf("on the bus: %q", events)
			}
			app := c.app(alice, "hello")
			if app.Started || app.PackageState != store.Failed || app.RunCount != 1 {
				t.Errorf("afterwards: %+v", app)
			}
			log := c.do(alice, "GET", "/apps/hello/instances/0/files/logs/staging.log", "")
			if log.status == 200 && log.body != tc.log || log.status != 200 && tc.log != "" {
				t.Errorf("staging log: %d %q", log.status, log.body)
			}
		})
	}
}

// A failed package is staged again by the next PUT.
func TestStagingIsRetried(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	s := c.stager()
	s.instead(func(bus.StagingTask) bus.StagingResult { return bus.StagingResult{Error: "no"} })
	c.ok(alice, "POST", "/apps", create)
	c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
	if r := c.do(alice, "PUT", "/apps/hello", `{}`); r.status != 500 {
		t.Fatal(r)
	}
	if r := c.ok(alice, "GET", "/apps/hello/update", ""); !strings.Contains(r, "CANARY_FAILED") {
		t.Error(r)
	}
	s.instead(s.stage)
	c.ok(alice, "PUT", "/apps/hello", `{}`)
	if app := c.app(alice, "hello"); app.PackageState != store.Staged {
		t.Errorf("%+v", app)
	}
}

// held is a stager whose first task waits until it is let go.
func held(t testing.TB, edit func(*controller.Config)) (c *cloud, s *stager, letGo func()) {
	c = start(t, edit)
	s = c.stager()
	gate := make(chan struct{})
	var once sync.Once
	letGo = func() { once.Do(func() { close(gate) }) }
	t.Cleanup(letGo)
	s.instead(func(task bus.StagingTask) bus.StagingResult {
		<-gate
		return s.stage(task)
	})
	c.dea("dea-1", 1024)
	c.ok(alice, "POST", "/apps", create)
	c.upload(alice, "hello", pack(t, "app.js", "old"), "[]")
	return c, s, letGo
}

// later sends a request from another goroutine.
func (c *cloud) later(who, method, path, body string) <-chan reply {
	answer := make(chan reply, 1)
	go func() {
		r, err := c.send(who, method, path, strings.NewReader(body))
		if err != nil {
			r.body = err.Error()
		}
		answer <- r
	}()
	return answer
}

func TestDeletedDuringStaging(t *testing.T) {
	t.Parallel()
	c, s, _ := held(t, nil)
	answer := c.later(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	task := testkit.Next(t, s.tasks)
	c.ok(alice, "DELETE", "/apps/hello", "")
	if r := testkit.Next(t, answer); r.status != 404 || !strings.Contains(r.body, `"code":301`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if err := sendDroplet(task.UploadURI, strings.NewReader("late")); err == nil || !strings.Contains(err.Error(), `"code":301`) {
		t.Errorf("a droplet of a deleted app: %v", err)
	}
	c.expect("staging 1", `dea.stop 1 version="" indices=[] instances=[]`)
}

// Bits that come while the old ones are staged are staged in the same request.
func TestBitsReplacedDuringStaging(t *testing.T) {
	t.Parallel()
	c, s, letGo := held(t, nil)
	answer := c.later(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	testkit.Next(t, s.tasks)
	c.upload(alice, "hello", pack(t, "app.js", "new"), "[]")
	letGo()
	if r := testkit.Next(t, answer); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	v := c.versionAfter("droplet of\n-rw-r--r-- app.js=new\n", 1)
	c.expect("staging 1", "staging 1", started(1, 0, v), started(1, 1, v), "droplet.updated 1 default")
}

// Old bits that fail to stage say nothing about the new ones, and stop nothing.
func TestReplacedBitsFailToStage(t *testing.T) {
	t.Parallel()
	c, s, letGo := held(t, nil)
	gated := s.do
	var once sync.Once
	s.instead(func(task bus.StagingTask) (r bus.StagingResult) {
		once.Do(func() {
			gated(task)
			r.Error = "the old bits are broken"
		})
		if r.Error != "" {
			return r
		}
		return s.stage(task)
	})
	answer := c.later(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	testkit.Next(t, s.tasks)
	c.upload(alice, "hello", pack(t, "app.js", "new"), "[]")
	letGo()
	if r := testkit.Next(t, answer); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, e := range c.told() {
		if strings.HasPrefix(e, "dea.stop") {
			t.Errorf("stopped by a run that counts for nothing: %s", e)
		}
	}
}

// Two PUTs at once wait for one run.
func TestPUTsJoinOneRun(t *testing.T) {
	t.Parallel()
	c, s, letGo := held(t, nil)
	first := c.later(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	testkit.Next(t, s.tasks)
	second := c.later(alice, "PUT", "/apps/hello", `{"env":["A=1"]}`)
	testkit.Eventually(t, func() error { return testkit.Equal(c.app(alice, "hello").LockVersion, 3) })
	letGo()
	for _, answer := range []<-chan reply{first, second} {
		if r := testkit.Next(t, answer); r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	stagings := 0
	for _, e := range c.told() {
		if strings.HasPrefix(e, "staging") {
			stagings++
		}
	}
	if stagings != 1 {
		t.Errorf("%d staging runs", stagings)
	}
}

// An app that is stopped while it is staged is not started afterwards.
func TestStoppedDuringStaging(t *testing.T) {
	t.Parallel()
	c, s, letGo := held(t, nil)
	first := c.later(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	testkit.Next(t, s.tasks)
	second := c.later(alice, "PUT", "/apps/hello", `{"state":"STOPPED"}`)
	testkit.Eventually(t, func() error { return testkit.Equal(c.app(alice, "hello").Started, false) })
	letGo()
	for _, answer := range []<-chan reply{first, second} {
		if r := testkit.Next(t, answer); r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	for _, e := range c.told() {
		if strings.Contains(e, ".start ") {
			t.Errorf("started all the same: %s", e)
		}
	}
}

// The client goes away, staging goes on: the next PUT finds the droplet.
func TestClientLeavesDuringStaging(t *testing.T) {
	t.Parallel()
	c, s, letGo := held(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	cl := api.NewClient(c.ctl.URL(), c.tokens[alice])
	go func() { gone <- cl.UpdateApp(ctx, "hello", api.AppRequest{}) }()
	testkit.Next(t, s.tasks)
	leave()
	if err := testkit.Next(t, gone); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	letGo()
	testkit.Eventually(t, func() error { return testkit.Equal(c.app(alice, "hello").PackageState, store.Staged) })
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	stagings := 0
	for _, e := range c.told() {
		if strings.HasPrefix(e, "staging") {
			stagings++
		}
	}
	if stagings != 1 {
		t.Errorf("%d staging runs", stagings)
	}
}

// A cloud that is stopped while it stages says so, and forgets nothing.
func TestStopDuringStaging(t *testing.T) {
	t.Parallel()
	c, s, _ := held(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	second := controller.New(controller.Config{
		Domain: "localhost", Frameworks: []controller.Framework{{Name: "node", Runtimes: []string{"node"}}},
		Runtimes: []controller.Runtime{{Name: "node", Executable: "/bin/node"}},
	}, c.bus, c.st, c.id, testkit.Log(t))
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	<-second.Ready()
	answer := make(chan error, 1)
	started := "STARTED"
	go func() {
		cl := api.NewClient(second.URL(), c.tokens[alice])
		answer <- cl.UpdateApp(context.Background(), "hello", api.AppRequest{State: &started})
	}()
	testkit.Next(t, s.tasks)
	stop()
	if err := testkit.Next(t, ended); err != nil {
		t.Fatal(err)
	}
	var f *api.Fault
	if err := testkit.Next(t, answer); !errors.As(err, &f) || f.Status != 500 || !strings.Contains(f.Hint, "stopping") {
		t.Errorf("the waiting PUT got: %v", err)
	}
	if app := c.app(alice, "hello"); !app.Started || app.PackageState != store.Pending {
		t.Errorf("the app became %v, %s", app.Started, app.PackageState)
	}
}

// The log of a run is streamed while it is made, to its last line, and kept.
func TestStagingLog(t *testing.T) {
	t.Parallel()
	c, s, letGo := held(t, nil)
	say := func(text string) {
		if err := bus.Logs("1").Publish(c.conn, bus.LogLine{App: "1", Source: bus.SourceStaging, Text: text}); err != nil {
			t.Error(err)
		}
	}
	const burst = 2000 // more than the controller has handled when the result comes
	long := strings.Repeat("x", 8000)
	gated := s.do
	s.instead(func(task bus.StagingTask) bus.StagingResult {
		say("first")
		r := gated(task)
		for i := range burst {
			say(fmt.Sprint("line ", i, long))
		}
		say("last")
		return r
	})
	answer := c.later(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	testkit.Next(t, s.tasks)
	if r := c.do(bob, "GET", "/apps/hello/staging_log", ""); r.status != 404 {
		t.Errorf("another user follows the log: %d", r.status)
	}
	log, err := api.NewClient(c.ctl.URL(), c.tokens[alice]).StagingLog(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	first := make([]byte, len("first\n"))
	if _, err := io.ReadFull(log, first); err != nil || string(first) != "first\n" {
		t.Fatalf("while it stages: %q, %v", first, err)
	}
	letGo()
	rest, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(rest)), "\n")
	if len(lines) != burst+1 || lines[burst] != "last" {
		t.Errorf("%d lines, the last is %.20q", len(lines), lines[len(lines)-1])
	}
	if r := testkit.Next(t, answer); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// A stager uploads large droplets, breaks off, and tries ids that are not its own.
func TestDropletUpload(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.MaxUpload = 8 << 20 })
	s := c.stager()
	var errs []error
	s.instead(func(task bus.StagingTask) bus.StagingResult {
		wrong := task.UploadURI[:len(task.UploadURI)-4] + "0000"
		errs = append(errs,
			sendDroplet(wrong, strings.NewReader("x")),
			sendDroplet(task.UploadURI, io.MultiReader(strings.NewReader("x"), failing{})),
			sendDroplet(task.UploadURI, io.LimitReader(zeros{}, 33<<20)),
			sendDroplet(task.UploadURI, io.LimitReader(zeros{}, 20<<20)),
			sendDroplet(task.UploadURI, strings.NewReader("a second one")))
		return bus.StagingResult{}
	})
	c.ok(alice, "POST", "/apps", create)
	c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	for i, want := range []string{`"code":100`, "broken off", `"code":100`, "", `"code":100`} {
		if !strings.Contains(text(errs[i]), want) || want == "" && errs[i] != nil {
			t.Errorf("upload %d: %v, want %q", i, errs[i], want)
		}
	}
	if d := c.app(alice, "hello").Droplet; d == nil || d.Size != 20<<20 {
		t.Errorf("droplet %+v", d)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken off") }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHealthManagerRequests(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	c.ok(alice, "PUT", "/apps/hello", `{"instances":3}`)
	c.told()
	app := c.app(alice, "hello")
	v, updated := app.Version(), bus.At(app.Updated)
	for _, tc := range []struct {
		name string
		r    bus.HMRequest
		want []string
	}{
		{"start of an old version", bus.HMRequest{Droplet: "1", Op: "START", Version: "x-1", Indices: []int{0}}, nil},
		{"start", bus.HMRequest{Droplet: "1", Op: "start", Version: v, Indices: []int{-1, 0, 2, 3}}, []string{started(1, 0, v), started(1, 2, v)}},
		{"start of an unknown app", bus.HMRequest{Droplet: "77", Op: "START", Version: v, Indices: []int{0}}, nil},
		{"stop based on an old row", bus.HMRequest{Droplet: "1", Op: "STOP", LastUpdated: updated - 1, Instances: []string{"a"}}, nil},
		{"stop", bus.HMRequest{Droplet: "1", Op: "STOP", LastUpdated: updated, Instances: []string{"a", "b"}},
			[]string{`dea.stop 1 version="" indices=[] instances=[a b]`}},
		{"stop of an unknown app", bus.HMRequest{Droplet: "77", Op: "STOP", Instances: []string{"a"}},
			[]string{`dea.stop 77 version="" indices=[] instances=[]`}},
		{"of another cloud", bus.HMRequest{Droplet: "5f2c-1", Op: "STOP"}, nil},
		{"unknown", bus.HMRequest{Droplet: "1", Op: "EXPLODE"}, nil},
		{"spin down", bus.HMRequest{Droplet: "1", Op: "SPINDOWN"}, []string{`dea.stop 1 version="" indices=[] instances=[]`}},
		{"start of a stopped app", bus.HMRequest{Droplet: "1", Op: "START", Version: v, Indices: []int{0}}, nil},
		{"spin down of an unknown app", bus.HMRequest{Droplet: "77", Op: "SPINDOWN"}, nil},
	} {
		subject := bus.HMRequests
		if len(tc.want) == 0 {
			subject = bus.HMRequestsOld
		}
		c.publish(subject.Publish(c.conn, tc.r))
		var got []string
		testkit.Eventually(t, func() error { // starts are placed off the loop
			if got = append(got, c.told()...); len(got) < len(tc.want) {
				return fmt.Errorf("%s: %q", tc.name, got)
			}
			return nil
		})
		if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if c.app(alice, "hello").Started {
		t.Error("not spun down")
	}
}

// A flapping instance is started as one: the DEA delays it.
func TestFlappingStart(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	testkit.Next(t, c.starts)
	v := c.app(alice, "hello").Version()
	c.publish(bus.HMRequests.Publish(c.conn, bus.HMRequest{Droplet: "1", Op: "START", Version: v, Indices: []int{0}, Flapping: true}))
	if m := testkit.Next(t, c.starts); !m.Flapping {
		t.Errorf("%+v", m)
	}
}

// Instances are spread; where no DEA has room the app is saved all the same.
func TestPlacement(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	c.dea("dea-1", 300)
	c.dea("dea-2", 300)
	c.ok(alice, "PUT", "/apps/hello", `{"instances":5}`)
	perDEA := map[string]int{}
	for _, e := range c.told() {
		if dea, _, found := strings.Cut(e, ".start "); found {
			perDEA[dea]++
		}
	}
	if perDEA["dea-1"] != 2 || perDEA["dea-2"] != 2 {
		t.Errorf("4 of 5 instances fit: %v", perDEA)
	}
	if app := c.app(alice, "hello"); app.Instances != 5 {
		t.Errorf("%+v", app)
	}
	asked := make(chan bus.Discover, 16)
	testkit.Handle(t, c.conn, bus.DEADiscover.Answer(func(q bus.Discover, reply func(bus.Hello)) {
		asked <- q
		if q.Limits.Mem == 128 && q.Runtime == "node" && q.SHA != "" {
			reply(bus.Hello{ID: "dea-3"})
		}
		reply(bus.Hello{}) // not me
	}))
	c.ok(alice, "PUT", "/apps/hello", `{"instances":6}`)
	c.expect(strings.Replace(started(1, 5, c.app(alice, "hello").Version()), "dea-1", "dea-3", 1), "droplet.updated 1 default")
	c.ok(alice, "PUT", "/apps/hello", `{"instances":9,"resources":{"memory":200}}`)
	c.expect("droplet.updated 1 default")
	if len(asked) != 2 {
		t.Errorf("asked %d times for a place, want once for each change", len(asked))
	}
}

// 64 clients read and write the same apps; meta.version lets no update get lost.
func TestNoLostUpdate(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	const apps, clients = 4, 64
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for i := range apps {
		c.ok(alice, "POST", "/apps", fmt.Sprintf(`{"name":"a%d","staging":{"framework":"node"},"env":[]}`, i))
	}
	accepted := make([]map[string]bool, apps)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range clients {
		cl := api.NewClient(c.ctl.URL(), c.tokens[alice])
		wg.Go(func() {
			for r := range rounds {
				i, mark := rand.IntN(apps), fmt.Sprintf("C%d_%d=1", n, r)
				if err := addEnv(t.Context(), cl, fmt.Sprintf("a%d", i), mark); err != nil {
					if !errors.Is(err, api.LockingError) {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				if accepted[i] == nil {
					accepted[i] = map[string]bool{}
				}
				accepted[i][mark] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total := 0
	for i := range apps {
		app := c.app(alice, fmt.Sprintf("a%d", i))
		if len(app.Env) != len(accepted[i]) || app.LockVersion != 1+len(accepted[i]) {
			t.Errorf("%s: %d entries, version %d, %d updates were accepted", app.Name, len(app.Env), app.LockVersion, len(accepted[i]))
		}
		for _, e := range app.Env {
			if !accepted[i][e] {
				t.Errorf("%s: %s was refused", app.Name, e)
			}
		}
		total += len(accepted[i])
	}
	if total == 0 {
		t.Error("no update was accepted")
	}
}

// addEnv changes an app as a client does: read, change, write with the version read.
func addEnv(ctx context.Context, cl *api.Client, name, entry string) error {
	app, err := cl.App(ctx, name)
	if err != nil {
		return err
	}
	env := append(app.Env, entry)
	return cl.UpdateApp(ctx, name, api.AppRequest{Env: &env, Meta: &api.MetaRequest{Version: &app.Meta.Version}})
}

// Which gems are left out is decided when the app is staged, so a change stages it again.
func TestBundleWithout(t *testing.T) {
	t.Parallel()
	c, s := pushed(t, nil)
	c.ok(alice, "PUT", "/apps/hello", `{"env":["A=1"]}`)
	c.expect()
	c.ok(alice, "PUT", "/apps/hello", `{"env":["BUNDLE_WITHOUT=test","A=1"]}`)
	if env := testkit.Next(t, s.tasks).Properties.Environment; len(env) != 2 {
		t.Errorf("staged with %q", env)
	}
	c.expect("staging 1")
	c.ok(alice, "PUT", "/apps/hello", `{"env":["A=2","BUNDLE_WITHOUT=test"]}`)
	c.expect()
	c.ok(alice, "PUT", "/apps/hello", `{"env":[]}`)
	c.expect("staging 1")
}

// An app that never had a droplet has not crashed: nobody is asked, and so nobody is
// waited for.
func TestNoCrashesBeforeADroplet(t *testing.T) {
	c := start(t, nil)
	c.health(0, func(bus.StatusOf) *bus.StatusReply {
		t.Error("the health manager was asked")
		return nil
	})
	c.ok(alice, "POST", "/apps", `{"name":"new","staging":{"framework":"node"}}`)
	if got := c.ok(alice, "GET", "/apps/new/crashes", ""); got != `{"crashes":[]}` {
		t.Errorf("got %s", got)
	}
}
