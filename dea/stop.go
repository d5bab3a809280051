package dea

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"cloudlet/bus"
	"cloudlet/warden"
)

// stopMatching stops the instances that a message selects. A crashed one is forgotten.
func (d *DEA) stopMatching(work context.Context, m bus.StopApp) {
	if d.stopping {
		return
	}
	for _, i := range d.sorted() {
		if !i.matches(m.Droplet, m.Version, slices.Concat(m.Instances, m.InstanceIDs), m.Indices, m.States) {
			continue
		}
		if i.State == bus.Crashed {
			d.discard(work, i)
		} else {
			d.stop(work, i, bus.ReasonStopped)
		}
	}
}

// stop ends an instance on purpose. It runs once per instance, but for one that is
// still being made: that one is stopped as soon as it is there.
func (d *DEA) stop(work context.Context, i *instance, reason string) {
	if i.stopped == "" {
		i.stopped = reason
		i.enter(bus.Stopped, time.Now())
		d.finish(i, reason, "", nil)
	}
	if i.box == nil {
		return // launched comes back here
	}
	box, grace := i.box, d.cfg.Grace
	d.remove(i)
	d.destroy(work, box, grace)
}

// destroy ends a container and removes all that it has.
func (d *DEA) destroy(work context.Context, box *warden.Container, grace time.Duration) {
	d.beside(func() func() {
		if err := errors.Join(box.Stop(work, grace), box.Destroy(work)); err != nil {
			d.log.Error("destroy", "handle", box.Handle(), "err", err)
		}
		return nil
	})
}

// ended deals with an instance whose container has ended. If nobody stopped it, it has
// crashed.
func (d *DEA) ended(work context.Context, i *instance) {
	if i.stopped != "" || i.State == bus.Crashed {
		return
	}
	exit := i.box.Exit()
	ran := time.Since(i.StartedAt).Round(100 * time.Millisecond)
	if exit.Reason == warden.OutOfMemory {
		d.explain(i, fmt.Sprintf("Memory limit of %dM exceeded.", i.Limits.Mem))
		d.explain(i, fmt.Sprintf("The application ran out of memory after %s, process terminated.", ran))
	} else {
		d.explain(i, fmt.Sprintf("The application %s after %s.", exit.Reason, ran))
	}
	i.stopped = bus.ReasonCrashed
	d.crashed(work, i, describe(exit), &exit.Status)
}

// describe puts an exit into the words of the exited message.
func describe(e warden.Exit) string {
	switch {
	case !e.Known:
		return "cannot be determined"
	case e.Reason == warden.OutOfMemory:
		return e.Reason
	}
	return "app instance exited"
}

// crash ends an instance that did what it must not.
func (d *DEA) crash(work context.Context, i *instance, description string) {
	i.stopped = bus.ReasonCrashed
	box := i.box
	d.beside(func() func() {
		if err := box.Stop(work, 0); err != nil {
			d.log.Error("stop", "handle", box.Handle(), "err", err)
		}
		return nil
	})
	d.crashed(work, i, description, nil)
}

// crashed keeps the files of a crashed instance for a while, unless the health manager
// said that they would be one more of the same.
func (d *DEA) crashed(work context.Context, i *instance, description string, status *int) {
	i.enter(bus.Crashed, time.Now())
	d.finish(i, bus.ReasonCrashed, description, status)
	if i.Flapping {
		d.discard(work, i)
		return
	}
	d.save()
	kept := 0
	for _, other := range slices.Backward(d.sorted()) {
		if other.State == bus.Crashed && other.Droplet == i.Droplet {
			if kept++; kept > d.cfg.MaxCrash {
				d.discard(work, other)
			}
		}
	}
}

// finish tells, once, that an instance has ended, and gives its memory back.
func (d *DEA) finish(i *instance, reason, description string, status *int) {
	if i.released {
		return
	}
	i.released = true
	d.unregister(i, i.URIs)
	e := bus.Exited{
		Droplet: i.Droplet.ID(), Version: i.Version, Instance: i.ID, Index: i.Index,
		Reason: reason, Partition: i.Partition, ExitDescription: description, ExitStatus: status,
	}
	if reason == bus.ReasonCrashed {
		e.CrashTimestamp = bus.At(time.Now())
	}
	ran := bus.Decimal(0)
	if !i.RunningAt.IsZero() {
		ran = bus.Decimal(time.Since(i.RunningAt).Seconds())
	}
	e.RanFor = &ran
	d.tell(bus.DropletExited.Publish(d.conn, e))
	d.log.Info("ended", "app", i.Droplet, "name", i.Name, "index", i.Index, "instance", i.ID, "reason", reason, "why", description)
	d.reserved -= i.Limits.Mem
	d.advertise()
}

// discard forgets a crashed instance and its files.
func (d *DEA) discard(work context.Context, i *instance) {
	box := i.box
	d.remove(i)
	if box != nil {
		d.destroy(work, box, 0)
	}
}

// remove forgets an instance.
func (d *DEA) remove(i *instance) {
	delete(d.instances, i.ID)
	d.viewer.remove(i.staged())
	d.save()
}

// reap forgets instances that crashed long ago.
func (d *DEA) reap(work context.Context, now time.Time) {
	for _, i := range d.sorted() {
		if i.State == bus.Crashed && now.Sub(i.StateAt) > d.cfg.KeepCrash {
			d.discard(work, i)
		}
	}
}

// explain writes a line to the instance's logs/err.log, for whoever reads why it ended.
func (d *DEA) explain(i *instance, text string) {
	root, err := os.OpenRoot(i.box.Home())
	if err != nil {
		d.log.Warn("err.log", "instance", i.ID, "err", err)
		return
	}
	defer root.Close()
	// The folder is the app's: what lies there under this name may be a pipe.
	f, err := root.OpenFile("logs/err.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		d.log.Warn("err.log", "instance", i.ID, "err", err)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return
	}
	fmt.Fprintf(f, "[%s] %s\n", time.Now().Format("2006-01-02 15:04:05"), text)
}
