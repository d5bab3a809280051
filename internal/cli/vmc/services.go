package vmc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloudlet/controller/api"
)

// servicesCommand lists what the target offers and what the user has of it.
func servicesCommand(ctx context.Context, s *session, _ []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	offered, err := systemServices(ctx, c)
	if err != nil {
		return err
	}
	mine, err := provisioned(ctx, c)
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(struct {
			System      api.SystemServices `json:"system"`
			Provisioned []api.Service      `json:"provisioned"`
		}{offered, mine})
	}
	s.showSystemServices(c.Target, offered)
	s.showProvisioned(mine)
	return nil
}

func (s *session) showSystemServices(target string, offered api.SystemServices) {
	s.say("\n%s System Services %[1]s", strings.Repeat("=", 14))
	rows := [][]string{{"Service", "Version", "Description"}}
	for _, o := range sortedServices(offered) {
		rows = append(rows, []string{o.Vendor, o.Version, o.Description})
	}
	if len(rows) == 1 {
		s.say("\nNo system services available")
		fmt.Fprintln(s.err, noServicesHint(target))
		return
	}
	s.show("", rows)
}

func (s *session) showProvisioned(mine []api.Service) {
	s.say("\n%s Provisioned Services %s", strings.Repeat("=", 11), strings.Repeat("=", 12))
	if len(mine) == 0 {
		s.say("")
		return
	}
	rows := [][]string{{"Name", "Service"}}
	for _, m := range mine {
		rows = append(rows, []string{m.Name, m.Vendor})
	}
	s.show("", rows)
}

func noServicesHint(target string) string {
	return fmt.Sprintf("No service gateway has announced anything at %s; `vmc services` shows it when one does.", target)
}

// systemServices are what the target offers; it may be too small to have any.
func systemServices(ctx context.Context, c *api.Client) (api.SystemServices, error) {
	offered, err := c.SystemServices(ctx)
	if noSuchRoute(err) {
		return api.SystemServices{}, nil
	}
	return offered, err
}

// provisioned are the user's service instances, by name.
func provisioned(ctx context.Context, c *api.Client) ([]api.Service, error) {
	mine, err := c.Services(ctx)
	if noSuchRoute(err) {
		return []api.Service{}, nil
	}
	slices.SortFunc(mine, func(a, b api.Service) int { return strings.Compare(a.Name, b.Name) })
	return mine, err
}

// sortedServices are all versions of what is offered, by name and version.
func sortedServices(offered api.SystemServices) (list []api.SystemService) {
	for _, vendors := range offered {
		for vendor, versions := range vendors {
			for version, o := range versions {
				o.Vendor, o.Version = cmp.Or(o.Vendor, vendor), cmp.Or(o.Version, version)
				list = append(list, o)
			}
		}
	}
	slices.SortFunc(list, func(a, b api.SystemService) int {
		return cmp.Or(strings.Compare(a.Vendor, b.Vendor), strings.Compare(a.Version, b.Version))
	})
	return list
}

// serviceNames are the kinds that are offered, each once.
func serviceNames(offered api.SystemServices) []string {
	var names []string
	for _, o := range sortedServices(offered) {
		names = append(names, o.Vendor)
	}
	return slices.Compact(names)
}

// createServiceCommand makes an instance of a service and may bind it.
func createServiceCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	words := append(slices.Clone(args), make([]string, 3-len(args))...)
	kind, name, app := words[0], cmp.Or(words[1], s.opts.name), cmp.Or(words[2], s.opts.bind)
	offered, err := systemServices(ctx, c)
	if err != nil {
		return err
	}
	if kind == "" {
		if kind, err = s.chooseService(ctx, c, offered); err != nil {
			return err
		}
	}
	if app != "" { // before anything is made
		if _, _, err := s.app(ctx, app); err != nil {
			return err
		}
	}
	what := "Creating Service"
	if name == "" {
		name = randomName(kind)
		what = fmt.Sprintf("Creating Service [%s]", name)
	}
	if err := s.createService(ctx, c, offered, kind, name, what); err != nil || app == "" {
		return err
	}
	return s.bindAndRestart(ctx, name, app)
}

func (s *session) chooseService(ctx context.Context, c *api.Client, offered api.SystemServices) (string, error) {
	names := serviceNames(offered)
	if len(names) == 0 {
		return "", &problem{text: "No services available to provision", hint: noServicesHint(c.Target)}
	}
	kind, err := s.choose(ctx, "Which service would you like to provision?", names)
	return kind, missing(err, "Which service?", "The target offers "+strings.Join(names, ", ")+": `vmc create-service NAME`.")
}

// createService asks for the version that is current and the plan that is free, or what
// comes next to them.
func (s *session) createService(ctx context.Context, c *api.Client, offered api.SystemServices, kind, name, what string) error {
	o, ok := offerOf(offered, kind)
	if !ok {
		hint := noServicesHint(c.Target)
		if names := serviceNames(offered); len(names) > 0 {
			hint = "The target offers " + strings.Join(names, ", ") + "."
		}
		return fail(hint, "Service [%s] is not a valid service choice", kind)
	}
	return s.step(what, func() error {
		return c.CreateService(ctx, api.ServiceRequest{Type: o.Type, Vendor: o.Vendor, Version: o.Version, Tier: plan(o), Name: name})
	})
}

// offerOf is the current version of a service, or else its last.
func offerOf(offered api.SystemServices, kind string) (found api.SystemService, ok bool) {
	for _, o := range sortedServices(offered) {
		if o.Vendor == kind && found.Alias != "current" {
			found, ok = o, true
		}
	}
	return found, ok
}

// freePlan is the plan of every service of v1.
const freePlan = "free"

func plan(o api.SystemService) string {
	if _, ok := o.Tiers[freePlan]; ok || len(o.Tiers) == 0 {
		return freePlan
	}
	if o.DefaultPlan != nil && *o.DefaultPlan != "" {
		return *o.DefaultPlan
	}
	names := make([]string, 0, len(o.Tiers))
	for name := range o.Tiers {
		names = append(names, name)
	}
	return slices.Min(names)
}

// deleteServiceCommand removes a service instance.
func deleteServiceCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	mine, err := provisioned(ctx, c)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range mine {
		names = append(names, m.Name)
	}
	name := s.opts.name
	if len(args) == 1 {
		name = args[0]
	}
	if name == "" {
		if len(names) == 0 {
			return &problem{text: "No services available to delete"}
		}
		if name, err = s.choose(ctx, "Which service would you like to delete?", names); err != nil {
			return missing(err, "Service name required.", "You have "+strings.Join(names, ", ")+".")
		}
	}
	if !slices.Contains(names, name) {
		return fail("`vmc services` lists yours.", "Service [%s] not a valid service", name)
	}
	return s.deleteService(ctx, c, name)
}

func (s *session) deleteService(ctx context.Context, c *api.Client, name string) error {
	return s.step(fmt.Sprintf("Deleting service [%s]", name), func() error {
		err := c.DeleteService(ctx, name)
		if errors.Is(err, api.ServiceNotFound) {
			return nil // somebody else was quicker
		}
		return err
	})
}
