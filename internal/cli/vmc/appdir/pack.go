package appdir

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/klauspost/compress/flate"
)

// emptyName is the file of an archive that would have none: servers want a zip with
// something in it.
const emptyName = ".__empty__"

// Pack writes a zip of the files. Modes, times and symbolic links are kept. Progress is
// told how many bytes of the files were packed so far.
func (d *Dir) Pack(ctx context.Context, w io.Writer, files []File, progress func(done int64)) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed) // uploads are mostly to this machine
	})
	count := &counter{ctx: ctx, progress: progress}
	for _, f := range files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := d.packFile(z, f, count); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if len(files) == 0 {
		if _, err := z.Create(emptyName); err != nil {
			return err
		}
	}
	return z.Close()
}

// counter tells how much was read, and ends with its context also within a large file.
type counter struct {
	ctx      context.Context
	from     io.Reader
	done     int64
	progress func(int64)
}

func (c *counter) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, c.ctx.Err()
	}
	n, err := c.from.Read(b)
	c.done += int64(n)
	c.progress(c.done)
	return n, err
}

func (d *Dir) packFile(z *zip.Writer, f File, count *counter) error {
	h := &zip.FileHeader{Name: f.Path, Method: zip.Deflate, Modified: f.Time}
	h.SetMode(f.Mode)
	if f.Mode.IsDir() {
		h.Name, h.Method = f.Path+"/", zip.Store
	}
	w, err := z.CreateHeader(h)
	if err != nil || f.Mode.IsDir() {
		return err
	}
	if f.Link != "" {
		_, err := io.WriteString(w, f.Link)
		return err
	}
	in, err := os.Open(filepath.Join(d.Root, filepath.FromSlash(f.Path)))
	if err != nil {
		return err
	}
	defer in.Close()
	count.from = in
	_, err = io.Copy(w, count)
	return err
}

// unzip unpacks an archive below folder, and nothing outside it.
func unzip(archive, folder string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	defer z.Close()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range z.File {
		if err := unzipFile(root, f); err != nil {
			return fmt.Errorf("%s: %s: %w", archive, f.Name, err)
		}
	}
	return nil
}

// unzipFile writes one entry; root refuses a name that would leave it.
func unzipFile(root *os.Root, f *zip.File) error {
	mode := f.Mode()
	if mode.IsDir() {
		return root.MkdirAll(path.Clean(f.Name), 0o755)
	}
	if err := root.MkdirAll(path.Dir(f.Name), 0o755); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	if mode&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(io.LimitReader(in, 4096))
		if err != nil {
			return err
		}
		return root.Symlink(string(target), f.Name)
	}
	out, err := root.OpenFile(f.Name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode.Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode.Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
