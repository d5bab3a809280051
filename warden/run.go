package warden

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"

	"golang.org/x/sys/unix"
)

// What is read of a process's output after its end: all that is in the pipe,
// but nobody waits for a descendant that holds the pipe open.
const (
	pipeGrace = 200 * time.Millisecond
	pipeMost  = 4 << 20
)

// Run runs a further process in the container and returns how it ended. With
// ctx the process is killed, together with its children and all of its session, and ctx's error is
// returned; so it is when the pool is closed, with ErrClosed. ErrGone says that
// the container ended first.
func (c *Container) Run(ctx context.Context, cmd Command, s Streams) (Exit, error) {
	if s.Terminal != nil {
		s.Stdout, s.Stderr = cmp.Or(s.Stdout, io.Discard), nil
	}
	conn, err := dial(ctx, c.dir)
	if err != nil {
		return Exit{}, c.err(err)
	}
	defer conn.Close()
	pipes, err := newPipes(s)
	if err != nil {
		return Exit{}, c.err(err)
	}
	defer pipes.close()
	kind, body := c.wireRun(cmd, s.Terminal)
	if err := send(conn, kind, body, pipes.theirs...); err != nil {
		return Exit{}, c.err(goneIfEnded(err))
	}
	// The supervisor kills the process when it reads the end of the connection,
	// and still tells us how that went, unless it is stuck.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.released:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()
	defer context.AfterFunc(ctx, func() {
		conn.CloseWrite()
		conn.SetReadDeadline(time.Now().Add(killTime))
	})()
	in := &rightsReader{conn: conn}
	defer in.close()
	_, pid, err := receive(in)
	c.next()
	if err == nil && s.Terminal != nil {
		err = pipes.useTerminal(in)
	}
	if err != nil {
		return Exit{}, c.err(either(context.Cause(ctx), tooOld(err, s)))
	}
	c.leads(pid)
	defer c.follows(pid)
	if s.Started != nil {
		s.Started()
	}
	pipes.copy(s)
	control := sync.WaitGroup{}
	control.Go(func() { pipes.control(ctx, conn, s) })
	n, err := exited(in)
	pipes.wait()
	over := context.Cause(ctx)
	cancel(nil)
	control.Wait()
	if err != nil || over != nil {
		return Exit{}, c.err(either(over, err))
	}
	return exitOf(syscall.WaitStatus(n)), nil
}

func (c *Container) wireRun(cmd Command, t *Terminal) (supervisor.Kind, []byte) {
	if t == nil {
		return supervisor.KindRun, c.wireCommand(cmd).Encode()
	}
	return supervisor.KindTerminal, supervisor.Terminal{Rows: t.Rows, Columns: t.Columns, Command: c.wireCommand(cmd)}.Encode()
}

// tooOld explains why a supervisor that outlived an upgrade does not know terminals.
func tooOld(err error, s Streams) error {
	if s.Terminal != nil && err == error(supervisor.Fault{Text: supervisor.ErrMalformed.Error()}) {
		return errors.New("it was made by a version that knew no terminals; restart it")
	}
	return err
}

// exited reads the process's end past the answers to signals.
func exited(in io.Reader) (supervisor.Number, error) {
	for {
		kind, n, err := receive(in)
		if err != nil || kind == supervisor.KindExited {
			return n, err
		}
	}
}

// rightsReader keeps the descriptors that come with what it reads.
type rightsReader struct {
	conn  *net.UnixConn
	files []*os.File
}

func (r *rightsReader) Read(b []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := r.conn.ReadMsgUnix(b, oob)
	if oobn == 0 {
		return n, err
	}
	msgs, e := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range msgs {
		fds, e2 := unix.ParseUnixRights(&msgs[i])
		e = errors.Join(e, e2)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			e = errors.Join(e, unix.SetNonblock(fd, true))
			r.files = append(r.files, os.NewFile(uintptr(fd), "terminal"))
		}
	}
	return n, errors.Join(err, e)
}

