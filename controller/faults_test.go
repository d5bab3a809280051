package controller_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/controller/api"
	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// fault is what a wrong request is told: v1's words, and a hint that holds some of ours.
type fault struct {
	status, code int
	text, hint   string
}

func (f fault) check(t *testing.T, r reply) {
	t.Helper()
	got := api.ParseFault(r.status, []byte(r.body))
	if got.Status != f.status || got.Code != f.code || got.Text != f.text {
		t.Errorf("got %d, %d, %q\nwant %d, %d, %q\nbody %s", got.Status, got.Code, got.Text, f.status, f.code, f.text, r.body)
	}
	if got.Hint == "" || !strings.Contains(got.Hint, f.hint) {
		t.Errorf("hint %q, want one with %q", got.Hint, f.hint)
	}
}

// The rows of v1's table that these tests meet.
func badRequest(hint string) fault { return fault{400, 100, "Bad request", hint} }
func forbidden(hint string) fault  { return fault{403, 200, "Operation not permitted", hint} }
func appInvalid(hint string) fault { return fault{400, 300, "Invalid application description", hint} }
func uriInvalid(uri string) fault {
	return fault{400, 700, fmt.Sprintf("Invalid URI: %q", uri), "a URL is a host name such as hello.localhost"}
}
func uriTaken(uri, hint string) fault {
	return fault{400, 701, fmt.Sprintf("The URI: %q has already been taken or reserved", uri), hint}
}
func noApp() fault { return fault{404, 301, "Application not found", "vmc apps"} }

// describe is an app's description with one member set.
func describe(member, value string) string {
	return fmt.Sprintf(`{"name":"bad","staging":{"framework":"node"},%q:%s}`, member, value)
}

