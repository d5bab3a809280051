package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

// maxSnapshotUpload bounds the data of an instance that come in a form, as in v1.
const maxSnapshotUpload = 1 << 20

// lifecycle hands a request about snapshots or jobs on to the gateway of the caller's
// service instance, and its answer back. form is that of the body, if there is one.
func (c *Controller) lifecycle(form message) echo.HandlerFunc {
	return func(e echo.Context) error {
		s, o, err := c.lifecycled(e)
		if err != nil {
			return err
		}
		in := map[string]any{}
		if form != nil {
			if in, err = decodeMessage[map[string]any](e, form); err != nil {
				return err
			}
		}
		_, tail, _ := strings.Cut(e.Path(), "/:id")
		for _, name := range []string{"sid", "job_id"} {
			tail = strings.ReplaceAll(tail, ":"+name, url.PathEscape(param(e, name)))
		}
		var out json.RawMessage
		err = ask(e.Request().Context(), &o, e.Request().Method, configurations(s.Handle)+tail, in, &out)
		var fault *api.Fault
		switch {
		case errors.As(err, &fault): // in the gateway's own words
			return fault
		case err != nil:
			return c.gatewayFault(&o, "answer", err)
		}
		return e.JSON(http.StatusOK, out)
	}
}

// lifecycled reads the service instance that a lifecycle route is about.
func (c *Controller) lifecycled(e echo.Context) (s store.Service, o store.Offering, err error) {
	u, err := user(e)
	if err != nil {
		return s, o, err
	}
	if !c.cfg.Lifecycle {
		return s, o, api.ExtensionMissing.With("lifecycle").Because("this cloud keeps no snapshots of services")
	}
	err = c.st.View(func(tx *store.Tx) (err error) {
		s, o, err = ownHandled(tx, u, param(e, "id"))
		return err
	})
	if errors.Is(err, api.Forbidden) {
		err = store.ErrNoService
	}
	return s, o, err
}

// importData takes an instance's data in a form. v1 passed them to a server of their own,
// which this cloud has not.
func (c *Controller) importData(e echo.Context) error {
	if _, _, err := c.lifecycled(e); err != nil {
		return err
	}
	if err := readDataFile(e.Request()); err != nil {
		return api.BadRequest.Because("the data come as a file named data_file of less than %d MB: %v", maxSnapshotUpload>>20, err)
	}
	return api.NoSerializationServer.Because("put the file on a web server, and import its URL")
}

func readDataFile(r *http.Request) error {
	_, boundary := formKind(r.Header.Get("Content-Type"))
	parts := multipart.NewReader(io.LimitReader(r.Body, 2*maxSnapshotUpload), boundary)
	for {
		part, err := parts.NextPart()
		if err != nil {
			return err
		}
		if partName(part) != "data_file" {
			continue
		}
		n, err := io.Copy(io.Discard, part)
		if err == nil && n >= maxSnapshotUpload {
			err = fmt.Errorf("it has %d bytes", n)
		}
		return err
	}
}
