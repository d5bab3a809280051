package vmc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
)

// spec is what is asked for an app, by the manifest and the command line; what is empty
// is left to detection and defaults.
type spec struct {
	path, name                  string
	framework, runtime, command string
	mem                         string
	urls                        []string // nil: the default
	instances                   int
}

func pushCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	specs, err := s.specs(args)
	if err != nil {
		return err
	}
	for _, sp := range specs {
		if len(specs) > 1 {
			s.say("Pushing application '%s'...", sp.name)
		}
		if err := s.push(ctx, c, sp); err != nil {
			return err
		}
	}
	return nil
}

// override puts the command line over what the manifest says.
func (o options) override(sp spec) spec {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&sp.framework, o.framework}, {&sp.runtime, o.runtime}, {&sp.command, o.command}, {&sp.mem, o.mem},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	if o.instances > 0 {
		sp.instances = o.instances
	}
	if o.url != "" {
		sp.urls = splitURLs(o.url)
	}
	return sp
}

// splitURLs reads "a.localhost, b.localhost"; "none" is no URL at all.
func splitURLs(text string) []string {
	urls := []string{}
	for u := range strings.SplitSeq(text, ",") {
		if u = hostOf(u); u != "" && u != "none" {
			urls = append(urls, u)
		}
	}
	return urls
}

