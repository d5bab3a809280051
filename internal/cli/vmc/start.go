package vmc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloudlet/controller/api"
)

const (
	firstPoll = 100 * time.Millisecond
	lastPoll  = time.Second
	// patience is how long a start may take before the user is told to look at the logs.
	patience = 2 * time.Minute
)

func startCommand(ctx context.Context, s *session, args []string) error {
	return s.forEach(ctx, args, func(name string) error {
		c, app, err := s.app(ctx, name)
		if err != nil {
			return err
		}
		return s.start(ctx, c, app, nil)
	})
}

func stopCommand(ctx context.Context, s *session, args []string) error {
	names, err := s.names(ctx, args)
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) { // what others depend on goes last
		c, app, err := s.app(ctx, name)
		if err != nil {
			return err
		}
		if err := s.stop(ctx, c, app); err != nil {
			return err
		}
	}
	return nil
}

func restartCommand(ctx context.Context, s *session, args []string) error {
	return s.forEach(ctx, args, func(name string) error {
		c, app, err := s.app(ctx, name)
		if err != nil {
			return err
		}
		return s.restartBy(ctx, c, app, s.stage)
	})
}

func (s *session) stop(ctx context.Context, c *api.Client, app api.App) error {
	if app.State == api.Stopped {
		s.say("Application '%s' already stopped", app.Name)
		return nil
	}
	return s.step(fmt.Sprintf("Stopping Application '%s'", app.Name), func() error {
		req := app.Request()
		state := api.Stopped
		req.State = &state
		return c.UpdateApp(ctx, app.Name, req)
	})
}

func (s *session) restartBy(ctx context.Context, c *api.Client, app api.App, put send) error {
	if err := s.checkDebug(ctx, c, app); err != nil { // before it is stopped
		return err
	}
	if err := s.stop(ctx, c, app); err != nil {
		return err
	}
	app, err := c.App(ctx, app.Name)
	if err != nil {
		return err
	}
	return s.startBy(ctx, c, app, nil, put)
}

// restartIfStarted lets a running app see what was changed.
func (s *session) restartIfStarted(ctx context.Context, c *api.Client, app api.App) error {
	if app.State != api.Started {
		return nil
	}
	app, err := c.App(ctx, app.Name) // the change gave it another version
	if err != nil {
		return err
	}
	return s.restartBy(ctx, c, app, s.stage)
}

// start stages the app if need be, starts it, and waits until all instances run. What
// change does to the request, if not nil, goes along.
func (s *session) start(ctx context.Context, c *api.Client, app api.App, change func(*api.AppRequest)) error {
	if app.State == api.Started {
		s.say("Application '%s' already started", app.Name)
		return nil
	}
	return s.startBy(ctx, c, app, change, s.stage)
}

// send carries out a change of an app.
type send func(ctx context.Context, c *api.Client, name string, req api.AppRequest) error

// startBy starts an app by a change that may show how it is staged, or not.
func (s *session) startBy(ctx context.Context, c *api.Client, app api.App, change func(*api.AppRequest), put send) error {
	req := app.Request()
	state, console := api.Started, app.Staging.Model == "rails3"
	req.State, req.Console, req.Debug = &state, &console, nil
	if change != nil {
		change(&req)
	}
	if err := s.checkDebug(ctx, c, app); err != nil {
		return err
	}
	if s.opts.debug != "" {
		req.Debug = &s.opts.debug
	}
	before, err := crashed(ctx, c, app.Name)
	if err != nil {
		return err
	}
	if err := put(ctx, c, app.Name, req); err != nil {
		return err
	}
	return s.awaitRunning(ctx, c, app.Name, before)
}

// checkDebug tells whether the runtime can be debugged as --debug says, if it does.
func (s *session) checkDebug(ctx context.Context, c *api.Client, app api.App) error {
	if s.opts.debug == "" {
		return nil
	}
	runtimes, err := c.Runtimes(ctx)
	if err != nil {
		return err
	}
	modes := runtimes[app.Staging.Stack].DebugModes
	if slices.Contains(modes, s.opts.debug) {
		return nil
	}
	hint := "Its runtime has no debug modes; start it without --debug."
	if len(modes) > 0 {
		hint = "Available modes: " + strings.Join(modes, ", ")
	}
	return &problem{text: fmt.Sprintf("Application '%s' cannot start in '%s' mode", app.Name, s.opts.debug), hint: hint}
}

