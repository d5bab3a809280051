// Package manifest reads and writes manifest.yml, which describes the applications of a
// folder.
//
// Protocol: the YAML of vmc 0.3.16 and later: inherit, target, properties, applications.
// State: none but the file. It comes with cloned repositories and is not trusted: its size,
// depth and parents are bounded; a parent is a relative path of another manifest; and
// applications lie in the manifest's own folder, so that nothing else can be pushed.
// Source: vmc 0.3.23.
package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Name is what the file is called where nobody names another.
const Name = "manifest.yml"

// Manifest is a file with all that it inherits.
type Manifest struct {
	File     string   // absolute
	Target   string   // the cloud it is for; empty: the user's choice
	Warnings []string // about keys that mean nothing
	root     *node
}

// App is an entry, with its symbols replaced. What is empty was not said.
type App struct {
	Path          string // of its folder or archive, relative to the manifest: "." or "web"
	Name          string
	Framework     string
	FrameworkMem  string // memory that the framework's description names
	FrameworkInfo string // the description itself
	Runtime       string
	Command       string
	Mem           string
	URLs          []string // nil: not said
	Instances     int
	Services      []Service // in the order of the file
	DependsOn     []string  // paths of other entries
}

// Service is a service instance that an app is bound to.
type Service struct {
	Name string
	Type string // what it is made of where it does not exist; empty: it has to exist
}

// Find looks for a manifest in a folder and in all above it; "" if there is none.
func Find(folder string) string {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return ""
	}
	for {
		name := filepath.Join(folder, Name)
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return name
		}
		up := filepath.Dir(folder)
		if up == folder {
			return ""
		}
		folder = up
	}
}

// Load reads a manifest and its parents. Errors name file and line.
func Load(file string) (*Manifest, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	l := loader{top: filepath.Dir(file)}
	root, err := l.load(file, nil)
	if err != nil {
		return nil, err
	}
	return newManifest(file, root)
}

func newManifest(file string, root *node) (*Manifest, error) {
	m := &Manifest{File: file, root: root}
	target, err := root.text("target")
	if err != nil {
		return nil, err
	}
	if symbol.MatchString(target) || strings.ContainsAny(target, " \t\n") {
		return nil, fmt.Errorf("%s: the target is a URL, without blanks or symbols", root.field("target").at)
	}
	m.Target = target
	m.Warnings = warnings(root)
	return m, nil
}

// Folder is where the manifest lies.
func (m *Manifest) Folder() string { return filepath.Dir(m.File) }

// Apps are the applications, each behind those that it depends on. The symbols given are
// known everywhere.
func (m *Manifest) Apps(builtin map[string]string) ([]App, error) {
	entries := m.root.field("applications")
	if entries == nil {
		return nil, nil
	}
	var apps []App
	r := resolver{builtin: builtin, work: new(int)}
	*r.work = maxWork
	for _, p := range entries.keys {
		app, err := m.app(p, r)
		if err != nil {
			return nil, fmt.Errorf("application %s: %w", p, err)
		}
		apps = append(apps, app)
	}
	return order(apps)
}

func (m *Manifest) app(p string, r resolver) (App, error) {
	entries := m.root.field("applications")
	entry := entries.fields[p]
	if entry.kind != yaml.MappingNode && !entry.null() {
		return App{}, fmt.Errorf("%s: it is not a map", entry.at)
	}
	r.path, r.scope = p, []*node{entry, entries, m.root}
	app := App{Path: p}
	for _, f := range []struct {
		key string
		to  *string
	}{{"name", &app.Name}, {"runtime", &app.Runtime}, {"command", &app.Command}, {"mem", &app.Mem}} {
		if err := r.text(entry, f.key, f.to); err != nil {
			return app, err
		}
	}
	var instances string
	err := errors.Join(
		r.text(entry, "instances", &instances),
		r.framework(entry.field("framework"), &app),
		r.urls(entry, &app),
		r.services(entry.field("services"), &app),
		r.dependencies(entry, &app),
	)
	if err == nil && instances != "" {
		app.Instances, err = strconv.Atoi(instances)
		if err != nil || app.Instances < 1 || app.Instances > maxInstances {
			err = fmt.Errorf("%s: instances is a number from 1, not %q", entry.field("instances").at, instances)
		}
	}
	return app, err
}

