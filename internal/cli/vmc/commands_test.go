package vmc

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudlet/controller/api"
)

// started is an app that runs.
func started(name string) *api.App {
	n := 1
	return &api.App{
		Name: name, State: api.Started, Instances: 1, RunningInstances: &n, URIs: []string{name + ".vcap.me"}, Services: []string{},
		Staging: api.Staging{Model: "node", Stack: "node"}, Resources: api.Resources{Memory: 128, Disk: 2048, FDs: 256}, Env: []string{"A=1"},
	}
}

func TestInfo(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	u.wants(`
My cloud
For support visit http://support.example.com

Target:   `+c.srv.URL+` (v0.999)
Client:   v0.3.23

User:     admin@example.com
Usage:    Memory   (128.0M of 2.0G total)
          Services (0 of 16 total)
          Apps     (1 of 20 total)

`, "info")
	u.wants("\n[admin@example.com]\n\n", "user")
	u.wants("\n["+c.srv.URL+"]\n\n", "target")
	u.wants(`
+------------+
| Name       |
+------------+
| node       |
| sinatra    |
| standalone |
| static     |
+------------+

`, "frameworks")
	u.wants(`
+--------+-------------+---------+
| Name   | Description | Version |
+--------+-------------+---------+
| node   | NODE        | 1.0     |
| ruby18 | RUBY18      | 1.0     |
| ruby19 | RUBY19      | 1.0     |
| shell  | SHELL       | 1.0     |
| static | STATIC      | 1.0     |
+--------+-------------+---------+

`, "runtimes")
}

func TestTarget(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	u.wants("\n[http://api.localhost:8080]\n\n", "target")
	u.wants("Successfully targeted to ["+c.srv.URL+"]\n\n", "target", c.srv.URL+"//")
	u.wants("\n["+c.srv.URL+"]\n\n", "target")
	u.fails([]string{"Host is not available or is not valid: 'http://127.0.0.1:1'", "is `cloudlet up` running?"}, "target", "127.0.0.1:1")
	c.info = func(i *api.Info) { i.Build = 0 }
	u.fails([]string{"is not valid", "not as the API"}, "target", c.srv.URL)
	for _, target := range []string{"", "http://", "ftp://x", "http://a b", "x\x1b[2J"} {
		u.fails([]string{"is not the URL of a cloud\nWrite it as api.example.com or https://api.example.com.\n"}, "target", target)
	}
	u.wants("None specified\n\n", "targets")
	if info, err := os.Stat(filepath.Join(u.home, ".vmc_target")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestLogin(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.srv.URL)
	u.fails([]string{"Login Required", "vmc login"}, "apps")
	u.fails([]string{"Need a valid email"}, "login")
	u.fails([]string{"Need a valid email"}, "login", "-n")
	u.fails([]string{"Need a password"}, "login", adminEmail)
	u.fails([]string{"Problem with login, invalid account or password when attempting to login to '" + c.srv.URL + "'"},
		"login", adminEmail, "--passwd", "wrong")
	u.wants("Successfully logged into ["+c.srv.URL+"]\n\n", "login", adminEmail, "--passwd", "secret")
	u.wants("\n["+adminEmail+"]\n\n", "user")
	c.handlers = map[string]http.HandlerFunc{"POST /users/foo%40bar.com/tokens": func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("an administrator's token went along, for which any password is good")
		}
		answer(w, api.Token{Token: token})
	}}
	u.wants("Successfully logged into ["+c.srv.URL+"]\n\n", "login", "foo@bar.com", "--passwd", "x")
	data, err := os.ReadFile(filepath.Join(u.home, ".vmc_token"))
	if err != nil || string(data) != `{"`+c.srv.URL+`":"`+token+"\"}\n" {
		t.Errorf("token file %s, %v", data, err)
	}
	u.wants("Successfully logged out of ["+c.srv.URL+"]\n\n", "logout")
	u.wants("\n[N/A]\n\n", "user")

	u.in = "secret\n" // from a pipe
	u.wants("Successfully logged into ["+c.srv.URL+"]\n\n", "login", adminEmail, "--token-file", "mine")
	if _, err := os.Stat(filepath.Join(u.dir, "mine")); err != nil {
		t.Error(err)
	}
}

