package vmc

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudlet/controller/api"
)

func TestPushNode(t *testing.T) {
	c := newCloud(t)
	c.log = []string{"-----> Installing", "-----> Done"}
	u := c.at(t)
	u.file("server.js", "require('http')")
	u.file("package.json", "{}")
	u.file("npm-debug.log", "left out")
	host := strings.TrimPrefix(c.srv.URL, "http://127.")
	port := host[strings.LastIndex(host, ":"):]

	status, out, errs := u.vmc("push", "hello", "--mem", "128M")
	want := `Detected a Node.js Application
Creating Application: OK
Uploading Application:
  Packing application: OK
  Uploading (1K): OK
Push Status: OK
Staging Application 'hello': 
  -----> Installing
  -----> Done
Staging Application 'hello': OK
Starting Application 'hello': OK
  http://hello.0.0.1` + port + `

`
	if status != 0 || out != want || errs != "" {
		t.Errorf("status %d, stderr %q, stdout:\n%s\nwant:\n%s", status, errs, out, want)
	}
	if got := c.uploaded("hello"); !slices.Equal(got, []string{"package.json", "server.js"}) {
		t.Errorf("uploaded %q", got)
	}
	if a := c.apps["hello"]; a.Staging.Model != "node" || a.Resources.Memory != 128 || a.State != api.Started {
		t.Errorf("app %+v", a)
	}
}

// The order of requests is what servers were tuned for.
func TestPushCalls(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("index.js", strings.Repeat("// long\n", 10_000))
	if status, out, errs := u.vmc("push", "hello", "-n"); status != 0 {
		t.Fatal(out, errs)
	}
	got := slices.DeleteFunc(slices.Clone(c.calls), func(s string) bool { return strings.HasSuffix(s, "staging_log") })
	want := []string{
		"GET /info", "GET /apps/hello", "POST /apps", "POST /resources", "POST /apps/hello/application",
		"GET /apps/hello", "GET /apps/hello/crashes", "PUT /apps/hello", "GET /apps/hello",
	}
	if !slices.Equal(got, want) {
		t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPushSendsOnlyNewFiles(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("server.js", "new")
	u.file("lib/big.js", strings.Repeat("x", 70<<10))
	if status, out, errs := u.vmc("push", "hello"); status != 0 {
		t.Fatal(out, errs)
	}
	if n := len(c.known["hello"]); n != 0 {
		t.Errorf("%d resources of a first push", n)
	}
	c.pool[sha1Of(t, filepath.Join(u.dir, "lib/big.js"))] = true
	status, out, errs := u.vmc("push", "hello")
	if status != 0 {
		t.Fatal(out, errs)
	}
	for _, line := range []string{
		"Application 'hello' already exists, updating it", "  Checking for available resources: OK", "  Processing resources: OK",
		"Stopping Application 'hello': OK", "Starting Application 'hello': OK",
	} {
		if !strings.Contains(out, line+"\n") {
			t.Errorf("no line %q in:\n%s", line, out)
		}
	}
	if got := c.uploaded("hello"); !slices.Equal(got, []string{"server.js"}) {
		t.Errorf("uploaded %q", got)
	}
	known := c.known["hello"]
	if len(known) != 1 || known[0].FN != "lib/big.js" || known[0].Mode != "644" {
		t.Errorf("resources %+v", known)
	}
}

func TestPushKinds(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		args  []string
		want  string // framework/runtime/command/memory
		url   bool
		says  string
	}{
		{"node", map[string]string{"app.js": ""}, nil, "node//128", true, "Detected a Node.js Application"},
		{"sinatra", map[string]string{"a.rb": "require 'sinatra'\n"}, nil, "sinatra//128", true, "Detected a Sinatra Application"},
		{"static", map[string]string{"index.html": "hi"}, nil, "standalone/static//64", true, "Detected a Static Website"},
		{"procfile", map[string]string{"app.py": "", "Procfile": "worker: x\nweb: python3 app.py $PORT\n"}, nil, "standalone/shell/python3 app.py $PORT/64", true, "Detected a Standalone Application"},
		{"command", map[string]string{"run.sh": ""}, []string{"--command", "sh run.sh"}, "standalone/shell/sh run.sh/64", false, "It has no URL"},
		{"command of node", map[string]string{"x.txt": ""}, []string{"--command", "node x.js", "--url", "x.example.com"}, "standalone/node/node x.js/64", true, ""},
		{"runtime", map[string]string{"x.txt": ""}, []string{"--command", "x", "--runtime", "node"}, "standalone/node/x/64", false, ""},
		{"framework", map[string]string{"x.txt": ""}, []string{"--framework", "node"}, "node//128", true, ""},
		{"framework static", map[string]string{"app.js": ""}, []string{"--framework", "static"}, "standalone/static//64", true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloud(t)
			u := c.at(t)
			for name, text := range tc.files {
				u.file(name, text)
			}
			status, out, errs := u.vmc(append([]string{"push", "hello"}, tc.args...)...)
			if status != 0 {
				t.Fatal(out, errs)
			}
			if !strings.Contains(out, tc.says) {
				t.Errorf("no %q in:\n%s", tc.says, out)
			}
			a := c.apps["hello"]
			parts := []string{a.Staging.Model, a.Staging.Stack}
			if a.Staging.Model == "standalone" {
				parts = append(parts, a.Meta.Command)
			}
			got := strings.Join(append(parts, strings.TrimSuffix(formatMem(a.Resources.Memory), "M")), "/")
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if (len(a.URIs) > 0) != tc.url {
				t.Errorf("URIs %q", a.URIs)
			}
		})
	}
}

func TestPushRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		args  []string
		want  []string
	}{
		{"nothing there", nil, nil, []string{"There is nothing to push in", "--path"}},
		{"only ignored files", map[string]string{"a.log": ""}, nil, []string{"There is nothing to push in"}},
		{"no such folder", nil, []string{"--path", "nowhere"}, []string{"There is no '", "nowhere"}},
		{"nothing recognized", map[string]string{"x.txt": ""}, nil, []string{"Cannot tell what kind", "node, sinatra, standalone, static", "--command 'CMD'", "web:"}},
		{"unknown framework", map[string]string{"x.txt": ""}, []string{"--framework", "cobol"}, []string{"'cobol'", "node, sinatra"}},
		{"no start command", map[string]string{"x.txt": ""}, []string{"--framework", "standalone"}, []string{"start command is missing", "--command 'CMD'"}},
		{"bad size", map[string]string{"app.js": ""}, []string{"--mem", "lots"}, []string{"Invalid memory size 'lots'", "256M"}},
		{"over memory", map[string]string{"app.js": ""}, []string{"--mem", "4G"}, []string{
			"Not enough capacity for operation.\nError: Current Usage: (0B of 2.0G total, 2.0G available for use)\n"}},
		{"bad name", map[string]string{"app.js": ""}, []string{"--name", "x y"}, []string{"letters, digits", "'x y'"}},
		{"no instance", map[string]string{"app.js": ""}, []string{"--instances", "0"}, []string{"at least 1 instance"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloud(t)
			u := c.at(t)
			for name, text := range tc.files {
				u.file(name, text)
			}
			u.fails(tc.want, append([]string{"push", "--name", "hello"}, tc.args...)...)
			if len(c.apps) > 0 {
				t.Errorf("left %v behind", c.apps)
			}
		})
	}
}

// What is asked for on a second push takes effect; what cannot be is refused before
// anything is uploaded.
func TestPushAgainWithOptions(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("app.js", "")
	c.apps["hello"] = started("hello")
	u.fails([]string{"does not know the framework 'cobol'"}, "push", "hello", "--framework", "cobol")
	u.fails([]string{"Not enough capacity"}, "push", "hello", "--instances", "100")
	if len(c.zips) > 0 {
		t.Error("uploaded all the same")
	}
	if status, out, errs := u.vmc("push", "hello", "--framework", "static", "--mem", "32M", "--instances", "2", "--url", "a.vcap.me"); status != 0 {
		t.Fatal(out, errs)
	}
	a := c.apps["hello"]
	if a.Staging != (api.Staging{Model: "standalone", Stack: "static"}) || a.Resources.Memory != 32 || a.Instances != 2 || a.URIs[0] != "a.vcap.me" {
		t.Errorf("app %+v", a)
	}
	if status, out, errs := u.vmc("stop", "hello"); status != 0 {
		t.Fatal(out, errs)
	}
	puts := len(c.requests)
	if status, out, errs := u.vmc("push", "hello", "--no-start"); status != 0 || len(c.requests) != puts {
		t.Errorf("%d changes\n%s%s", len(c.requests)-puts, out, errs)
	}
	if status, out, errs := u.vmc("push", "hello", "--no-start", "--mem", "64M"); status != 0 || a.State != api.Stopped || a.Resources.Memory != 64 {
		t.Errorf("app %+v\n%s%s", a, out, errs)
	}
}

func TestPushOverNumberOfApps(t *testing.T) {
	c := newCloud(t)
	c.limits.Apps = 1
	c.apps["other"] = &api.App{Name: "other", State: api.Started}
	u := c.at(t)
	u.file("app.js", "")
	u.fails([]string{"Error: Current Usage: (1 of 1 total apps already in use)"}, "push", "hello")
}

