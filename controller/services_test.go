package controller_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/controller/api"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// serviceGateway plays a service gateway. It writes down what it is asked.
type serviceGateway struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	made   int
	answer func(r *http.Request) (status int, body string) // nil: as a gateway does
}

func newGateway(t testing.TB) *serviceGateway {
	g := &serviceGateway{}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *serviceGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body))
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, `{"code":30000,"description":"content type"}`, http.StatusBadRequest)
		return
	}
	status, text := 0, ""
	if g.answer != nil {
		status, text = g.answer(r)
	}
	if status == 0 {
		status, text = http.StatusOK, "{}"
		if r.Method == "POST" {
			g.made++
			text = fmt.Sprintf(`{"service_id":"handle-%d","configuration":{"plan":"free","version":"2.2"},"credentials":{"host":"10.0.0.4","port":%d}}`, g.made, 5000+g.made)
		}
	}
	w.WriteHeader(status)
	io.WriteString(w, text)
}

// instead replaces what the gateway answers.
func (g *serviceGateway) instead(answer func(*http.Request) (int, string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

// heard are the requests since the last call.
func (g *serviceGateway) heard() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := g.asked
	g.asked = nil
	return asked
}

// expect fails the test unless the gateway was asked exactly this.
func (g *serviceGateway) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := g.heard(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the gateway was asked\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// serviceTokens are those of the cloud: for its own gateways, and for brokers.
func (c *cloud) serviceTokens() (own, broker string) {
	c.t.Helper()
	own, err := c.st.GatewayToken()
	if err == nil {
		broker, err = c.st.BrokerToken()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return own, broker
}

const redis = `{"label":"redis-2.2","url":"URL","supported_versions":["2.2"],"version_aliases":{"current":"2.2"},` +
	`"description":"Redis key-value store service","tags":["key-value","nosql"],"plans":["free"],"default_plan":"free","active":true,"timeout":10}`

// offer registers an offering as its gateway does.
func (c *cloud) offer(g *serviceGateway, offering string) {
	c.t.Helper()
	own, _ := c.serviceTokens()
	c.ok("", "POST", "/services/v1/offerings", strings.Replace(offering, "URL", g.URL, 1), "Content-Type", "application/json", "X-VCAP-Service-Token", own)
}

const addRedis = `{"type":"key-value","vendor":"redis","version":"2.2","tier":"free","name":"cache"}`

func TestGoldenEmptyCatalogue(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	own, broker := c.serviceTokens()
	s := transcript{c: c}
	s.call("as vmc lists", alice, "GET", "/info/services", "")
	s.call("anonymous", "", "GET", "/info/services", "")
	s.call("as cfoundry lists", alice, "GET", "/services/v1/offerings", "", "Content-Type", "application/json", "Accept", "application/json")
	s.call("own services", alice, "GET", "/services", "")
	s.call("own services, as the Python client asks", alice, "GET", "/services/", "")
	s.call("own services of nobody", "", "GET", "/services", "")
	s.call("no such one", alice, "GET", "/services/noservice", "")
	s.call("nobody's", "", "GET", "/services/noservice", "")
	s.call("create", alice, "POST", "/services", addRedis)
	s.call("create as nobody", "", "POST", "/services", addRedis)
	s.call("delete", alice, "DELETE", "/services/noservice", "")
	s.call("delete as nobody", "", "DELETE", "/services/noservice", "")
	s.call("bind", alice, "PUT", "/apps/hello", `{"services":["redis-1"]}`)
	s.call("tokens were never done", "", "POST", "/services/redis-2.2/tokens", "")
	s.call("nor their end", "", "DELETE", "/services/redis-2.2/tokens", "")
	s.call("provision", alice, "POST", "/services/v1/configurations", `{"label":"redis-2.2","name":"cache","plan":"free","version":"2.2"}`)
	s.call("unprovision", alice, "DELETE", "/services/v1/configurations/cache", "")
	s.call("bind a number", alice, "POST", "/services/v1/bindings", `{"service_id":"x","app_id":1,"binding_options":{}}`)
	s.call("no such number", alice, "POST", "/services/v1/bindings", `{"service_id":"x","app_id":77,"binding_options":{}}`)
	s.call("bind by token", alice, "POST", "/services/v1/bindings/external", `{"binding_token":"x","app_id":1}`)
	s.call("unbind", alice, "DELETE", "/services/v1/bindings/x", "")
	s.call("make a token", alice, "POST", "/services/v1/binding_tokens", `{"service_id":"x","binding_options":{}}`)
	s.call("read a token", "", "GET", "/services/v1/binding_tokens/x", "")
	s.call("remove a token", alice, "DELETE", "/services/v1/binding_tokens/x", "")
	s.call("gateway: an offering", "", "GET", "/services/v1/offerings/redis-2.2", "", "X-VCAP-Service-Token", own)
	s.call("gateway: handles", "", "GET", "/services/v1/offerings/redis-2.2/core/handles", "", "X-VCAP-Service-Token", own)
	s.call("gateway: change a handle", "", "POST", "/services/v1/offerings/redis-2.2/handles/x", `{"service_id":"x","configuration":{},"credentials":{}}`, "X-VCAP-Service-Token", own)
	s.call("gateway: remove", "", "DELETE", "/services/v1/offerings/redis-2.2/core", "", "X-VCAP-Service-Token", own)
	s.call("broker: its offerings", "", "GET", "/proxied_services/v1/offerings", "", "X-VCAP-Service-Token", broker)
	s.call("broker: in 2012", "", "GET", "/brokered_services/v1/offerings", "", "X-VCAP-Service-Token", broker)
	s.call("broker: in 2011", "", "GET", "/brokered_services/poc/offerings", "", "X-VCAP-Service-Token", broker)
	for _, r := range []struct{ method, path string }{
		{"POST", "snapshots"}, {"GET", "snapshots"}, {"GET", "snapshots/1"}, {"PUT", "snapshots/1"}, {"DELETE", "snapshots/1"},
		{"POST", "snapshots/1/name"}, {"POST", "serialized/url/snapshots/1"}, {"GET", "serialized/url/snapshots/1"},
		{"PUT", "serialized/url"}, {"PUT", "serialized/data"}, {"GET", "jobs/1"},
	} {
		s.call("lifecycle", alice, r.method, "/services/v1/configurations/x/"+r.path, "")
	}
	s.call("lifecycle as nobody", "", "GET", "/services/v1/configurations/x/snapshots", "")
	s.compare()
}

func TestGoldenServices(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	g := newGateway(t)
	c.volatile(g.URL, "GATEWAY")
	c.offer(g, redis)
	s := transcript{c: c, gateway: g}
	s.call("as vmc lists", alice, "GET", "/info/services", "")
	s.call("as cfoundry lists", "", "GET", "/services/v1/offerings", "", "Content-Type", "application/json")
	s.call("create as vmc does", alice, "POST", "/services", addRedis, "Content-Type", "application/json", "Accept", "application/json")
	s.call("with an alias of the version, and all that Java sends", alice, "POST", "/services",
		`{"name":"second","vendor":"redis","version":"current","tier":"free","type":"key-value","provider":"core","options":{"plan_option":"big"},"meta":{"created":null},"id":null,"label":null,"plan":null}`)
	s.call("listed", alice, "GET", "/services", "")
	s.call("one of them", alice, "GET", "/services/cache", "")
	s.call("not another's", bob, "GET", "/services/cache", "")
	s.call("counted", alice, "GET", "/info", "")
	s.call("the name is taken", alice, "POST", "/services", addRedis)
	s.call("bind with a new app", alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"},"services":["cache"]}`)
	s.call("it says so", alice, "GET", "/apps/hello", "")
	s.call("bind another, as vmc does", alice, "PUT", "/apps/hello", `{"name":"hello","state":"STOPPED","services":["cache","second"]}`)
	s.call("in the list, too", alice, "GET", "/apps", "")
	s.call("unbind one", alice, "PUT", "/apps/hello", `{"services":["second"]}`)
	s.call("a PUT without services unbinds all", alice, "PUT", "/apps/hello", `{"instances":1}`)
	s.call("not bound to anything", alice, "GET", "/apps/hello", "")
	c.ok(alice, "PUT", "/apps/hello", `{"services":["cache"]}`)
	g.heard()
	s.call("delete a bound one: the gateway is not asked to unbind", alice, "DELETE", "/services/cache", "", "Content-Length", "0")
	s.call("the app is unbound", alice, "GET", "/apps/hello", "")
	s.call("gone", alice, "DELETE", "/services/cache", "")
	c.ok(alice, "PUT", "/apps/hello", `{"services":["second"]}`)
	g.heard()
	s.call("delete the app: the service survives", alice, "DELETE", "/apps/hello", "")
	s.call("still there", alice, "GET", "/services/second", "")
	s.call("a user takes services along", root, "DELETE", "/users/"+alice, "")
	s.compare()
}

func TestGoldenServiceFaults(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) {
		cfg.Account = api.Account{Memory: 512, AppURIs: 2, Apps: 3, Services: 1}
	})
	g := newGateway(t)
	c.volatile(g.URL, "GATEWAY")
	c.offer(g, redis)
	s := transcript{c: c, gateway: g}
	s.call("no JSON", alice, "POST", "/services", `{"name":`)
	s.call("nothing", alice, "POST", "/services", ``)
	s.call("null", alice, "POST", "/services", `null`)
	s.call("a list", alice, "POST", "/services", `[]`)
	s.call("missing members", alice, "POST", "/services", `{"name":"cache","version":"2.2"}`)
	s.call("wrong types", alice, "POST", "/services", `{"name":1,"vendor":null,"version":2.2,"tier":true,"type":[],"options":"x"}`)
	s.call("unknown members", alice, "POST", "/services", `{"name":"cache","vendor":"redis","version":"2.2","tier":"free","b":1,"a":2,"c":null}`)
	s.call("blank name", alice, "POST", "/services", strings.Replace(addRedis, `"cache"`, `" "`, 1))
	s.call("long name", alice, "POST", "/services", strings.Replace(addRedis, `"cache"`, `"`+strings.Repeat("x", 256)+`"`, 1))
	s.call("no such vendor", alice, "POST", "/services", strings.Replace(addRedis, `"redis"`, `"mysql"`, 1))
	s.call("no such provider", alice, "POST", "/services", strings.Replace(addRedis, `"name"`, `"provider":"x","name"`, 1))
	s.call("no such version", alice, "POST", "/services", strings.Replace(addRedis, `2.2`, `2.6`, 1))
	g.instead(func(*http.Request) (int, string) { return 500, `{"code":30500,"description":"No node available"}` })
	s.call("the gateway refuses", alice, "POST", "/services", addRedis)
	g.instead(func(*http.Request) (int, string) { return 200, `<html>` })
	s.call("the gateway talks nonsense", alice, "POST", "/services", addRedis)
	g.instead(func(*http.Request) (int, string) { return 200, `{"configuration":{},"credentials":{}}` })
	s.call("the gateway names nothing", alice, "POST", "/services", addRedis)
	g.instead(func(*http.Request) (int, string) { return 404, `not here` })
	s.call("the gateway is none", alice, "POST", "/services", addRedis)
	s.call("nothing is stored", alice, "GET", "/services", "")
	g.instead(func(*http.Request) (int, string) {
		return 200, `{"service_id":"old","data":{"node":1},"credentials":{"port":1}}`
	})
	s.call("a gateway of 2011 says data", alice, "POST", "/services", addRedis)
	s.call("quota", alice, "POST", "/services", strings.Replace(addRedis, "cache", "more", 1))
	s.call("quota comes first", alice, "POST", "/services", `{`)
	c.ok(alice, "POST", "/apps", create)
	g.instead(func(*http.Request) (int, string) { return 503, `{"code":30600,"description":"Service unavailable"}` })
	s.call("bind fails", alice, "PUT", "/apps/hello", `{"services":["cache"]}`)
	s.call("a new app that cannot be bound is none", alice, "POST", "/apps", `{"name":"other","staging":{"framework":"node"},"services":["cache"]}`)
	s.call("is none", alice, "GET", "/apps/other", "")
	g.instead(nil)
	s.call("bind", alice, "PUT", "/apps/hello", `{"services":["cache","cache"]}`)
	g.instead(func(*http.Request) (int, string) { return 500, `` })
	s.call("unbind fails, and is done here", alice, "PUT", "/apps/hello", `{"services":[]}`)
	s.call("done here", alice, "GET", "/apps/hello", "")
	s.call("unprovision fails, and is done here", alice, "DELETE", "/services/cache", "")
	s.call("gone here", alice, "GET", "/services", "")
	s.compare()
}

func TestGoldenOfferings(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	own, broker := c.serviceTokens()
	s := transcript{c: c}
	post := func(title, token, body string) {
		s.call(title, "", "POST", "/services/v1/offerings", body, "Content-Type", "application/json", "X-VCAP-Service-Token", token)
	}
	with := func(member, value string) string {
		return strings.Replace(strings.Replace(redis, "URL", "http://10.0.0.9:33001", 1), `"active"`, fmt.Sprintf(`%q:%s,"active"`, member, value), 1)
	}
	plain := strings.Replace(redis, "URL", "http://10.0.0.9:33001", 1)
	post("no token", "", plain)
	post("wrong token", "0xdeadbeef", plain)
	post("missing members", own, `{"plans":["free"]}`)
	post("wrong members", own, `{"label":"redis","url":"ftp://x","supported_versions":"2.2","version_aliases":[],"tags":["a",1],"timeout":1.5,"active":true}`)
	post("unknown member", own, with("x", "1"))
	post("plan ids of other plans", own, with("cf_plan_id", `{"gold":"1"}`))
	post("register", own, plain)
	post("a broker may not take its place", broker, plain)
	post("nor its name", broker, strings.Replace(plain, "redis-2.2", "redis-2.6", 1))
	post("a broker's own", broker, strings.NewReplacer("redis-2.2", "hadoop-1.0", "2.2", "1.0", `"active"`, `"provider":"acme","active"`).Replace(plain))
	post("all members, two versions, two plans", own, `{"label":"mysql-5.1","url":"http://10.0.0.9:33002","info_url":"http://example.com/","supported_versions":["5.1","5.5","5.6"],`+
		`"version_aliases":{"current":"5.5","deprecated":"5.1"},"plans":["gold","free"],"plan_options":{"gold":["a","b"]},"binding_options":["ro"],"cf_plan_id":{"gold":"g1"},`+
		`"acls":{"plans":{"gold":{"users":["alice@example.com"]}}},"tags":[],"provider":"core"}`)
	post("for some only", own, `{"label":"postgresql-9.0","url":"http://10.0.0.9:33003","supported_versions":["9.0"],"version_aliases":{},"plans":["free"],"acls":{"users":["root@example.com"],"wildcards":["bob@*.com"]}}`)
	post("without plans nobody sees it", own, `{"label":"echo-1.0","url":"http://10.0.0.9:33004","supported_versions":["1.0"],"version_aliases":{}}`)
	post("acls that are none hide it", own, `{"label":"blob-1.0","url":"http://10.0.0.9:33004","supported_versions":["1.0"],"version_aliases":{},"plans":["free"],"acls":"all"}`)
	s.call("anonymous", "", "GET", "/info/services", "")
	s.call("alice", alice, "GET", "/info/services", "")
	s.call("bob", bob, "GET", "/info/services", "")
	s.call("four levels", alice, "GET", "/services/v1/offerings", "")
	s.call("one", "", "GET", "/services/v1/offerings/redis-2.2", "", "X-VCAP-Service-Token", own)
	s.call("one, by its provider", "", "GET", "/services/v1/offerings/mysql-5.1/core", "", "X-VCAP-Service-Token", own)
	s.call("not a broker's business", "", "GET", "/services/v1/offerings/redis-2.2", "", "X-VCAP-Service-Token", broker)
	s.call("without token", "", "GET", "/services/v1/offerings/redis-2.2", "")
	s.call("unknown, without token", "", "GET", "/services/v1/offerings/x-1", "")
	s.call("another provider", "", "GET", "/services/v1/offerings/redis-2.2/acme", "", "X-VCAP-Service-Token", own)
	s.call("the broker's offerings", "", "GET", "/proxied_services/v1/offerings", "", "X-VCAP-Service-Token", broker)
	s.call("are not for gateways", "", "GET", "/proxied_services/v1/offerings", "", "X-VCAP-Service-Token", own)
	s.call("nor for anybody", "", "GET", "/brokered_services/poc/offerings", "")
	post("a heartbeat keeps what it does not name, and resets some", own, `{"label":"mysql-5.1","url":"http://10.0.0.9:33005","supported_versions":["5.1"],"version_aliases":{}}`)
	s.call("reset", "", "GET", "/services/v1/offerings/mysql-5.1/core", "", "X-VCAP-Service-Token", own)
	post("the gateway leaves", own, strings.Replace(plain, `"active":true`, `"active":false`, 1))
	s.call("not listed any more", alice, "GET", "/info/services", "")
	s.call("remove", "", "DELETE", "/services/v1/offerings/hadoop-1.0/acme", "", "X-VCAP-Service-Token", broker)
	s.call("removed", "", "DELETE", "/services/v1/offerings/hadoop-1.0/acme", "", "X-VCAP-Service-Token", broker)
	s.call("remove without token", "", "DELETE", "/services/v1/offerings/redis-2.2", "")
	s.compare()
}

func TestGoldenServicesV1(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	g := newGateway(t)
	own, broker := c.serviceTokens()
	c.volatile(g.URL, "GATEWAY")
	c.offer(g, redis)
	c.ok(bob, "POST", "/apps", `{"name":"his","staging":{"framework":"node"}}`)
	s := transcript{c: c, gateway: g}
	const configurations = "/services/v1/configurations"
	s.call("provision", alice, "POST", configurations, `{"label":"redis-2.2","name":"cache","plan":"free","version":"2.2","plan_option":{"a":1},"provider":"core"}`)
	s.call("no such offering", alice, "POST", configurations, `{"label":"redis-2.4","name":"x","plan":"free","version":"2.2"}`)
	s.call("no such version", alice, "POST", configurations, `{"label":"redis-2.2","name":"x","plan":"free","version":"2.4"}`)
	s.call("name taken", alice, "POST", configurations, `{"label":"redis-2.2","name":"cache","plan":"free","version":"current"}`)
	s.call("bad label", alice, "POST", configurations, `{"label":"redis","name":"cache","plan":"free"}`)
	s.call("nobody", "", "POST", configurations, `{"label":"redis-2.2","name":"x","plan":"free","version":"2.2"}`)
	made := c.do(alice, "POST", "/services/v1/bindings", `{"service_id":"handle-1","app_id":1,"binding_options":{"ro":true}}`)
	token := c.binding(1).Token
	c.volatile(token, "TOKEN-1")
	s.note("bind", made)
	s.call("bind again", alice, "POST", "/services/v1/bindings", `{"service_id":"handle-1","app_id":1,"binding_options":{}}`)
	s.call("bind another's", bob, "POST", "/services/v1/bindings", `{"service_id":"handle-1","app_id":2,"binding_options":{}}`)
	s.call("bind to another's", alice, "POST", "/services/v1/bindings", `{"service_id":"handle-1","app_id":2,"binding_options":{}}`)
	s.call("bind badly", alice, "POST", "/services/v1/bindings", `{"service_id":"handle-1","app_id":"1"}`)
	if c.app(alice, "hello").PackageState != store.Staged {
		t.Error("the package state is touched")
	}
	s.call("handles", "", "GET", "/services/v1/offerings/redis-2.2/handles", "", "X-VCAP-Service-Token", own)
	handle := func(title, id, body, token string) {
		s.call(title, "", "POST", "/services/v1/offerings/redis-2.2/core/handles/"+id, body, "X-VCAP-Service-Token", token)
	}
	handle("change the instance", "handle-1", `{"service_id":"handle-1","configuration":{"version":"2.4"},"credentials":{"port":1}}`, own)
	handle("change the binding: the body's id counts", "x", `{"service_id":"handle-2","configuration":{"data":{}},"credentials":{"port":2}}`, own)
	handle("wrong token", "handle-1", `{"service_id":"handle-1","configuration":{},"credentials":{}}`, broker)
	handle("wrong token, binding", "handle-2", `{"service_id":"handle-2","configuration":{},"credentials":{}}`, broker)
	handle("no token", "handle-1", `{"service_id":"handle-1","configuration":{},"credentials":{}}`, "")
	handle("unknown", "handle-9", `{"service_id":"handle-9","configuration":{},"credentials":{}}`, own)
	handle("incomplete", "handle-1", `{"service_id":"handle-1","configuration":null}`, own)
	s.call("changed handles", "", "GET", "/services/v1/offerings/redis-2.2/core/handles", "", "X-VCAP-Service-Token", own)
	s.call("handles without token", "", "GET", "/services/v1/offerings/redis-2.2/handles", "")
	s.call("the version of the handle shows", alice, "GET", "/services/cache", "")
	s.call("read the binding's token", "", "GET", "/services/v1/binding_tokens/"+token, "")
	s.call("another's token", bob, "DELETE", "/services/v1/bindings/"+token, "")
	s.call("unbind", alice, "DELETE", "/services/v1/bindings/"+token, "")
	s.call("unbound", alice, "DELETE", "/services/v1/bindings/"+token, "")

	made = c.do(alice, "POST", "/services/v1/binding_tokens", `{"service_id":"handle-1","binding_options":{"ro":1}}`)
	var answer struct {
		Token string `json:"binding_token"`
	}
	if err := json.Unmarshal([]byte(made.body), &answer); err != nil {
		t.Fatal(made, err)
	}
	c.volatile(answer.Token, "TOKEN-2")
	s.note("make a token", made)
	s.call("of another's service", bob, "POST", "/services/v1/binding_tokens", `{"service_id":"handle-1","binding_options":{}}`)
	s.call("without options", alice, "POST", "/services/v1/binding_tokens", `{"service_id":"handle-1"}`)
	s.call("read it", "", "GET", "/services/v1/binding_tokens/"+answer.Token, "")
	s.call("bind what it stands for, as somebody else", bob, "POST", "/services/v1/bindings/external", `{"binding_token":"`+answer.Token+`","app_id":2}`)
	s.call("to another's app", bob, "POST", "/services/v1/bindings/external", `{"binding_token":"`+answer.Token+`","app_id":1}`)
	s.call("his app says so, and may send it back", bob, "PUT", "/apps/his", `{"services":["cache"]}`)
	s.call("not his to remove", bob, "DELETE", "/services/v1/binding_tokens/"+answer.Token, "")
	s.call("remove it, and what is bound with it", alice, "DELETE", "/services/v1/binding_tokens/"+answer.Token, "")
	s.call("his app is unbound", bob, "GET", "/apps/his", "")
	s.call("unprovision by name", alice, "DELETE", configurations+"/cache", "")
	c.ok(alice, "POST", configurations, `{"label":"redis-2.2","name":"cache","plan":"free","version":"2.2"}`)
	s.call("an offering takes its instances along", "", "DELETE", "/services/v1/offerings/redis-2.2", "", "X-VCAP-Service-Token", own)
	s.call("none is left", alice, "GET", "/services", "")
	s.compare()
}

func TestGoldenLifecycle(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.Lifecycle = true })
	g := newGateway(t)
	c.volatile(g.URL, "GATEWAY")
	c.offer(g, redis)
	c.ok(alice, "POST", "/services", addRedis)
	g.heard()
	const job = `{"job_id":"j1","status":"queued","start_time":"2012-08-22 23:41:41 +0000"}`
	g.instead(func(r *http.Request) (int, string) {
		switch {
		case r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/snapshots"):
			return 200, `{"snapshots":[{"snapshot_id":"1","date":"2012-08-22T23:41:41Z","size":10,"name":"Snapshot"}]}`
		case strings.Contains(r.RequestURI, "a%2Fb"):
			return 404, `{"code":30300,"description":"a/b not found"}`
		case strings.HasSuffix(r.URL.Path, "/name"):
			return 200, "{}"
		case strings.HasSuffix(r.URL.Path, "/broken"):
			return 500, "<h1>"
		}
		return 200, job
	})
	s := transcript{c: c, gateway: g}
	const one = "/services/v1/configurations/handle-1"
	s.call("make", alice, "POST", one+"/snapshots", "")
	s.call("list", alice, "GET", one+"/snapshots", "")
	s.call("read", alice, "GET", one+"/snapshots/1", "")
	s.call("roll back", alice, "PUT", one+"/snapshots/1", "")
	s.call("roll back, as a form", alice, "POST", one+"/snapshots/1", "_method=put", "Content-Type", "application/x-www-form-urlencoded")
	s.call("delete", alice, "DELETE", one+"/snapshots/1", "")
	s.call("name", alice, "POST", one+"/snapshots/1/name", `{"name":"before"}`)
	s.call("name badly", alice, "POST", one+"/snapshots/1/name", `{"name":1}`)
	s.call("make a URL", alice, "POST", one+"/serialized/url/snapshots/1", "")
	s.call("read the URL", alice, "GET", one+"/serialized/url/snapshots/1", "")
	s.call("import from a URL", alice, "PUT", one+"/serialized/url", `{"url":"http://example.com/x"}`)
	s.call("import from what is none", alice, "PUT", one+"/serialized/url", `{"url":"x"}`)
	s.call("job", alice, "GET", one+"/jobs/j1", "")
	s.call("the gateway's own words", alice, "GET", one+"/snapshots/a%2Fb", "")
	s.call("the gateway's nonsense", alice, "GET", one+"/jobs/broken", "")
	s.call("another's", bob, "GET", one+"/snapshots", "")
	s.call("unknown", alice, "GET", "/services/v1/configurations/handle-9/snapshots", "")
	s.call("by its name", alice, "GET", "/services/v1/configurations/cache/snapshots", "")
	for _, size := range []int{10, 1 << 20} {
		body, kind := form(t, part{name: "_method", body: "put"}, part{"data_file", "data.zip", "application/zip", strings.Repeat("x", size)})
		s.call(fmt.Sprintf("import of %d bytes", size), alice, "POST", one+"/serialized/data", body, "Content-Type", kind)
	}
	body, kind := form(t, part{name: "_method", body: "put"})
	s.call("import of nothing", alice, "PUT", one+"/serialized/data", body, "Content-Type", kind)
	s.compare()
}

