package vmc

import (
	"context"
	"fmt"
	"strings"
)

// command is one row of the table of commands.
type command struct {
	names    []string // the main one first
	group    string   // where help lists it
	usage    string   // its arguments and options
	about    string
	min, max int  // number of arguments
	raw      bool // prints what a program may read: nothing is added to it
	run      func(ctx context.Context, s *session, args []string) error
}

// commandTable is filled by init, since help is a command that reads it.
var commandTable []command

func init() {
	commandTable = []command{
		{names: []string{"target"}, group: "Getting Started", usage: "[url]", about: "Show the target cloud, or choose another", max: 1, run: targetCommand},
		{names: []string{"login"}, group: "Getting Started", usage: "[email] [--email, --passwd]", about: "Log in to the target", max: 1, run: loginCommand},
		{names: []string{"info"}, group: "Getting Started", about: "Show the target, the account and what it uses", run: infoCommand},

		{names: []string{"apps", "list"}, group: "Applications", about: "List your applications", run: appsCommand},

		{names: []string{"push"}, group: "Application Creation", usage: "[appname] [--path, --url, --instances N, --mem, --framework, --runtime, --command, --no-start]", about: "Make an application of a folder, or update it, and start it", max: 1, run: pushCommand},

		{names: []string{"start"}, group: "Application Operations", usage: "[appname] [--debug [MODE]]", about: "Start an application", max: 1, run: startCommand},
		{names: []string{"stop"}, group: "Application Operations", usage: "[appname]", about: "Stop an application", max: 1, run: stopCommand},
		{names: []string{"restart"}, group: "Application Operations", usage: "[appname] [--debug [MODE]]", about: "Stop an application and start it again", max: 1, run: restartCommand},
		{names: []string{"delete"}, group: "Application Operations", usage: "<appname> [--all, --force]", about: "Delete an application", max: 1, run: deleteCommand},

		{names: []string{"update"}, group: "Application Updates", usage: "[appname] [--path]", about: "Send new files, and restart the application if it runs", max: 1, run: updateCommand},
		{names: []string{"mem"}, group: "Application Updates", usage: "<appname> [memsize]", about: "Show or change the memory of each instance", min: 1, max: 2, run: memCommand},
		{names: []string{"map"}, group: "Application Updates", usage: "<appname> <url>", about: "Let the application answer at a URL", min: 2, max: 2, run: mapCommand},
		{names: []string{"unmap"}, group: "Application Updates", usage: "<appname> <url>", about: "Take a URL away from the application", min: 2, max: 2, run: unmapCommand},
		{names: []string{"instances", "scale"}, group: "Application Updates", usage: "<appname> [num | +num | -num]", about: "List the instances, or change their number", min: 1, max: 2, run: instancesCommand},

		{names: []string{"crashes"}, group: "Application Information", usage: "<appname>", about: "List the instances that crashed lately", min: 1, max: 1, run: crashesCommand},
		{names: []string{"crashlogs"}, group: "Application Information", usage: "<appname> [--instance]", about: "Print the logs of a crashed instance", min: 1, max: 1, run: crashlogsCommand},
		{names: []string{"events"}, group: "Application Information", usage: "[appname] [--json]", about: "List who changed what, and what befell the applications", max: 1, run: eventsCommand},
		{names: []string{"logs"}, group: "Application Information", usage: "<appname> [--all, --instance, --prefix]", about: "Print the logs of an instance", min: 1, max: 1, run: logsCommand},
		{names: []string{"files"}, group: "Application Information", usage: "<appname> [path] [--all, --instance, --prefix]", about: "Print a file or the listing of a folder", min: 1, max: 2, raw: true, run: filesCommand},
		{names: []string{"stats"}, group: "Application Information", usage: "[appname]", about: "Show what the instances use", max: 1, run: statsCommand},

		{names: []string{"env"}, group: "Application Environment", usage: "<appname>", about: "List the environment variables", min: 1, max: 1, run: envCommand},
		{names: []string{"env-add", "env_add"}, group: "Application Environment", usage: "<appname> <variable[=]value>", about: "Set an environment variable", min: 2, max: 3, run: envAddCommand},
		{names: []string{"env-del", "env_del"}, group: "Application Environment", usage: "<appname> <variable>", about: "Remove an environment variable", min: 2, max: 2, run: envDelCommand},

		{names: []string{"user"}, group: "Administration", about: "Show who is logged in", run: userCommand},
		{names: []string{"passwd"}, group: "Administration", usage: "[newpassword]", about: "Change your password", max: 1, run: passwdCommand},
		{names: []string{"logout"}, group: "Administration", about: "Make all tokens worthless and forget them", run: logoutCommand},
		{names: []string{"add-user", "add_user", "create_user", "create-user", "register"}, group: "Administration", usage: "[email] [--email, --passwd, --invitation]", about: "Register somebody (for administrators, unless registration is open)", max: 1, run: addUserCommand},
		{names: []string{"invite"}, group: "Administration", usage: "[email]", about: "Invite somebody to register (for administrators)", max: 1, run: inviteCommand},
		{names: []string{"quota"}, group: "Administration", usage: "[user] [memory=SIZE, apps=N, services=N, urls=N]", about: "Show what somebody may use, or change it (for administrators)", max: 5, run: quotaCommand},
		{names: []string{"delete-user", "delete_user", "unregister"}, group: "Administration", usage: "<user>", about: "Delete somebody with all applications (for administrators)", min: 1, max: 1, run: deleteUserCommand},
		{names: []string{"users"}, group: "Administration", about: "List everybody and their applications (for administrators)", run: usersCommand},

		{names: []string{"runtimes"}, group: "System", about: "List the runtimes of the target", run: runtimesCommand},
		{names: []string{"frameworks"}, group: "System", about: "List the frameworks of the target", run: frameworksCommand},

		{names: []string{"aliases"}, group: "Misc", about: "List the aliases", run: aliasesCommand},
		{names: []string{"alias"}, group: "Misc", usage: "<alias[=]command>", about: "Give a command another name", min: 1, max: 2, run: aliasCommand},
		{names: []string{"unalias"}, group: "Misc", usage: "<alias>", about: "Forget an alias", min: 1, max: 1, run: unaliasCommand},
		{names: []string{"targets", "tokens"}, group: "Misc", about: "List the known targets and their tokens", run: targetsCommand},
		{names: []string{"version"}, group: "Misc", about: "Print the version", run: versionCommand},

		{names: []string{"help"}, group: "Help", usage: "[command]", about: "Explain all commands, or one", max: 1, run: helpCommand},
		{names: []string{"options"}, group: "Help", about: "List the global options", run: optionsCommand},
	}
}

