//go:build linux || darwin

package vmc

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // a question that the test does not know
	defer cancel()
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

// A push asks what the original asked.
func TestPushAsks(t *testing.T) {
	c := newCloud(t)
	c.sells("mysql", "redis")
	c.services["old"] = api.Service{Name: "old", Vendor: "mysql"}
	u := c.at(t)
	u.file("web/app.rb", "require 'sinatra'\n")
	url := "hello." + domainOf(c.srv.URL)
	p := newPerson(t,
		"Would you like to deploy from the current directory? [Yn]: ", "n",
		"Deployment path: ", "web",
		"Application Name [web]: ", "hello",
		"Detected a Sinatra Application, is this correct? [Yn]: ", "",
		"Application Deployed URL ["+url+"]: ", "y",
		"Memory reservation (128M, 256M, 512M, 1G, 2G) [128M]: ", "lots",
		"Unknown answer, please try again!\nMemory reservation (128M, 256M, 512M, 1G, 2G) [128M]: ", "256",
		"How many instances? [1]: ", "0",
		"Unknown answer, please try again!\nHow many instances? [1]: ", "2",
		"Bind existing services to 'hello'? [yN]: ", "y",
		"1: old\nWhich one?: ", "1",
		"Create services to bind to 'hello'? [yN]: ", "y",
		"1: mysql\n2: redis\nWhat kind of service?: ", "redis",
		"]: ", "cache", // behind a random name
		"Create another? [yN]: ", "",
		"Would you like to save this configuration? [yN]: ", "y")
	status, out := p.vmc(t.Context(), u, "push")
	p.done(t)
	want := `Manifest written to manifest.yml.
Creating Application: OK
Creating Service [cache]: OK
Binding Service [old]: OK
Binding Service [cache]: OK
Uploading Application:
  Packing application: OK
  Uploading (1K): OK
Push Status: OK
Staging Application 'hello': OK
Starting Application 'hello': OK
  ` + address(c.srv.URL, url) + "\n\n"
	if status != 0 || out != want {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
	if a := c.apps["hello"]; a == nil || a.Instances != 2 || a.Resources.Memory != 256 || !slices.Equal(a.Services, []string{"old", "cache"}) || a.URIs[0] != url {
		t.Errorf("app %+v", a)
	}
	got, err := os.ReadFile(filepath.Join(u.dir, "web/manifest.yml"))
	if want := `applications:
  .:
    name: hello
    framework:
      name: sinatra
      info:
        mem: 128M
        description: Sinatra Application
        exec: null
    url: ${name}.${target-base}
    mem: 256M
    instances: 2
    services:
      cache:
        type: redis
      old:
        type: mysql
`; string(got) != want || err != nil {
		t.Errorf("%v, manifest:\n%s", err, got)
	}
	// What the manifest says is not asked again.
	delete(c.apps, "hello")
	delete(c.services, "cache")
	u.dir = filepath.Join(u.dir, "web")
	p = newPerson(t, "Would you like to deploy from the current directory? [Yn]: ", "")
	status, out = p.vmc(t.Context(), u, "push")
	p.done(t)
	if status != 0 || !strings.HasPrefix(out, "Pushing application 'hello'...\nDetected") && !strings.HasPrefix(out, "Pushing application 'hello'...\nCreating") || c.apps["hello"].Instances != 2 || len(c.services) != 2 {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
}

// What nothing can be detected of is asked for, too.
func TestPushAsksForTheCommand(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("run.sh", "")
	p := newPerson(t,
		"[Yn]: ", "",
		"1: node\n2: sinatra\n3: standalone\n4: static\nSelect Application Type: ", "sta",
		"Unknown answer, please try again!\nSelect Application Type: ", "stand",
		"1: node\n2: shell\nSelect Runtime: ", "2",
		"Start Command: ", "",
		"Start Command: Start Command: ", "sh run.sh",
		"Application Deployed URL [None]: ", "",
		"Memory reservation (64M, 128M, 256M, 512M, 1G, 2G) [64M]: ", "",
		"How many instances? [1]: ", "",
		"Would you like to save this configuration? [yN]: ", "")
	status, out := p.vmc(t.Context(), u, "push", "hello")
	p.done(t)
	if status != 0 || !strings.Contains(out, "Selected Standalone Application\nSelected shell\n") {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
	if a := c.apps["hello"]; a == nil || a.Meta.Command != "sh run.sh" || a.Staging.Stack != "shell" || len(a.URIs) != 0 {
		t.Errorf("app %+v", a)
	}
	// What is said on the command line is not asked, and an app that is there needs no question.
	u.file("app.js", "")
	p = newPerson(t, "Detected a Node.js Application, is this correct? [Yn]: ", "no",
		"Select Application Type: ", "sin", "Would you like to save this configuration? [yN]: ", "")
	if status, out := p.vmc(t.Context(), u, "push", "other", "--path", ".", "--mem", "64M", "--url", "none", "--instances", "1", "--no-start"); status != 0 || c.apps["other"].Staging.Model != "sinatra" {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
	p.done(t)
	p = newPerson(t)
	if status, out := p.vmc(t.Context(), u, "push", "hello", "--path", "."); status != 0 {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
}

func TestManifestAsks(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("web/app.js", "")
	u.file("job/index.html", "")
	p := newPerson(t,
		"Configure for which application? [.]: ", "web",
		"Application Name [web]: ", "",
		"Detected a Node.js Application, is this correct? [Yn]: ", "",
		"Application Deployed URL [web."+domainOf(c.srv.URL)+"]: ", "www.example.com",
		"Memory reservation (128M, 256M, 512M, 1G, 2G) [128M]: ", "",
		"How many instances? [1]: ", "3",
		"Configure for another application? [yN]: ", "y",
		"Configure for which application? [.]: ", "./job/",
		"Application Name [job]: ", "jobs",
		"Detected a Static Website, is this correct? [Yn]: ", "",
		"Application Deployed URL [jobs."+domainOf(c.srv.URL)+"]: ", "none",
		"[64M]: ", "", "[1]: ", "",
		"Configure for another application? [yN]: ", "")
	status, out := p.vmc(t.Context(), u, "manifest")
	p.done(t)
	if status != 0 || !strings.HasSuffix(out, "Manifest written to manifest.yml.\n\n") {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
	// What it says is the default of the next time, and of who inherits it.
	p = newPerson(t,
		"Configure for which application? [.]: ", "web",
		"Application Name [web]: ", "",
		"Application Deployed URL [www.example.com]: ", "",
		"[128M]: ", "256M", "How many instances? [3]: ", "",
		"Configure for another application? [yN]: ", "",
		"Save where?: ", "big.yml")
	status, out = p.vmc(t.Context(), u, "extend-manifest", "manifest.yml")
	p.done(t)
	if status != 0 || !strings.HasSuffix(out, "Manifest written to big.yml.\n\n") {
		t.Errorf("status %d\n%s\n%s", status, out, p.seen.String())
	}
	got, err := os.ReadFile(filepath.Join(u.dir, "big.yml"))
	if want := "inherit: manifest.yml\napplications:\n  ./web:\n    mem: 256M\n"; string(got) != want || err != nil {
		t.Errorf("%v, manifest:\n%s", err, got)
	}
	if status, out, errs := u.vmc("push", "-m", "big.yml", "--no-start"); status != 0 || c.apps["web"].Resources.Memory != 256 || c.apps["web"].Instances != 3 || c.apps["jobs"] == nil {
		t.Error(out, errs)
	}
	// Without anybody to ask, it is what push would do.
	if err := os.Remove(filepath.Join(u.dir, "manifest.yml")); err != nil {
		t.Fatal(err)
	}
	u.dir = filepath.Join(u.dir, "web")
	u.wants("Detected a Node.js Application\nManifest written to manifest.yml.\n\n", "manifest", "-n")
	u.fails([]string{"Save where?", "-m FILE"}, "extend-manifest", "manifest.yml", "-n")
	u.fails([]string{"no such file"}, "extend-manifest", "nothing.yml")
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

func TestDeleteUserAsks(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	c.users["a@b.c"] = "x"
	p := newPerson(t, "associated services will be DELETED, continue? [yN]: ", "n")
	if status, _ := p.vmc(t.Context(), u, "delete-user", "a@b.c"); status != 1 || !strings.HasSuffix(p.seen.String(), "Nothing was deleted.\n") || c.users["a@b.c"] == "" {
		t.Errorf("status %d, %q", status, p.seen.String())
	}
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

// An app that crashes at its first start is hardly wanted.
func TestCrashedPushAsks(t *testing.T) {
	for answer, left := range map[string]int{"": 0, "n": 1} {
		c := newCloud(t)
		c.onStart = func(a *api.App) *api.Fault {
			none := 0
			a.RunningInstances = &none
			c.crashed["hello"] = []api.Crash{{Instance: "abc", Since: 5}}
			return nil
		}
		u := c.at(t)
		u.file("app.js", "x")
		u.file("manifest.yml", "applications: {.: {name: hello}}")
		p := newPerson(t, "[Yn]: ", "", "shows all of the logs.\nDelete the application? [Yn]: ", answer)
		status, out := p.vmc(t.Context(), u, "push")
		p.done(t)
		if status != 1 || len(c.apps) != left || strings.HasSuffix(out, "Deleting application [hello]: OK\n") != (left == 0) {
			t.Errorf("status %d, apps %v\n%s\n%s", status, c.apps, out, p.seen.String())
		}
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

// Ctrl-D and Ctrl-C are a way out of every question, and what is said then begins a line.
func TestWayOutOfQuestions(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("app.js", "")
	for _, tc := range []struct {
		line    string
		answers []string
	}{
		{"push", []string{"current directory? [Yn]: ", "\x04"}},
		{"push", []string{"current directory? [Yn]: ", "", "Application Name [" + filepath.Base(u.dir) + "]: ", "\x04"}},
		{"push new", []string{"[Yn]: ", "", "Node.js Application, is this correct? [Yn]: ", "no", "Select Application Type: ", "\x04"}},
		{"login", []string{"Email: ", "\x04"}},
		{"delete --all", []string{"Delete ALL applications? [yN]: ", "\x04"}},
	} {
		p := newPerson(t, tc.answers...)
		status, out := p.vmc(t.Context(), u, strings.Fields(tc.line)...)
		p.done(t)
		if status != 1 || !strings.Contains(p.seen.String(), tc.answers[len(tc.answers)-2]+"\nInterrupted.\n") || strings.Contains(p.seen.String(), "broke") {
			t.Errorf("%s: status %d\n%s\n%s", tc.line, status, out, p.seen.String())
		}
	}
	p := newPerson(t)
	ctx, interrupt := context.WithCancel(t.Context())
	asked := &onText{person: p, text: "[Yn]: ", do: interrupt}
	status := Run(ctx, []string{"push"}, Streams{In: p.tty, Out: &bytes.Buffer{}, Err: asked, Dir: u.dir, Env: func(name string) string { return u.env[name] }})
	if status != 1 || !strings.HasSuffix(p.seen.String(), "[Yn]: \nInterrupted.\n") {
		t.Errorf("Ctrl-C: status %d, %q", status, p.seen.String())
	}
}

// What is typed wrongly can be taken back as a whole; other keys of control are no letters.
func TestPasswordKeys(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.srv.URL)
	p := newPerson(t, "Password: ", "wrong\x15\x01sec\tret")
	if status, out := p.vmc(t.Context(), u, "login", adminEmail); status != 0 || !strings.HasSuffix(p.seen.String(), "Password: *****"+strings.Repeat("\b \b", 5)+"******\n") {
		t.Errorf("status %d, %q, %q", status, out, p.seen.String())
	}
}

// The last line of an input that is no terminal need not end.
func TestAnswersFromAFile(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.srv.URL)
	var out, errs bytes.Buffer
	status := Run(t.Context(), []string{"login"}, Streams{
		In: strings.NewReader(adminEmail + "\nsecret"), Out: &out, Err: &errs, Dir: u.dir, Env: func(name string) string { return u.env[name] },
	})
	if status != 0 || errs.String() != "" {
		t.Errorf("status %d, %q, %q", status, out.String(), errs.String())
	}
}

// shownBy is all that a terminal gets.
func shownBy(t *testing.T, write func(tty *os.File)) string {
	t.Helper()
	p := newPerson(t)
	seen := make(chan string, 1)
	go func() {
		var all []byte
		for b := make([]byte, 4096); !bytes.HasSuffix(all, []byte("END")); {
			n, err := p.typing.Read(b)
			if err != nil {
				break
			}
			all = append(all, b[:n]...)
		}
		seen <- string(all)
	}()
	write(p.tty)
	if _, err := p.tty.WriteString("END"); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(<-seen, "END")
}

// Colours are for the stream that is a terminal, and not for one that knows none.
func TestColours(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	c.apps["hello"] = started("hello")
	for _, tc := range []struct {
		shown, term string
		green, red  bool
	}{
		{shown: "out", green: true}, {shown: "err", red: true}, {shown: "out", term: "dumb"}, {shown: "err", term: "dumb"},
	} {
		var out, errs bytes.Buffer
		seen := shownBy(t, func(tty *os.File) {
			std := Streams{Out: &out, Err: &errs, Dir: u.dir, Env: func(name string) string {
				if name == "TERM" {
					return tc.term
				}
				return u.env[name]
			}}
			if tc.shown == "out" {
				std.Out = tty
			} else {
				std.Err = tty
			}
			Run(t.Context(), []string{"map", "hello", "www.vcap.me"}, std)
			Run(t.Context(), []string{"env", "nothing"}, std)
		})
		if strings.Contains(seen, "\x1b[32m") != tc.green || strings.Contains(seen, "\x1b[31m") != tc.red || strings.Contains(out.String()+errs.String(), "\x1b") {
			t.Errorf("%+v: terminal %q, out %q, err %q", tc, seen, out.String(), errs.String())
		}
	}
}

// What others wrote does nothing to a terminal but colour it.
func TestHarmlessOutput(t *testing.T) {
	const evil, colour = "a\x1b]0;owned\x07b\x1b[2Jc\u009b1m", "\x1b[35mx\x1b[0m"
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["hello"].Env = []string{"X=" + evil}
	c.files["hello/0/logs"] = "stdout.log  2K"
	c.files["hello/0/logs/stdout.log"] = evil + colour + "\n"
	c.info = func(i *api.Info) { i.Description = evil }
	c.handlers = map[string]http.HandlerFunc{"GET /apps/other": func(w http.ResponseWriter, _ *http.Request) { refuse(w, api.StagingFailed.With(evil)) }}
	u := c.at(t)
	for _, line := range []string{"info", "env hello", "logs hello", "logs hello --prefix", "env other"} {
		seen := shownBy(t, func(tty *os.File) {
			Run(t.Context(), strings.Fields(line), Streams{Out: tty, Err: tty, Dir: u.dir, Env: func(name string) string { return u.env[name] }})
		})
		if strings.ContainsAny(seen, "\x07\u009b") || strings.Contains(seen, "\x1b]") || strings.Contains(seen, "\x1b[2J") || !strings.Contains(seen, "owned") {
			t.Errorf("%s: %q", line, seen)
		}
		if strings.HasPrefix(line, "logs") && !strings.Contains(seen, colour) {
			t.Errorf("%s lacks the colour: %q", line, seen)
		}
	}
	// A program gets it as it is.
	if _, out, _ := u.vmc("logs", "hello"); !strings.Contains(out, evil) {
		t.Errorf("got %q", out)
	}
}