// crashed are the instances that are known to have crashed. Comparing them with those
// of later tells new crashes without trusting two clocks to agree.
func crashed(ctx context.Context, c *api.Client, name string) (map[string]bool, error) {
	list, err := c.Crashes(ctx, name)
	ids := map[string]bool{}
	for _, crash := range list {
		ids[crash.Instance] = true
	}
	return ids, err
}

// awaitRunning returns when all instances run, or when one has crashed.
func (s *session) awaitRunning(ctx context.Context, c *api.Client, name string, before map[string]bool) error {
	what := fmt.Sprintf("Starting Application '%s'", name)
	fmt.Fprint(s.out, what+": ")
	begun, wait := time.Now(), firstPoll
	for {
		app, err := c.App(ctx, name)
		if err != nil {
			s.say("")
			return err
		}
		if isUp(app) {
			s.ok(what)
			s.sayURLs(c.Target, app)
			return nil
		}
		if err := s.checkStart(ctx, c, app, before, time.Since(begun)); err != nil {
			s.say("")
			return err
		}
		select {
		case <-ctx.Done():
			s.say("")
			return ctx.Err()
		case <-time.After(wait):
			wait = min(wait*3/2, lastPoll)
		}
	}
}

// isUp tells that all instances run; one that waits for a debugger counts.
func isUp(app api.App) bool {
	if app.State != api.Started {
		return false
	}
	if d := app.Meta.Debug; d != nil && *d == "suspend" {
		return true
	}
	return app.RunningInstances != nil && *app.RunningInstances == app.Instances
}

// checkStart finds out why a start will not succeed any more.
func (s *session) checkStart(ctx context.Context, c *api.Client, app api.App, before map[string]bool, took time.Duration) error {
	if app.State != api.Started {
		return fail("`vmc start "+app.Name+"` starts it.", "Application [%s] was stopped meanwhile", app.Name)
	}
	now, err := c.Crashes(ctx, app.Name)
	if err != nil {
		return err
	}
	for _, crash := range now {
		if !before[crash.Instance] {
			return failedStart(ctx, c, app, crash.Instance)
		}
	}
	if took < patience {
		return nil
	}
	return &problem{
		text: "Application is taking too long to start, check your logs",
		hint: fmt.Sprintf("%s`vmc logs %[2]s` shows them, `vmc instances %[2]s` how far it is; it may start yet.",
			tails(ctx, c, app.Name, "0"), app.Name),
	}
}

// errCrashed is why a start failed that the cloud had begun.
var errCrashed = errors.New("it crashed")

// failedStart shows what the crashed instance said, and what to do next.
func failedStart(ctx context.Context, c *api.Client, app api.App, instance string) error {
	logs := tails(ctx, c, app.Name, instance)
	if logs == "" {
		logs = "It said nothing. An application has to keep running and, if it has a URL, to listen on the port in $VCAP_APP_PORT.\n"
	}
	next := fmt.Sprintf("Correct it and `vmc push %[1]s` again; `vmc crashlogs %[1]s` shows all of the logs.", app.Name)
	if strings.Contains(logs, "ran out of memory") {
		next = fmt.Sprintf("`vmc mem %s %s` gives it more memory.\n", app.Name, formatMem(2*app.Resources.Memory)) + next
	}
	return &problem{
		text:  fmt.Sprintf("Error: Application [%s] failed to start, logs information below.", app.Name),
		hint:  logs + next,
		cause: errCrashed,
	}
}

// sayURLs ends a start with where to look at it.
func (s *session) sayURLs(target string, app api.App) {
	for _, uri := range app.URIs {
		s.say("  %s", address(target, uri))
	}
}
