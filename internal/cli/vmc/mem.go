package vmc

import (
	"context"
	"fmt"
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
