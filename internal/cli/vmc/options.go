package vmc

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"cloudlet/controller/api"
)

// options are the global options; each may stand anywhere on the line.
type options struct {
	email, password, tokenFile, proxy         string
	name, instance, url, path, mem            string
	runtime, framework, command, manifest     string
	trace, debug, invitation, bind            string
	instances                                 int  // 0: not given
	lines                                     *int // nil: not given
	before                                    uint64
	tail, recent                              bool
	noStart, force, all, prefix               bool
	noResources, noPrompt                     bool
	quiet, noColor, json, version, help, list bool
	verbose                                   bool
}

// option is one row of the table: its names without dashes, the main one first; the
// letter of its short form; and what it does with its value.
type option struct {
	names   []string
	short   byte
	value   string // what help calls the value; empty for a switch
	about   string
	general bool // every command has it
	added   bool // not in the original: a shortened name means the original's options first
	set     func(o *options, value string) error

	// optional says which separate word may be the value of an option that works
	// without one; anything goes after "=".
	optional *regexp.Regexp
	absent   string // the value where none is given
}

func text(field func(*options) *string) func(*options, string) error {
	return func(o *options, v string) error { *field(o) = v; return nil }
}

func flag(field func(*options) *bool) func(*options, string) error {
	return func(o *options, _ string) error { *field(o) = true; return nil }
}

