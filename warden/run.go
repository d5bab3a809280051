package warden

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"
)

// What is read of a process's output after its end: all that is in the pipe,
// but nobody waits for a descendant that holds the pipe open.
const (
	pipeGrace = 200 * time.Millisecond
	pipeMost  = 4 << 20
)

// Run runs a further process in the container and returns how it ended. With
// ctx the process is killed, together with its children, and ctx's error is
// returned; so it is when the pool is closed, with ErrClosed. ErrGone says that
// the container ended first.
func (c *Container) Run(ctx context.Context, cmd Command, s Streams) (Exit, error) {
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
	err = send(conn, supervisor.KindRun, c.wireCommand(cmd).Encode(), pipes.theirs...)
	if err != nil {
		return Exit{}, c.err(goneIfEnded(err))
	}
	// The supervisor kills the process when it reads the end of the connection,
	// and still tells us how that went.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.released:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()
	defer context.AfterFunc(ctx, func() { conn.CloseWrite() })()
	_, pid, err := receive(conn)
	if err != nil {
		return Exit{}, c.err(either(context.Cause(ctx), err))
	}
	c.leads(pid)
	defer c.follows(pid)
	pipes.copy(s)
	_, n, err := receive(conn)
	pipes.wait()
	if err != nil || ctx.Err() != nil {
		return Exit{}, c.err(either(context.Cause(ctx), err))
	}
	return exitOf(syscall.WaitStatus(n)), nil
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
	theirs  []*os.File // stdin, stdout, stderr of the process
	ours    []*os.File // the other ends
	copying sync.WaitGroup
	ended   atomic.Bool
}

func newPipes(s Streams) (p *pipes, err error) {
	p = &pipes{}
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
			w.Close()
		}(p.ours[0])
	}
	for i, w := range []io.Writer{s.Stdout, s.Stderr} {
		if w != nil {
			p.copying.Go(func() { p.output(w, p.ours[i+1]) })
		}
	}
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
