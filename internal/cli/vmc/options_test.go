package vmc

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What follows a command that is run by way of an alias is its own, too.
func TestParseAlias(t *testing.T) {
	alias := func(word string) string { return strings.Replace(word, "x", "exec", 1) }
	_, words, err := parse(strings.Fields("x hello ls --json"), alias)
	if err != nil || strings.Join(words, " ") != "exec hello ls --json" {
		t.Errorf("got %q, %v", words, err)
	}
}

// An alias may be a command with arguments, and only the first word is one.
func TestParseAliasWithArguments(t *testing.T) {
	alias := func(word string) string {
		if word == "big" {
			return "push --mem 1G shop"
		}
		return word
	}
	opts, words, err := parse(strings.Fields("-n big --no-start"), alias)
	if want := (options{mem: "1G", noPrompt: true, noStart: true}); err != nil || !reflect.DeepEqual(opts, want) || strings.Join(words, " ") != "push shop" {
		t.Errorf("got %+v %q, %v", opts, words, err)
	}
	if _, words, err := parse(strings.Fields("start big"), alias); err != nil || strings.Join(words, " ") != "start big" {
		t.Errorf("got %q, %v", words, err)
	}
}

// plain has no aliases.
func plain(word string) string { return word }

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		line  string
		opts  options
		words string
	}{
		{"push hello --mem 64M", options{mem: "64M"}, "push hello"},
		{"--mem=64M push hello -n", options{mem: "64M", noPrompt: true}, "push hello"},
		{"push --no-sta hello", options{noStart: true}, "push hello"},
		{"push --nostart --instances 3", options{noStart: true, instances: 3}, "push"},
		{"logs --instance 2 a", options{instance: "2"}, "logs a"},
		{"logs --prefix a", options{prefix: true}, "logs a"},
		{"logs --prefixl a", options{prefix: true}, "logs a"},
		{"scale hello -3", options{}, "scale hello -3"},
		{"scale -3 hello", options{}, "scale hello -3"},
		{"scale hello +3", options{}, "scale hello +3"},
		{"start hello -d", options{debug: "run"}, "start hello"},
		{"start -d hello", options{debug: "run"}, "start hello"},
		{"start hello --debug suspend", options{debug: "suspend"}, "start hello"},
		{"start --debug=wait hello", options{debug: "wait"}, "start hello"},
		{"-t apps", options{trace: "22"}, "apps"},
		{"apps -t 7", options{trace: "7"}, "apps"},
		{"apps --trace=key", options{trace: "key"}, "apps"},
		{"apps -nq", options{noPrompt: true, quiet: true}, "apps"},
		{"apps -ufoo@bar.com", options{proxy: "foo@bar.com"}, "apps"},
		{"apps -u foo@bar.com", options{proxy: "foo@bar.com"}, "apps"},
		{"env-add a K -- --mem", options{}, "env-add a K --mem"},
		{"login --email a@b.c --pass x", options{email: "a@b.c", password: "x"}, "login"},
		{"push --no-zip --verbose", options{verbose: true}, "push"},
		{"create-service mysql --bi hello --port 3 --vmx a --vmrun b --save", options{bind: "hello"}, "create-service mysql"},
		{"alias a -", options{}, "alias a -"},
		{"exec --instance 1 hello ls -la --json -3", options{instance: "1"}, "exec hello ls -la --json -3"},
		{"exec hello --json ls -la", options{json: true}, "exec hello ls -la"},
		{"exec hello -- -x -- y", options{}, "exec hello -x -- y"},
		{"push --r node a", options{runtime: "node"}, "push a"}, // the original's, though there is --recent
		{"logs a --ta --re", options{tail: true, recent: true}, "logs a"},
	} {
		got, words, err := parse(strings.Fields(tc.line), plain)
		if err != nil || !reflect.DeepEqual(got, tc.opts) || strings.Join(words, " ") != tc.words {
			t.Errorf("%s:\n got %+v %q %v\nwant %+v %q", tc.line, got, words, err, tc.opts, tc.words)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"apps --unknown":     "Error: invalid option: --unknown",
		"apps --no":          "ambiguous option: --no (--no-start or --no-resources)",
		"apps -x":            "Error: invalid option: -x",
		"push --mem":         "missing argument: --mem SIZE",
		"push -m":            "missing argument: -m FILE",
		"push --instances x": "invalid argument: --instances x: there must be at least 1 instance, and a whole number of them",
		"apps --json=1":      "option --json takes no value",
	} {
		if _, _, err := parse(strings.Fields(line), plain); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

// Where the options stand makes no difference.
func FuzzParseOrder(f *testing.F) {
	f.Add("push hello --mem 64M -n --json", 2)
	f.Add("scale -3 x --instance=1", 1)
	f.Add("-t 22 apps -- -n", 3)
	f.Fuzz(func(t *testing.T, line string, at int) {
		args := strings.Split(line, " ")
		opts, words, err := parse(args, plain)
		if err != nil {
			return
		}
		// What was understood once is understood again, in the canonical order.
		again, words2, err := parse(append([]string{"--"}, words...), plain)
		if err != nil || !slices.Equal(words, words2) || !reflect.DeepEqual(again, options{}) {
			t.Errorf("%q: words %q became %q, options %+v, %v", line, words, words2, again, err)
		}
		if at < 0 || at > len(args) || slices.Contains(args, "--") {
			return
		}
		// A switch in front changes nothing but itself.
		opts.json = true
		front, words3, err := parse(append([]string{"--json"}, args...), plain)
		if err != nil || !reflect.DeepEqual(front, opts) || !slices.Equal(words3, words) {
			t.Errorf("--json %q: %+v %q %v, want %+v %q", line, front, words3, err, opts, words)
		}
	})
}

// Every option can be named, and no name or letter stands for two.
func TestOptionTable(t *testing.T) {
	names, letters := map[string]bool{}, map[byte]bool{}
	for _, o := range optionTable {
		for _, n := range o.names {
			if names[n] {
				t.Errorf("--%s twice", n)
			}
			names[n] = true
		}
		if o.short != 0 && letters[o.short] {
			t.Errorf("-%c twice", o.short)
		}
		letters[o.short] = true
	}
}

// The page about the command line names every command.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/vmc.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commandTable {
		if name := c.names[0]; name != "complete" && !regexp.MustCompile("`"+regexp.QuoteMeta(name)+"[ `]").Match(page) {
			t.Errorf("docs/vmc.md does not have %s", name)
		}
	}
}