func TestRejectedToken(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.write(u.home, ".vmc_token", `{"`+c.srv.URL+`":"0408old"}`)
	u.fails([]string{"Not Authorized", "vmc login"}, "apps")
	u.write(u.home, ".vmc_token", `not json`)
	u.fails([]string{".vmc_token is not a JSON object", "\n`vmc logout` removes it, `vmc login` makes a new one then.\n"}, "apps")
	u.write(u.home, ".vmc_target", "api.example.com\nand more")
	u.fails([]string{".vmc_target has \"api.example.com\\nand more\" in it, which is not the URL of a cloud\n`vmc target URL` writes it anew.\n"}, "apps")
	u.wants("Successfully targeted to ["+c.srv.URL+"]\n\n", "target", c.srv.URL)
	u.env["HOME"] = filepath.Join(u.home, "nowhere")
	u.fails([]string{"The files of vmc cannot be written: ", "\nHOME has to be a folder"}, "target", c.srv.URL)
}

func TestUsers(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.wants(`
+-------------------+-------+------+
| Email             | Admin | Apps |
+-------------------+-------+------+
| admin@example.com | true  | chat |
+-------------------+-------+------+

`, "users")
	u.wants("Creating New User: OK\n\n", "add-user", "foo@bar.com", "--passwd", "x")
	u.wants("Changing password for 'admin@example.com'\nSuccessfully changed password\n\n", "passwd", "new")
	if c.users["foo@bar.com"] != "x" || c.users[adminEmail] != "new" {
		t.Errorf("users %v", c.users)
	}
	c.apps["hello"] = started("hello")
	c.services["db"] = api.Service{Name: "db"}
	u.wants("Deleting application [hello]: OK\nDeleting service [db]: OK\nDeleting User: OK\n\n", "delete-user", "foo@bar.com")
	if len(c.users) != 1 {
		t.Errorf("users %v", c.users)
	}
}

func TestRegisterLogsIn(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.srv.URL)
	u.wants("Creating New User: OK\nSuccessfully logged into ["+c.srv.URL+"]\n\n", "register", "--email", "foo@bar.com", "--passwd", "x")
}

func TestApps(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.wants("No Applications\n\n", "apps")
	c.apps["hello"], c.apps["chat"] = started("hello"), started("chat")
	u.wants(`
+-------------+----+---------+---------------+----------+
| Application | #  | Health  | URLS          | Services |
+-------------+----+---------+---------------+----------+
| chat        | 1  | RUNNING | chat.vcap.me  |          |
| hello       | 1  | RUNNING | hello.vcap.me |          |
+-------------+----+---------+---------------+----------+

`, "list")
	_, out, _ := u.vmc("apps", "--json")
	var apps []api.App
	if err := json.Unmarshal([]byte(out), &apps); err != nil || len(apps) != 2 || apps[0].Name != "chat" {
		t.Errorf("%v in %s", err, out)
	}
	if status, out, _ := u.vmc("apps", "-q"); status != 0 || out != "" {
		t.Errorf("quiet printed %q", out)
	}
}

func TestLifeCycle(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	url := "  " + address(c.srv.URL, "hello.vcap.me") + "\n"
	u.wants("Stopping Application 'hello': OK\n\n", "stop", "hello")
	u.wants("Application 'hello' already stopped\n\n", "stop", "hello")
	u.wants("Staging Application 'hello': OK\nStarting Application 'hello': OK\n"+url+"\n", "start", "hello")
	u.wants("Application 'hello' already started\n\n", "start", "--name", "hello")
	u.wants("Stopping Application 'hello': OK\nStaging Application 'hello': OK\nStarting Application 'hello': OK\n"+url+"\n", "restart", "hello")
	u.wants("Deleting application [hello]: OK\n\n", "delete", "hello")
	u.fails([]string{"Error 301: Application not found: 'hello'", "`vmc apps`"}, "start", "hello")
	u.fails([]string{"Which application?"}, "stop")
}

