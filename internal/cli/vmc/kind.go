package vmc

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
)

// offers is what a target has, as detection asks for it.
func offers(frameworks map[string]api.Framework) appdir.Offers {
	return func(framework, runtime string) bool {
		f, ok := frameworks[framework]
		return ok && (runtime == "" || slices.ContainsFunc(f.Runtimes, func(r api.Runtime) bool { return r.Name == runtime }))
	}
}

// kind finds out what the app is and how it is started: what is asked for first, then
// what detection says, and then the user.
func (s *session) kind(ctx context.Context, sp spec, dir *appdir.Dir) (appdir.Kind, error) {
	kind, err := s.framework(ctx, sp, dir)
	if err != nil {
		return kind, err
	}
	if sp.runtime != "" {
		kind.Runtime = sp.runtime
	}
	if sp.command != "" {
		kind.Command = sp.command
	}
	if kind.Framework != "standalone" || kind.Runtime == appdir.StaticRuntime {
		return kind, nil
	}
	return kind, s.completeStandalone(ctx, sp, &kind, dir)
}

// framework decides on a framework.
func (s *session) framework(ctx context.Context, sp spec, dir *appdir.Dir) (appdir.Kind, error) {
	frameworks := s.info.Frameworks
	has := offers(frameworks)
	if sp.framework != "" {
		return named(sp.framework, frameworks)
	}
	kind := dir.Detect(has)
	if sp.command != "" && kind.Framework != "standalone" && has("standalone", "") {
		web, archive := kind.Web, kind.Archive
		kind = appdir.KindOf("standalone") // who says how to start it needs no framework
		kind.Web, kind.Archive = web, archive
	}
	if kind.Sure || kind.Framework != "" && sp.command != "" {
		if agreed, err := s.agreed(ctx, sp, kind); err != nil || agreed {
			return kind, err
		}
		return s.selectFramework(ctx)
	}
	if !s.mayAsk() {
		return kind, fail(
			fmt.Sprintf("This cloud takes %s: name one with --framework NAME.\nOr say how to start it: --command 'CMD', or a Procfile with a line `web: CMD`.",
				strings.Join(frameworkNames(frameworks), ", ")),
			"Cannot tell what kind of application '%s' is", sp.path)
	}
	fmt.Fprintln(s.err, "[WARNING] Can't determine the Application Type.")
	return s.selectFramework(ctx)
}

// agreed tells what was detected, or asks whether it is right.
func (s *session) agreed(ctx context.Context, sp spec, kind appdir.Kind) (bool, error) {
	switch {
	case !kind.Sure || sp.command != "" && kind.Framework == "standalone":
		return true, nil // who says how to start it needs no detection
	case s.asks(sp):
		return s.confirm(ctx, fmt.Sprintf("Detected a %s, is this correct?", kind.Name), true)
	}
	s.say("Detected a %s", kind.Name)
	return true, nil
}

// selectFramework lets the user choose.
func (s *session) selectFramework(ctx context.Context) (appdir.Kind, error) {
	name, err := s.choose(ctx, "Select Application Type", frameworkNames(s.info.Frameworks))
	if err != nil {
		return appdir.Kind{}, err
	}
	kind, err := named(name, s.info.Frameworks)
	s.say("Selected %s", kind.Name)
	return kind, err
}

// named is a framework by its name; "static" is what the client calls a web site.
func named(name string, frameworks map[string]api.Framework) (appdir.Kind, error) {
	has := offers(frameworks)
	switch {
	case has(name, ""):
		return appdir.KindOf(name), nil
	case name == appdir.StaticRuntime && has("standalone", appdir.StaticRuntime):
		return appdir.Static(), nil
	}
	return appdir.Kind{}, fail(
		fmt.Sprintf("This cloud takes %s.", strings.Join(frameworkNames(frameworks), ", ")),
		"The target does not know the framework '%s'", name)
}

// checkRuntime tells before the upload what the server would refuse after it.
func (s *session) checkRuntime(framework, runtime string) error {
	f, known := s.info.Frameworks[framework]
	if runtime == "" || !known || offers(s.info.Frameworks)(framework, runtime) {
		return nil
	}
	var names []string
	for _, r := range f.Runtimes {
		names = append(names, r.Name)
	}
	return fail(fmt.Sprintf("It runs on %s.", strings.Join(names, ", ")), "The framework %s does not run on '%s'", framework, runtime)
}

// completeStandalone finds runtime, command and memory of a standalone app.
func (s *session) completeStandalone(ctx context.Context, sp spec, kind *appdir.Kind, dir *appdir.Dir) (err error) {
	if kind.Command == "" {
		kind.Command = dir.ProcfileWeb()
	}
	if kind.Runtime == "" {
		if kind.Runtime, err = s.standaloneRuntime(ctx, kind.Command, s.asks(sp)); err != nil {
			return err
		}
	}
	kind.Memory = appdir.StandaloneMemory(kind.Runtime)
	if kind.Command == "" && kind.Runtime != appdir.StaticRuntime {
		if kind.Command, err = s.ask(ctx, "Start Command", ""); err != nil {
			return missing(err, "The start command is missing",
				"Give it with --command 'CMD', or in a Procfile with a line `web: CMD`.")
		}
	}
	return nil
}

// standaloneRuntime is the one that the command begins with, else the system's
// programs, else what the user says; who is asked for the command is asked for it, too.
func (s *session) standaloneRuntime(ctx context.Context, command string, asks bool) (string, error) {
	var names []string
	for _, r := range s.info.Frameworks["standalone"].Runtimes {
		if r.Name != appdir.StaticRuntime {
			names = append(names, r.Name)
		}
	}
	if name := guessRuntime(command, names); name != "" && (!asks || command != "" || len(names) == 1) {
		return name, nil
	}
	name, err := s.choose(ctx, "Select Runtime", names)
	if err != nil {
		return "", missing(err, "Which runtime does it need?", fmt.Sprintf("Name it with --runtime: %s.", strings.Join(names, ", ")))
	}
	s.say("Selected %s", name)
	return name, nil
}

// shellRuntime has whatever the system has.
const shellRuntime = "shell"

func guessRuntime(command string, names []string) string {
	program, _, _ := strings.Cut(strings.TrimSpace(command), " ")
	family := map[string]string{
		"node": "node", "npm": "node", "ruby": "ruby", "bundle": "ruby", "rackup": "ruby", "java": "java", "php": "php",
	}[filepath.Base(program)]
	for _, n := range names {
		if family != "" && strings.HasPrefix(n, family) {
			return n
		}
	}
	if slices.Contains(names, shellRuntime) {
		return shellRuntime
	}
	if len(names) == 1 {
		return names[0]
	}
	return ""
}
