package identity

import (
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
}

type attempt struct{ email, address string }

type failures struct {
	count int
	last  time.Time
}

// wait is how long the pair has to wait from now; zero if not at all.
func (l *limiter) wait(email, address string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.pairs[attempt{email, address}]
	if !ok || f.count < freeAttempts {
		return 0
	}
	wait := min(firstWait<<min(f.count-freeAttempts, 16), longestWait)
	return max(0, f.last.Add(wait).Sub(now))
}

func (l *limiter) failed(email, address string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pairs == nil || len(l.pairs) >= maxTracked {
		l.forget(now)
	}
	k := attempt{email, address}
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

func (l *limiter) succeeded(email, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pairs, attempt{email, address})
}
