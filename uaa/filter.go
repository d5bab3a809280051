package uaa

import (
	"encoding/json"
	"strings"
)

// The filter language of SCIM, as much of it as v1's clients use:
//
//	filter = term { "or" term }
//	term   = attribute ( "eq" | "co" | "sw" ) string | attribute "pr"
//
// Strings are in double quotes as in JSON, or in single ones as old clients send them.
const (
	maxFilter = 4096 // bytes
	maxTerms  = 100
)

// filterAttributes are what can be asked for, in lower case.
var filterAttributes = map[string]func(scimUser) string{
	"id":              func(u scimUser) string { return u.ID },
	"username":        func(u scimUser) string { return u.UserName },
	"email":           func(u scimUser) string { return u.Emails[0].Value },
	"emails":          func(u scimUser) string { return u.Emails[0].Value },
	"emails.value":    func(u scimUser) string { return u.Emails[0].Value },
	"givenname":       func(u scimUser) string { return u.Name.Given },
	"name.givenname":  func(u scimUser) string { return u.Name.Given },
	"familyname":      func(u scimUser) string { return u.Name.Family },
	"name.familyname": func(u scimUser) string { return u.Name.Family },
}

// filterOperators compare letter by letter: accounts do so as well.
var filterOperators = map[string]func(is, want string) bool{
	"eq": func(is, want string) bool { return is == want },
	"co": strings.Contains,
	"sw": strings.HasPrefix,
}

type matcher func(scimUser) bool

// parseFilter reads a filter; all match where it is empty.
func parseFilter(s string) (matcher, error) {
	if strings.TrimSpace(s) == "" {
		return func(scimUser) bool { return true }, nil
	}
	if len(s) > maxFilter {
		return nil, badFilter("it is longer than %d bytes", maxFilter)
	}
	p := filterParser{rest: s}
	var terms []matcher
	for {
		term, err := p.term()
		if err != nil {
			return nil, err
		}
		if terms = append(terms, term); len(terms) > maxTerms {
			return nil, badFilter("it has more than %d terms", maxTerms)
		}
		switch word := strings.ToLower(p.word()); word {
		case "":
			if p.rest != "" {
				return nil, badFilter("%.40q was not expected", p.rest)
			}
			return anyOf(terms), nil
		case "or":
		default:
			return nil, badFilter("terms are joined with or, not with %.40q", word)
		}
	}
}

func anyOf(terms []matcher) matcher {
	return func(u scimUser) bool {
		for _, t := range terms {
			if t(u) {
				return true
			}
		}
		return false
	}
}

func badFilter(format string, args ...any) error {
	f := invalidRequest.because(format, args...)
	f.Text = "Invalid filter expression: " + f.Text
	return f
}

type filterParser struct{ rest string }

// word takes letters and dots; nothing where something else comes.
func (p *filterParser) word() string {
	p.rest = strings.TrimLeft(p.rest, " \t")
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return r != '.' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

func (p *filterParser) term() (matcher, error) {
	name := p.word()
	value, known := filterAttributes[strings.ToLower(name)]
	if !known {
		return nil, badFilter("there is no attribute %.40q", name)
	}
	operator := strings.ToLower(p.word())
	if operator == "pr" {
		return func(u scimUser) bool { return value(u) != "" }, nil
	}
	compare, known := filterOperators[operator]
	if !known {
		return nil, badFilter("there is no operator %.40q", operator)
	}
	want, err := p.str()
	if err != nil {
		return nil, err
	}
	return func(u scimUser) bool { return compare(value(u), want) }, nil
}

// str takes a quoted string.
func (p *filterParser) str() (s string, err error) {
	p.rest = strings.TrimLeft(p.rest, " \t")
	if strings.HasPrefix(p.rest, "'") {
		s, rest, found := strings.Cut(p.rest[1:], "'")
		if !found {
			return "", badFilter("a quote is not closed")
		}
		p.rest = rest
		return s, nil
	}
	if !strings.HasPrefix(p.rest, `"`) {
		return "", badFilter("a value in double quotes is missing")
	}
	d := json.NewDecoder(strings.NewReader(p.rest))
	if err := d.Decode(&s); err != nil {
		return "", badFilter("a value is not quoted as in JSON")
	}
	p.rest = p.rest[d.InputOffset():]
	return s, nil
}

// project keeps those attributes that were asked for: all where none is named.
func project(users []scimUser, attributes string) any {
	if attributes == "" {
		return users
	}
	wanted := map[string]bool{}
	for _, name := range strings.Split(attributes, ",") {
		top, _, _ := strings.Cut(strings.TrimSpace(name), ".")
		wanted[strings.ToLower(top)] = true
	}
	out := make([]map[string]any, len(users))
	for i, u := range users {
		out[i] = map[string]any{}
		for name, v := range map[string]any{
			"id": u.ID, "meta": u.Meta, "userName": u.UserName, "name": u.Name,
			"emails": u.Emails, "active": u.Active, "schemas": u.Schemas,
		} {
			if wanted[strings.ToLower(name)] {
				out[i][name] = v
			}
		}
	}
	return out
}
