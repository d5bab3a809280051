package dea

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"

	"cloudlet/controller/api"
)

const (
	// logPoll is the time between two looks at the logs of an instance that is followed.
	// Looking is a few system calls; inotify would need a watch per folder, of which a
	// machine has few, and again looking, where an app replaces the folder.
	logPoll = 100 * time.Millisecond
	// logSearch is the time between two looks for logs that are new.
	logSearch = time.Second
	// logSources bounds the logs of one instance that are read.
	logSources = 16
)

var logName = regexp.MustCompile(`^([A-Za-z0-9_.-]{1,64})\.log$`)

// logStream is one reader of an instance's logs.
type logStream struct {
	x      *exhibit
	lines  int // of history; negative for all
	follow bool
	since  api.LogCursor // nil where lines counts

	root  *os.Root
	tails []*tail
	buf   []byte
	out   *bufio.Writer
	enc   *json.Encoder
	live  bool // what is read now is new
}

// serveLogs answers with an instance's log lines: ?lines=N|all of history, or what came
// ?since a cursor, and with ?follow=1 all that is written until the instance has ended.
func serveLogs(w http.ResponseWriter, r *http.Request, x *exhibit) {
	s, err := newLogStream(r, x)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	if s.root, err = os.OpenRoot(x.home); err != nil {
		notFound(w)
		return
	}
	defer s.close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	s.out = bufio.NewWriterSize(w, chunk)
	s.enc = json.NewEncoder(s.out)
	s.enc.SetEscapeHTML(false)
	s.run(r.Context(), http.NewResponseController(w)) //nolint:errcheck // the reader went away
}

func newLogStream(r *http.Request, x *exhibit) (*logStream, error) {
	q := r.URL.Query()
	s := &logStream{x: x, lines: -1, follow: q.Get("follow") == "1", buf: make([]byte, chunk)}
	var err error
	if lines := q.Get("lines"); lines != "all" {
		if s.lines, err = strconv.Atoi(lines); err != nil || s.lines < 0 {
			return nil, errors.New("lines is a number, or all")
		}
	}
	s.since, err = api.ParseLogCursor(q.Get("since"))
	return s, err
}

func (s *logStream) close() {
	for _, t := range s.tails {
		t.close()
	}
	s.root.Close()
}

// run writes until the instance has ended, or the reader is gone.
func (s *logStream) run(ctx context.Context, rc *http.ResponseController) error {
	poll, search, keepAlive := time.NewTicker(logPoll), time.NewTicker(logSearch), time.NewTicker(api.LogKeepAlive)
	defer poll.Stop()
	defer search.Stop()
	defer keepAlive.Stop()
	if err := s.search(); err != nil {
		return err
	}
	for {
		ended := s.x.hasEnded() // looked at before the lines, of which none comes later
		if ended {
			if err := s.search(); err != nil {
				return err
			}
		}
		if err := s.step(); err != nil {
			return err
		}
		if ended || !s.follow {
			return s.end(rc)
		}
		if err := s.mark(); err != nil {
			return err
		}
		if err := s.flush(rc); err != nil {
			return err
		}
		select {
		case <-poll.C:
		case <-s.x.ended:
		case <-search.C:
			if err := s.search(); err != nil {
				return err
			}
		case <-keepAlive.C:
			s.out.WriteByte('\n') //nolint:errcheck // flushing tells
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *logStream) flush(rc *http.ResponseController) error {
	if s.live && s.out.Buffered() == 0 {
		return nil
	}
	s.live = true
	if err := s.out.Flush(); err != nil {
		return err
	}
	return rc.Flush()
}

func (s *logStream) step() error {
	for _, t := range s.tails {
		skipped, missed, err := t.step(s.buf, s.emit(t))
		if err == nil && skipped > 0 {
			err = s.event("%d bytes of %s were skipped, because they are written faster than they are read.", skipped, t.source)
		}
		if err == nil && missed {
			err = s.event("Lines of %s may be missing here, because it is written faster than it is read.", t.source)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mark tells, once, where logs stand of which nothing was shown, so that whoever comes
// back goes on there.
func (s *logStream) mark() error {
	if s.live {
		return nil
	}
	for _, t := range s.tails {
		if err := s.write(api.LogLine{Source: t.source, Seq: t.place(), Mark: true}); err != nil {
			return err
		}
	}
	return nil
}

// end writes what was begun.
func (s *logStream) end(rc *http.ResponseController) error {
	for _, t := range s.tails {
		if err := t.end(s.emit(t)); err != nil {
			return err
		}
	}
	return s.flush(rc)
}

func (s *logStream) emit(t *tail) func(line) error {
	return func(l line) error {
		out := api.LogLine{Source: t.source, Seq: l.seq, Line: string(l.text), Part: l.part}
		if s.live {
			out.Time = time.Now().UTC()
		}
		return s.write(out)
	}
}

func (s *logStream) event(format string, args ...any) error {
	return s.write(api.LogLine{Source: api.SourceEvent, Time: time.Now().UTC(), Line: fmt.Sprintf(format, args...)})
}

func (s *logStream) write(l api.LogLine) error {
	l.App, l.Instance, l.ID = s.x.name, s.x.index, api.ShortID(s.x.id)
	return s.enc.Encode(l)
}

// search finds logs that are not read yet. What the supervisor writes comes last.
func (s *logStream) search() error {
	found, err := s.list()
	if err != nil {
		return nil // there is no folder, for now
	}
	for _, source := range found {
		known := slices.ContainsFunc(s.tails, func(t *tail) bool { return t.source == source })
		if known || len(s.tails) >= logSources {
			continue
		}
		t := &tail{root: s.root, path: path.Join("logs", source+".log"), source: source, epoch: s.x.started}
		s.tails = append(s.tails, t)
		if err := s.begin(t); err != nil {
			return err
		}
	}
	return nil
}

// list names the logs: stderr and stdout, which there always are, and the app's own.
func (s *logStream) list() ([]string, error) {
	dir, err := s.root.OpenFile("logs", os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a pipe by now
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(1000)
	if err != nil && len(names) == 0 {
		return nil, err
	}
	sources := []string{"stdout", "stderr"}
	slices.Sort(names)
	for _, name := range names {
		if m := logName.FindStringSubmatch(name); m != nil && !slices.Contains(sources, m[1]) && !reserved(m[1]) {
			sources = append(sources, m[1])
		}
	}
	slices.Reverse(sources[:min(len(sources), logSources)])
	return sources[:min(len(sources), logSources)], nil
}

// reserved are the sources that are no files.
func reserved(source string) bool { return source == api.SourceEvent || source == api.SourceStaging }

// begin finds the place in a log where the stream starts. One that is no file has none,
// and may become one.
func (s *logStream) begin(t *tail) error {
	seq, known := s.since[api.ShortID(s.x.id)+":"+t.source]
	if !known {
		lines := s.lines
		if s.live || s.since != nil {
			lines = -1
		}
		t.begin(lines) //nolint:errcheck // it is tried again at each step
		return nil
	}
	lost, err := t.resume(seq)
	if err == nil && lost {
		return s.event("Lines of %s are missing here: they were rotated away.", t.source)
	}
	return nil
}
