package controller

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

var indexText = regexp.MustCompile(`^[0-9]{1,10}$`)

// files fetches a file or a listing from the DEA that holds the instance.
func (c *Controller) files(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	path, id := param(e, "*"), param(e, "id")
	if path == "logs/staging.log" {
		return c.lastStagingLog(e, app.ID)
	}
	if !app.Started {
		return api.AppStopped.Because("start it first: vmc start %s", app.Name)
	}
	q, err := instanceQuery(&app, id, bus.Starting, bus.Running, bus.Crashed)
	if err != nil {
		return err
	}
	found := bus.DEAFindDroplet.Gather(e.Request().Context(), c.conn, q, 1, c.cfg.Gather)
	if len(found) == 0 {
		return fileFault(path).Because("no such instance has files at present")
	}
	return c.relay(e, found[0], path)
}

func (c *Controller) lastStagingLog(e echo.Context, id store.AppID) error {
	text := ""
	err := c.st.View(func(tx *store.Tx) error {
		text = tx.StagingLog(id)
		return nil
	})
	if err != nil {
		return err
	}
	if text == "" {
		return blankWith(e, http.StatusNotFound)
	}
	return write(e, http.StatusOK, htmlType, []byte(text))
}

// fileFault names a file as the client did.
func fileFault(path string) *api.Fault {
	if path == "" {
		path = "/"
	}
	return api.FileError.With(path)
}

// relay hands on what the DEA has of a file. What it refuses is one fault, as in v1.
func (c *Controller) relay(e echo.Context, f bus.FoundDroplet, path string) error {
	fault := fileFault(path)
	target, err := url.Parse(f.FileURI)
	if err != nil || len(f.Credentials) != 2 {
		return fault
	}
	target = target.JoinPath(f.Staged)
	target.Path += "/" + strings.TrimLeft(path, "/")
	target.RawPath = ""
	req, err := http.NewRequestWithContext(e.Request().Context(), e.Request().Method, target.String(), nil)
	if err != nil {
		return fault
	}
	req.SetBasicAuth(f.Credentials[0], f.Credentials[1])
	if r := e.Request().Header.Get("Range"); r != "" {
		req.Header.Set("Range", r)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return fault.Because("the DEA does not answer: %v", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
	case http.StatusNotFound:
		return fault.Because("there is no such file")
	default:
		return fault.Because("this file is not for reading")
	}
	for _, h := range []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Last-Modified"} {
		if v := resp.Header.Get(h); v != "" {
			e.Response().Header().Set(h, v)
		}
	}
	e.Response().WriteHeader(resp.StatusCode)
	_, err = io.Copy(e.Response(), resp.Body)
	return err
}
