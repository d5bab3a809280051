package vmc

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

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
