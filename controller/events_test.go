package controller_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// log reads events as a user does, the oldest first: "actor action app: detail", with
// "for" where it was done by proxy.
func (c *cloud) log(who, path string) []string {
	c.t.Helper()
	var events []api.Event
	if err := json.Unmarshal([]byte(c.ok(who, "GET", path, "")), &events); err != nil {
		c.t.Fatal(err)
	}
	lines := make([]string, len(events))
	for i, e := range events {
		words := []string{e.Actor}
		if e.OnBehalfOf != "" {
			words = append(words, "for", e.OnBehalfOf)
		}
		if words = append(words, e.Action); e.App != "" {
			words = append(words, e.App)
		}
		lines[len(events)-1-i] = strings.TrimSuffix(strings.Join(words, " ")+": "+e.Detail, ": ")
	}
	return lines
}

// expectLog fails the test unless the last events are these.
func (c *cloud) expectLog(who, path string, want ...string) {
	c.t.Helper()
	testkit.Eventually(c.t, func() error {
		got := c.log(who, path)
		if got = got[max(0, len(got)-len(want)):]; strings.Join(got, "\n") != strings.Join(want, "\n") {
			return fmt.Errorf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		return nil
	})
}

// What a user does to an app is told in words and fields, and no secret with it.
func TestEventsOfAnApp(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	s := c.stager()
	c.dea("dea-1", 4096)
	for _, step := range []struct {
		method, body string
		want         []string
	}{
		{"POST", `{"name":"hello","staging":{"framework":"node"},"uris":["hello.localhost"],"instances":1,"resources":{"memory":128},"env":["TOKEN=s3cret"]}`,
			[]string{"app.create hello: node, runtime node, 1 instance, memory 128M, url hello.localhost, env TOKEN"}},
		{"PUT", `{"instances":3,"resources":{"memory":64}}`, []string{"app.update hello: instances 1 → 3, memory 128M → 64M"}},
		{"PUT", `{"uris":["b.localhost","a.localhost"]}`,
			[]string{"app.update hello: url a.localhost added, url b.localhost added, url hello.localhost removed"}},
		{"PUT", `{"env":["TOKEN=0ther","NEW=s3cret","FLAG"]}`, []string{"app.update hello: env FLAG added, env NEW added, env TOKEN changed"}},
		{"PUT", `{"env":["TOKEN=0ther"]}`, []string{"app.update hello: env FLAG removed, env NEW removed"}},
		{"PUT", `{"staging":{"framework":"standalone","runtime":"static","command":"run --password s3cret"},"console":true}`,
			[]string{"app.update hello: framework node → standalone, runtime node → static, console off → on, command changed"}},
		{"PUT", `{"staging":{"framework":"node"},"state":"STARTED","instances":1}`,
			[]string{"app.update hello: instances 3 → 1, framework standalone → node, runtime static → node, console on → off", "app.start hello: 1 instance"}},
		{"PUT", `{"state":"STARTED"}`, nil},
		{"PUT", `{"state":"STOPPED"}`, []string{"app.stop hello: 1 instance"}},
	} {
		before, path := len(c.log(alice, "/events")), "/apps/hello"
		if step.method == "POST" {
			path = "/apps"
		}
		c.ok(alice, step.method, path, step.body)
		for i := range step.want {
			step.want[i] = alice + " " + step.want[i]
		}
		c.expectLog(alice, "/apps/hello/events", step.want...)
		if n := len(c.log(alice, "/events")) - before; n != len(step.want) {
			t.Errorf("%s: %d events", step.body, n)
		}
	}
	c.upload(alice, "hello", pack(t, "app.js", "hello", "b", "bb"), "[]")
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	c.expectLog(alice, "/apps/hello/events", alice+" app.upload hello: 2 files, 7 bytes", alice+" app.start hello: 1 instance",
		fmt.Sprintf("%s app.staged hello: droplet of %d bytes", alice, c.app(alice, "hello").Droplet.Size))
	c.upload(alice, "hello", pack(t, "app.js", "hello", "b", "bb"), "[]") // the same files
	c.ok(alice, "PUT", "/apps/hello/update", "")
	s.instead(func(bus.StagingTask) bus.StagingResult { return bus.StagingResult{Error: "no package.json\nanywhere"} })
	c.upload(alice, "hello", pack(t, "other.js", "hello"), "[]")
	c.do(alice, "PUT", "/apps/hello", `{}`)
	c.ok(alice, "DELETE", "/apps/hello", "")
	c.expectLog(alice, "/events", alice+" app.restart hello: 1 instance", alice+" app.upload hello: 1 file, 5 bytes",
		alice+" app.staging_failed hello: no package.json anywhere", alice+" app.delete hello")
	if all := strings.Join(c.log(root, "/events"), "\n"); strings.Contains(all, "s3cret") || strings.Contains(all, "0ther") {
		t.Errorf("a secret is told:\n%s", all)
	}
}

// What befalls an app is the system's doing.
func TestEventsOfTheSystem(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	app := c.app(alice, "hello")
	status, ran := 3, bus.Decimal(12.4)
	exit := bus.Exited{Droplet: "1", Version: app.Version(), Index: 0, Reason: bus.ReasonCrashed, ExitStatus: &status, ExitDescription: "out of memory", RanFor: &ran}
	c.publish(bus.DropletExited.Publish(c.conn, exit))
	exit.Reason = bus.ReasonStopped
	c.publish(bus.DropletExited.Publish(c.conn, exit))
	exit = bus.Exited{Droplet: "77", Reason: bus.ReasonCrashed}
	c.publish(bus.DropletExited.Publish(c.conn, exit))
	c.publish(bus.HMRequests.Publish(c.conn, bus.HMRequest{Droplet: "1", Op: "START", Version: app.Version(), Indices: []int{0, 5}}))
	c.publish(bus.HMRequests.Publish(c.conn, bus.HMRequest{Droplet: "1", Op: "START", Version: app.Version(), Indices: []int{5}}))
	c.expectLog(alice, "/apps/hello/events?limit=2",
		"system app.crash hello: instance 0 after 12s, exit status 3: out of memory", "system app.restart hello: missing instances: 0")
	c.publish(bus.HMRequests.Publish(c.conn, bus.HMRequest{Droplet: "1", Op: "SPINDOWN"}))
	c.expectLog(alice, "/apps/hello/events?limit=1", "system app.stop hello: nobody used it")
}

// Many crashes at once are all told, in their order.
func TestEventsOfAStorm(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	const crashes = 200
	var want []string
	for i := range crashes {
		if err := bus.DropletExited.Publish(c.conn, bus.Exited{Droplet: "1", Index: i, Reason: bus.ReasonCrashed}); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("system app.crash hello: instance %d", i))
	}
	c.publish(nil)
	c.expectLog(alice, fmt.Sprintf("/apps/hello/events?limit=%d", crashes), want...)
}

