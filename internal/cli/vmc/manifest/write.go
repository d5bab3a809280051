package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/google/renameio/v2"
	"go.yaml.in/yaml/v3"
)

// entry is an application as it is written.
type entry struct {
	Name      string             `yaml:"name,omitempty"`
	Framework *framework         `yaml:"framework,omitempty"`
	Runtime   string             `yaml:"runtime,omitempty"`
	Command   string             `yaml:"command,omitempty"`
	URL       string             `yaml:"url,omitempty"`
	URLs      *[]string          `yaml:"urls,omitempty"`
	Mem       string             `yaml:"mem,omitempty"`
	Instances int                `yaml:"instances,omitempty"`
	Services  map[string]service `yaml:"services,omitempty"`
	DependsOn []string           `yaml:"depends-on,omitempty"`
}

type framework struct {
	Name string `yaml:"name"`
	Info info   `yaml:"info"`
}

type info struct {
	Mem         string  `yaml:"mem"`
	Description string  `yaml:"description"`
	Exec        *string `yaml:"exec"`
}

type service struct {
	Type string `yaml:"type,omitempty"`
}

// Save puts applications into a file, in the place of those with the same path; what else
// is in it stays, comments included. A parent, unless "", is inherited first. URLs may
// have symbols; nothing else does.
func Save(file, parent string, apps []App) error {
	old, err := readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = nil, nil
	}
	if err != nil {
		return err
	}
	data, err := rewrite(old, parent, apps)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return renameio.WriteFile(file, data, 0o644, renameio.WithExistingPermissions())
}

func rewrite(old []byte, parent string, apps []App) ([]byte, error) {
	if _, err := parse("it", old); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(old, &doc); err != nil {
		return nil, err
	}
	if doc.Kind == 0 || doc.Content[0].Kind != yaml.MappingNode {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := doc.Content[0]
	if parent != "" {
		put(root, "inherit", &yaml.Node{Kind: yaml.ScalarNode, Value: parent})
	}
	list := get(root, "applications")
	if list == nil || list.Kind != yaml.MappingNode {
		list = &yaml.Node{Kind: yaml.MappingNode}
		put(root, "applications", list)
	}
	for _, a := range apps {
		v, err := a.entry()
		if err != nil {
			return nil, err
		}
		put(list, keyOf(list, a.Path), v)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(&doc)
	return b.Bytes(), errors.Join(err, enc.Close())
}

// Without is the application without what its parent says as well.
func (a App) Without(parent App) App {
	for _, f := range []struct {
		own   *string
		other string
	}{{&a.Name, parent.Name}, {&a.Runtime, parent.Runtime}, {&a.Command, parent.Command}, {&a.Mem, parent.Mem}, {&a.Framework, parent.Framework}} {
		if *f.own == f.other {
			*f.own = ""
		}
	}
	if a.Instances == parent.Instances {
		a.Instances = 0
	}
	if slices.Equal(a.URLs, parent.URLs) {
		a.URLs = nil
	}
	a.Services = slices.DeleteFunc(slices.Clone(a.Services), func(s Service) bool { return slices.Contains(parent.Services, s) })
	return a
}

// entry is the application as YAML.
func (a App) entry() (*yaml.Node, error) {
	if symbol.MatchString(a.Command) {
		return nil, fmt.Errorf("the start command has %s, which a manifest takes for a symbol: write it without braces", symbol.FindString(a.Command))
	}
	e := entry{Name: a.Name, Runtime: a.Runtime, Command: a.Command, Mem: a.Mem, Instances: a.Instances, DependsOn: a.DependsOn}
	if a.Framework != "" {
		e.Framework = &framework{Name: a.Framework, Info: info{Mem: a.FrameworkMem, Description: a.FrameworkInfo}}
	}
	if len(a.URLs) == 1 {
		e.URL = a.URLs[0]
	} else if a.URLs != nil {
		e.URLs = &a.URLs
	}
	for _, s := range a.Services {
		if e.Services == nil {
			e.Services = map[string]service{}
		}
		e.Services[s.Name] = service{s.Type}
	}
	var n yaml.Node
	err := n.Encode(e)
	return &n, err
}

// keyOf is how a map of applications writes a path: as it did, else "." or "./web".
func keyOf(list *yaml.Node, p string) string {
	for i := 0; i+1 < len(list.Content); i += 2 {
		if c, err := cleanPath(list.Content[i].Value); err == nil && c == p {
			return list.Content[i].Value
		}
	}
	if p == "." {
		return p
	}
	return "./" + p
}

func get(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func put(m *yaml.Node, key string, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = v
			return
		}
	}
	var k yaml.Node
	k.SetString(key)
	m.Content = append(m.Content, &k, v)
}
