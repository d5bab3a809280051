package vmc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/manifest"
)

// supply is what is to be done about the services of an app.
type supply struct {
	wanted  []manifest.Service
	missing []manifest.Service // of them, those to be made
	offered api.SystemServices
}

// planServices finds out what is missing, before anything is made.
func (s *session) planServices(ctx context.Context, c *api.Client, wanted []manifest.Service) (supply, error) {
	plan := supply{wanted: wanted}
	if len(wanted) == 0 {
		return plan, nil
	}
	mine, err := provisioned(ctx, c)
	if err != nil {
		return plan, err
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(mine, func(m api.Service) bool { return m.Name == w.Name }) {
			plan.missing = append(plan.missing, w)
		}
	}
	if len(plan.missing) == 0 {
		return plan, nil
	}
	if plan.offered, err = systemServices(ctx, c); err != nil {
		return plan, err
	}
	for _, w := range plan.missing {
		if _, ok := offerOf(plan.offered, w.Type); !ok {
			return plan, cannotMake(w, c.Target, serviceNames(plan.offered))
		}
	}
	return plan, nil
}

func cannotMake(w manifest.Service, target string, kinds []string) error {
	hint := noServicesHint(target)
	if len(kinds) > 0 {
		hint = "The target offers " + strings.Join(kinds, ", ") + "."
	}
	if w.Type == "" {
		return fail(hint, "There is no service [%s], and the manifest does not say of which type to make it", w.Name)
	}
	return fail(hint, "Service [%s] cannot be made: [%s] is not a valid service choice", w.Name, w.Type)
}

// provide makes the missing services and binds all.
func (s *session) provide(ctx context.Context, c *api.Client, app string, plan supply) error {
	for _, w := range plan.missing {
		if err := s.createService(ctx, c, plan.offered, w.Type, w.Name, fmt.Sprintf("Creating Service [%s]", w.Name)); err != nil {
			return err
		}
	}
	for _, w := range plan.wanted {
		now, err := c.App(ctx, app) // each change gives it another version
		if err != nil {
			return err
		}
		if _, err := s.bind(ctx, c, now, w.Name); err != nil {
			return err
		}
	}
	return nil
}