// binding is the only one of an app.
func (c *cloud) binding(app store.AppID) store.Binding {
	c.t.Helper()
	var bindings []store.Binding
	err := c.st.View(func(tx *store.Tx) (err error) {
		bindings, err = tx.BindingsOf(app)
		return err
	})
	if err != nil || len(bindings) != 1 {
		c.t.Fatalf("%d bindings, %v", len(bindings), err)
	}
	return bindings[0]
}

// What is bound is staged again, and both staging and the instances are told of it.
func TestBoundServices(t *testing.T) {
	t.Parallel()
	c, s := pushed(t, nil)
	testkit.Next(t, c.starts)
	g := newGateway(t)
	c.offer(g, redis)
	c.ok(alice, "POST", "/services", addRedis)
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STOPPED","services":["cache"]}`)
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED","services":["cache"]}`)
	want := bus.Service{
		Label: "redis-2.2", Tags: []string{"key-value", "nosql", "redis-2.2", "redis"}, Name: "cache", Credentials: json.RawMessage(`{"host":"10.0.0.4","port":5002}`),
		Options: json.RawMessage(`{}`), Plan: "free", Type: "key-value", Version: "2.2", Vendor: "redis",
	}
	for _, got := range [][]bus.Service{testkit.Next(t, s.tasks).Properties.Services, testkit.Next(t, c.starts).Services} {
		if text, wanted := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", []bus.Service{want}); text != wanted {
			t.Errorf("got  %s\nwant %s", text, wanted)
		}
	}
	g.heard()
	c.ok(alice, "PUT", "/apps/hello", `{"services":["cache"]}`)
	g.expect(t)
	c.ok(alice, "PUT", "/apps/hello", `{}`)
	g.expect(t, `DELETE /gateway/v1/configurations/handle-1/handles/handle-2 {"service_id":"handle-1","handle_id":"handle-2","binding_options":{}}`)
	if task := testkit.Next(t, s.tasks); len(task.Properties.Services) != 0 {
		t.Errorf("staged with %+v", task.Properties.Services)
	}
}

