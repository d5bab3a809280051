package controller

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

// Bounds of log streams.
const (
	followersMax     = 512 // at a time
	followersPerUser = 32
	followQueue      = 1024             // lines of staging and events that wait for a slow reader
	followStall      = 30 * time.Second // a reader that takes nothing for so long is cut off
	followLook       = time.Second      // between two looks for new instances
	followHurry      = 150 * time.Millisecond
	followHurried    = 3 * time.Second // after a start
	followGather     = 100 * time.Millisecond
	followPast       = 2 * time.Second    // for one instance's history, before the next one's begins
	followFarewell   = 5 * time.Second    // for the last lines of an app that was deleted
	followFound      = 1000               // instances
	followLineMax    = 8 * api.LogLineMax // as it travels, every byte may be written as six
)

// followers are the readers of logs.
type followers struct {
	mu  sync.Mutex
	all map[*follower]bool
}

// follower is one reader of an app's logs. The request's goroutine writes; one more looks
// for instances, and each instance's lines are read by one of their own.
type follower struct {
	c     *Controller
	owner string
	app   store.App
	query logQuery

	lines   chan []byte      // of instances, encoded
	events  chan api.LogLine // of the app, not of an instance's files
	lost    chan struct{}    // closed when events has overflown
	wake    chan struct{}    // an instance was started
	overrun sync.Once

	mu      sync.Mutex
	readers map[string]*reader // by instance id
	reading sync.WaitGroup
}

// reader reads the lines of one instance.
type reader struct {
	lines   string // of history: a number, or all
	cursor  api.LogCursor
	past    chan struct{} // closed when its history was read, or its end
	state   readerState
	running bool         // it was seen to
	exit    *api.LogLine // the crash, told behind the last line
}

type readerState int

const (
	readerBroken  readerState = iota // or not begun: tried again as long as there is the instance
	readerReading                    //
	readerEnded                      //
)

type logQuery struct {
	lines    int
	follow   bool
	instance string
	since    api.LogCursor
}

func parseLogQuery(e echo.Context) (q logQuery, err error) {
	q = logQuery{lines: api.LogLinesDefault, instance: e.QueryParam("instance")}
	if s := e.QueryParam("lines"); s != "" {
		if q.lines, err = strconv.Atoi(s); err != nil || q.lines < 0 || q.lines > api.LogLinesMax {
			return q, api.BadRequest.Because("lines is a number from 0 to %d", api.LogLinesMax)
		}
	}
	if s := e.QueryParam("follow"); s != "" {
		if q.follow, err = strconv.ParseBool(s); err != nil {
			return q, api.BadRequest.Because("follow is 1 or 0")
		}
	}
	if q.since, err = api.ParseLogCursor(e.QueryParam("since")); err != nil {
		return q, api.BadRequest.Because("since: %v", err)
	}
	return q, nil
}

// wants tells whether an instance was asked for, by its index or its id.
func (q logQuery) wants(index int, id string) bool {
	if q.instance == "" || indexText.MatchString(q.instance) && q.instance == strconv.Itoa(index) {
		return true
	}
	return len(q.instance) >= len(api.ShortID(id)) && strings.HasPrefix(id, q.instance)
}

// of is the part of the cursor that tells of an instance.
func (q logQuery) of(id string) api.LogCursor {
	c := api.LogCursor{}
	for key, seq := range q.since {
		if strings.HasPrefix(key, api.ShortID(id)+":") {
			c[key] = seq
		}
	}
	return c
}