func TestPushShowsFaultWithHint(t *testing.T) {
	c := newCloud(t)
	c.onStart = func(*api.App) *api.Fault {
		return api.StagingFailed.With(`no "package.json"`).Because("the whole log: vmc files hello logs/staging.log")
	}
	u := c.at(t)
	u.file("app.js", "")
	u.fails([]string{"Error 310: Staging failed: 'no 'package.json''\nthe whole log: vmc files hello logs/staging.log\n"}, "push", "hello")
	c.onStart = nil
	status, out, errs := u.vmc("push", "hello") // after the correction
	if status != 0 || !strings.Contains(out, "already exists, updating it") || c.apps["hello"].State != api.Started {
		t.Errorf("second push: %d\n%s%s", status, out, errs)
	}
}

func TestPushOfCrashingApp(t *testing.T) {
	c := newCloud(t)
	c.crashed["hello"] = []api.Crash{{Instance: "0ld", Since: 1 << 40}} // of before, whatever its clock says
	c.onStart = func(a *api.App) *api.Fault {
		none := 0
		a.RunningInstances = &none
		c.crashed["hello"] = append(c.crashed["hello"], api.Crash{Instance: "abc", Since: 5})
		return nil
	}
	c.files["hello/abc/logs"] = "stderr.log   12B\nstdout.log  0B\nold/   -"
	c.files["hello/abc/logs/stderr.log"] = strings.Repeat("noise\n", 50) + "ReferenceError: x is not defined\n"
	c.files["hello/abc/logs/stdout.log"] = ""
	u := c.at(t)
	u.file("app.js", "x")
	u.fails([]string{
		"Error: Application [hello] failed to start, logs information below.\n====> /logs/stderr.log <====\n\nnoise\n",
		"ReferenceError: x is not defined", "vmc crashlogs hello",
	}, "push", "hello")
}

func TestPushManifest(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("web/app.js", "")
	u.file("db/index.html", "")
	u.file("manifest.yml", `
properties: {suffix: x}
applications:
  ./db:
    name: data-${suffix}
    framework: {name: static}
    mem: 32M
  ./web:
    name: hello
    url: ${name}.${target-base}
    instances: 2
`)
	if status, out, errs := u.vmc("push"); status != 0 {
		t.Fatal(out, errs)
	}
	db, web := c.apps["data-x"], c.apps["hello"]
	if db == nil || web == nil {
		t.Fatalf("apps %v", c.apps)
	}
	if db.Resources.Memory != 32 || db.Staging.Stack != "static" || web.Instances != 2 || web.URIs[0] != "hello.0.0.1" {
		t.Errorf("db %+v, web %+v", db, web)
	}
	u.wants("Stopping Application 'hello': OK\nStopping Application 'data-x': OK\n\n", "stop")
	u.dir = filepath.Join(u.dir, "web")
	u.wants("Staging Application 'hello': OK\nStarting Application 'hello': OK\n  "+address(c.srv.URL, "hello.0.0.1")+"\n\n", "start")
}

func TestPushNeedsTheManifestToBeRight(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("app.js", "")
	u.file("manifest.yml", "applications:\n  .:\n    name: ${who}\n")
	u.fails([]string{"application .: manifest.yml:3: the symbol ${who} is not defined", "Correct it"}, "push")
}

func TestPushArchive(t *testing.T) {
	c := newCloud(t)
	c.info = func(i *api.Info) { i.Frameworks["java_web"] = api.Framework{Name: "java_web"} }
	u := c.at(t)
	data, err := os.ReadFile(zipOf(t, map[string]string{"WEB-INF/web.xml": "<web-app/>", "index.jsp": "hi"}))
	if err != nil {
		t.Fatal(err)
	}
	u.file("shop.war", string(data))
	u.file("README", "not part of it")
	if status, out, errs := u.vmc("push", "shop"); status != 0 {
		t.Fatal(out, errs)
	}
	want := []string{"WEB-INF/", "WEB-INF/web.xml", "index.jsp"}
	if got := c.uploaded("shop"); !slices.Equal(got, want) || c.apps["shop"].Staging.Model != "java_web" {
		t.Errorf("uploaded %q as %s", got, c.apps["shop"].Staging.Model)
	}
}

func TestUpdate(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = &api.App{Name: "hello", State: api.Stopped, Staging: api.Staging{Model: "node"}}
	u := c.at(t)
	u.file("app.js", "")
	u.wants("Uploading Application:\n  Packing application: OK\n  Uploading (1K): OK\nPush Status: OK\n\n", "update", "hello")
	u.fails([]string{"Error 301: Application not found: 'other'"}, "update", "other")
}
