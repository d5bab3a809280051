package vmc

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/manifest"
)

const shop = `
applications:
  ./web:
    name: web
    services:
      cache: {type: redis}
    depends-on: [./db, ./queue]
  ./db: {name: db, framework: static}
  ./queue:
    name: queue
    framework: {name: static, info: {mem: 96M, description: x, exec: null}}
    depends-on: db
    memory: 1G
`

// shopOf is a user in the folder of three apps, of which one needs the others.
func shopOf(t *testing.T, c *cloud) *user {
	u := c.at(t)
	u.file("manifest.yml", shop)
	for _, f := range []string{"web/app.js", "db/index.html", "queue/index.html", "docs/README", "web/lib/x.js"} {
		u.file(f, "x")
	}
	return u
}

// lines are those of an output that begin with one of the words.
func lines(out string, words ...string) (found []string) {
	for line := range strings.Lines(out) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(line, w) }) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func TestPushInOrder(t *testing.T) {
	c := newCloud(t)
	c.sells("redis")
	u := shopOf(t, c)
	status, out, errs := u.vmc("push", "-n")
	got := lines(out, "Pushing", "Creating", "Binding", "Starting")
	want := []string{
		"Pushing application 'db'...", "Creating Application: OK", "Starting Application 'db': OK",
		"Pushing application 'queue'...", "Creating Application: OK", "Starting Application 'queue': OK",
		"Pushing application 'web'...", "Creating Application: OK", "Creating Service [cache]: OK", "Binding Service [cache]: OK", "Starting Application 'web': OK",
	}
	if status != 0 || !slices.Equal(got, want) {
		t.Errorf("status %d, %s\n%s", status, errs, strings.Join(got, "\n"))
	}
	if want := "[WARNING] manifest.yml:13: \"memory\" means nothing in an application"; !strings.HasPrefix(errs, want) {
		t.Errorf("stderr %q, want %q", errs, want)
	}
	if c.apps["queue"].Resources.Memory != 96 {
		t.Errorf("the framework's memory is not used: %+v", c.apps["queue"])
	}
	_, out, _ = u.vmc("stop")
	if got := lines(out, "Stopping"); !slices.Equal(got, []string{"Stopping Application 'web': OK", "Stopping Application 'queue': OK", "Stopping Application 'db': OK"}) {
		t.Errorf("stopped in the order %q", got)
	}
	_, out, _ = u.vmc("start")
	if got := lines(out, "Starting"); len(got) != 3 || got[2] != "Starting Application 'web': OK" {
		t.Errorf("started in the order %q", got)
	}
	// A second push binds what the manifest has got meanwhile.
	u.file("manifest.yml", strings.Replace(shop, "cache:", "second: redis\n      cache:", 1))
	_, out, _ = u.vmc("push", "web", "-n")
	if got := lines(out, "Creating", "Binding", "Pushing"); !slices.Equal(got, []string{"Pushing application 'web'...", "Creating Service [second]: OK", "Binding Service [second]: OK"}) {
		t.Errorf("pushed again: %q", got)
	}
}

// Where one stands decides which applications are meant.
func TestWhereInTheProject(t *testing.T) {
	c := newCloud(t)
	c.sells("redis")
	u := shopOf(t, c)
	root := u.dir
	u.vmc("push", "-n")
	for folder, want := range map[string]string{"": "web queue db", "web": "web", "web/lib": "web", "queue": "queue"} {
		u.dir = filepath.Join(root, folder)
		_, out, _ := u.vmc("stop")
		var names []string
		for _, l := range lines(out, "Stopping", "Application") {
			names = append(names, strings.Split(l, "'")[1])
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("in %q: %q, want %q", folder, got, want)
		}
	}
	u.dir = filepath.Join(root, "docs")
	u.fails([]string{"has no application in this folder", "Go to " + root}, "stop")
	u.fails([]string{"has no application in this folder"}, "push", "-n")
	if status, _, errs := u.vmc("push", "readme", "--framework", "static"); status != 0 || !strings.Contains(errs, "manifest.yml says nothing about this folder.\n") || c.apps["readme"] == nil {
		t.Errorf("status %d, %s", status, errs)
	}
	u.fails([]string{"The manifest has no application 'other'"}, "push", "other", "-m", "../manifest.yml", "-n")
	_, out, _ := u.vmc("start", "-m", "../manifest.yml")
	if got := lines(out, "Starting"); len(got) != 3 {
		t.Errorf("a manifest that is asked for is about all: %q", got)
	}
	u.dir = root
	u.fails([]string{"The manifest has no application 'other'", "It has db, queue, web."}, "push", "other", "-n")
	u.dir = filepath.Join(root, "db")
	if status, _, errs := u.vmc("push", "blue", "--mem", "32M"); status != 0 || c.apps["blue"].Resources.Memory != 32 || c.apps["blue"].Staging.Stack != "static" {
		t.Errorf("a lone application under another name: %s", errs)
	}
}

