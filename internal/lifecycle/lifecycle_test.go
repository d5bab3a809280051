package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloudlet/internal/lifecycle"
)

// diary is what components write down in the order of its happening.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, ",")
}

// part is a component that can fail before it is ready, or while it works, or not stop.
type part struct {
	name  string
	d     *diary
	ready chan struct{}
	early error
	late  bool // it ends by itself after a second
	err   error
	stuck bool
}

func newPart(name string, d *diary) *part { return &part{name: name, d: d, ready: make(chan struct{})} }

func (p *part) Ready() <-chan struct{} { return p.ready }

func (p *part) Run(ctx context.Context) error {
	p.d.write("start " + p.name)
	if p.early != nil {
		return p.early
	}
	close(p.ready)
	var end <-chan time.Time
	if p.late {
		end = time.After(time.Second)
	}
	select {
	case <-end:
		return p.err
	case <-ctx.Done():
	}
	if p.stuck {
		time.Sleep(time.Hour)
	}
	time.Sleep(time.Millisecond) // time for the others to run ahead, if they were told too early
	p.d.write("stop " + p.name)
	return nil
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		var g lifecycle.Group
		for _, name := range []string{"a", "b", "c"} {
			g.Add(name, newPart(name, d))
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := g.Run(ctx, func() { d.write("ready"); cancel() }); err != nil {
			t.Error(err)
		}
		if got, want := d.read(), "start a,start b,start c,ready,stop c,stop b,stop a"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestFailureStopsTheOthers(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name   string
		change func(*part)
		want   string
		lines  string
	}{
		{"before it is ready", func(p *part) { p.early = boom }, "b: boom", "start a,start b,stop a"},
		{"while it works", func(p *part) { p.late, p.err = true, boom }, "b: boom", "start a,start b,start c,stop c,stop a"},
		{"ends without an error", func(p *part) { p.late = true }, "b ended by itself", "start a,start b,start c,stop c,stop a"},
		{"does not stop", func(p *part) { p.stuck = true }, "b did not stop within 10s", "start a,start b,start c,stop c,stop a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &diary{}
				g := lifecycle.Group{Grace: 10 * time.Second}
				b := newPart("b", d)
				c.change(b)
				g.Add("a", newPart("a", d))
				g.Add("b", b)
				g.Add("c", newPart("c", d))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := g.Run(ctx, func() {})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the error is %v, want %q", err, c.want)
				}
				if got := d.read(); got != c.lines {
					t.Errorf("%s, want %s", got, c.lines)
				}
				time.Sleep(2 * time.Hour) // the stuck one ends, too
			})
		})
	}
}