func (r *rightsReader) close() {
	for _, f := range r.files {
		f.Close()
	}
}

func exitOf(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return newExit(128+int(ws.Signal()), int(ws.Signal()), time.Now())
	}
	return newExit(ws.ExitStatus(), 0, time.Now())
}

// pipes connect a process inside to the caller's streams. The process never
// gets a file of the caller itself: that would be a way out of the container.
type pipes struct {
	theirs   []*os.File // stdin, stdout, stderr of the process; none with a terminal
	ours     []*os.File // the other ends
	terminal *os.File   // in the place of ours[0] and ours[1]; closed by its reader
	copying  sync.WaitGroup
	ended    atomic.Bool
}

func newPipes(s Streams) (p *pipes, err error) {
	p = &pipes{}
	if s.Terminal != nil {
		return p, nil
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for i, used := range []bool{s.Stdin != nil, s.Stdout != nil, s.Stderr != nil} {
		if !used {
			f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return p, err
			}
			p.theirs, p.ours = append(p.theirs, f), append(p.ours, nil)
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return p, err
		}
		if i > 0 {
			r, w = w, r
		}
		p.theirs, p.ours = append(p.theirs, r), append(p.ours, w)
	}
	return p, nil
}

// copy starts the copying and lets go of the process's ends.
func (p *pipes) copy(s Streams) {
	for _, f := range p.theirs {
		f.Close()
	}
	p.theirs = nil
	if s.Stdin != nil {
		go func(w *os.File) { // not waited for: a reader cannot be interrupted
			io.Copy(w, s.Stdin)
			if p.terminal != nil {
				// The first ends a line that was begun, or the input; the second what
				// the first did not end.
				w.WriteString("\x04\x04")
				return
			}
			w.Close()
		}(p.ours[0])
	}
	for i, w := range []io.Writer{s.Stdout, s.Stderr} {
		if w != nil {
			p.copying.Go(func() { p.output(w, p.ours[i+1]) })
		}
	}
}

// useTerminal takes the end of the terminal that came with the answer.
func (p *pipes) useTerminal(in *rightsReader) error {
	if len(in.files) != 1 {
		return supervisor.ErrMalformed
	}
	p.terminal = in.files[0]
	p.ours = []*os.File{p.terminal, p.terminal, nil}
	return nil
}

// control passes on signals and sizes until ctx is over.
func (p *pipes) control(ctx context.Context, conn *net.UnixConn, s Streams) {
	var resize <-chan Size
	if s.Terminal != nil {
		resize = s.Terminal.Resize
	}
	for {
		select {
		case sig := <-s.Signals:
			send(conn, supervisor.KindSignalRun, supervisor.Number(sig).Encode()) // its failure is the reader's too
		case size := <-resize:
			p.resize(size)
		case <-ctx.Done():
			return
		}
	}
}

func (p *pipes) resize(size Size) {
	raw, err := p.terminal.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Columns})
	})
}

// output copies until the end of the pipe or, once the process has ended, until
// nothing comes for a while. If the writer fails the rest is discarded, so that
// the process is not stuck.
func (p *pipes) output(w io.Writer, r *os.File) {
	b := make([]byte, 32<<10)
	for late := 0; late < pipeMost; {
		if p.ended.Load() {
			r.SetReadDeadline(time.Now().Add(pipeGrace))
		}
		n, err := r.Read(b)
		if n > 0 {
			if _, e := w.Write(b[:n]); e != nil {
				w = io.Discard
			}
		}
		if p.ended.Load() {
			late += n
		}
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && !p.ended.Load()) {
			return
		}
	}
}

// wait is called when the process has ended.
func (p *pipes) wait() {
	p.ended.Store(true)
	for _, f := range p.ours[1:] {
		if f != nil {
			f.SetReadDeadline(time.Now().Add(pipeGrace))
		}
	}
	p.copying.Wait()
}

func (p *pipes) close() {
	for _, l := range [][]*os.File{p.theirs, p.ours} {
		for _, f := range l {
			if f != nil {
				f.Close()
			}
		}
	}
}