// optionTable is all of them, in the order of the help.
var optionTable = []option{
	{names: []string{"email", "user"}, value: "EMAIL", about: "e-mail address of the account", set: text(func(o *options) *string { return &o.email })},
	{names: []string{"passwd", "pass", "password"}, value: "PASSWORD", about: "password of the account", set: text(func(o *options) *string { return &o.password })},
	{names: []string{"invitation"}, value: "CODE", about: "code of an invitation, for registering", set: text(func(o *options) *string { return &o.invitation })},
	{names: []string{"token-file"}, general: true, value: "FILE", about: "keep tokens in FILE instead of ~/.vmc_token", set: text(func(o *options) *string { return &o.tokenFile })},
	{short: 'u', general: true, value: "EMAIL", about: "act as that user (for administrators)", set: text(func(o *options) *string { return &o.proxy })},
	{names: []string{"name", "app"}, value: "NAME", about: "name of the application or the service", set: text(func(o *options) *string { return &o.name })},
	{names: []string{"bind"}, value: "APP", about: "bind the service that is created to that application", set: text(func(o *options) *string { return &o.bind })},
	{names: []string{"path"}, value: "DIR", about: "folder or archive of the application", set: text(func(o *options) *string { return &o.path })},
	{names: []string{"url"}, value: "URL", about: "where the application answers; none for no URL", set: text(func(o *options) *string { return &o.url })},
	{names: []string{"mem"}, value: "SIZE", about: "memory of an instance: 64M, 1G", set: text(func(o *options) *string { return &o.mem })},
	{names: []string{"instances"}, value: "N", about: "number of instances", set: setInstances},
	{names: []string{"instance"}, value: "INSTANCE", about: "index or id of one instance", set: text(func(o *options) *string { return &o.instance })},
	{names: []string{"framework"}, value: "NAME", about: "framework, instead of what detection says", set: text(func(o *options) *string { return &o.framework })},
	{names: []string{"runtime"}, value: "NAME", about: "runtime, instead of the framework's default", set: text(func(o *options) *string { return &o.runtime })},
	{names: []string{"command"}, value: "CMD", about: "start command of a standalone application", set: text(func(o *options) *string { return &o.command })},
	{names: []string{"manifest"}, short: 'm', value: "FILE", about: "read FILE instead of manifest.yml", set: text(func(o *options) *string { return &o.manifest })},
	{names: []string{"no-start", "nostart"}, about: "push without starting", set: flag(func(o *options) *bool { return &o.noStart })},
	{names: []string{"no-resources", "noresources"}, about: "upload everything, without asking what the target has", set: flag(func(o *options) *bool { return &o.noResources })},
	{names: []string{"force"}, about: "do not ask before deleting", set: flag(func(o *options) *bool { return &o.force })},
	{names: []string{"all"}, about: "all applications, or all instances", set: flag(func(o *options) *bool { return &o.all })},
	{names: []string{"tail"}, added: true, about: "logs: what was written lately, and then what is, until Ctrl-C", set: flag(func(o *options) *bool { return &o.tail })},
	{names: []string{"recent"}, added: true, about: "logs: what was written lately", set: flag(func(o *options) *bool { return &o.recent })},
	{names: []string{"lines"}, added: true, value: "N", about: "so many lines of each log, or so many events", set: setLines},
	{names: []string{"before"}, added: true, value: "ID", about: "events older than that one", set: setBefore},
	{names: []string{"prefix", "prefix-logs", "prefixlogs"}, about: "begin each log line with its instance and file", set: flag(func(o *options) *bool { return &o.prefix })},
	{names: []string{"debug"}, short: 'd', value: "[MODE]", about: "start in a debug mode: run, suspend", absent: "run", optional: regexp.MustCompile(`^(run|suspend)$`), set: text(func(o *options) *string { return &o.debug })},
	{names: []string{"json"}, general: true, about: "print JSON", set: flag(func(o *options) *bool { return &o.json })},
	{names: []string{"no-prompt", "noprompt", "non-interactive"}, general: true, short: 'n', about: "never ask", set: flag(func(o *options) *bool { return &o.noPrompt })},
	{names: []string{"quiet"}, general: true, short: 'q', about: "print no results", set: flag(func(o *options) *bool { return &o.quiet })},
	{names: []string{"no-color"}, general: true, about: "print without colours", set: flag(func(o *options) *bool { return &o.noColor })},
	{names: []string{"trace"}, general: true, short: 't', value: "[KEY]", about: "tell every request, and ask the router to sign it", absent: "22", optional: regexp.MustCompile(`^\d+$`), set: text(func(o *options) *string { return &o.trace })},
	{names: []string{"verbose"}, general: true, about: "end with what the command is called inside, and whether it succeeded", set: flag(func(o *options) *bool { return &o.verbose })},
	{names: []string{"options"}, about: "list these options", set: flag(func(o *options) *bool { return &o.list })},
	{names: []string{"version"}, short: 'v', about: "print the version", set: flag(func(o *options) *bool { return &o.version })},
	{names: []string{"help"}, general: true, short: 'h', about: "print help", set: flag(func(o *options) *bool { return &o.help })},

	// Of no effect here, and taken so that old scripts run.
	{names: []string{"no-zip", "nozip"}, set: ignore},
	{names: []string{"noframework"}, set: ignore},
	{names: []string{"canary"}, set: ignore},
	{names: []string{"exec"}, value: "CMD", set: ignore},
	{names: []string{"port"}, value: "PORT", set: ignore},
	{names: []string{"vmx"}, value: "FILE", set: ignore},
	{names: []string{"vmrun"}, value: "FILE", set: ignore},
	{names: []string{"save"}, set: ignore},
}

func ignore(*options, string) error { return nil }

func setInstances(o *options, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return errors.New("there must be at least 1 instance, and a whole number of them")
	}
	o.instances = n
	return nil
}

func setLines(o *options, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > api.LogLinesMax {
		return fmt.Errorf("a number from 0 to %d is wanted", api.LogLinesMax)
	}
	o.lines = &n
	return nil
}

func setBefore(o *options, v string) (err error) {
	if o.before, err = strconv.ParseUint(v, 10, 64); err != nil || o.before == 0 {
		return errors.New("the number of an event is wanted, as `vmc events` ends with it")
	}
	return nil
}

// delta is an argument such as -3, which is no option.
var delta = regexp.MustCompile(`^-\d+$`)

