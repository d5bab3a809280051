package vmc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cloudlet/controller/api"
)

// shownEvents is how many events are printed.
const shownEvents = 50

// eventsCommand prints the last events of an app, or of everything that the user may
// see, deleted apps included; the newest first.
func eventsCommand(ctx context.Context, s *session, args []string) error {
	name, c, err := "", (*api.Client)(nil), error(nil)
	if len(args) == 1 {
		name = args[0]
		c, _, err = s.app(ctx, name)
	} else {
		c, err = s.login(ctx)
	}
	if err != nil {
		return err
	}
	events, err := c.Events(ctx, name, 0, shownEvents)
	if err != nil {
		return explainNoEvents(err)
	}
	if s.opts.json {
		return s.printJSON(events)
	}
	s.show("No events", eventRows(events, name == ""))
	return nil
}

// explainNoEvents tells of a cloud that keeps none: other clouds have no such route.
func explainNoEvents(err error) error {
	var f *api.Fault
	if errors.As(err, &f) && f.Status == http.StatusNotFound && f.Code == 0 {
		return &problem{text: "Error: this cloud keeps no events", hint: "Only Cloudlet does.", cause: err}
	}
	return err
}

func eventRows(events []api.Event, named bool) [][]string {
	rows := [][]string{{"Time", "Who", "What", "Detail"}}
	for _, e := range events {
		who, what := e.Actor, e.Action
		if e.OnBehalfOf != "" {
			who += " for " + e.OnBehalfOf
		}
		if named && e.App != "" {
			what = fmt.Sprintf("%s %s", e.Action, e.App)
		}
		rows = append(rows, []string{e.Time.Local().Format(time.DateTime), who, what, e.Detail})
	}
	return rows
}
