package controller

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloudlet/controller/api"
	"cloudlet/store"
)

type ctx = context.Context

// Bounds on what a description may ask for.
const (
	maxInstances = 1000
	maxMemory    = 1 << 20 // MB
	maxEnv       = 1000
	maxEnvBytes  = 64 << 10
	maxCommand   = 8 << 10
)

var (
	appName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	// label is one part of a host name.
	label = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)
	port  = regexp.MustCompile(`:\d{1,5}$`)
)

// oldNames translates framework strings of the first clients.
var oldNames = map[string]struct{ framework, runtime string }{
	"http://b20nine.com/unknown": {"sinatra", "ruby18"},
	"nodejs/1.0":                 {"node", "node"},
	"rails/1.0":                  {"rails3", "ruby18"},
	"java_web/1.0":               {"java_web", "java"},
	"spring_web/1.0":             {"spring", "java"},
	"grails/1.0":                 {"grails", "java"},
	"lift/1.0":                   {"lift", "java"},
}

// apply changes an app as a request says, in v1's order. mine are all apps of the owner.
func (c *Controller) apply(app *store.App, req api.AppRequest, owner *store.User, mine []store.App) error {
	if err := checkVersion(app, req); err != nil {
		return err
	}
	wasStarted, wasMemory := app.Started, app.Memory*app.Instances
	if req.State != nil {
		switch strings.ToUpper(*req.State) {
		case api.Started:
			app.Started = true
		case api.Stopped:
			app.Started = false
		}
	}
	if req.Resources != nil && req.Resources.Memory != nil {
		app.Memory = int(*req.Resources.Memory)
	}
	if req.Instances != nil {
		app.Instances = int(*req.Instances)
	}
	if err := checkSize(app); err != nil {
		return err
	}
	if app.Started {
		if !wasStarted {
			wasMemory = 0
		}
		if err := c.checkMemory(app, wasMemory, owner, mine); err != nil {
			return err
		}
	}
	if req.URIs != nil {
		uris, err := c.checkURIs(*req.URIs, owner)
		if err != nil {
			return err
		}
		app.URIs = uris
	}
	if req.Env != nil {
		before := bundleWithout(app.Env)
		app.Env = cleanEnv(*req.Env)
		if !slices.Equal(before, bundleWithout(app.Env)) {
			app.PackageState = store.Pending
		}
	}
	if err := c.applyStaging(app, req.Staging); err != nil {
		return err
	}
	if req.Debug != nil && *req.Debug != "" && app.Started {
		return api.DebugDisallowed.Because("start the application without a debug mode")
	}
	app.Debug, app.Console = req.Debug, req.Console
	app.LockVersion++
	app.Updated = time.Now().UTC()
	return validate(app)
}

func checkVersion(app *store.App, req api.AppRequest) error {
	if req.Meta != nil && req.Meta.Version != nil && *req.Meta.Version != app.LockVersion {
		return api.LockingError.Because("somebody changed the application meanwhile; read it again and repeat the change")
	}
	return nil
}

// applyStaging sets framework, runtime and command. A runtime that is left out becomes
// the framework's default; a framework that is left out is an error, as in v1.
func (c *Controller) applyStaging(app *store.App, req *api.StagingRequest) error {
	wasFramework, wasRuntime := app.Framework, app.Runtime
	if req != nil {
		framework, runtime := first(req.Model, req.Framework), first(req.Stack, req.Runtime)
		if old, ok := oldNames[framework]; ok {
			framework = old.framework
			if runtime == "" {
				runtime = old.runtime
			}
		}
		app.Framework, app.Runtime = framework, runtime
		if req.Command != nil {
			app.Command = *req.Command
		}
	}
	if app.Framework == "" {
		return api.FrameworkInvalid.With("NONE").Because("name a framework: this cloud has %s", c.frameworkNames())
	}
	if app.Framework == wasFramework && app.Runtime == wasRuntime && !app.Started {
		return nil // it can be stopped also where its runtime was removed from the machine
	}
	return c.checkFramework(app)
}

func (c *Controller) checkFramework(app *store.App) error {
	f, ok := c.framework(app.Framework)
	if !ok {
		return api.AppInvalid.Because("framework %q is not known here; this cloud has %s", app.Framework, c.frameworkNames())
	}
	if app.Runtime == "" && len(f.Runtimes) > 0 {
		app.Runtime = f.Runtimes[0]
	}
	r, known := c.runtime(app.Runtime)
	switch {
	case !slices.Contains(f.Runtimes, app.Runtime):
		return api.AppInvalid.Because("framework %s does not run on %q; it runs on %s", f.Name, app.Runtime, strings.Join(f.Runtimes, ", "))
	case !known || r.Executable == "":
		return api.AppInvalid.Because("the runtime %s is not installed on this machine; to install it: %s; then restart Cloudlet", app.Runtime, r.Install)
	}
	return nil
}

