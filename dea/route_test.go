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
	for host, own := range map[string]bool{"0.0.0.0": true, "127.0.0.1": false} {
		t.Run(host, func(t *testing.T) {
			r := newRig(t, dea.Config{})
			iso := r.pool.Isolation()
			own := own && iso.Level == warden.Full && iso.Outward
			r.start(r.message(r.droplet(`cd app; exec %VCAP_LOCAL_RUNTIME% -m http.server $VCAP_APP_PORT --bind ` + host)))
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