func TestBadDescriptions(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.Account = api.Account{Memory: 512, AppURIs: 2, Apps: 3, Services: 1} })
	c.ok(bob, "POST", "/apps", `{"name":"his","staging":{"framework":"node"},"uris":["taken.localhost"]}`)
	c.ok(alice, "POST", "/apps", `{"name":"hers","staging":{"framework":"node"},"instances":1,"resources":{"memory":256},"state":"STARTED"}`)
	none := fault{400, 308, "Invalid framework description: 'NONE'", "name a framework: this cloud has node, sinatra, standalone"}
	tooMuch := fault{403, 600, "Not enough memory capacity, you're allowed: 512M", "--mem or --instances"}
	for _, tc := range []struct {
		name, body string
		want       fault
	}{
		{"no JSON", `{"name":`, badRequest("JSON")},
		{"nothing", ``, badRequest("JSON")},
		{"an array", `[]`, badRequest("JSON")},
		{"a wrong type", describe("uris", `"a.localhost"`), badRequest("uris")},
		{"a fraction of an instance", describe("instances", `1.5`), badRequest("")},
		{"no framework", `{"name":"bad"}`, none},
		{"null framework", `{"name":"bad","staging":{"framework":null,"runtime":null}}`, none},
		{"empty framework", `{"name":"bad","staging":{"model":""}}`, none},
		{"framework unknown", `{"name":"bad","staging":{"framework":"rails3"}}`, appInvalid(`framework "rails3" is not known here; this cloud has node, sinatra, standalone`)},
		{"old name of an unknown one", `{"name":"bad","staging":{"model":"rails/1.0"}}`, appInvalid(`"rails3"`)},
		{"runtime not installed", `{"name":"bad","staging":{"framework":"sinatra","runtime":"ruby19"}}`, appInvalid("to install it: apt-get install ruby; then restart Cloudlet")},
		{"runtime of another framework", `{"name":"bad","staging":{"framework":"node","runtime":"ruby18"}}`, appInvalid(`framework node does not run on "ruby18"; it runs on node`)},
		{"no name", `{"staging":{"framework":"node"}}`, appInvalid("a name is 1 to 64 letters")},
		{"dots in the name", `{"name":"a.b","staging":{"framework":"node"}}`, appInvalid("a name is 1 to 64 letters")},
		{"slash in the name", `{"name":"../b","staging":{"framework":"node"}}`, appInvalid("a name is 1 to 64 letters")},
		{"a long name", `{"name":"` + strings.Repeat("a", 65) + `","staging":{"framework":"node"}}`, appInvalid("a name is 1 to 64 letters")},
		{"name taken", `{"name":"hers","staging":{"framework":"node"}}`, appInvalid("you have an application of this name already")},
		{"version of an app that is new", describe("meta", `{"version":3}`), fault{400, 102, "Optimistic locking failure", "read it again"}},
		{"services", describe("services", `["mysql-1"]`), fault{404, 500, "Service not found", "mysql-1"}},
		{"debug", `{"name":"bad","staging":{"framework":"node"},"state":"STARTED","debug":"run"}`, fault{400, 309, "Cloud controller has disallowed debugging.", "without a debug mode"}},
		{"URL taken", describe("uris", `["free.localhost","Taken.localhost"]`), uriTaken("taken.localhost", "another user has this URL")},
		{"URL reserved", describe("uris", `["http://API.localhost:8080/"]`), uriTaken("api.localhost", "Cloudlet's own")},
		{"external URL", describe("uris", `["www.example.com"]`), fault{403, 702, "External URIs are not enabled for this account", "ends in .localhost"}},
		{"the domain itself", describe("uris", `["localhost"]`), fault{403, 702, "External URIs are not enabled for this account", "ends in .localhost"}},
		{"too many URLs", describe("uris", `["a.localhost","b.localhost","c.localhost"]`), fault{403, 602, "Too many URIs: 3, you're allowed: 2", "vmc unmap"}},
		{"empty URL", describe("uris", `[""]`), uriInvalid("")},
		{"blank in the URL", describe("uris", `["a b.localhost"]`), uriInvalid("a b.localhost")},
		{"path in the URL", describe("uris", `["a.localhost/x"]`), uriInvalid("a.localhost/x")},
		{"empty label", describe("uris", `["a..localhost"]`), uriInvalid("a..localhost")},
		{"another scheme", describe("uris", `["ftp://a.localhost"]`), uriInvalid("ftp://a.localhost")},
		{"a wildcard", describe("uris", `["*.localhost"]`), uriInvalid("*.localhost")},
		{"a long URL", describe("uris", `["`+strings.Repeat("a", 64)+`.localhost"]`), uriInvalid(strings.Repeat("a", 64) + ".localhost")},
		{"too much memory at once", `{"name":"bad","staging":{"framework":"node"},"state":"STARTED","instances":1,"resources":{"memory":1024}}`, tooMuch},
		{"too much memory together", `{"name":"bad","staging":{"framework":"node"},"state":"STARTED","instances":2,"resources":{"memory":129}}`, tooMuch},
		{"memory that overflows", `{"name":"bad","staging":{"framework":"node"},"state":"STARTED","instances":1000,"resources":{"memory":9223372036854775807}}`, tooMuch},
		{"no memory", describe("resources", `{"memory":0}`), appInvalid("memory: at least 1 MB")},
		{"less than none", describe("resources", `{"memory":"-1"}`), appInvalid("memory: at least 1 MB")},
		{"absurd memory", describe("resources", `{"memory":9223372036854775807}`), appInvalid("memory: at most")},
		{"less than no instances", describe("instances", `-1`), appInvalid("instances: 0 to 1000")},
		{"too many instances", describe("instances", `1001`), appInvalid("instances: 0 to 1000")},
		{"too many instances, started", `{"name":"bad","staging":{"framework":"node"},"state":"STARTED","instances":1001,"resources":{"memory":1}}`, appInvalid("instances: 0 to 1000")},
		{"many variables", describe("env", `["`+strings.Join(numbers(1001), `","`)+`"]`), appInvalid("1000 entries")},
		{"long variables", describe("env", `["A=`+strings.Repeat("x", 65<<10)+`"]`), appInvalid("64 KiB")},
		{"zero byte in a variable", describe("env", `["A=\u0000"]`), appInvalid("zero byte")},
		{"zero byte in the command", `{"name":"bad","staging":{"framework":"node","command":"a\u0000"}}`, appInvalid("zero byte")},
		{"long command", `{"name":"bad","staging":{"framework":"node","command":"` + strings.Repeat("x", 9<<10) + `"}}`, appInvalid("8 KiB")},
		{"a body without end", `{"name":"` + strings.Repeat("a", 17<<20) + `"}`, badRequest("16 MiB")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.check(t, c.do(alice, "POST", "/apps", tc.body))
			if apps := c.ok(alice, "GET", "/apps", ""); strings.Contains(apps, `"bad"`) {
				t.Error("half an app is left")
			}
		})
	}
	for _, name := range []string{"two", "three"} {
		c.ok(alice, "POST", "/apps", `{"name":"`+name+`","staging":{"framework":"node"}}`)
	}
	fault{403, 601, "Too many applications: 3, you're allowed: 3", "vmc delete"}.check(t, c.do(alice, "POST", "/apps", describe("env", `[]`)))
}

