package manifest

import (
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

var symbol = regexp.MustCompile(`\$\{([A-Za-z0-9-]+)\}`)

const (
	// maxExpand bounds what symbols that name one another may grow to, in bytes.
	maxExpand = 64 << 10
	// maxSymbols bounds how many are replaced in one text.
	maxSymbols = 100
	// maxWork bounds what is written by all replacements, in bytes.
	maxWork = 16 << 20
)

// resolver replaces symbols in the texts of one application.
type resolver struct {
	builtin map[string]string
	path    string  // of the application
	work    *int    // bytes left to write
	scope   []*node // maps around the text, from the innermost outwards
}

// within is the resolver for what is in a map.
func (r resolver) within(n *node) resolver {
	r.scope = append([]*node{n}, r.scope...)
	return r
}

// text reads an entry of a map into to.
func (r resolver) text(n *node, key string, to *string) (err error) {
	v := n.field(key)
	if v.null() {
		return nil
	}
	*to, err = r.expand(v)
	return err
}

// texts reads a text or a list of texts, without empty ones; the list is never nil.
func (r resolver) texts(n *node) ([]string, error) {
	items := n.list
	if n.kind == yaml.ScalarNode {
		items = []*node{n}
	}
	list := []string{}
	for _, item := range items {
		text, err := r.expand(item)
		if err != nil {
			return nil, err
		}
		if text != "" {
			list = append(list, text)
		}
	}
	return list, nil
}

// expand is a text with all its symbols replaced, also in what they stand for.
func (r resolver) expand(n *node) (string, error) {
	if n.kind != yaml.ScalarNode {
		return "", fmt.Errorf("%s: there should be a text", n.at)
	}
	return r.expandText(n.value, n.at)
}

func (r resolver) expandText(text, at string) (string, error) {
	for range maxSymbols {
		m := symbol.FindStringSubmatchIndex(text)
		if m == nil {
			return text, nil
		}
		value, ok := r.lookup(text[m[2]:m[3]])
		if !ok {
			return "", fmt.Errorf("%s: the symbol %s is not defined", at, text[m[0]:m[1]])
		}
		text = text[:m[0]] + value + text[m[1]:]
		if *r.work -= len(text); len(text) > maxExpand || *r.work < 0 {
			break
		}
	}
	return "", fmt.Errorf("%s: the symbols in %.80q never come to an end", at, text)
}

// lookup goes from the innermost map outwards; in each come first its properties, then
// its entry for the application, then the map itself.
func (r resolver) lookup(name string) (string, bool) {
	if v, ok := r.builtin[name]; ok {
		return v, true
	}
	for _, m := range r.scope {
		for _, in := range []*node{m.field("properties"), m.field("applications").field(r.path), m} {
			if v := in.field(name); v != nil && v.kind == yaml.ScalarNode && !v.null() {
				return v.value, true
			}
		}
	}
	return "", false
}
