package component

import (
	"sync"
	"testing"
	"time"
)

func TestRolling(t *testing.T) {
	t.Parallel()
	start := time.Unix(1351934045, 0)
	var r Rolling
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for s, n := range map[int]int{0: 1, 1: 2, 2: 4, 59: 8} {
		for range n {
			r.Add(at(s), 10)
		}
	}
	for _, tc := range []struct{ second, samples, rate int64 }{
		{2, 7, 1}, {3, 7, 3}, {4, 7, 2}, {5, 7, 0}, {59, 15, 0}, {60, 14, 4}, {61, 12, 4}, {62, 8, 0}, {118, 8, 0}, {119, 0, 0}, {3600, 0, 0},
	} {
		now := at(int(tc.second))
		if got, want := r.Minute(now), (Sum{tc.samples * 10, tc.samples}); got != want {
			t.Errorf("after %d s: %+v, want %+v", tc.second, got, want)
		}
		if got := r.PerSecond(now); got != tc.rate {
			t.Errorf("after %d s: %d a second, want %d", tc.second, got, tc.rate)
		}
	}
	r.Add(at(119), 1) // takes the bucket of second 59
	if got := r.Minute(at(119)); got != (Sum{1, 1}) {
		t.Errorf("a bucket used again holds %+v", got)
	}
}

func TestRollingAtOnce(t *testing.T) {
	t.Parallel()
	var r Rolling
	var work sync.WaitGroup
	now := time.Now()
	for range 8 {
		work.Go(func() {
			for range 1000 {
				r.Add(now, 1)
				r.PerSecond(now)
			}
		})
	}
	work.Wait()
	if got := r.Minute(now); got != (Sum{8000, 8000}) {
		t.Errorf("%+v", got)
	}
}
