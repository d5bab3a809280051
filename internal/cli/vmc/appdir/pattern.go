package appdir

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// rule is one line of an ignore file.
type rule struct {
	keep     bool // a "!" line
	dirOnly  bool // ends in a slash
	anchored bool // has another slash: about the path, not just the last name

	literal string         // the pattern, where it has no wildcards; else:
	pattern *regexp.Regexp // over the bytes of a name, each as a rune
}

// parseIgnore reads lines as git does: "#" begins a comment, "!" keeps, a slash at the
// end means folders, one at the beginning or inside binds the pattern to the folder of
// the file, a backslash takes the next letter as it is. Patterns that git can never
// match are left out.
func parseIgnore(text string) []rule {
	var list []rule
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if r, ok := parseRule(trimSpaces(line)); ok {
			list = append(list, r)
		}
	}
	return list
}

// trimSpaces cuts spaces at the end, unless a backslash precedes them.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			end = min(i+1, len(line))
		} else if line[i] != ' ' {
			end = i + 1
		}
	}
	return line[:end]
}

func parseRule(line string) (r rule, ok bool) {
	line, r.keep = strings.CutPrefix(line, "!")
	line, r.dirOnly = strings.CutSuffix(line, "/")
	r.anchored = strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return r, false
	}
	if !strings.ContainsAny(line, `*?[\`) {
		r.literal = line
		return r, true
	}
	expr, ok := translate(line)
	if !ok {
		return r, false
	}
	re, err := regexp.Compile(`(?s)\A` + expr + `\z`)
	r.pattern = re
	return r, err == nil // too large for a regexp: nobody means it
}

// matches tells whether a rule is about a path, relative to the folder of its file.
func (r *rule) matches(name string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	if !r.anchored {
		name = path.Base(name)
	}
	if r.pattern == nil {
		return name == r.literal
	}
	return r.pattern.MatchString(latin(name))
}

// latin makes a rune of every byte, since git matches bytes.
func latin(name string) string {
	var b strings.Builder
	for i := range len(name) {
		b.WriteRune(rune(name[i]))
	}
	return b.String()
}

// translate writes a pattern as a regular expression, which takes linear time whatever
// the pattern is; ok is false for one that matches nothing.
func translate(p string) (expr string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(p); {
		switch p[i] {
		case '*':
			stars := i
			for i < len(p) && p[i] == '*' {
				i++
			}
			i += writeStars(&b, p, stars, i)
		case '?':
			b.WriteString(`[^/]`)
			i++
		case '[':
			set, length := bracket(p[i:])
			if length == 0 {
				return "", false
			}
			b.WriteString(set)
			i += length
		case '\\':
			if i++; i == len(p) {
				return "", false
			}
			fallthrough
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(p[i]))))
			i++
		}
	}
	return b.String(), true
}

// writeStars writes p[from:to], a run of stars, and gives how much of what follows it has
// used up. Two stars that are all there is between slashes are any number of folders; any
// others stop at a slash.
func writeStars(b *strings.Builder, p string, from, to int) (used int) {
	begins := from == 0 || p[from-1] == '/'
	switch {
	case to-from < 2 || !begins || to < len(p) && p[to] != '/':
		b.WriteString(`[^/]*`)
	case to == len(p):
		b.WriteString(`.*`)
	default:
		b.WriteString(`(?:.*/)?`)
		used = 1
	}
	return used
}

// classes are git's names for sets of letters; a slash is in none.
var classes = map[string]string{
	"alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": `\t `, "cntrl": `\x00-\x1f\x7f`, "digit": "0-9", "graph": "!-.0-~", "lower": "a-z",
	"print": " -.0-~", "punct": "!-.:-@\\[-`{-~", "space": `\t\n\r `, "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}

// bracket translates the set that p begins with, and gives its length; 0 for a set that
// is not closed or has an unknown class.
func bracket(p string) (set string, length int) {
	var b strings.Builder
	i, negated := 1, false
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		i, negated = i+1, true
	}
	for first := true; ; first = false {
		switch {
		case i >= len(p):
			return "", 0
		case p[i] == ']' && !first:
			return finish(b.String(), negated), i + 1
		}
		members, n := member(p[i:])
		if n == 0 {
			return "", 0
		}
		b.WriteString(members)
		i += n
	}
}

// finish makes a set of its members; a slash is never one.
func finish(members string, negated bool) string {
	switch {
	case negated:
		return `[^/` + members + `]`
	case members == "":
		return `[^\x00-\x{10ffff}]`
	default:
		return `[` + members + `]`
	}
}

// member translates what a set has next: a class, a range or a letter.
func member(p string) (members string, length int) {
	if strings.HasPrefix(p, "[:") {
		end := strings.IndexByte(p, ']')
		if end > 2 && p[end-1] == ':' {
			class, ok := classes[p[2:end-1]]
			if !ok {
				return "", 0
			}
			return class, end + 1
		}
	}
	from, n := letter(p)
	if n == 0 {
		return "", 0
	}
	rest := p[n:]
	if len(rest) < 2 || rest[0] != '-' || rest[1] == ']' {
		return runes(from, from), n
	}
	to, m := letter(rest[1:])
	if m == 0 {
		return "", 0
	}
	return runes(from, from) + runes(from, to), n + 1 + m // a range that goes backwards has its beginning
}

// letter is one letter of a set, which a backslash may precede.
func letter(p string) (c byte, length int) {
	switch {
	case p == "" || p == `\`:
		return 0, 0
	case p[0] == '\\':
		return p[1], 2
	default:
		return p[0], 1
	}
}

// runes writes a range without the slash; one that goes backwards has nothing.
func runes(from, to byte) string {
	switch {
	case from > to:
		return ""
	case from <= '/' && to >= '/':
		return runes(from, '/'-1) + runes('/'+1, to)
	default:
		return fmt.Sprintf(`\x{%x}-\x{%x}`, from, to)
	}
}