// What a manifest asks for is checked before anything is made of it.
func TestPushOfWhatCannotBe(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	u.file("app.js", "")
	for text, want := range map[string]string{
		"{services: {db: {type: oracle}}}": "Service [db] cannot be made: [oracle] is not a valid service choice",
		"{services: {db: }}":               "There is no service [db], and the manifest does not say of which type to make it",
		"{depends-on: x}":                  "depends on x, which is not in the manifest",
		"{name: a b}":                      "'a b' is not",
	} {
		u.file("manifest.yml", "applications:\n  .: "+text+"\n")
		u.fails([]string{want}, "push", "-n")
	}
	u.file("manifest.yml", "applications: {../x: {}}")
	u.fails([]string{"has to be inside the folder of the manifest"}, "push", "-n")
	if err := os.Symlink(t.TempDir(), filepath.Join(u.dir, "out")); err != nil {
		t.Fatal(err)
	}
	u.file("manifest.yml", "applications: {out: {name: stolen}}")
	u.fails([]string{"out leads out of the folder of the manifest"}, "push", "-n")
	if len(c.apps) > 0 {
		t.Errorf("left %v behind", c.apps)
	}
}

// A manifest may be for another cloud than the user's, and says so then.
func TestTargetOfTheManifest(t *testing.T) {
	mine, theirs := newCloud(t), newCloud(t)
	u := mine.at(t)
	u.file("app.js", "")
	u.file("manifest.yml", "target: "+strings.TrimPrefix(theirs.srv.URL, "http://")+"\napplications: {.: {name: hello, url: 'x.${target-base}'}}")
	u.fails([]string{"Target [" + theirs.srv.URL + "], as ", "Login Required"}, "push", "-n")
	u.write(u.home, ".vmc_token", `{"`+theirs.srv.URL+`":"`+token+`"}`)
	if status, _, errs := u.vmc("push", "-n"); status != 0 || theirs.apps["hello"] == nil || len(mine.apps) > 0 {
		t.Errorf("status %d, %s", status, errs)
	}
	if got := theirs.apps["hello"].URIs[0]; got != "x."+domainOf(theirs.srv.URL) {
		t.Errorf("URL %s", got)
	}
	if status, _, errs := u.vmc("stop"); status != 0 || theirs.apps["hello"].State != api.Stopped {
		t.Errorf("status %d, %s", status, errs)
	}
	u.wants("\n["+mine.srv.URL+"]\n\n", "target")
}

func TestCommandLineWins(t *testing.T) {
	o := options{mem: "1G", url: "none", instances: 3, framework: "node"}
	got := o.override(spec{name: "a", mem: "64M", urls: []string{"x"}, runtime: "node06"})
	want := spec{name: "a", mem: "1G", urls: []string{}, instances: 3, framework: "node", runtime: "node06"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// The manifest of the documentation is one.
func TestDocumentedManifest(t *testing.T) {
	page, err := os.ReadFile("../../../docs/vmc.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ := strings.Cut(rest, "```")
	u := stranger(t)
	u.file("manifest.yml", text)
	u.file("base.yml", "properties: {}")
	m, err := manifest.Load(filepath.Join(u.dir, "manifest.yml"))
	if err != nil {
		t.Fatal(err)
	}
	apps, err := m.Apps(nil)
	if err != nil || len(apps) != 2 || apps[0].Name != "queue" || apps[1].URLs[0] != "shop.example.com" || m.Warnings != nil {
		t.Errorf("%+v, %v, %q", apps, err, m.Warnings)
	}
}
