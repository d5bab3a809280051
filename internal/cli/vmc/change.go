package vmc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloudlet/controller/api"
)

// memChoices are what is offered where the user is asked.
var memChoices = []int{64, 128, 256, 512, 1024, 2048}

func memCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	was := app.Resources.Memory
	mem := s.opts.mem
	if len(args) == 2 {
		mem = args[1]
	}
	if mem == "" {
		question := "Update Memory Reservation? (" + strings.Join(s.memChoices(was), ", ") + ")"
		if mem, err = s.ask(ctx, question, formatMem(was)); err != nil {
			return err
		}
	}
	mb, err := parseMem(mem)
	if err != nil {
		return err
	}
	if app.State == api.Started {
		if err := s.checkMemory((mb - was) * app.Instances); err != nil {
			return err
		}
	}
	err = s.step("Updating Memory Reservation to "+formatMem(mb), func() error {
		if mb == was {
			return nil
		}
		req := app.Request()
		req.Resources.Memory = (*api.Int)(&mb)
		return c.UpdateApp(ctx, app.Name, req)
	})
	if err != nil || mb == was {
		return err
	}
	return s.restartIfStarted(ctx, c, app)
}

// memChoices are those that fit what is free.
func (s *session) memChoices(used int) []string {
	free := memChoices[len(memChoices)-1]
	if i := s.info; i.Usage != nil && i.Limits != nil {
		free = i.Limits.Memory - i.Usage.Memory + used
	}
	var fit []string
	for _, mb := range memChoices {
		if mb <= free {
			fit = append(fit, formatMem(mb))
		}
	}
	return fit
}

// checkMemory tells before the server does, and with the numbers, that more memory is
// wanted than is free.
func (s *session) checkMemory(mb int) error {
	u, l := s.info.Usage, s.info.Limits
	if u == nil || l == nil || mb <= 0 || mb <= l.Memory-u.Memory {
		return nil
	}
	return &problem{
		text: fmt.Sprintf("Not enough capacity for operation.\nError: Current Usage: (%s of %s total, %s available for use)",
			megabytes(u.Memory), megabytes(l.Memory), megabytes(max(0, l.Memory-u.Memory))),
		hint: "Stop an application (`vmc apps`, `vmc stop NAME`), or ask for less memory or fewer instances.",
	}
}

// checkApps does the same for the number of apps.
func (s *session) checkApps() error {
	u, l := s.info.Usage, s.info.Limits
	if u == nil || l == nil || l.Apps == 0 || u.Apps < l.Apps {
		return nil
	}
	return &problem{
		text: fmt.Sprintf("Not enough capacity for operation.\nError: Current Usage: (%d of %d total apps already in use)", u.Apps, l.Apps),
		hint: "Delete one that is no longer needed: `vmc apps`, `vmc delete NAME`.",
	}
}

func mapCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	host := hostOf(args[1])
	if host == "" {
		return fail("A URL is a host name such as hello.localhost.", "Invalid url")
	}
	req := app.Request()
	if !slices.Contains(app.URIs, host) {
		*req.URIs = append(slices.Clone(app.URIs), host)
	}
	if err := c.UpdateApp(ctx, app.Name, req); err != nil {
		return err
	}
	s.good("Successfully mapped url")
	return nil
}

func unmapCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	i := slices.Index(app.URIs, hostOf(args[1]))
	if i < 0 {
		return fail(mappedURLs(app), "Invalid url")
	}
	req := app.Request()
	*req.URIs = slices.Delete(slices.Clone(app.URIs), i, i+1)
	if err := c.UpdateApp(ctx, app.Name, req); err != nil {
		return err
	}
	s.good("Successfully unmapped url")
	return nil
}

func mappedURLs(app api.App) string {
	if len(app.URIs) == 0 {
		return fmt.Sprintf("'%s' has no URL.", app.Name)
	}
	return fmt.Sprintf("'%s' is mapped to %s.", app.Name, strings.Join(app.URIs, ", "))
}

