package vmc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/manifest"
)

// project is a manifest and the apps in it, ready to be acted on.
type project struct {
	file  string
	apps  []spec // each behind those that it depends on
	named bool   // by -m, so that it is about more than the folder
}

// project reads the manifest that -m names, or that lies in the folder or above it; nil
// if there is none. From then on its target is the target. A lone app of the folder may
// be given another name, and its symbols follow.
func (s *session) project(ctx context.Context, folder, name string) (*project, error) {
	file := s.path(s.opts.manifest)
	if s.opts.manifest == "" {
		if file = manifest.Find(folder); file == "" {
			return nil, nil
		}
	}
	m, err := manifest.Load(file)
	if err != nil {
		return nil, badManifest(file, err)
	}
	for _, w := range m.Warnings {
		fmt.Fprintln(s.err, "[WARNING] "+w)
	}
	if err := s.retarget(ctx, m); err != nil {
		return nil, err
	}
	symbols, err := s.symbols(ctx)
	if err != nil {
		return nil, err
	}
	p := &project{file: m.File, named: s.opts.manifest != ""}
	if err := p.describe(m, symbols); err != nil || name == "" {
		return p, err
	}
	if list := p.about(folder); len(list) != 1 || list[0].name == name {
		return p, nil
	}
	symbols["name"] = name
	return p, p.describe(m, symbols)
}

// describe fills in the apps.
func (p *project) describe(m *manifest.Manifest, symbols map[string]string) error {
	apps, err := m.Apps(symbols)
	if err != nil {
		return badManifest(m.File, err)
	}
	p.apps = nil
	for _, a := range apps {
		path, err := m.Locate(a.Path)
		if err != nil {
			return badManifest(m.File, err)
		}
		p.apps = append(p.apps, specOf(a, path))
	}
	return nil
}

func badManifest(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fail("`vmc manifest` writes one.", "%v", err)
	}
	text := err.Error()
	if !strings.Contains(text, filepath.Base(file)) {
		text = file + ": " + text
	}
	return fail("Correct it, or push with options from another folder.", "%s", text)
}

// retarget obeys a manifest that is for a certain cloud, and says so where that is not
// the user's own choice.
func (s *session) retarget(ctx context.Context, m *manifest.Manifest) error {
	if m.Target == "" {
		return nil
	}
	own, err := s.target(ctx)
	if err != nil {
		return err
	}
	target := api.NormalTarget(m.Target)
	if target == own {
		return nil
	}
	fmt.Fprintf(s.err, "Target [%s], as %s says\n", target, m.File)
	s.chosen, s.cloud, s.info = target, nil, nil
	return nil
}

// symbols are those that every manifest may use.
func (s *session) symbols(ctx context.Context) (map[string]string, error) {
	target, err := s.target(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"target-base": domainOf(target), "target-url": target, "random-word": strings.ToLower(rand.Text()[:8]),
	}, nil
}

// specOf is what an entry of a manifest asks for.
func specOf(a manifest.App, path string) spec {
	sp := spec{
		path: path, name: a.Name, framework: a.Framework, runtime: a.Runtime, command: a.Command, mem: a.Mem,
		instances: a.Instances, services: a.Services, described: true,
	}
	if sp.mem == "" {
		sp.mem = a.FrameworkMem
	}
	if a.URLs != nil {
		sp.urls = []string{}
	}
	for _, u := range a.URLs {
		sp.urls = append(sp.urls, splitURLs(u)...)
	}
	return sp
}

// about are the apps that a command in that folder is about: all of them beside the
// manifest, else the one whose folder it is; where it is none's, all of a manifest that
// was asked for by -m.
func (p *project) about(folder string) []spec {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return nil
	}
	if filepath.Dir(p.file) == abs {
		return p.apps
	}
	for _, sp := range p.apps {
		if abs == sp.path || strings.HasPrefix(abs, sp.path+string(filepath.Separator)) {
			return []spec{sp}
		}
	}
	if p.named {
		return p.apps
	}
	return nil
}

// specs are the apps to push: those of the manifest, else that of the folder.
func (s *session) specs(ctx context.Context, args []string) ([]spec, error) {
	name := s.opts.name
	if len(args) > 0 {
		name = args[0]
	}
	folder := s.workingFolder()
	p, err := s.project(ctx, folder, name)
	if err != nil {
		return nil, err
	}
	var list []spec
	if p != nil && len(p.apps) > 0 {
		if list, err = p.choose(folder, name); err != nil {
			return nil, err
		}
		if len(list) == 0 {
			fmt.Fprintf(s.err, "%s says nothing about this folder.\n", p.file)
		}
	}
	if len(list) == 0 {
		list = []spec{{path: folder, name: name}}
	}
	for i := range list {
		list[i] = s.opts.override(list[i])
	}
	return list, nil
}

// workingFolder is where the app is: --path, else where vmc was called.
func (s *session) workingFolder() string {
	if s.opts.path != "" {
		return s.path(s.opts.path)
	}
	if s.dir != "" {
		return s.dir
	}
	if dir, err := os.Getwd(); err == nil {
		return dir
	}
	return "."
}

// choose picks the apps that a command is about, or of several the one of that name. A
// lone app takes another name gladly. Who is in a folder that the manifest does not
// speak of has to say a name, and pushes without the manifest then.
func (p *project) choose(folder, name string) ([]spec, error) {
	list := p.about(folder)
	var names []string
	for _, sp := range p.apps {
		names = append(names, sp.name)
	}
	i := slices.IndexFunc(list, func(sp spec) bool { return sp.name == name })
	switch {
	case len(list) == 0 && name == "":
		return nil, fail(fmt.Sprintf("Go to %s or to the folder of one of its applications, or name the application.", filepath.Dir(p.file)),
			"%s has no application in this folder", p.file)
	case len(list) == 0 || name == "":
		return list, nil
	case i >= 0:
		return list[i : i+1], nil
	case len(list) == 1:
		list[0].name = name
		return list, nil
	}
	return nil, fail("It has "+strings.Join(names, ", ")+".", "The manifest has no application '%s'", name)
}
