package vmc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"cloudlet/controller/api"
)

const (
	// firstRetry and lastRetry are how long a lost log is left alone before it is asked
	// for again, and lostFor is how long that goes on.
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
	lostFor    = 5 * time.Minute
	// rememberedLogs is how many logs of former instances a lost stream can continue.
	rememberedLogs = 200
)

// tailCommand prints the lines of all instances: those of lately and, with --tail, those
// that are written from now on, until Ctrl-C.
func (s *session) tailCommand(ctx context.Context, c *api.Client, app api.App) error {
	q := api.LogQuery{Lines: -1, Follow: s.opts.tail}
	if s.opts.lines != nil {
		q.Lines = *s.opts.lines
	}
	if s.opts.instance != "" {
		var err error
		if q.Instance, err = s.oneInstance(); err != nil {
			return err
		}
	}
	if s.opts.tail && app.State != api.Started {
		fmt.Fprintf(s.err, "Application '%[1]s' is stopped: `vmc start %[1]s` starts it\n", app.Name)
	}
	go s.watchReader(ctx)
	t := &tailer{session: s, c: c, app: app, query: q, printer: s.linePrinter()}
	err := t.run(ctx)
	if noSuchRoute(err) {
		err = s.pollLogs(ctx, c, app, q, t.printer)
	}
	if ctx.Err() != nil && s.opts.tail && !pipeBroke(ctx) {
		return nil // Ctrl-C is how it ends
	}
	return err
}

// noSuchRoute tells of a cloud that is not Cloudlet: a route that v1 does not have.
func noSuchRoute(err error) bool {
	var f *api.Fault
	return errors.As(err, &f) && f.Code == 0 && (f.Status == http.StatusNotFound || f.Status == http.StatusMethodNotAllowed)
}

// tailer follows a log over as many connections as it takes.
type tailer struct {
	*session
	c       *api.Client
	app     api.App
	query   api.LogQuery
	printer *linePrinter
	cursor  cursor
	begun   bool // the log was there once
}

func (t *tailer) run(ctx context.Context) error {
	lost, wait := time.Time{}, firstRetry
	for {
		before := t.printer.count
		err := t.once(ctx)
		if err == nil || ctx.Err() != nil || !t.query.Follow || !t.worthRetrying(err) {
			return err
		}
		if lost.IsZero() || t.printer.count > before {
			lost, wait = time.Now(), firstRetry
			fmt.Fprintf(t.err, "Lost the log of [%s] (%v), asking again until it answers\n", t.app.Name, rootCause(err))
		}
		if time.Since(lost) > lostFor {
			return err
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, lastRetry)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// worthRetrying tells that what went wrong may pass: the connection broke, or the cloud
// is being started and does not know its API yet.
func (t *tailer) worthRetrying(err error) bool {
	var f *api.Fault
	if !errors.As(err, &f) {
		return t.begun
	}
	return t.begun && (f.Code == 0 || f.Status >= http.StatusInternalServerError)
}

// once copies one connection's lines to the end.
func (t *tailer) once(ctx context.Context) error {
	q := t.query
	if q.Since = t.cursor.since(); len(q.Since) > 0 && q.Lines != 0 {
		q.Lines = api.LogLinesMax // logs that are new since then are wanted from their beginning
	}
	stream, err := t.c.Logs(ctx, t.app.Name, q)
	if err != nil {
		return err
	}
	defer stream.Close()
	t.begun = true
	for {
		l, err := stream.Next()
		switch {
		case errors.Is(err, io.EOF) && !q.Follow:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		t.cursor.add(l)
		if l.Mark {
			continue
		}
		if err := t.printer.print(l); err != nil {
			return err
		}
	}
}

// cursor is how far the logs were read. Of former instances it forgets the oldest, so
// that it stays short however often an app crashes.
type cursor struct{ now, before api.LogCursor }

func (c *cursor) add(l api.LogLine) {
	if c.now == nil || len(c.now) >= rememberedLogs {
		c.now, c.before = api.LogCursor{}, c.now
	}
	c.now.Add(l)
}

func (c *cursor) since() api.LogCursor {
	all := api.LogCursor{}
	maps.Copy(all, c.before)
	maps.Copy(all, c.now)
	return all
}

// linePrinter prints log lines: with a prefix each, or as JSON.
type linePrinter struct {
	*session
	width  int            // of the widest prefix so far
	colors map[int]string // of each instance
	count  int
}

func (s *session) linePrinter() *linePrinter {
	return &linePrinter{session: s, width: len("app/0 stdout"), colors: map[int]string{}}
}

func (p *linePrinter) print(l api.LogLine) error {
	p.count++
	if p.opts.json {
		return p.printJSONLine(l)
	}
	_, err := fmt.Fprintln(p.out, p.format(l))
	return err
}

// palette are the colours of instances; red is for stderr.
var palette = []string{"36", "33", "35", "34", "32", "96", "95", "94"}

const gray = "90"

func (p *linePrinter) format(l api.LogLine) string {
	from, color := fmt.Sprintf("app/%d %s", l.Instance, l.Source), gray
	if l.Instance == api.NoInstance {
		from = "app " + l.Source
	} else {
		color = palette[l.Instance%len(palette)]
	}
	p.width = max(p.width, len(from))
	text := l.Line
	if p.terminal.colors {
		text = harmless(text)
	}
	switch l.Source {
	case "stderr":
		text = p.color(red, text)
	case api.SourceEvent:
		text = p.color(gray, text)
	}
	return p.color(color, fmt.Sprintf("%-*s |", p.width, from)) + " " + text
}
