package controller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"cloudlet/controller"
	"cloudlet/controller/api"
)

func TestGoldenQuotas(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	s := transcript{c: c}
	const path = "/quotas/alice%40example.com"
	s.call("own", alice, "GET", "/quotas/alice@example.com", "")
	s.call("somebody else's", bob, "GET", path, "")
	s.call("nobody asks", "", "GET", path, "")
	s.call("set by the user", alice, "PUT", path, `{"memory":100000}`)
	s.call("set by an administrator who acts as the user", root, "PUT", path, `{"memory":1}`, "Proxy-User", alice)
	s.call("set by an administrator", root, "PUT", path, `{"memory":128,"app_uris":1,"services":0,"apps":1}`)
	s.call("the user sees it", alice, "GET", path, "")
	s.call("info", alice, "GET", "/info", "")
	s.call("too much memory", alice, "POST", "/apps", `{"name":"a","staging":{"framework":"node"},"resources":{"memory":129},"state":"STARTED"}`)
	s.call("too many URLs", alice, "POST", "/apps", `{"name":"a","staging":{"framework":"node"},"uris":["a.localhost","b.localhost"]}`)
	s.call("as much as there is", alice, "POST", "/apps", `{"name":"a","staging":{"framework":"node"},"resources":{"memory":128},"state":"STARTED"}`)
	s.call("too many apps", alice, "POST", "/apps", `{"name":"b","staging":{"framework":"node"}}`)
	s.call("another user has the cloud's limits", bob, "GET", "/quotas/bob@example.com", "")
	s.call("a part, the rest as everybody has it", root, "PUT", path, `{"apps":2}`)
	s.call("below zero", root, "PUT", path, `{"apps":-1}`)
	s.call("beyond all bounds", root, "PUT", path, `{"memory":1073741825}`)
	s.call("no number", root, "PUT", path, `{"memory":"512M"}`)
	s.call("unknown user", root, "PUT", "/quotas/nobody@example.com", `{}`)
	s.call("an administrator's", root, "PUT", "/quotas/root@example.com", `{"memory":0}`)
	s.call("as everybody", root, "DELETE", path, "")
	s.call("by the user", alice, "DELETE", path, "")
	s.compare()
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.Registration = controller.RegistrationInvite })
	body := func(email, code string) string {
		return fmt.Sprintf(`{"email":%q,"password":"secret","invitation":%q}`, email, code)
	}
	invite := func(body string) (i api.Invitation) {
		t.Helper()
		if err := json.Unmarshal([]byte(c.ok(root, "POST", "/invitations", body)), &i); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(i.Code) || i.By != root || time.Until(time.Unix(i.Expires, 0)) <= 0 {
			t.Errorf("%+v", i)
		}
		return i
	}
	forbidden("needs an invitation").check(t, c.do("", "POST", "/users", `{"email":"carol@example.com","password":"secret"}`))
	forbidden("needs an invitation").check(t, c.do(alice, "POST", "/users", body("carol@example.com", "GUESS")))
	for _, path := range []string{"/invitations", "/invitations/x"} {
		forbidden("only an administrator").check(t, c.do(alice, map[bool]string{true: "GET", false: "DELETE"}[path == "/invitations"], path, ""))
	}
	forbidden("only an administrator").check(t, c.do(alice, "POST", "/invitations", ""))
	carol, anybody := invite(`{"email":"carol@example.com"}`), invite("")
	forbidden("needs an invitation").check(t, c.do("", "POST", "/users", body("eve@example.com", carol.Code)))
	c.ok("", "POST", "/users", body("carol@example.com", carol.Code))
	forbidden("needs an invitation").check(t, c.do("", "POST", "/users", body("eve@example.com", carol.Code)))
	list := c.ok(root, "GET", "/invitations", "")
	if !strings.Contains(list, anybody.ID) || strings.Contains(list, carol.ID) || strings.Contains(list, anybody.Code) {
		t.Errorf("open are %s", list)
	}
	c.ok(root, "DELETE", "/invitations/"+anybody.ID, "")
	badRequest("no such invitation").check(t, c.do(root, "DELETE", "/invitations/"+anybody.ID, ""))
	forbidden("needs an invitation").check(t, c.do("", "POST", "/users", body("dave@example.com", anybody.Code)))
	badRequest("there is a user of this name").check(t, c.do(root, "POST", "/invitations", `{"email":"carol@example.com"}`))
	badRequest("no e-mail address").check(t, c.do(root, "POST", "/invitations", `{"email":"carol"}`))
	c.ok(root, "POST", "/users", `{"email":"frank@example.com","password":"secret"}`)
	if got := c.ok(root, "GET", "/invitations", ""); strings.TrimSpace(got) != "[]" {
		t.Errorf("open are %s", got)
	}
}

// Logging out ends one session, and an old token hinders nothing.
func TestLogout(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.Registration = controller.RegistrationOpen })
	c.ok("", "POST", "/users", `{"email":"carol@example.com","password":"secret"}`)
	login := func(path string, header ...string) string {
		t.Helper()
		var token api.Token
		if err := json.Unmarshal([]byte(c.ok("", "POST", path, `{"password":"secret"}`, header...)), &token); err != nil {
			t.Fatal(err)
		}
		return token.Token
	}
	one, two := login("/users/carol@example.com/tokens"), login("/users/carol%40example.com/tokens")
	if one == two {
		t.Fatal("two logins of one second share a token")
	}
	who := func(token string) string {
		var info api.Info
		if err := json.Unmarshal([]byte(c.ok("", "GET", "/info", "", "Authorization", token)), &info); err != nil {
			t.Fatal(err)
		}
		return info.User
	}
	for range 2 { // the second time there is nothing to end
		if r := c.do("", "DELETE", "/tokens", "", "Authorization", one); r.status != 204 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if who(one) != "" || who(two) != "carol@example.com" {
		t.Errorf("after the logout: %q, %q", who(one), who(two))
	}
	if r := c.do("", "DELETE", "/tokens", ""); r.status != 204 {
		t.Errorf("nobody logs out: %d %s", r.status, r.body)
	}
	forbidden("log in first").check(t, c.do("", "GET", "/apps", "", "Authorization", one))
	if again := login("/users/carol%40example.com/tokens", "Authorization", one); who(again) != "carol@example.com" {
		t.Error("an old token hinders logging in")
	}
}

// The UAA is where the client came from, else where the operator says.
func TestAuthorizationEndpoint(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *controller.Config) { cfg.UAA = "http://uaa.localhost:8080" })
	for host, want := range map[string]string{
		"api.localhost": "http://uaa.localhost", "API.localhost:1234": "http://uaa.localhost:1234",
		"127.0.0.1:8080": "http://uaa.localhost:8080", "api.evil.example": "http://uaa.localhost:8080",
	} {
		if got := endpoint(t, c, host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	if got := endpoint(t, c, "api.localhost", "X-Forwarded-Proto", "https"); got != "https://uaa.localhost" {
		t.Errorf("behind TLS: %s", got)
	}
}

func endpoint(t *testing.T, c *cloud, host string, header ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.ctl.URL()+"/info", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var info api.Info
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		t.Fatal(err)
	}
	return info.Authorization
}