// groups are in the order of the help.
var groups = []string{
	"Getting Started", "Applications", "Application Creation", "Application Operations", "Application Updates",
	"Application Information", "Application Environment", "Administration", "System", "Misc", "Help",
}

func findCommand(name string) *command {
	for i := range commandTable {
		for _, n := range commandTable[i].names {
			if n == name {
				return &commandTable[i]
			}
		}
	}
	return nil
}

func (c *command) usageLine() string {
	return strings.TrimSpace("Usage: vmc " + c.names[0] + " " + c.usage)
}

// check looks at the number of arguments.
func (c *command) check(args []string) error {
	switch {
	case len(args) < c.min:
		return &problem{text: fmt.Sprintf("Not enough arguments for [%s]", c.names[0]), hint: c.usageLine()}
	case len(args) > c.max:
		extra := "'" + strings.Join(args[c.max:], "', '") + "'"
		return &problem{text: fmt.Sprintf("Too many arguments for [%s]: %s", c.names[0], extra), hint: c.usageLine()}
	}
	return nil
}

const basicUsage = `Usage: vmc [options] command [<args>] [command_options]
Try 'vmc help [command]' or 'vmc help options' for more information.`

func helpCommand(_ context.Context, s *session, args []string) error {
	switch {
	case len(args) == 0:
		s.commandHelp()
		return nil
	case args[0] == "options":
		s.optionHelp()
		return nil
	}
	c := findCommand(args[0])
	if c == nil {
		return &problem{text: fmt.Sprintf("vmc: Unknown command [%s]", args[0]), hint: basicUsage}
	}
	s.say("%s", c.usageLine())
	s.say("%s", c.about)
	if len(c.names) > 1 {
		s.say("Also: %s", strings.Join(c.names[1:], ", "))
	}
	return nil
}

func optionsCommand(_ context.Context, s *session, _ []string) error {
	s.optionHelp()
	return nil
}

func versionCommand(_ context.Context, s *session, _ []string) error {
	s.say("vmc %s", Version)
	return nil
}

func (s *session) commandHelp() {
	s.say("%s\n\nCurrently available vmc commands are:", basicUsage)
	for _, g := range groups {
		s.say("\n  %s", g)
		for _, c := range commandTable {
			if c.group == g {
				s.say("    %-46s %s", c.names[0]+" "+shorten(c.usage, 34), c.about)
			}
		}
	}
}

// shorten cuts a usage behind its arguments where it is too long for a column.
func shorten(usage string, width int) string {
	if len(usage) <= width {
		return usage
	}
	args, _, _ := strings.Cut(usage, " [--")
	return args + " [...]"
}

func (s *session) optionHelp() {
	s.say("Options may stand anywhere, and be shortened as long as they stay unambiguous.\n")
	for _, o := range optionTable {
		if o.about == "" {
			continue
		}
		var forms []string
		if o.short != 0 {
			forms = append(forms, "-"+string(o.short))
		}
		for _, n := range o.names {
			forms = append(forms, "--"+n)
		}
		s.say("  %-48s %s", strings.TrimSpace(strings.Join(forms, ", ")+" "+o.value), o.about)
	}
}
