package vmc

import (
	"context"
	"fmt"
	"slices"
)

// onlyHere explains what other clouds of v1 lack.
func onlyHere(err error, lacks, hint string) error {
	if !noSuchRoute(err) {
		return err
	}
	return &problem{text: "Error: this cloud " + lacks, hint: hint, cause: err}
}

// Commands of the original that cannot do their work here say why, and what to do instead.

// tunnelCommand checks what can be checked, so that a wrong name is told first.
func tunnelCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	mine, err := provisioned(ctx, c)
	if err != nil {
		return err
	}
	names := make([]string, len(mine))
	for i, m := range mine {
		names[i] = m.Name
	}
	switch {
	case len(names) == 0:
		return &problem{text: "No services available to tunnel to", hint: "`vmc create-service` makes one, where the target offers any."}
	case len(args) > 0 && !slices.Contains(names, args[0]):
		return fail("`vmc services` lists yours.", "Unknown service '%s'", args[0])
	}
	return fail("Bind the service to an application (`vmc bind-service`): it finds address and password in $VCAP_SERVICES.",
		"This vmc cannot tunnel to services yet")
}

func railsConsoleCommand(ctx context.Context, s *session, args []string) error {
	_, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	if app.Staging.Model != "rails3" {
		return fail(fmt.Sprintf("'%s' is an application of the framework %s.", app.Name, app.Staging.Model),
			"'%s' is not a Rails application, and only those have a console", app.Name)
	}
	return fail(fmt.Sprintf("`vmc logs %[1]s` and `vmc files %[1]s` look into its instances.", app.Name),
		"This vmc cannot open the console of '%s': it needs a tunnel, which this vmc has not", app.Name)
}

func microCommand(_ context.Context, _ *session, args []string) error {
	if len(args) == 1 && !slices.Contains([]string{"online", "offline", "status"}, args[0]) {
		return fail("`vmc micro online`, `vmc micro offline` or `vmc micro status`.", "Unknown argument '%s' of [micro]", args[0])
	}
	return fail("A cloud on this machine is `cloudlet up`; it needs no virtual machine, and works offline.",
		"Micro Cloud Foundry was a guest of VMware, which this vmc cannot drive")
}

// renameCommand exists for who remembers it: it was in vmc until 0.3.15, and never
// worked, since a v1 API changes no names.
func renameCommand(ctx context.Context, s *session, args []string) error {
	_, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	return fail(fmt.Sprintf("In its folder: `vmc push %[2]s`, `vmc clone-services %[1]s %[2]s` if it has services, `vmc map %[2]s URL`, `vmc delete %[1]s`.", app.Name, args[1]),
		"An application cannot be renamed, only pushed again under another name")
}