// push makes an app of a folder, or updates the app that is there.
func (s *session) push(ctx context.Context, c *api.Client, sp spec) error {
	dir, err := openDir(sp.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if sp.name == "" {
		if sp.name, err = s.ask(ctx, "Application Name", folderName(sp.path)); err != nil {
			return missing(err, "Need an application name", "`vmc push NAME`.")
		}
	}
	app, err := c.App(ctx, sp.name)
	if err == nil {
		s.say("Application '%s' already exists, updating it", sp.name)
		return s.pushAgain(ctx, c, app, sp, dir)
	}
	var fault *api.Fault
	if !errors.As(err, &fault) || fault.Status != 404 && fault.Status != 400 {
		return err
	}
	return s.pushNew(ctx, c, sp, dir)
}

func openDir(path string) (*appdir.Dir, error) {
	dir, err := appdir.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fail("Go to the folder of the application, or name it with --path.", "There is no '%s'", path)
	}
	if err != nil {
		return nil, fail("", "%v", err)
	}
	empty, err := dir.Empty()
	if err == nil && empty {
		err = fail("Go to the folder of the application, or name it with --path.", "There is nothing to push in '%s'", path)
	} else if err != nil {
		err = explainFiles(err)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// folderName is what an app is called if nobody says otherwise.
func folderName(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	base := filepath.Base(abs)
	if info, err := os.Stat(abs); err == nil && !info.IsDir() {
		base = strings.TrimSuffix(base, filepath.Ext(base))
	}
	return strings.Trim(notInNames.ReplaceAllString(base, "-"), "-")
}

// pushNew creates the app, uploads and starts it.
func (s *session) pushNew(ctx context.Context, c *api.Client, sp spec, dir *appdir.Dir) error {
	kind, err := s.kind(ctx, sp, dir)
	if err != nil {
		return err
	}
	req, err := s.request(c, sp, kind)
	if err != nil {
		return err
	}
	if err := s.checkApps(); err != nil {
		return err
	}
	if !s.opts.noStart {
		if err := s.checkMemory(int(*req.Resources.Memory) * int(*req.Instances)); err != nil {
			return err
		}
	}
	err = s.step("Creating Application", func() error {
		_, err := c.CreateApp(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.uploadFrom(ctx, c, sp.name, dir, kind.Archive); err != nil || s.opts.noStart {
		return err
	}
	app, err := c.App(ctx, sp.name)
	if err != nil {
		return err
	}
	if err := s.start(ctx, c, app, nil); err != nil {
		return err
	}
	if len(app.URIs) == 0 && sp.urls == nil {
		s.say("  It has no URL, and so no port to listen on; for a web application: vmc push %s --url %s",
			sp.name, defaultURL(sp.name, c.Target))
	}
	return nil
}

// request describes a new app.
func (s *session) request(c *api.Client, sp spec, kind appdir.Kind) (api.AppRequest, error) {
	mb := kind.Memory
	if sp.mem != "" {
		var err error
		if mb, err = parseMem(sp.mem); err != nil {
			return api.AppRequest{}, err
		}
	}
	urls := sp.urls
	if urls == nil {
		urls = []string{}
		if kind.Web {
			urls = append(urls, defaultURL(sp.name, c.Target))
		}
	}
	memory, instances := api.Int(mb), api.Int(max(1, sp.instances))
	staging := &api.StagingRequest{Framework: &kind.Framework}
	if kind.Runtime != "" {
		staging.Runtime = &kind.Runtime
	}
	if kind.Command != "" {
		staging.Command = &kind.Command
	}
	return api.AppRequest{
		Name: sp.name, Staging: staging, URIs: &urls, Instances: &instances,
		Resources: &api.ResourcesRequest{Memory: &memory},
	}, nil
}

func defaultURL(name, target string) string {
	return strings.ToLower(name) + "." + domainOf(target)
}

// uploadFrom uploads the folder, or the archive in it that is the app.
func (s *session) uploadFrom(ctx context.Context, c *api.Client, app string, dir *appdir.Dir, archive string) error {
	if archive == "" {
		return s.upload(ctx, c, app, dir)
	}
	inner, err := openDir(filepath.Join(dir.Root, archive))
	if err != nil {
		return err
	}
	defer inner.Close()
	return s.upload(ctx, c, app, inner)
}

// pushAgain sends new files to an app, changes what the command line asks to be
// changed, and leaves it running.
func (s *session) pushAgain(ctx context.Context, c *api.Client, app api.App, sp spec, dir *appdir.Dir) error {
	change, err := sp.changes()
	if err != nil {
		return err
	}
	if err := s.uploadFrom(ctx, c, app.Name, dir, s.archive(app, dir)); err != nil {
		return err
	}
	if app.State == api.Started {
		return s.replace(ctx, c, app, change)
	}
	if !s.opts.noStart {
		return s.start(ctx, c, app, change)
	}
	req := app.Request()
	change(&req)
	return s.stage(ctx, c, app.Name, req)
}

// archive is the file in the folder that an app of this framework consists of.
func (s *session) archive(app api.App, dir *appdir.Dir) string {
	kind := dir.Detect(offers(s.info.Frameworks))
	if kind.Framework == app.Staging.Model {
		return kind.Archive
	}
	return ""
}

// replace stages new files while the old ones run, and restarts the app then.
func (s *session) replace(ctx context.Context, c *api.Client, app api.App, change func(*api.AppRequest)) error {
	req := app.Request()
	change(&req)
	if err := s.stage(ctx, c, app.Name, req); err != nil {
		return err
	}
	return s.restartIfStarted(ctx, c, app)
}

// changes puts into a request what is asked for explicitly.
func (sp spec) changes() (func(*api.AppRequest), error) {
	mb := api.Int(0)
	if sp.mem != "" {
		n, err := parseMem(sp.mem)
		if err != nil {
			return nil, err
		}
		mb = api.Int(n)
	}
	instances := api.Int(sp.instances)
	return func(req *api.AppRequest) {
		if mb > 0 {
			req.Resources.Memory = &mb
		}
		if instances > 0 {
			req.Instances = &instances
		}
		if sp.urls != nil {
			req.URIs = &sp.urls
		}
		if sp.framework != "" {
			req.Staging.Framework, req.Staging.Runtime = &sp.framework, nil
		}
		if sp.runtime != "" {
			req.Staging.Runtime = &sp.runtime
		}
		if sp.command != "" {
			req.Staging.Command = &sp.command
		}
	}, nil
}

func updateCommand(ctx context.Context, s *session, args []string) error {
	if _, err := s.login(ctx); err != nil {
		return err
	}
	specs, err := s.specs(args)
	if err != nil {
		return err
	}
	for _, sp := range specs {
		if sp.name == "" {
			sp.name = folderName(sp.path)
		}
		if err := s.update(ctx, sp); err != nil {
			return err
		}
	}
	return nil
}

// update sends new files to an app and restarts it if it runs.
func (s *session) update(ctx context.Context, sp spec) error {
	c, app, err := s.app(ctx, sp.name)
	if err != nil {
		return err
	}
	dir, err := openDir(sp.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := s.uploadFrom(ctx, c, app.Name, dir, s.archive(app, dir)); err != nil || app.State != api.Started {
		return err
	}
	return s.replace(ctx, c, app, func(*api.AppRequest) {})
}

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
	if kind.Sure {
		s.say("Detected a %s", kind.Name)
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
	return kind, s.completeStandalone(ctx, &kind, dir)
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
		return kind, nil
	}
	if !s.mayAsk() {
		return kind, fail(
			fmt.Sprintf("This cloud takes %s: name one with --framework NAME.\nOr say how to start it: --command 'CMD', or a Procfile with a line `web: CMD`.",
				strings.Join(frameworkNames(frameworks), ", ")),
			"Cannot tell what kind of application '%s' is", sp.path)
	}
	fmt.Fprintln(s.err, "[WARNING] Can't determine the Application Type.")
	name, err := s.choose(ctx, "Select Application Type", frameworkNames(frameworks))
	if err != nil {
		return kind, err
	}
	kind, err = named(name, frameworks)
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

// completeStandalone finds runtime, command and memory of a standalone app.
func (s *session) completeStandalone(ctx context.Context, kind *appdir.Kind, dir *appdir.Dir) (err error) {
	if kind.Command == "" {
		kind.Command = dir.ProcfileWeb()
	}
	if kind.Runtime == "" {
		if kind.Runtime, err = s.standaloneRuntime(ctx, kind.Command); err != nil {
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
// programs, else what the user says.
func (s *session) standaloneRuntime(ctx context.Context, command string) (string, error) {
	var names []string
	for _, r := range s.info.Frameworks["standalone"].Runtimes {
		if r.Name != appdir.StaticRuntime {
			names = append(names, r.Name)
		}
	}
	if name := guessRuntime(command, names); name != "" {
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
