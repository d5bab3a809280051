package vmc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloudlet/controller/api"
)

const (
	// shownEvents is how many events are printed unless --lines says otherwise.
	shownEvents = 50
	// eventsAtOnce is how many are asked for at once.
	eventsAtOnce = 200
)

// eventsCommand prints the last events of an app, or of everything that the user may
// see, deleted apps included; the newest first, or those before the one that --before
// names.
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
	wanted := shownEvents
	if s.opts.lines != nil {
		wanted = *s.opts.lines
	}
	events, more, err := pages(ctx, c, name, s.opts.before, wanted)
	if err != nil {
		return onlyHere(err, "keeps no events", "Only Cloudlet does.")
	}
	if s.opts.json {
		return s.printJSON(events)
	}
	s.show("No events", eventRows(events, name == ""))
	if more {
		s.say("Older ones: `vmc events %s`", strings.TrimSpace(fmt.Sprintf("%s --before %d", name, events[len(events)-1].ID)))
	}
	return nil
}

// pages asks for so many events, page by page, and tells whether there may be more.
func pages(ctx context.Context, c *api.Client, name string, before uint64, wanted int) (events []api.Event, more bool, err error) {
	events = []api.Event{}
	for len(events) < wanted {
		limit := min(wanted-len(events), eventsAtOnce)
		page, err := c.Events(ctx, name, before, limit)
		if err != nil {
			return nil, false, err
		}
		events = append(events, page...)
		if len(page) < limit {
			return events, false, nil
		}
		before = page[len(page)-1].ID
	}
	return events, len(events) > 0, nil
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
