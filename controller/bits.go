package controller

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

// upload takes an app's files: a zip, and descriptors of files that the pool holds.
func (c *Controller) upload(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	zipped, resources, err := c.readParts(e.Request())
	if zipped != nil {
		defer os.Remove(zipped.Name())
		defer zipped.Close()
	}
	if err != nil {
		return err
	}
	u := unpacker{batch: c.st.Blobs.Batch(), tree: tree{}, left: c.cfg.MaxUpload}
	defer u.batch.Discard()
	if zipped != nil {
		size, err := zipped.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if err := u.unzip(zipped, size); err != nil {
			return c.packagingFault(err)
		}
	}
	if err := c.addPooled(&u, app.Owner, resources); err != nil {
		return c.packagingFault(err)
	}
	if err := c.savePackage(e.Request().Context(), &u, app.ID); err != nil {
		return err
	}
	return blank(e)
}

// readParts reads the parts of an upload in whichever order and encoding they come. The
// zip goes to a file, because its table of contents is at its end.
func (c *Controller) readParts(r *http.Request) (zipped *os.File, resources []api.Resource, err error) {
	kind, boundary := formKind(r.Header.Get("Content-Type"))
	if kind != multipartForm {
		body, err := readBody(r)
		if err != nil {
			return nil, nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil || kind != urlForm {
			return nil, nil, api.BadRequest.Because("an upload is a multipart form with a part named application")
		}
		resources, err = parseResources([]byte(form.Get("resources")))
		return nil, resources, err
	}
	parts := multipart.NewReader(r.Body, boundary)
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return zipped, resources, nil
		}
		if err != nil {
			return zipped, nil, api.BadRequest.Because("the upload ended early or is no multipart form: %v", err)
		}
		switch partName(part) {
		case "application":
			if zipped != nil {
				return zipped, nil, api.BadRequest.Because("the upload has two parts named application")
			}
			zipped, err = c.receive(part)
		case "resources":
			var text []byte
			if text, err = io.ReadAll(io.LimitReader(part, maxBody)); err != nil {
				return zipped, nil, errCut
			}
			resources, err = parseResources(text)
		}
		if err != nil {
			return zipped, nil, err
		}
	}
}

var errCut = api.BadRequest.Because("the upload ended early; repeat it")

func parseResources(text []byte) (resources []api.Resource, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(text, &resources); err != nil {
		return nil, api.BadRequest.Because("the part named resources is no list of files: %v", err)
	}
	return resources, nil
}

func (c *Controller) receive(part io.Reader) (*os.File, error) {
	f, err := c.st.Blobs.TempFile()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(part, c.cfg.MaxUpload+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errCut
	case err == nil && n > c.cfg.MaxUpload:
		readOn(part, c.cfg.MaxUpload)
		err = c.packagingFault(errTooLarge)
	}
	return f, err
}

// addPooled adds the files that were not sent because the pool holds them. A descriptor
// of a file that is in the zip adds nothing.
func (c *Controller) addPooled(u *unpacker, owner string, resources []api.Resource) error {
	return c.st.View(func(tx *store.Tx) error {
		for _, r := range resources {
			f, ok := tx.PoolFile(owner, r.SHA1)
			if err := u.pooled(r, f, ok); err != nil {
				return err
			}
		}
		return nil
	})
}

// pooled adds one file f of the pool, if known, where the descriptor says.
func (u *unpacker) pooled(r api.Resource, f store.PoolFile, known bool) error {
	name, err := cleanPath(r.FN)
	switch _, sent := u.tree[name]; {
	case err != nil:
		return fmt.Errorf("%w: %v", errNoSource, err)
	case sent:
		return nil
	case name == ".":
		return fmt.Errorf("%w: %.80q is no file", errNoSource, r.FN)
	case !known || f.Size != int64(r.Size):
		return fmt.Errorf("%w: %.80q was not uploaded before", errNoSource, r.FN)
	}
	if u.left -= f.Size; u.left < 0 {
		return errTooLarge
	}
	n := node{Path: name, Mode: pooledMode(r.Mode, f.Executable), Blob: f.SHA256, Size: f.Size}
	if err := u.tree.add(n); err != nil {
		return fmt.Errorf("%w: %v", errNoSource, err)
	}
	u.files = append(u.files, f)
	return nil
}

// pooledMode is the mode that the client names, or that of the file's first upload.
func pooledMode(mode string, executable bool) fs.FileMode {
	if m, err := strconv.ParseUint(mode, 8, 32); err == nil {
		return fs.FileMode(m)&0o755 | 0o600
	}
	if executable {
		return 0o755
	}
	return 0o644
}

// savePackage makes what was unpacked the app's package. Files first, then the record
// that mentions them.
func (c *Controller) savePackage(ctx ctx, u *unpacker, id store.AppID) error {
	pkg, err := u.tree.save(u.batch)
	if err == nil {
		err = u.batch.Commit()
	}
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	return c.st.Update(func(tx *store.Tx) error {
		app, err := tx.App(id)
		if err != nil {
			return err
		}
		if err := fillPool(tx, app.Owner, u.files, now); err != nil {
			return err
		}
		if app.Package != nil && app.Package.Hash == pkg.Hash && app.PackageState == store.Staged {
			return nil // the same files: the droplet still fits
		}
		app.Package, app.PackageState, app.Updated = &pkg, store.Pending, now
		if err := tx.PutApp(&app); err != nil {
			return err
		}
		return record(ctx, tx, &app, store.AppUploaded, "%s", uploadText(u.tree, pkg.Size))
	})
}

// fillPool notes the files of an upload. A file that was known keeps its mode.
func fillPool(tx *store.Tx, owner string, files []store.PoolFile, now time.Time) error {
	for _, f := range files {
		if old, known := tx.PoolFile(owner, f.SHA1); known {
			f.Executable = old.Executable
		}
		f.Used = now
		if err := tx.PutPoolFile(owner, f); err != nil {
			return err
		}
	}
	return nil
}

// packagingFault tells in v1's words what is wrong with an upload, and what to do.
func (c *Controller) packagingFault(err error) error {
	var text, advice string
	switch {
	case errors.Is(err, errNotZip):
		text, advice = "Failed listing application archive", "pack the application again and repeat the upload"
	case errors.Is(err, errBadEntry):
		text, advice = "Failed unzipping application", "leave it out and repeat the upload"
	case errors.Is(err, errTooLarge):
		text = fmt.Sprintf("Application exceeds maximum allowed size (%.2fMB)", float64(c.cfg.MaxUpload)/1e6)
		advice = "leave out what it does not need, for instance with a .vmcignore file"
	case errors.Is(err, errNoSource):
		text, advice = "Failed synchronizing resource pool", "upload the file itself"
	default:
		return err
	}
	return api.PackagingFailed.With(text).Because("%v; %s", err, advice)
}

// download gives the owner the package back.
func (c *Controller) download(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	return c.sendPackage(e, &app)
}

func (c *Controller) sendPackage(e echo.Context, app *store.App) error {
	if app.Package == nil {
		return api.AppNotFound.Because("nothing was uploaded for this application yet")
	}
	e.Response().Header().Set("Content-Type", "application/octet-stream")
	e.Response().Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="app_%d"`, app.ID))
	err := writeZip(e.Response(), c.st.Blobs, *app.Package)
	if err != nil && e.Response().Committed {
		c.log.Error("package", "app", app.ID, "err", err)
		panic(http.ErrAbortHandler) // the client must not take what it has for all
	}
	return err
}
