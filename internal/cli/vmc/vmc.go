// Package vmc is the command line of Cloud Foundry v1's users: `vmc push` and all that
// goes with it.
//
// Protocol: the v1 REST API, through controller/api, against Cloudlet or any other v1
// cloud; where a command uses a route that only Cloudlet has, it goes on without it. For
// the owner of a cloud on this machine it fetches a token over the operator channel.
// State: ~/.vmc_target, ~/.vmc_token, ~/.vmc_instances and ~/.vmc_aliases, as the
// original keeps them, so that both may be used side by side.
// Source: vmc 0.3.23; commands, options, texts and layouts are its own. What is not:
// detection knows static web sites and Procfiles, push updates an app that exists
// instead of refusing, and errors go to stderr with the next step under them.
package vmc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"cloudlet/controller/api"
)

// Version is the vmc whose commands these are.
const Version = "0.3.23"

// Streams are what a command has of the world around it.
type Streams struct {
	In       io.Reader // nil: nobody to ask
	Out, Err io.Writer
	Env      func(string) string // nil: the process's own
	Dir      string              // the working folder; empty: the process's own
}

// Run executes one command line, without its "vmc", and returns the exit status: 0 or 1,
// or that of the command which `vmc exec` ran.
func Run(ctx context.Context, args []string, std Streams) int {
	if std.Env == nil {
		std.Env = os.Getenv
	}
	ctx, done := watchPipe(ctx, &std)
	defer done()
	opts, words, err := parse(args, dotFiles{home: std.Env("HOME")}.alias)
	s := newSession(std, opts)
	if err == nil {
		err = s.dispatch(ctx, words)
	}
	var status exitStatus
	switch {
	case errors.As(err, &status):
		return int(status)
	case err != nil:
		s.report(ctx, err)
		return 1
	case pipeBroke(ctx):
		return 1
	default:
		return 0
	}
}

// exitStatus is that of another command, which has said itself what went wrong.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// dispatch finds the command and runs it.
func (s *session) dispatch(ctx context.Context, words []string) error {
	switch {
	case s.opts.list:
		return s.optionHelp()
	case s.opts.version && len(words) == 0:
		return versionCommand(ctx, s, nil)
	case len(words) == 0 && s.opts.help:
		return helpCommand(ctx, s, nil)
	case len(words) == 0:
		s.say("%s", basicUsage)
		return nil
	case s.opts.help:
		return helpCommand(ctx, s, words[:1])
	}
	c := findCommand(words[0])
	if c == nil {
		return unknownCommand(words[0])
	}
	if err := c.check(words[1:]); err != nil {
		return err
	}
	s.running = c
	err := c.run(ctx, s, words[1:])
	if err == nil && s.opts.json && !s.printed {
		err = s.printOutcome(ctx, c.names[0])
	}
	if err == nil && !c.raw {
		fmt.Fprintln(s.results) // every command ends with an empty line
	}
	if s.opts.verbose {
		s.verdict(c.action, err)
	}
	return err
}

func unknownCommand(name string) error {
	return &problem{
		text: fmt.Sprintf("vmc: Unknown command [%s]", name),
		hint: withSuggestion(Suggestion(name, commandNames()), basicUsage),
	}
}

// verdict is what --verbose adds.
func (s *session) verdict(action string, err error) {
	text := s.color(green, "["+action+"] SUCCEEDED")
	if err != nil {
		text = s.color(red, "["+action+"] FAILED")
	}
	s.say("%s\n", text)
}

// problem is an error in the words the user reads, and what to do about it.
type problem struct {
	text, hint string
	cause      error
}

func (p *problem) Error() string { return p.text }

// Unwrap is the error that this one explains, if any.
func (p *problem) Unwrap() error { return p.cause }

// fail is a problem that begins as vmc's do.
func fail(hint, format string, args ...any) error {
	return &problem{text: "Error: " + fmt.Sprintf(format, args...), hint: hint}
}

// report prints an error and, below it, the next step.
func (s *session) report(ctx context.Context, err error) {
	text, hint := s.explain(ctx, err)
	if pipeBroke(ctx) && hint == "" {
		return // as others end whose output is not read to its end
	}
	s.complain(text)
	if hint != "" {
		fmt.Fprintln(s.err, printable(hint))
	}
}

