package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

// attribute lets what the request changes be recorded as its caller's.
func attribute(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		author := store.Author{Address: e.RealIP()}
		if c := who(e); c.real != nil {
			author.Actor = c.real.Email
			if c.user.Email != c.real.Email {
				author.OnBehalfOf = c.user.Email
			}
		}
		e.SetRequest(e.Request().WithContext(store.WithAuthor(e.Request().Context(), author)))
		return next(e)
	}
}

// record adds an event of an app to the change that it tells.
func record(ctx ctx, tx *store.Tx, app *store.App, what store.Action, format string, args ...any) error {
	return tx.Record(ctx, store.Event{
		Owner: app.Owner, AppID: app.ID, App: app.Name, Action: what, Detail: fmt.Sprintf(format, args...),
	})
}

// recordChange tells what a request has made of an app; before is zero for a new one. A
// change that changes nothing is none.
func recordChange(ctx ctx, tx *store.Tx, before, after *store.App) error {
	if before.ID == 0 {
		if err := record(ctx, tx, after, store.AppCreated, "%s", strings.Join(traits(after), ", ")); err != nil {
			return err
		}
	} else if d := differences(before, after); len(d) > 0 {
		if err := record(ctx, tx, after, store.AppUpdated, "%s", strings.Join(d, ", ")); err != nil {
			return err
		}
	}
	switch {
	case after.Started && !before.Started:
		return record(ctx, tx, after, store.AppStarted, "%s", instancesText(after.Instances))
	case before.Started && !after.Started:
		return record(ctx, tx, after, store.AppStopped, "%s", instancesText(before.Instances))
	}
	return nil
}

// recordDeletion tells administrators that a user is gone, and which apps went too.
func recordDeletion(ctx ctx, tx *store.Tx, email string, apps []store.App) error {
	detail := email
	for _, app := range apps {
		detail += ", application " + app.Name
	}
	return tx.Record(ctx, store.Event{Action: store.UserDeleted, Detail: detail})
}

// recordStaging tells how a staging run went; reason is empty where it went well.
func recordStaging(ctx ctx, tx *store.Tx, app *store.App, reason string) error {
	if reason != "" {
		return record(ctx, tx, app, store.StagingFailed, "%s", reason)
	}
	return record(ctx, tx, app, store.AppStaged, "droplet of %d bytes", app.Droplet.Size)
}

func uploadText(t tree, size int64) string {
	files := 0
	for _, n := range t {
		if !n.Mode.IsDir() {
			files++
		}
	}
	return fmt.Sprintf("%s, %d bytes", count(files, "file"), size)
}

func instancesText(n int) string { return count(n, "instance") }

// count is a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// traits are a new app in words.
func traits(app *store.App) []string {
	out := []string{app.Framework, "runtime " + app.Runtime, instancesText(app.Instances), "memory " + memoryText(app.Memory)}
	for _, uri := range app.URIs {
		out = append(out, "url "+uri)
	}
	for _, name := range slices.Sorted(maps.Keys(variables(app.Env))) {
		out = append(out, "env "+name)
	}
	return out
}

// differences are what a change did to an app's fields. Values of the environment and the
// command may be secrets: of these only the names are told.
func differences(before, after *store.App) (out []string) {
	for _, f := range []struct{ name, from, to string }{
		{"instances", strconv.Itoa(before.Instances), strconv.Itoa(after.Instances)},
		{"memory", memoryText(before.Memory), memoryText(after.Memory)},
		{"framework", before.Framework, after.Framework},
		{"runtime", before.Runtime, after.Runtime},
		{"debug", modeText(before.Debug), modeText(after.Debug)},
		{"console", switchText(before.Console), switchText(after.Console)},
	} {
		if f.from != f.to {
			out = append(out, fmt.Sprintf("%s %s → %s", f.name, f.from, f.to))
		}
	}
	if before.Command != after.Command {
		out = append(out, "command changed")
	}
	out = append(out, compare("url", set(before.URIs), set(after.URIs))...)
	return append(out, compare("env", variables(before.Env), variables(after.Env))...)
}

func modeText(mode *string) string {
	if mode == nil || *mode == "" {
		return "off"
	}
	return *mode
}

func switchText(on *bool) string {
	if on != nil && *on {
		return "on"
	}
	return "off"
}

// compare tells which keys came, went, or have another value.
func compare(kind string, before, after map[string]string) (out []string) {
	for key, is := range after {
		if was, known := before[key]; !known {
			out = append(out, kind+" "+key+" added")
		} else if was != is {
			out = append(out, kind+" "+key+" changed")
		}
	}
	for key := range before {
		if _, kept := after[key]; !kept {
			out = append(out, kind+" "+key+" removed")
		}
	}
	slices.Sort(out)
	return out
}

func set(keys []string) map[string]string {
	m := map[string]string{}
	for _, k := range keys {
		m[k] = ""
	}
	return m
}

