package vmc

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseManifest(t *testing.T) {
	m, err := parseManifest("/src", []byte(`
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
    mem: 128M
    instances: 2
    services:
      mysql-1a2b3: {type: mysql}
  ./worker:
    name: ${prefix}-${name-of-all}
    properties: {prefix: job, name-of-all: "x${target-base}"}
    framework: standalone
    command: ruby app.rb
    url: null
    urls: [A.vcap.me, "http://b.vcap.me"]
`), map[string]string{"target-base": "vcap.me"})
	if err != nil {
		t.Fatal(err)
	}
	want := []spec{
		{path: "/src", name: "hello", framework: "sinatra", runtime: "ruby19", urls: []string{"hello.example.com"}, mem: "128M", instances: 2},
		{path: filepath.FromSlash("/src/worker"), name: "job-xvcap.me", framework: "standalone", command: "ruby app.rb", urls: []string{"a.vcap.me", "b.vcap.me"}},
	}
	if !reflect.DeepEqual(m.apps, want) {
		t.Errorf("got  %+v\nwant %+v", m.apps, want)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"applications: [a]":                 "not a map",
		"applications: {.: {name: '${a}'}}": "${a} is not defined",
		"properties: {a: '${b}', b: '${a}'}\napplications: {.: {name: '${a}'}}": "never come to an end",
		"inherit: base.yml":                    "inherits",
		"applications: {.: {instances: many}}": "cannot unmarshal",
		"\tx":                                  "",
	} {
		if _, err := parseManifest(".", []byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add("applications: {.: {name: '${a}', url: [x, y], framework: {name: node}}}\nproperties: {a: b}")
	f.Add("applications:\n  ./a: {}\n  ./b: {instances: 3}")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseManifest("/src", []byte(text), nil)
		if err != nil {
			return
		}
		for _, sp := range m.apps {
			for _, u := range sp.urls {
				if u != hostOf(u) && hostOf(u) != hostOf(hostOf(u)) {
					t.Errorf("URL %q is not normal", u)
				}
			}
		}
	})
}

func TestManifestIsAbout(t *testing.T) {
	m := &manifest{folder: "/src", apps: []spec{{path: "/src/web", name: "web"}, {path: "/src/db", name: "db"}}}
	for folder, want := range map[string]string{"/src": "web db", "/src/web": "web", "/src/web/lib": "web", "/src/db": "db", "/src/website": "", "/": ""} {
		var names []string
		for _, sp := range m.about(folder) {
			names = append(names, sp.name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", folder, got, want)
		}
	}
	if list, err := m.named("/src", "db"); err != nil || len(list) != 1 || list[0].name != "db" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := m.named("/src", "x"); err == nil {
		t.Error("an application that is not there was found")
	}
	if list, err := m.named("/src/web", "blue"); err != nil || list[0].name != "blue" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestCommandLineWins(t *testing.T) {
	o := options{mem: "1G", url: "none", instances: 3, framework: "node"}
	got := o.override(spec{name: "a", mem: "64M", urls: []string{"x"}, runtime: "node06"})
	want := spec{name: "a", mem: "1G", urls: []string{}, instances: 3, framework: "node", runtime: "node06"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
