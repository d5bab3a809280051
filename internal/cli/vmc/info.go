package vmc

import (
	"context"
	"sort"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
)

func infoCommand(ctx context.Context, s *session, _ []string) error {
	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(info)
	}
	s.say("\n%s\nFor support visit %s\n", info.Description, info.Support)
	s.say("Target:   %s (v%s)\nClient:   v%s", c.Target, info.Version, Version)
	if info.User != "" {
		s.say("\nUser:     %s", info.User)
	}
	if u, l := info.Usage, info.Limits; u != nil && l != nil {
		s.say("Usage:    Memory   (%s of %s total)", megabytes(u.Memory), megabytes(l.Memory))
		s.say("          Services (%d of %d total)", u.Services, l.Services)
		s.say("          Apps     (%d of %d total)", u.Apps, l.Apps)
	}
	return nil
}

func frameworksCommand(ctx context.Context, s *session, _ []string) error {
	if _, err := s.login(ctx); err != nil {
		return err
	}
	names := frameworkNames(s.info.Frameworks)
	if s.opts.json {
		return s.printJSON(names)
	}
	rows := [][]string{{"Name"}}
	for _, name := range names {
		rows = append(rows, []string{name})
	}
	s.show("No Frameworks", rows)
	return nil
}

// frameworkNames are the target's, and "static" for web sites, which travel as a
// standalone app because the first clients fail on frameworks they do not know.
func frameworkNames(frameworks map[string]api.Framework) []string {
	names := make([]string, 0, len(frameworks)+1)
	for name := range frameworks {
		names = append(names, name)
	}
	if has := offers(frameworks); has("standalone", appdir.StaticRuntime) && !has(appdir.StaticRuntime, "") {
		names = append(names, appdir.StaticRuntime)
	}
	sort.Strings(names)
	return names
}

func runtimesCommand(ctx context.Context, s *session, _ []string) error {
	if _, err := s.login(ctx); err != nil {
		return err
	}
	runtimes := allRuntimes(s.info.Frameworks)
	if s.opts.json {
		return s.printJSON(runtimes)
	}
	rows := [][]string{{"Name", "Description", "Version"}}
	for _, r := range runtimes {
		rows = append(rows, []string{r.Name, r.Description, r.Version})
	}
	s.show("No Runtimes", rows)
	return nil
}

// allRuntimes are those of all frameworks, each once, by name.
func allRuntimes(frameworks map[string]api.Framework) []api.Runtime {
	seen := map[string]api.Runtime{}
	for _, f := range frameworks {
		for _, r := range f.Runtimes {
			seen[r.Name] = r
		}
	}
	list := make([]api.Runtime, 0, len(seen))
	for _, r := range seen {
		list = append(list, r)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}