// Two that ask for one name at once: one gets it, what the other got is taken back.
func TestProvisionRace(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	g := newGateway(t)
	c.offer(g, redis)
	meet := make(chan struct{})
	once := sync.OnceFunc(func() { close(meet) })
	var asked sync.WaitGroup
	asked.Add(2)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			asked.Done()
			<-meet
		}
		g.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { once(); slow.Close() })
	c.offer(&serviceGateway{Server: slow}, redis)
	answers := make(chan reply, 2)
	for range 2 {
		go func() {
			r, err := c.send(alice, "POST", "/services", strings.NewReader(addRedis))
			if err != nil {
				r.body = err.Error()
			}
			answers <- r
		}()
	}
	asked.Wait()
	once()
	a, b := testkit.Next(t, answers), testkit.Next(t, answers)
	if a.status+b.status != 200+400 || !strings.Contains(a.body+b.body, "Alias has already been taken") {
		t.Errorf("%d %s, %d %s", a.status, a.body, b.status, b.body)
	}
	var left []string
	for _, r := range g.heard() {
		if strings.HasPrefix(r, "DELETE") {
			left = append(left, r)
		}
	}
	if len(left) != 1 {
		t.Errorf("taken back: %q", left)
	}
}

// What becomes of services is told to their owner.
func TestServiceEvents(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	g := newGateway(t)
	c.offer(g, redis)
	c.ok(alice, "POST", "/services", addRedis)
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"},"services":["cache"]}`)
	c.ok(alice, "PUT", "/apps/hello", `{}`)
	c.ok(alice, "DELETE", "/services/cache", "")
	events := c.ok(alice, "GET", "/events", "")
	for _, want := range []string{"service.create", "cache, redis-2.2, plan free", "service.bind", "service.unbind", "service.delete"} {
		if !strings.Contains(events, want) {
			t.Errorf("no %q in %s", want, events)
		}
	}
}