func (s *session) explain(ctx context.Context, err error) (text, hint string) {
	var p *problem
	var fault *api.Fault
	var away *api.Unreachable
	var moved *api.Redirect
	switch {
	case ctx.Err() != nil, errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return "Interrupted.", s.whatIsLeft(ctx)
	case errors.As(err, &p):
		return p.text, p.hint
	case errors.As(err, &fault):
		return fault.Error(), s.afterFault(fault)
	case errors.As(err, &moved):
		return "Error: " + moved.Error(), fmt.Sprintf("`vmc target %s` goes there.", moved.To)
	case errors.Is(err, api.ErrNotV1):
		text, hint = "Error: "+err.Error(), notV1Hint
	case errors.As(err, &away):
		text, hint = unreachable(away)
	case errors.Is(err, context.DeadlineExceeded):
		text, hint = "Error: "+s.targetName()+" took the request but does not answer.", "Look at the log of the cloud."
	default:
		var broken bool
		if text, hint, broken = brokenConnection(s.targetName(), err); !broken {
			return "Error: " + err.Error(), ""
		}
	}
	if left := s.whatIsLeft(ctx); left != "" {
		hint = left
	}
	return text, hint
}

// targetName is the target for messages.
func (s *session) targetName() string {
	if s.cloud != nil {
		return s.cloud.Target
	}
	return s.files.target()
}

// notV1Hint is about a server that is something else.
const notV1Hint = "The API of a Cloud Foundry v1 is mostly called api.SOMETHING: `vmc target` shows what is asked, `vmc target URL` changes it."

// afterFault is the next step after what the server refuses.
func (s *session) afterFault(f *api.Fault) string {
	hint := hintFor(f)
	if f.Status == http.StatusBadRequest && strings.Contains(f.Text, "HTTP request to an HTTPS server") {
		return fmt.Sprintf("It wants TLS: `vmc target %s`.", strings.Replace(s.targetName(), "http:", "https:", 1))
	}
	if f.Code == 0 && hint == "" {
		return notV1Hint // a proxy, perhaps, or another server
	}
	if stagingFault(f) && len(s.about) > 0 {
		hint = strings.TrimSpace(fmt.Sprintf("%s\nCorrect it and `vmc push %s` again.", hint, s.about[len(s.about)-1]))
	}
	return hint
}

// stagingFault tells that staging was begun and failed.
func stagingFault(err error) bool {
	return errors.Is(err, api.StagingFailed) || errors.Is(err, api.StagingFailedOutright) || errors.Is(err, api.StagingTimeout)
}

func unreachable(u *api.Unreachable) (text, hint string) {
	if strings.Contains(u.Target, "localhost") || strings.Contains(u.Target, "127.0.0.1") {
		return fmt.Sprintf("Cannot reach %s: is `cloudlet up` running?", u.Target),
			"Start it with `cloudlet up`, or choose another cloud with `vmc target URL`."
	}
	return fmt.Sprintf("Cannot reach %s: %v", u.Target, rootCause(u.Err)), "Check the address and the network; `vmc target URL` chooses another cloud."
}

// rootCause is what went wrong first.
func rootCause(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}

// hintFor is the server's own hint, or ours where it has none.
func hintFor(f *api.Fault) string {
	if f.Hint != "" {
		return f.Hint
	}
	for _, h := range []struct {
		fault *api.Fault
		hint  string
	}{
		{api.LockingError, "Somebody else changed it at the same moment: try again."},
		{api.Forbidden, "`vmc user` shows whose rights these are, `vmc login` changes that."},
		{api.AppNotFound, "`vmc apps` lists the applications there are."},
		{api.AppStopped, "Start it first: `vmc start NAME`."},
		{api.NotEnoughMemory, "`vmc info` shows what is in use; stop something or ask for less with --mem."},
		{api.TooManyApps, "Delete one that is no longer needed: `vmc apps`, `vmc delete NAME`."},
		{api.URITaken, "Choose another one with --url."},
		{api.URIInvalid, "A URL is a host name such as hello.localhost, without path."},
		{api.ExternalURIs, "Choose a URL below the domain of the target."},
	} {
		if errors.Is(f, h.fault) {
			return h.hint
		}
	}
	return ""
}