// Memory is counted while an app is started, and once.
func TestMemoryQuota(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.Account = api.Account{Memory: 512, AppURIs: 1, Apps: 9, Services: 1} })
	for _, name := range []string{"a", "b"} {
		c.ok(alice, "POST", "/apps", fmt.Sprintf(`{"name":%q,"staging":{"framework":"node"},"instances":1,"resources":{"memory":400}}`, name))
	}
	for _, step := range []struct {
		app, body string
		fits      bool
	}{
		{"a", `{"state":"STARTED"}`, true},
		{"b", `{"state":"STARTED"}`, false},
		{"b", `{"resources":{"memory":112}}`, true},
		{"b", `{"state":"STARTED"}`, true},
		{"b", `{"instances":2}`, false},
		{"a", `{"resources":{"memory":401}}`, false},
		{"a", `{"resources":{"memory":200},"instances":2}`, true},
		{"a", `{"state":"STOPPED","instances":1000}`, true},
		{"b", `{"instances":4}`, true},
		{"a", `{"state":"STARTED"}`, false},
	} {
		r := c.do(alice, "PUT", "/apps/"+step.app, step.body)
		if fits := r.status == 200; fits != step.fits {
			t.Errorf("%s %s: %d %s", step.app, step.body, r.status, r.body)
		}
	}
}

func numbers(n int) (s []string) {
	for i := range n {
		s = append(s, fmt.Sprintf("N%d=1", i))
	}
	return s
}

// A change that is refused changes nothing, not even the version.
func TestRefusedChangeLeavesTheApp(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	before := c.app(alice, "hello")
	for _, body := range []string{
		`{"instances":2,"state":"STARTED","resources":{"memory":4096}}`, `{"instances":3,"uris":["api.localhost"]}`,
		`{"state":"STOPPED","staging":{"framework":"cobol"}}`, `{"env":["A=1"],"services":["x"]}`, `{"instances":3,"debug":"run"}`,
		`{"staging":{}}`, `{"instances":7,"meta":{"version":1}}`,
	} {
		if r := c.do(alice, "PUT", "/apps/hello", body); r.status < 400 {
			t.Errorf("%s: %d", body, r.status)
		}
	}
	if d := cmp.Diff(before, c.app(alice, "hello")); d != "" {
		t.Error(d)
	}
	c.expect()
}

