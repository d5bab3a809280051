package vmc

import (
	"cmp"
	"context"
	"slices"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
	"cloudlet/internal/cli/vmc/manifest"
)

func updateCommand(ctx context.Context, s *session, args []string) error {
	specs, err := s.specs(ctx, args)
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

// pushAgain sends new files to an app, changes what the command line asks to be
// changed, and leaves it running.
func (s *session) pushAgain(ctx context.Context, c *api.Client, app api.App, sp spec, dir *appdir.Dir) error {
	if sp.framework != "" {
		kind, err := named(sp.framework, s.info.Frameworks)
		if err != nil {
			return err
		}
		sp.framework = kind.Framework
		if sp.runtime == "" {
			sp.runtime = kind.Runtime
		}
	}
	change, err := sp.changes()
	if err != nil {
		return err
	}
	if err := s.checkRuntime(cmp.Or(sp.framework, app.Staging.Model), sp.runtime); err != nil {
		return err
	}
	if err := s.checkChange(app, change); err != nil {
		return err
	}
	if app, err = s.provideAgain(ctx, c, app, sp); err != nil {
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
	if !sp.wantsChange() {
		return nil
	}
	req := app.Request()
	change(&req)
	return s.stage(ctx, c, app.Name, req)
}

// provideAgain binds the services that a manifest has got meanwhile.
func (s *session) provideAgain(ctx context.Context, c *api.Client, app api.App, sp spec) (api.App, error) {
	unbound := slices.DeleteFunc(slices.Clone(sp.services), func(w manifest.Service) bool { return slices.Contains(app.Services, w.Name) })
	plan, err := s.planServices(ctx, c, unbound)
	if err != nil || len(unbound) == 0 {
		return app, err
	}
	if err := s.provide(ctx, c, app.Name, plan); err != nil {
		return app, err
	}
	return c.App(ctx, app.Name)
}

// checkChange compares what the app will need with what is free, before the upload.
func (s *session) checkChange(app api.App, change func(*api.AppRequest)) error {
	if s.opts.noStart && app.State != api.Started {
		return nil
	}
	req := app.Request()
	change(&req)
	need := int(*req.Resources.Memory) * int(*req.Instances)
	if app.State == api.Started {
		need -= app.Resources.Memory * app.Instances // counted already
	}
	return s.checkMemory(need)
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
	app, err := c.App(ctx, app.Name) // the change gave it another version
	if err != nil {
		return err
	}
	return s.restartBy(ctx, c, app, plainly)
}

// plainly sends a change that has nothing to stage.
func plainly(ctx context.Context, c *api.Client, name string, req api.AppRequest) error {
	return c.UpdateApp(ctx, name, req)
}
