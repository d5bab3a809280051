package manifest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// builtin are the symbols of the tests.
var builtin = map[string]string{"target-base": "vcap.me", "target-url": "http://api.vcap.me", "random-word": "ab12"}

// read parses a text as a manifest without parents.
func read(text string) (*Manifest, []App, error) {
	root, err := parse(Name, []byte(text))
	if err != nil {
		return nil, nil, err
	}
	m, err := newManifest("/src/"+Name, root)
	if err != nil {
		return nil, nil, err
	}
	apps, err := m.Apps(builtin)
	return m, apps, err
}

// folder writes files and returns where.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestApps(t *testing.T) {
	m, apps, err := read(`
target: api.vcap.me
properties:
  domain: example.com
applications:
  .:
    name: hello
    framework:
      name: sinatra
      info: {mem: 128M, description: Sinatra Application, exec: null}
    runtime: ruby19
    url: ${name}.${domain}
    mem: 256M
    instances: 2
    services:
      mysql-1a2b3: {type: mysql}
      ${name}-cache: redis
      there: {}
    depends-on: [./worker]
  ./worker/:
    name: ${prefix}-${name-of-all}
    properties: {prefix: job, name-of-all: "x${target-base}"}
    framework: standalone
    command: ruby app.rb ${random-word}
    url: null
    urls: [A.vcap.me, "http://b.vcap.me"]
    mem: 64
  none: {url: []}
  bare:
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []App{
		{Path: "worker", Name: "job-xvcap.me", Framework: "standalone", Command: "ruby app.rb ab12", Mem: "64", URLs: []string{"A.vcap.me", "http://b.vcap.me"}},
		{
			Path: ".", Name: "hello", Framework: "sinatra", FrameworkMem: "128M", FrameworkInfo: "Sinatra Application", Runtime: "ruby19", Mem: "256M",
			URLs: []string{"hello.example.com"}, Instances: 2,
			Services:  []Service{{"mysql-1a2b3", "mysql"}, {"hello-cache", "redis"}, {"there", ""}},
			DependsOn: []string{"worker"},
		},
		{Path: "none", URLs: []string{}},
		{Path: "bare"},
	}
	if d := cmp.Diff(want, apps); d != "" || m.Target != "api.vcap.me" || m.Warnings != nil {
		t.Errorf("target %q, warnings %q, apps %s", m.Target, m.Warnings, d)
	}
}

// Symbols are looked up from the innermost map outwards; in each its properties come
// first, then the entry of the application, then what else is in it.
func TestSymbols(t *testing.T) {
	for _, tc := range []struct{ title, text, want string }{
		{"a key at the root", "x: root\napplications: {.: {name: '${x}'}}", "root"},
		{"properties before keys", "x: root\nproperties: {x: prop}\napplications: {.: {name: '${x}'}}", "prop"},
		{"the application before the file", "properties: {x: prop}\napplications: {.: {x: own, name: '${x}'}}", "own"},
		{"the application's properties before its keys", "applications: {.: {x: own, properties: {x: inner}, name: '${x}'}}", "inner"},
		{"built in before all", "properties: {random-word: no}\napplications: {.: {name: '${random-word}'}}", "ab12"},
		{"numbers", "properties: {n: 1.50}\napplications: {.: {name: 'v${n}'}}", "v1.50"},
		{"recursion", "properties: {a: '${b}', b: 'c-${d}', d: e}\napplications: {.: {name: '${a}'}}", "c-e"},
		{"not another application's", "properties: {x: prop}\napplications: {.: {name: '${x}'}, a: {x: other}}", "prop"},
		{"an anchor", "properties: {x: &x deep}\napplications: {.: {name: *x}}", "deep"},
		{"a merge", "base: &base {name: merged, mem: 1G}\napplications: {.: {<<: *base}}", "merged"},
		{"a merge gives way", "base: &base {name: merged}\napplications: {.: {<<: [*base], name: own}}", "own"},
		{"no symbol", "applications: {.: {name: 'a$b ${a_b} $${'}}", "a$b ${a_b} $${"},
	} {
		_, apps, err := read(tc.text)
		if err != nil || apps[0].Name != tc.want {
			t.Errorf("%s: %+v, %v, want %s", tc.title, apps, err, tc.want)
		}
	}
	_, apps, err := read("applications:\n  .:\n    mem: 1G\n    framework: {name: node, mem: 2G, info: {description: '${mem}'}}")
	if err != nil || apps[0].FrameworkInfo != "2G" {
		t.Errorf("%+v, %v: not the innermost map", apps, err)
	}
}

func TestRefuses(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'i'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+prev+",", 9) + "*" + prev + "]\n"
	}
	for text, want := range map[string]string{
		"applications: [a]":                 "a list of them is of later versions",
		"applications: {.: {name: '${a}'}}": "manifest.yml:1: the symbol ${a} is not defined",
		"properties: {a: '${b}', b: '${a}'}\napplications: {.: {name: '${a}'}}":                     "never come to an end",
		"properties: {a: '${b}${b}', b: '${c}${c}', c: '${a}x'}\napplications: {.: {name: '${a}'}}": "never come to an end",
		"applications:\n  .:\n    instances: many":                                                  `manifest.yml:3: instances is a number from 1, not "many"`,
		"applications: {.: {instances: 0}}":                                                         "a number from 1",
		"applications: {.: {instances: 99999999}}":                                                  "a number from 1",
		"applications: {.: {name: [a]}}":                                                            "there should be a text",
		"applications: {.: [a]}":                                                                    "it is not a map",
		"applications: {.: {framework: [a]}}":                                                       "framework is a name",
		"applications: {.: {framework: {info: x}}}":                                                 "info is not a map",
		"applications: {.: {services: [a]}}":                                                        "services is a map",
		"applications: {.: {services: {a: [b]}}}":                                                   "a service is a map",
		"applications: {.: {services: {a: b, '${x}': c}, x: a}}":                                    "twice",
		"applications: {./a: {}, a/: {}}":                                                           `"a" is there twice`,
		"applications: {../a: {}}":                                                                  "has to be inside the folder",
		"applications: {/etc: {}}":                                                                  "has to be inside the folder",
		"applications: {'a/../../b': {}}":                                                           "has to be inside the folder",
		"applications: {.: {depends-on: ../x}}":                                                     "has to be inside the folder",
		"applications: {.: {depends-on: x}}":                                                        "depends on x, which is not in the manifest",
		"applications: {a: {depends-on: b}, b: {depends-on: [c]}, c: {depends-on: ./a}}":            "in a circle: a → b → c → a",
		"applications: {a: {depends-on: a}}":                                                        "in a circle: a → a",
		"inherit: /etc/base.yml":                                                                    "relative",
		"inherit: ../.vmc_token":                                                                    ".yml files only",
		"inherit: {a: b}":                                                                           "inherit is a file",
		"target: [a]":                                                                               "target is not a text",
		"target: '${x}'":                                                                            "manifest.yml:1: the target is a URL",
		"target: a b":                                                                               "the target is a URL",
		"a: \"\\e[2J\"":                                                                             "manifest.yml:1: there is a control character",
		"\"\\a\": b":                                                                                "a key is not a text",
		"a: 1\na: 2":                                                                                `manifest.yml:2: "a" is there twice`,
		"{[a]: b}":                                                                                  "a key is not a text",
		"just text":                                                                                 "not a map",
		"\tx":                                                                                       "manifest.yml: ",
		"a: " + deep:                                                                                "says too much",
		"a: &a [*a]":                                                                                "", // the library's own words
		bomb:                                                                                        "says too much",
		"a: " + strings.Repeat("x", maxFile):                                                        "longer than 256 KiB",
	} {
		root, err := parse(Name, []byte(text))
		if err == nil {
			_, err = parents(root)
		}
		if err == nil {
			_, _, err = read(text)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

// What means nothing is told with its line, unless it is there to be a symbol.
func TestWarnings(t *testing.T) {
	m, _, err := read(`
domain: example.com
vars: {a: b}
applications:
  .:
    name: x.${domain}
    memory: 128M
    framework: {name: node, version: 3, info: {mem: 1M, exec: null, detection: x}}
    services: {db: {type: mysql, plan: free}}
`)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, w := range m.Warnings {
		at, key, _ := strings.Cut(w, " ")
		key, _, _ = strings.Cut(key, " means nothing")
		lines = append(lines, at+key)
	}
	want := []string{`manifest.yml:3:"vars"`, `manifest.yml:7:"memory"`, `manifest.yml:8:"version"`, `manifest.yml:8:"detection"`, `manifest.yml:9:"plan"`}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q", m.Warnings)
	}
}

func TestInherit(t *testing.T) {
	dir := folder(t, map[string]string{
		"manifest.yml":     "inherit: [a.yml, conf/b.yml]\nproperties: {own: child}\napplications: {./web: {mem: 1G}}",
		"a.yml":            "inherit: conf/root.yaml\nproperties: {p: a}\napplications: {web: {name: 'web-${p}-${own}-${r}', mem: 64M}}",
		"conf/b.yml":       "target: b.example.com\nproperties: {p: b, own: parent}\napplications: {web/: {runtime: node}, db: {name: db}}",
		"conf/root.yaml":   "properties: {p: root, r: root}",
		"loop.yml":         "inherit: conf/loop.yml\nproperties: {}",
		"conf/loop.yml":    "inherit: ../loop.yml\nproperties: {}",
		"missing.yml":      "inherit: nowhere.yml",
		"foreign.yml":      "inherit: secrets.yml",
		"secrets.yml":      "password: secret",
		"many.yml":         "inherit: [" + strings.Repeat("a.yml, ", 20) + "]",
		"sub/manifest.yml": "inherit: ../a.yml\nproperties: {own: sub}",
		"broken.yml":       "inherit: bad.yml",
		"bad.yml":          "properties: {a: b\n",
	})
	m, err := Load(filepath.Join(dir, Name))
	if err != nil {
		t.Fatal(err)
	}
	apps, err := m.Apps(builtin)
	want := []App{{Path: "web", Name: "web-a-child-root", Mem: "1G", Runtime: "node"}, {Path: "db", Name: "db"}}
	sortApps := func(l []App) { slices.SortFunc(l, func(a, b App) int { return strings.Compare(b.Path, a.Path) }) }
	sortApps(apps)
	if d := cmp.Diff(want, apps); d != "" || err != nil || m.Target != "b.example.com" {
		t.Errorf("target %q, %v, %s", m.Target, err, d)
	}
	if m, err := Load(filepath.Join(dir, "sub", Name)); err != nil {
		t.Error(err)
	} else if apps, err := m.Apps(builtin); err != nil || apps[0].Name != "web-a-sub-root" {
		t.Errorf("%+v, %v", apps, err)
	}
	for name, want := range map[string]string{
		"loop.yml": "loop.yml inherits itself", "missing.yml": "no such file", "foreign.yml": "secrets.yml is not a manifest",
		"many.yml": "more than 32", "broken.yml": "bad.yml", "nothing.yml": "no such file", "conf": "is not a file",
	} {
		if _, err := Load(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// A cloned manifest cannot have pushed what lies elsewhere.
func TestLocate(t *testing.T) {
	dir := folder(t, map[string]string{"src/manifest.yml": "applications: {in: {}, out: {}, new: {}}", "src/web/x": "", "secret/key": ""})
	for link, to := range map[string]string{"in": "web", "out": "../secret"} {
		if err := os.Symlink(to, filepath.Join(dir, "src", link)); err != nil {
			t.Skip(err)
		}
	}
	m, err := Load(filepath.Join(dir, "src", Name))
	if err != nil {
		t.Fatal(err)
	}
	for p, ok := range map[string]bool{"in": true, "out": false, "new": true, ".": true, "web/x": true} {
		if _, err := m.Locate(p); (err == nil) != ok {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestFind(t *testing.T) {
	dir := folder(t, map[string]string{"a/manifest.yml": "", "a/b/c/x": "", "a/d/manifest.yml/x": ""})
	for from, want := range map[string]string{"a": "a", "a/b/c": "a", "a/d": "a"} {
		if got := Find(filepath.Join(dir, from)); got != filepath.Join(dir, want, Name) {
			t.Errorf("%s: %s", from, got)
		}
	}
}

func TestSave(t *testing.T) {
	dir := folder(t, map[string]string{"manifest.yml": "# ours\nproperties:\n  a: b # why\napplications:\n  ./web:\n    name: old\n  ./db:\n    name: db # kept\n"})
	file := filepath.Join(dir, Name)
	apps := []App{
		{
			Path: "web", Name: "hello", Framework: "sinatra", FrameworkMem: "128M", FrameworkInfo: "Sinatra Application",
			URLs: []string{"${name}.${target-base}"}, Mem: "256M", Instances: 2, Services: []Service{{"cache", "redis"}},
		},
		{Path: ".", Name: "root", URLs: []string{}},
	}
	if err := Save(file, "base.yml", apps); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	want := `# ours
properties:
  a: b # why
applications:
  ./web:
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
  ./db:
    name: db # kept
  .:
    name: root
    urls: []
inherit: base.yml
`
	if d := cmp.Diff(want, string(got)); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if err := Save(filepath.Join(dir, "new.yml"), "", apps[1:]); err != nil {
		t.Error(err)
	}
	if err := Save(file, "", []App{{Path: ".", Command: "node x ${PORT}"}}); err == nil || !strings.Contains(err.Error(), "without braces") {
		t.Errorf("a command with braces: %v", err)
	}
}

// Whatever a repository brings: it is read or refused in bounded time, and what was read
// is the same once it was written.
func FuzzManifest(f *testing.F) {
	f.Add("applications: {.: {name: '${a}', url: [x, y], framework: {name: node}}}\nproperties: {a: b}")
	f.Add("applications:\n  ./a: {depends-on: b}\n  ./b: {instances: 3, services: {x: {type: y}, '${random-word}': }}")
	f.Add("x: &x {name: a}\napplications: {.: {<<: *x, urls: [], command: \"a\\n b\"}}")
	f.Add("a: &a [*a]")
	f.Add("inherit: [a.yml, ../b.yml]\ntarget: x\napplications:")
	f.Fuzz(func(t *testing.T, text string) {
		m, apps, err := read(text)
		if err != nil {
			return
		}
		for _, a := range apps {
			if _, err := m.Locate(a.Path); err != nil || !filepath.IsLocal(a.Path) {
				t.Errorf("application in %q: %v", a.Path, err)
			}
		}
		data, err := rewrite(nil, "", apps)
		if err != nil {
			return // a command with braces
		}
		_, again, err := read(string(data))
		if err != nil {
			t.Fatalf("%q was written, and is refused: %v", data, err)
		}
		data2, err := rewrite(data, "", again)
		if err != nil {
			t.Fatal(err)
		}
		_, third, err := read(string(data2))
		if d := cmp.Diff(again, third); d != "" || err != nil || len(again) != len(apps) {
			t.Errorf("%v %s", err, d)
		}
	})
}
