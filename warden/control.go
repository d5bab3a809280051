package warden

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what the shortest sun_path holds, with room for the name.
const maxSocketPath = 90

// listenControl makes the control socket of the container in dir.
func listenControl(dir string) (*os.File, error) {
	ln, err := listen(dir, socketName)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	return ln.File()
}

// listen makes a unix socket for this user alone.
func listen(dir, name string) (*net.UnixListener, error) {
	path, done, err := socketPath(dir, name)
	if err != nil {
		return nil, err
	}
	defer done()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// dial connects to the supervisor of the container in dir; ErrGone says that
// there is none any more.
func dial(ctx context.Context, dir string) (*net.UnixConn, error) {
	path, done, err := socketPath(dir, socketName)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// socketPath gives a path of a socket in dir that is short enough for an
// address; done is called when it was used.
func socketPath(dir, name string) (path string, done func(), err error) {
	if len(dir) <= maxSocketPath {
		return filepath.Join(dir, name), func() {}, nil
	}
	short, done, err := shortFolder(dir)
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(short, name), done, nil
}

// socketPair gives the two ends of a connection, the second as a file to inherit.
func socketPair() (*net.UnixConn, *os.File, error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// send writes one frame, with descriptors where there are any.
func send(conn *net.UnixConn, kind supervisor.Kind, body []byte, files ...*os.File) error {
	frame := supervisor.AppendFrame(nil, kind, body)
	if len(files) == 0 {
		_, err := conn.Write(frame)
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	n, _, err := conn.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
	if err == nil && n < len(frame) {
		_, err = conn.Write(frame[n:])
	}
	return err
}

// receive reads one answer. A fault is returned as an error; the end of the
// connection as ErrGone.
func receive(conn io.Reader) (supervisor.Kind, supervisor.Number, error) {
	kind, body, err := readFrame(conn)
	if err != nil {
		return 0, 0, err
	}
	if kind != supervisor.KindError {
		n, err := supervisor.DecodeNumber(body)
		return kind, n, err
	}
	f, err := supervisor.DecodeFault(body)
	switch {
	case err != nil:
		return 0, 0, err
	case f.Cause == supervisor.CauseStarted:
		return 0, 0, ErrStarted
	}
	return 0, 0, f
}

func readFrame(conn io.Reader) (supervisor.Kind, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, nil, goneIfEnded(err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < 1 || n > supervisor.MaxFrame {
		return 0, nil, supervisor.ErrMalformed
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		return 0, nil, goneIfEnded(err)
	}
	return supervisor.Kind(b[0]), b[1:], nil
}

func goneIfEnded(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return ErrGone
	}
	return err
}

// ask sends a frame, with descriptors where there are any, and waits for the answer.
func ask(conn *net.UnixConn, kind supervisor.Kind, body []byte, files ...*os.File) (supervisor.Number, error) {
	failed := send(conn, kind, body, files...)
	_, n, err := receive(conn) // also of who has hung up: it may have said why
	if failed != nil && !errors.As(err, new(supervisor.Fault)) {
		return 0, goneIfEnded(failed)
	}
	return n, err
}

// deadline has reading and writing fail when ctx is over; stop says that it is
// not and will not any more.
func deadline(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// request asks on a connection of its own.
func (c *Container) request(ctx context.Context, kind supervisor.Kind, body []byte) (supervisor.Number, error) {
	conn, err := dial(ctx, c.dir)
	if err != nil {
		return 0, c.err(err)
	}
	defer conn.Close()
	defer deadline(ctx, conn)()
	n, err := ask(conn, kind, body)
	if err != nil {
		return 0, c.err(either(ctx.Err(), err))
	}
	return n, nil
}

func either(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c *Container) err(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("container %s: %w", c.Handle(), err)
}
