package store

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// Blobs are files named by the SHA-256 of their content. They are written under a
// temporary name, forced to disk and renamed, so that a name always holds the whole.
type Blobs struct {
	dir string
	// mu keeps Sweep from removing a blob that an upload has just found here.
	mu sync.Mutex
}

func openBlobs(dir string) (*Blobs, error) {
	b := &Blobs{dir: dir}
	if err := os.RemoveAll(b.tmp()); err != nil { // left by a kill
		return nil, err
	}
	return b, os.MkdirAll(b.tmp(), 0o700)
}

func (b *Blobs) tmp() string { return filepath.Join(b.dir, "tmp") }

func (b *Blobs) path(sum string) string { return filepath.Join(b.dir, sum[:2], sum) }

var sha256Name = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Open opens a blob for reading, or fails with ErrNoBlob.
func (b *Blobs) Open(sum string) (*os.File, error) {
	if !sha256Name.MatchString(sum) {
		return nil, ErrNoBlob
	}
	f, err := os.Open(b.path(sum))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", sum, ErrNoBlob)
	}
	return f, err
}

// TempFile makes a file beside the blobs for content that has to be whole before it can
// be read, like a zip. The caller removes it.
func (b *Blobs) TempFile() (*os.File, error) { return os.CreateTemp(b.tmp(), "in-") }

// renew tells whether the blob is there, and makes it young if so.
func (b *Blobs) renew(sum string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	return os.Chtimes(b.path(sum), now, now) == nil
}

// removeOlder removes a blob unless it is younger than before.
func (b *Blobs) removeOlder(sum string, before time.Time) (removed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := os.Stat(b.path(sum))
	if err != nil || info.ModTime().After(before) {
		return false, err
	}
	return true, os.Remove(b.path(sum))
}

// Batch writes blobs that become visible together.
type Batch struct {
	b     *Blobs
	files map[string]string // sum → temporary name
}

// Batch begins one. The caller ends it with Commit, and calls Discard in any case.
func (b *Blobs) Batch() *Batch { return &Batch{b: b, files: map[string]string{}} }

// Add writes one blob from r.
func (w *Batch) Add(r io.Reader) (Blob, error) {
	f, err := os.CreateTemp(w.b.tmp(), "blob-")
	if err != nil {
		return Blob{}, err
	}
	h256, h1 := sha256.New(), sha1.New()
	n, err := io.Copy(io.MultiWriter(f, h256, h1), r)
	if err = errors.Join(err, f.Close()); err != nil {
		return Blob{}, errors.Join(err, os.Remove(f.Name()))
	}
	blob := Blob{SHA256: hex.EncodeToString(h256.Sum(nil)), SHA1: hex.EncodeToString(h1.Sum(nil)), Size: n}
	_, known := w.files[blob.SHA256]
	if known || w.b.renew(blob.SHA256) {
		return blob, os.Remove(f.Name())
	}
	w.files[blob.SHA256] = f.Name()
	return blob, nil
}

// Commit forces all to disk and gives each its name. Forcing the whole file system once
// costs less than forcing thousands of files one by one.
func (w *Batch) Commit() error {
	if len(w.files) == 0 {
		return nil
	}
	if err := w.sync(); err != nil {
		return err
	}
	dirs := map[string]bool{}
	for sum, tmp := range w.files {
		to := w.b.path(sum)
		if dir := filepath.Dir(to); !dirs[dir] {
			dirs[dir] = true
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
		}
		if err := os.Rename(tmp, to); err != nil {
			return err
		}
		delete(w.files, sum)
	}
	dirs[w.b.dir] = true
	for dir := range dirs {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return nil
}

func (w *Batch) sync() error {
	if len(w.files) > 8 {
		return syncAll(w.b.dir)
	}
	for _, tmp := range w.files {
		if err := syncPath(tmp); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes what was not committed.
func (w *Batch) Discard() {
	for _, tmp := range w.files {
		os.Remove(tmp) //nolint:errcheck // the next start removes what stays
	}
	clear(w.files)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Sweep removes blobs that no app and no pool entry mentions. Those younger than age
// stay: an upload may be about to mention them. trees lists the blobs of a package.
func (s *Store) Sweep(age time.Duration, trees func(Package) ([]string, error)) (removed int, err error) {
	before := time.Now().Add(-age)
	live, err := s.liveBlobs(trees)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(s.Blobs.dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || live[d.Name()] || !sha256Name.MatchString(d.Name()) {
			return err
		}
		gone, err := s.Blobs.removeOlder(d.Name(), before)
		if gone {
			removed++
		}
		return err
	})
	return removed, err
}

func (s *Store) liveBlobs(trees func(Package) ([]string, error)) (map[string]bool, error) {
	live := map[string]bool{}
	var packages []Package
	err := s.View(func(tx *Tx) error {
		if err := tx.tx.Bucket(bucketPool).ForEach(func(_, v []byte) error {
			f, _ := parsePoolFile(v)
			live[f.SHA256] = true
			return nil
		}); err != nil {
			return err
		}
		return tx.tx.Bucket(bucketApps).ForEach(func(_, v []byte) error {
			var app App
			err := json.Unmarshal(v, &app)
			if app.Droplet != nil {
				live[app.Droplet.SHA256] = true
			}
			if app.Package != nil {
				packages = append(packages, *app.Package)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	for _, p := range packages {
		sums, err := trees(p)
		if err != nil {
			return nil, err
		}
		live[p.Tree] = true
		for _, sum := range sums {
			live[sum] = true
		}
	}
	return live, nil
}