// What help shows can be typed, and every option in a usage is one.
func TestHelp(t *testing.T) {
	for _, c := range commandTable {
		if named := len(optionInUsage.FindAllString(c.usage, -1)); named != len(c.options()) {
			t.Errorf("%s names %d options, of which %d exist", c.names[0], named, len(c.options()))
		}
	}
	for name, lines := range examples {
		for _, line := range lines {
			line, _, _ = strings.Cut(line, ">") // the shell's
			_, words, err := parse(strings.Fields(strings.ReplaceAll(line, "'", "")), plain)
			if err != nil || findCommand(words[0]) != findCommand(name) {
				t.Errorf("%s: %v", line, err)
			}
			if c := findCommand(name); c == nil || c.check(words[1:]) != nil && !strings.Contains(line, "'") {
				t.Errorf("%s is refused", line)
			}
		}
	}
}

// Every command is in a group that help shows, and no name stands for two.
func TestCommandTable(t *testing.T) {
	names := map[string]bool{}
	for _, c := range commandTable {
		if !slices.Contains(groups, c.group) {
			t.Errorf("%s is in no group", c.names[0])
		}
		for _, n := range c.names {
			if names[n] {
				t.Errorf("%s twice", n)
			}
			names[n] = true
		}
		if c.max < c.min || c.run == nil || c.about == "" || !strings.Contains(c.action, ":") {
			t.Errorf("%s is incomplete", c.names[0])
		}
	}
}
