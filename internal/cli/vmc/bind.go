package vmc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"cloudlet/controller/api"
)

func bindServiceCommand(ctx context.Context, s *session, args []string) error {
	return s.bindAndRestart(ctx, args[0], args[1])
}

// bindAndRestart lets an app use a service, and a running one see it.
func (s *session) bindAndRestart(ctx context.Context, service, name string) error {
	c, app, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	changed, err := s.bind(ctx, c, app, service)
	if err != nil || !changed {
		return err
	}
	return s.restartIfStarted(ctx, c, app)
}

// bind adds a service to those of an app, if it is not one of them.
func (s *session) bind(ctx context.Context, c *api.Client, app api.App, service string) (changed bool, err error) {
	bound := slices.Contains(app.Services, service)
	err = s.step(fmt.Sprintf("Binding Service [%s]", service), func() error {
		if bound {
			return nil
		}
		req := app.Request()
		req.Services = append(slices.Clone(app.Services), service)
		return explainNoService(c.UpdateApp(ctx, app.Name, req), service)
	})
	return !bound, err
}

func explainNoService(err error, service string) error {
	if !errors.Is(err, api.ServiceNotFound) {
		return err
	}
	return &problem{
		text:  fmt.Sprintf("Error 500: Service not found: '%s'", service),
		hint:  "`vmc services` lists yours, `vmc create-service` makes one.",
		cause: err,
	}
}

func unbindServiceCommand(ctx context.Context, s *session, args []string) error {
	service := args[0]
	c, app, err := s.app(ctx, args[1])
	if err != nil {
		return err
	}
	i := slices.Index(app.Services, service)
	err = s.step(fmt.Sprintf("Unbinding Service [%s]", service), func() error {
		if i < 0 {
			return nil
		}
		req := app.Request()
		req.Services = slices.Delete(slices.Clone(app.Services), i, i+1)
		return c.UpdateApp(ctx, app.Name, req)
	})
	if err != nil || i < 0 {
		return err
	}
	return s.restartIfStarted(ctx, c, app)
}

// cloneServicesCommand binds what one app uses to another as well.
func cloneServicesCommand(ctx context.Context, s *session, args []string) error {
	_, source, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	if len(source.Services) == 0 {
		return &problem{text: "No services to clone", hint: fmt.Sprintf("No service is bound to '%s'.", source.Name)}
	}
	changed := false
	for _, service := range source.Services {
		c, dest, err := s.app(ctx, args[1]) // each change gives it another version
		if err != nil {
			return err
		}
		added, err := s.bind(ctx, c, dest, service)
		if err != nil {
			return err
		}
		changed = changed || added
	}
	if !changed {
		return nil
	}
	c, dest, err := s.app(ctx, args[1])
	if err != nil {
		return err
	}
	return s.restartIfStarted(ctx, c, dest)
}

// randomName is what a service instance is called if nobody says otherwise.
func randomName(kind string) string {
	return fmt.Sprintf("%s-%04x", kind, rand.IntN(0x100000))
}
