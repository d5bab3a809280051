package vmc

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// errPipe is why a command ends whose output nobody reads any more.
var errPipe = errors.New("nobody reads the output any more")

// watchPipe makes a closed output what Ctrl-C is, so that a command is not killed in the
// middle but ends as it does otherwise: `vmc apps | head -1` in silence, a push with a
// word on what it leaves.
func watchPipe(ctx context.Context, std *Streams) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGPIPE) // a write gives an error then
	if asTerminal(std.Out) == nil {
		std.Out = &pipe{std.Out, cancel}
	}
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

type pipe struct {
	w      io.Writer
	broken context.CancelCauseFunc
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		p.broken(errPipe)
	}
	return n, err
}

// pollPipe is how long a look at a pipe takes in which nothing happens, in milliseconds.
const pollPipe = 500

// watchReader breaks the pipe, if stdout is one, as soon as nobody reads it any more: a
// command that waits for what is to be printed next need not wait for it then.
func (t *terminal) watchReader(ctx context.Context) {
	p, ok := t.results.(*pipe)
	if !ok {
		return
	}
	f, ok := p.w.(*os.File)
	if !ok {
		return
	}
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(f.Fd())}} // errors are told unasked
		_, err := unix.Poll(fds, pollPipe)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return
		case fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0:
			p.broken(errPipe)
		}
	}
}

func pipeBroke(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errPipe) }
