package controller

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

// health is how many instances of each started app run, asked in one go. An app that
// the health manager says nothing about has an entry of 0: clients take null for a
// failure.
func (c *Controller) health(ctx context.Context, apps []store.App) map[store.AppID]*int {
	var ask bus.HealthOf
	for _, app := range apps {
		if app.Started {
			ask.Droplets = append(ask.Droplets, bus.AppVersion{Droplet: bus.AppNumber(app.ID), Version: app.Version()})
		}
	}
	out := map[store.AppID]*int{}
	for _, r := range bus.HealthHealth.Gather(ctx, c.conn, ask, len(ask.Droplets), c.cfg.Gather) {
		if n, ok := r.Droplet.Number(); ok {
			out[store.AppID(n)] = &r.Healthy
		}
	}
	for _, d := range ask.Droplets {
		if out[store.AppID(d.Droplet)] == nil {
			out[store.AppID(d.Droplet)] = new(int)
		}
	}
	return out
}

// find asks the DEAs for instances of an app in its present version.
func (c *Controller) find(ctx context.Context, app *store.App, q bus.FindDroplet, want int) []bus.FoundDroplet {
	q.Droplet, q.Version = bus.AppNumber(app.ID), app.Version()
	var found []bus.FoundDroplet
	for _, f := range bus.DEAFindDroplet.Gather(ctx, c.conn, q, want, c.cfg.Gather) {
		if f.Index >= 0 && f.Index < app.Instances {
			found = append(found, f)
		}
	}
	return found
}

func (c *Controller) instances(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	out := api.Instances{Instances: []api.Instance{}}
	if !app.Started {
		return e.JSON(http.StatusOK, out)
	}
	out.Instances = make([]api.Instance, app.Instances)
	for i := range out.Instances {
		out.Instances[i] = api.Instance{Index: i, State: string(bus.Down), Since: time.Now().Unix()}
	}
	expected := app.Instances
	for _, f := range c.flapping(e.Request().Context(), &app) {
		if f.Index >= 0 && f.Index < app.Instances && out.Instances[f.Index].State == string(bus.Down) {
			out.Instances[f.Index].State, out.Instances[f.Index].Since = string(bus.Flapping), int64(f.Since)
			expected--
		}
	}
	q := bus.FindDroplet{States: []bus.State{bus.Starting, bus.Running}}
	for _, f := range c.find(e.Request().Context(), &app, q, expected) {
		out.Instances[f.Index] = api.Instance{
			Index: f.Index, State: string(f.State), Since: int64(f.StateTimestamp),
			Ports: &api.DebugTTY{DebugIP: f.DebugIP, DebugPort: f.DebugPort, ConsoleIP: f.ConsoleIP, ConsolePort: f.ConsolePort},
		}
	}
	return e.JSON(http.StatusOK, out)
}

func (c *Controller) flapping(ctx context.Context, app *store.App) []bus.FlappingIndex {
	q := bus.StatusOf{Droplet: bus.AppNumber(app.ID), Version: app.Version(), State: bus.Flapping}
	for _, r := range bus.HealthStatus.Gather(ctx, c.conn, q, 1, c.cfg.Gather) {
		if r.Indices != nil {
			return *r.Indices
		}
	}
	return nil
}

func (c *Controller) stats(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	out := map[string]api.InstanceStats{}
	if !app.Started {
		return e.JSON(http.StatusOK, out)
	}
	for i := range app.Instances {
		out[strconv.Itoa(i)] = api.InstanceStats{State: string(bus.Down), Since: time.Now().Unix()}
	}
	q := bus.FindDroplet{States: []bus.State{bus.Running}, IncludeStats: true}
	for _, f := range c.find(e.Request().Context(), &app, q, app.Instances) {
		if f.Stats != nil {
			out[strconv.Itoa(f.Index)] = api.InstanceStats{State: string(f.State), Stats: describeStats(f.Stats)}
		}
	}
	return e.JSON(http.StatusOK, out)
}

func describeStats(s *bus.InstanceStats) *api.Stats {
	out := &api.Stats{
		Name: s.Name, Host: s.Host, Port: s.Port, URIs: s.URIs, Uptime: decimal(s.Uptime),
		MemQuota: s.MemQuota, DiskQuota: s.DiskQuota, FDsQuota: s.FDsQuota, Cores: s.Cores,
	}
	if s.Usage != nil {
		out.Usage = &api.InstanceUsage{Time: s.Usage.Time, CPU: decimal(s.Usage.CPU), Mem: decimal(s.Usage.Mem), Disk: s.Usage.Disk}
	}
	return out
}

func decimal(d bus.Decimal) json.Number {
	b, err := d.MarshalJSON()
	if err != nil { // not a number, not finite
		return "0.0"
	}
	return json.Number(b)
}

func (c *Controller) crashes(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	out := api.Crashes{Crashes: []api.Crash{}}
	for _, i := range c.crashed(e.Request().Context(), &app) {
		out.Crashes = append(out.Crashes, api.Crash{Instance: i.Instance, Since: int64(i.Since)})
	}
	return e.JSON(http.StatusOK, out)
}

// crashed asks for the crashed instances of an app. One that never had a droplet has
// none, and the health manager, which does not know it yet, would let us wait.
func (c *Controller) crashed(ctx context.Context, app *store.App) []bus.CrashedInstance {
	if app.Droplet == nil {
		return nil
	}
	q := bus.StatusOf{Droplet: bus.AppNumber(app.ID), State: bus.Crashed}
	for _, r := range bus.HealthStatus.Gather(ctx, c.conn, q, 1, c.cfg.Gather) {
		if r.Instances != nil {
			return *r.Instances
		}
	}
	return nil
}
