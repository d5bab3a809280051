package vmc

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	err = s.step("Creating New User", func() error {
		return c.Register(ctx, api.Credentials{Email: email, Password: password, Invitation: s.opts.invitation})
	})
	if err != nil {
		return err
	}
	if info, err := c.Info(ctx); err != nil || info.User != "" { // a stored token may be worth nothing
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
	if err != nil || s.opts.invitation != "" {
		return c, err
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
		if err == nil && !sure {
			err = errNothingDeleted
		}
		if err != nil {
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
	services, err := provisioned(ctx, &as)
	if err != nil {
		return err
	}
	for _, service := range services {
		if err := s.deleteService(ctx, &as, service.Name); err != nil {
			return err
		}
	}
	direct := *c
	direct.Proxy = ""
	return s.step("Deleting User", func() error { return direct.DeleteUser(ctx, args[0]) })
}

// inviteCommand makes an invitation and tells what to do with it.
func inviteCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	email := s.opts.email
	if len(args) == 1 {
		email = args[0]
	}
	i, err := c.Invite(ctx, email)
	if err != nil {
		return onlyHere(err, "has no invitations", "An administrator registers others with `vmc add-user`.")
	}
	if s.opts.json {
		return s.printJSON(i)
	}
	if email == "" {
		email = "EMAIL"
	}
	s.say("Invitation until %s. Whoever has the code can register with it, once:\n", time.Unix(i.Expires, 0).Format("2006-01-02 15:04"))
	s.say("  vmc target %s\n  vmc add-user %s --invitation %s", c.Target, email, i.Code)
	return nil
}

// quotaCommand shows what somebody may use, or changes it.
func quotaCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	email := s.info.User
	if len(args) > 0 {
		email, args = args[0], args[1:]
	}
	q, err := c.Quota(ctx, email)
	if err != nil {
		return onlyHere(err, "has no quotas of single accounts", "`vmc info` shows what you may use.")
	}
	if len(args) > 0 {
		if err := setLimits(&q.Own, args); err != nil {
			return err
		}
		if q, err = c.SetQuota(ctx, email, q.Own); err != nil {
			return err
		}
	}
	if s.opts.json {
		return s.printJSON(q)
	}
	own := func(n *int) string {
		if n != nil {
			return "own"
		}
		return "default"
	}
	l, u := q.Limits, q.Usage
	s.show("", [][]string{
		{"Quota of " + email, "Used", "Limit", ""},
		{"memory", megabytes(u.Memory), megabytes(l.Memory), own(q.Own.Memory)},
		{"apps", strconv.Itoa(u.Apps), strconv.Itoa(l.Apps), own(q.Own.Apps)},
		{"services", strconv.Itoa(u.Services), strconv.Itoa(l.Services), own(q.Own.Services)},
		{"urls", "", strconv.Itoa(l.AppURIs) + " per app", own(q.Own.AppURIs)},
	})
	return nil
}

// setLimits takes words such as memory=1G and apps=5; =default takes a limit away again.
func setLimits(own *api.QuotaRequest, words []string) error {
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		to, ok := map[string]**int{
			"memory": &own.Memory, "mem": &own.Memory, "apps": &own.Apps, "services": &own.Services, "urls": &own.AppURIs, "uris": &own.AppURIs,
		}[name]
		if !ok {
			return fail("`vmc quota EMAIL memory=1G apps=5 services=2 urls=4`; =default takes a limit away again.", "There is no limit [%s]", name)
		}
		if value == "default" {
			*to = nil
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil && strings.HasPrefix(name, "mem") {
			n, err = parseMem(value)
		}
		if err != nil || n < 0 {
			return fail("A limit is a number, or default; memory may be 512M or 2G.", "Invalid limit [%s]", word)
		}
		*to = &n
	}
	return nil
}
