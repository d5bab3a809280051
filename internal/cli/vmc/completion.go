package vmc

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloudlet/controller/api"
)

// completePatience bounds what the network may take of the time between a key and its
// effect.
const completePatience = time.Second

var (
	//go:embed completion/vmc.bash
	bashCompletion string
	//go:embed completion/_vmc
	zshCompletion string
	//go:embed completion/vmc.fish
	fishCompletion string
)

var shells = map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}

// completionCommand prints what makes a shell complete the words of vmc.
func completionCommand(_ context.Context, s *session, args []string) error {
	script, ok := shells[args[0]]
	if !ok {
		return fail("There are scripts for bash, fish and zsh.", "There is no completion for '%s'", args[0])
	}
	if s.opts.json {
		return s.printJSON(map[string]string{"shell": args[0], "script": script})
	}
	_, err := fmt.Fprint(s.results, script)
	return err
}

// completeCommand is what the scripts ask: the words of the line after "vmc", the last of
// which is being typed. It prints the candidates, and never an error.
func completeCommand(ctx context.Context, s *session, words []string) error {
	s.printed = true
	if len(words) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completePatience)
	defer cancel()
	typed := words[len(words)-1]
	candidates := s.candidates(ctx, words[:len(words)-1], typed)
	slices.Sort(candidates)
	for _, c := range candidates {
		if strings.HasPrefix(c, typed) && completable(c) {
			fmt.Fprintln(s.results, c)
		}
	}
	return nil
}

// completable leaves out names that a shell would not take as they are: on other clouds
// they may be anything.
func completable(word string) bool {
	return word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.:/@", r))
	})
}

// candidates are what may stand behind the words before; none where it may be a file.
func (s *session) candidates(ctx context.Context, before []string, typed string) []string {
	if n := len(before); n > 0 && strings.HasPrefix(before[n-1], "--") {
		if opt, err := findOption(before[n-1][2:]); err == nil && opt.value != "" && opt.optional == nil {
			return s.valuesOf(ctx, opt)
		}
	}
	_, words, err := parse(before, s.files.alias)
	if err != nil {
		return nil
	}
	if len(words) == 0 {
		if strings.HasPrefix(typed, "-") {
			return optionNames()
		}
		aliases, _ := s.files.readAliases() //nolint:errcheck // a broken file has none
		return append(slices.Collect(maps.Keys(aliases)), commandNames()...)
	}
	c := findCommand(words[0])
	switch {
	case c == nil || c.runs && len(words) > 2:
		return nil
	case strings.HasPrefix(typed, "-"):
		return c.optionNames()
	}
	return s.arguments(ctx, c, len(words)-1)
}

// valuesOf are what an option may have for a value.
func (s *session) valuesOf(ctx context.Context, opt *option) []string {
	switch opt.names[0] {
	case "name", "bind":
		return s.appsForCompletion(ctx)
	case "mem":
		return []string{"64M", "128M", "256M", "512M", "1G", "2G"}
	case "framework":
		return frameworkNames(s.frameworksForCompletion(ctx))
	case "runtime":
		var names []string
		for _, r := range allRuntimes(s.frameworksForCompletion(ctx)) {
			names = append(names, r.Name)
		}
		return names
	}
	return nil
}

// optionNames are the options that do something for a command.
func (c *command) optionNames() (names []string) {
	for _, o := range c.options() {
		names = append(names, "--"+o.names[0])
	}
	for _, o := range optionTable {
		if o.general && len(o.names) > 0 {
			names = append(names, "--"+o.names[0])
		}
	}
	return names
}

// arguments are what a command may have as its n-th argument, as its usage calls it.
func (s *session) arguments(ctx context.Context, c *command, n int) []string {
	kinds := strings.Fields(c.usage)
	if n >= len(kinds) || strings.HasPrefix(kinds[n], "[--") {
		return nil
	}
	switch strings.Trim(kinds[n], "<>[]") {
	case "appname", "app", "src-app", "dest-app":
		return s.appsForCompletion(ctx)
	case "command":
		return append(commandNames(), "options")
	case "shell":
		return slices.Collect(maps.Keys(shells))
	case "alias":
		aliases, _ := s.files.readAliases() //nolint:errcheck // as above
		return slices.Collect(maps.Keys(aliases))
	case "url":
		if c.names[0] != "target" {
			return nil // one that is new
		}
		tokens, _ := s.files.readTokens() //nolint:errcheck // as above
		return slices.Collect(maps.Keys(tokens))
	}
	return nil
}

func (s *session) frameworksForCompletion(ctx context.Context) map[string]api.Framework {
	c, err := s.client(ctx)
	if err != nil {
		return nil
	}
	info, err := c.Info(ctx)
	if err != nil {
		return nil
	}
	return info.Frameworks
}

// appsForCompletion are the apps of who is logged in; nobody is logged in for it.
func (s *session) appsForCompletion(ctx context.Context) []string {
	c, err := s.client(ctx)
	if err != nil {
		return nil
	}
	var apps []api.App
	if apps, err = c.Apps(ctx); err != nil {
		return nil
	}
	return appNames(apps)
}
