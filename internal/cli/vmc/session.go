package vmc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"cloudlet/controller/api"
	"cloudlet/internal/operator"
)

// session is one command line being executed.
type session struct {
	*terminal
	opts  options
	env   func(string) string
	dir   string
	files dotFiles
	local *operator.Client // this machine's own cloud, if it runs

	cloud *api.Client // the target, once asked for
	info  *api.Info   // what the login check learnt
	about []string    // the apps that the command is about
	sent  bool        // new files of the last of them are on the cloud

	running *command
	chosen  string // the target of a manifest, over the user's
}

func newSession(std Streams, opts options) *session {
	s := &session{
		terminal: newTerminal(std, opts),
		opts:     opts,
		env:      std.Env,
		dir:      std.Dir,
		local:    operator.Dial(operator.DataDir(std.Env)),
	}
	s.files = dotFiles{home: std.Env("HOME")}
	if opts.tokenFile != "" {
		s.files.tokens = s.path(opts.tokenFile)
	}
	return s
}

// path is a path of the command line, seen from the working folder.
func (s *session) path(p string) string {
	if filepath.IsAbs(p) || s.dir == "" {
		return p
	}
	return filepath.Join(s.dir, p)
}

// client is the target's API with whatever token there is.
func (s *session) client(ctx context.Context) (*api.Client, error) {
	if s.cloud != nil {
		return s.cloud, nil
	}
	target, err := s.target(ctx)
	if err != nil {
		return nil, err
	}
	tokens, err := s.files.readTokens()
	if err != nil {
		return nil, err
	}
	s.cloud = s.clientFor(target)
	s.cloud.Token = tokens[target]
	return s.cloud, nil
}

// clientFor is an API without a token.
func (s *session) clientFor(target string) *api.Client {
	c := api.NewClient(target, "")
	c.Proxy = s.opts.proxy
	if s.opts.trace != "" {
		c.TraceKey, c.Trace = s.opts.trace, s.err
	}
	return c
}

// fallbackTarget is the API of a cloud that was started without options.
const fallbackTarget = "http://api.localhost:8080"

// target is the chosen one, else the cloud of this machine.
func (s *session) target(ctx context.Context) (string, error) {
	if s.chosen != "" {
		return s.chosen, nil
	}
	target, err := s.files.readTarget()
	if err != nil || target != "" {
		return target, err
	}
	if st, err := s.local.Status(ctx); err == nil && st.API != "" {
		return api.NormalTarget(st.API), nil
	}
	return fallbackTarget, nil
}

// login is the target's API for somebody it knows: the check that precedes every
// command that needs an account.
func (s *session) login(ctx context.Context) (*api.Client, error) {
	c, err := s.client(ctx)
	if err != nil || s.info != nil {
		return c, err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return nil, err
	}
	if info.User == "" {
		if info, err = s.loginLocally(ctx, c); err != nil {
			return nil, err
		}
	}
	s.info = &info
	return c, nil
}

// loginLocally gets a token over the operator channel, if the target is the cloud that
// serves it. A password would not do: it could go to whoever holds the port.
func (s *session) loginLocally(ctx context.Context, c *api.Client) (api.Info, error) {
	status, err := s.local.Status(ctx)
	if err != nil || api.NormalTarget(status.API) != c.Target {
		return api.Info{}, notLoggedIn(c)
	}
	login, err := s.local.Login(ctx)
	if err != nil {
		return api.Info{}, &problem{text: "Login Required", hint: err.Error(), cause: err}
	}
	c.Token = login.Token
	info, err := c.Info(ctx)
	if err != nil {
		return api.Info{}, err
	}
	if info.User == "" {
		return api.Info{}, notLoggedIn(c)
	}
	fmt.Fprintf(s.err, "Logged in to [%s] as [%s] through this machine's own cloud\n", c.Target, login.Email)
	return info, s.files.storeToken(c.Target, login.Token)
}

func notLoggedIn(c *api.Client) error {
	p := &problem{text: "Login Required", hint: fmt.Sprintf("Log in to %s with `vmc login`.", c.Target)}
	if c.Token != "" {
		p.text = "Not Authorized"
		p.hint = fmt.Sprintf("%s does not accept the stored token any more: `vmc login`.", c.Target)
	}
	return p
}

// app is one of the user's apps.
func (s *session) app(ctx context.Context, name string) (*api.Client, api.App, error) {
	c, err := s.login(ctx)
	if err != nil {
		return nil, api.App{}, err
	}
	s.note(name)
	app, err := c.App(ctx, name)
	if errors.Is(err, api.AppNotFound) {
		err = &problem{
			text:  fmt.Sprintf("Error 301: Application not found: '%s'", name),
			hint:  withSuggestion(suggestApp(ctx, c, name), "`vmc apps` lists the applications there are."),
			cause: err,
		}
	}
	return c, app, err
}

// note remembers an app that the command is about.
func (s *session) note(name string) {
	if !slices.Contains(s.about, name) {
		s.about = append(s.about, name)
	}
}

// outcome is what a command did, in the JSON of those that list nothing.
type outcome struct {
	Command string    `json:"command"`
	Done    []string  `json:"done"`           // a phrase for each step
	Apps    []api.App `json:"apps,omitempty"` // those it was about, as they are now
}

// printOutcome ends --json of a command that has printed none of its own.
func (s *session) printOutcome(ctx context.Context, command string) error {
	out := outcome{Command: command, Done: append([]string{}, s.done...)}
	for _, name := range s.about {
		app, err := s.cloud.App(ctx, name)
		if errors.Is(err, api.AppNotFound) {
			continue // it was deleted
		}
		if err != nil {
			return err
		}
		out.Apps = append(out.Apps, app)
	}
	return s.printJSON(out)
}

// read takes a stream of the server to its end, up to limit bytes.
func read(rc io.ReadCloser, err error, limit int64) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(io.LimitReader(rc, limit))
}