// Services, environment and the rest survive a start: v1 resets what is left out.
func TestStartSendsTheWholeApp(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["hello"].State, c.apps["hello"].Services = api.Stopped, []string{"mysql-1"}
	u := c.at(t)
	if status, out, errs := u.vmc("start", "hello"); status != 0 {
		t.Fatal(out, errs)
	}
	req := c.requests[0]
	if len(req.Services) != 1 || (*req.Env)[0] != "A=1" || *req.Console || *req.Staging.Runtime != "node" {
		data, _ := json.Marshal(req)
		t.Errorf("request %s", data)
	}
}

func TestDebugModes(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["hello"].State = api.Stopped
	c.handlers = map[string]http.HandlerFunc{"GET /info/runtimes": func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]api.RuntimeInfo{"node": {DebugModes: []string{"run"}}})
	}}
	u := c.at(t)
	u.fails([]string{"Application 'hello' cannot start in 'suspend' mode", "Available modes: run"}, "start", "hello", "-d", "suspend")
	if status, out, errs := u.vmc("start", "hello", "-d"); status != 0 || *c.requests[0].Debug != "run" {
		t.Error(out, errs)
	}
}

func TestDeleteAll(t *testing.T) {
	c := newCloud(t)
	c.apps["a"], c.apps["b"] = started("a"), started("b")
	u := c.at(t)
	u.fails([]string{"--force"}, "delete", "--all")
	if len(c.apps) != 2 {
		t.Fatalf("apps %v", c.apps)
	}
	if status, out, errs := u.vmc("delete", "--all", "--force"); status != 0 || len(c.apps) != 0 {
		t.Error(out, errs)
	}
}

func TestMem(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	restart := "Stopping Application 'hello': OK\nStaging Application 'hello': OK\nStarting Application 'hello': OK\n  " +
		address(c.srv.URL, "hello.vcap.me") + "\n\n"
	u.wants("Updating Memory Reservation to 256M: OK\n"+restart, "mem", "hello", "256")
	u.wants("Updating Memory Reservation to 256M: OK\n\n", "mem", "hello")
	u.fails([]string{"Not enough capacity for operation."}, "mem", "hello", "4G")
	u.fails([]string{"Invalid memory size"}, "mem", "hello", "big")
}

func TestMapping(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	u.wants("Successfully mapped url\n\n", "map", "hello", "http://www.vcap.me:8080/")
	u.wants("Successfully unmapped url\n\n", "unmap", "hello", "hello.vcap.me")
	if got := c.apps["hello"].URIs; len(got) != 1 || got[0] != "www.vcap.me" {
		t.Errorf("URIs %q", got)
	}
	u.fails([]string{"Error: Invalid url", "'hello' is mapped to www.vcap.me."}, "unmap", "hello", "other.vcap.me")
}

func TestInstances(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	when := time.Unix(1345678901, 0).Format("01/02/2006 03:04PM")
	u.wants(`
+-------+---------+--------------------+
| Index | State   | Start Time         |
+-------+---------+--------------------+
| 0     | RUNNING | `+when+` |
+-------+---------+--------------------+

`, "instances", "hello")
	u.wants("Scaling Application instances up to 3: OK\n\n", "instances", "hello", "+2")
	u.wants("Application [hello] is already running 3 instances.\n\n", "scale", "hello", "3")
	u.wants("Scaling Application instances down to 1: OK\n\n", "scale", "hello", "-2")
	u.wants("Scaling Application instances up to 2: OK\n\n", "scale", "hello", "--instances", "2")
	u.fails([]string{"Error: There must be at least 1 instance."}, "instances", "hello", "-5")
	u.fails([]string{"Not enough capacity"}, "instances", "hello", "100")
	c.apps["hello"].State = api.Stopped
	u.wants("No running instances for [hello]\n\n", "instances", "hello")
	u.wants("No running instances for [hello]\n\n", "stats", "hello")
}