// logLines streams an app's log lines. Ours alone.
func (c *Controller) logLines(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	q, err := parseLogQuery(e)
	if err != nil {
		return err
	}
	e.Response().Header().Set("Content-Type", "application/x-ndjson")
	if indexText.MatchString(q.instance) {
		if n, err := strconv.Atoi(q.instance); err != nil || n >= app.Instances {
			return api.InstanceNotFound.With(q.instance).Because("%s has %d instance(s), counted from 0", app.Name, app.Instances)
		}
	}
	if e.Request().Method == http.MethodHead {
		return nil
	}
	f := &follower{
		c: c, owner: app.Owner, app: app, query: q,
		lines: make(chan []byte), events: make(chan api.LogLine, followQueue),
		lost: make(chan struct{}), wake: make(chan struct{}, 1), readers: map[string]*reader{},
	}
	if err := c.followers.add(f); err != nil {
		return err
	}
	defer c.followers.remove(f)
	ctx, cancel := context.WithCancel(e.Request().Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.run(ctx, e.Request().Header.Get("Authorization"))
	}()
	defer func() { cancel(); <-done }()
	e.Response().Header().Set("X-Accel-Buffering", "no") // proxies of others
	e.Response().WriteHeader(http.StatusOK)
	f.write(ctx, e.Response(), done)
	return nil
}

func (s *followers) add(f *follower) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := 0
	for other := range s.all {
		if other.owner == f.owner {
			own++
		}
	}
	if own >= followersPerUser {
		return api.BadRequest.Because("%d streams of your logs are open, and no more may be; close one", own)
	}
	if len(s.all) >= followersMax {
		return api.BadRequest.Because("%d streams of logs are open in this cloud, and no more may be; try again later", len(s.all))
	}
	if s.all == nil {
		s.all = map[*follower]bool{}
	}
	s.all[f] = true
	return nil
}

func (s *followers) remove(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, f)
}

// each calls fn, which must not wait, for the followers of an app.
func (s *followers) each(app store.AppID, fn func(*follower)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.all {
		if f.app.ID == app && f.query.follow {
			fn(f)
		}
	}
}

// started has the app's followers look for new instances at once.
func (s *followers) started(app store.AppID) {
	s.each(app, func(f *follower) {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	})
}

// staged passes on a line of the stager.
func (s *followers) staged(l bus.LogLine) {
	n, ok := l.App.Number()
	if !ok || l.Source != bus.SourceStaging {
		return
	}
	s.each(store.AppID(n), func(f *follower) {
		if f.query.instance == "" {
			f.tell(api.LogLine{App: f.app.Name, Instance: api.NoInstance, Source: api.SourceStaging, Time: l.Time, Line: l.Text})
		}
	})
}

// exited passes on an instance's end.
func (s *followers) exited(e bus.Exited) {
	n, ok := e.Droplet.Number()
	if !ok || !e.OfPartition(bus.DefaultPartition) {
		return
	}
	s.each(store.AppID(n), func(f *follower) {
		if f.query.wants(e.Index, e.Instance) {
			f.exited(e)
		}
	})
}

// exited tells the end of an instance behind its last line.
func (f *follower) exited(e bus.Exited) {
	l := f.event(e.Index, e.Instance, exitText(e))
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.readers[e.Instance]; r != nil && r.state == readerReading {
		r.exit = &l
		return
	}
	f.tell(l)
}

func exitText(e bus.Exited) string {
	text := map[string]string{bus.ReasonCrashed: "crashed", bus.ReasonStopped: "stopped"}[e.Reason]
	if text == "" {
		text = "ended: " + strings.ToLower(strings.ReplaceAll(e.Reason, "_", " "))
	}
	if e.ExitStatus != nil {
		text += fmt.Sprintf(", exit status %d", *e.ExitStatus)
	}
	if e.ExitDescription != "" {
		text += ": " + e.ExitDescription
	}
	return text
}

func (f *follower) event(index int, id, text string) api.LogLine {
	return api.LogLine{App: f.app.Name, Instance: index, ID: api.ShortID(id), Source: api.SourceEvent, Time: time.Now().UTC(), Line: text}
}

// tell queues a line. A reader for whom too many wait is dropped.
func (f *follower) tell(l api.LogLine) {
	if len(l.Line) > api.LogLineMax {
		l.Line = l.Line[:api.LogLineMax]
	}
	select {
	case f.events <- l:
	default:
		f.overrun.Do(func() { close(f.lost) })
	}
}