func envCommand(ctx context.Context, s *session, args []string) error {
	_, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(app.Request().Env)
	}
	rows := [][]string{{"Variable", "Value"}}
	for _, e := range app.Env {
		name, value, _ := strings.Cut(e, "=")
		rows = append(rows, []string{name, value})
	}
	s.show("No Environment Variables", rows)
	return nil
}

func envAddCommand(ctx context.Context, s *session, args []string) error {
	entry := strings.Join(args[1:], "=")
	name, _, ok := strings.Cut(entry, "=")
	if !ok || name == "" {
		return fail("`vmc env-add APP NAME=VALUE` or `vmc env-add APP NAME VALUE`.", "An environment variable needs a name and a value")
	}
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "vcap_") || strings.HasPrefix(lower, "vmc_") {
		return fail("Choose another name.", "Names that begin with VCAP_ or VMC_ belong to the cloud, which drops yours silently")
	}
	return s.changeEnv(ctx, args[0], fmt.Sprintf("Adding Environment Variable [%s]", entry), func(env []string) []string {
		return append(without(env, name), entry)
	})
}

func envDelCommand(ctx context.Context, s *session, args []string) error {
	return s.changeEnv(ctx, args[0], fmt.Sprintf("Deleting Environment Variable [%s]", args[1]), func(env []string) []string {
		return without(env, args[1])
	})
}

func without(env []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		n, _, _ := strings.Cut(e, "=")
		return n == name
	})
}

// changeEnv rewrites the environment and restarts the app, unless nothing changes.
func (s *session) changeEnv(ctx context.Context, name, what string, change func([]string) []string) error {
	c, app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	env := change(app.Env)
	same := slices.Equal(env, app.Env)
	err = s.step(what, func() error {
		if same {
			return nil
		}
		req := app.Request()
		req.Env = &env
		return c.UpdateApp(ctx, app.Name, req)
	})
	if err != nil || same {
		return err
	}
	return s.restartIfStarted(ctx, c, app)
}

// scaleApp changes the number of instances.
func (s *session) scaleApp(ctx context.Context, name, arg string) error {
	c, app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	n, err := scale(app.Instances, arg)
	if err != nil {
		return err
	}
	if n == app.Instances {
		s.say("Application [%s] is already running %d instances.", name, n)
		return nil
	}
	direction := "down"
	if n > app.Instances {
		direction = "up"
		if app.State == api.Started {
			if err := s.checkMemory((n - app.Instances) * app.Resources.Memory); err != nil {
				return err
			}
		}
	}
	return s.step(fmt.Sprintf("Scaling Application instances %s to %d", direction, n), func() error {
		req := app.Request()
		req.Instances = (*api.Int)(&n)
		return c.UpdateApp(ctx, name, req)
	})
}

func deleteCommand(ctx context.Context, s *session, args []string) error {
	if !s.opts.all {
		return s.forEach(args, func(name string) error { return s.deleteApp(ctx, name) })
	}
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	if err := s.confirmAll(ctx); err != nil {
		return err
	}
	apps, err := c.Apps(ctx)
	if err != nil {
		return err
	}
	if len(apps) == 0 {
		s.say("No Applications")
	}
	for _, app := range apps {
		if err := s.deleteApp(ctx, app.Name); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) confirmAll(ctx context.Context) error {
	if s.opts.force || s.opts.noPrompt {
		return nil
	}
	if !s.mayAsk() {
		return fail("Say --force if it is meant.", "Deleting ALL applications needs somebody to ask")
	}
	sure, err := s.confirm(ctx, "Delete ALL applications?", false)
	if err == nil && !sure {
		err = &problem{text: "Nothing was deleted."}
	}
	return err
}

func (s *session) deleteApp(ctx context.Context, name string) error {
	c, _, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	return s.step(fmt.Sprintf("Deleting application [%s]", name), func() error {
		err := c.DeleteApp(ctx, name)
		if errors.Is(err, api.AppNotFound) {
			return nil // somebody else was quicker
		}
		return err
	})
}
