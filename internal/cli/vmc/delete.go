package vmc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloudlet/controller/api"
)

// deleteCommand wants a name: a manifest is no reason to delete all that it describes.
func deleteCommand(ctx context.Context, s *session, args []string) error {
	switch {
	case s.opts.all:
		return s.deleteAll(ctx)
	case len(args) == 1:
		return s.deleteApp(ctx, args[0])
	case s.opts.name != "":
		return s.deleteApp(ctx, s.opts.name)
	}
	return s.running.tooFew()
}

func (s *session) deleteAll(ctx context.Context) error {
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

// errNothingDeleted ends a deletion that was not confirmed.
var errNothingDeleted = &problem{text: "Nothing was deleted."}

func (s *session) confirmAll(ctx context.Context) error {
	if s.opts.force || s.opts.noPrompt {
		return nil
	}
	if !s.mayAsk() {
		return fail("Say --force if it is meant.", "Deleting ALL applications needs somebody to ask")
	}
	sure, err := s.confirm(ctx, "Delete ALL applications?", false)
	if err == nil && !sure {
		err = errNothingDeleted
	}
	return err
}

// deleteApp removes an app, and those of its services that nobody needs any more.
func (s *session) deleteApp(ctx context.Context, name string) error {
	c, app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	doomed, err := s.doomedServices(ctx, c, app)
	if err != nil {
		return err
	}
	err = s.step(fmt.Sprintf("Deleting application [%s]", name), func() error {
		err := c.DeleteApp(ctx, name)
		if errors.Is(err, api.AppNotFound) {
			return nil // somebody else was quicker
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, service := range doomed {
		if err := s.deleteService(ctx, c, service); err != nil {
			return err
		}
	}
	return nil
}

// doomedServices are those of an app's services that are to be deleted with it: as the
// user says, and with both --force and -n those that no other app uses.
func (s *session) doomedServices(ctx context.Context, c *api.Client, app api.App) (doomed []string, err error) {
	asked, told := s.mayAsk() && !s.opts.force, s.opts.force && s.opts.noPrompt
	if len(app.Services) == 0 || !asked && !told {
		return nil, nil
	}
	apps, err := c.Apps(ctx)
	if err != nil {
		return nil, err
	}
	for _, service := range app.Services {
		others := usedBy(apps, service, app.Name)
		sure := told && len(others) == 0
		if asked {
			if sure, err = s.confirmService(ctx, service, others); err != nil {
				return nil, err
			}
		}
		if sure {
			doomed = append(doomed, service)
		}
	}
	return doomed, nil
}

// usedBy are the apps that a service is bound to, but for one.
func usedBy(apps []api.App, service, except string) (names []string) {
	for _, a := range apps {
		if a.Name != except && slices.Contains(a.Services, service) {
			names = append(names, a.Name)
		}
	}
	return names
}

func (s *session) confirmService(ctx context.Context, service string, others []string) (bool, error) {
	sure, err := s.confirm(ctx, fmt.Sprintf("Provisioned service [%s] detected, would you like to delete it?", service), false)
	if err != nil || !sure || len(others) == 0 {
		return sure, err
	}
	noun := "app"
	if len(others) > 1 {
		noun = "apps"
	}
	return s.confirm(ctx, fmt.Sprintf("Provisioned service [%s] is also used by %s %s, are you sure you want to delete it?",
		service, noun, strings.Join(others, ", ")), false)
}
