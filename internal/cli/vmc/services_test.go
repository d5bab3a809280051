package vmc

import (
	"net/http"
	"testing"

	"cloudlet/controller/api"
)

// A target that offers no services says so, however it does it.
func TestServicesOfATargetWithout(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	const none = "\n============== System Services ==============\n\nNo system services available\n\n=========== Provisioned Services ============\n\n\n"
	hint := noServicesHint(c.srv.URL) + "\n"
	check := func() {
		t.Helper()
		if status, out, errs := u.vmc("services"); status != 0 || out != none || errs != hint {
			t.Errorf("status %d, %q, %q", status, out, errs)
		}
		u.fails([]string{"No services available to provision", "No service gateway"}, "create-service")
		u.fails([]string{"Service [mysql] is not a valid service choice", "No service gateway"}, "create-service", "mysql")
		u.fails([]string{"No services available to delete"}, "delete-service")
		u.fails([]string{"No services to clone"}, "clone-services", "hello", "hello")
		u.fails([]string{"No services available to tunnel to"}, "tunnel")
	}
	check()
	missing := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, " ", http.StatusNotFound) }
	c.handlers = map[string]http.HandlerFunc{"GET /info/services": missing, "GET /services": missing}
	check()
}

// A started app sees a service after a restart, and only then is there one.
func TestBindingRestarts(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["hello"].Services = []string{"db"}
	c.apps["other"] = started("other")
	u := c.at(t)
	restart := func(name string) string {
		return "Stopping Application '" + name + "': OK\nStaging Application '" + name + "': OK\nStarting Application '" + name + "': OK\n  " +
			address(c.srv.URL, name+".vcap.me") + "\n\n"
	}
	u.wants("Binding Service [cache]: OK\n"+restart("hello"), "bind-service", "cache", "hello")
	u.wants("Binding Service [cache]: OK\n\n", "bind_service", "cache", "hello")
	u.wants("Binding Service [db]: OK\nBinding Service [cache]: OK\n"+restart("other"), "clone-services", "hello", "other")
	u.wants("Binding Service [db]: OK\nBinding Service [cache]: OK\n\n", "clone-services", "hello", "other")
	u.wants("Unbinding Service [db]: OK\n"+restart("hello"), "unbind-service", "db", "hello")
	u.wants("Unbinding Service [db]: OK\n\n", "unbind-service", "db", "hello")
	if got := c.apps["hello"].Services; len(got) != 1 || got[0] != "cache" {
		t.Errorf("services %q", got)
	}
}

func TestOfferOf(t *testing.T) {
	def := "silver"
	offered := api.SystemServices{"database": {"mysql": {
		"5.0": {Tiers: map[string]api.Tier{"free": {}}},
		"5.1": {Alias: "current", Tiers: map[string]api.Tier{"gold": {}, "silver": {}}, DefaultPlan: &def},
		"5.5": {},
	}, "pg": {"9.0": {}, "9.1": {Tiers: map[string]api.Tier{"z": {}, "b": {}}}}}}
	for kind, want := range map[string]string{"mysql": "5.1 silver", "pg": "9.1 b", "redis": ""} {
		o, ok := offerOf(offered, kind)
		got := ""
		if ok {
			got = o.Version + " " + plan(o)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	if plan(api.SystemService{}) != "free" {
		t.Error("a service without plans has no free one")
	}
}

// Commands of the original that have no work here say why, and what to do.
func TestElsewhere(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"], c.apps["shop"] = started("hello"), started("shop")
	c.apps["shop"].Staging.Model = "rails3"
	u := c.at(t)
	u.fails([]string{"cannot be renamed", "vmc push hi", "vmc delete hello"}, "rename", "hello", "hi")
	u.fails([]string{"Error 301"}, "rename", "nobody", "hi")
	u.fails([]string{"not a Rails application", "framework node"}, "rails-console", "hello", "--port", "20000")
	u.fails([]string{"cannot open the console of 'shop'"}, "rails-console", "shop")
	for _, args := range [][]string{{"micro"}, {"micro", "online", "--vmx", "a", "--vmrun", "b", "--save", "--password", "x"}} {
		u.fails([]string{"VMware", "cloudlet up"}, args...)
	}
	u.fails([]string{"Unknown argument 'away'"}, "micro", "away")
}
