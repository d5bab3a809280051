package vmc

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudlet/controller"
	"cloudlet/controller/api"
	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// realCloud is a real controller with its store; nothing stages or runs apps there.
type realCloud struct {
	url, token string
	st         *store.Store
}

func newRealCloud(t *testing.T) *realCloud {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	id, err := identity.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	u := store.User{Email: adminEmail, Password: "none", Created: time.Unix(1345678901, 0)}
	if err := st.Update(func(tx *store.Tx) error { return tx.AddUser(u) }); err != nil {
		t.Fatal(err)
	}
	ctl := controller.New(controller.Config{
		Domain: "localhost", Support: "http://api.localhost", Description: "Cloudlet", Gather: 10 * time.Second,
		Frameworks: []controller.Framework{{Name: "node", Runtimes: []string{"node"}}},
		Runtimes:   []controller.Runtime{{Name: "node", Version: "20.1.0", Description: "Node.js", Executable: "/usr/bin/node"}},
	}, testkit.Bus(t), st, id, testkit.Log(t))
	testkit.Run(t, ctl)
	token, err := id.Token(adminEmail, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &realCloud{url: ctl.URL(), token: token, st: st}
}

// at is a user who is logged in there.
func (c *realCloud) at(t *testing.T) *user {
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.url+"\n")
	u.write(u.home, ".vmc_token", fmt.Sprintf("{%q:%q}\n", c.url, c.token))
	return u
}

// announce registers a service whose gateway gives what it is asked for.
func (c *realCloud) announce(t *testing.T, name string) {
	t.Helper()
	var made atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			n := made.Add(1)
			fmt.Fprintf(w, `{"service_id":"handle-%d","configuration":{"version":"2.2"},"credentials":{"port":%d}}`, n, 5000+n)
			return
		}
		io.WriteString(w, "{}")
	}))
	t.Cleanup(gateway.Close)
	token, err := c.st.GatewayToken()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", c.url+"/services/v1/offerings", strings.NewReader(fmt.Sprintf(
		`{"label":"%s-2.2","url":%q,"supported_versions":["2.2"],"version_aliases":{"current":"2.2"},"description":"%[1]s service","plans":["free"],"active":true}`, name, gateway.URL)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-VCAP-Service-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s, %v", resp.Status, body, err)
	}
}

// create makes an app without bits, which therefore nobody has to stage.
func (c *realCloud) create(t *testing.T, name string) {
	t.Helper()
	node := "node"
	if _, err := api.NewClient(c.url, c.token).CreateApp(t.Context(), api.AppRequest{Name: name, Staging: &api.StagingRequest{Framework: &node}}); err != nil {
		t.Fatal(err)
	}
}

// Services from their making to their end, at a real controller with a gateway.
func TestServicesOfARealCloud(t *testing.T) {
	c := newRealCloud(t)
	u := c.at(t)
	_, out, errs := u.vmc("services")
	if !strings.Contains(out, "No system services available\n") || !strings.Contains(errs, "No service gateway has announced anything at "+c.url) {
		t.Errorf("printed %q, %q", out, errs)
	}
	c.announce(t, "redis")
	c.create(t, "hello")
	c.create(t, "other")
	u.wants("Creating Service: OK\nBinding Service [cache]: OK\n\n", "create-service", "redis", "cache", "hello")
	status, out, errs := u.vmc("create_service", "redis", "-n")
	m := regexp.MustCompile(`^Creating Service \[(redis-[0-9a-f]{4,5})\]: OK\n\n$`).FindStringSubmatch(out)
	if status != 0 || m == nil {
		t.Fatalf("status %d, %q, %q", status, out, errs)
	}
	u.wants("Deleting service ["+m[1]+"]: OK\n\n", "delete-service", m[1])
	u.wants("Creating Service: OK\n\n", "create-service", "redis", "--name", "second")
	u.wants("Binding Service [second]: OK\n\n", "bind-service", "second", "hello")
	u.wants(`
============== System Services ==============

+---------+---------+---------------+
| Service | Version | Description   |
+---------+---------+---------------+
| redis   | 2.2     | redis service |
+---------+---------+---------------+

=========== Provisioned Services ============

+--------+---------+
| Name   | Service |
+--------+---------+
| cache  | redis   |
| second | redis   |
+--------+---------+

`, "services")
	_, out, _ = u.vmc("apps")
	if !strings.Contains(out, "| cache, second |") {
		t.Errorf("apps: %s", out)
	}
	u.wants("Binding Service [cache]: OK\nBinding Service [second]: OK\n\n", "clone-services", "hello", "other")
	u.wants("Unbinding Service [cache]: OK\n\n", "unbind-service", "cache", "hello")
	u.wants("Unbinding Service [cache]: OK\n\n", "unbind_service", "cache", "hello")
	_, out, _ = u.vmc("services", "--json")
	for _, want := range []string{`"system": {`, `"provisioned": [`, `"vendor": "redis"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	u.fails([]string{"Error 500: Service not found: 'nothing'", "vmc services"}, "bind-service", "nothing", "hello")
	u.fails([]string{"Service [mysql] is not a valid service choice", "The target offers redis."}, "create-service", "mysql")
	u.fails([]string{"Service [nothing] not a valid service"}, "delete-service", "nothing")
	u.fails([]string{"Which service?", "redis"}, "create-service", "-n")
	u.fails([]string{"Error 301: Application not found: 'nobody'"}, "create-service", "redis", "third", "nobody")
	u.file("app.js", "")
	u.file("manifest.yml", "applications: {.: {name: third, url: none, services: {cache: {type: redis}, fresh: {type: redis}}}}")
	u.wants("Pushing application 'third'...\nDetected a Node.js Application\nCreating Application: OK\nCreating Service [fresh]: OK\n"+
		"Binding Service [cache]: OK\nBinding Service [fresh]: OK\nUploading Application:\n  Packing application: OK\n  Uploading (1K): OK\nPush Status: OK\n\n",
		"push", "--no-start")
	u.fails([]string{"cannot tunnel"}, "tunnel", "cache", "redis-cli", "--port", "10000")
	u.fails([]string{"Unknown service 'x'"}, "tunnel", "x")
}
