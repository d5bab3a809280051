package dea

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/singleflight"
)

// droplets are the droplets that were fetched, by their fingerprint. Some are kept: an
// instance that crashed comes back at once.
type droplets struct {
	dir    string
	flight singleflight.Group
	mu     sync.Mutex
}

// keepDroplets is how many stay after their last use.
const keepDroplets = 16

func (d *droplets) open() error { return os.MkdirAll(d.dir, 0o700) }

// fetch gives the file of a droplet. Only one download of each is under way.
func (d *droplets) fetch(ctx context.Context, from, sum string) (string, error) {
	file := filepath.Join(d.dir, sum+".tgz")
	_, err, _ := d.flight.Do(sum, func() (any, error) {
		now := time.Now()
		if os.Chtimes(file, now, now) == nil {
			return nil, nil
		}
		if err := download(ctx, from, file, sum); err != nil {
			return nil, err
		}
		return nil, d.prune()
	})
	return file, err
}

func download(ctx context.Context, from, to, sum string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	resp, err := controller.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer was %s", resp.Status)
	}
	f, err := os.CreateTemp(filepath.Dir(to), "pending-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it was renamed
	h := sha1.New()
	_, err = io.Copy(io.MultiWriter(f, h), resp.Body)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != strings.ToLower(sum) {
		return errDroplet
	}
	return os.Rename(f.Name(), to)
}

// controller talks to the cloud controller, which no proxy of the environment leads to.
var controller = &http.Client{Transport: &http.Transport{IdleConnTimeout: 10 * time.Second}}

// prune removes those that were not used for longest.
func (d *droplets) prune() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	type aged struct {
		name string
		used time.Time
	}
	var files []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, aged{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return b.used.Compare(a.used) })
	for _, f := range files[min(len(files), keepDroplets):] {
		err = cmp.Or(err, os.Remove(filepath.Join(d.dir, f.name)))
	}
	return err
}

// unpackDroplet lays a droplet out in a folder. The root refuses whatever leads out.
func unpackDroplet(file, home string, limit int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(home)
	if err != nil {
		return err
	}
	defer root.Close()
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if limit -= h.Size; limit < 0 {
			return errors.New("it is larger than the application's disk limit")
		}
		if err := unpackEntry(root, h, t); err != nil {
			return fmt.Errorf("%.80q: %w", h.Name, err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, body io.Reader) error {
	name, perm := path.Clean(h.Name), h.FileInfo().Mode().Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(path.Clean(h.Linkname), name)
	case tar.TypeReg:
	default:
		return nil // no device, no pipe
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, perm|0o200)
	if errors.Is(err, os.ErrNotExist) {
		if err = root.MkdirAll(path.Dir(name), 0o755); err == nil {
			f, err = root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, perm|0o200)
		}
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

// readSmall reads a file that an app may have put there: not a pipe, and not for ever.
func readSmall(root *os.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, 64<<10))
}
