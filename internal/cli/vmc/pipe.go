package vmc

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
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

func pipeBroke(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errPipe) }
