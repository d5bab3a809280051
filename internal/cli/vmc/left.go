package vmc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloudlet/controller/api"
)

// leftPatience is how long an interrupted command may ask what it leaves.
const leftPatience = 2 * time.Second

// whatIsLeft tells what a command that was interrupted leaves on the cloud: as it is
// there, since a request may have been carried out whose answer never came.
func (s *session) whatIsLeft(ctx context.Context) string {
	if s.cloud == nil || len(s.about) == 0 || s.running == nil || !s.running.changes() {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leftPatience)
	defer cancel()
	name := s.about[len(s.about)-1]
	app, err := s.cloud.App(ctx, name)
	switch {
	case errors.Is(err, api.AppNotFound):
		return fmt.Sprintf("The cloud has no application '%s'.", name)
	case err != nil:
		return fmt.Sprintf("What became of application '%s' is not known: `vmc apps` shows it.", name)
	case app.State == api.Stopped:
		return fmt.Sprintf("Application '%[1]s' exists and is stopped: `vmc push %[1]s` continues, `vmc delete %[1]s` removes it.", name)
	case !isUp(app):
		return fmt.Sprintf("Application '%[1]s' is started: `vmc logs %[1]s --tail` shows how it goes on, `vmc stop %[1]s` stops it.", name)
	case s.sent:
		return fmt.Sprintf("Application '%[1]s' runs. Its new files are on the cloud; if it was not restarted yet, `vmc push %[1]s` goes on.", name)
	default:
		return fmt.Sprintf("Application '%s' runs as it did.", name)
	}
}

// changes tells that a command changes applications.
func (c *command) changes() bool {
	switch c.group {
	case "Application Creation", "Application Operations", "Application Updates":
		return true
	}
	return strings.HasPrefix(c.names[0], "env-")
}
