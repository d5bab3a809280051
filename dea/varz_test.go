package dea_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/dea"
	"cloudlet/internal/component"
	"cloudlet/internal/testkit"
)

// numbers is the varz of the DEA.
func (r *rig) numbers() (varz map[string]any, err error) {
	for _, found := range component.Gather(r.t.Context(), r.conn, 50*time.Millisecond) {
		if found.Type == "DEA" && found.UUID == r.id && found.Varz != nil {
			return found.Varz, nil
		}
	}
	return nil, fmt.Errorf("no DEA has this id: %s", r.id)
}

// An instance is in the numbers while it runs, without what is its own secret.
func TestVarz(t *testing.T) {
	r := newRig(t, dea.Config{MaxMemory: 1024})
	m := r.message(r.droplet(serving, "index.html", "hello"))
	m.Env = []string{"SECRET=hidden-in-the-env"}
	m.Services = []bus.Service{{Name: "db", Label: "mysql-5.1", Credentials: json.RawMessage(`{"password":"hidden-too"}`)}}
	beat := r.running(m)

	testkit.Eventually(t, func() error {
		v, err := r.numbers()
		if err != nil {
			return err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "hidden") {
			t.Errorf("the varz tells a secret: %s", text)
		}
		for _, want := range []string{
			`"apps_max_memory":1024`, `"apps_reserved_memory":256`, `"num_apps":1`, `"reserved_memory":262144`, `"frameworks":{"standalone":{`, `"runtimes":{"python":{`,
			`"instance_id":"` + beat.Instance + `"`, `"droplet_id":"42"`, `"instance_index":0`, `"name":"hello"`, `"users":["me@example.com"]`, `"uris":["hello.example"]`,
			`"state":"RUNNING"`, `"mem_quota":268435456`, `"disk_quota":67108864`, `"fds_quota":256`, `"cc_partition":"default"`, `"usage":{"cpu":`,
		} {
			if !strings.Contains(string(text), want) {
				return fmt.Errorf("no %s in %s", want, text)
			}
		}
		return nil
	})
	if err := bus.DEAStop.Publish(r.conn, bus.StopApp{Droplet: 42}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		v, err := r.numbers()
		if err != nil {
			return err
		}
		if apps, ok := v["running_apps"].([]any); !ok || len(apps) != 0 || v["num_apps"] != json.Number("0") || v["apps_reserved_memory"] != json.Number("0") {
			return fmt.Errorf("%v", v)
		}
		return nil
	})
}
