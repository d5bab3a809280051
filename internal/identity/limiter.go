package identity

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	freeAttempts = 5                // wrong passwords before waiting begins
	firstWait    = time.Second      // doubled by each further one
	longestWait  = 5 * time.Minute  // at most
	forgetAfter  = 15 * time.Minute // since the last wrong one
	maxTracked   = 10_000           // pairs of account and address
)

// limiter slows down guessing. It counts per account and address, so that a stranger
// cannot lock the owner out.
type limiter struct {
	mu    sync.Mutex
	pairs map[attempt]failures
	busy  map[attempt]chan struct{} // closed when the attempt under way ends
}

type attempt struct{ email, address string }

// network is what counts as one address: all of an IPv6 network, since whoever has one
// address there has them all.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() || ip.Is4In6() {
		return address
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

// turn waits until no other attempt of the pair is under way: a thousand guesses at once
// would not have been counted when they begin. done ends the turn.
func (l *limiter) turn(ctx context.Context, k attempt) (done func(), err error) {
	for {
		other := l.begin(k)
		if other == nil {
			return func() { l.end(k) }, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin is nil, or the end of the attempt to wait for.
func (l *limiter) begin(k attempt) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.busy[k]; ok {
		return other
	}
	if l.busy == nil {
		l.busy = map[attempt]chan struct{}{}
	}
	l.busy[k] = make(chan struct{})
	return nil
}

func (l *limiter) end(k attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.busy[k])
	delete(l.busy, k)
}

type failures struct {
	count int
	last  time.Time
}

// wait is how long the pair has to wait from now; zero if not at all.
func (l *limiter) wait(k attempt, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.pairs[k]
	if !ok || f.count < freeAttempts {
		return 0
	}
	wait := min(firstWait<<min(f.count-freeAttempts, 16), longestWait)
	return max(0, f.last.Add(wait).Sub(now))
}

func (l *limiter) failed(k attempt, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pairs == nil || len(l.pairs) >= maxTracked {
		l.forget(now)
	}
	f := l.pairs[k]
	if now.Sub(f.last) > forgetAfter {
		f.count = 0
	}
	l.pairs[k] = failures{f.count + 1, now}
}

// forget drops what is old, and all of it where that is not enough.
func (l *limiter) forget(now time.Time) {
	for k, f := range l.pairs {
		if now.Sub(f.last) > forgetAfter {
			delete(l.pairs, k)
		}
	}
	if l.pairs == nil || len(l.pairs) >= maxTracked {
		l.pairs = map[attempt]failures{}
	}
}

func (l *limiter) succeeded(k attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pairs, k)
}
