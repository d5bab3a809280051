package vmc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloudlet/controller/api"
)

const (
	pollEvery = time.Second
	// pollRead is how much of a file is read at once, and how much of its end is looked
	// through for the lines of lately.
	pollRead = 256 << 10
)

// pollLogs is what there is on a cloud without a stream of log lines: the files are read
// again and again, from where they ended.
func (s *session) pollLogs(ctx context.Context, c *api.Client, app api.App, q api.LogQuery, to *linePrinter) error {
	if q.Follow {
		fmt.Fprintf(s.err, "%s has no live log: its log files are asked for every second\n", c.Target)
	}
	if q.Lines < 0 {
		q.Lines = api.LogLinesDefault
	}
	p := poller{session: s, c: c, app: app, query: q, to: to, ends: map[string]int64{}}
	for {
		if err := p.round(ctx); err != nil || !q.Follow {
			return explainStopped(err, app)
		}
		p.going = true
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// poller remembers how far the files were read.
type poller struct {
	*session
	c     *api.Client
	app   api.App
	query api.LogQuery
	to    *linePrinter
	ends  map[string]int64 // "index@start/file" to the offset behind the last whole line
	going bool             // the first round is over: a file that is new is shown from its beginning
}

// round reads what is new in all files of all instances.
func (p *poller) round(ctx context.Context) error {
	list, err := p.instances(ctx)
	if err != nil {
		return err
	}
	for _, i := range list {
		index := strconv.Itoa(i.Index)
		names, err := listing(ctx, p.c, p.app.Name, index, "/logs")
		if err != nil && p.going {
			continue // starting, or gone
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := p.file(ctx, i, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// instances are those that are wanted; an instance that was started anew is another one.
func (p *poller) instances(ctx context.Context) ([]api.Instance, error) {
	list, err := p.c.Instances(ctx, p.app.Name)
	if err != nil || p.query.Instance == "" {
		return list, err
	}
	for _, i := range list {
		if strconv.Itoa(i.Index) == p.query.Instance {
			return []api.Instance{i}, nil
		}
	}
	return nil, fail("`vmc instances "+p.app.Name+"` lists them.", "There is no instance %s of [%s]", p.query.Instance, p.app.Name)
}

// file prints what a file has got since it was read last.
func (p *poller) file(ctx context.Context, i api.Instance, name string) error {
	key := fmt.Sprintf("%d@%d/%s", i.Index, i.Since, name)
	from, known := p.ends[key]
	if !known && !p.going {
		from = -pollRead
	}
	rc, at, err := p.c.FileFrom(ctx, p.app.Name, strconv.Itoa(i.Index), "/logs/"+name, from)
	var f *api.Fault
	if errors.As(err, &f) {
		return nil // gone since it was listed
	}
	data, err := read(rc, err, pollRead)
	if err != nil {
		return err
	}
	if at > 0 && from < 0 { // begins in the middle of a line
		cut := bytes.IndexByte(data, '\n') + 1
		data, at = data[cut:], at+int64(cut)
	}
	lines, used := wholeLines(data, !p.query.Follow)
	p.ends[key] = at + int64(used)
	if from < 0 {
		lines = lines[max(0, len(lines)-p.query.Lines):]
	}
	for _, line := range lines {
		l := api.LogLine{App: p.app.Name, Instance: i.Index, Source: strings.TrimSuffix(name, ".log"), Line: line}
		if err := p.to.print(l); err != nil {
			return err
		}
	}
	return nil
}

// wholeLines splits data into lines and tells how many bytes they take. One that has not
// ended waits for its end, unless all is wanted or it is longer than can be read at once.
func wholeLines(data []byte, all bool) (lines []string, used int) {
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) && !all && len(data) < pollRead {
			break
		}
		used += len(line)
		lines = append(lines, string(bytes.TrimRight(line, "\r\n")))
	}
	return lines, used
}
