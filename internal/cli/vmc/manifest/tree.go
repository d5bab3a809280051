package manifest

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

const (
	maxFile  = 256 << 10 // bytes of a file
	maxNodes = 10_000    // of a file, with its aliases written out
	maxDepth = 32
)

// node is a piece of YAML that knows where it comes from.
type node struct {
	at     string // file:line, for maps that of the key it belongs to
	kind   yaml.Kind
	tag    string
	value  string // of a scalar
	list   []*node
	keys   []string // in the order of the file
	fields map[string]*node
}

// null tells that nothing is said; there need not be a node for that.
func (n *node) null() bool { return n == nil || n.kind == yaml.ScalarNode && n.tag == "!!null" }

// field is an entry of a map, or nil.
func (n *node) field(key string) *node {
	if n == nil {
		return nil
	}
	return n.fields[key]
}

// text is an entry that has to be a plain text; "" if there is none.
func (n *node) text(key string) (string, error) {
	v := n.field(key)
	if v.null() {
		return "", nil
	}
	if v.kind != yaml.ScalarNode {
		return "", fmt.Errorf("%s: %s is not a text", v.at, key)
	}
	return v.value, nil
}

func (n *node) set(key string, v *node) {
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	if _, ok := n.fields[key]; !ok {
		n.keys = append(n.keys, key)
	}
	n.fields[key] = v
}

// parse reads a file whose root is a map.
func parse(name string, data []byte) (*node, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d KiB", name, maxFile>>10)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if doc.Kind == 0 { // an empty file
		return &node{at: name, kind: yaml.MappingNode}, nil
	}
	b := builder{name: name, left: maxNodes}
	root, err := b.build(doc.Content[0], 0)
	if err != nil {
		return nil, err
	}
	if root.kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s is not a map with applications in it", name)
	}
	return root, normalize(root)
}

// builder turns YAML into nodes, as many as it has left.
type builder struct {
	name string
	left int
}

var errTooMuch = errors.New("it says too much, or refers to itself")

func (b *builder) build(y *yaml.Node, depth int) (*node, error) {
	at := fmt.Sprintf("%s:%d", b.name, y.Line)
	if b.left--; b.left < 0 || depth > maxDepth {
		return nil, fmt.Errorf("%s: %w", at, errTooMuch)
	}
	if unprintable(y.Value) {
		return nil, fmt.Errorf("%s: there is a control character", at)
	}
	n := &node{at: at, kind: y.Kind, tag: y.ShortTag(), value: y.Value}
	switch y.Kind {
	case yaml.AliasNode:
		return b.build(y.Alias, depth+1)
	case yaml.SequenceNode:
		for _, c := range y.Content {
			item, err := b.build(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, item)
		}
	case yaml.MappingNode:
		return n, b.fill(n, y, depth)
	}
	return n, nil
}

// unprintable tells of what could make a terminal do more than print.
func unprintable(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}

// fill adds the entries of a map; what is merged into it by "<<" gives way to them.
func (b *builder) fill(n *node, y *yaml.Node, depth int) error {
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		v, err := b.build(y.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		at := fmt.Sprintf("%s:%d", b.name, key.Line)
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch _, twice := n.fields[key.Value]; {
		case key.ShortTag() == "!!merge":
			merged = append(merged, append([]*node{v}, v.list...)...)
		case key.Kind != yaml.ScalarNode || unprintable(key.Value):
			return fmt.Errorf("%s: a key is not a text", at)
		case twice:
			return fmt.Errorf("%s: %q is there twice", at, key.Value)
		default:
			v.at = at
			n.set(key.Value, v)
		}
	}
	for _, m := range merged {
		for _, key := range m.keys {
			if n.field(key) == nil {
				n.set(key, m.fields[key])
			}
		}
	}
	return nil
}

// normalize checks what applies to every file by itself, and gives each application the
// one form of its path, by which those of parent and child are the same.
func normalize(root *node) error {
	apps := root.field("applications")
	if apps == nil {
		return nil
	}
	if apps.null() { // the key alone
		apps.kind, apps.tag = yaml.MappingNode, ""
	}
	if apps.kind != yaml.MappingNode {
		return fmt.Errorf("%s: applications is not a map from folders to what is in them; a list of them is of later versions", apps.at)
	}
	clean := &node{at: apps.at, kind: apps.kind, tag: apps.tag}
	for _, p := range apps.keys {
		c, err := cleanPath(p)
		if err != nil {
			return fmt.Errorf("%s: %w", apps.fields[p].at, err)
		}
		if clean.field(c) != nil {
			return fmt.Errorf("%s: %q is there twice", apps.fields[p].at, c)
		}
		clean.set(c, apps.fields[p])
	}
	root.fields["applications"] = clean
	return nil
}

// under merges a parent under its child: maps by their keys, all else by the child's word.
func under(child, parent *node) *node {
	switch {
	case parent == nil:
		return child
	case child == nil:
		return parent
	case child.kind != yaml.MappingNode || parent.kind != yaml.MappingNode:
		return child
	}
	merged := &node{at: child.at, kind: child.kind, tag: child.tag}
	for _, key := range parent.keys {
		merged.set(key, under(child.field(key), parent.fields[key]))
	}
	for _, key := range child.keys {
		if merged.field(key) == nil {
			merged.set(key, child.fields[key])
		}
	}
	return merged
}
