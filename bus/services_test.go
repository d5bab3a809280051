package bus_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
)

const redis bus.ServiceBus = "RaaS"

func TestServiceSubjects(t *testing.T) {
	t.Parallel()
	const node = "redis_node_0"
	for got, want := range map[string]string{
		string(redis.Announce()):            "RaaS.announce",
		string(redis.Discover()):            "RaaS.discover",
		string(redis.Provision(node)):       "RaaS.provision.redis_node_0",
		string(redis.Unprovision(node)):     "RaaS.unprovision.redis_node_0",
		string(redis.Bind(node)):            "RaaS.bind.redis_node_0",
		string(redis.Unbind(node)):          "RaaS.unbind.redis_node_0",
		string(redis.Restore(node)):         "RaaS.restore.redis_node_0",
		string(redis.DisableInstance(node)): "RaaS.disable_instance.redis_node_0",
		string(redis.EnableInstance(node)):  "RaaS.enable_instance.redis_node_0",
		string(redis.ImportInstance(node)):  "RaaS.import_instance.redis_node_0",
		string(redis.UpdateInstance(node)):  "RaaS.update_instance.redis_node_0",
		string(redis.CleanupInstance(node)): "RaaS.cleanupnfs_instance.redis_node_0",
		string(redis.CheckOrphan()):         "RaaS.check_orphan",
		string(redis.NodeHandles()):         "RaaS.node_handles",
		string(redis.PurgeOrphan(node)):     "RaaS.purge_orphan.redis_node_0",
		string(redis.Handles()):             "RaaS.handles",
		string(redis.UpdateServiceHandle()): "RaaS.update_service_handle",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A gateway finds a node, has it make an instance, and looks for what nobody knows.
func TestServiceConversation(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	const id = "redis_node_0"
	offer := bus.Announcement{AvailableCapacity: 200, CapacityUnit: 1, ID: id, Plan: "free", SupportedVersions: []string{"2.2"}}
	node := testkit.Conn(t, b)
	testkit.Handle(t, node,
		redis.Discover().Answer(func(q bus.DiscoverNodes, reply func(bus.Announcement)) {
			if q.Plan == "" || q.Plan == offer.Plan {
				reply(offer)
			}
		}),
		redis.Provision(id).Answer(func(q bus.Provision, reply func(bus.ServiceReply)) {
			if q.Version != "2.2" {
				reply(bus.ServiceReply{Error: &bus.ServiceError{Status: 400, Msg: bus.ServiceMessage{Code: 30004, Description: "Unsupported version"}}})
				return
			}
			reply(bus.ServiceReply{Success: true, Credentials: json.RawMessage(`{"name":"redis-1","node_id":"redis_node_0"}`)})
		}),
		redis.CheckOrphan().To(func(bus.Text) {
			publish(t, node, redis.NodeHandles(), bus.NodeHandles{Instances: []string{"redis-1"}, Bindings: []json.RawMessage{}, NodeID: id})
		}),
	)
	gateway := testkit.Conn(t, b)
	for plan, want := range map[string]int{"": 1, "free": 1} {
		if got := redis.Discover().Gather(t.Context(), gateway, bus.DiscoverNodes{Plan: plan}, want, 10*time.Second); !cmp.Equal(got, []bus.Announcement{offer}) {
			t.Errorf("plan %q: %+v", plan, got)
		}
	}
	made, err := redis.Provision(id).Ask(t.Context(), gateway, bus.Provision{Plan: "free", Version: "2.2"})
	if err != nil || !made.Success || !strings.Contains(string(made.Credentials), `"node_id":"redis_node_0"`) {
		t.Errorf("%+v, %v", made, err)
	}
	refused, err := redis.Provision(id).Ask(t.Context(), gateway, bus.Provision{Plan: "free", Version: "9"})
	if err != nil || refused.Success || refused.Error == nil || refused.Error.Error() != "30004: Unsupported version" {
		t.Errorf("%+v, %v", refused, err)
	}
	reports := testkit.Collect(t, gateway, redis.NodeHandles())
	publish(t, gateway, redis.CheckOrphan(), "Send me handles")
	if got := testkit.Next(t, reports); got.NodeID != id || !cmp.Equal(got.Instances, []string{"redis-1"}) {
		t.Errorf("%+v", got)
	}
}

func publish[T any](t *testing.T, c *bus.Conn, s bus.Subject[T], v T) {
	t.Helper()
	if err := s.Publish(c, v); err != nil {
		t.Error(err)
	}
}

// What is no JSON travels byte for byte, as components of the time sent and read it.
func TestOtherPayloads(t *testing.T) {
	t.Parallel()
	b := opened(t)
	nc := raw(t, b)
	seen := make(chan string, 8)
	for _, subject := range []string{"RaaS.discover", "RaaS.handles", "router.active_apps"} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { seen <- fmt.Sprintf("%s %q", m.Subject, m.Data) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := testkit.Conn(t, b)
	expect := func(want string) {
		t.Helper()
		if got := testkit.Next(t, seen); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	redis.Discover().Gather(t.Context(), c, bus.DiscoverNodes{}, 1, time.Millisecond)
	expect(`RaaS.discover ""`)
	bus.Request[bus.Text, string]("RaaS.handles").Gather(t.Context(), c, "redis-1", 1, time.Millisecond)
	expect(`RaaS.handles "redis-1"`)
	publish(t, c, bus.RouterActiveApps, bus.ActiveApps{"42"})
	if got := testkit.Next(t, seen); !strings.HasPrefix(got, `router.active_apps "x\x9c`) {
		t.Errorf("%s is no zlib stream", got)
	}
	lists := testkit.Collect(t, c, bus.RouterActiveApps)
	// deflate of ["42","57"], as zlib itself writes it
	const zipped = "x\x9c\x8bV21R\xd2Q25W\x8a\x05\x00\rf\x02?"
	if err := nc.Publish("router.active_apps", []byte(zipped)); err != nil {
		t.Fatal(err)
	}
	if got := testkit.Next(t, lists); !cmp.Equal(got, bus.ActiveApps{"42", "57"}) {
		t.Errorf("%v", got)
	}
}