// parse sorts a command line into options and words. Options may stand anywhere and be
// shortened as long as they stay unambiguous; deltas go to the end of the words; what
// follows "--" is words, as is what follows the command that another is to run. The
// first word may be an alias, also of a command with arguments.
func parse(args []string, alias func(string) string) (options, []string, error) {
	p := parser{args: args}
	for len(p.args) > 0 {
		arg := p.next()
		var err error
		switch {
		case arg == "--":
			p.words, p.args = append(p.words, p.args...), nil
		case delta.MatchString(arg):
			p.deltas = append(p.deltas, arg)
		case strings.HasPrefix(arg, "--"):
			err = p.long(arg)
		case len(arg) > 1 && arg[0] == '-':
			err = p.letters(arg[1:])
		default:
			p.word(arg, alias)
		}
		if err != nil {
			return p.options, nil, err
		}
	}
	return p.options, append(p.words, p.deltas...), nil
}

type parser struct {
	args    []string // what is left
	options options
	words   []string
	deltas  []string
}

func (p *parser) next() string {
	arg := p.args[0]
	p.args = p.args[1:]
	return arg
}

// word takes a word that is no option.
func (p *parser) word(arg string, alias func(string) string) {
	if command := strings.Fields(alias(arg)); len(p.words) == 0 && len(command) > 0 {
		arg, p.args = command[0], append(command[1:], p.args...)
	}
	p.words = append(p.words, arg)
	if c := findCommand(p.words[0]); c != nil && c.runs && len(p.words) == 3 {
		p.words, p.args = append(p.words, p.args...), nil
	}
}

// long takes --name, --name=value or --name value.
func (p *parser) long(arg string) error {
	name, value, given := strings.Cut(arg[2:], "=")
	opt, err := findOption(name)
	if err != nil {
		return err
	}
	if opt.value == "" && given {
		return fmt.Errorf("option --%s takes no value", opt.names[0])
	}
	return p.apply(opt, arg, value, given)
}

// letters takes -x, -xVALUE, -x VALUE, and switches written together: -nq.
func (p *parser) letters(arg string) error {
	for arg != "" {
		opt := optionOfLetter(arg[0])
		if opt == nil {
			return unknownOption("-"+arg[:1], "")
		}
		rest := arg[1:]
		if opt.value != "" {
			return p.apply(opt, "-"+arg[:1], strings.TrimPrefix(rest, "="), rest != "")
		}
		if err := p.apply(opt, "-"+arg[:1], "", false); err != nil {
			return err
		}
		arg = rest
	}
	return nil
}

// apply sets an option, whose value may be the next word.
func (p *parser) apply(opt *option, as, value string, given bool) error {
	switch {
	case opt.value == "" || given:
	case opt.optional != nil && (len(p.args) == 0 || !opt.optional.MatchString(p.args[0])):
		value = opt.absent
	case len(p.args) == 0:
		return fmt.Errorf("missing argument: %s %s", as, opt.value)
	default:
		value = p.next()
	}
	if err := opt.set(&p.options, value); err != nil {
		return fmt.Errorf("invalid argument: %s %s: %w", as, value, err)
	}
	return nil
}

// findOption finds an option by one of its names or by the beginning of one.
func findOption(name string) (*option, error) {
	var found *option
	for i := range optionTable {
		opt := &optionTable[i]
		for _, n := range opt.names {
			if n == name {
				return opt, nil
			}
			if name == "" || !strings.HasPrefix(n, name) || found == opt {
				continue
			}
			if found != nil && found.added == opt.added {
				return nil, fmt.Errorf("ambiguous option: --%s (--%s or --%s)", name, found.names[0], opt.names[0])
			}
			if found != nil && opt.added {
				continue
			}
			found = opt
		}
	}
	if found == nil {
		return nil, unknownOption("--"+name, Suggestion("--"+name, optionNames()))
	}
	return found, nil
}

func unknownOption(as, suggestion string) error {
	return &problem{text: "Error: invalid option: " + as, hint: cmp.Or(suggestion, "`vmc options` lists them.")}
}

func optionOfLetter(letter byte) *option {
	for i := range optionTable {
		if optionTable[i].short == letter {
			return &optionTable[i]
		}
	}
	return nil
}
