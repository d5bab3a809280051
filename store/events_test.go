package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cloudlet/store"
)

func record(t *testing.T, st *store.Store, ctx context.Context, events ...store.Event) {
	t.Helper()
	update(t, st, func(tx *store.Tx) error {
		for _, e := range events {
			if err := tx.Record(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// reading is a way to read events: all, or those of an owner.
type reading func(*store.Tx) ([]store.Event, error)

func all(before store.EventID, limit int) reading {
	return func(tx *store.Tx) ([]store.Event, error) { return tx.Events(before, limit) }
}

func of(owner string, app store.AppID, before store.EventID, limit int) reading {
	return func(tx *store.Tx) ([]store.Event, error) { return tx.EventsOf(owner, app, before, limit) }
}

func read(t *testing.T, st *store.Store, r reading) (events []store.Event) {
	t.Helper()
	view(t, st, func(tx *store.Tx) (err error) {
		events, err = r(tx)
		return err
	})
	return events
}

// told is what events say, a line each.
func told(events []store.Event) string {
	var lines []string
	for _, e := range events {
		line := fmt.Sprintf("%d %s/%s %s", e.ID, e.Owner, e.Actor, e.Action)
		if e.OnBehalfOf != "" {
			line += " for " + e.OnBehalfOf
		}
		if e.Address != "" {
			line += " from " + e.Address
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestEvents(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	by := func(actor, behalf string) context.Context {
		return store.WithAuthor(t.Context(), store.Author{Actor: actor, OnBehalfOf: behalf, Address: "192.0.2.1"})
	}
	record(t, st, by("a@x", ""), store.Event{Owner: "a@x", Action: "one", AppID: 1}, store.Event{Owner: "a@x", Action: "two", AppID: 2})
	record(t, st, by("root@x", "b@x"), store.Event{Owner: "b@x", Action: "three", AppID: 3})
	record(t, st, t.Context(), store.Event{Owner: "a@x", Action: "four", AppID: 1})
	record(t, st, by("", ""), store.Event{Owner: "c@x", Action: "five"})
	record(t, st, by("root@x", ""), store.Event{Action: "six"})
	for _, tc := range []struct {
		name string
		read reading
		want string
	}{
		{"all", all(0, 9), "6 /root@x six from 192.0.2.1\n5 c@x/c@x five from 192.0.2.1\n4 a@x/system four\n3 b@x/root@x three for b@x from 192.0.2.1\n2 a@x/a@x two from 192.0.2.1\n1 a@x/a@x one from 192.0.2.1"},
		{"a page", all(5, 2), "4 a@x/system four\n3 b@x/root@x three for b@x from 192.0.2.1"},
		{"before the first", all(1, 9), ""},
		{"before one that is yet to come", all(99, 1), "6 /root@x six from 192.0.2.1"},
		{"an owner's", of("a@x", 0, 0, 9), "4 a@x/system four\n2 a@x/a@x two from 192.0.2.1\n1 a@x/a@x one from 192.0.2.1"},
		{"an app's", of("a@x", 1, 0, 9), "4 a@x/system four\n1 a@x/a@x one from 192.0.2.1"},
		{"an app's, a page", of("a@x", 1, 4, 1), "1 a@x/a@x one from 192.0.2.1"},
		{"of the last owner in the index", of("c@x", 0, 0, 9), "5 c@x/c@x five from 192.0.2.1"},
		{"somebody else's app", of("b@x", 1, 0, 9), ""},
		{"nobody's", of("", 0, 0, 9), ""},
	} {
		if got := told(read(t, st, tc.read)); got != tc.want {
			t.Errorf("%s:\n%s\nwant:\n%s", tc.name, got, tc.want)
		}
	}
	update(t, st, func(tx *store.Tx) error { return tx.DeleteUser("a@x") })
	if got := told(read(t, st, of("a@x", 0, 0, 9))); got != "" {
		t.Errorf("the next user of the name reads\n%s", got)
	}
	if n := len(read(t, st, all(0, 9))); n != 6 {
		t.Errorf("administrators read %d events", n)
	}
}

// An event is as true as its change: where that is refused there is none.
func TestEventOfARefusedChange(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	refused := errors.New("refused")
	err := st.Update(func(tx *store.Tx) error {
		return errors.Join(tx.Record(t.Context(), store.Event{Owner: "a@x", Action: "invented"}), refused)
	})
	if got := told(read(t, st, all(0, 9))); got != "" || !errors.Is(err, refused) {
		t.Error(err, got)
	}
}

func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	user := store.WithAuthor(t.Context(), store.Author{Actor: "u"})
	many := func(ctx context.Context, owner string, n int) {
		events := make([]store.Event, n)
		for i := range events {
			events[i] = store.Event{Owner: owner, Action: "x", AppID: 1}
		}
		record(t, st, ctx, events...)
	}
	count := func(owner string) (n, systems int) {
		for _, e := range read(t, st, of(owner, 0, 0, store.MaxEvents)) {
			if n++; e.Actor == store.System {
				systems++
			}
		}
		return n, systems
	}
	many(user, "a", 300)
	many(t.Context(), "a", store.MaxEventsOf)
	if n, systems := count("a"); n != store.MaxEventsOf || systems != store.MaxEventsOf-300 {
		t.Errorf("%d events, %d of the system's: crashes push out what people did", n, systems)
	}
	many(user, "a", store.MaxEventsOf)
	if n, systems := count("a"); n != store.MaxEventsOf || systems >= store.MaxEventsOf/2 {
		t.Errorf("%d events, %d of the system's", n, systems)
	}
	for i := range store.MaxEvents / store.MaxEventsOf {
		many(user, fmt.Sprintf("b%d", i), store.MaxEventsOf)
	}
	if n, _ := count("a"); n != 0 {
		t.Errorf("%d of the oldest are left", n)
	}
	if n := len(read(t, st, all(0, 2*store.MaxEvents))); n != store.MaxEvents {
		t.Errorf("%d events in all", n)
	}
}

// Details hold what users wrote: they are safe for a line of a terminal, and short.
func TestEventDetail(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	record(t, st, t.Context(), store.Event{Detail: "a\x1b[31m\nb\u202eé" + strings.Repeat("→", 600)})
	if got := read(t, st, all(0, 1))[0].Detail; got != "a [31m b é"+strings.Repeat("→", 489)+"…" {
		t.Errorf("%q", got)
	}
}