// write passes on what comes until there is nothing more, or the client is gone.
func (f *follower) write(ctx context.Context, w http.ResponseWriter, done <-chan struct{}) {
	rc := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	keepAlive := time.NewTicker(api.LogKeepAlive)
	defer keepAlive.Stop()
	defer rc.SetWriteDeadline(time.Time{}) //nolint:errcheck // the connection may serve others
	var err error
	for last := false; err == nil && !last; {
		if err = rc.Flush(); err != nil {
			return
		}
		var l *api.LogLine
		var b []byte
		select {
		case b = <-f.lines:
		case got := <-f.events:
			l = &got
		case <-f.lost:
			got := f.event(api.NoInstance, "", "This stream ends: you read too slowly.")
			l, last = &got, true
		case <-keepAlive.C:
			b = []byte("\n")
		case <-done:
			last = len(f.events) == 0
			if !last {
				got := <-f.events
				l = &got
			}
		case <-ctx.Done():
			return
		}
		if err = rc.SetWriteDeadline(time.Now().Add(followStall)); err != nil {
			return
		}
		if l != nil {
			err = enc.Encode(l)
		} else {
			_, err = w.Write(b)
		}
	}
	rc.Flush() //nolint:errcheck // it was the last
}

// run looks for instances until there is a reason to end, which is the last line then.
func (f *follower) run(ctx context.Context, token string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	why, patience := f.search(ctx, token)
	if why != "" {
		defer time.AfterFunc(patience, cancel).Stop()
	}
	f.reading.Wait()
	if why != "" {
		f.tell(f.event(api.NoInstance, "", why))
	}
}

// search finds the instances whose lines are wanted, at once and, where the app is
// followed, each time there may be new ones.
func (f *follower) search(ctx context.Context, token string) (why string, patience time.Duration) {
	hurry := time.Time{}
	for first := true; ; first = false {
		if why, patience := f.over(token); why != "" {
			return why, patience
		}
		f.look(ctx, first)
		if !f.query.follow {
			return "", 0
		}
		pause := followLook
		if time.Now().Before(hurry) {
			pause = followHurry
		}
		select {
		case <-time.After(pause):
		case <-f.wake:
			hurry = time.Now().Add(followHurried)
		case <-ctx.Done():
			return "", 0
		}
	}
}

// over says why a stream must end, and how long its instances may go on telling their
// end; empty where it goes on.
func (f *follower) over(token string) (why string, patience time.Duration) {
	if _, ok := f.c.id.Caller(token, time.Now()); !ok {
		return "This stream ends: your token is not valid any more.", 0
	}
	err := f.c.st.View(func(tx *store.Tx) (err error) {
		_, err = tx.App(f.app.ID)
		return err
	})
	if errors.Is(err, store.ErrNoApp) {
		return "The application was deleted.", followFarewell
	}
	return "", 0
}

// look begins to read the instances that are not read yet.
func (f *follower) look(ctx context.Context, first bool) {
	found := f.find(ctx, first)
	if first {
		found = f.pass(found)
	}
	if first && len(found) == 0 {
		f.tell(f.event(api.NoInstance, "", "No instance has logs at present."))
	}
	for _, d := range found {
		r := f.begin(d, first)
		if r == nil {
			continue
		}
		past := r.past
		f.reading.Go(func() { f.read(ctx, d, r) })
		select { // one history after the other
		case <-past:
		case <-time.After(followPast):
		case <-ctx.Done():
			return
		}
	}
}

// find asks for the instances that are wanted, in the order of their indices and ages.
func (f *follower) find(ctx context.Context, first bool) []bus.FoundDroplet {
	q := bus.FindDroplet{Droplet: bus.AppNumber(f.app.ID), States: []bus.State{bus.Starting, bus.Running, bus.Crashed}}
	wait := followGather
	if first {
		wait = max(followGather, f.c.cfg.Gather/2)
	}
	found := slices.DeleteFunc(bus.DEAFindDroplet.Gather(ctx, f.c.conn, q, followFound, wait), func(d bus.FoundDroplet) bool {
		return !f.query.wants(d.Index, d.Instance)
	})
	slices.SortStableFunc(found, func(a, b bus.FoundDroplet) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.StateTimestamp, b.StateTimestamp))
	})
	return found
}

