// Package testkit holds what tests of several packages need: real collaborators that
// start in process and end with the test. Only tests import it.
//
// Protocol: none. State: none. Source: our own.
package testkit

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/lifecycle"
)

// patience bounds every wait; it only guards against hanging.
const patience = 30 * time.Second

// Log writes to the test's own log.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Bus starts a bus that is inside the process.
func Bus(t testing.TB) *bus.Bus {
	t.Helper()
	b, err := bus.Start(bus.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Conn connects the test to the bus.
func Conn(t testing.TB, b *bus.Bus) *bus.Conn {
	t.Helper()
	c, err := b.Connect("test", Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Collect subscribes to a subject and returns the payloads as they come.
func Collect[T any](t testing.TB, c *bus.Conn, s bus.Subject[T]) <-chan T {
	t.Helper()
	got := make(chan T, 1024)
	Handle(t, c, s.To(func(v T) { got <- v }))
	return got
}

// Handle serves handlers on the connection until the test ends.
func Handle(t testing.TB, c *bus.Conn, handlers ...bus.Handler) {
	t.Helper()
	in, err := c.Subscribe(handlers...)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for {
			select {
			case m := <-in.C:
				in.Handle(m)
			case <-stop:
				return
			}
		}
	}()
}

// Next waits for the next value.
func Next[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %T came", *new(T))
		panic("unreachable")
	}
}

// Run runs a component until the test ends and fails the test on its error. It returns
// when the component is ready.
func Run(t testing.TB, r lifecycle.Runner) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%T ended with: %v", r, err)
			}
		case <-time.After(patience):
			t.Errorf("%T does not stop", r)
		}
	})
	select {
	case <-r.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("%T did not become ready: %v", r, err)
	case <-time.After(patience):
		t.Fatalf("%T does not become ready", r)
	}
}

// Eventually calls f until it returns nil, and fails with the last error otherwise.
func Eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %s: %v", patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Refusing gives an address of this machine that refuses connections until the test ends:
// it is taken, so that no other process listens there, and nobody listens.
func Refusing(t testing.TB) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(socket) })
	syscall.CloseOnExec(socket)
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", at.(*syscall.SockaddrInet4).Port)
}

// Equal is an error unless got is want.
func Equal[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}
