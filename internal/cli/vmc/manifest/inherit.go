package manifest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFiles bounds a manifest with all its ancestors.
const maxFiles = 32

// loader reads a manifest and its parents.
type loader struct {
	top   string // folder that files are named from
	files int
}

// load reads a file; chain is who inherits it, from the first manifest on.
func (l *loader) load(file string, chain []string) (*node, error) {
	name := file
	if rel, err := filepath.Rel(l.top, file); err == nil {
		name = rel
	}
	if slices.Contains(chain, file) {
		return nil, fmt.Errorf("%s inherits itself", name)
	}
	if l.files++; l.files > maxFiles {
		return nil, fmt.Errorf("it inherits from more than %d manifests", maxFiles)
	}
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	root, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	if len(chain) > 0 && !isManifest(root) {
		return nil, fmt.Errorf("%s is not a manifest", name)
	}
	parents, err := parents(root)
	if err != nil {
		return nil, err
	}
	chain = append(slices.Clone(chain), file)
	for _, p := range parents { // the first wins over the second
		parent, err := l.load(filepath.Join(filepath.Dir(file), filepath.FromSlash(p)), chain)
		if err != nil {
			return nil, err
		}
		root = under(root, parent)
	}
	return root, nil
}

// readFile reads a file that is one: a pipe would keep vmc waiting.
func readFile(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// isManifest tells a manifest from other YAML of this machine, which is nobody's business.
func isManifest(root *node) bool {
	return slices.ContainsFunc(rootKeys, func(key string) bool { return root.field(key) != nil })
}

// parents are the files that a manifest inherits: relative to it, and named as manifests
// are.
func parents(root *node) ([]string, error) {
	n := root.field("inherit")
	if n.null() {
		return nil, nil
	}
	items := []*node{n}
	if n.kind == yaml.SequenceNode {
		items = n.list
	}
	var names []string
	for _, item := range items {
		if item.kind != yaml.ScalarNode || item.value == "" {
			return nil, fmt.Errorf("%s: inherit is a file, or a list of files", n.at)
		}
		if err := checkParent(item.value); err != nil {
			return nil, fmt.Errorf("%s: %w", n.at, err)
		}
		names = append(names, item.value)
	}
	return names, nil
}

func checkParent(name string) error {
	ext := strings.ToLower(filepath.Ext(name))
	if filepath.IsAbs(name) || ext != ".yml" && ext != ".yaml" {
		return errors.New("a manifest inherits .yml files only, by paths relative to itself")
	}
	return nil
}
