package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/component"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// next is the next event of the trail, without its time, as one line.
func next(t *testing.T, trail <-chan bus.CloudEvent) string {
	t.Helper()
	e := testkit.Next(t, trail)
	if at, ok := e[0].(string); !ok {
		t.Errorf("%v has no time", e)
	} else if _, err := time.Parse(bus.TimeFormat, at); err != nil {
		t.Error(err)
	}
	return strings.Trim(fmt.Sprintf("%q", e[1:]), "[]")
}

// Every request is told on vcap.cc.events, without what it carried.
func TestAuditTrail(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	trail := testkit.Collect(t, testkit.Conn(t, c.bus), bus.CloudEvents)
	const sent = "s3cr3t-of-the-body"
	type request struct {
		who, method, path, body string
		header                  []string
		want                    []string
	}
	for _, r := range []request{
		{who: "", method: "GET", path: "/info", want: []string{`"USER" "N/A" "GET:/info" "SUCCEEDED"`}},
		{who: alice, method: "GET", path: "/apps?token=" + sent, want: []string{`"USER" "alice@example.com" "GET:/apps" "SUCCEEDED"`}},
		{who: alice, method: "POST", path: "/apps", body: `{"name":"hello","staging":{"framework":"node"},"env":["X=` + sent + `"]}`,
			want: []string{`"USER" "alice@example.com" "POST:/apps" "SUCCEEDED"`}},
		{who: alice, method: "GET", path: "/apps/none", want: []string{`"USER" "alice@example.com" "GET:/apps/none" "none" "FAILED" "Application not found"`}},
		{who: alice, method: "PUT", path: "/apps/hello", body: `{"state":"STARTED"}`, want: []string{`"USER" "alice@example.com" "PUT:/apps/hello" "hello" "SUCCEEDED"`}},
		{who: alice, method: "PUT", path: "/apps/hello", body: `{"instances":3}`, want: []string{
			`"USER" "alice@example.com" "hello" "Changing instances to 3" "SUCCEEDED"`,
			`"USER" "alice@example.com" "PUT:/apps/hello" "hello" "SUCCEEDED"`}},
		{who: "", method: "GET", path: "/apps", want: []string{`"USER" "N/A" "GET:/apps" "FAILED" "Operation not permitted"`}},
		{who: root, method: "GET", path: "/apps", header: []string{"Proxy-User", alice}, want: []string{
			`"SYSTEM" "root@example.com" "PROXY ATTEMPT" "alice@example.com" "SUCCEEDED"`,
			`"USER" "alice@example.com" "GET:/apps" "SUCCEEDED"`}},
		{who: bob, method: "GET", path: "/apps", header: []string{"Proxy-User", alice}, want: []string{`"USER" "N/A" "GET:/apps" "FAILED" "Operation not permitted"`}},
		{who: root, method: "POST", path: "/users/bob%40example.com/tokens", body: `{"password":"` + sent + `"}`,
			want: []string{`"USER" "root@example.com" "POST:/users/bob@example.com/tokens" "bob@example.com" "SUCCEEDED"`}},
		{who: "", method: "GET", path: "/bulk/apps", header: []string{"Authorization", basic("bulk_api", sent)}, want: []string{`"USER" "N/A" "GET:/bulk/apps" "FAILED" "Unauthorized"`}},
		{who: "", method: "POST", path: "/staging/droplet/1/" + sent, want: []string{`"USER" "N/A" "POST:/staging/droplet/:id/:upload" "FAILED" "Unauthorized"`}},
		{who: "", method: "GET", path: "/staged_droplets/1/" + sent, want: []string{`"USER" "N/A" "GET:/staged_droplets/:id/:hash" "FAILED" "Application not found"`}},
		{who: alice, method: "PATCH", path: "/apps", want: []string{`"USER" "alice@example.com" "PATCH:/apps" "FAILED" "Method Not Allowed"`}},
		{who: alice, method: "GET", path: "/no/such/route"}, // as in v1, it is no request to the API
		{who: "", method: "GET", path: "/", want: []string{`"USER" "N/A" "GET:/" "SUCCEEDED"`}},
	} {
		c.do(r.who, r.method, r.path, r.body, r.header...)
		for _, want := range r.want {
			got := next(t, trail)
			if got != want {
				t.Errorf("%s %s: %s, want %s", r.method, r.path, got, want)
			}
			if strings.Contains(got, sent) {
				t.Errorf("%s %s tells a secret: %s", r.method, r.path, got)
			}
		}
	}
}

// /metrics is for administrators, by token or by password, and has all components.
func TestMetrics(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	const secret, user = "correct horse", "scraper@example.com"
	if err := c.id.Register(t.Context(), user, secret, true); err != nil {
		t.Fatal(err)
	}
	if err := c.id.Register(t.Context(), "plain@example.com", secret, false); err != nil {
		t.Fatal(err)
	}
	other, err := component.Start(testkit.Conn(t, c.bus), component.Spec{
		Type: "Router", Numbers: func() any { return map[string]int{"requests": 42} },
	}, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)

	for _, r := range []struct {
		name, who string
		header    []string
		want      int
	}{
		{"nobody", "", nil, 403},
		{"a user", alice, nil, 403},
		{"an administrator", root, nil, 200},
		{"an administrator as a user", root, []string{"Proxy-User", alice}, 403},
		{"by password", "", []string{"Authorization", basic(user, secret)}, 200},
		{"by a wrong password", "", []string{"Authorization", basic(user, "wrong")}, 403},
		{"a user by password", "", []string{"Authorization", basic("plain@example.com", secret)}, 403},
		{"the bulk API's user", "", []string{"Authorization", basic("bulk_api", "")}, 403},
		{"Bearer", "", []string{"Authorization", "Bearer " + c.tokens[root]}, 200},
	} {
		got := c.do(r.who, "GET", "/metrics", "", r.header...)
		if got.status != r.want || r.want != 200 && strings.Contains(got.body, "cloudlet_") {
			t.Errorf("%s: %d %s", r.name, got.status, got.body)
		}
	}
	// A password that was right is not right for ever.
	scrape := func(password string) int {
		return c.do("", "GET", "/metrics", "", "Authorization", basic(user, password)).status
	}
	if got := scrape(secret); got != 200 {
		t.Errorf("again by password: %d", got)
	}
	if err := c.id.SetPassword(t.Context(), user, "another"); err != nil {
		t.Fatal(err)
	}
	if before, now := scrape(secret), scrape("another"); before != 403 || now != 200 {
		t.Errorf("after a change, the password before gives %d, the new one %d", before, now)
	}
	if err := c.st.Update(func(tx *store.Tx) error { return tx.DeleteUser(user) }); err != nil {
		t.Fatal(err)
	}
	if got := scrape("another"); got != 403 {
		t.Errorf("without the account: %d", got)
	}
	testkit.Eventually(t, func() error {
		r := c.do(root, "GET", "/metrics", "")
		if kind := r.header.Get("Content-Type"); kind != "text/plain; version=0.0.4; charset=utf-8" {
			t.Fatalf("Content-Type %q", kind)
		}
		lines := strings.Split(r.body, "\n")
		for _, want := range []string{
			`# TYPE cloudlet_requests counter`, `cloudlet_requests{type="Router",index="0"} 42`,
			`cloudlet_up{type="CloudController",index="0"} 1`, `cloudlet_up{type="Router",index="0"} 1`,
			`cloudlet_pending_requests{type="CloudController",index="0"} 1`, // this one
		} {
			if !slices.Contains(lines, want) {
				return fmt.Errorf("no %s in\n%s", want, r.body)
			}
		}
		return nil
	})
}
