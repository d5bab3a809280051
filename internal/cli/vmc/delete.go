package vmc

import (
	"context"
	"errors"
	"fmt"

	"cloudlet/controller/api"
)

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
