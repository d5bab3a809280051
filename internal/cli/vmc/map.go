package vmc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cloudlet/controller/api"
)

func mapCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	host := hostOf(args[1])
	if host == "" {
		return fail("A URL is a host name such as hello.localhost.", "Invalid url")
	}
	req := app.Request()
	if !slices.Contains(app.URIs, host) {
		*req.URIs = append(slices.Clone(app.URIs), host)
	}
	if err := c.UpdateApp(ctx, app.Name, req); err != nil {
		return err
	}
	s.good("Successfully mapped url")
	return nil
}

func unmapCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	i := slices.Index(app.URIs, hostOf(args[1]))
	if i < 0 {
		return fail(mappedURLs(app), "Invalid url")
	}
	req := app.Request()
	*req.URIs = slices.Delete(slices.Clone(app.URIs), i, i+1)
	if err := c.UpdateApp(ctx, app.Name, req); err != nil {
		return err
	}
	s.good("Successfully unmapped url")
	return nil
}

func mappedURLs(app api.App) string {
	if len(app.URIs) == 0 {
		return fmt.Sprintf("'%s' has no URL.", app.Name)
	}
	return fmt.Sprintf("'%s' is mapped to %s.", app.Name, strings.Join(app.URIs, ", "))
}
