package uaa_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/store"
	"cloudlet/uaa"
)

const query = "/oauth/authorize?client_id=vmc&response_type=token&redirect_uri=https%3A%2F%2Fuaa.cloudfoundry.com%2Fredirect%2Fvmc"

func credentials(email, password string) string {
	data, _ := json.Marshal(map[string]string{"username": email, "password": password})
	return "credentials=" + url.QueryEscape(string(data))
}

// Logging in as each client sends it.
func TestGoldenAuthorize(t *testing.T) {
	t.Parallel()
	c := start(t)
	s := transcript{c: c}
	json := []string{"Accept", "application/json"}
	call := func(title, path, body string, header ...string) {
		s.call(title, "POST", path, body, append(header, json...)...)
	}
	call("cfoundry 0.3", query, credentials(alice, alice))
	call("cf-uaa-lib", query+"&state=ab%20c%2F%26d", "username=alice%40example.com&password=alice%40example.com&source=credentials",
		"Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	call("Java 0.8", "/oauth/authorize", "response_type=token&client_id=vmc&redirect_uri="+url.QueryEscape("http://uaa.cloudfoundry.com/redirect/vmc")+"&"+credentials(root, root))
	call("client cf, at our own address", "/oauth/authorize?client_id=cf&response_type=token&redirect_uri=http%3A%2F%2Fuaa.vcap.me%3A8080%2Fredirect%2Fcf", credentials(alice, alice))
	call("no redirect_uri", "/oauth/authorize?client_id=vmc&response_type=token", credentials(alice, alice))
	call("fewer scopes", query+"&scope=openid%20cloud_controller.read", credentials(alice, alice))
	call("an old token does not hinder", query+"&scope=openid", credentials(alice, alice), "Authorization", "bearer a.b.c")
	call("a scope that is not for users", query+"&scope=scim.write", credentials(alice, alice))
	call("wrong password", query, credentials(alice, "wrong"))
	call("unknown user", query, credentials("nobody@example.com", "wrong"))
	call("no credentials", query, "")
	call("the credentials in the address", query+"&"+credentials(alice, alice), "")
	call("the password in the address", query+"&source=credentials&username=alice%40example.com&password=alice%40example.com", "")
	call("credentials that are no JSON", query, "credentials=%7Bx")
	call("unknown client", strings.Replace(query, "=vmc&", "=nobody&", 1), credentials(alice, alice))
	call("a client without the grant", strings.Replace(query, "=vmc&", "=admin&", 1), credentials(alice, alice))
	call("another response_type", strings.Replace(query, "=token", "=code", 1), credentials(alice, alice))
	call("another redirect_uri", "/oauth/authorize?client_id=vmc&response_type=token&redirect_uri=http%3A%2F%2Fevil.example%2Fredirect%2Fvmc", credentials(alice, alice))
	call("given twice", query, credentials(alice, alice)+"&"+credentials(alice, "wrong"))
	call("no form", query, "credentials=%zz")
	call("too long", query, "credentials="+strings.Repeat("x", 70<<10))
	s.call("a browser", "GET", query, "", "Accept", "text/html")
	s.compare()
}

func TestGoldenToken(t *testing.T) {
	t.Parallel()
	c := start(t)
	s := transcript{c: c}
	cf := []string{"Authorization", basic("cf", ""), "Accept", "application/json;charset=utf-8"}
	password := "grant_type=password&username=alice%40example.com&password=alice%40example.com"
	r := s.call("password grant of cfoundry 0.6", "POST", "/oauth/token", password, cf...)
	refresh := "grant_type=refresh_token&refresh_token=" + field(r, "refresh_token")
	s.call("refreshed", "POST", "/oauth/token", refresh, cf...)
	s.call("with fewer scopes", "POST", "/oauth/token", refresh+"&scope=openid", cf...)
	s.call("by another client", "POST", "/oauth/token", refresh, "Authorization", basic("vmc", ""))
	s.call("with an access token", "POST", "/oauth/token", "grant_type=refresh_token&refresh_token="+field(r, "access_token"), cf...)
	s.call("with nothing", "POST", "/oauth/token", "grant_type=refresh_token", cf...)
	s.call("the client in the form", "POST", "/oauth/token", password+"&client_id=vmc&scope=openid", "Authorization", "bearer old.old.old")
	s.call("the client's own", "POST", "/oauth/token", "grant_type=client_credentials", "Authorization", basic("cloud_controller", c.id.ClientSecret("cloud_controller")))
	s.call("v1's sample secret", "POST", "/oauth/token", "grant_type=client_credentials", "Authorization", basic("cloud_controller", "cloudcontrollerclientsecret"))
	s.call("unknown client", "POST", "/oauth/token", password, "Authorization", basic("nobody", ""))
	s.call("no client", "POST", "/oauth/token", password)
	s.call("wrong password", "POST", "/oauth/token", "grant_type=password&username=alice%40example.com&password=wrong", cf...)
	s.call("the password in the address", "POST", "/oauth/token?"+password, "", cf...)
	s.call("the grant is not the client's", "POST", "/oauth/token", "grant_type=client_credentials", cf...)
	s.call("unknown grant", "POST", "/oauth/token", "grant_type=authorization_code&code=x", cf...)
	s.call("no grant", "POST", "/oauth/token", "username=x", cf...)
	s.call("more than there is", "POST", "/oauth/token", password+"&scope=scim.write", cf...)
	s.call("another verb", "GET", "/oauth/token", "", cf...)
	s.compare()
}

func TestGoldenChecks(t *testing.T) {
	t.Parallel()
	c := start(t)
	s := transcript{c: c}
	s.call("prompts", "GET", "/login", "", "Accept", "application/json")
	s.call("prompts behind TLS", "GET", "/login_info", "", "X-Forwarded-Proto", "https")
	s.call("key", "GET", "/token_key", "")
	s.call("key, for who shows a password", "GET", "/token_key", "", "Authorization", basic("cloud_controller", "x"))
	access, refresh := c.grant(alice)
	cc := []string{"Authorization", basic("cloud_controller", c.id.ClientSecret("cloud_controller"))}
	s.call("check", "POST", "/check_token", "token="+access+"&token_type=bearer", cc...)
	s.call("check by GET", "GET", "/check_token?token="+access, "", cc...)
	s.call("check a client's", "POST", "/check_token", "token="+strings.TrimPrefix(c.bearer("admin"), "bearer "), cc...)
	s.call("a refresh token is none", "POST", "/check_token", "token="+refresh, cc...)
	s.call("garbage", "POST", "/check_token", "token=x.y.z", cc...)
	s.call("nothing", "POST", "/check_token", "", cc...)
	s.call("another type", "POST", "/check_token", "token_type=mac&token="+access, cc...)
	s.call("check by a user's program", "POST", "/check_token", "token="+access, "Authorization", basic("cf", ""))
	s.call("check by nobody", "POST", "/check_token", "token="+access)
	s.call("userinfo", "GET", "/userinfo", "", "Authorization", "Bearer "+access)
	s.call("userinfo for a client", "GET", "/userinfo", "", "Authorization", c.bearer("admin"))
	s.call("userinfo with a refresh token", "GET", "/userinfo", "", "Authorization", "bearer "+refresh)
	s.call("userinfo for nobody", "GET", "/userinfo", "")
	for _, password := range []string{"a", "password", "correct horse", "Tr0ub4dor&3", "🐎🔋"} {
		s.call("score", "POST", "/password/score", "password="+url.QueryEscape(password))
	}
	s.call("score of nothing", "POST", "/password/score", "")
	s.call("unknown route", "GET", "/oauth/clients", "")
	s.call("trailing slash", "GET", "/login/", "")
	s.compare()
}

func TestGoldenUsers(t *testing.T) {
	t.Parallel()
	c := start(t)
	s := transcript{c: c}
	cc := []string{"Authorization", c.bearer("cloud_controller"), "Content-Type", "application/json", "Accept", "application/json"}
	carol := `{"schemas":["urn:scim:schemas:core:1.0"],"userName":"carol@example.com","emails":[{"value":"carol@example.com"}],` +
		`"name":{"givenName":"carol@example.com","familyName":"carol@example.com"},"password":"secret"}`
	r := s.call("create, as the cloud controller does", "POST", "/User", carol, cc...)
	c.ids["carol@example.com"] = field(r, "id")
	s.call("again", "POST", "/Users", carol, cc...)
	s.call("without a password", "POST", "/Users", `{"userName":"dave@example.com"}`, cc...)
	s.call("no e-mail address", "POST", "/Users", `{"userName":"dave","password":"x"}`, cc...)
	s.call("two addresses", "POST", "/Users", strings.Replace(carol, `[{"value":"carol@`, `[{"value":"other@`, 1), cc...)
	s.call("a long name", "POST", "/Users", `{"userName":"dave@example.com","password":"x","name":{"givenName":"`+strings.Repeat("x", 129)+`"}}`, cc...)
	s.call("no JSON", "POST", "/Users", `{`, cc...)
	s.call("by nobody", "POST", "/Users", carol)
	s.call("by a user", "POST", "/Users", carol, "Authorization", c.bearer(alice))

	s.call("find, as the cloud controller does", "GET", "/Users?filter="+url.QueryEscape(`userName eq 'carol@example.com'`), "", cc...)
	s.call("find, as cfoundry does", "GET", "/Users?attributes=id,userName&filter="+url.QueryEscape(`username eq "alice@example.com"`), "", cc...)
	s.call("find nobody", "GET", "/Users?filter="+url.QueryEscape(`userName eq "ALICE@example.com"`), "", cc...)
	s.call("several", "GET", "/Users?attributes=userName&filter="+url.QueryEscape(`userName sw "alice" or emails.value co "bob@"or id pr`), "", cc...)
	s.call("the second page of one", "GET", "/Users?attributes=userName&startIndex=2&count=1", "", cc...)
	s.call("behind the end", "GET", "/Users?startIndex=99999999", "", cc...)
	s.call("none of them", "GET", "/Users?count=0", "", cc...)
	s.call("no number", "GET", "/Users?count=-1", "", cc...)
	for _, filter := range []string{`password pr`, `userName gt "a"`, `userName eq alice`, `userName eq "a`, `userName eq 'a`, `id pr and id pr`, `id pr )`, `userName eq "\q"`} {
		s.call("a bad filter", "GET", "/Users?filter="+url.QueryEscape(filter), "", cc...)
	}
	s.call("list by a user", "GET", "/Users", "", "Authorization", c.bearer(alice))
	s.call("list by an administrator", "GET", "/Users?attributes=userName", "", "Authorization", c.bearer(root))

	path := "/Users/" + c.ids["carol@example.com"]
	s.call("get", "GET", path, "", cc...)
	s.call("get nobody", "GET", "/Users/12345678-1234-4123-8123-123456789abc", "", cc...)
	renamed := `{"userName":"carol@example.com","name":{"givenName":"Carol","familyName":"Shaw"},"emails":[{"value":"carol@example.com"}]}`
	s.call("change without If-Match", "PUT", path, renamed, cc...)
	s.call("change", "PUT", path, renamed, append(cc, "If-Match", `"0"`)...)
	s.call("change an old version", "PUT", path, renamed, append(cc, "If-Match", `"0"`)...)
	s.call("change whatever version", "PUT", path, renamed, append(cc, "If-Match", "*")...)
	s.call("If-Match that is none", "PUT", path, renamed, append(cc, "If-Match", "W/x")...)
	s.call("rename", "PUT", path, strings.ReplaceAll(renamed, "carol@", "dave@"), append(cc, "If-Match", "*")...)
	s.compare()
}

func TestGoldenPassword(t *testing.T) {
	t.Parallel()
	c := start(t)
	s := transcript{c: c}
	path := func(email string) string { return "/User/" + c.ids[email] + "/password" }
	change := func(old string) string {
		return `{"schemas":["urn:scim:schemas:core:1.0"],"password":"new","oldPassword":"` + old + `"}`
	}
	token := c.bearer(alice)
	s.call("wrong old password", "PUT", path(alice), change("wrong"), "Authorization", token)
	s.call("no old password", "PUT", path(alice), `{"password":"new"}`, "Authorization", token)
	s.call("no new password", "PUT", path(alice), `{"oldPassword":"alice@example.com"}`, "Authorization", token)
	s.call("somebody else's", "PUT", path(bob), change(bob), "Authorization", token)
	s.call("as Java and cfoundry do", "PUT", path(alice), change(alice), "Authorization", token)
	s.call("which revokes", "GET", "/userinfo", "", "Authorization", token)
	s.call("an administrator's own needs the old one", "PUT", path(root), `{"password":"new"}`, "Authorization", c.bearer(root))
	s.call("an administrator for somebody", "PUT", "/Users/"+c.ids[alice]+"/password", `{"password":"newer"}`, "Authorization", c.bearer(root))
	s.call("the cloud controller for somebody", "PUT", path(bob), `{"password":"newer"}`, "Authorization", c.bearer("cloud_controller"))
	s.call("nobody's", "PUT", "/User/x/password", `{"password":"newer"}`, "Authorization", c.bearer("cloud_controller"))
	s.call("by nobody", "PUT", path(bob), change(bob))
	s.compare()
	for _, email := range []string{alice, bob} {
		if _, err := c.id.Login(t.Context(), email, "newer", "10.0.0.1", time.Now()); err != nil {
			t.Errorf("%s: %v", email, err)
		}
	}
}

// A client that keeps guessing has to wait, at every door and for its address only.
func TestWrongPasswords(t *testing.T) {
	t.Parallel()
	c := start(t)
	try := func(password, address string) []reply {
		hop := []string{"X-Forwarded-For", "10.9.9.9, " + address}
		return []reply{
			c.do("POST", query, credentials(alice, password), hop...),
			c.do("POST", "/oauth/token", url.Values{"grant_type": {"password"}, "username": {alice}, "password": {password}}.Encode(),
				append(hop, "Authorization", basic("cf", ""))...),
		}
	}
	for range 3 {
		try("wrong", "10.0.0.1")
	}
	// The next is wrong some minutes from now, so that a slow machine has to wait, too.
	if _, err := c.id.Login(t.Context(), alice, "wrong", "10.0.0.1", time.Now().Add(10*time.Minute)); !errors.Is(err, identity.ErrWrongPassword) {
		t.Error(err)
	}
	for _, r := range try(alice, "10.0.0.1") {
		if r.status != http.StatusUnauthorized || !strings.Contains(r.body, "too many wrong passwords, try again in") || r.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	for _, r := range try(alice, "10.0.0.2") {
		if r.status != http.StatusFound && r.status != http.StatusOK {
			t.Errorf("the owner: %d %s", r.status, r.body)
		}
	}
}

// The component is found through the router, and gone when it stops.
func TestRoute(t *testing.T) {
	t.Parallel()
	c := start(t)
	first := testkit.Next(t, c.routes)
	if first.URIs[0] != "uaa.vcap.me" || first.Tags["component"] != "uaa" || first.Host != "127.0.0.1" || first.Port == 0 {
		t.Errorf("%+v", first)
	}
	if err := bus.RouterStart.Publish(c.conn, bus.RouterHello{ID: "r"}); err != nil {
		t.Fatal(err)
	}
	if again := testkit.Next(t, c.routes); again.Port != first.Port || again.URIs[0] != first.URIs[0] {
		t.Errorf("%+v", again)
	}
}

func TestStops(t *testing.T) {
	t.Parallel()
	c := start(t)
	gone := testkit.Collect(t, c.conn, bus.RouterUnregister)
	other := uaa.New(uaa.Config{Domain: "other.me"}, c.bus, c.st, c.id, testkit.Log(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- other.Run(ctx) }()
	<-other.Ready()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if r := testkit.Next(t, gone); r.URIs[0] != "uaa.other.me" {
		t.Errorf("%+v", r)
	}
	if _, err := http.Get("http://" + other.Addr() + "/login"); err == nil {
		t.Error("it still answers")
	}
}

// Tokens of the UAA are good for the cloud controller, and end where it ends them.
func TestWithController(t *testing.T) {
	t.Parallel()
	c := start(t)
	ctl := controller.New(controller.Config{
		Domain: "vcap.me", UAA: "http://uaa.vcap.me",
		Frameworks: []controller.Framework{{Name: "node", Runtimes: []string{"node"}}},
		Runtimes:   []controller.Runtime{{Name: "node", Executable: "/bin/node"}},
	}, c.bus, c.st, c.id, testkit.Log(t))
	testkit.Run(t, ctl)
	api := func(method, path, body, token string) reply {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, ctl.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var v json.RawMessage
		json.NewDecoder(resp.Body).Decode(&v) //nolint:errcheck // some are empty
		return reply{resp.StatusCode, resp.Header, string(v)}
	}
	who := func(token string) string { return field(api("GET", "/info", "", token), "user") }
	if got := field(api("GET", "/info", "", ""), "authorization_endpoint"); got != "http://uaa.vcap.me" {
		t.Errorf("authorization_endpoint %q", got)
	}
	a, _ := c.grant(alice)
	b, refresh := c.grant(alice)
	if who("bearer "+a) != alice || who("Bearer "+b) != alice || who(a) != "" || who("bearer "+refresh) != "" || who(c.bearer("admin")) != "" {
		t.Error("tokens are not taken as they should be")
	}
	for range 2 {
		if r := api("DELETE", "/tokens", "", "bearer "+b); r.status != http.StatusNoContent {
			t.Errorf("logout: %d %s", r.status, r.body)
		}
	}
	if who("bearer "+a) != alice || who("bearer "+b) != "" {
		t.Error("logout did not end the one session")
	}
	if r := c.do("POST", "/oauth/token", "grant_type=refresh_token&refresh_token="+refresh, "Authorization", basic("cf", "")); r.status != 400 {
		t.Errorf("refreshed after logout: %d %s", r.status, r.body)
	}
	if r := c.do("GET", "/userinfo", "", "Authorization", "bearer "+b); r.status != 401 || !strings.Contains(r.body, "invalid_token") {
		t.Errorf("userinfo after logout: %d %s", r.status, r.body)
	}

	if r := api("POST", "/apps", `{"name":"shop","staging":{"framework":"node"}}`, "bearer "+a); r.status != http.StatusFound {
		t.Fatalf("create: %d %s", r.status, r.body)
	}
	admin := c.bearer("admin")
	if r := c.do("DELETE", "/Users/"+c.ids[root], "", "Authorization", admin); r.status != 403 {
		t.Errorf("the only administrator: %d %s", r.status, r.body)
	}
	if r := c.do("DELETE", "/Users/"+c.ids[alice], "", "Authorization", admin, "If-Match", `"7"`); r.status != 412 {
		t.Errorf("another version: %d %s", r.status, r.body)
	}
	c.ok("DELETE", "/Users/"+c.ids[alice], "", "Authorization", admin, "If-Match", `"0"`)
	c.ok("DELETE", "/User/"+c.ids[bob], "", "Authorization", c.bearer(root))
	if r := c.do("DELETE", "/Users/"+c.ids[alice], "", "Authorization", admin); r.status != 404 {
		t.Errorf("deleted twice: %d %s", r.status, r.body)
	}
	if r := c.do("DELETE", "/Users/"+c.ids[root], "", "Authorization", c.bearer(root)); r.status != 403 {
		t.Errorf("the account in use: %d %s", r.status, r.body)
	}
	if who("bearer "+a) != "" {
		t.Error("a deleted user's token is valid")
	}
	err := c.st.View(func(tx *store.Tx) error {
		apps, err := tx.AppsOf(alice)
		if len(apps) != 0 {
			t.Errorf("%d apps are left", len(apps))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Without a cloud controller nobody is deleted, and the client is told.
func TestDeleteAlone(t *testing.T) {
	t.Parallel()
	c := start(t)
	r := c.do("DELETE", "/Users/"+c.ids[alice], "", "Authorization", c.bearer("admin"))
	if r.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", r.status, r.body)
	}
	c.user(alice)
}

// An administrator who is none any more has the scopes of one no longer.
func TestDemotion(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, refresh := c.grant(root)
	err := c.st.Update(func(tx *store.Tx) error {
		u, err := tx.User(root)
		if err != nil {
			return err
		}
		u.Admin = false
		return tx.PutUser(u)
	})
	if err != nil {
		t.Fatal(err)
	}
	r := c.ok("POST", "/oauth/token", "grant_type=refresh_token&refresh_token="+refresh, "Authorization", basic("cf", ""))
	if strings.Contains(field(r, "scope"), "scim") {
		t.Errorf("scope %s", field(r, "scope"))
	}
}
