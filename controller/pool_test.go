package controller

import (
	"context"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/store"
)

func advert(id string, memory int, instances int) bus.Advertise {
	return bus.Advertise{ID: id, AvailableMemory: memory, Runtimes: []string{"node"}, Instances: map[bus.AppID]int{"1": instances}}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	now := time.Unix(1345678901, 0)
	app := &store.App{ID: 1, Memory: 100, Runtime: "node"}
	prod := advert("prod", 1000, 0)
	prod.Prod = true
	ruby := advert("ruby", 1000, 0)
	ruby.Runtimes = []string{"ruby18"}
	for _, tc := range []struct {
		name   string
		offers []bus.Advertise
		at     time.Time
		want   []string // one placement after the other
	}{
		{"nobody", nil, now, []string{""}},
		{"fewest instances of the app", []bus.Advertise{advert("a", 1000, 2), advert("b", 1000, 0), advert("c", 1000, 4)}, now, []string{"b", "b"}},
		{"room is taken", []bus.Advertise{advert("a", 250, 0)}, now, []string{"a", "a", ""}},
		{"fewest with room", []bus.Advertise{advert("a", 99, 0), advert("b", 100, 5)}, now, []string{"b", ""}},
		{"the last word of a DEA counts", []bus.Advertise{advert("a", 1000, 0), advert("a", 50, 0)}, now, []string{""}},
		{"production only", []bus.Advertise{prod}, now, []string{""}},
		{"another runtime", []bus.Advertise{ruby}, now, []string{""}},
		{"just heard of", []bus.Advertise{advert("a", 100, 0)}, now.Add(advertExpiry), []string{"a"}},
		{"silent for too long", []bus.Advertise{advert("a", 100, 0)}, now.Add(advertExpiry + 1), []string{""}},
		{"no counts at all", []bus.Advertise{{ID: "a", AvailableMemory: 100, Runtimes: []string{"node"}}}, now, []string{"a", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var p pool
			for _, a := range tc.offers {
				p.advertise(a, now)
			}
			for i, want := range tc.want {
				if got := p.place(app, tc.at); got != want {
					t.Errorf("placement %d: %q, want %q", i, got, want)
				}
			}
		})
	}
}

// Equal DEAs all get their share.
func TestPlaceSpreads(t *testing.T) {
	t.Parallel()
	now := time.Unix(1345678901, 0)
	var p pool
	for _, id := range []string{"a", "b", "c", "d"} {
		p.advertise(advert(id, 1000, 0), now)
	}
	got := map[string]int{}
	for range 8 {
		got[p.place(&store.App{ID: 1, Memory: 100, Runtime: "node"}, now)]++
	}
	for id, n := range got {
		if n != 2 {
			t.Errorf("%q has %d of 8 instances", id, n)
		}
	}
}

// A run that is begun while the controller stops is given up at once: the stop waits for it.
func TestRunAfterStop(t *testing.T) {
	t.Parallel()
	var s stagings
	_, before := s.join(t.Context(), 1, time.Hour)
	s.stop()
	_, after := s.join(t.Context(), 2, time.Hour)
	for name, ctx := range map[string]context.Context{"before": before, "after": after} {
		if ctx.Err() == nil {
			t.Errorf("the run that was begun %s the stop goes on", name)
		}
	}
}
