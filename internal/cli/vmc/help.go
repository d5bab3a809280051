package vmc

import (
	"context"
	"strings"
)

const basicUsage = `Usage: vmc [options] command [<args>] [command_options]
Try 'vmc help [command]' or 'vmc help options' for more information.`

func helpCommand(_ context.Context, s *session, args []string) error {
	switch {
	case len(args) == 0:
		return s.commandHelp()
	case args[0] == "options":
		return s.optionHelp()
	}
	c := findCommand(args[0])
	if c == nil {
		return unknownCommand(args[0])
	}
	if s.opts.json {
		return s.printJSON(c.help())
	}
	s.say("%s", c.usageLine())
	s.say("%s", c.about)
	if len(c.names) > 1 {
		s.say("Also: %s", strings.Join(c.names[1:], ", "))
	}
	if lines := examples[c.names[0]]; len(lines) > 0 {
		s.say("\n  vmc %s", strings.Join(lines, "\n  vmc "))
	}
	if own := c.help().Options; len(own) > 0 {
		s.say("")
		s.sayOptions(own)
	}
	s.say("\n`vmc options` lists all options, also those that every command has.")
	return nil
}

// examples are command lines worth showing, without their "vmc".
var examples = map[string][]string{
	"target":  {"target api.example.com"},
	"login":   {"login me@example.com"},
	"push":    {"push shop", "push shop --path target/shop.war --mem 512M", "push worker --command 'node worker.js' --url none"},
	"start":   {"start shop"},
	"delete":  {"delete shop"},
	"mem":     {"mem shop 256M"},
	"map":     {"map shop www.example.com"},
	"unmap":   {"unmap shop www.example.com"},
	"env-add": {"env-add shop COLOUR=blue"},
	"env-del": {"env-del shop COLOUR"},
	"logs":    {"logs shop --tail", "logs shop --recent --lines 100 --instance 1"},
	"files":   {"files shop logs/stdout.log", "files shop app/data.db > data.db"},
	"exec":    {"exec shop", "exec shop -- ls -la", "exec shop --instance 1 cat log > log"},
	"events":  {"events shop --lines 10"},
	"instances": {
		"instances shop", "scale shop 3", "scale shop +1", "scale shop 2 --mem 512M",
	},
	"create-service": {"create-service redis cache shop"},
	"bind-service":   {"bind-service cache shop"},
	"quota":          {"quota me@example.com memory=2G apps=10", "quota me@example.com memory=default"},
	"alias":          {"alias ll=apps", "alias big='push --mem 1G'"},
	"completion":     {"completion bash > ~/.local/share/bash-completion/completions/vmc"},
}

func optionsCommand(_ context.Context, s *session, _ []string) error { return s.optionHelp() }

func versionCommand(_ context.Context, s *session, _ []string) error {
	if s.opts.json {
		return s.printJSON(map[string]string{"version": Version})
	}
	s.say("vmc %s", Version)
	return nil
}

// commandInfo is what help tells of a command as JSON.
type commandInfo struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases"`
	Group   string   `json:"group"`
	Usage   string   `json:"usage"`
	About   string   `json:"about"`

	Options []optionInfo `json:"options"` // its own; all others it has with all commands
}

func (c *command) help() commandInfo {
	info := commandInfo{c.names[0], append([]string{}, c.names[1:]...), c.group, c.usageLine(), c.about, []optionInfo{}}
	for _, o := range c.options() {
		info.Options = append(info.Options, o.info())
	}
	return info
}

func (s *session) commandHelp() error {
	if s.opts.json {
		var all []commandInfo
		for i := range commandTable {
			if !commandTable[i].hidden {
				all = append(all, commandTable[i].help())
			}
		}
		return s.printJSON(all)
	}
	s.say("%s\n\nCurrently available vmc commands are:", basicUsage)
	for _, g := range groups {
		s.say("\n  %s", g)
		for _, c := range commandTable {
			if c.group == g && !c.hidden {
				usage := c.names[0] + " " + shorten(c.usage, 34)
				if len(usage) > helpColumn {
					s.say("    %s", usage)
					usage = ""
				}
				s.say("    %-*s %s", helpColumn, usage, c.about)
			}
		}
	}
	return nil
}

// helpColumn is how wide the usages are in the help.
const helpColumn = 46

// shorten cuts a usage behind its arguments where it is too long for a column.
func shorten(usage string, width int) string {
	if len(usage) <= width {
		return usage
	}
	args, _, _ := strings.Cut(usage, " [--")
	return args + " [...]"
}

// optionInfo is what help tells of an option as JSON.
type optionInfo struct {
	Forms []string `json:"forms"`
	Value string   `json:"value,omitempty"`
	About string   `json:"about"`
}

func (s *session) optionHelp() error {
	var all []optionInfo
	for _, o := range optionTable {
		if o.about != "" {
			all = append(all, o.info())
		}
	}
	if s.opts.json {
		return s.printJSON(all)
	}
	s.say("Options may stand anywhere, and be shortened as long as they stay unambiguous.\n")
	s.sayOptions(all)
	return nil
}

func (s *session) sayOptions(list []optionInfo) {
	widest := 0
	for _, o := range list {
		widest = max(widest, len(o.heading()))
	}
	for _, o := range list {
		s.say("  %-*s  %s", widest, o.heading(), o.About)
	}
}

// heading is all ways to write it, and what its value is called.
func (o optionInfo) heading() string {
	return strings.TrimSpace(strings.Join(o.Forms, ", ") + " " + o.Value)
}

func (o *option) info() optionInfo { return optionInfo{o.forms(), o.value, o.about} }

// forms are all the ways to write an option.
func (o *option) forms() (forms []string) {
	if o.short != 0 {
		forms = append(forms, "-"+string(o.short))
	}
	for _, n := range o.names {
		forms = append(forms, "--"+n)
	}
	return forms
}
