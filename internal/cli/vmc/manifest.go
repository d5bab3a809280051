package vmc

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// manifestName is the file that describes the apps of a folder and those below it.
const manifestName = "manifest.yml"

// manifest is a manifest.yml that was read.
type manifest struct {
	folder string
	apps   []spec // in the order of the file
}

// manifestApp is one entry, with symbols not yet substituted.
type manifestApp struct {
	Name       string            `yaml:"name"`
	Framework  frameworkName     `yaml:"framework"`
	Runtime    string            `yaml:"runtime"`
	Command    string            `yaml:"command"`
	URL        oneOrMore         `yaml:"url"`
	URLs       []string          `yaml:"urls"`
	Mem        string            `yaml:"mem"`
	Instances  int               `yaml:"instances"`
	Properties map[string]string `yaml:"properties"`
}

// frameworkName is a name, or a map that has one.
type frameworkName string

// UnmarshalYAML reads both.
func (f *frameworkName) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*f = frameworkName(n.Value)
		return nil
	}
	var m struct {
		Name string `yaml:"name"`
	}
	err := n.Decode(&m)
	*f = frameworkName(m.Name)
	return err
}

// oneOrMore is a string, or a list of them.
type oneOrMore []string

// UnmarshalYAML reads both.
func (o *oneOrMore) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		if n.Value != "" && n.Tag != "!!null" {
			*o = oneOrMore{n.Value}
		}
		return nil
	}
	return n.Decode((*[]string)(o))
}

// parseManifest reads the text of a manifest in a folder; builtin has the symbols that
// need no definition.
func parseManifest(folder string, data []byte, builtin map[string]string) (*manifest, error) {
	var file struct {
		Inherit      yaml.Node         `yaml:"inherit"`
		Properties   map[string]string `yaml:"properties"`
		Applications yaml.Node         `yaml:"applications"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	if !file.Inherit.IsZero() {
		return nil, errors.New("it inherits from another manifest, which this vmc cannot read")
	}
	m := &manifest{folder: folder}
	if file.Applications.IsZero() {
		return m, nil
	}
	if file.Applications.Kind != yaml.MappingNode {
		return nil, errors.New("applications is not a map of folders")
	}
	for i := 0; i+1 < len(file.Applications.Content); i += 2 {
		path := file.Applications.Content[i].Value
		var app manifestApp
		if err := file.Applications.Content[i+1].Decode(&app); err != nil {
			return nil, fmt.Errorf("application %s: %w", path, err)
		}
		sp, err := app.spec(symbols{app.Properties, app.own(), file.Properties, builtin})
		if err != nil {
			return nil, fmt.Errorf("application %s: %w", path, err)
		}
		sp.path = filepath.Join(folder, filepath.FromSlash(path))
		m.apps = append(m.apps, sp)
	}
	return m, nil
}

// own are the entry's members that others may refer to.
func (a manifestApp) own() map[string]string {
	return map[string]string{"name": a.Name, "runtime": a.Runtime, "mem": a.Mem, "framework": string(a.Framework)}
}

func (a manifestApp) spec(syms symbols) (sp spec, err error) {
	urls := a.URL
	if urls == nil {
		urls = a.URLs
	}
	sp = spec{instances: a.Instances, framework: string(a.Framework)}
	for _, f := range []struct {
		to   *string
		from string
	}{{&sp.name, a.Name}, {&sp.runtime, a.Runtime}, {&sp.command, a.Command}, {&sp.mem, a.Mem}} {
		if *f.to, err = syms.expand(f.from); err != nil {
			return sp, err
		}
	}
	for _, u := range urls {
		if u, err = syms.expand(u); err != nil {
			return sp, err
		}
		sp.urls = append(sp.urls, splitURLs(u)...)
	}
	return sp, nil
}

// symbols are looked up from the first map to the last.
type symbols []map[string]string

var symbol = regexp.MustCompile(`\$\{([A-Za-z0-9-]+)\}`)

// maxExpand bounds what symbols that name one another may grow to.
const maxExpand = 64 << 10

// expand replaces ${symbol}, also in what a symbol stands for.
func (s symbols) expand(text string) (string, error) {
	for range 100 {
		m := symbol.FindStringSubmatchIndex(text)
		if m == nil {
			return text, nil
		}
		value, ok := s.lookup(text[m[2]:m[3]])
		if !ok {
			return "", fmt.Errorf("the symbol %s is not defined", text[m[0]:m[1]])
		}
		if text = text[:m[0]] + value + text[m[1]:]; len(text) > maxExpand {
			break
		}
	}
	return "", fmt.Errorf("the symbols in %.80q never come to an end", text)
}

func (s symbols) lookup(name string) (string, bool) {
	for _, m := range s {
		if v, ok := m[name]; ok && v != "" {
			return v, true
		}
	}
	return "", false
}

// manifest reads the one that -m names, or that lies in the folder or above it; nil if
// there is none.
func (s *session) manifest(from string) (*manifest, error) {
	name := s.path(s.opts.manifest)
	if s.opts.manifest == "" {
		if name = findManifest(from); name == "" {
			return nil, nil
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fail("", "%v", err)
	}
	m, err := parseManifest(filepath.Dir(name), data, s.manifestSymbols())
	if err != nil {
		return nil, fail("Correct it, or push with options instead.", "%s: %v", name, err)
	}
	return m, nil
}

// manifestSymbols are those that every manifest may use.
func (s *session) manifestSymbols() map[string]string {
	target := s.files.target()
	if s.cloud != nil {
		target = s.cloud.Target
	}
	return map[string]string{"target-base": domainOf(target), "target-url": target, "random-word": strings.ToLower(rand.Text()[:8])}
}

// findManifest looks in a folder and in all above it.
func findManifest(folder string) string {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return ""
	}
	for {
		name := filepath.Join(folder, manifestName)
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

// about are the apps of the manifest that a command in that folder is about: all of
// them beside the manifest, else the one whose folder it is.
func (m *manifest) about(folder string) []spec {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return nil
	}
	if own, err := filepath.Abs(m.folder); err == nil && own == abs {
		return m.apps
	}
	for _, sp := range m.apps {
		if p, err := filepath.Abs(sp.path); err == nil && (abs == p || strings.HasPrefix(abs, p+string(filepath.Separator))) {
			return []spec{sp}
		}
	}
	return nil
}

// specs are the apps to push: those of the manifest, else that of the folder.
func (s *session) specs(args []string) ([]spec, error) {
	name := s.opts.name
	if len(args) > 0 {
		name = args[0]
	}
	folder := s.workingFolder()
	m, err := s.manifest(folder)
	if err != nil {
		return nil, err
	}
	var list []spec
	if m != nil {
		if list, err = m.named(folder, name); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		list = []spec{{path: folder, name: name}}
	}
	for i := range list {
		list[i] = s.opts.override(list[i])
	}
	return list, nil
}

// workingFolder is where the app is: --path, else where vmc was called.
func (s *session) workingFolder() string {
	if s.opts.path != "" {
		return s.path(s.opts.path)
	}
	if s.dir != "" {
		return s.dir
	}
	if dir, err := os.Getwd(); err == nil {
		return dir
	}
	return "."
}

// named are the apps that a command is about, or of several the one of that name. A
// lone app takes another name gladly.
func (m *manifest) named(folder, name string) ([]spec, error) {
	list := m.about(folder)
	if name == "" || len(list) == 0 {
		return list, nil
	}
	i := slices.IndexFunc(list, func(sp spec) bool { return sp.name == name })
	switch {
	case i >= 0:
		return list[i : i+1], nil
	case len(list) == 1:
		list[0].name = name
		return list, nil
	}
	var names []string
	for _, sp := range list {
		names = append(names, sp.name)
	}
	return nil, fail("It has "+strings.Join(names, ", ")+".", "The manifest has no application '%s'", name)
}