func (c *Controller) frameworkNames() string {
	var names []string
	for _, f := range c.cfg.Frameworks {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func first(a, b *string) string {
	switch {
	case a != nil:
		return *a
	case b != nil:
		return *b
	}
	return ""
}

// checkSize refuses what is no number of instances and no amount of memory.
func checkSize(app *store.App) error {
	switch {
	case app.Instances < 0 || app.Instances > maxInstances:
		return api.AppInvalid.Because("instances: 0 to %d", maxInstances)
	case app.Memory < 1:
		return api.AppInvalid.Because("memory: at least 1 MB")
	}
	return nil
}

// checkMemory compares what the owner would use with what is allowed.
func (c *Controller) checkMemory(app *store.App, counted int, owner *store.User, mine []store.App) error {
	limit := c.account(owner).Memory
	if app.Memory > limit ||
		app.Memory*app.Instances-counted > limit-usageOf(mine).Memory {
		return api.NotEnoughMemory.With(memoryText(limit)).Because(
			"%s for %d instance(s) do not fit; stop an application, or ask for less with --mem or --instances",
			memoryText(app.Memory), app.Instances)
	}
	return nil
}

// checkURIs normalizes the URIs of a request. Old clients put a scheme before them and
// the target's port behind.
func (c *Controller) checkURIs(given []string, owner *store.User) ([]string, error) {
	if allowed := c.account(owner).AppURIs; len(given) > allowed {
		return nil, api.TooManyURIs.With(len(given), allowed).Because("unmap one that is not needed any more: vmc unmap NAME URL")
	}
	uris := []string{}
	for _, raw := range given {
		uri := strings.ToLower(strings.TrimSpace(raw))
		uri = strings.TrimPrefix(strings.TrimPrefix(uri, "http://"), "https://")
		uri = port.ReplaceAllString(strings.TrimSuffix(uri, "/"), "")
		if !validHost(uri) {
			return nil, api.URIInvalid.With(raw).Because("a URL is a host name such as hello%s: letters, digits and dashes between dots", c.baseDomain())
		}
		name, inside := strings.CutSuffix(uri, c.baseDomain())
		switch {
		case !inside && !owner.Admin:
			return nil, api.ExternalURIs.Because("choose a URL that ends in %s", c.baseDomain())
		case inside && slices.Contains([]string{"api", "uaa", "console"}, name):
			return nil, api.URITaken.With(uri).Because("%s is Cloudlet's own; choose another URL", uri)
		}
		uris = append(uris, uri)
	}
	slices.Sort(uris)
	return slices.Compact(uris), nil
}

func validHost(host string) bool {
	if len(host) > 253 {
		return false
	}
	for part := range strings.SplitSeq(host, ".") {
		if !label.MatchString(part) {
			return false
		}
	}
	return true
}

// cleanEnv drops repetitions, and what would shadow the cloud's own variables.
func cleanEnv(given []string) []string {
	env := []string{}
	for _, entry := range given {
		name := strings.ToLower(entry)
		if strings.HasPrefix(name, "vcap_") || strings.HasPrefix(name, "vmc_") || slices.Contains(env, entry) {
			continue
		}
		env = append(env, entry)
	}
	return env
}

// bundleWithout are the entries that decide which gems staging installs.
func bundleWithout(env []string) (entries []string) {
	for _, entry := range env {
		if strings.HasPrefix(entry, "BUNDLE_WITHOUT=") {
			entries = append(entries, entry)
		}
	}
	return entries
}

// validate is the last check before a description is saved.
func validate(app *store.App) error {
	total := 0
	for _, entry := range app.Env {
		total += len(entry)
	}
	switch {
	case !appName.MatchString(app.Name):
		return api.AppInvalid.Because("a name is 1 to 64 letters, digits, dashes and underscores")
	case app.Memory > maxMemory:
		return api.AppInvalid.Because("memory: at most %s", memoryText(maxMemory))
	case len(app.Env) > maxEnv || total > maxEnvBytes:
		return api.AppInvalid.Because("the environment holds more than %d entries or %d KiB", maxEnv, maxEnvBytes>>10)
	case strings.ContainsRune(strings.Join(app.Env, ""), 0) || strings.ContainsRune(app.Command, 0):
		return api.AppInvalid.Because("a zero byte is in the environment or the command")
	case len(app.Command) > maxCommand:
		return api.AppInvalid.Because("the command is longer than %d KiB", maxCommand>>10)
	}
	return nil
}