// An app can be stopped, also where its runtime was removed from the machine.
func TestRuntimeRemoved(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"},"state":"STARTED"}`)
	app := c.app(alice, "hello")
	app.Framework, app.Runtime = "sinatra", "ruby19"
	if err := c.st.Update(func(tx *store.Tx) error { return tx.PutApp(app) }); err != nil {
		t.Fatal(err)
	}
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STOPPED","staging":{"model":"sinatra","stack":"ruby19"}}`)
	appInvalid("apt-get install ruby").check(t, c.do(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`))
}

// What old clients send as URLs, and what is kept of it.
func TestURIs(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	for given, want := range map[string]string{
		`"http://hello.localhost:8080"`:             `["hello.localhost"]`,
		`"HTTPS://Hello.LOCALHOST/"`:                `["hello.localhost"]`,
		`" hello.localhost "`:                       `["hello.localhost"]`,
		`"hello.localhost:8080/"`:                   `["hello.localhost"]`,
		`"b.localhost","a.localhost","B.localhost"`: `["a.localhost","b.localhost"]`,
		`"x.api.localhost","my_app.localhost"`:      `["my_app.localhost","x.api.localhost"]`,
		``:                                          `[]`,
	} {
		c.ok(alice, "PUT", "/apps/hello", `{"uris":[`+given+`]}`)
		if app := c.ok(alice, "GET", "/apps/hello", ""); !strings.Contains(app, `"uris":`+want) {
			t.Errorf("%s became %s", given, app)
		}
	}
	c.ok(alice, "POST", "/apps", `{"name":"green","staging":{"framework":"node"},"uris":["hello.localhost"]}`)
	c.ok(alice, "PUT", "/apps/hello", `{"uris":["hello.localhost"]}`) // one owner may have it twice
	c.ok(alice, "PUT", "/apps/hello", `{"uris":[]}`)
	uriTaken("hello.localhost", "").check(t, c.do(bob, "POST", "/apps", describe("uris", `["hello.localhost"]`)))
	c.ok(alice, "DELETE", "/apps/green", "")
	c.ok(bob, "POST", "/apps", describe("uris", `["hello.localhost"]`))
	c.ok(root, "POST", "/apps", describe("uris", `["www.example.com"]`))
}

func TestOldFrameworkNames(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) {
		cfg.Frameworks, cfg.Runtimes = nil, []controller.Runtime{{Name: "ruby18", Executable: "x"}, {Name: "java", Executable: "x"}, {Name: "node", Executable: "x"}}
		for name, runtime := range map[string]string{
			"sinatra": "ruby18", "node": "node", "rails3": "ruby18", "java_web": "java", "spring": "java", "grails": "java", "lift": "java",
		} {
			cfg.Frameworks = append(cfg.Frameworks, controller.Framework{Name: name, Runtimes: []string{runtime}})
		}
	})
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	for old, want := range map[string]string{
		"http://b20nine.com/unknown": `{"model":"sinatra","stack":"ruby18"}`,
		"nodejs/1.0":                 `{"model":"node","stack":"node"}`,
		"rails/1.0":                  `{"model":"rails3","stack":"ruby18"}`,
		"java_web/1.0":               `{"model":"java_web","stack":"java"}`,
		"spring_web/1.0":             `{"model":"spring","stack":"java"}`,
		"grails/1.0":                 `{"model":"grails","stack":"java"}`,
		"lift/1.0":                   `{"model":"lift","stack":"java"}`,
	} {
		c.ok(alice, "PUT", "/apps/hello", fmt.Sprintf(`{"staging":{"model":%q,"stack":null}}`, old))
		if app := c.ok(alice, "GET", "/apps/hello", ""); !strings.Contains(app, `"staging":`+want) {
			t.Errorf("%s became %s", old, app)
		}
	}
}

func TestUnknownThings(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	for _, r := range []struct{ method, path string }{
		{"GET", ""}, {"PUT", ""}, {"DELETE", ""}, {"GET", "/instances"}, {"GET", "/stats"}, {"GET", "/crashes"}, {"GET", "/update"},
		{"PUT", "/update"}, {"GET", "/application"}, {"PUT", "/application"}, {"GET", "/instances/0/files/x"}, {"GET", "/staging_log"},
	} {
		for _, name := range []string{"none", "..%2Fhello", "hello%00", "a.b"} {
			noApp().check(t, c.do(alice, r.method, "/apps/"+name+r.path, "{}"))
		}
		noApp().check(t, c.do(bob, r.method, "/apps/hello"+r.path, "{}"))
		forbidden("vmc login").check(t, c.do("", r.method, "/apps/hello"+r.path, "{}"))
	}
	forbidden("vmc login").check(t, c.do("", "POST", "/resources", "[]"))
	forbidden("vmc login").check(t, c.do("", "POST", "/apps", create))
	for _, path := range []string{"/apps/hello/nothing", "/apps/hello/instances/0", "/services/v9/x", "/services/v1/offerings/a/b/c", "/staging", "/x/y/z", "/apps/hello/application/x"} {
		if r := c.do(alice, "GET", path, ""); r.status != 404 || r.body != " " {
			t.Errorf("GET %s: %d %q", path, r.status, r.body)
		}
	}
}

func TestAdminsOnly(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.AdminsOnly = true })
	forbidden("--allow-unsafe").check(t, c.do(alice, "POST", "/apps", create))
	c.ok(root, "POST", "/apps", create)
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	closed, open := start(t, nil), start(t, func(cfg *controller.Config) { cfg.Registration = controller.RegistrationOpen })
	const carol = `{"email":"carol@example.com","password":"secret"}`
	forbidden("registration is closed").check(t, closed.do("", "POST", "/users", carol))
	forbidden("registration is closed").check(t, closed.do(alice, "POST", "/users", carol))
	forbidden("registration is closed").check(t, closed.do(root, "POST", "/users", carol, "Proxy-User", alice))
	closed.ok(root, "POST", "/users", carol)
	open.ok("", "POST", "/users", carol)
	badRequest("there is a user of this name").check(t, open.do("", "POST", "/users", carol))
	badRequest("JSON").check(t, open.do("", "POST", "/users", `{`))
	badRequest("password is missing").check(t, open.do("", "POST", "/users", `{"email":"dave@example.com"}`))
	badRequest("longer than 512").check(t, open.do("", "POST", "/users", `{"email":"dave@example.com","password":"`+strings.Repeat("x", 513)+`"}`))
	badRequest("password is missing").check(t, open.do(alice, "PUT", "/users/alice@example.com", `{}`))
	for _, email := range []string{"", "dave", "a@b@c", "Dave <dave@example.com>", "a b@example.com", "a/b@example.com", strings.Repeat("a", 250) + "@example.com"} {
		badRequest("no e-mail address").check(t, open.do("", "POST", "/users", fmt.Sprintf(`{"email":%q,"password":"x"}`, email)))
	}
}

// Guessing a password closes the account for the guesser's address only.
func TestWrongPasswords(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.Registration = controller.RegistrationOpen })
	c.ok("", "POST", "/users", `{"email":"carol@example.com","password":"secret"}`)
	login := func(email, password, address string) reply {
		return c.do("", "POST", "/users/"+email+"/tokens", `{"password":"`+password+`"}`, "X-Forwarded-For", "10.9.9.9, "+address)
	}
	for range 5 {
		forbidden("wrong e-mail or password").check(t, login("carol@example.com", "guess", "10.0.0.1"))
	}
	// The next is wrong some minutes from now, so that a slow machine has to wait, too.
	if _, err := c.id.Login(t.Context(), "carol@example.com", "guess", "10.0.0.1", time.Now().Add(10*time.Minute)); !errors.Is(err, identity.ErrWrongPassword) {
		t.Error(err)
	}
	r := login("carol@example.com", "secret", "10.0.0.1")
	forbidden("too many wrong passwords").check(t, r)
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if r := login("carol@example.com", "secret", "10.0.0.2"); r.status != 200 {
		t.Errorf("another address: %d %s", r.status, r.body)
	}
	forbidden("wrong e-mail or password").check(t, login("nobody@example.com", "guess", "10.0.0.1"))
	forbidden("wrong e-mail or password").check(t, login(strings.Repeat("x", 5000), "guess", "10.0.0.1"))
	badRequest("JSON").check(t, c.do("", "POST", "/users/carol@example.com/tokens", "password"))
}

// Whatever comes as a token, the caller is nobody, and that is never a 401.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	const dave = "dave@example.com" // who was here last eight days ago
	if err := c.st.Update(func(tx *store.Tx) error { return tx.AddUser(store.User{Email: dave}) }); err != nil {
		t.Fatal(err)
	}
	expired, err := c.id.Token(dave, time.Now().Add(-8*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	good := c.tokens[alice]
	for _, token := range []string{
		"x", "0408", strings.ToUpper(good) + "00", good[:len(good)-2], good + "00", expired, "Basic " + good, "bearer", "bearer ",
		strings.Repeat("04", 10_000), strings.Replace(good, good[len(good)-4:], "0000", 1),
	} {
		forbidden("vmc login").check(t, c.do("", "GET", "/apps", "", "Authorization", token))
		if r := c.do("", "GET", "/info", "", "Authorization", token); r.status != 200 || strings.Contains(r.body, `"user"`) {
			t.Errorf("%.20s: /info says %d %s", token, r.status, r.body)
		}
	}
}

// No DEA has files of the instance, or the one that has does not answer.
func TestFilesFail(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	fault{500, 306, "Error retrieving file 'logs/x'", "no such instance"}.check(t, c.do(alice, "GET", "/apps/hello/instances/0/files/logs/x", ""))
	fault{500, 306, "Error retrieving file '/'", "no such instance"}.check(t, c.do(alice, "GET", "/apps/hello/instances/0/files", ""))
	c.fakeInstances("http://127.0.0.1:1/droplets/")
	fault{500, 306, "Error retrieving file 'x'", "the DEA does not answer"}.check(t, c.do(alice, "GET", "/apps/hello/instances/0/files/x", ""))
	fault{400, 304, "Could not find instance: '1'", "counted from 0"}.check(t, c.do(alice, "GET", "/apps/hello/instances/1/files/x", ""))
	fault{400, 304, "Could not find instance: '9999999999'", "counted from 0"}.check(t, c.do(alice, "GET", "/apps/hello/instances/9999999999/files/x", ""))
}

// An instance count of 0, and a silent cloud, are answered with numbers all the same.
func TestSilentCloud(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil) // nobody plays the health manager
	if app := c.ok(alice, "GET", "/apps/hello", ""); !strings.Contains(app, `"runningInstances":0`) {
		t.Error(app)
	}
	if s := c.ok(alice, "GET", "/apps/hello/instances", ""); !strings.Contains(s, `"state":"DOWN"`) {
		t.Error(s)
	}
	if s := c.ok(alice, "GET", "/apps/hello/crashes", ""); strings.TrimSpace(s) != `{"crashes":[]}` {
		t.Error(s)
	}
	c.ok(alice, "PUT", "/apps/hello", `{"instances":0}`)
	if s := c.ok(alice, "GET", "/apps/hello/instances", ""); strings.TrimSpace(s) != `{"instances":[]}` {
		t.Error(s)
	}
	if s := c.ok(alice, "GET", "/apps/hello/stats", ""); strings.TrimSpace(s) != `{}` {
		t.Error(s)
	}
}

// The API is a route like any other: it registers, again when a router asks, and leaves.
func TestRoute(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	conn := testkit.Conn(t, c.bus)
	registered, left := testkit.Collect(t, conn, bus.RouterRegister), testkit.Collect(t, conn, bus.RouterUnregister)
	ctx, stop := context.WithCancel(t.Context())
	second := controller.New(controller.Config{Domain: "other.example"}, c.bus, c.st, c.id, testkit.Log(t))
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	first := testkit.Next(t, registered)
	host, port, err := net.SplitHostPort(strings.TrimPrefix(second.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("[api.other.example] map[component:CloudController] %s %s", host, port)
	if got := fmt.Sprintf("%s %s %s %d", first.URIs, first.Tags, first.Host, first.Port); got != want {
		t.Errorf("registered %s, want %s", got, want)
	}
	c.publish(bus.RouterStart.Publish(c.conn, bus.RouterHello{}))
	again := []bus.Route{testkit.Next(t, registered), testkit.Next(t, registered)} // both clouds
	if !slices.ContainsFunc(again, func(r bus.Route) bool { return cmp.Equal(r, first) }) {
		t.Errorf("registered again: %+v", again)
	}
	stop()
	if err := testkit.Next(t, ended); err != nil {
		t.Fatal(err)
	}
	if last := testkit.Next(t, left); !cmp.Equal(last, first) {
		t.Errorf("left %+v", last)
	}
}

// Where the operator wants TLS, a caller without it is refused, and so is a password; the
// anonymous are not.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	plain := fault{403, 202, "HTTPS required", "https://"}
	for _, tc := range []struct {
		mode   controller.HTTPS
		who    string
		header []string
		wrong  bool
	}{
		{controller.HTTPSForAll, alice, nil, true},
		{controller.HTTPSForAll, "", nil, false},
		{controller.HTTPSForAll, alice, []string{"X-Forwarded-Proto", "https"}, false},
		{controller.HTTPSForAll, alice, []string{"X-Forwarded_Proto", "HTTPS,http"}, false},
		{controller.HTTPSForAll, alice, []string{"X-Forwarded-Proto", "http"}, true},
		{controller.HTTPSForAdmins, alice, nil, false},
		{controller.HTTPSForAdmins, root, nil, true},
		{controller.HTTPSForAdmins, root, []string{"Proxy-User", alice}, true},
		{controller.HTTPSForAdmins, root, []string{"X-Forwarded-Proto", "https"}, false},
	} {
		t.Run(fmt.Sprint(tc.mode, tc.who, tc.header), func(t *testing.T) {
			t.Parallel()
			c := start(t, func(cfg *controller.Config) { cfg.HTTPS = tc.mode })
			r := c.do(tc.who, "GET", "/info", "", tc.header...)
			if tc.wrong {
				plain.check(t, r)
			} else if r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
			login := func(email string) reply { return c.do("", "POST", "/users/"+email+"/tokens", `{"password":"x"}`) }
			plain.check(t, login(root))
			if tc.mode == controller.HTTPSForAdmins {
				forbidden("wrong e-mail or password").check(t, login("nobody@example.com"))
			} else {
				plain.check(t, login("nobody@example.com"))
			}
		})
	}
}
