package controller

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

func state(a *store.App) string {
	if a.Started {
		return api.Started
	}
	return api.Stopped
}

// describeApp is the app object; running is nil where nobody knows.
func describeApp(a *store.App, running *int, services []string) api.App {
	return api.App{
		Name:             a.Name,
		Staging:          api.Staging{Model: a.Framework, Stack: a.Runtime},
		URIs:             list(a.URIs),
		Instances:        a.Instances,
		RunningInstances: running,
		Resources:        api.Resources{Memory: a.Memory, Disk: a.Disk, FDs: a.FDs},
		State:            state(a),
		Services:         services,
		Version:          a.Version(),
		Env:              list(a.Env),
		Meta: api.Meta{
			Debug: a.Debug, Console: a.Console, Version: a.LockVersion,
			Created: a.Created.Unix(), Command: a.Command,
		},
	}
}

// list is a copy that is never nil: clients fail on null where they expect an array.
func list(s []string) []string { return append([]string{}, s...) }

// ownApp reads the app of the path, which has to be the caller's.
func (c *Controller) ownApp(e echo.Context) (app store.App, err error) {
	u, err := user(e)
	if err != nil {
		return app, err
	}
	err = c.st.View(func(tx *store.Tx) error {
		app, err = tx.AppNamed(u.Email, param(e, "name"))
		return err
	})
	return app, err
}

func (c *Controller) listApps(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	var apps []store.App
	var services [][]string
	if err := c.st.View(func(tx *store.Tx) error {
		if apps, err = tx.AppsOf(u.Email); err != nil {
			return err
		}
		services = make([][]string, len(apps))
		for i, app := range apps {
			if services[i], err = aliases(tx, app.ID); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	healthy := c.health(e.Request().Context(), apps)
	out := make([]api.App, len(apps))
	for i := range apps {
		out[i] = describeApp(&apps[i], healthy[apps[i].ID], services[i])
	}
	return e.JSON(http.StatusOK, out)
}

func (c *Controller) getApp(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	var services []string
	if err := c.st.View(func(tx *store.Tx) error {
		services, err = aliases(tx, app.ID)
		return err
	}); err != nil {
		return err
	}
	running := new(int)
	if app.Started {
		running = c.health(e.Request().Context(), []store.App{app})[app.ID]
	}
	return e.JSON(http.StatusOK, describeApp(&app, running, services))
}

// createApp answers 302 with a body, as v1 did: each of its clients reads another part.
func (c *Controller) createApp(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	if c.cfg.AdminsOnly && !u.Admin {
		return api.Forbidden.Because("this cloud runs without isolation, so only its administrator may have applications; " +
			"the operator can allow it with `cloudlet up --allow-unsafe`")
	}
	req, err := decode[api.AppRequest](e)
	if err != nil {
		return err
	}
	app := store.App{
		Owner: u.Email, Name: req.Name, Memory: 256, Disk: 2048, FDs: 256,
		PackageState: store.Pending, Created: time.Now().UTC(),
	}
	var change rebinding
	err = c.st.Update(func(tx *store.Tx) error {
		mine, err := tx.AppsOf(u.Email)
		if err != nil {
			return err
		}
		if allowed := c.account(u).Apps; len(mine) >= allowed {
			return api.TooManyApps.With(len(mine), allowed).Because("delete one that is not needed any more: vmc delete NAME")
		}
		if err := c.apply(&app, req, u, mine); err != nil {
			return err
		}
		if change, err = planBindings(tx, &app, req.Services); err != nil {
			return err
		}
		if err := tx.PutApp(&app); err != nil {
			return err
		}
		return recordChange(e.Request().Context(), tx, &store.App{}, &app)
	})
	if err != nil {
		return err
	}
	ctx := e.Request().Context()
	if err := c.rebind(ctx, &app, change); err != nil {
		c.abandon(ctx, &app)
		return err
	}
	if err := c.carryOut(ctx, store.App{}, app); err != nil {
		return err
	}
	location := c.baseURL(e.Request()) + "/apps/" + app.Name
	e.Response().Header().Set("Location", location)
	return e.JSON(http.StatusFound, api.Created{Result: "success", Redirect: location})
}

func (c *Controller) updateApp(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	req, err := decode[api.AppRequest](e)
	if err != nil {
		return err
	}
	var before, after store.App
	var change rebinding
	err = c.st.Update(func(tx *store.Tx) error {
		if before, err = tx.AppNamed(u.Email, param(e, "name")); err != nil {
			return err
		}
		mine, err := tx.AppsOf(u.Email)
		if err != nil {
			return err
		}
		after = before
		if err := c.apply(&after, req, u, mine); err != nil {
			return err
		}
		if change, err = planBindings(tx, &after, req.Services); err != nil {
			return err
		}
		if err := tx.PutApp(&after); err != nil {
			return err
		}
		return recordChange(e.Request().Context(), tx, &before, &after)
	})
	if err != nil {
		return err
	}
	if err := c.rebind(e.Request().Context(), &after, change); err != nil {
		return err
	}
	if err := c.carryOut(e.Request().Context(), before, after); err != nil {
		return err
	}
	return blank(e)
}

// carryOut makes a saved change real: it stages what needs staging, then tells DEAs and
// health manager.
func (c *Controller) carryOut(ctx ctx, before, app store.App) error {
	if app.NeedsStaging() {
		var err error
		if app, err = c.stage(ctx, app.ID); err != nil {
			return err
		}
	}
	switch {
	case before.Started && !app.Started:
		c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{Droplet: bus.AppNumber(app.ID)}))
	case begins(&before, &app):
		if err := c.start(ctx, &app); err != nil {
			return err
		}
	case app.Started && app.Instances != before.Instances:
		c.scale(ctx, &app, before.Instances)
	}
	if before.ID != 0 && !slices.Equal(before.URIs, app.URIs) && app.Droplet != nil {
		c.tell(bus.DEAUpdate.Publish(c.conn, c.startMessage(&app, 0)))
	}
	if app.Droplet != nil && app.PackageState != store.Failed && changed(&before, &app) {
		c.tell(bus.DropletUpdated.Publish(c.conn, bus.Updated{Droplet: bus.AppNumber(app.ID), Partition: bus.DefaultPartition}))
	}
	return nil
}

// begins tells whether instances are to be started: the app was started, or what was
// started before its bits came has its first droplet.
func begins(before, after *store.App) bool {
	return after.Started && (!before.Started || before.Droplet == nil && after.Droplet != nil)
}

// changed tells whether the health manager has to look at the app again.
func changed(before, after *store.App) bool {
	return before.Started != after.Started || before.Instances != after.Instances || begins(before, after)
}

// start gives the app a new version and starts all of its instances, unless somebody
// has stopped it meanwhile.
func (c *Controller) start(ctx ctx, app *store.App) error {
	err := c.st.Update(func(tx *store.Tx) (err error) {
		if *app, err = tx.App(app.ID); err != nil || !app.Started {
			return err
		}
		app.RunCount++
		app.Updated = time.Now().UTC()
		return tx.PutApp(app)
	})
	if err != nil || !app.Started || app.Droplet == nil {
		return err
	}
	c.startInstances(ctx, app, span(0, app.Instances), false)
	return nil
}

// scale starts the instances that were added, or stops those with the highest indices.
func (c *Controller) scale(ctx ctx, app *store.App, from int) {
	c.audit("USER", app.Owner, app.Name, fmt.Sprintf("Changing instances to %d", app.Instances), "SUCCEEDED")
	if app.Instances > from {
		if app.Droplet != nil {
			c.startInstances(ctx, app, span(from, app.Instances), false)
		}
		return
	}
	c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{
		Droplet: bus.AppNumber(app.ID), Version: app.Version(), Indices: span(app.Instances, from),
	}))
}

