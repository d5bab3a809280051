package component

import (
	"sync"
	"time"
)

// window is how far back a Rolling looks, in seconds.
const window = 60

// Rolling sums what was added within the last minute, in buckets of a second. Any
// goroutine may use it; it is ready as it is.
type Rolling struct {
	mu      sync.Mutex
	buckets [window]bucket
}

type bucket struct {
	second int64
	Sum
}

// Sum is what was added within a time, as varz has it.
type Sum struct {
	Value   int64 `json:"value"`
	Samples int64 `json:"samples"`
}

// Add adds a sample.
func (r *Rolling) Add(now time.Time, value int64) {
	second := now.Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &r.buckets[second%window]
	if b.second != second {
		*b = bucket{second: second}
	}
	b.Value += value
	b.Samples++
}

// Minute is the sum of the last minute.
func (r *Rolling) Minute(now time.Time) Sum { return r.sum(now.Unix()-window, now.Unix()) }

// PerSecond is how many samples a second had lately: over the last two whole ones.
func (r *Rolling) PerSecond(now time.Time) int64 {
	return r.sum(now.Unix()-3, now.Unix()-1).Samples / 2
}

// sum adds the buckets of the seconds after one and up to another.
func (r *Rolling) sum(after, last int64) (s Sum) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.buckets {
		if b.second > after && b.second <= last {
			s.Value += b.Value
			s.Samples += b.Samples
		}
	}
	return s
}
