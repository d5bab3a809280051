package appdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ignoreNames are the files that say what is left out, in any folder; each counts for
// more than all of those before it.
var ignoreNames = []string{".gitignore", ".cfignore", ".vmcignore"}

// maxIgnore bounds an ignore file.
const maxIgnore = 1 << 20

// alwaysIgnored are left out of every app, but may be taken back by a "!" line.
var alwaysIgnored = parseIgnore("*~\n\\#*#\n*.log\n")

// ignorer decides which paths of a tree are left out, as git does.
type ignorer struct {
	root  string
	rules []map[string][]rule // for each of ignoreNames, by the folder it lies in
}

func newIgnorer(root string) *ignorer {
	ig := &ignorer{root: root}
	for range ignoreNames {
		ig.rules = append(ig.rules, map[string][]rule{})
	}
	return ig
}

// enter reads the ignore files of a folder; "." is the root. It precedes questions about
// what is in the folder.
func (ig *ignorer) enter(folder string) error {
	for i, name := range ignoreNames {
		text, err := readIgnore(filepath.Join(ig.root, filepath.FromSlash(folder), name))
		if err != nil {
			return err
		}
		if rules := parseIgnore(text); len(rules) > 0 {
			ig.rules[i][folder] = rules
		}
	}
	return nil
}

// readIgnore is the text of an ignore file; what is there but is no file has none.
func readIgnore(name string) (string, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIgnore+1))
	if len(data) > maxIgnore {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxIgnore)
	}
	return string(data), err
}

// ignores tells whether a path, in slashes and relative to the root, is left out. Its
// folders are asked about first, and what is in one that is left out goes with it.
func (ig *ignorer) ignores(name string, dir bool) bool {
	if path.Base(name) == ".git" {
		return true
	}
	for _, byFolder := range slices.Backward(ig.rules) {
		if len(byFolder) == 0 {
			continue
		}
		for folder := path.Dir(name); ; folder = path.Dir(folder) {
			rel := strings.TrimPrefix(name, folder+"/") // "./" is never there
			if r := lastMatch(byFolder[folder], rel, dir); r != nil {
				return !r.keep
			}
			if folder == "." {
				break
			}
		}
	}
	r := lastMatch(alwaysIgnored, name, dir)
	return r != nil && !r.keep
}

// lastMatch is the rule that counts: of those that match, the last one.
func lastMatch(rules []rule, name string, dir bool) *rule {
	for i := range slices.Backward(rules) {
		if rules[i].matches(name, dir) {
			return &rules[i]
		}
	}
	return nil
}
