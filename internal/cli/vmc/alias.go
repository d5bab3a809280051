package vmc

import (
	"context"
	"fmt"
	"strings"
)

func aliasesCommand(_ context.Context, s *session, _ []string) error {
	aliases, err := s.files.readAliases()
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(aliases)
	}
	s.show("No Aliases", sortedRows([]string{"Alias", "Command"}, aliases))
	return nil
}

// aliasCommand takes "a=command" and "a command".
func aliasCommand(_ context.Context, s *session, args []string) error {
	name, command, ok := strings.Cut(args[0], "=")
	if len(args) == 2 && !ok {
		command, ok = args[1], true
	}
	if !ok || name == "" || command == "" || len(args) == 2 && strings.Contains(args[0], "=") {
		return fail("`vmc alias a=apps` or `vmc alias a apps`.", "An alias needs a name and a command")
	}
	if err := s.files.changeAliases(func(m map[string]string) { m[name] = command }); err != nil {
		return err
	}
	s.good("Successfully aliased '%s' to '%s'", name, command)
	if words := strings.Fields(command); len(words) == 0 || findCommand(words[0]) == nil {
		fmt.Fprintf(s.err, "[WARNING] vmc has no command [%s]\n", command)
	}
	return nil
}

func unaliasCommand(_ context.Context, s *session, args []string) error {
	known := false
	err := s.files.changeAliases(func(m map[string]string) {
		_, known = m[args[0]]
		delete(m, args[0])
	})
	if err != nil {
		return err
	}
	if !known {
		return &problem{text: "Unknown alias '" + args[0] + "'", hint: "`vmc aliases` lists them."}
	}
	s.good("Successfully unaliased '%s'", args[0])
	return nil
}
