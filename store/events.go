package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"time"
	"unicode"

	"go.etcd.io/bbolt"
)

// Bounds of the log of events.
const (
	MaxEventsOf = 1_000  // that an owner can read
	MaxEvents   = 20_000 // in all
	maxDetail   = 500    // characters
)

// System is the actor of what Cloudlet does by itself.
const System = "system"

// Action says what kind of change an event tells.
type Action string

// Actions.
const (
	AppCreated    Action = "app.create"
	AppUpdated    Action = "app.update"
	AppDeleted    Action = "app.delete"
	AppUploaded   Action = "app.upload"
	AppStarted    Action = "app.start"
	AppStopped    Action = "app.stop"
	AppRestarted  Action = "app.restart"
	AppStaged     Action = "app.staged"
	StagingFailed Action = "app.staging_failed"
	AppCrashed    Action = "app.crash"
	AppExec       Action = "app.exec" // a command run by hand in an instance
	UserCreated   Action = "user.create"
	UserUpdated   Action = "user.update"
	UserDeleted   Action = "user.delete"
	UserInvited   Action = "user.invite"
	UserUninvited Action = "user.uninvite"
	PasswordSet   Action = "user.password"
	QuotaSet      Action = "user.quota"

	ServiceCreated Action = "service.create"
	ServiceDeleted Action = "service.delete"
	ServiceBound   Action = "service.bind"
	ServiceUnbound Action = "service.unbind"
)

// EventID numbers events in the order in which they happened.
type EventID uint64

// Event is a change that somebody made, or that befell an app, in words.
type Event struct {
	ID         EventID `json:"-"` // the key
	Time       time.Time
	Actor      string // who did it: an e-mail address, or System
	OnBehalfOf string `json:",omitempty"` // the user whose rights an administrator used
	Address    string `json:",omitempty"` // from where
	Owner      string `json:",omitempty"` // who may read it, besides administrators
	Action     Action
	AppID      AppID  `json:",omitempty"`
	App        string `json:",omitempty"` // its name
	Detail     string `json:",omitempty"`
}

// Author is who makes a change. It travels in the context of a request, so that whoever
// carries the change out can record it in the same transaction.
type Author struct {
	Actor      string // empty for somebody who is not logged in
	OnBehalfOf string
	Address    string
}

type authorKey struct{}

// WithAuthor says who makes the changes that are recorded under the context.
func WithAuthor(ctx context.Context, a Author) context.Context {
	return context.WithValue(ctx, authorKey{}, a)
}

// Record writes an event of the context's author; without one it is the system's. Who is
// not logged in acts as the owner: that is somebody who registers.
func (tx *Tx) Record(ctx context.Context, e Event) error {
	author, ok := ctx.Value(authorKey{}).(Author)
	switch {
	case !ok:
		author.Actor = System
	case author.Actor == "":
		author.Actor = e.Owner
	}
	e.Actor, e.OnBehalfOf, e.Address = author.Actor, author.OnBehalfOf, author.Address
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	e.Detail = printable(e.Detail)
	return tx.addEvent(e)
}

// printable makes a text safe for a line of a terminal, and bounds it.
func printable(s string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return ' '
	}, s))
	if len(runes) > maxDetail {
		return string(runes[:maxDetail-1]) + "…"
	}
	return string(runes)
}

func (tx *Tx) addEvent(e Event) error {
	events := tx.tx.Bucket(bucketEvents)
	seq, err := events.NextSequence()
	if err != nil {
		return err
	}
	key := eventKey(EventID(seq))
	if err := put(events, key, e); err != nil {
		return err
	}
	if err := tx.countEvents(+1); err != nil {
		return err
	}
	if e.Owner != "" {
		if err := tx.tx.Bucket(bucketEventsOf).Put(pair(e.Owner, string(key)), ofValue(e)); err != nil {
			return err
		}
	}
	return tx.boundEvents(e.Owner)
}

// ofValue is what the index of an owner's events knows about one.
func ofValue(e Event) []byte {
	v := idKey(e.AppID)
	if e.Actor == System {
		return append(v, 1)
	}
	return append(v, 0)
}