func span(from, to int) (indices []int) {
	for i := from; i < to; i++ {
		indices = append(indices, i)
	}
	return indices
}

func (c *Controller) deleteApp(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	var app store.App
	err = c.st.Update(func(tx *store.Tx) error {
		if app, err = tx.AppNamed(u.Email, param(e, "name")); err != nil {
			return err
		}
		if err := tx.DeleteApp(app.ID); err != nil {
			return err
		}
		return record(e.Request().Context(), tx, &app, store.AppDeleted, "")
	})
	if err != nil {
		return err
	}
	c.forget(app.ID)
	return blank(e)
}

// forget stops what runs of a deleted app, and its staging.
func (c *Controller) forget(id store.AppID) {
	c.staging.cancel(id)
	c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{Droplet: bus.AppNumber(id)}))
}

// tell logs a message that could not be sent. The change is saved by then; the health
// manager brings about what the message asked for.
func (c *Controller) tell(err error) {
	if err != nil {
		c.log.Error("publish", "err", err)
	}
}

// replaceInstances is v1's "update": it stages if needed, stops everything and starts
// everything. No published server did more; ours also tells the health manager, which
// would count instances of the old version otherwise.
func (c *Controller) replaceInstances(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	req, err := decodeOptional[api.AppRequest](e)
	if err != nil {
		return err
	}
	err = c.st.Update(func(tx *store.Tx) error {
		if app, err = tx.App(app.ID); err != nil {
			return err
		}
		if !app.Started {
			return api.AppStopped.Because("start it first: vmc start %s", app.Name)
		}
		if err := checkVersion(&app, req); err != nil {
			return err
		}
		app.LockVersion++
		app.Updated = time.Now().UTC()
		if err := tx.PutApp(&app); err != nil {
			return err
		}
		return record(e.Request().Context(), tx, &app, store.AppRestarted, "%s", instancesText(app.Instances))
	})
	if err != nil {
		return err
	}
	ctx := e.Request().Context()
	if app.NeedsStaging() {
		if app, err = c.stage(ctx, app.ID); err != nil {
			return err
		}
	}
	c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{Droplet: bus.AppNumber(app.ID)}))
	stopped := app
	stopped.Started = false
	if err := c.carryOut(ctx, stopped, app); err != nil {
		return err
	}
	return e.NoContent(http.StatusNoContent)
}

// updateState tells in v1's words how far the last change has come.
func (c *Controller) updateState(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	word := "NONE"
	switch {
	case !app.Started || app.PackageState == store.Failed:
		word = "CANARY_FAILED"
	case app.PackageState == store.Pending:
		word = "UPDATING"
	default:
		running := c.health(e.Request().Context(), []store.App{app})[app.ID]
		if running != nil && *running == app.Instances {
			word = "SUCCEEDED"
		} else if word = "UPDATING"; len(c.crashed(e.Request().Context(), &app)) > 0 {
			word = "CANARY_FAILED"
		}
	}
	return e.JSON(http.StatusOK, api.UpdateState{State: word, Since: app.Updated.Unix()})
}

// memoryText is an amount of memory as v1's texts have it.
func memoryText(mb int) string { return strconv.Itoa(mb) + "M" }
