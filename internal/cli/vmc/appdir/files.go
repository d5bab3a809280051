package appdir

import (
	"crypto/sha1"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is one entry of an app.
type File struct {
	Path string      // relative to the root, with slashes
	Mode fs.FileMode // a regular file, a folder or a symbolic link
	Size int64       // of a regular file
	Time time.Time
	Link string // target of a symbolic link
}

// Executable tells that the file may be run.
func (f File) Executable() bool { return f.Mode.IsRegular() && f.Mode&0o111 != 0 }

// Files lists what belongs to the app, folders before what is in them. Symbolic links
// stay links and must not lead out of the app.
func (d *Dir) Files() ([]File, error) {
	root, err := filepath.EvalSymlinks(d.Root)
	if err != nil {
		return nil, err
	}
	var files []File
	ig := newIgnorer(root)
	err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if rel == "." {
			return ig.enter(rel)
		}
		if ig.ignores(rel, e.IsDir()) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			if err := ig.enter(rel); err != nil {
				return err
			}
		}
		f, ok, err := entry(root, rel, e)
		if ok {
			files = append(files, f)
		}
		return err
	})
	return files, err
}

// entry describes one entry; ok is false for sockets, devices and pipes.
func entry(root, rel string, e fs.DirEntry) (f File, ok bool, err error) {
	info, err := e.Info()
	if err != nil {
		return File{}, false, err
	}
	f = File{Path: rel, Mode: info.Mode(), Time: info.ModTime()}
	switch {
	case info.Mode().IsRegular():
		f.Size = info.Size()
	case info.Mode()&fs.ModeSymlink != 0:
		f.Link, err = insideLink(root, rel)
	case !info.IsDir():
		return File{}, false, nil
	}
	return f, err == nil, err
}

// insideLink is the target of a link that stays inside, both as it reads and as the
// links on its way have it.
func insideLink(root, rel string) (string, error) {
	name := filepath.Join(root, filepath.FromSlash(rel))
	target, err := os.Readlink(name)
	if err != nil {
		return "", err
	}
	slashed := filepath.ToSlash(target)
	reads := path.Join(path.Dir(rel), slashed)
	if path.IsAbs(slashed) || filepath.IsAbs(target) || reads == ".." || strings.HasPrefix(reads, "../") {
		return "", outside(rel, target)
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return slashed, nil // leads nowhere yet
	}
	if r, err := filepath.Rel(root, real); err != nil || r == ".." || strings.HasPrefix(r, ".."+string(filepath.Separator)) {
		return "", outside(rel, target)
	}
	return slashed, nil
}

// Size is how many bytes the files have.
func Size(files []File) (total int64) {
	for _, f := range files {
		total += f.Size
	}
	return total
}

// WithoutPlainFolders leaves out the folders that come into being with what is in them:
// those of ordinary mode that are not empty.
func WithoutPlainFolders(files []File) []File {
	filled := map[string]bool{}
	for _, f := range files {
		filled[path.Dir(f.Path)] = true
	}
	return slices.DeleteFunc(slices.Clone(files), func(f File) bool {
		return f.Mode.IsDir() && f.Mode.Perm() == 0o755 && filled[f.Path]
	})
}

// Fingerprint is the SHA-1 of a file of the app.
func (d *Dir) Fingerprint(f File) (string, error) {
	in, err := os.Open(filepath.Join(d.Root, filepath.FromSlash(f.Path)))
	if err != nil {
		return "", err
	}
	defer in.Close()
	h := sha1.New()
	if _, err := io.Copy(h, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
