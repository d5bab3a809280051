package vmc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
)

func pushCommand(ctx context.Context, s *session, args []string) error {
	if err := s.askFolder(ctx); err != nil {
		return err
	}
	specs, err := s.specs(ctx, args)
	if err != nil {
		return err
	}
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	for _, sp := range specs {
		if sp.described {
			s.say("Pushing application '%s'...", sp.name)
		}
		if err := s.push(ctx, c, sp); err != nil {
			return err
		}
	}
	return nil
}

// push makes an app of a folder, or updates the app that is there.
func (s *session) push(ctx context.Context, c *api.Client, sp spec) error {
	dir, err := openDir(sp.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if sp.name == "" {
		sp, err = s.nameIt(ctx, sp)
	} else {
		sp, err = checkName(sp)
	}
	if err != nil {
		return err
	}
	s.note(sp.name)
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
	err = dir.Check()
	switch {
	case err == nil:
		return dir, nil
	case errors.Is(err, appdir.ErrNothing):
		err = fail("Go to the folder of the application, or name it with --path.", "There is nothing to push in '%s'", path)
	default:
		err = explainFiles(err)
	}
	return nil, errors.Join(err, dir.Close())
}

var (
	validName  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)
)

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
	if s.asks(sp) {
		if sp, err = s.interview(ctx, c, sp, kind); err != nil {
			return err
		}
		if err := s.offerToSave(ctx, c, sp, kind); err != nil {
			return err
		}
	}
	if err := s.create(ctx, c, sp, kind); err != nil {
		return err
	}
	if err := s.uploadFrom(ctx, c, sp.name, dir, kind.Archive); err != nil || s.opts.noStart {
		return err
	}
	return s.startNew(ctx, c, sp)
}

// create makes the app and gives it its services, once it is known that there is room.
func (s *session) create(ctx context.Context, c *api.Client, sp spec, kind appdir.Kind) error {
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
	services, err := s.planServices(ctx, c, sp.services)
	if err != nil {
		return err
	}
	err = s.step("Creating Application", func() error {
		_, err := c.CreateApp(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	return s.provide(ctx, c, sp.name, services)
}

// startNew starts what was pushed for the first time.
func (s *session) startNew(ctx context.Context, c *api.Client, sp spec) error {
	app, err := c.App(ctx, sp.name)
	if err != nil {
		return err
	}
	if err := s.start(ctx, c, app, nil); err != nil {
		return s.offerToDelete(ctx, c, app, err)
	}
	if len(app.URIs) == 0 && sp.urls == nil {
		s.say("  It has no URL, and so no port to listen on; for a web application: vmc push %s --url %s",
			sp.name, defaultURL(sp.name, c.Target))
	}
	return nil
}

// offerToDelete asks what is to become of an app that crashed at its first start.
func (s *session) offerToDelete(ctx context.Context, c *api.Client, app api.App, err error) error {
	if !errors.Is(err, errCrashed) || !s.mayAsk() {
		return err
	}
	s.report(ctx, err)
	sure, err := s.confirm(ctx, "Delete the application?", true)
	if err == nil && sure {
		err = s.step(fmt.Sprintf("Deleting application [%s]", app.Name), func() error { return c.DeleteApp(ctx, app.Name) })
	}
	if err != nil {
		return err
	}
	return exitStatus(1) // what went wrong was said
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
