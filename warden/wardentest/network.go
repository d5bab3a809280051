package wardentest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"cloudlet/warden"
)

func address(c *warden.Container) string { return fmt.Sprintf("127.0.0.1:%d", c.Port()) }

// server starts a helper as the main process and waits until it is reached.
func (s *suite) server(p *warden.Pool, name, host string) *warden.Container {
	s.Helper()
	c := s.create(p, warden.Spec{Port: true, Mounts: helperMounts(p)})
	if err := c.Start(helper(s, p, c, name, fmt.Sprintf("%s:%d", host, c.Port()))); err != nil {
		s.Fatal(err)
	}
	s.eventually(func() error {
		conn, err := net.Dial("tcp", address(c))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return c
}

func (s *suite) dial(c *warden.Container) *net.TCPConn {
	s.Helper()
	conn, err := net.Dial("tcp", address(c))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// testPort: a connection is refused until the app listens, from then on it is not.
func testPort(s *suite) {
	p := s.pool(warden.Config{})
	if c := s.create(p, warden.Spec{}); c.Port() != 0 {
		s.Errorf("port %d without being asked", c.Port())
	}
	c := s.create(p, warden.Spec{Port: true, Mounts: helperMounts(p)})
	if c.Port() < 61001 || c.Port() > 65000 {
		s.Errorf("port %d", c.Port())
	}
	refused := func(when string) {
		s.Helper()
		if _, err := net.Dial("tcp", address(c)); !errors.Is(err, syscall.ECONNREFUSED) {
			s.Errorf("%s: %v", when, err)
		}
	}
	refused("before the start")
	cmd := helper(s, p, c, "echo", fmt.Sprintf("0.0.0.0:%d", c.Port()))
	run := warden.Command{Args: []string{"/bin/sh", "-c", `while ! [ -e go ]; do sleep 0.01; done; exec "$@"`, "-", cmd.Args[0], cmd.Args[1]}, Env: append(cmd.Env, path)}
	if err := c.Start(run); err != nil {
		s.Fatal(err)
	}
	refused("before the app listens")
	s.run(c, "touch go")
	s.eventually(func() error {
		conn, err := net.Dial("tcp", address(c))
		if err == nil {
			conn.Close()
		}
		return err
	})
	s.destroy(c)
	refused("after the end")

	if runtime.GOOS == "linux" && p.Isolation().Level != warden.Process {
		s.echo(s.server(p, "echo", "[::1]"), []byte("six"))
		// An app that has the same port inside as another is reached all the same.
		s.echo(s.server(p, "echo", "127.0.0.1"), []byte("four"))
	}
}

func (s *suite) echo(c *warden.Container, text []byte) {
	s.Helper()
	conn := s.dial(c)
	go func() {
		conn.Write(text)
		conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, text) {
		s.Errorf("%d bytes of %d came back: %v", len(got), len(text), err)
	}
}

func testRelay(s *suite) {
	p := s.pool(warden.Config{})
	c := s.server(p, "echo", "127.0.0.1")
	// One byte at a time, on a connection that stays.
	conn := s.dial(c)
	for i := range 200 {
		b := []byte{byte(i)}
		if _, err := conn.Write(b); err != nil {
			s.Fatal(err)
		}
		if _, err := io.ReadFull(conn, b); err != nil || b[0] != byte(i) {
			s.Fatal(b, err)
		}
	}
	// Much, both ways at once, with a reader that lags behind.
	const size = 20 << 20
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	want := sha256.Sum256(data)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	got := sha256.New()
	time.Sleep(50 * time.Millisecond)
	n, err := io.Copy(got, conn)
	if err != nil || n != size || !bytes.Equal(got.Sum(nil), want[:]) {
		s.Errorf("%d of %d bytes came back: %v", n, size, err)
	}
	// The end of one direction leaves the other open.
	c = s.server(p, "count", "127.0.0.1")
	conn = s.dial(c)
	conn.Write(data)
	conn.CloseWrite()
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != fmt.Sprintf("%d bytes", size) {
		s.Errorf("answer after the end: %q, %v", answer, err)
	}
}

func testRelayMany(s *suite) {
	p := s.openPool(warden.Config{})
	c := s.server(p, "echo", "127.0.0.1")
	p.Close() // the relay does not depend on it
	s.pool(warden.Config{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for k := range 25 {
				s.echo(c, bytes.Repeat([]byte{byte(i)}, 1+k*5000))
			}
		})
	}
	var open []*net.TCPConn
	for range 200 {
		open = append(open, s.dial(c))
	}
	wg.Wait()
	for i, conn := range open {
		b := []byte{byte(i)}
		conn.Write(b)
		if _, err := io.ReadFull(conn, b); err != nil || b[0] != byte(i) {
			s.Fatalf("connection %d: %v", i, err)
		}
	}
	// Connections that their clients break do not stay.
	for _, conn := range open {
		conn.SetLinger(0)
		conn.Close()
	}
	s.echo(c, []byte("still there"))
}

// testRelayReset: a connection that the app breaks is broken outside too.
func testRelayReset(s *suite) {
	c := s.server(s.pool(warden.Config{}), "break", "127.0.0.1")
	conn, err := net.Dial("tcp", address(c))
	if err == nil { // else the app was faster than the connecting
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		_, err = io.ReadAll(conn)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		s.Errorf("a broken connection reads as %v", err)
	}
}