// maxInstances is beyond what any cloud gives.
const maxInstances = 1 << 20

// Locate is the folder or archive of an application. It has to be inside the manifest's
// folder: what a cloned manifest names is pushed, and may be public then.
func (m *Manifest) Locate(p string) (string, error) {
	full := filepath.Join(m.Folder(), filepath.FromSlash(p))
	real, err := filepath.EvalSymlinks(full)
	if errors.Is(err, fs.ErrNotExist) {
		return full, nil
	}
	if err != nil {
		return "", err
	}
	folder, err := filepath.EvalSymlinks(m.Folder())
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(folder, real); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s leads out of the folder of the manifest", p)
	}
	return full, nil
}

// cleanPath is the one form of an application's path.
func cleanPath(p string) (string, error) {
	clean := path.Clean(strings.ReplaceAll(p, `\`, "/"))
	if p == "" || !filepath.IsLocal(filepath.FromSlash(clean)) || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("an application has to be inside the folder of the manifest, and %q is not", p)
	}
	return clean, nil
}

func (r resolver) framework(n *node, app *App) error {
	switch {
	case n.null():
		return nil
	case n.kind == yaml.ScalarNode:
		text, err := r.expand(n)
		app.Framework = text
		return err
	case n.kind != yaml.MappingNode:
		return fmt.Errorf("%s: framework is a name, or a map with one", n.at)
	}
	r = r.within(n)
	if err := r.text(n, "name", &app.Framework); err != nil {
		return err
	}
	info := n.field("info")
	if info.null() {
		return nil
	}
	if info.kind != yaml.MappingNode {
		return fmt.Errorf("%s: info is not a map", info.at)
	}
	r = r.within(info)
	return errors.Join(r.text(info, "mem", &app.FrameworkMem), r.text(info, "description", &app.FrameworkInfo))
}

func (r resolver) urls(entry *node, app *App) error {
	for _, key := range []string{"url", "urls"} {
		n := entry.field(key)
		if n.null() || n.kind == yaml.ScalarNode && n.value == "" {
			continue
		}
		list, err := r.texts(n)
		app.URLs = list
		return err
	}
	return nil
}

func (r resolver) services(n *node, app *App) error {
	if n.null() {
		return nil
	}
	if n.kind != yaml.MappingNode {
		return fmt.Errorf("%s: services is a map from the names of services to their types", n.at)
	}
	r = r.within(n)
	for _, name := range n.keys {
		v := n.fields[name]
		s := Service{}
		var err error
		if s.Name, err = r.expandText(name, v.at); err != nil {
			return err
		}
		switch {
		case v.null():
		case v.kind == yaml.ScalarNode:
			s.Type, err = r.expand(v)
		case v.kind == yaml.MappingNode:
			err = r.within(v).text(v, "type", &s.Type)
		default:
			err = fmt.Errorf("%s: a service is a map with its type", v.at)
		}
		if err != nil {
			return err
		}
		if slices.ContainsFunc(app.Services, func(o Service) bool { return o.Name == s.Name }) {
			return fmt.Errorf("%s: the service %q is there twice", v.at, s.Name)
		}
		app.Services = append(app.Services, s)
	}
	return nil
}

func (r resolver) dependencies(entry *node, app *App) error {
	n := entry.field("depends-on")
	if n.null() {
		return nil
	}
	list, err := r.texts(n)
	if err != nil {
		return err
	}
	for _, p := range list {
		clean, err := cleanPath(p)
		if err != nil {
			return fmt.Errorf("%s: %w", n.at, err)
		}
		app.DependsOn = append(app.DependsOn, clean)
	}
	return nil
}
