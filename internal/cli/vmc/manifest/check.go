package manifest

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The keys that mean something. Others may be there to be symbols.
var (
	rootKeys      = []string{"applications", "inherit", "properties", "target"}
	appKeys       = []string{"command", "depends-on", "framework", "instances", "mem", "name", "properties", "runtime", "services", "url", "urls"}
	frameworkKeys = []string{"info", "name"}
	infoKeys      = []string{"description", "exec", "mem"}
	serviceKeys   = []string{"type"}
)

// maxWarnings are told; who has more has another kind of file.
const maxWarnings = 10

// checker collects what is said in vain.
type checker struct {
	used  map[string]bool // symbols
	found []string
}

func warnings(root *node) []string {
	c := checker{used: map[string]bool{}}
	c.gather(root)
	c.check(root, "a manifest", rootKeys)
	apps := root.field("applications")
	if apps == nil {
		return c.found
	}
	for _, p := range apps.keys {
		app := apps.fields[p]
		c.check(app, "an application", appKeys)
		c.check(app.field("framework"), "a framework", frameworkKeys)
		c.check(app.field("framework").field("info"), "a framework's info", infoKeys)
		if services := app.field("services"); services != nil {
			for _, name := range services.keys {
				c.check(services.fields[name], "a service", serviceKeys)
			}
		}
	}
	return c.found
}

// gather notes the symbols that are used anywhere.
func (c *checker) gather(n *node) {
	for _, m := range symbol.FindAllStringSubmatch(n.value, -1) {
		c.used[m[1]] = true
	}
	for _, item := range n.list {
		c.gather(item)
	}
	for _, key := range n.keys {
		for _, m := range symbol.FindAllStringSubmatch(key, -1) {
			c.used[m[1]] = true
		}
		c.gather(n.fields[key])
	}
}

func (c *checker) check(n *node, what string, known []string) {
	if n == nil || n.kind != yaml.MappingNode {
		return
	}
	for _, key := range n.keys {
		if slices.Contains(known, key) || c.used[key] || len(c.found) == maxWarnings {
			continue
		}
		c.found = append(c.found, fmt.Sprintf("%s: %.40q means nothing in %s, which may have %s", n.fields[key].at, key, what, strings.Join(known, ", ")))
	}
}
