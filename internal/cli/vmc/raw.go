package vmc

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// rawMode is a keyboard whose every key goes to the program, Ctrl-C included.
type rawMode struct {
	*terminal
	fd           int
	before       *term.State
	enter, leave string        // what else the screen needs, as it is written to it
	resized      chan struct{} // one element: the window may have another size now
	signals      chan os.Signal
	cancel       context.CancelFunc
	ended        chan struct{}
}

// raw begins it. The context ends with the signals that end a program; restore has to be
// called on every way out. Who is stopped leaves the terminal as it was, and takes it
// again when continued.
func (t *terminal) raw(ctx context.Context, enter, leave string) (context.Context, *rawMode, error) {
	fd := int(t.keyboard.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, err
	}
	r := &rawMode{
		terminal: t, fd: fd, before: before, enter: enter, leave: leave,
		resized: make(chan struct{}, 1), signals: make(chan os.Signal, 8), ended: make(chan struct{}),
	}
	fmt.Fprint(t.out, enter)
	ctx, r.cancel = context.WithCancel(ctx)
	signal.Notify(r.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH)
	go r.watch(ctx)
	return ctx, r, nil
}

// watch obeys signals until the context ends.
func (r *rawMode) watch(ctx context.Context) {
	defer close(r.ended)
	for {
		select {
		case sig := <-r.signals:
			r.obey(sig)
		case <-ctx.Done():
			return
		}
	}
}

func (r *rawMode) obey(sig os.Signal) {
	switch sig {
	case syscall.SIGTSTP:
		r.giveBack()
		syscall.Kill(os.Getpid(), syscall.SIGSTOP) //nolint:errcheck // one may always stop oneself
	case syscall.SIGCONT:
		term.MakeRaw(r.fd) //nolint:errcheck // the state to restore is the first one
		fmt.Fprint(r.out, r.enter)
		r.noteSize()
	case syscall.SIGWINCH:
		r.noteSize()
	default:
		r.cancel()
	}
}

func (r *rawMode) noteSize() {
	select {
	case r.resized <- struct{}{}:
	default: // it is noted already
	}
}

// size is that of the window, in characters.
func (r *rawMode) size() (rows, cols int) {
	cols, rows, err := term.GetSize(r.fd)
	if err != nil || rows <= 0 || cols <= 0 {
		return 24, 80
	}
	return rows, cols
}

// restore makes the terminal what it was.
func (r *rawMode) restore() {
	r.cancel()
	signal.Stop(r.signals)
	<-r.ended
	r.giveBack()
}

func (r *rawMode) giveBack() {
	fmt.Fprint(r.out, r.leave)
	term.Restore(r.fd, r.before) //nolint:errcheck // it is gone, then
}

// suspend is what Ctrl-Z does where the terminal makes no signal of it.
func suspend() {
	syscall.Kill(os.Getpid(), syscall.SIGTSTP) //nolint:errcheck // one may always stop oneself
}
