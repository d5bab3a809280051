package vmc

import (
	"context"
	"fmt"
	"strconv"

	"cloudlet/controller/api"
)

func instancesCommand(ctx context.Context, s *session, args []string) error {
	if len(args) == 2 {
		return s.scaleApp(ctx, args[0], args[1])
	}
	if s.opts.instances > 0 {
		return s.scaleApp(ctx, args[0], strconv.Itoa(s.opts.instances))
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
