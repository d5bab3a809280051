package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

// stagings are the staging runs under way, one per app at most.
type stagings struct {
	mu      sync.Mutex
	runs    map[store.AppID]*run
	stopped bool // the controller stops: no run gets anywhere any more
	// recent holds runs that have ended within a second: a short one may be over before
	// the request for its log comes.
	recent sync.Map // store.AppID → *run
}

// run is one staging run. Several requests may wait for it.
type run struct {
	upload string // the one-time id under which its droplet may be uploaded
	cancel context.CancelFunc
	done   chan struct{}
	err    error       // valid once done is closed
	blob   *store.Blob // the droplet, once it was uploaded

	followed atomic.Bool // somebody has its log: it is not news any more when it has ended

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced at each new line
}

const (
	// maxLogLines bounds what is kept of a staging log for those who follow it.
	maxLogLines = 20_000
	// maxRestagings bounds how often one request stages bits that are replaced meanwhile.
	maxRestagings = 5
)

var errUploadID = api.BadRequest.Because("this upload id is not known, or was used before")

// join is the app's run under way. Where there is none it makes one, which the caller
// has to carry out, within the context that join gives with it.
func (s *stagings) join(ctx context.Context, id store.AppID, limit time.Duration) (*run, context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.runs[id]; ok {
		return r, nil
	}
	if s.runs == nil {
		s.runs = map[store.AppID]*run{}
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	r := &run{upload: bus.RandomID(), cancel: cancel, done: make(chan struct{}), more: make(chan struct{})}
	s.runs[id] = r
	if s.stopped {
		cancel()
	}
	return r, work
}

func (s *stagings) get(id store.AppID) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

// end tells those who wait how it went.
func (s *stagings) end(id store.AppID, r *run, err error) {
	s.mu.Lock()
	delete(s.runs, id)
	s.recent.Store(id, r)
	s.mu.Unlock()
	time.AfterFunc(time.Second, func() { s.recent.CompareAndDelete(id, r) })
	r.err = err
	close(r.done)
}

// cancel gives a run up: its droplet would be refused.
func (s *stagings) cancel(id store.AppID) {
	if r := s.get(id); r != nil {
		r.cancel()
	}
}

// stop gives all runs up, also those that are yet to come.
func (s *stagings) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, r := range s.runs {
		r.cancel()
	}
}

// line keeps a line of a staging log for those who follow it.
func (s *stagings) line(l bus.LogLine) {
	n, ok := l.App.Number()
	if !ok || l.Source != bus.SourceStaging {
		return
	}
	if r := s.get(store.AppID(n)); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.lines) < maxLogLines {
			r.lines = append(r.lines, l.Text)
		}
		close(r.more)
		r.more = make(chan struct{})
	}
}

// stage makes the app's droplet and gives the app as it is then. A run whose bits were
// replaced meanwhile counts for nothing: the new ones are staged.
func (c *Controller) stage(ctx context.Context, id store.AppID) (app store.App, err error) {
	for range maxRestagings {
		if err = c.stageOnce(ctx, id); err != nil {
			return app, err
		}
		err = c.st.View(func(tx *store.Tx) error {
			app, err = tx.App(id)
			return err
		})
		if err != nil || !app.NeedsStaging() {
			return app, err
		}
	}
	return app, api.StagingFailed.With("the application's bits were replaced again and again").Because("upload once, and then start")
}

