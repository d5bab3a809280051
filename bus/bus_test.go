package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
)

const (
	odd  bus.Subject[bus.Updated]            = "test.odd"
	even bus.Subject[bus.Updated]            = "test.even"
	ask  bus.Request[bus.Updated, bus.Hello] = "test.ask"
)

// raw is an ordinary NATS client on an opened bus, as v1's components are.
func raw(t *testing.T, b *bus.Bus) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func opened(t *testing.T) *bus.Bus {
	t.Helper()
	b, err := bus.Start(bus.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// All handlers of a component see messages in the order in which they were sent.
func TestOrderAcrossSubjects(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	const n = 20_000
	var got []bus.AppNumber
	handle := func(u bus.Updated) { got = append(got, u.Droplet) }
	in, err := testkit.Conn(t, b).Subscribe(odd.To(handle), even.To(handle))
	if err != nil {
		t.Fatal(err)
	}
	sender := testkit.Conn(t, b)
	for i := range n {
		subject := even
		if i%2 == 1 {
			subject = odd
		}
		if err := subject.Publish(sender, bus.Updated{Droplet: bus.AppNumber(i)}); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 { // no faster than the inbox is emptied
			for len(got) <= i {
				in.Handle(testkit.Next(t, in.C))
			}
		}
	}
	for i, id := range got {
		if int(id) != i {
			t.Fatalf("message %d came in place %d", id, i)
		}
	}
	if in.Dropped() != 0 {
		t.Errorf("%d were dropped", in.Dropped())
	}
}

// A full inbox drops, and says how much; the connection lives on.
func TestDropped(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	receiver, sender := testkit.Conn(t, b), testkit.Conn(t, b)
	in, err := receiver.Subscribe(odd.To(func(bus.Updated) {}))
	if err != nil {
		t.Fatal(err)
	}
	const extra = 100
	for range cap(in.C) + extra {
		if err := odd.Publish(sender, bus.Updated{Droplet: 1}); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, func() error { return testkit.Equal(in.Dropped(), extra) })
	for range cap(in.C) {
		in.Handle(<-in.C)
	}
	if err := odd.Publish(sender, bus.Updated{Droplet: 1}); err != nil {
		t.Fatal(err)
	}
	in.Handle(testkit.Next(t, in.C))
}

// Nothing that others send ends a component: neither nonsense nor what makes a handler panic.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	b := opened(t)
	got := make(chan bus.AppNumber, 10)
	testkit.Handle(t, testkit.Conn(t, b), odd.To(func(u bus.Updated) {
		if u.Droplet == 13 {
			panic("thirteen")
		}
		got <- u.Droplet
	}), ask.Answer(func(u bus.Updated, reply func(bus.Hello)) {
		got <- u.Droplet
		reply(bus.Hello{ID: "me"}) // there may be nobody to reply to
	}))
	nc := raw(t, b)
	for _, m := range []struct{ subject, body string }{
		{string(odd), `{"droplet":1}`}, {string(odd), `nonsense`}, {string(odd), `{"droplet":{}}`}, {string(odd), "\x00\xff"},
		{string(odd), `{"droplet":13}`}, {string(odd), strings.Repeat("[", 100_000)}, {string(ask), `[]`}, {string(ask), `{"droplet":2}`}, {string(odd), `{"droplet":"3","x":[1]}`},
	} {
		if err := nc.Publish(m.subject, []byte(m.body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []bus.AppNumber{1, 2, 3} {
		if id := testkit.Next(t, got); id != want {
			t.Errorf("got %d, want %d", id, want)
		}
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	client, server := testkit.Conn(t, b), testkit.Conn(t, b)
	if _, err := ask.Ask(t.Context(), client, bus.Updated{}); !errors.Is(err, bus.ErrNobody) {
		t.Errorf("nobody: %v", err)
	}
	testkit.Handle(t, server, ask.Answer(func(u bus.Updated, reply func(bus.Hello)) {
		switch u.Droplet {
		case 1:
			go reply(bus.Hello{ID: "late"}) // from elsewhere
		case 2:
			reply(bus.Hello{ID: "first"})
			reply(bus.Hello{ID: "second"})
		}
	}))
	for n, want := range map[bus.AppNumber]string{1: "late", 2: "first"} {
		if r, err := ask.Ask(t.Context(), client, bus.Updated{Droplet: n}); err != nil || r.ID != want {
			t.Errorf("%d: %+v, %v", n, r, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ask.Ask(ctx, client, bus.Updated{Droplet: 3}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAskGetsNonsense(t *testing.T) {
	t.Parallel()
	b := opened(t)
	nc := raw(t, b)
	if _, err := nc.Subscribe(string(ask), func(m *nats.Msg) { m.Respond([]byte("nonsense")) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if r, err := ask.Ask(t.Context(), testkit.Conn(t, b), bus.Updated{}); err == nil {
		t.Errorf("%+v", r)
	}
}

// Gather takes what comes until it has enough or time is up; both are no errors.
func TestGather(t *testing.T) {
	t.Parallel()
	b := opened(t)
	client := testkit.Conn(t, b)
	const forever = time.Hour // a test that waits for it hangs
	if r := ask.Gather(t.Context(), client, bus.Updated{}, 3, forever); len(r) != 0 {
		t.Errorf("nobody: %v", r)
	}
	asked := make(chan int, 100)
	for i := range 5 {
		testkit.Handle(t, testkit.Conn(t, b), ask.Answer(func(_ bus.Updated, reply func(bus.Hello)) {
			asked <- i
			if i > 0 { // one is silent
				reply(bus.Hello{ID: fmt.Sprint(i)})
			}
		}))
	}
	if r := ask.Gather(t.Context(), client, bus.Updated{}, 0, forever); len(r) != 0 {
		t.Errorf("0 are wanted: %v", r)
	}
	if r := ask.Gather(t.Context(), client, bus.Updated{}, 4, forever); len(r) != 4 || len(asked) > 5 {
		t.Errorf("%v; %d were asked, want once each", r, len(asked))
	}
	for _, want := range []int{1, 3, 4} {
		seen := map[string]bool{}
		for _, r := range ask.Gather(t.Context(), client, bus.Updated{}, want, forever) {
			seen[r.ID] = true
		}
		if len(seen) != want {
			t.Errorf("%d are wanted: %v", want, seen)
		}
	}
	if r := ask.Gather(t.Context(), client, bus.Updated{}, 5, 300*time.Millisecond); len(r) != 4 {
		t.Errorf("5 are wanted, 4 answer: %v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := ask.Gather(ctx, client, bus.Updated{}, 5, forever); len(r) > 4 {
		t.Errorf("cancelled: %v", r)
	}
	nc := raw(t, b)
	if _, err := nc.Subscribe("test.mixed", func(m *nats.Msg) {
		m.Respond([]byte("nonsense"))
		m.Respond([]byte(`{"id":"good"}`))
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	mixed := bus.Request[bus.Empty, bus.Hello]("test.mixed")
	if r := mixed.Gather(t.Context(), client, bus.Empty{}, 1, forever); len(r) != 1 || r[0].ID != "good" {
		t.Errorf("a bad reply and a good one: %v", r)
	}
}

// One member of a queue group gets each message.
func TestQueue(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	const n = 200
	got := make(chan bus.AppNumber, 2*n)
	handler := odd.To(func(u bus.Updated) { got <- u.Droplet })
	for range 3 {
		testkit.Handle(t, testkit.Conn(t, b), handler.Queue("group"))
	}
	sender := testkit.Conn(t, b)
	for i := range n {
		if err := odd.Publish(sender, bus.Updated{Droplet: bus.AppNumber(i)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[bus.AppNumber]bool{}
	for range n {
		seen[testkit.Next(t, got)] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d were seen", len(seen), n)
	}
}

// An opened bus is for those who know its password.
func TestOpenedBus(t *testing.T) {
	t.Parallel()
	b := opened(t)
	u, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	if u.Scheme != "nats" || len(password) < 20 || u.User.Username() == "" {
		t.Errorf("URL %s", b.URL())
	}
	for _, login := range []*url.Userinfo{nil, url.UserPassword(u.User.Username(), "wrong"), url.UserPassword("other", password)} {
		wrong := *u
		wrong.User = login
		if nc, err := nats.Connect(wrong.String()); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("as %v: %v", login, err)
			if err == nil {
				nc.Close()
			}
		}
	}
	got := testkit.Collect(t, testkit.Conn(t, b), odd)
	if err := raw(t, b).Publish(string(odd), []byte(`{"droplet":"7"}`)); err != nil {
		t.Fatal(err)
	}
	if m := testkit.Next(t, got); m.Droplet != 7 {
		t.Errorf("%+v", m)
	}
	if other := opened(t); other.URL() == b.URL() {
		t.Error("two clouds have one password")
	}
}

func TestClosedBus(t *testing.T) {
	t.Parallel()
	b, err := bus.Start(bus.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if b.URL() != "" {
		t.Errorf("URL %q", b.URL())
	}
	c, err := b.Connect("test", testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := odd.Publish(c, bus.Updated{}); err == nil {
		t.Error("published on a closed connection")
	}
	if _, err := c.Subscribe(odd.To(func(bus.Updated) {})); err == nil {
		t.Error("subscribed on a closed connection")
	}
	if r := ask.Gather(t.Context(), c, bus.Updated{}, 1, time.Hour); len(r) != 0 {
		t.Errorf("gathered %v", r)
	}
	b.Close()
	if _, err := b.Connect("test", testkit.Log(t)); err == nil {
		t.Error("connected to a closed bus")
	}
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(opened(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":-1"} {
		b, err := bus.Start(bus.Config{Listen: addr})
		if err == nil {
			b.Close()
			t.Errorf("%s was opened", addr)
		} else if !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: the error does not name it: %v", addr, err)
		}
	}
	if _, err := bus.Start(bus.Config{Listen: u.Host}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%s is in use: %v", u.Host, err)
	}
}

func BenchmarkPublish(b *testing.B) {
	nats := testkit.Bus(b)
	got := testkit.Collect(b, testkit.Conn(b, nats), bus.DEAHeartbeat)
	sender := testkit.Conn(b, nats)
	beat := bus.Heartbeat{DEA: "d"}
	for i := range 50 {
		beat.Droplets = append(beat.Droplets, bus.Beat{Droplet: "42", Version: "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12-1", Instance: fmt.Sprintf("%032x", i), State: bus.Running, StateTimestamp: 1351934045})
	}
	for b.Loop() {
		if err := bus.DEAHeartbeat.Publish(sender, beat); err != nil {
			b.Fatal(err)
		}
		<-got
	}
}
