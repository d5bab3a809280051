package vmc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"cloudlet/controller/api"
)

// tries is how often a wrong password may be corrected.
const tries = 3

func loginCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	email := s.opts.email
	if len(args) == 1 {
		email = args[0]
	}
	if s.mayAsk() && (email == "" || s.opts.password == "") {
		s.say("Attempting login to [%s]", c.Target)
	}
	if email == "" {
		if email, err = s.ask(ctx, "Email", ""); err != nil {
			return missing(err, "Need a valid email", "`vmc login EMAIL --passwd PASSWORD`, or run it on a terminal.")
		}
	}
	for n := 1; ; n++ {
		err := s.tryLogin(ctx, c, email)
		if err == nil {
			s.good("Successfully logged into [%s]", c.Target)
			return nil
		}
		if !errors.Is(err, api.Forbidden) || s.opts.password != "" || !s.mayAsk() || n == tries {
			return err
		}
		text, _ := s.explain(ctx, err)
		s.complain(text)
	}
}

// tryLogin stores a token for a password that is given or asked for.
func (s *session) tryLogin(ctx context.Context, c *api.Client, email string) error {
	password := s.opts.password
	if password == "" {
		var err error
		if password, err = s.password(ctx, "Password"); err != nil {
			return missing(err, "Need a password", "`vmc login EMAIL --passwd PASSWORD`, or run it on a terminal.")
		}
	}
	err := s.storeLogin(ctx, c, email, password)
	var fault *api.Fault
	switch {
	case errors.Is(err, api.Forbidden):
		errors.As(err, &fault)
		return &problem{
			text:  fmt.Sprintf("Problem with login, invalid account or password when attempting to login to '%s'", c.Target),
			hint:  fault.Hint,
			cause: err,
		}
	case errors.As(err, &fault):
		return &problem{
			text:  fmt.Sprintf("Problem with login to '%s', %v, try again or register for an account.", c.Target, err),
			cause: err,
		}
	}
	return err
}

// storeLogin gets and keeps a token. It asks as nobody, because an administrator is
// given anybody's token whatever the password.
func (s *session) storeLogin(ctx context.Context, c *api.Client, email, password string) error {
	nobody := *c
	nobody.Token, nobody.Proxy = "", ""
	token, err := nobody.Login(ctx, email, password)
	if err != nil {
		return err
	}
	return s.files.storeToken(c.Target, token)
}

// missing is what becomes of a question that nobody answers.
func missing(err error, text, hint string) error {
	if errors.Is(err, errNoAnswer) {
		return fail(hint, "%s", text)
	}
	return err
}

func logoutCommand(ctx context.Context, s *session, _ []string) error {
	target, err := s.target(ctx)
	if err != nil {
		return err
	}
	tokens, _ := s.files.readTokens() //nolint:errcheck // a damaged file is dropped as well
	if err := s.files.dropTokens(); err != nil {
		return err
	}
	s.revoke(ctx, target, tokens)
	s.good("Successfully logged out of [%s]", target)
	return nil
}

// revoke asks the clouds to make the tokens worthless, the target first. One that cannot,
// or is away, is worth no word: nobody has its token any more.
func (s *session) revoke(ctx context.Context, target string, tokens map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	others := slices.Sorted(maps.Keys(tokens))
	for _, t := range append([]string{target}, others...) {
		c := s.clientFor(t)
		if c.Token = tokens[t]; c.Token == "" {
			continue
		}
		c.Proxy = ""
		delete(tokens, t)
		c.Logout(ctx) //nolint:errcheck // as said above
	}
}

func userCommand(ctx context.Context, s *session, _ []string) error {
	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	user := info.User
	if user == "" {
		user = "N/A"
	}
	if s.opts.json {
		return s.printJSON([]string{user})
	}
	s.say("\n[%s]", user)
	return nil
}

func passwdCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	s.say("Changing password for '%s'", s.info.User)
	password := s.opts.password
	if len(args) == 1 {
		password = args[0]
	}
	if password == "" {
		if password, err = s.newPassword(ctx, "New Password"); err != nil {
			return err
		}
	}
	if err := c.SetPassword(ctx, s.info.User, password); err != nil {
		return err
	}
	if s.opts.proxy == "" { // the old password's tokens may be worth nothing now
		if err := s.storeLogin(ctx, c, s.info.User, password); err != nil {
			return err
		}
	}
	s.good("Successfully changed password")
	return nil
}

// newPassword asks for a password twice.
func (s *session) newPassword(ctx context.Context, question string) (string, error) {
	first, err := s.password(ctx, question)
	if err != nil {
		return "", missing(err, "Need a password", "Give it with --passwd, or run it on a terminal.")
	}
	second, err := s.password(ctx, "Verify Password")
	if err != nil {
		return "", missing(err, "Need the password twice", "Give it with --passwd, or run it on a terminal.")
	}
	if first != second {
		return "", fail("Try again.", "Passwords did not match")
	}
	return first, nil
}
