package healthmgr

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"cloudlet/bus"
)

// outbox paces START requests: they leave at once while there are few, and in order at
// the permitted rate when many come together.
type outbox struct {
	limit   *rate.Limiter
	waiting []bus.HMRequest
	urgent  int // so many of waiting, at the front, are due to evacuations
}

// newOutbox lets perSecond requests out, with bursts of as many; below 1, all at once.
func newOutbox(perSecond int) *outbox {
	if perSecond < 1 {
		return &outbox{limit: rate.NewLimiter(rate.Inf, 1)}
	}
	return &outbox{limit: rate.NewLimiter(rate.Limit(perSecond), perSecond)}
}

// add queues a request unless the same one waits already.
func (o *outbox) add(req bus.HMRequest, urgent bool) {
	same := func(w bus.HMRequest) bool {
		return w.Droplet == req.Droplet && w.Version == req.Version && w.Flapping == req.Flapping &&
			slices.Equal(w.Indices, req.Indices)
	}
	if slices.ContainsFunc(o.waiting, same) {
		return
	}
	if urgent {
		o.waiting = slices.Insert(o.waiting, o.urgent, req)
		o.urgent++
		return
	}
	o.waiting = append(o.waiting, req)
}

// take gives what may leave now, and how long what is left has to wait.
func (o *outbox) take(now time.Time) (ready []bus.HMRequest, wait time.Duration) {
	n := 0
	for n < len(o.waiting) && o.limit.AllowN(now, 1) {
		n++
	}
	ready = o.waiting[:n:n]
	o.waiting = o.waiting[n:]
	o.urgent = max(0, o.urgent-n)
	if len(o.waiting) == 0 {
		o.waiting = nil
		return ready, 0
	}
	return ready, time.Duration(float64(time.Second) / float64(o.limit.Limit()))
}
