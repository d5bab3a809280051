package controller

import (
	"context"
	"errors"
	"strings"
	"time"

	"cloudlet/bus"
	"cloudlet/store"
)

// hmRequest brings an app nearer to its desired state, unless that has changed since
// the health manager looked.
func (c *Controller) hmRequest(r bus.HMRequest) {
	n, ok := r.Droplet.Number()
	if !ok {
		return
	}
	var app store.App
	err := c.st.View(func(tx *store.Tx) (err error) {
		app, err = tx.App(store.AppID(n))
		return err
	})
	gone := errors.Is(err, store.ErrNoApp)
	if err != nil && !gone {
		c.log.Error("health manager's request", "app", n, "err", err)
		return
	}
	switch op := strings.ToUpper(r.Op); {
	case op == bus.OpStop && gone:
		c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{Droplet: n}))
	case gone:
	case op == bus.OpStop && r.LastUpdated == bus.At(app.Updated):
		c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{Droplet: n, Instances: r.Instances}))
	case op == bus.OpStart && app.Started && app.Droplet != nil && app.Version() == r.Version:
		indices := r.Indices[:0]
		for _, i := range r.Indices {
			if i >= 0 && i < app.Instances {
				indices = append(indices, i)
			}
		}
		// Placement may have to wait for answers that come in on this very loop.
		c.work.Go(func() { c.startInstances(context.Background(), &app, indices, r.Flapping) })
		c.noteRestart(app.ID, indices)
	case op == bus.OpSpindown:
		c.spinDown(app.ID)
	default:
		c.log.Debug("outdated request of the health manager", "app", n, "op", r.Op)
	}
}

// spinDown stops an app that nobody used.
func (c *Controller) spinDown(id store.AppID) {
	err := c.st.Update(func(tx *store.Tx) error {
		app, err := tx.App(id)
		if err != nil {
			return err
		}
		app.Started, app.Updated = false, time.Now().UTC()
		if err := tx.PutApp(&app); err != nil {
			return err
		}
		return record(context.Background(), tx, &app, store.AppStopped, "nobody used it")
	})
	if err != nil {
		c.log.Error("spin down", "app", id, "err", err)
		return
	}
	c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{Droplet: bus.AppNumber(id)}))
}
