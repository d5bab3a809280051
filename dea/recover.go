package dea

import (
	"context"
	"slices"
	"time"

	"cloudlet/bus"
	"cloudlet/warden"
)

// recover goes on with the instances that a killed Cloudlet left: those whose container
// still runs are adopted, those that ended meanwhile have crashed, and containers that
// nobody remembers are removed.
func (d *DEA) recover(work context.Context) error {
	saved, err := d.load()
	if err != nil {
		return err
	}
	boxes := slices.DeleteFunc(d.pool.List(), func(c *warden.Container) bool { return !isOurs(c) })
	for _, byID := range saved {
		for id, i := range byID {
			at := slices.IndexFunc(boxes, func(c *warden.Container) bool { return c.Handle() == i.handle() })
			if at < 0 || i.ID != id {
				continue // it was being made: the health manager asks again
			}
			i.box = boxes[at]
			boxes = slices.Delete(boxes, at, at+1)
			d.adopt(work, i)
		}
	}
	for _, c := range boxes {
		d.log.Warn("container without a record removed", "handle", c.Handle())
		if err := c.Destroy(work); err != nil {
			d.log.Error("destroy", "handle", c.Handle(), "err", err)
		}
	}
	d.save()
	return nil
}

func (d *DEA) adopt(work context.Context, i *instance) {
	d.instances[i.ID] = i
	i.Port = i.box.Port()
	if i.State == bus.Crashed {
		i.released, i.stopped = true, bus.ReasonCrashed
		close(d.viewer.show(i, d.environment(i, i.box)).ended)
		return
	}
	d.reserved += i.Limits.Mem
	d.log.Info("adopted", "app", i.Droplet, "name", i.Name, "index", i.Index, "instance", i.ID)
	d.follow(work, i)
	switch i.State {
	case bus.Running:
		d.register(i, i.URIs)
	case bus.Starting:
		d.awaitReady(work, i)
	default: // it was being stopped
		i.enter(bus.Stopped, time.Now())
		d.stop(work, i, bus.ReasonStopped)
	}
}
