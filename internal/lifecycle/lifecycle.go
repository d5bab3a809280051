// Package lifecycle starts components in order and stops them in the reverse order.
//
// Protocol: a component's Run acquires what it needs, closes the channel that Ready
// returns, works until its context is cancelled, and then ends in order.
// State: none beyond the running group.
// Source: the ordered group of Erlang's supervisors and of systemd's Before and After.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Runner is a component.
type Runner interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// Group runs components.
type Group struct {
	// Grace is how long one component may take to stop before Run reports it as stuck;
	// 30 s where zero.
	Grace time.Duration

	parts []part
}

type part struct {
	name   string
	runner Runner
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// Add appends a component. It starts when those before it are ready and stops when
// those after it have stopped.
func (g *Group) Add(name string, r Runner) {
	g.parts = append(g.parts, part{name: name, runner: r, done: make(chan struct{})})
}

// Run starts all components, calls ready when the last one is, and waits until ctx is
// cancelled or a component ends. Then each is stopped and waited for, last one first.
// The errors of all are joined.
func (g *Group) Run(ctx context.Context, ready func()) error {
	failed := make(chan struct{}, len(g.parts))
	started := 0
	for i := range g.parts {
		if !g.start(&g.parts[i], ctx, failed) {
			started = i + 1
			return g.stop(started)
		}
		started = i + 1
	}
	ready()
	select {
	case <-ctx.Done():
	case <-failed:
	}
	return g.stop(started)
}

// start runs a component and waits until it is ready; false if it, or anything before
// it, ended instead. Each has a context of its own: all are told to stop in turn, not
// at once.
func (g *Group) start(p *part, parent context.Context, failed chan<- struct{}) bool {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	p.cancel = cancel
	go func() {
		defer close(p.done)
		if err := p.runner.Run(ctx); err != nil {
			p.err = fmt.Errorf("%s: %w", p.name, err)
		} else if ctx.Err() == nil {
			p.err = fmt.Errorf("%s ended by itself", p.name)
		}
		failed <- struct{}{}
	}()
	select {
	case <-p.runner.Ready():
		return true
	case <-p.done:
		return false
	case <-parent.Done():
		return false
	}
}

func (g *Group) stop(started int) error {
	grace := g.Grace
	if grace == 0 {
		grace = 30 * time.Second
	}
	var errs []error
	for i := started - 1; i >= 0; i-- {
		p := &g.parts[i]
		p.cancel()
		select {
		case <-p.done:
			errs = append(errs, p.err)
		case <-time.After(grace):
			errs = append(errs, fmt.Errorf("%s did not stop within %s", p.name, grace))
		}
	}
	return errors.Join(errs...)
}
