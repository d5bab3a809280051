package vmc

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"cloudlet/controller/api"
)

func usersCommand(ctx context.Context, s *session, _ []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	users, err := c.Users(ctx)
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(users)
	}
	rows := [][]string{{"Email", "Admin", "Apps"}}
	for _, u := range users {
		var apps []string
		for _, a := range u.Apps {
			apps = append(apps, a.Name)
		}
		rows = append(rows, []string{u.Email, strconv.FormatBool(u.Admin), strings.Join(apps, ", ")})
	}
	s.show("No Users", rows)
	return nil
}

// addUserCommand registers somebody, and logs in where nobody is yet.
func addUserCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.registrar(ctx)
	if err != nil {
		return err
	}
	email, password := s.opts.email, s.opts.password
	if len(args) == 1 {
		email = args[0]
	}
	if email == "" {
		if email, err = s.ask(ctx, "Email", ""); err != nil {
			return missing(err, "Need a valid email", "`vmc add-user EMAIL --passwd PASSWORD`.")
		}
	}
	if password == "" {
		if password, err = s.newPassword(ctx, "Password"); err != nil {
			return err
		}
	}
	err = s.step("Creating New User", func() error { return c.CreateUser(ctx, email, password) })
	if err != nil || c.Token != "" {
		return err
	}
	s.opts.password = password
	return loginCommand(ctx, s, []string{email})
}

// registrar is the API for registering. That may be done by anybody where the cloud
// is open, so who has no account need not log in; the owner of a cloud of this machine
// acts as its administrator.
func (s *session) registrar(ctx context.Context) (*api.Client, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	if st, err := s.local.Status(ctx); err == nil && api.NormalTarget(st.API) == c.Target {
		return s.login(ctx)
	}
	return c, nil
}

// deleteUserCommand removes somebody's apps as that user, then the account.
func deleteUserCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	if !s.opts.force && s.mayAsk() {
		sure, err := s.confirm(ctx, "Deployed applications and associated services will be DELETED, continue?", false)
		if err != nil || !sure {
			return err
		}
	}
	as := *c
	as.Proxy = args[0]
	apps, err := as.Apps(ctx)
	if err != nil {
		return err
	}
	for _, app := range apps {
		what := fmt.Sprintf("Deleting application [%s]", app.Name)
		if err := s.step(what, func() error { return as.DeleteApp(ctx, app.Name) }); err != nil {
			return err
		}
	}
	direct := *c
	direct.Proxy = ""
	return s.step("Deleting User", func() error { return direct.DeleteUser(ctx, args[0]) })
}
