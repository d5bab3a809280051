package bus

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
)

// inboxSize bounds the messages that wait for a component. The protocol heals what is
// dropped beyond it: registrations, heartbeats and solicitations repeat.
const inboxSize = 8192

// Empty is the payload of subjects that carry none. Whatever a sender puts there is
// ignored; some v1 senders put something that is no JSON.
type Empty struct{}

// MarshalBinary writes nothing.
func (Empty) MarshalBinary() ([]byte, error) { return nil, nil }

// UnmarshalBinary takes anything.
func (*Empty) UnmarshalBinary([]byte) error { return nil }

// Text is a payload that is read as it is.
type Text string

// MarshalBinary writes the text.
func (t Text) MarshalBinary() ([]byte, error) { return []byte(t), nil }

// UnmarshalBinary takes anything.
func (t *Text) UnmarshalBinary(data []byte) error {
	*t = Text(data)
	return nil
}

// Subject is a one-way subject with its payload's type.
type Subject[T any] string

// Publish sends v to every subscriber.
func (s Subject[T]) Publish(c *Conn, v T) error { return publish(c, string(s), v) }

// To handles messages of the subject with fn.
func (s Subject[T]) To(fn func(T)) Handler {
	return Handler{subject: string(s), handle: func(c *Conn, m *nats.Msg) error {
		v, err := Decode[T](m.Data)
		if err == nil {
			fn(v)
		}
		return err
	}}
}

// Request is a subject that is answered: Q is asked, R replied.
type Request[Q, R any] string

// Ask sends q and returns the first reply. It ends with ctx; where nobody serves the
// subject it fails at once with ErrNobody.
func (r Request[Q, R]) Ask(ctx context.Context, c *Conn, q Q) (R, error) {
	var none R
	data, err := encode(q)
	if err != nil {
		return none, err
	}
	m, err := c.nc.RequestWithContext(ctx, string(r), data)
	if errors.Is(err, nats.ErrNoResponders) {
		return none, fmt.Errorf("%s: %w", r, ErrNobody)
	}
	if err != nil {
		return none, fmt.Errorf("%s: %w", r, err)
	}
	return Decode[R](m.Data)
}

// Gather sends q and collects replies until want have come or wait is over. It never
// fails: in this protocol, silence is an answer.
func (r Request[Q, R]) Gather(ctx context.Context, c *Conn, q Q, want int, wait time.Duration) []R {
	var replies []R
	if want <= 0 {
		return replies
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	inbox := nats.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		c.log.Error("gather", "subject", string(r), "err", err)
		return replies
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closing if this fails
	data, err := encode(q)
	if err == nil {
		err = c.nc.PublishRequest(string(r), inbox, data)
	}
	if err != nil {
		c.log.Error("gather", "subject", string(r), "err", err)
		return replies
	}
	for len(replies) < want {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return replies // time is up, or nobody listens at all
		}
		if v, err := Decode[R](m.Data); err != nil {
			c.log.Warn("bad reply dropped", "subject", string(r), "err", err)
		} else {
			replies = append(replies, v)
		}
	}
	return replies
}

// Answer handles requests with fn, which may reply any number of times, none included,
// at once or later from another goroutine.
func (r Request[Q, R]) Answer(fn func(q Q, reply func(R))) Handler {
	return Handler{subject: string(r), handle: func(c *Conn, m *nats.Msg) error {
		q, err := Decode[Q](m.Data)
		if err != nil {
			return err
		}
		fn(q, func(v R) {
			if m.Reply == "" {
				return
			}
			if err := publish(c, m.Reply, v); err != nil {
				c.log.Error("reply", "subject", string(r), "err", err)
			}
		})
		return nil
	}}
}

// ErrNobody is returned by Ask when no component serves the subject.
var ErrNobody = errors.New("nobody serves this subject")

// Handler ties a subject to the function that handles it.
type Handler struct {
	subject, queue string
	handle         func(*Conn, *nats.Msg) error
}

// Queue makes the handler one of a group of which a single member gets each message.
func (h Handler) Queue(group string) Handler {
	h.queue = group
	return h
}

// Inbox receives the messages of all handlers of a component in the order of their
// arrival; the component's loop takes them from C and calls Handle.
type Inbox struct {
	C chan *nats.Msg

	conn     *Conn
	handlers map[*nats.Subscription]Handler
}

// Subscribe registers the handlers; when it returns, the server knows them. All share
// one channel, because callbacks of several subscriptions run on goroutines of their
// own and would see messages out of order.
func (c *Conn) Subscribe(handlers ...Handler) (*Inbox, error) {
	in := &Inbox{
		C:        make(chan *nats.Msg, inboxSize),
		conn:     c,
		handlers: make(map[*nats.Subscription]Handler, len(handlers)),
	}
	for _, h := range handlers {
		sub, err := c.nc.ChanQueueSubscribe(h.subject, h.queue, in.C)
		if err != nil {
			return nil, fmt.Errorf("subscribe %s: %w", h.subject, err)
		}
		in.handlers[sub] = h
	}
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return in, nil
}

// Handle gives a message to its handler. A message that cannot be decoded, or whose
// handler panics, is logged and dropped: what others send must not end a component.
func (in *Inbox) Handle(m *nats.Msg) {
	defer func() {
		if p := recover(); p != nil {
			in.conn.log.Error("panic in a bus handler", "subject", m.Subject, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := in.handlers[m.Sub].handle(in.conn, m); err != nil {
		in.conn.log.Warn("bad message dropped", "subject", m.Subject, "err", err)
	}
}

// Dropped counts messages that came while the inbox was full.
func (in *Inbox) Dropped() (n int) {
	for sub := range in.handlers {
		d, err := sub.Dropped()
		if err == nil {
			n += d
		}
	}
	return n
}

// validator is what payloads with rules of their own implement.
type validator interface{ Validate() error }

// Decode parses and checks a payload. Unknown keys are ignored, as every v1 component
// does; an empty body counts as an empty object. Payloads that are no JSON implement
// encoding.BinaryUnmarshaler and BinaryMarshaler.
func Decode[T any](data []byte) (T, error) {
	var v T
	if err := unmarshal(data, &v); err != nil {
		return v, err
	}
	if c, ok := any(v).(validator); ok {
		return v, c.Validate()
	}
	return v, nil
}

func unmarshal(data []byte, v any) error {
	switch u, own := v.(encoding.BinaryUnmarshaler); {
	case own:
		return u.UnmarshalBinary(data)
	case len(data) == 0:
		data = []byte("{}")
	}
	return json.Unmarshal(data, v)
}

func encode(v any) ([]byte, error) {
	if m, own := v.(encoding.BinaryMarshaler); own {
		return m.MarshalBinary()
	}
	return json.Marshal(v)
}

func publish(c *Conn, subject string, v any) error {
	data, err := encode(v)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	if err := c.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	return nil
}
