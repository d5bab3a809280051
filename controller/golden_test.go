package controller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/controller/api"
	"cloudlet/internal/testkit"
)

// transcript writes down a conversation with the API and compares it with a golden
// file; UPDATE=1 rewrites the file.
type transcript struct {
	c       *cloud
	gateway *serviceGateway // what it is asked is written down as well
	out     strings.Builder
}

// volatile is what differs from run to run.
var volatile = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`"(created|updated|since)":1[78]\d{8}`), `"$1":NOW`},
	{regexp.MustCompile(`"updated_at":"20[23]\d-[^"]*Z"`), `"updated_at":"NOW"`},
	{regexp.MustCompile(`"time":"20[2-9]\d-[^"]*Z"`), `"time":"NOW"`},
	{regexp.MustCompile(`"(id|code)":"\w{26,}"`), `"$1":"RANDOM"`},
	{regexp.MustCompile(`"expires":\d{10}`), `"expires":NOW`},
	{regexp.MustCompile(`04085b08[0-9a-f]+`), `0408TOKEN`},
	{regexp.MustCompile(`"version":"[0-9a-f]{32}-`), `"version":"RANDOM-`},
}

// call sends one request and writes both sides down.
func (s *transcript) call(title, who, method, path, body string, header ...string) reply {
	s.c.t.Helper()
	r := s.c.do(who, method, path, body, header...)
	fmt.Fprintf(&s.out, "# %s\n> %s %s", title, method, s.c.named(path))
	if who != "" {
		fmt.Fprintf(&s.out, " (%s)", who)
	}
	if body != "" && len(body) < 500 && !strings.Contains(body, "\r\n") {
		fmt.Fprintf(&s.out, "\n> %s", s.c.named(body))
	}
	s.out.WriteString("\n")
	s.answer(r)
	return r
}

// note writes an answer down whose request was made otherwise.
func (s *transcript) note(title string, r reply) {
	fmt.Fprintf(&s.out, "# %s\n", title)
	s.answer(r)
}

func (s *transcript) answer(r reply) {
	if s.gateway != nil {
		for _, asked := range s.gateway.heard() {
			fmt.Fprintf(&s.out, "= %s\n", s.c.readable(asked))
		}
	}
	fmt.Fprintf(&s.out, "< %d %s\n", r.status, r.header.Get("Content-Type"))
	for _, h := range []string{"Location", "Www-Authenticate", "Retry-After", "Content-Range", "Content-Disposition"} {
		if v := r.header.Get(h); v != "" {
			fmt.Fprintf(&s.out, "< %s: %s\n", h, v)
		}
	}
	text := r.body
	if !json.Valid([]byte(text)) {
		text = fmt.Sprintf("%q", text)
	}
	s.out.WriteString(s.c.readable(text) + "\n\n")
}

// volatile has what is only known in this run written as something else.
func (c *cloud) volatile(what, with string) { c.names = append(c.names, what, with) }

// readable is a text as the golden file has it.
func (c *cloud) readable(text string) string {
	for _, v := range volatile {
		text = v.what.ReplaceAllString(text, v.with)
	}
	return c.named(text)
}

func (c *cloud) named(text string) string { return strings.NewReplacer(c.names...).Replace(text) }

func (s *transcript) compare() {
	t := s.c.t
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "_")+".golden")
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(s.out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, path, strings.Split(s.out.String(), "\n\n"), strings.Split(string(want), "\n\n"))
}

// diff reports the entries of a golden file that differ.
func diff(t testing.TB, path string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d entries, want %d", path, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s:\n--- got\n%s\n--- want\n%s", path, got[i], want[i])
		}
	}
}

func TestGoldenInfo(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	s := transcript{c: c}
	s.call("anonymous", "", "GET", "/info", "")
	s.call("a stopped app counts nothing", alice, "POST", "/apps", `{"name":"idle","staging":{"framework":"node"},"instances":2,"resources":{"memory":64}}`)
	s.call("a started one does", alice, "POST", "/apps", `{"name":"busy","staging":{"framework":"node"},"instances":2,"resources":{"memory":64},"state":"started"}`)
	s.call("logged in", alice, "GET", "/info", "")
	s.call("an administrator has other limits", root, "GET", "/info", "")
	s.call("an administrator as somebody", root, "GET", "/info", "", "Proxy-User", alice)
	s.call("Java clients say Bearer", "", "GET", "/info", "", "Authorization", "Bearer "+c.tokens[bob])
	s.call("a bad token is nobody", "", "GET", "/info", "", "Authorization", "0408badbad")
	s.call("so is a JWT", "", "GET", "/info", "", "Authorization", "bearer a.b.c")
	s.call("runtimes", "", "GET", "/info/runtimes", "")
	s.call("services", "", "GET", "/info/services", "")
	s.call("own services", alice, "GET", "/services", "")
	s.call("root", "", "GET", "/", "")
	s.call("slashes only", "", "GET", "//", "")
	s.call("trailing slashes", "", "GET", "/info/runtimes//", "")
	s.call("unknown route", "", "GET", "/nowhere", "")
	s.call("unknown verb", alice, "PATCH", "/apps", "")
	s.compare()
}

func TestGoldenUsers(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.Registration = controller.RegistrationOpen })
	s := transcript{c: c}
	s.call("register", "", "POST", "/users/", `{"email":"carol+x@example.com","password":"secret"}`)
	s.call("log in, @ as %40", "", "POST", "/users/carol%2Bx%40example.com/tokens", `{"password":"secret"}`)
	s.call("log in, @ as it is", "", "POST", "/users/carol+x@example.com/tokens", `{"password":"secret"}`)
	s.call("log in, labelled as a form", "", "POST", "/users/carol+x@example.com/tokens", `{"password":"secret"}`, "Content-Type", "application/x-www-form-urlencoded")
	s.call("an administrator gets a token for anybody", root, "POST", "/users/alice%40example.com/tokens", `{}`)
	s.call("but not for nobody", root, "POST", "/users/nobody%40example.com/tokens", `{}`)
	s.call("wrong password", "", "POST", "/users/carol+x@example.com/tokens", `{"password":"wrong"}`)
	s.call("self", alice, "GET", "/users/alice%40example.com", "")
	s.call("self, raw", alice, "GET", "/users/alice@example.com/", "")
	s.call("somebody else", alice, "GET", "/users/bob@example.com", "")
	s.call("the administrator", root, "GET", "/users/alice@example.com", "")
	s.call("the administrator, of an unknown user", root, "GET", "/users/nobody@example.com", "")
	s.call("nobody", "", "GET", "/users/alice@example.com", "")
	s.call("a PUT changes the caller's own password", alice, "PUT", "/users/bob@example.com", `{"email":"bob@example.com","admin":true,"password":"new"}`)
	s.call("which revokes the token", alice, "GET", "/apps", "")
	s.call("the new password", "", "POST", "/users/alice@example.com/tokens", `{"password":"new"}`)
	s.call("bob is as he was", bob, "GET", "/users/bob@example.com", "")
	s.call("as another", root, "PUT", "/users/root@example.com", `{"password":"given"}`, "Proxy-User", alice)
	s.call("it was hers", "", "POST", "/users/alice@example.com/tokens", `{"password":"given"}`)
	s.call("proxying is for administrators", bob, "GET", "/apps", "", "Proxy-User", alice)
	s.call("proxying for an unknown user", root, "GET", "/apps", "", "Proxy-User", "nobody@example.com")
	s.call("a blank proxy is none", bob, "GET", "/apps", "", "Proxy-User", " ")
	c.ok(bob, "POST", "/apps", `{"name":"chat","staging":{"framework":"node"}}`)
	s.call("all users", root, "GET", "/users", "")
	s.call("not for all", bob, "GET", "/users", "")
	s.call("nor under a user's name", root, "GET", "/users", "", "Proxy-User", bob)
	s.call("delete", root, "DELETE", "/users/bob%40example.com", "")
	s.call("and again", root, "DELETE", "/users/bob%40example.com", "")
	s.call("the token is dead", bob, "GET", "/apps", "")
	s.call("deleting oneself", root, "DELETE", "/users/root@example.com", "")
	s.call("deleting as an ordinary user", alice, "DELETE", "/users/root@example.com", "")
	s.compare()
}

func TestGoldenApps(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.health(1, func(bus.StatusOf) *bus.StatusReply { return nil })
	c.stager()
	c.dea("dea-1", 4096)
	s := transcript{c: c}
	s.call("as vmc creates", alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node","runtime":null},"uris":["hello.localhost"],"instances":1,"resources":{"memory":128}}`)
	s.call("read", alice, "GET", "/apps/hello", "")
	s.call("cfoundry follows the redirect with the body", alice, "GET", "/apps/hello", create)
	s.call("behind TLS", alice, "POST", "/apps", `{"name":"tls","staging":{"framework":"node"}}`, "X-Forwarded-Proto", "https")
	c.ok(alice, "DELETE", "/apps/tls", "")
	s.call("HEAD", alice, "HEAD", "/apps/hello", "")
	s.call("nothing uploaded", alice, "GET", "/apps/hello/application", "")
	c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
	s.call("bits, nothing staged", alice, "GET", "/apps/hello", "")
	s.call("start with what was read", alice, "PUT", "/apps/hello", `{"name":"hello","staging":{"model":"node","stack":"node"},"uris":["hello.localhost"],"instances":1,"runningInstances":0,"resources":{"memory":128,"disk":2048,"fds":256},"state":"STARTED","services":[],"version":"x","env":["A=1","A=1","VCAP_X=1","vmc_y=2"],"meta":{"version":1,"created":1345678901,"command":"ignored"},"debug":null,"console":false}`)
	s.call("started", alice, "GET", "/apps/hello", "")
	s.call("update state", alice, "GET", "/apps/hello/update", "")
	s.call("stale version", alice, "PUT", "/apps/hello", `{"state":"STOPPED","meta":{"version":1}}`)
	s.call("Java's PUT has no meta, console is reset", alice, "PUT", "/apps/hello", `{"name":"other","state":"STARTED","instances":"1","resources":{"memory":"64","disk":1}}`)
	s.call("no rename, memory set, env kept", alice, "GET", "/apps/hello", "")
	s.call("PUT through POST", alice, "POST", "/apps/hello", `{"instances":2}`, "X-HTTP-Method-Override", "PUT")
	s.call("PUT as a form", alice, "POST", "/apps/hello", "_method=put", "Content-Type", "application/x-www-form-urlencoded")
	s.call("an unknown state is ignored", alice, "PUT", "/apps/hello", `{"state":"PAUSED","instances":1}`)
	s.call("rolling update", alice, "PUT", "/apps/hello/update", "")
	s.call("stop", alice, "PUT", "/apps/hello", `{"state":"stopped"}`)
	s.call("stopped", alice, "GET", "/apps/hello", "")
	s.call("stopped in the list: running is null", alice, "GET", "/apps", "")
	s.call("update state of a stopped app", alice, "GET", "/apps/hello/update", "")
	s.call("rolling update of a stopped app", alice, "PUT", "/apps/hello/update", "")
	s.call("command, debug off, old names", alice, "POST", "/apps", `{"name":"old","staging":{"model":"nodejs/1.0","stack":null,"command":"node x.js"},"console":true,"debug":"run"}`)
	s.call("read", alice, "GET", "/apps/old", "")
	s.call("others do not see it", bob, "GET", "/apps/old", "")
	s.call("nor the administrator", root, "GET", "/apps/old", "")
	s.call("unless as her", root, "GET", "/apps", "", "Proxy-User", alice)
	s.call("anonymous", "", "GET", "/apps", "")
	s.call("delete through POST", alice, "POST", "/apps/old", "", "X-HTTP-Method-Override", "delete")
	s.call("delete", alice, "DELETE", "/apps/hello", "", "Content-Length", "0")
	s.call("gone", alice, "DELETE", "/apps/hello", "")
	s.call("an empty list", alice, "GET", "/apps", "")
	s.compare()
}

// A DEA that answers for one running and one starting instance.
func (c *cloud) fakeInstances(fileURI string) {
	port, console := 61001, "10.0.0.5"
	testkit.Handle(c.t, c.conn, bus.DEAFindDroplet.Answer(func(q bus.FindDroplet, reply func(bus.FoundDroplet)) {
		f := bus.FoundDroplet{
			DEA: "dea-1", Version: q.Version, Droplet: q.Droplet.ID(), Instance: "9f86d081884c7d659a2feaa0c55ad015", State: bus.Running,
			StateTimestamp: 1345678901, FileURI: fileURI, Staged: "hello-0-9f86", Credentials: []string{"u", "p"},
			ConsoleIP: &console, ConsolePort: &port,
		}
		if len(q.Instances) > 0 {
			f.State, f.Version = bus.Crashed, "an older one"
			for _, id := range []string{f.Instance, "9b2f0c1d7e5a4f0e8c3b6a1d2e4f5a6b"} {
				if q.Instances[0] == id && q.InstanceIDs[0] == id && len(q.States) == 0 && q.Version == "" {
					reply(f)
				}
			}
			return
		}
		if q.IncludeStats {
			f.Stats = &bus.InstanceStats{
				Name: "hello", Host: "10.0.0.5", Port: &port, URIs: []string{"hello.localhost"}, Uptime: 412,
				MemQuota: 128 << 20, DiskQuota: 2 << 30, FDsQuota: 256, Cores: 4,
				Usage: &bus.Usage{Time: "2012-08-22 23:41:41 +0000", CPU: 0, Mem: 19212, Disk: 1298432},
			}
		}
		reply(f)
		f.Index, f.State, f.Stats = 1, bus.Starting, nil
		if !q.IncludeStats {
			reply(f)
		}
		f.Index, f.State = 7, bus.Running // of a bigger past
		reply(f)
		reply(f)
	}))
}

func TestGoldenInstances(t *testing.T) {
	t.Parallel()
	files := fileViewer(t)
	c, _ := pushed(t, nil)
	s := transcript{c: c}
	s.call("scale", alice, "PUT", "/apps/hello", `{"instances":3}`)
	c.health(2, func(q bus.StatusOf) *bus.StatusReply {
		if q.State == bus.Flapping {
			return &bus.StatusReply{Indices: &[]bus.FlappingIndex{{Index: 0, Since: 1345678000}, {Index: 9, Since: 1}}}
		}
		return &bus.StatusReply{Instances: &[]bus.CrashedInstance{{Instance: "9b2f0c1d7e5a4f0e8c3b6a1d2e4f5a6b", Since: 1345678950}}}
	})
	c.fakeInstances(files)
	s.call("running count", alice, "GET", "/apps/hello", "")
	s.call("instances: a running one beats flapping", alice, "GET", "/apps/hello/instances", "")
	s.call("stats", alice, "GET", "/apps/hello/stats", "")
	s.call("crashes", alice, "GET", "/apps/hello/crashes", "")
	s.call("crashes tell how an update went", alice, "GET", "/apps/hello/update", "")
	s.call("root listing", alice, "GET", "/apps/hello/instances/0/files", "")
	s.call("with slash", alice, "GET", "/apps/hello/instances/0/files/", "")
	s.call("file", alice, "GET", "/apps/hello/instances/0/files/logs/stderr.log", "")
	s.call("file, %2F", alice, "GET", "/apps/hello/instances/0/files/%2Flogs%2Fstderr.log", "")
	s.call("file, //", alice, "GET", "/apps/hello/instances/0/files//logs/stderr.log", "")
	s.call("file by instance id", alice, "GET", "/apps/hello/instances/9f86d081884c7d659a2feaa0c55ad015/files/logs/stderr.log", "")
	s.call("range", alice, "GET", "/apps/hello/instances/0/files/logs/stderr.log", "", "Range", "bytes=3-")
	s.call("range, HEAD", alice, "HEAD", "/apps/hello/instances/0/files/logs/stderr.log", "", "Range", "bytes=0-")
	s.call("the last bytes", alice, "GET", "/apps/hello/instances/0/files/logs/stderr.log", "", "Range", "bytes=-4")
	s.call("more than there are", alice, "GET", "/apps/hello/instances/0/files/logs/stderr.log", "", "Range", "bytes=-40")
	s.call("past the end", alice, "GET", "/apps/hello/instances/0/files/logs/stderr.log", "", "Range", "bytes=10-")
	s.call("pid of the app", alice, "GET", "/apps/hello/instances/0/files/run.pid", "")
	s.call("pid of the app, escaped", alice, "GET", "/apps/hello/instances/0/files/%2Frun.pid", "")
	s.call("an empty file", alice, "GET", "/apps/hello/instances/0/files/empty", "")
	s.call("what is not for reading", alice, "GET", "/apps/hello/instances/0/files/startup", "")
	s.call("of a crashed instance, by its id", alice, "GET", "/apps/hello/instances/9b2f0c1d7e5a4f0e8c3b6a1d2e4f5a6b/files/logs/stderr.log", "")
	s.call("range of an empty file", alice, "HEAD", "/apps/hello/instances/0/files/empty", "", "Range", "bytes=0-")
	s.call("no such file", alice, "GET", "/apps/hello/instances/0/files/nothing", "")
	s.call("blank and percent", alice, "GET", "/apps/hello/instances/0/files/a%20%25b", "")
	s.call("index too high", alice, "GET", "/apps/hello/instances/3/files/logs", "")
	s.call("no such file, staging log of the app", alice, "GET", "/apps/hello/instances/77/files/logs/staging.log", "")
	s.call("the same, escaped", alice, "GET", "/apps/hello/instances/0/files/logs%2Fstaging.log", "")
	s.call("with a leading slash it is the instance's", alice, "GET", "/apps/hello/instances/0/files/%2Flogs%2Fstaging.log", "")
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STOPPED"}`)
	s.call("stopped: no instances", alice, "GET", "/apps/hello/instances", "")
	s.call("stopped: no stats", alice, "GET", "/apps/hello/stats", "")
	s.call("stopped: crashes stay", alice, "GET", "/apps/hello/crashes", "")
	s.call("stopped: no files", alice, "GET", "/apps/hello/instances/0/files/logs", "")
	s.call("stopped: the staging log stays", alice, "GET", "/apps/hello/instances/0/files/logs/staging.log", "")
	c.ok(alice, "POST", "/apps", `{"name":"new","staging":{"framework":"node"}}`)
	s.call("never staged: no log", alice, "GET", "/apps/new/instances/0/files/logs/staging.log", "")
	s.call("unknown app", alice, "GET", "/apps/none/instances", "")
	s.compare()
}

// fileViewer plays the DEA's file viewer.
func fileViewer(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "u" || p != "p" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		path, ok := strings.CutPrefix(r.URL.Path, "/droplets/hello-0-9f86")
		switch {
		case !ok:
			http.Error(w, "elsewhere: "+r.URL.Path, http.StatusTeapot)
		case path == "/":
			fmt.Fprint(w, "app/                                         -\nlogs/                                        -")
		case path == "/logs/stderr.log":
			http.ServeContent(w, r, "stderr.log", startOfTime, strings.NewReader("0123456789"))
		case path == "/empty" && r.Header.Get("Range") != "":
			http.Error(w, "", http.StatusRequestedRangeNotSatisfiable)
		case path == "/empty":
		case path == "/run.pid":
			fmt.Fprint(w, "4711\n")
		case path == "/startup":
			http.Error(w, "Not accessible", http.StatusForbidden)
		case path == "/a %b":
			fmt.Fprint(w, "odd name")
		default:
			http.Error(w, "Entity not found.", http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/droplets/"
}

func TestGoldenInternal(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	app := c.app(alice, "hello")
	for _, name := range []string{"a", "b", "c"} {
		c.ok(bob, "POST", "/apps", `{"name":"`+name+`","staging":{"framework":"node"}}`)
	}
	login := c.bulkLogin()
	s := transcript{c: c}
	s.call("droplet", "", "GET", "/staged_droplets/1/"+app.Droplet.SHA1, "")
	s.call("part of a droplet", "", "GET", "/staged_droplets/1/"+app.Droplet.SHA1, "", "Range", "bytes=0-6")
	s.call("not the present droplet", "", "GET", "/staged_droplets/1/"+app.Package.Hash, "")
	s.call("another app's droplet", "", "GET", "/staged_droplets/2/"+app.Droplet.SHA1, "")
	s.call("no app", "", "GET", "/staged_droplets/x/"+app.Droplet.SHA1, "")
	s.call("bulk without login", "", "GET", "/bulk/apps", "")
	s.call("staging without login", "", "GET", "/staging/app/1", "")
	s.call("staging with the bulk login", "", "GET", "/staging/app/1", "", "Authorization", basic(login.User, login.Password))
	s.call("upload without login", "", "POST", "/staging/droplet/1/x", "")
	auth := basic(login.User, login.Password)
	s.call("first page", "", "GET", "/bulk/apps?batch_size=2", "", "Authorization", auth)
	s.call("second page", "", "GET", `/bulk/apps?batch_size=2&bulk_token=%7B%22id%22%3A2%7D`, "", "Authorization", auth)
	s.call("past the end", "", "GET", `/bulk/apps?batch_size=2&bulk_token=%7B%22id%22%3A4%7D`, "", "Authorization", auth)
	s.call("token as a form", "", "GET", `/bulk/apps?bulk_token%5Bid%5D=3`, "", "Authorization", auth)
	s.call("empty token: from the start", "", "GET", `/bulk/apps?batch_size=1&bulk_token=%7B%7D`, "", "Authorization", auth)
	s.call("null token: from the start", "", "GET", `/bulk/apps?batch_size=1&bulk_token=null`, "", "Authorization", auth)
	s.call("null and form at once", "", "GET", `/bulk/apps?batch_size=1&bulk_token=null&bulk_token%5Bid%5D=3`, "", "Authorization", auth)
	s.call("negative token: from the start", "", "GET", `/bulk/apps?batch_size=1&bulk_token=%7B%22id%22%3A-5%7D`, "", "Authorization", auth)
	s.call("bad token", "", "GET", `/bulk/apps?bulk_token=%7B%22id%20or%201%22%3A2%7D`, "", "Authorization", auth)
	s.call("bad token value", "", "GET", `/bulk/apps?bulk_token=%7B%22id%22%3A%5B1%5D%7D`, "", "Authorization", auth)
	s.call("no JSON", "", "GET", `/bulk/apps?bulk_token=x`, "", "Authorization", auth)
	s.call("bad size", "", "GET", `/bulk/apps?batch_size=0`, "", "Authorization", auth)
	s.call("count of apps", "", "GET", "/bulk/counts?model=app", "", "Authorization", auth)
	s.call("count of users", "", "GET", "/bulk/counts", "", "Authorization", auth)
	s.call("count of anything", "", "GET", "/bulk/counts?model=planets", "", "Authorization", auth)
	s.compare()
}

// Every code of v1's table that a client can meet, and that no other golden file has.
func TestGoldenCodes(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) {
		cfg.Account = api.Account{Memory: 512, AppURIs: 2, Apps: 2, Services: 1}
	})
	stager := c.stager()
	stager.instead(func(bus.StagingTask) bus.StagingResult {
		return bus.StagingResult{Error: "Staging task failed:\n Staging plugin failed: \"npm\""}
	})
	c.ok(bob, "POST", "/apps", `{"name":"his","staging":{"framework":"node"},"uris":["taken.localhost"]}`)
	c.ok(alice, "POST", "/apps", create)
	s := transcript{c: c}
	put := func(title, body string) { s.call(title, alice, "PUT", "/apps/hello", body) }
	put("100", `{`)
	put("102", `{"meta":{"version":77}}`)
	login := c.bulkLogin()
	s.call("111", "", "GET", "/bulk/counts?model=planets", "", "Authorization", basic(login.User, login.Password))
	s.call("200", "", "GET", "/apps", "")
	s.call("201", root, "DELETE", "/users/nobody@example.com", "")
	s.call("300", alice, "POST", "/apps", `{"name":"a b","staging":{"framework":"node"}}`)
	s.call("301", alice, "GET", "/apps/none", "")
	s.call("305", alice, "GET", "/apps/hello/instances/0/files/logs", "")
	put("308: no framework", `{"staging":{}}`)
	put("308: a runtime is none", `{"staging":{"stack":"node"}}`)
	put("308: nor is a command", `{"staging":{"command":"x"}}`)
	put("309", `{"state":"STARTED","debug":"run"}`)
	s.note("402", c.upload(alice, "hello", "no zip", "[]"))
	put("600", `{"state":"STARTED","instances":3,"resources":{"memory":256}}`)
	c.ok(alice, "POST", "/apps", `{"name":"two","staging":{"framework":"node"}}`)
	s.call("601", alice, "POST", "/apps", `{"name":"three","staging":{"framework":"node"}}`)
	put("602", `{"uris":["a.localhost","b.localhost","c.localhost"]}`)
	put("700", `{"uris":["a b"]}`)
	put("701", `{"uris":["taken.localhost"]}`)
	put("702", `{"uris":["www.example.com"]}`)
	put("a started app without bits", `{"state":"STARTED"}`)
	s.call("304", alice, "GET", "/apps/hello/instances/2/files/logs", "")
	s.call("306: nobody has it", alice, "GET", "/apps/hello/instances/0/files/logs", "")
	c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]")
	put("310", `{"state":"STARTED"}`)
	s.call("310 stops the app", alice, "GET", "/apps/hello/update", "")
	s.call("the package", alice, "GET", "/apps/hello/application", "")
	s.compare()
}
