package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sources of log lines that are not files of an instance.
const (
	SourceStaging = "staging" // what the stager prints
	SourceEvent   = "event"   // what befell the app, or this stream, in a sentence
)

// NoInstance is the index in lines that belong to no instance.
const NoInstance = -1

// Bounds of a request for logs.
const (
	LogLinesDefault = 100
	LogLinesMax     = 10_000
	// LogLineMax is the longest piece of a line, in bytes as the app wrote them: a longer
	// line comes in several pieces.
	LogLineMax = 16 << 10
	// LogKeepAlive is the time between empty lines in a stream that is followed.
	LogKeepAlive = 15 * time.Second
)

// LogLine is one line of GET /apps/:name/logs.
type LogLine struct {
	App      string    `json:"app"`
	Instance int       `json:"instance"`       // index, or NoInstance
	ID       string    `json:"id,omitempty"`   // beginning of the instance's id
	Source   string    `json:"source"`         // "stdout", "stderr", another log's name without ".log", or one of the above
	Seq      int64     `json:"seq"`            // position behind the line; rises within one source of one instance, 0 where there is no file
	Time     time.Time `json:"time,omitzero"`  // when it was read; zero for lines that were there before
	Line     string    `json:"line"`           // without its end
	Part     bool      `json:"part,omitempty"` // the line goes on in the source's next piece
	Mark     bool      `json:"mark,omitempty"` // no line: it tells where the source stands
}

// ShortID is the beginning of an instance's id, as log lines have it.
func ShortID(id string) string { return id[:min(len(id), 8)] }

// LogCursor remembers how far each log was read: instance id and source → Seq.
type LogCursor map[string]int64

// Add notes that a line was read, or a mark. Whoever leaves marks out gets, from a later
// stream, logs of which nothing was shown as a whole. Lines that have no place are left out.
func (c LogCursor) Add(l LogLine) {
	if l.ID != "" && l.Seq > 0 {
		c[l.ID+":"+l.Source] = l.Seq
	}
}

// String is the cursor as the since parameter has it: id:source:seq, joined by commas.
func (c LogCursor) String() string {
	parts := make([]string, 0, len(c))
	for _, key := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, key+":"+strconv.FormatInt(c[key], 10))
	}
	return strings.Join(parts, ",")
}

// cursorMax bounds the entries of a cursor.
const cursorMax = 1000

var cursorEntry = regexp.MustCompile(`^([0-9a-f]{1,64}:[A-Za-z0-9_.-]{1,64}):([0-9]{1,18})$`)

// ParseLogCursor reads what String writes; the empty cursor is nil.
func ParseLogCursor(s string) (LogCursor, error) {
	if s == "" {
		return nil, nil
	}
	entries := strings.Split(s, ",")
	if len(entries) > cursorMax {
		return nil, fmt.Errorf("a cursor has %d entries at most", cursorMax)
	}
	c := LogCursor{}
	for _, entry := range entries {
		m := cursorEntry.FindStringSubmatch(entry)
		if m == nil {
			return nil, errors.New("an entry of a cursor is an instance's id, a source and a number, with colons between")
		}
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			return nil, err
		}
		c[m[1]] = n
	}
	return c, nil
}

// LogQuery selects lines.
type LogQuery struct {
	Lines    int       // of history, of each log of each instance; at most LogLinesMax, negative for the server's default
	Follow   bool      // go on with what is written from now on
	Instance string    // index or id; all where empty
	Since    LogCursor // of an earlier stream: logs in it go on behind their last line, all others are new and come as a whole
}

func (q LogQuery) values() url.Values {
	v := url.Values{}
	if q.Lines >= 0 {
		v.Set("lines", strconv.Itoa(q.Lines))
	}
	if q.Follow {
		v.Set("follow", "1")
	}
	if q.Instance != "" {
		v.Set("instance", q.Instance)
	}
	if len(q.Since) > 0 {
		v.Set("since", q.Since.String())
	}
	return v
}

// ErrLogSilent says that a stream that is followed has not even shown a sign of life:
// the connection is dead.
var ErrLogSilent = errors.New("nothing was heard from the cloud for a while; the connection is dead")

// LogStream gives log lines as they come. One goroutine reads it.
type LogStream struct {
	body   io.ReadCloser
	lines  *bufio.Scanner
	silent *time.Timer // nil where nothing is followed
	cancel context.CancelCauseFunc
	ctx    context.Context
}

// logFrameMax bounds a line on the wire: every byte may be written as six.
const logFrameMax = 6*LogLineMax + 4<<10

// Logs are an app's lines: its history in the order of the logs, then what is written,
// in the order in which it is read. Only Cloudlet has it.
func (c *Client) Logs(ctx context.Context, name string, q LogQuery) (*LogStream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body, err := c.stream(ctx, route("apps", name, "logs")+"?"+q.values().Encode())
	if err != nil {
		cancel(nil)
		return nil, err
	}
	s := &LogStream{body: body, lines: bufio.NewScanner(body), cancel: cancel, ctx: ctx}
	s.lines.Buffer(make([]byte, 0, 64<<10), logFrameMax)
	if q.Follow {
		s.silent = time.AfterFunc(3*LogKeepAlive, func() { cancel(ErrLogSilent) })
	}
	return s, nil
}

// Next waits for a line, or a mark, which is for cursors only. It returns io.EOF where the server has ended the stream, and
// ErrLogSilent or the connection's error where it broke.
func (s *LogStream) Next() (l LogLine, err error) {
	for s.lines.Scan() {
		if s.silent != nil {
			s.silent.Reset(3 * LogKeepAlive)
		}
		if text := bytes.TrimSpace(s.lines.Bytes()); len(text) > 0 {
			return l, json.Unmarshal(text, &l)
		}
	}
	if err := context.Cause(s.ctx); err != nil {
		return l, err
	}
	if err := s.lines.Err(); err != nil {
		return l, err
	}
	return l, io.EOF
}

// Close lets go of the connection.
func (s *LogStream) Close() error {
	if s.silent != nil {
		s.silent.Stop()
	}
	s.cancel(nil)
	return s.body.Close()
}