// pass leaves out crashed instances of the past: where something runs, all; else all but
// the last of each index. They are marked, so that a later stream, to which what it does
// not know is new, leaves them out as well.
func (f *follower) pass(found []bus.FoundDroplet) (rest []bus.FoundDroplet) {
	runs, last := false, map[int]string{}
	for _, d := range found {
		runs = runs || d.State != bus.Crashed
		last[d.Index] = d.Instance
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range found {
		mark := api.LogLine{App: f.app.Name, Instance: d.Index, ID: api.ShortID(d.Instance), Source: api.SourceEvent, Seq: 1, Mark: true}
		_, passed := f.query.since[mark.ID+":"+mark.Source]
		if f.query.since == nil {
			passed = d.State == bus.Crashed && (runs || last[d.Index] != d.Instance)
		}
		if !passed {
			rest = append(rest, d)
			continue
		}
		f.readers[d.Instance] = &reader{state: readerEnded}
		if f.query.follow {
			f.tell(mark)
		}
	}
	return rest
}

// begin gives the reader of an instance that is to be read now; nil where it is, or was.
func (f *follower) begin(d bus.FoundDroplet, first bool) *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.readers[d.Instance]
	if r == nil {
		r = &reader{lines: "all", cursor: f.query.of(d.Instance)}
		if first && f.query.since == nil {
			r.lines = strconv.Itoa(f.query.lines)
		}
		f.readers[d.Instance] = r
	}
	if d.State == bus.Running && !r.running {
		r.running = true
		if !first {
			f.tell(f.event(d.Index, d.Instance, "started"))
		}
	}
	if r.state != readerBroken {
		return nil
	}
	r.state, r.past = readerReading, make(chan struct{})
	return r
}

// read passes on the lines of an instance. Where that breaks off it is begun again.
func (f *follower) read(ctx context.Context, d bus.FoundDroplet, r *reader) {
	err := f.stream(ctx, d, r)
	f.mu.Lock()
	defer f.mu.Unlock()
	r.state = readerEnded
	if err != nil {
		r.state = readerBroken
	}
	r.pastIsRead()
	if r.exit != nil {
		f.tell(*r.exit)
		r.exit = nil
	}
}

func (r *reader) pastIsRead() {
	select {
	case <-r.past:
	default:
		close(r.past)
	}
}

// stream reads what the DEA has of an instance's lines to its end.
func (f *follower) stream(ctx context.Context, d bus.FoundDroplet, r *reader) error {
	req, err := viewerRequest(ctx, d, "logs")
	if err != nil {
		return err
	}
	q := url.Values{"lines": {r.lines}, "since": {r.cursor.String()}}
	if f.query.follow {
		q.Set("follow", "1")
	}
	req.URL.RawQuery = q.Encode()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("logs of %s: %s", d.Staged, resp.Status)
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, followLineMax)
	for in.Scan() {
		if err := f.handOn(ctx, r, in.Bytes()); err != nil {
			return err
		}
	}
	return in.Err()
}

// handOn gives a line to the client, and remembers how far that got.
func (f *follower) handOn(ctx context.Context, r *reader, text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil // a sign of life, of which we give our own
	}
	var l api.LogLine
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	select {
	case f.lines <- append(bytes.Clone(text), '\n'):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.cursor.Add(l)
	if l.Mark {
		f.mu.Lock()
		defer f.mu.Unlock()
		r.pastIsRead()
	}
	return nil
}

// viewerRequest is one to the DEA that holds an instance.
func viewerRequest(ctx context.Context, d bus.FoundDroplet, what string) (*http.Request, error) {
	target, err := url.Parse(d.FileURI)
	if err != nil {
		return nil, err
	}
	if len(d.Credentials) != 2 {
		return nil, fmt.Errorf("the DEA gives no credentials for %s", d.Staged)
	}
	target.Path, target.RawPath = "/"+what+"/"+d.Staged, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err == nil {
		req.SetBasicAuth(d.Credentials[0], d.Credentials[1])
	}
	return req, err
}
