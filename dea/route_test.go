package dea_test

import (
	"net"
	"net/http"
	"strconv"
	"testing"

	"cloudlet/bus"
	"cloudlet/dea"
	"cloudlet/internal/testkit"
	"cloudlet/warden"
)

// TestRouteIsWhereTheAppAnswers: an app that listens everywhere is reached at its own
// address, where it has one, and one that listens on 127.0.0.1 by the relay.
func TestRouteIsWhereTheAppAnswers(t *testing.T) {
	for _, c := range []struct {
		host    string
		network warden.Network
		own     bool
	}{
		{"0.0.0.0", "", true},
		{"0.0.0.0", warden.NetworkClosed, true},
		{"127.0.0.1", "", false},
	} {
		t.Run(c.host+string(c.network), func(t *testing.T) {
			r := newRig(t, dea.Config{Network: c.network})
			iso := r.pool.Isolation()
			own := c.own && iso.Level == warden.Full && iso.Outward
			r.start(r.message(r.droplet(`cd app; exec %VCAP_LOCAL_RUNTIME% -m http.server $VCAP_APP_PORT --bind ` + c.host)))
			route := testkit.Next(t, r.registered)
			if (route.Host != "127.0.0.1") != own {
				t.Errorf("registered %s", route.Host)
			}
			resp, err := http.Get("http://" + net.JoinHostPort(route.Host, strconv.Itoa(route.Port)))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
				t.Fatal(err)
			}
			if gone := testkit.Next(t, r.unregistered); gone.Host != route.Host {
				t.Errorf("registered %s, unregistered %s", route.Host, gone.Host)
			}
		})
	}
}