func (tx *Tx) boundEvents(owner string) error {
	if owner != "" {
		if key := tx.surplus(owner); key != nil {
			if err := tx.dropEvent(key); err != nil {
				return err
			}
		}
	}
	if binary.BigEndian.Uint64(tx.tx.Bucket(bucketMeta).Get(metaEvents)) <= MaxEvents {
		return nil
	}
	oldest, _ := tx.tx.Bucket(bucketEvents).Cursor().First()
	return tx.dropEvent(bytes.Clone(oldest))
}

// surplus is the event that goes where an owner has too many: the oldest, or the oldest
// of the system's where these are most. An app that crashes again and again must not
// push out what people did.
func (tx *Tx) surplus(owner string) []byte {
	prefix := pair(owner, "")
	var all, system int
	var oldest, oldestOfSystem []byte
	c := tx.tx.Bucket(bucketEventsOf).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if all++; all == 1 {
			oldest = k
		}
		if v[8] == 1 {
			if system++; system == 1 {
				oldestOfSystem = k
			}
		}
	}
	switch {
	case all <= MaxEventsOf:
		return nil
	case system > MaxEventsOf/2:
		oldest = oldestOfSystem
	}
	return bytes.Clone(oldest[len(prefix):])
}

func (tx *Tx) dropEvent(key []byte) error {
	events := tx.tx.Bucket(bucketEvents)
	e, _, err := get[Event](events, key)
	if err != nil {
		return err
	}
	if e.Owner != "" {
		if err := tx.tx.Bucket(bucketEventsOf).Delete(pair(e.Owner, string(key))); err != nil {
			return err
		}
	}
	if err := events.Delete(key); err != nil {
		return err
	}
	return tx.countEvents(-1)
}

// metaEvents holds how many events there are: bbolt would have to walk all pages for it.
var metaEvents = []byte("events")

func (tx *Tx) countEvents(more int) error {
	meta, n := tx.tx.Bucket(bucketMeta), uint64(0)
	if v := meta.Get(metaEvents); v != nil {
		n = binary.BigEndian.Uint64(v)
	}
	return meta.Put(metaEvents, binary.BigEndian.AppendUint64(nil, n+uint64(more)))
}

// Events reads up to limit events before the given one, newest first; all where before
// is 0.
func (tx *Tx) Events(before EventID, limit int) ([]Event, error) {
	var out []Event
	c := tx.tx.Bucket(bucketEvents).Cursor()
	for k, _ := seekBefore(c, nil, before); k != nil && len(out) < limit; k, _ = c.Prev() {
		e, err := tx.event(k)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// EventsOf is Events as an owner sees them: of one app, or where that is 0 of everything.
func (tx *Tx) EventsOf(owner string, app AppID, before EventID, limit int) ([]Event, error) {
	var out []Event
	prefix := pair(owner, "")
	c := tx.tx.Bucket(bucketEventsOf).Cursor()
	for k, v := seekBefore(c, prefix, before); bytes.HasPrefix(k, prefix) && len(out) < limit; k, v = c.Prev() {
		if app != 0 && AppID(binary.BigEndian.Uint64(v)) != app {
			continue
		}
		e, err := tx.event(k[len(prefix):])
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (tx *Tx) event(key []byte) (Event, error) {
	e, _, err := get[Event](tx.tx.Bucket(bucketEvents), key)
	e.ID = EventID(binary.BigEndian.Uint64(key))
	return e, err
}

// seekBefore is the last entry before the given one, or the last of all below the prefix.
func seekBefore(c *bbolt.Cursor, prefix []byte, before EventID) (k, v []byte) {
	if before == 0 {
		before-- // the highest
	}
	if k, _ := c.Seek(append(bytes.Clone(prefix), eventKey(before)...)); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// disownEvents leaves a deleted owner's events to administrators: the next user of that
// name has no business with them.
func (tx *Tx) disownEvents(owner string) error {
	prefix := pair(owner, "")
	c := tx.tx.Bucket(bucketEventsOf).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

func eventKey(id EventID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }
