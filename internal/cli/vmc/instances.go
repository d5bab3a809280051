package vmc

import (
	"context"
	"fmt"
	"strconv"

	"cloudlet/controller/api"
)

func instancesCommand(ctx context.Context, s *session, args []string) error {
	count := ""
	switch {
	case len(args) == 2:
		count = args[1]
	case s.opts.instances > 0:
		count = strconv.Itoa(s.opts.instances)
	}
	if s.opts.mem != "" {
		return s.resize(ctx, args[0], count)
	}
	if count != "" {
		return s.scaleApp(ctx, args[0], count)
	}
	c, _, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	list, err := c.Instances(ctx, args[0])
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(api.Instances{Instances: list})
	}
	s.show(fmt.Sprintf("No running instances for [%s]", args[0]), instanceRows(list))
	return nil
}

func instanceRows(list []api.Instance) [][]string {
	rows := [][]string{{"Index", "State", "Start Time"}}
	debugged := false
	for _, i := range list {
		debugged = debugged || i.Ports != nil && i.Ports.DebugIP != nil
	}
	if debugged {
		rows[0] = append(rows[0], "Debug IP", "Debug Port")
	}
	for _, i := range list {
		row := []string{strconv.Itoa(i.Index), i.State, stamp(i.Since)}
		if p := i.Ports; debugged && p != nil && p.DebugIP != nil && p.DebugPort != nil {
			row = append(row, *p.DebugIP, strconv.Itoa(*p.DebugPort))
		}
		rows = append(rows, row)
	}
	return rows
}

// resize changes the memory of each instance and, unless count is empty, how many there
// are: in one step, since what both need together may fit where one of them does not.
func (s *session) resize(ctx context.Context, name, count string) error {
	c, app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	n, mb := app.Instances, 0
	if count != "" {
		if n, err = scale(app.Instances, count); err != nil {
			return err
		}
	}
	if mb, err = parseMem(s.opts.mem); err != nil {
		return err
	}
	if n == app.Instances && mb == app.Resources.Memory {
		s.say("Application [%s] has %d instances of %s already.", name, n, formatMem(mb))
		return nil
	}
	if app.State == api.Started {
		if err := s.checkMemory(n*mb - app.Instances*app.Resources.Memory); err != nil {
			return err
		}
	}
	err = s.step(fmt.Sprintf("Scaling Application to %d instances of %s", n, formatMem(mb)), func() error {
		req := app.Request()
		req.Instances, req.Resources.Memory = (*api.Int)(&n), (*api.Int)(&mb)
		return c.UpdateApp(ctx, name, req)
	})
	if err != nil || mb == app.Resources.Memory {
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
