package vmc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudlet/controller/api"
)

// execGrace is how long a command may take to end after Ctrl-C.
const execGrace = 5 * time.Second

// execCommand runs a command in an instance, or a shell; its exit status becomes ours.
func execCommand(ctx context.Context, s *session, args []string) error {
	s.printed = true // whatever is printed is the command's
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	instance, err := s.oneInstance()
	if err != nil {
		return err
	}
	run := s.execPiped
	if s.keyboard != nil && s.shown {
		run = s.execOnTerminal
	}
	exit, err := run(ctx, c, app.Name, instance, api.ExecRequest{Args: args[1:]})
	switch {
	case err != nil:
		return explainStopped(onlyHere(err, "runs no commands in instances", "Only Cloudlet does."), app)
	case exit.Status != 0:
		return exitStatus(exit.Status)
	}
	return nil
}

// execPiped runs it between this process's own pipes. Ctrl-C is passed on.
func (s *session) execPiped(ctx context.Context, c *api.Client, app, instance string, r api.ExecRequest) (api.ExecExit, error) {
	going, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go s.watchReader(ctx)
	signals := make(chan string, 1)
	stop := context.AfterFunc(ctx, func() {
		if pipeBroke(ctx) {
			cancel()
			return
		}
		signals <- "INT"
		time.AfterFunc(execGrace, cancel)
	})
	defer stop()
	streams := api.ExecStreams{Stdout: s.results, Stderr: s.err, Signals: signals}
	if s.hasInput {
		streams.Stdin = s.in
	}
	exit, err := c.Exec(going, app, instance, r, streams)
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	return exit, err
}

// execOnTerminal gives it a terminal that is this one.
func (s *session) execOnTerminal(ctx context.Context, c *api.Client, app, instance string, r api.ExecRequest) (api.ExecExit, error) {
	ctx, raw, err := s.raw(ctx, "", "")
	if err != nil {
		return api.ExecExit{}, err
	}
	defer raw.restore()
	r.TTY = true
	r.Rows, r.Cols = raw.size()
	r.Env = map[string]string{"TERM": s.env("TERM")}
	sizes := make(chan api.TerminalSize)
	go func() {
		for {
			select {
			case <-raw.resized:
			case <-ctx.Done():
				return
			}
			rows, cols := raw.size()
			select {
			case sizes <- api.TerminalSize{Rows: rows, Cols: cols}:
			case <-ctx.Done():
				return
			}
		}
	}()
	exit, err := c.Exec(ctx, app, instance, r, api.ExecStreams{Stdin: s.in, Stdout: s.results, Stderr: s.err, Resize: sizes})
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprint(s.err, "\r\n") // the message begins a line
	}
	return exit, err
}