// stageOnce carries out a staging run, or waits for one under way. The run goes on when
// the client goes away: the next one finds the droplet.
func (c *Controller) stageOnce(ctx context.Context, id store.AppID) error {
	r, work := c.staging.join(ctx, id, c.cfg.StagingLimit)
	if work != nil {
		c.work.Go(func() {
			defer r.cancel()
			c.staging.end(id, r, c.runStaging(work, id, r))
		})
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Controller) runStaging(ctx context.Context, id store.AppID, r *run) error {
	var app store.App
	read := func(tx *store.Tx) (err error) {
		app, err = tx.App(id)
		return err
	}
	if err := c.st.View(read); err != nil {
		return err
	}
	result, err := bus.Staging.Ask(ctx, c.conn, c.stagingTask(&app, r))
	c.catchUp(ctx) // with the log, before those who follow it are told of the end
	switch {
	case errors.Is(err, context.Canceled): // the app is deleted, or the cloud stops
		return errors.Join(c.st.View(read), err)
	case errors.Is(err, bus.ErrNobody):
		result.Error = "no stager is running"
	case errors.Is(err, context.DeadlineExceeded):
		result.Error = fmt.Sprintf("Timed out after %ds.", int(c.cfg.StagingLimit.Seconds()))
	case err != nil:
		result.Error = err.Error()
	case result.Error == "" && r.droplet() == nil:
		result.Error = "the stager has uploaded no droplet"
	}
	return c.saveStaging(ctx, &app, r, result)
}

// saveStaging records the outcome, unless the bits were replaced meanwhile: it says
// nothing about the new ones. A failure stops the app.
func (c *Controller) saveStaging(ctx context.Context, staged *store.App, r *run, result bus.StagingResult) error {
	failed, replaced := result.Error != "", false
	err := c.st.Update(func(tx *store.Tx) error {
		app, err := tx.App(staged.ID)
		if err != nil {
			return err
		}
		if err := tx.PutStagingLog(app.ID, result.TaskLog); err != nil {
			return err
		}
		if replaced = app.Package.Hash != staged.Package.Hash; replaced {
			return nil
		}
		if failed {
			app.PackageState, app.Started = store.Failed, false
			app.RunCount++
		} else {
			setDroplet(&app, r.droplet())
		}
		app.Updated = time.Now().UTC()
		if err := tx.PutApp(&app); err != nil {
			return err
		}
		return recordStaging(ctx, tx, &app, result.Error)
	})
	if err != nil || replaced || !failed {
		return err
	}
	c.tell(bus.DEAStop.Publish(c.conn, bus.StopApp{Droplet: bus.AppNumber(staged.ID)}))
	return api.StagingFailed.With(result.Error).Because("the whole log: vmc files %s logs/staging.log", staged.Name)
}

// setDroplet counts runs from 0 for a new droplet, and on for the same one, so that no
// two runs share a version.
func setDroplet(app *store.App, droplet *store.Blob) {
	if app.Droplet != nil && app.Droplet.SHA1 == droplet.SHA1 {
		app.RunCount++
	} else {
		app.RunCount = 0
	}
	app.PackageState, app.Droplet = store.Staged, droplet
}

func (c *Controller) stagingTask(app *store.App, r *run) bus.StagingTask {
	base := url.URL{Scheme: "http", Host: c.addr, User: url.UserPassword(stagingUser, c.password)}
	id := string(bus.AppNumber(app.ID).ID())
	return bus.StagingTask{
		AppID: bus.AppID(id),
		Properties: bus.StagingProperties{
			Services: c.boundServices(app.ID), Framework: app.Framework, FrameworkInfo: bus.FrameworkInfo{Name: app.Framework},
			Runtime: app.Runtime, RuntimeInfo: c.runtimeInfo(app.Runtime),
			Resources:   bus.StagingLimits{Memory: app.Memory, Disk: app.Disk, FDs: app.FDs},
			Environment: list(app.Env),
			Meta:        bus.StagingMeta{Debug: app.Debug, Console: app.Console, Command: app.Command},
		},
		DownloadURI: base.JoinPath("staging", "app", id).String(),
		UploadURI:   base.JoinPath("staging", "droplet", id, r.upload).String(),
	}
}

func (r *run) droplet() *store.Blob {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blob
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// stagingPackage gives a stager the app's files.
func (c *Controller) stagingPackage(e echo.Context) error {
	app, err := c.numberedApp(e)
	if err != nil {
		return err
	}
	return c.sendPackage(e, &app)
}

func (c *Controller) numberedApp(e echo.Context) (app store.App, err error) {
	id, err := strconv.ParseInt(param(e, "id"), 10, 64)
	if err != nil {
		return app, api.AppNotFound
	}
	err = c.st.View(func(tx *store.Tx) error {
		app, err = tx.App(store.AppID(id))
		return err
	})
	return app, err
}

// stagingDroplet takes a droplet from a stager, once, under the id of its run.
func (c *Controller) stagingDroplet(e echo.Context) error {
	app, err := c.numberedApp(e)
	if err != nil {
		return err
	}
	r := c.staging.get(app.ID)
	if r == nil || r.upload != param(e, "upload") || r.droplet() != nil {
		return errUploadID
	}
	_, params, err := mime.ParseMediaType(e.Request().Header.Get("Content-Type"))
	if err != nil {
		return api.BadRequest.Because("a droplet comes as a multipart form")
	}
	parts := multipart.NewReader(e.Request().Body, params["boundary"])
	for {
		part, err := parts.NextPart()
		if err != nil {
			return api.BadRequest.Because("the form has no part upload[droplet]: %v", err)
		}
		if part.FormName() == "upload[droplet]" {
			return c.keepDroplet(e, r, part)
		}
	}
}

func (c *Controller) keepDroplet(e echo.Context, r *run, body io.Reader) error {
	batch := c.st.Blobs.Batch()
	defer batch.Discard()
	limit := 4 * c.cfg.MaxUpload // a droplet holds what its package asked for, too
	blob, err := batch.Add(io.LimitReader(body, limit+1))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	if err != nil {
		return err
	}
	if blob.Size > limit {
		return api.BadRequest.Because("the droplet is larger than %d MB", limit>>20)
	}
	if err := batch.Commit(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blob != nil { // two uploads at once
		return errUploadID
	}
	r.blob = &blob
	return blank(e)
}

// stagedDroplet gives a DEA the droplet of an app, if that is still the present one.
func (c *Controller) stagedDroplet(e echo.Context) error {
	app, err := c.numberedApp(e)
	if err != nil {
		return err
	}
	if app.Droplet == nil || app.Droplet.SHA1 != param(e, "hash") {
		return api.AppNotFound
	}
	f, err := c.st.Blobs.Open(app.Droplet.SHA256)
	if err != nil {
		return err
	}
	defer f.Close()
	e.Response().Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(e.Response(), e.Request(), "", time.Time{}, f)
	return nil
}

// stagingLog streams the log of the run under way, line by line, until it ends. Ours
// alone: `vmc push` asks for it while its PUT waits.
func (c *Controller) stagingLog(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	r := c.awaitRun(e.Request().Context(), app.ID)
	e.Response().Header().Set("Content-Type", "text/plain; charset=utf-8")
	e.Response().WriteHeader(http.StatusOK)
	if r == nil {
		return nil
	}
	for seen := 0; ; {
		ended := r.ended() // looked at before the lines, of which none comes later
		r.mu.Lock()
		lines, more := r.lines[seen:], r.more
		r.mu.Unlock()
		seen += len(lines)
		if len(lines) > 0 {
			if _, err := io.WriteString(e.Response(), strings.Join(lines, "\n")+"\n"); err != nil {
				return nil // the client went away
			}
			e.Response().Flush()
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-more:
		case <-r.done:
		case <-e.Request().Context().Done():
			return nil
		}
	}
}

// awaitRun waits a moment for a run to begin: the request for the log may overtake the
// one that stages.
func (c *Controller) awaitRun(ctx context.Context, id store.AppID) *run {
	for range 50 {
		if r := c.staging.get(id); r != nil {
			r.followed.Store(true)
			return r
		}
		if r, ok := c.staging.recent.LoadAndDelete(id); ok && !r.(*run).followed.Load() {
			return r.(*run)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
