package healthmgr

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"cloudlet/bus"
)

func request(app int) bus.HMRequest {
	return bus.HMRequest{Droplet: bus.AppID(fmt.Sprint(app)), Op: bus.OpStart, Version: "v-1", Indices: []int{0}}
}

func TestOutboxKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, began := newOutbox(50), time.Now()
		for i := range 200 {
			o.add(request(i), false)
		}
		sent := 0
		for {
			ready, wait := o.take(time.Now())
			for _, r := range ready {
				if r.Droplet != request(sent).Droplet {
					t.Fatalf("%s leaves as number %d", r.Droplet, sent)
				}
				sent++
			}
			if most := 50 + int(time.Since(began)/(20*time.Millisecond)); sent > most {
				t.Fatalf("%d left after %s", sent, time.Since(began))
			}
			if wait == 0 {
				break
			}
			time.Sleep(wait)
		}
		if sent != 200 || time.Since(began) > 3100*time.Millisecond {
			t.Errorf("%d left in %s", sent, time.Since(began))
		}
	})
}

func TestOutboxOrder(t *testing.T) {
	o := newOutbox(-1)
	o.add(request(1), false)
	o.add(request(2), true)
	o.add(request(3), false)
	o.add(request(1), false) // waits already
	o.add(request(4), true)
	ready, wait := o.take(time.Now())
	var got []bus.AppID
	for _, r := range ready {
		got = append(got, r.Droplet)
	}
	if fmt.Sprint(got) != "[2 4 1 3]" || wait != 0 {
		t.Errorf("leave as %v, wait %s", got, wait)
	}
	o.add(request(1), false)
	if ready, _ := o.take(time.Now()); len(ready) != 1 {
		t.Error("what has left may be added again")
	}
}
