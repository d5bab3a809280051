package vmc

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// command is one row of the table of commands.
type command struct {
	names    []string // the main one first
	action   string   // what v1 called the code behind it: namespace:action
	group    string   // where help lists it
	usage    string   // its arguments and options
	about    string
	min, max int  // number of arguments
	raw      bool // prints what a program may read: nothing is added to it
	hidden   bool // help does not list it
	runs     bool // what follows its first argument is a command of its own
	run      func(ctx context.Context, s *session, args []string) error
}

// commandTable is filled by init, since help is a command that reads it.
var commandTable []command

func init() {
	commandTable = []command{
		{names: []string{"target"}, action: "misc:target", group: "Getting Started", usage: "[url]", about: "Show the target cloud, or choose another", max: 1, run: targetCommand},
		{names: []string{"login"}, action: "user:login", group: "Getting Started", usage: "[email] [--email, --passwd]", about: "Log in to the target", max: 1, run: loginCommand},
		{names: []string{"info"}, action: "misc:info", group: "Getting Started", about: "Show the target, the account and what it uses", run: infoCommand},

		{names: []string{"apps", "list"}, action: "apps:apps", group: "Applications", about: "List your applications", run: appsCommand},

		{names: []string{"push"}, action: "apps:push", group: "Application Creation", usage: "[appname] [--path, --url, --instances N, --mem, --framework, --runtime, --command, --debug [MODE], --no-start, --no-resources, --manifest]", about: "Make an application of a folder, or update it, and start it", max: 1, run: pushCommand},
		{names: []string{"manifest"}, action: "manifest:edit", group: "Application Creation", usage: "[--path, --manifest]", about: "Write a manifest.yml that describes the applications of this folder", run: manifestCommand},
		{names: []string{"extend-manifest"}, action: "manifest:extend", group: "Application Creation", usage: "<file> [--manifest]", about: "Write a manifest that inherits another one", min: 1, max: 1, run: extendManifestCommand},

		{names: []string{"start"}, action: "apps:start", group: "Application Operations", usage: "[appname] [--debug [MODE], --manifest]", about: "Start an application", max: 1, run: startCommand},
		{names: []string{"stop"}, action: "apps:stop", group: "Application Operations", usage: "[appname] [--manifest]", about: "Stop an application", max: 1, run: stopCommand},
		{names: []string{"restart"}, action: "apps:restart", group: "Application Operations", usage: "[appname] [--debug [MODE], --manifest]", about: "Stop an application and start it again", max: 1, run: restartCommand},
		{names: []string{"delete"}, action: "apps:delete", group: "Application Operations", usage: "<appname> [--all, --force]", about: "Delete an application", max: 1, run: deleteCommand},

		{names: []string{"rename"}, action: "apps:rename", group: "Application Updates", usage: "<appname> <newname>", about: "Tell what to do instead: an application keeps its name", min: 2, max: 2, run: renameCommand},
		{names: []string{"update"}, action: "apps:update", group: "Application Updates", usage: "[appname] [--path, --no-resources, --manifest]", about: "Send new files, and restart the application if it runs", max: 1, run: updateCommand},
		{names: []string{"mem"}, action: "apps:mem", group: "Application Updates", usage: "<appname> [memsize]", about: "Show or change the memory of each instance", min: 1, max: 2, run: memCommand},
		{names: []string{"map"}, action: "apps:map", group: "Application Updates", usage: "<appname> <url>", about: "Let the application answer at a URL", min: 2, max: 2, run: mapCommand},
		{names: []string{"unmap"}, action: "apps:unmap", group: "Application Updates", usage: "<appname> <url>", about: "Take a URL away from the application", min: 2, max: 2, run: unmapCommand},
		{names: []string{"instances", "scale"}, action: "apps:instances", group: "Application Updates", usage: "<appname> [num | +num | -num] [--instances N, --mem]", about: "List the instances, or change their number", min: 1, max: 2, run: instancesCommand},

		{names: []string{"crashes"}, action: "apps:crashes", group: "Application Information", usage: "<appname>", about: "List the instances that crashed lately", min: 1, max: 1, run: crashesCommand},
		{names: []string{"crashlogs"}, action: "apps:crashlogs", group: "Application Information", usage: "<appname> [--instance]", about: "Print the logs of a crashed instance", min: 1, max: 1, run: crashlogsCommand},
		{names: []string{"exec"}, action: "apps:exec", group: "Application Information", usage: "<appname> [command ...] [--instance]", about: "Run a command in an instance, or a shell; what follows the command is its own", min: 1, max: 1 << 16, raw: true, runs: true, run: execCommand},
		{names: []string{"open"}, action: "apps:open", group: "Application Information", usage: "[appname] [--manifest]", about: "Print the URL, and show it in a browser", max: 1, run: openCommand},
		{names: []string{"top"}, action: "apps:top", group: "Application Information", about: "Show what all instances use, live; q quits", run: topCommand},
		{names: []string{"events"}, action: "apps:events", group: "Application Information", usage: "[appname] [--lines N, --before ID]", about: "List who changed what, and what befell the applications", max: 1, run: eventsCommand},
		{names: []string{"logs"}, action: "apps:logs", group: "Application Information", usage: "<appname> [--all, --instance, --prefix, --tail, --recent, --lines N]", about: "Print the logs of an instance; with --tail those of all, live", min: 1, max: 1, run: logsCommand},
		{names: []string{"files"}, action: "apps:files", group: "Application Information", usage: "<appname> [path] [--all, --instance, --prefix]", about: "Print a file or the listing of a folder", min: 1, max: 2, raw: true, run: filesCommand},
		{names: []string{"stats"}, action: "apps:stats", group: "Application Information", usage: "[appname] [--manifest]", about: "Show what the instances use", max: 1, run: statsCommand},
		{names: []string{"rails-console"}, action: "apps:console", group: "Application Information", usage: "<appname> [--port]", about: "Tell what to do instead: this vmc has no Rails console yet", min: 1, max: 1, run: railsConsoleCommand},

		{names: []string{"env"}, action: "apps:environment", group: "Application Environment", usage: "<appname>", about: "List the environment variables", min: 1, max: 1, run: envCommand},
		{names: []string{"env-add", "env_add"}, action: "apps:environment_add", group: "Application Environment", usage: "<appname> <variable[=]value>", about: "Set an environment variable", min: 2, max: 3, run: envAddCommand},
		{names: []string{"env-del", "env_del"}, action: "apps:environment_del", group: "Application Environment", usage: "<appname> <variable>", about: "Remove an environment variable", min: 2, max: 2, run: envDelCommand},

		{names: []string{"services"}, action: "services:services", group: "Services", about: "List the services of the target, and yours", run: servicesCommand},
		{names: []string{"create-service", "create_service"}, action: "services:create_service", group: "Services", usage: "[service] [servicename] [appname] [--name, --bind]", about: "Make an instance of a service", max: 3, run: createServiceCommand},
		{names: []string{"delete-service", "delete_service"}, action: "services:delete_service", group: "Services", usage: "[servicename]", about: "Delete an instance of a service with its data", max: 1, run: deleteServiceCommand},
		{names: []string{"bind-service", "bind_service"}, action: "services:bind_service", group: "Services", usage: "<servicename> <appname>", about: "Let an application use a service", min: 2, max: 2, run: bindServiceCommand},
		{names: []string{"unbind-service", "unbind_service"}, action: "services:unbind_service", group: "Services", usage: "<servicename> <appname>", about: "Take a service away from an application", min: 2, max: 2, run: unbindServiceCommand},
		{names: []string{"clone-services"}, action: "services:clone_services", group: "Services", usage: "<src-app> <dest-app>", about: "Bind the services of one application to another", min: 2, max: 2, run: cloneServicesCommand},
		{names: []string{"tunnel"}, action: "services:tunnel", group: "Services", usage: "[servicename] [clientcmd] [--port]", about: "Tell what to do instead: this vmc has no tunnels yet", max: 2, run: tunnelCommand},

		{names: []string{"user"}, action: "user:info", group: "Administration", about: "Show who is logged in", run: userCommand},
		{names: []string{"passwd"}, action: "user:change_password", group: "Administration", usage: "[newpassword] [--passwd]", about: "Change your password", max: 1, run: passwdCommand},
		{names: []string{"logout"}, action: "user:logout", group: "Administration", about: "Make all tokens worthless and forget them", run: logoutCommand},
		{names: []string{"add-user", "add_user", "create_user", "create-user", "register"}, action: "admin:add_user", group: "Administration", usage: "[email] [--email, --passwd, --invitation]", about: "Register somebody (for administrators, unless registration is open)", max: 1, run: addUserCommand},
		{names: []string{"invite"}, action: "admin:invite", group: "Administration", usage: "[email]", about: "Invite somebody to register (for administrators)", max: 1, run: inviteCommand},
		{names: []string{"quota"}, action: "admin:quota", group: "Administration", usage: "[user] [memory=SIZE, apps=N, services=N, urls=N]", about: "Show what somebody may use, or change it (for administrators)", max: 5, run: quotaCommand},
		{names: []string{"delete-user", "delete_user", "unregister"}, action: "admin:delete_user", group: "Administration", usage: "<user> [--force]", about: "Delete somebody with all applications (for administrators)", min: 1, max: 1, run: deleteUserCommand},
		{names: []string{"users"}, action: "admin:users", group: "Administration", about: "List everybody and their applications (for administrators)", run: usersCommand},

		{names: []string{"runtimes"}, action: "misc:runtimes", group: "System", about: "List the runtimes of the target", run: runtimesCommand},
		{names: []string{"frameworks"}, action: "misc:frameworks", group: "System", about: "List the frameworks of the target", run: frameworksCommand},

		{names: []string{"micro"}, action: "micro:micro", group: "Micro Cloud Foundry", usage: "<online | offline | status> [--password, --save, --vmx, --vmrun]", about: "Tell what took the place of Micro Cloud Foundry", max: 1, run: microCommand},

		{names: []string{"aliases"}, action: "misc:aliases", group: "Misc", about: "List the aliases", run: aliasesCommand},
		{names: []string{"alias"}, action: "misc:alias", group: "Misc", usage: "<alias[=]command>", about: "Give a command another name", min: 1, max: 2, run: aliasCommand},
		{names: []string{"unalias"}, action: "misc:unalias", group: "Misc", usage: "<alias>", about: "Forget an alias", min: 1, max: 1, run: unaliasCommand},
		{names: []string{"targets", "tokens"}, action: "misc:tokens", group: "Misc", about: "List the known targets and their tokens", run: targetsCommand},
		{names: []string{"completion"}, action: "misc:completion", group: "Misc", usage: "<shell>", about: "Print the completion for bash, zsh or fish; its first lines say where it goes", min: 1, max: 1, raw: true, run: completionCommand},
		{names: []string{"complete"}, action: "misc:complete", group: "Misc", usage: "-- [word ...]", about: "Print what the last word may become, for the scripts of completion", max: 1 << 16, raw: true, hidden: true, run: completeCommand},
		{names: []string{"version"}, action: "misc:version", group: "Misc", about: "Print the version", run: versionCommand},

		{names: []string{"help"}, action: "misc:help", group: "Help", usage: "[command]", about: "Explain all commands, or one", max: 1, run: helpCommand},
		{names: []string{"options"}, action: "misc:options", group: "Help", about: "List the global options", run: optionsCommand},
	}
}