func TestGoldenEvents(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	s := transcript{c: c}
	s.call("nothing yet", alice, "GET", "/events", "")
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	c.ok(bob, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	c.ok(root, "PUT", "/apps/hello", `{"instances":2}`, "Proxy-User", alice)
	s.call("her own", alice, "GET", "/events", "")
	s.call("of the app", alice, "GET", "/apps/hello/events", "")
	s.call("an administrator reads all", root, "GET", "/events", "")
	s.call("an administrator as somebody", root, "GET", "/events", "", "Proxy-User", bob)
	s.call("a page", root, "GET", "/events?limit=1", "")
	s.call("the next page", root, "GET", "/events?limit=1&before=3", "")
	s.call("past the end", root, "GET", "/events?before=1", "")
	c.ok(alice, "DELETE", "/apps/hello", "")
	s.call("a deleted app has no events of its own", alice, "GET", "/apps/hello/events", "")
	s.call("they are among the owner's", alice, "GET", "/events?limit=1", "")
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	s.call("the next of that name has its own", alice, "GET", "/apps/hello/events", "")
	s.call("anonymous", "", "GET", "/events", "")
	s.call("somebody else's app", root, "GET", "/apps/hello/events", "")
	s.call("limit is a number", alice, "GET", "/events?limit=x", "")
	s.call("limit is bounded", alice, "GET", "/events?limit=1001", "")
	s.call("before is a number", alice, "GET", "/apps/hello/events?before=-1", "")
	s.compare()
}

// Changes of accounts, by themselves and by administrators, are told to both.
func TestEventsOfUsers(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.ok(root, "POST", "/users", `{"email":"carol@example.com","password":"secret"}`)
	c.ok(alice, "PUT", "/users/x", `{"password":"new"}`)
	c.ok(root, "PUT", "/users/x", `{"password":"new"}`, "Proxy-User", bob)
	memory := 512
	if err := c.id.SetQuota(t.Context(), bob, store.Quota{Memory: &memory}); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.tokens[bob], err = c.id.Token(bob, time.Now()); err != nil { // the password's change has ended the old one
		t.Fatal(err)
	}
	c.ok(bob, "POST", "/apps", `{"name":"chat","staging":{"framework":"node"}}`)
	c.expectLog(bob, "/events", root+" for "+bob+" user.password: "+bob, "system user.quota: "+bob+", memory default → 512",
		bob+" app.create chat: node, runtime node, 0 instances, memory 256M")
	c.ok(root, "POST", "/users/"+bob+"/tokens", `{}`) // no change
	c.ok(root, "DELETE", "/users/"+bob, "")
	c.expectLog(root, "/events", root+" user.create: carol@example.com", alice+" user.password: "+alice,
		root+" for "+bob+" user.password: "+bob, "system user.quota: "+bob+", memory default → 512",
		bob+" app.create chat: node, runtime node, 0 instances, memory 256M", root+" user.delete: "+bob+", application chat")
}

// What Cloudlet adds to v1's routes, as far as no other transcript has it.
func TestGoldenAdditions(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.health(0, func(bus.StatusOf) *bus.StatusReply { return nil })
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
	s := transcript{c: c}
	s.call("invite", root, "POST", "/invitations", `{"email":"carol@example.com"}`)
	s.call("not for all", alice, "POST", "/invitations", "")
	s.call("open invitations", root, "GET", "/invitations", "")
	s.call("withdraw none", root, "DELETE", "/invitations/none", "")
	s.call("nothing is being staged", alice, "GET", "/apps/hello/staging_log", "")
	s.call("nothing runs in a stopped app", alice, "GET", "/apps/hello/instances/0/exec", "")
	s.call("nothing has logs", alice, "GET", "/apps/hello/logs?lines=5", "")
	s.call("too many lines", alice, "GET", "/apps/hello/logs?lines=10001", "")
	s.call("numbers are for administrators", alice, "GET", "/metrics", "")
	s.call("log out", alice, "DELETE", "/tokens", "")
	s.call("the token is dead", alice, "GET", "/apps", "")
	s.compare()
}

// The description of the API is for everybody.
func TestDescriptionIsServed(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	var doc struct{ OpenAPI string }
	r := c.do("", "GET", "/openapi.json", "")
	if err := json.Unmarshal([]byte(r.body), &doc); err != nil || r.status != 200 || doc.OpenAPI != "3.1.0" {
		t.Errorf("%d %v %.200s", r.status, err, r.body)
	}
}
