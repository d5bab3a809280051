// Package appdir reads the folder or archive that a user pushes: what kind of app it is,
// which files belong to it, their fingerprints, and the zip of them.
//
// Protocol: none; the zip and the fingerprints are those of v1's upload.
// State: none, but for a temporary folder where an archive was unpacked.
// Source: vmc 0.3.23 for detection and packing, git for ignore files, Heroku for
// the Procfile.
package appdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is an opened app. Close removes what was unpacked.
type Dir struct {
	Root string // the folder with the app's files
	temp string
}

// Errors that a user can do something about.
var (
	ErrNothing = errors.New("there is nothing to push")
	ErrOutside = errors.New("leads out of the application")
)

// Open takes a folder as it is, unpacks a .war or .zip, and makes any other file an app
// of one file.
func Open(path string) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return &Dir{Root: path}, nil
	}
	temp, err := os.MkdirTemp("", "vmc-app-")
	if err != nil {
		return nil, err
	}
	d := &Dir{Root: temp, temp: temp}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".war", ".zip":
		err = unzip(path, temp)
	default:
		err = copyFile(path, filepath.Join(temp, filepath.Base(path)), info.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close removes what Open made.
func (d *Dir) Close() error {
	if d.temp == "" {
		return nil
	}
	return os.RemoveAll(d.temp)
}

// has tells that one of the names is there.
func has(root string, names ...string) bool {
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(root, n)); err == nil {
			return true
		}
	}
	return false
}

// glob are the files that match, hidden ones left out. A root with glob's own signs in
// its name does no harm, since matching happens below it.
func glob(root, pattern string) []string {
	found, err := fs.Glob(os.DirFS(root), pattern)
	if err != nil {
		return nil // the patterns are our own and well-formed: a folder that cannot be read
	}
	return found
}

// Check tells what would keep the app from being uploaded: that there is nothing, or what
// must not or cannot be read. It precedes all that changes something on the cloud.
func (d *Dir) Check() error {
	files, err := d.Files()
	if err != nil {
		return err
	}
	nothing := true
	for _, f := range files {
		nothing = nothing && f.Mode.IsDir()
		if !f.Mode.IsRegular() {
			continue
		}
		name := filepath.Join(d.Root, filepath.FromSlash(f.Path))
		if err := unix.Faccessat(unix.AT_FDCWD, name, unix.R_OK, unix.AT_EACCESS); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if nothing {
		return ErrNothing
	}
	return nil
}

func outside(name, target string) error {
	return fmt.Errorf("the link %s, to %s, %w", name, target, ErrOutside)
}