// groups are in the order of the help.
var groups = []string{
	"Getting Started", "Applications", "Application Creation", "Application Operations", "Application Updates",
	"Application Information", "Application Environment", "Services", "Administration", "System", "Micro Cloud Foundry",
	"Misc", "Help",
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

// optionInUsage is an option as usages name it.
var optionInUsage = regexp.MustCompile(`--[a-z-]+`)

// options are those that the usage names.
func (c *command) options() (list []*option) {
	for _, name := range optionInUsage.FindAllString(c.usage, -1) {
		if o, err := findOption(name[2:]); err == nil {
			list = append(list, o)
		}
	}
	return list
}

func (c *command) usageLine() string {
	return strings.TrimSpace("Usage: vmc " + c.names[0] + " " + c.usage)
}

func (c *command) tooFew() error {
	return &problem{text: fmt.Sprintf("Not enough arguments for [%s]", c.names[0]), hint: c.usageLine()}
}

// check looks at the number of arguments.
func (c *command) check(args []string) error {
	switch {
	case len(args) < c.min:
		return c.tooFew()
	case len(args) > c.max:
		extra := "'" + strings.Join(args[c.max:], "', '") + "'"
		return &problem{text: fmt.Sprintf("Too many arguments for [%s]: %s", c.names[0], extra), hint: c.usageLine()}
	}
	return nil
}