func variables(env []string) map[string]string {
	m := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		m[name] = value
	}
	return m
}

// diary writes what befalls apps, in its order and off the loop: what waits together is
// one transaction, however many instances crash at once.
type diary struct {
	mu      sync.Mutex
	waiting []note
	writing bool
}

type note struct {
	app  store.AppID
	at   time.Time
	what store.Action
	text string
}

// note has the system's own event written.
func (c *Controller) note(app store.AppID, what store.Action, text string) {
	d := &c.diary
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, note{app, time.Now().UTC(), what, text})
	if !d.writing {
		d.writing = true
		c.work.Go(c.writeDiary)
	}
}

// take is what waits; the writer ends where that is nothing.
func (d *diary) take() []note {
	d.mu.Lock()
	defer d.mu.Unlock()
	notes := d.waiting
	d.waiting, d.writing = nil, len(notes) > 0
	return notes
}

func (c *Controller) writeDiary() {
	for notes := c.diary.take(); len(notes) > 0; notes = c.diary.take() {
		if err := c.st.Update(func(tx *store.Tx) error { return writeNotes(tx, notes) }); err != nil {
			c.log.Error("events", "err", err)
		}
	}
}

func writeNotes(tx *store.Tx, notes []note) error {
	for _, n := range notes {
		app, err := tx.App(n.app)
		if errors.Is(err, store.ErrNoApp) {
			continue // it was deleted, which is told
		}
		if err != nil {
			return err
		}
		e := store.Event{Time: n.at, Owner: app.Owner, AppID: app.ID, App: app.Name, Action: n.what, Detail: n.text}
		if err := tx.Record(context.Background(), e); err != nil {
			return err
		}
	}
	return nil
}

// exited notes a crash. What a user or a shutdown has ended is told already, or no event.
func (c *Controller) exited(e bus.Exited) {
	n, ours := e.Droplet.Number()
	if !ours || e.Reason != bus.ReasonCrashed || !e.OfPartition(bus.DefaultPartition) {
		return
	}
	text := fmt.Sprintf("instance %d", e.Index)
	if e.RanFor != nil && *e.RanFor > 0 {
		text += fmt.Sprintf(" after %s", time.Duration(float64(*e.RanFor)*float64(time.Second)).Round(time.Second))
	}
	if e.ExitStatus != nil {
		text += fmt.Sprintf(", exit status %d", *e.ExitStatus)
	}
	if e.ExitDescription != "" {
		text += ": " + e.ExitDescription
	}
	c.note(store.AppID(n), store.AppCrashed, text)
}

// noteRestart notes what the health manager has asked for.
func (c *Controller) noteRestart(app store.AppID, indices []int) {
	if len(indices) == 0 {
		return
	}
	words := make([]string, len(indices))
	for i, index := range indices {
		words[i] = strconv.Itoa(index)
	}
	c.note(app, store.AppRestarted, "missing instances: "+strings.Join(words, ", "))
}

// Bounds of a page of events.
const (
	eventsPage    = 100
	eventsPageMax = 1000
)

// page reads limit and before.
func page(e echo.Context) (before store.EventID, limit int, err error) {
	limit = eventsPage
	if s := e.QueryParam("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > eventsPageMax {
			return 0, 0, api.BadRequest.Because("limit is a number from 1 to %d", eventsPageMax)
		}
	}
	if s := e.QueryParam("before"); s != "" {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil || n == 0 {
			return 0, 0, api.BadRequest.Because("before is the id of an event")
		}
		before = store.EventID(n)
	}
	return before, limit, nil
}

// events are the caller's, those of deleted apps included; an administrator's are all.
func (c *Controller) events(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	return c.answerEvents(e, func(tx *store.Tx, before store.EventID, limit int) ([]store.Event, error) {
		if u.Admin {
			return tx.Events(before, limit)
		}
		return tx.EventsOf(u.Email, 0, before, limit)
	})
}

func (c *Controller) appEvents(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	return c.answerEvents(e, func(tx *store.Tx, before store.EventID, limit int) ([]store.Event, error) {
		return tx.EventsOf(app.Owner, app.ID, before, limit)
	})
}

func (c *Controller) answerEvents(e echo.Context, read func(tx *store.Tx, before store.EventID, limit int) ([]store.Event, error)) error {
	before, limit, err := page(e)
	if err != nil {
		return err
	}
	var events []store.Event
	if err := c.st.View(func(tx *store.Tx) error {
		events, err = read(tx, before, limit)
		return err
	}); err != nil {
		return err
	}
	out := make([]api.Event, len(events))
	for i, ev := range events {
		out[i] = api.Event{
			ID: uint64(ev.ID), Time: ev.Time.Truncate(time.Millisecond), Actor: ev.Actor, OnBehalfOf: ev.OnBehalfOf,
			Address: ev.Address, Action: string(ev.Action), App: ev.App, Detail: ev.Detail,
		}
	}
	return e.JSON(http.StatusOK, out)
}