func TestEnv(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["hello"].State = api.Stopped
	u := c.at(t)
	u.wants("Adding Environment Variable [B=x=y]: OK\n\n", "env-add", "hello", "B=x=y")
	u.wants("Adding Environment Variable [A=2]: OK\n\n", "env-add", "hello", "A", "2")
	u.wants(`
+----------+-------+
| Variable | Value |
+----------+-------+
| B        | x=y   |
| A        | 2     |
+----------+-------+

`, "env", "hello")
	u.wants("[\n  \"B=x=y\",\n  \"A=2\"\n]\n\n", "env", "hello", "--json")
	u.wants("Deleting Environment Variable [A]: OK\n\n", "env-del", "hello", "A")
	u.wants("Deleting Environment Variable [A]: OK\n\n", "env-del", "hello", "A")
	u.wants("Deleting Environment Variable [B]: OK\n\n", "env-del", "hello", "B")
	u.wants("No Environment Variables\n\n", "env", "hello")
	u.fails([]string{"belong to the cloud"}, "env-add", "hello", "VCAP_X=1")
	u.fails([]string{"needs a name and a value"}, "env-add", "hello", "X")
}

func TestLogs(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.files["hello/0/logs"] = "stderr.log  2K\nstdout.log  0B"
	c.files["hello/0/logs/stderr.log"] = "one\ntwo\n"
	c.files["hello/0/logs/stdout.log"] = ""
	c.handlers = map[string]http.HandlerFunc{"GET /apps/hello/instances/0/files/%2F": func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "app/   -\nlogs/   -") // the mux takes a lone slash for the end of the path
	}}
	c.files["hello/0/app/server.js"] = "no newline"
	u := c.at(t)
	u.wants("====> /logs/stderr.log <====\n\none\ntwo\n\n\n", "logs", "hello")
	u.wants("[0: /logs/stderr.log] -one\n[0: /logs/stderr.log] -two\n\n", "logs", "hello", "--prefix", "--all")
	u.wants("app/   -\nlogs/   -\n", "files", "hello")
	u.wants("no newline", "files", "hello", "/app/server.js")
	u.wants("====> [0: /app/server.js] <====\n\nno newline\n", "files", "hello", "/app/server.js", "--all")
	u.fails([]string{"`vmc files hello` lists what there is, `vmc instances hello` and `vmc crashes hello` of which instances.\n"},
		"files", "hello", "/app", "--instance", "gone")
	u.fails([]string{"Error: No such file or directory", "vmc files hello"}, "files", "hello", "/nowhere")
	c.apps["hello"].State = api.Stopped
	u.fails([]string{"Error 305: Application 'hello' is stopped", "vmc start hello"}, "logs", "hello")
}

func TestCrashes(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	u.wants("No crashed instances for [hello]\n\n", "crashes", "hello")
	u.wants("No crashed instances for [hello]\n\n", "crashlogs", "hello")
	c.crashed["hello"] = []api.Crash{{Instance: "bbb", Since: 1345678960}, {Instance: "aaa", Since: 1345678900}}
	first, second := time.Unix(1345678900, 0).Format("01/02/2006 03:04PM"), time.Unix(1345678960, 0).Format("01/02/2006 03:04PM")
	u.wants(`
+---------+-------------+--------------------+
| Name    | Instance ID | Crashed Time       |
+---------+-------------+--------------------+
| hello-1 | aaa         | `+first+` |
| hello-2 | bbb         | `+second+` |
+---------+-------------+--------------------+

`, "crashes", "hello")
	for id, text := range map[string]string{"aaa": "first", "bbb": "last"} {
		c.files["hello/"+id+"/logs"] = "stderr.log 1K"
		c.files["hello/"+id+"/logs/stderr.log"] = text + "\n"
	}
	u.wants("====> /logs/stderr.log <====\n\nlast\n\n\n", "crashlogs", "hello")
	u.wants("====> /logs/stderr.log <====\n\nfirst\n\n\n", "crashlogs", "hello", "--instance", "hello-1")
}

