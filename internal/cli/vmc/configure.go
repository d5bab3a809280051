package vmc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
	"cloudlet/internal/cli/vmc/manifest"
)

// manifestCommand writes a manifest for the apps of the working folder.
func manifestCommand(ctx context.Context, s *session, _ []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	folder := s.workingFolder()
	file := filepath.Join(folder, manifest.Name)
	if s.opts.manifest != "" {
		file = s.path(s.opts.manifest)
		folder = filepath.Dir(file)
	}
	var known []manifest.App
	if _, err := os.Stat(file); err == nil {
		if known, err = s.knownApps(ctx, file); err != nil {
			return err
		}
	}
	apps, err := s.configureAll(ctx, c, folder, known)
	if err != nil {
		return err
	}
	return s.saveManifest(file, "", apps)
}

// extendManifestCommand writes a manifest that inherits another and says what is different.
func extendManifestCommand(ctx context.Context, s *session, args []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	parent := s.path(args[0])
	known, err := s.knownApps(ctx, parent)
	if err != nil {
		return err
	}
	apps, err := s.configureAll(ctx, c, filepath.Dir(parent), known)
	if err != nil {
		return err
	}
	for i, a := range apps {
		if j := slices.IndexFunc(known, func(k manifest.App) bool { return k.Path == a.Path }); j >= 0 {
			apps[i] = a.Without(known[j])
		}
	}
	where, err := s.ask(ctx, "Save where?", s.opts.manifest)
	if err != nil {
		return missing(err, "Save where?", "Name the file with -m FILE, or run it on a terminal.")
	}
	file := s.path(where)
	inherit, err := filepath.Rel(filepath.Dir(file), parent)
	if err != nil {
		return err
	}
	return s.saveManifest(file, filepath.ToSlash(inherit), apps)
}

// knownApps are those that a manifest has already.
func (s *session) knownApps(ctx context.Context, file string) ([]manifest.App, error) {
	m, err := manifest.Load(file)
	if err != nil {
		return nil, badManifest(file, err)
	}
	symbols, err := s.symbols(ctx)
	if err != nil {
		return nil, err
	}
	apps, err := m.Apps(symbols)
	if err != nil {
		return nil, badManifest(file, err)
	}
	return apps, nil
}

// configureAll asks about one app after the other.
func (s *session) configureAll(ctx context.Context, c *api.Client, folder string, known []manifest.App) (apps []manifest.App, err error) {
	for {
		path, err := s.ask(ctx, "Configure for which application?", ".")
		if err != nil {
			return nil, err
		}
		sp := spec{path: filepath.Join(folder, filepath.FromSlash(path))}
		key, err := filepath.Rel(folder, sp.path)
		if err != nil || !filepath.IsLocal(key) {
			return nil, fail("Name a folder in it.", "'%s' is not in the folder of the manifest", path)
		}
		key = filepath.ToSlash(key)
		if i := slices.IndexFunc(known, func(k manifest.App) bool { return k.Path == key }); i >= 0 {
			sp = specOf(known[i], sp.path)
		}
		app, err := s.configure(ctx, c, s.opts.override(sp))
		if err != nil {
			return nil, err
		}
		app.Path = key
		apps = append(apps, app)
		if more, err := s.confirm(ctx, "Configure for another application?", false); err != nil || !more {
			return apps, err
		}
	}
}

// configure asks all about one app.
func (s *session) configure(ctx context.Context, c *api.Client, sp spec) (manifest.App, error) {
	dir, err := openDir(sp.path)
	if err != nil {
		return manifest.App{}, err
	}
	defer dir.Close()
	sp.described = false
	if sp, err = s.nameIt(ctx, sp); err != nil {
		return manifest.App{}, err
	}
	kind, err := s.kind(ctx, sp, dir)
	if err != nil {
		return manifest.App{}, err
	}
	if sp, err = s.interview(ctx, c, sp, kind); err != nil {
		return manifest.App{}, err
	}
	return appOf(c, sp, kind), nil
}

// appOf is an app as a manifest describes it, so that it needs no questions.
func appOf(c *api.Client, sp spec, kind appdir.Kind) manifest.App {
	a := manifest.App{
		Path: ".", Name: sp.name, Framework: kind.Framework, FrameworkMem: formatMem(kind.Memory), FrameworkInfo: kind.Name,
		Runtime: kind.Runtime, Command: kind.Command, Mem: sp.mem, URLs: slices.Clone(sp.urls), Instances: sp.instances, Services: sp.services,
	}
	for i, u := range a.URLs {
		if u == defaultURL(sp.name, c.Target) {
			a.URLs[i] = "${name}.${target-base}" // right under another name, at another target
		}
	}
	if len(a.URLs) == 0 && !kind.Web {
		a.URLs = nil
	}
	return a
}

// offerToSave ends the questions of a push.
func (s *session) offerToSave(ctx context.Context, c *api.Client, sp spec, kind appdir.Kind) error {
	save, err := s.confirm(ctx, "Would you like to save this configuration?", false)
	if err != nil || !save {
		return err
	}
	app, folder := appOf(c, sp, kind), sp.path
	if info, err := os.Stat(sp.path); err == nil && !info.IsDir() {
		folder, app.Path = filepath.Dir(sp.path), filepath.Base(sp.path)
	}
	return s.saveManifest(filepath.Join(folder, manifest.Name), "", []manifest.App{app})
}

func (s *session) saveManifest(file, parent string, apps []manifest.App) error {
	if err := manifest.Save(file, parent, apps); err != nil {
		return fail("", "%v", err)
	}
	if rel, err := filepath.Rel(s.workingFolder(), file); err == nil && !strings.HasPrefix(rel, "..") {
		file = rel
	}
	s.good("Manifest written to %s.", file)
	return nil
}

// nameIt asks for the name of an app that has none yet.
func (s *session) nameIt(ctx context.Context, sp spec) (spec, error) {
	preset := sp.name
	if preset == "" {
		preset = folderName(sp.path)
	} else if sp.described || sp.name == s.opts.name {
		return checkName(sp)
	}
	name, err := s.ask(ctx, "Application Name", preset)
	if errors.Is(err, errNoAnswer) {
		return sp, missing(err, "Need an application name", "`vmc push NAME`.")
	}
	if err != nil {
		return sp, err
	}
	sp.name = name
	return checkName(sp)
}

func checkName(sp spec) (spec, error) {
	if !validName.MatchString(sp.name) {
		return sp, fail("Choose another one: `vmc push NAME`.", "A name is made of letters, digits, dashes and underscores, and '%s' is not", sp.name)
	}
	return sp, nil
}
