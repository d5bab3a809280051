//go:build linux || darwin

package vmc

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"cloudlet/controller/api"
)

// person sits at a terminal and answers each question when it is asked.
type person struct {
	tty     *os.File
	typing  *os.File
	answers []string // question, answer, question, answer …
	mu      sync.Mutex
	seen    bytes.Buffer
}

func newPerson(t *testing.T, answers ...string) *person {
	t.Helper()
	typing, tty, err := pty.Open()
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { typing.Close(); tty.Close() })
	return &person{tty: tty, typing: typing, answers: answers}
}

// Write is what vmc prints on stderr: questions are answered.
func (p *person) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.Write(b)
	if len(p.answers) > 0 && strings.HasSuffix(p.seen.String(), p.answers[0]) {
		answer := p.answers[1]
		p.answers = p.answers[2:]
		if _, err := p.typing.WriteString(answer + "\n"); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (p *person) vmc(ctx context.Context, u *user, args ...string) (status int, out string) {
	var o bytes.Buffer
	status = Run(ctx, args, Streams{In: p.tty, Out: &o, Err: p, Dir: u.dir, Env: func(name string) string { return u.env[name] }})
	return status, o.String()
}

// done reports questions that never came.
func (p *person) done(t *testing.T) {
	t.Helper()
	if len(p.answers) > 0 {
		t.Errorf("never asked %q in:\n%s", p.answers[0], p.seen.String())
	}
}

func TestPushAsks(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("run.sh", "")
	p := newPerson(t,
		"Application Name ["+folderName(u.dir)+"]: ", "hello",
		"1: node\n2: sinatra\n3: standalone\n4: static\nSelect Application Type: ", "sta",
		"Unknown answer, please try again!\nSelect Application Type: ", "stand",
		"Start Command: ", "",
		"Start Command: Start Command: ", "sh run.sh")
	status, out := p.vmc(t.Context(), u, "push")
	p.done(t)
	if status != 0 || !strings.Contains(out, "Selected Standalone Application\n") {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
	if a := c.apps["hello"]; a == nil || a.Meta.Command != "sh run.sh" || a.Staging.Stack != "shell" {
		t.Errorf("app %+v", a)
	}
}

func TestLoginAsks(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.srv.URL)
	p := newPerson(t, "Email: ", adminEmail, "Password: ", "wrong", "Password: ", "sex\x7fcret")
	status, out := p.vmc(t.Context(), u, "login")
	p.done(t)
	if status != 0 || !strings.Contains(out, "Attempting login to ["+c.srv.URL+"]\n") {
		t.Errorf("status %d\n%s", status, out)
	}
	if !strings.Contains(p.seen.String(), "Problem with login, invalid account or password") ||
		!strings.Contains(p.seen.String(), "Password: ***\b \b****\n") {
		t.Errorf("dialogue:\n%s", p.seen.String())
	}

	p = newPerson(t, "Password: ", "a", "Password: ", "b", "Password: ", "c")
	if status, out := p.vmc(t.Context(), u, "login", adminEmail); status != 1 {
		t.Errorf("status %d\n%s", status, out)
	}
	p.done(t)

	p = newPerson(t, "Password: ", "a\x03")
	if status, _ := p.vmc(t.Context(), u, "login", adminEmail); status != 1 || !strings.HasSuffix(p.seen.String(), "\nInterrupted.\n") {
		t.Errorf("status %d, %q", status, p.seen.String())
	}
}

func TestDeleteAllAsks(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	c.apps["a"] = started("a")
	p := newPerson(t, "Delete ALL applications? [yN]: ", "")
	if status, _ := p.vmc(t.Context(), u, "delete", "--all"); status != 1 || len(c.apps) != 1 {
		t.Errorf("status %d, apps %v", status, c.apps)
	}
	p.done(t)
	p = newPerson(t, "Delete ALL applications? [yN]: ", "maybe", "try again!\nDelete ALL applications? [yN]: ", "y")
	if status, _ := p.vmc(t.Context(), u, "delete", "--all"); status != 0 || len(c.apps) != 0 {
		t.Errorf("status %d, apps %v", status, c.apps)
	}
	p.done(t)
}

// Services outlive their app unless the user says otherwise, twice if they are shared.
func TestDeleteAsksForServices(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	setup := func() {
		for _, name := range []string{"a", "b", "c"} {
			c.apps[name] = started(name)
			c.apps[name].Services = []string{"shared"}
		}
		c.apps["a"].Services = []string{"kept", "own", "shared"}
		for _, name := range []string{"kept", "own", "shared"} {
			c.services[name] = api.Service{Name: name}
		}
	}
	setup()
	p := newPerson(t,
		"Provisioned service [kept] detected, would you like to delete it? [yN]: ", "",
		"Provisioned service [own] detected, would you like to delete it? [yN]: ", "y",
		"Provisioned service [shared] detected, would you like to delete it? [yN]: ", "y",
		"Provisioned service [shared] is also used by apps b, c, are you sure you want to delete it? [yN]: ", "n")
	status, out := p.vmc(t.Context(), u, "delete", "a")
	p.done(t)
	if status != 0 || out != "Deleting application [a]: OK\nDeleting service [own]: OK\n\n" {
		t.Errorf("status %d, %q\n%s", status, out, p.seen.String())
	}
	setup()
	u.wants("Deleting application [a]: OK\n\n", "delete", "a") // nobody to ask
	setup()
	u.wants("Deleting application [a]: OK\n\n", "delete", "a", "--force")
	setup()
	u.wants("Deleting application [a]: OK\nDeleting service [kept]: OK\nDeleting service [own]: OK\n\n", "delete", "a", "--force", "-n")
	delete(c.apps, "c")
	p = newPerson(t,
		"Provisioned service [shared] detected, would you like to delete it? [yN]: ", "y",
		"Provisioned service [shared] is also used by app d, are you sure you want to delete it? [yN]: ", "y")
	c.apps["d"] = started("d")
	c.apps["d"].Services = []string{"shared"}
	status, out = p.vmc(t.Context(), u, "delete", "b")
	p.done(t)
	if status != 0 || out != "Deleting application [b]: OK\nDeleting service [shared]: OK\n\n" {
		t.Errorf("status %d, %q", status, out)
	}
}

func TestServicesAsk(t *testing.T) {
	c := newCloud(t)
	c.sells("mysql", "redis")
	u := c.at(t)
	p := newPerson(t, "1: mysql\n2: redis\nWhich service would you like to provision?: ", "2")
	status, out := p.vmc(t.Context(), u, "create-service")
	p.done(t)
	if status != 0 || !strings.HasPrefix(out, "Creating Service [redis-") || len(c.services) != 1 {
		t.Errorf("status %d, %q, %v", status, out, c.services)
	}
	c.services = map[string]api.Service{"x": {Name: "x"}, "db": {Name: "db"}}
	p = newPerson(t, "1: db\n2: x\nWhich service would you like to delete?: ", "d")
	status, out = p.vmc(t.Context(), u, "delete-service")
	p.done(t)
	if status != 0 || out != "Deleting service [db]: OK\n\n" {
		t.Errorf("status %d, %q", status, out)
	}
}

// An interrupted question for a password leaves a terminal that echoes.
func TestInterruptedPassword(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.srv.URL)
	ctx, cancel := context.WithCancel(t.Context())
	p := newPerson(t)
	asked := &onText{person: p, text: "Password: ", do: cancel}
	status := Run(ctx, []string{"login", adminEmail}, Streams{
		In: p.tty, Out: &bytes.Buffer{}, Err: asked, Dir: u.dir, Env: func(name string) string { return u.env[name] },
	})
	if status != 1 || !strings.HasSuffix(p.seen.String(), "Interrupted.\n") {
		t.Errorf("status %d, %q", status, p.seen.String())
	}
	if state, err := unix.IoctlGetTermios(int(p.tty.Fd()), getTermios); err != nil || state.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal does not echo: %v", err)
	}
}

// onText does something when a text was printed.
type onText struct {
	*person
	text string
	do   func()
}

func (o *onText) Write(b []byte) (int, error) {
	n, err := o.person.Write(b)
	if strings.HasSuffix(o.seen.String(), o.text) {
		o.do()
	}
	return n, err
}
