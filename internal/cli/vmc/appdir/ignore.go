package appdir

import (
	"os"
	"path"
	"path/filepath"
	"strings"
)

// alwaysIgnored are left out of every app, but may be taken back by a "!" line.
const alwaysIgnored = "*~\n\\#*#\n*.log\n"

// rule is one line of an ignore file.
type rule struct {
	parts   []string // of the pattern; a lone "**" stands for any number of folders
	keep    bool     // a "!" line
	dirOnly bool
}

// rules decide which paths are left out: of those that match, the last one counts.
type rules []rule

// ignoreRules are vmc's own, then those of .vmcignore.
func (d *Dir) ignoreRules() (rules, error) {
	data, err := os.ReadFile(filepath.Join(d.Root, ".vmcignore"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return parseIgnore(alwaysIgnored + string(data)), nil
}

// parseIgnore reads lines as git does: "#" begins a comment, "!" keeps, a slash at the
// end means folders, one at the beginning or inside binds the pattern to the root.
func parseIgnore(text string) rules {
	var list rules
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		var r rule
		line, r.keep = strings.CutPrefix(line, "!")
		line, r.dirOnly = strings.CutSuffix(line, "/")
		anchored := strings.Contains(line, "/")
		for _, part := range strings.Split(strings.TrimPrefix(line, "/"), "/") {
			if part != "" {
				r.parts = append(r.parts, part)
			}
		}
		if len(r.parts) == 0 {
			continue
		}
		if !anchored {
			r.parts = append([]string{"**"}, r.parts...)
		}
		list = append(list, r)
	}
	return list
}

// ignores tells whether a path, in slashes and relative to the root, is left out. Its
// folders are asked about first, and what is in one that is left out goes with it.
func (rs rules) ignores(name string, dir bool) bool {
	if base := path.Base(name); base == ".git" {
		return true
	}
	ignored := false
	for _, r := range rs {
		if (dir || !r.dirOnly) && matchParts(r.parts, strings.Split(name, "/")) {
			ignored = !r.keep
		}
	}
	return ignored
}

// matchParts matches a path with a pattern, part by part.
func matchParts(pattern, name []string) bool {
	for len(pattern) > 0 && pattern[0] != "**" {
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern = pattern[1:]; len(pattern) == 0 { // "folder/**" is all that is in it
		return len(name) > 0
	}
	for i := range name {
		if matchParts(pattern, name[i:]) {
			return true
		}
	}
	return false
}