// What cannot be is told before anything is stopped or sent.
func TestRefusedBeforehand(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	u.file("app.js", "")
	c.handlers = map[string]http.HandlerFunc{"GET /info/runtimes": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"node":{}}`) }}
	for _, line := range []string{"restart hello --debug", "push hello --debug suspend"} {
		u.fails([]string{"Application 'hello' cannot start in"}, strings.Fields(line)...)
		if c.apps["hello"].State != api.Started {
			t.Errorf("%s stopped it", line)
		}
	}
	c.zips = map[string][]byte{}
	u.fails([]string{"Error: The framework node does not run on 'ruby18'\nIt runs on node.\n"}, "push", "hello", "--runtime", "ruby18")
	if len(c.zips) > 0 {
		t.Error("the files were sent")
	}
}

// A refusal that has nothing to do with staging is not followed by the log of the last one.
func TestRefusedStart(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["hello"].State = api.Stopped
	c.files["hello/0logs/staging.log"] = "of yesterday\n"
	refusal := api.NotEnoughMemory.With("2G")
	c.onStart = func(*api.App) *api.Fault { return refusal }
	u := c.at(t)
	if status, _, errs := u.vmc("start", "hello"); status != 1 || !strings.HasPrefix(errs, "Error 600: ") {
		t.Errorf("status %d, %q", status, errs)
	}
	refusal = api.StagingFailed.With("no")
	u.fails([]string{"of yesterday", "Error 310: "}, "start", "hello")
}

// A command about several applications says which is which.
func TestStatsOfSeveral(t *testing.T) {
	c := newCloud(t)
	c.apps["a"], c.apps["b"] = started("a"), started("b")
	c.stats = map[int]api.InstanceStats{}
	u := c.at(t)
	u.file("manifest.yml", "applications: {a: {name: a}, b: {name: b}}")
	u.wants("\nApplication 'a'\nNo running instances for [a]\n\nApplication 'b'\nNo running instances for [b]\n\n", "stats")
	u.wants("{\n  \"a\": {},\n  \"b\": {}\n}\n\n", "stats", "--json")
	u.wants("{}\n\n", "stats", "a", "--json")
	u.fails([]string{"no such file or directory\n`vmc manifest` writes one.\n"}, "stats", "-m", "none.yml")
}

func TestAliases(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.wants("No Aliases\n\n", "aliases")
	u.wants("Successfully aliased 'a' to 'apps'\n\n", "alias", "a=apps")
	u.wants("Successfully aliased 'b' to 'user'\n\n", "alias", "b", "user")
	u.wants("No Applications\n\n", "a")
	u.wants("Successfully aliased 'j' to 'apps --json'\n\n", "alias", "j", "apps --json")
	u.wants("[]\n\n", "j")
	u.wants("Successfully unaliased 'j'\n\n", "unalias", "j")
	if status, _, errs := u.vmc("alias", "a=nothing --json"); status != 0 || errs != "[WARNING] vmc has no command [nothing --json]\n" {
		t.Errorf("status %d, %q", status, errs)
	}
	u.wants("Successfully aliased 'a' to 'apps'\n\n", "alias", "a=apps")
	u.wants("\n+-------+---------+\n| Alias | Command |\n+-------+---------+\n| a     | apps    |\n| b     | user    |\n+-------+---------+\n\n", "aliases")
	u.wants("Successfully unaliased 'a'\n\n", "unalias", "a")
	u.fails([]string{"Unknown alias 'a'"}, "unalias", "a")
	u.fails([]string{"vmc: Unknown command [a]", "vmc help"}, "a")
}

// The file of the first releases is taken over, unless there is a newer one.
func TestOldAliases(t *testing.T) {
	u := stranger(t)
	u.write(u.home, ".vmc-aliases", "v: version\n")
	u.wants("vmc 0.3.23\n\n", "v")
	if _, err := os.Stat(filepath.Join(u.home, ".vmc-aliases")); !os.IsNotExist(err) {
		t.Errorf("the old file is still there: %v", err)
	}
	u.write(u.home, ".vmc-aliases", "w: version\n")
	u.fails([]string{"Unknown command [w]"}, "w")
	u.wants("vmc 0.3.23\n\n", "v")
}

// With --json stdout is JSON alone, also of commands that list nothing.
func TestOutcomeAsJSON(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	for _, tc := range []struct {
		line, command, done string
		apps                int
	}{
		{"stop hello", "stop", "Stopping Application 'hello'", 1},
		{"stop hello", "stop", "", 1},
		{"start hello", "start", "Staging Application 'hello', Starting Application 'hello'", 1},
		{"scale hello 2", "instances", "Scaling Application instances up to 2", 1},
		{"map hello a.vcap.me", "map", "Successfully mapped url", 1},
		{"alias x apps", "alias", "Successfully aliased 'x' to 'apps'", 0},
		{"delete hello", "delete", "Deleting application [hello]", 0},
		{"logout", "logout", "Successfully logged out of [" + c.srv.URL + "]", 0},
	} {
		status, out, _ := u.vmc(append(strings.Fields(tc.line), "--json")...)
		var got outcome
		if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 {
			t.Fatalf("%s: status %d, %v in %q", tc.line, status, err, out)
		}
		if got.Command != tc.command || strings.Join(got.Done, ", ") != tc.done || len(got.Apps) != tc.apps {
			t.Errorf("%s: %+v", tc.line, got)
		}
	}
	u.file("app.js", "")
	u.write(u.home, ".vmc_token", `{"`+c.srv.URL+`":"`+token+`"}`)
	status, out, errs := u.vmc("push", "hello", "--json")
	var pushed outcome
	if err := json.Unmarshal([]byte(out), &pushed); err != nil || status != 0 || pushed.Apps[0].State != api.Started {
		t.Errorf("status %d, %v in %q", status, err, out)
	}
	if !strings.Contains(errs, "Uploading Application:") {
		t.Errorf("the progress is not on stderr: %q", errs)
	}
	if status, out, _ := u.vmc("start", "nobody", "--json"); status != 1 || out != "" {
		t.Errorf("status %d, %q", status, out)
	}
	for _, line := range []string{"version", "help", "help push", "options"} {
		if _, out, _ := u.vmc(append(strings.Fields(line), "--json")...); !json.Valid([]byte(out)) {
			t.Errorf("%s: %q", line, out)
		}
	}
}

func TestVerdict(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.wants("No Applications\n\n[apps:apps] SUCCEEDED\n\n", "apps", "--verbose")
	if _, out, _ := u.vmc("env", "nobody", "--verbose"); out != "[apps:environment] FAILED\n\n" {
		t.Errorf("printed %q", out)
	}
}

func TestUsage(t *testing.T) {
	u := stranger(t)
	u.wants("vmc 0.3.23\n\n", "version")
	u.wants("vmc 0.3.23\n", "-v")
	u.wants(basicUsage + "\n")
	u.fails([]string{"Too many arguments for [logs]: 'b', 'c'", "Usage: vmc logs <appname>"}, "logs", "a", "b", "c")
	u.fails([]string{"Not enough arguments for [map]", "Usage: vmc map <appname> <url>"}, "map", "a")
	u.fails([]string{"invalid option: --wrong"}, "apps", "--wrong")
	for _, args := range [][]string{{"help"}, {"-h"}, {"help", "push"}, {"push", "-h"}, {"help", "options"}, {"options"}, {"--options"}} {
		if status, out, errs := u.vmc(args...); status != 0 || len(out) < 100 || errs != "" {
			t.Errorf("vmc %q: %d %q %q", args, status, out, errs)
		}
	}
}

func TestTraceKeepsSecrets(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	_, _, errs := u.vmc("login", adminEmail, "--passwd", "secret", "-t")
	_, _, more := u.vmc("apps", "-t")
	errs += more
	if strings.Contains(errs, "secret") || strings.Contains(errs, token) {
		t.Errorf("a secret is in\n%s", errs)
	}
	for _, want := range []string{">>> POST " + c.srv.URL + "/users/admin%40example.com/tokens (anonymous, ", "(with token, ", "<<< 200 OK"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
}

const interruptedPush = "Interrupted.\nApplication 'hello' exists and is stopped: `vmc push hello` continues, `vmc delete hello` removes it.\n"

func TestInterrupted(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("app.js", "")
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	c.handlers = map[string]http.HandlerFunc{"PUT /apps/hello": func(http.ResponseWriter, *http.Request) { cancel(); <-hang }}
	var out, errs strings.Builder
	status := Run(ctx, []string{"push", "hello"}, Streams{
		Out: &out, Err: &errs, Dir: u.dir, Env: func(name string) string { return u.env[name] },
	})
	if status != 1 || errs.String() != interruptedPush {
		t.Errorf("status %d, %q\n%s", status, errs.String(), out.String())
	}
}
