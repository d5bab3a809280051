package vmc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
)

// matchFrom is the size of an app from which on it pays to ask which of its files the
// server has already.
const matchFrom = 64 << 10

// upload sends the files of a folder to an app that exists.
func (s *session) upload(ctx context.Context, c *api.Client, app string, dir *appdir.Dir) error {
	s.sent = false
	s.say("Uploading Application:")
	files, err := dir.Files()
	if err != nil {
		return explainFiles(err)
	}
	var known []api.Resource
	if appdir.Size(files) > matchFrom && !s.opts.noResources {
		if files, known, err = s.match(ctx, c, dir, files); err != nil {
			return err
		}
	}
	zip, err := os.CreateTemp("", "vmc-*.zip")
	if err != nil {
		return err
	}
	defer os.Remove(zip.Name())
	defer zip.Close()
	packing, total := "  Packing application", appdir.Size(files)
	err = s.step(packing, func() error {
		defer s.rewind(packing)
		return dir.Pack(ctx, zip, files, func(done int64) { s.progress(packing, done, total) })
	})
	if err != nil {
		return err
	}
	info, err := zip.Stat()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("  Uploading (%s)", roundUp(info.Size()))
	err = s.step(what, func() error {
		defer s.rewind(what)
		return c.PutBits(ctx, app, api.Upload{
			Known: known, Zip: zip, Size: info.Size(),
			Progress: func(sent int64) { s.progress(what, sent, info.Size()) },
		})
	})
	if err != nil {
		return err
	}
	s.sent = true
	fmt.Fprint(s.out, "Push Status: ")
	s.ok("Push")
	return nil
}

// roundUp writes a size as vmc does here: in whole K or M, none too few.
func roundUp(n int64) string {
	if n > 1<<20 {
		return fmt.Sprintf("%dM", (n+(1<<20-1))>>20)
	}
	return fmt.Sprintf("%dK", (n+(1<<10-1))>>10)
}

// match leaves out the files that the server has.
func (s *session) match(ctx context.Context, c *api.Client, dir *appdir.Dir, files []appdir.File) (rest []appdir.File, known []api.Resource, err error) {
	what := "  Checking for available resources"
	err = s.step(what, func() error {
		defer s.rewind(what)
		resources, err := s.fingerprints(ctx, what, dir, files)
		if err != nil {
			return err
		}
		known, err = c.Known(ctx, resources)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	err = s.step("  Processing resources", func() error {
		there := map[string]bool{}
		for _, r := range known {
			there[r.FN] = true
		}
		rest = slices.DeleteFunc(appdir.WithoutPlainFolders(files), func(f appdir.File) bool { return there[f.Path] })
		return nil
	})
	return rest, known, err
}

func (s *session) fingerprints(ctx context.Context, what string, dir *appdir.Dir, files []appdir.File) ([]api.Resource, error) {
	var list []api.Resource
	total, done := appdir.Size(files), int64(0)
	for _, f := range files {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !f.Mode.IsRegular() {
			continue
		}
		sum, err := dir.Fingerprint(f)
		if err != nil {
			return nil, err
		}
		list = append(list, api.Resource{
			FN: f.Path, Size: api.Int64(f.Size), SHA1: sum, Mode: fmt.Sprintf("%o", f.Mode.Perm()),
		})
		done += f.Size
		s.progress(what, done, total)
	}
	return list, nil
}

// explainFiles says what to do about files that cannot be packed.
func explainFiles(err error) error {
	hint := ""
	switch {
	case errors.Is(err, appdir.ErrOutside):
		hint = "Copy what it leads to into the application, or leave the link out with a line in .vmcignore."
	case errors.Is(err, os.ErrPermission):
		hint = "Make it readable, or leave it out with a line in .vmcignore."
	}
	return &problem{text: "Error: " + err.Error(), hint: hint, cause: err}
}
