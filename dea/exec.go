package dea

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"cloudlet/controller/api"
	"cloudlet/warden"
)

// Bounds of what is run in instances by hand.
const (
	execSessions = 8                // at a time in one instance
	execIdle     = 30 * time.Minute // without a byte either way
	execFirst    = 10 * time.Second // for the client to say what it wants
	execPing     = 10 * time.Second
)

// shell prefers bash, which not every machine has.
var shell = []string{"sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh"}

// session is one process that was started by hand.
type session struct {
	x      *exhibit
	ws     *websocket.Conn
	cancel context.CancelCauseFunc
	idle   *time.Timer

	stdin   *io.PipeWriter
	resize  chan warden.Size
	signals chan syscall.Signal
}

// enter takes one of the instance's sessions.
func (x *exhibit) enter() bool {
	if x.sessions.Add(1) > execSessions {
		x.sessions.Add(-1)
		return false
	}
	return true
}

// serveExec runs a process in the instance's container over a websocket: api.ExecRequest
// and what follows it says how. The process ends with the connection.
func serveExec(w http.ResponseWriter, r *http.Request, x *exhibit) {
	if x.hasEnded() {
		answer(w, http.StatusGone, "The instance has ended.")
		return
	}
	if !x.enter() {
		answer(w, http.StatusTooManyRequests, fmt.Sprintf("%d commands run in this instance by hand, and no more may; end one.", execSessions))
		return
	}
	defer x.sessions.Add(-1)
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it was answered
	}
	defer ws.CloseNow() //nolint:errcheck // closed properly where that is possible
	ws.SetReadLimit(api.ExecFrameMax)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	s := &session{x: x, ws: ws, cancel: cancel, resize: make(chan warden.Size), signals: make(chan syscall.Signal)}
	out := s.run(ctx, r.Context())
	// Told also where ctx is over: it may have been idle, or the DEA stops.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), execFirst)
	defer done()
	if s.tell(last, out) == nil {
		ws.Close(websocket.StatusNormalClosure, "") //nolint:errcheck // all was said
	}
}

// Why a session ends before its process does.
var (
	errIdle     = fmt.Errorf("nothing was typed or shown for %s, so it was ended", execIdle)
	errLeft     = errors.New("the connection broke")
	errProtocol = errors.New("the client sent something that is no part of the protocol")
)

// run gives the last message. The process lives with ctx; conn is the connection's own,
// since a read that is called off ends a connection.
func (s *session) run(ctx, conn context.Context) api.ExecOutput {
	req, err := s.first(conn)
	if err != nil {
		return failed(err)
	}
	s.idle = time.AfterFunc(execIdle, func() { s.cancel(errIdle) })
	defer s.idle.Stop()
	in, stdin := io.Pipe()
	defer in.Close() // lets go of receive
	s.stdin = stdin
	go s.receive(ctx, conn)
	go s.ping(ctx)
	exit, err := s.x.box.Run(ctx, s.x.command(req), s.streams(ctx, in, req))
	switch {
	case errors.Is(err, warden.ErrGone):
		err = errors.New("the instance has ended")
	case context.Cause(ctx) != nil:
		err = context.Cause(ctx)
	case err != nil:
		err = cmp.Or(errors.Unwrap(err), err) // without the container's name
	}
	if err != nil {
		return failed(err)
	}
	return api.ExecOutput{Exit: &api.ExecExit{Status: exit.Status, Signal: exit.Signal, Reason: exit.Reason}}
}

func failed(err error) api.ExecOutput { return api.ExecOutput{Error: err.Error()} }

// first reads what is to be run.
func (s *session) first(ctx context.Context) (api.ExecRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, execFirst)
	defer cancel()
	kind, data, err := s.ws.Read(ctx)
	if err != nil {
		return api.ExecRequest{}, err
	}
	if kind != websocket.MessageText {
		return api.ExecRequest{}, errProtocol
	}
	return parseExec(data)
}

// parseExec reads and checks a request.
func parseExec(data []byte) (req api.ExecRequest, err error) {
	if err := json.Unmarshal(data, &req); err != nil {
		return req, errProtocol
	}
	if slices.ContainsFunc(req.Args, hasZero) || len(req.Args) > 0 && req.Args[0] == "" {
		return req, errors.New("an argument holds a zero byte, or the command is empty")
	}
	for name, value := range req.Env {
		if name == "" || strings.ContainsRune(name, '=') || hasZero(name) || hasZero(value) {
			return req, errors.New("a variable has no name, or a name or value that cannot be")
		}
	}
	return req, nil
}

func hasZero(s string) bool { return strings.ContainsRune(s, 0) }

// command is what runs, where and with what the app itself finds.
func (x *exhibit) command(req api.ExecRequest) warden.Command {
	e := env{list: slices.Clone(x.env)}
	if req.TTY {
		e.set("TERM", "xterm")
	}
	for _, name := range slices.Sorted(maps.Keys(req.Env)) {
		e.set(name, req.Env[name])
	}
	cmd := warden.Command{Args: req.Args, Env: e.list, Dir: x.box.HomeInside()}
	if len(cmd.Args) == 0 {
		cmd.Args = shell
	}
	if info, err := os.Lstat(path.Join(x.home, "app")); err == nil && info.IsDir() {
		cmd.Dir = path.Join(cmd.Dir, "app")
	}
	return cmd
}

func (s *session) streams(ctx context.Context, in io.Reader, req api.ExecRequest) warden.Streams {
	streams := warden.Streams{
		Stdin: in, Stdout: output{ctx, s, api.ExecStdout}, Stderr: output{ctx, s, api.ExecStderr}, Signals: s.signals,
		Started: func() { s.tell(ctx, api.ExecOutput{Started: true}) }, //nolint:errcheck // the receiver notices
	}
	if req.TTY {
		streams.Terminal = &warden.Terminal{Size: size(req.Rows, req.Cols), Resize: s.resize}
	}
	return streams
}

// size is a terminal's; the usual one where it makes no sense.
func size(rows, cols int) warden.Size {
	if rows < 1 || rows > 0xffff || cols < 1 || cols > 0xffff {
		rows, cols = 24, 80
	}
	return warden.Size{Rows: uint16(rows), Columns: uint16(cols)}
}

// output sends what the process writes. A client that does not take it holds it up.
type output struct {
	ctx  context.Context
	s    *session
	kind byte
}

func (o output) Write(b []byte) (int, error) {
	o.s.idle.Reset(execIdle)
	err := o.s.ws.Write(o.ctx, websocket.MessageBinary, append([]byte{o.kind}, b...))
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *session) tell(ctx context.Context, out api.ExecOutput) error {
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return s.ws.Write(ctx, websocket.MessageText, data)
}

// receive hands what the client sends to the process, until either is gone. Input that
// the process does not read holds up what follows.
func (s *session) receive(ctx, conn context.Context) {
	defer s.stdin.Close()
	for {
		kind, data, err := s.ws.Read(conn)
		if err != nil {
			s.cancel(errLeft)
			return
		}
		s.idle.Reset(execIdle)
		if kind == websocket.MessageBinary {
			s.stdin.Write(data) //nolint:errcheck // a process that reads no more is its own affair
			continue
		}
		if err := s.control(ctx, data); err != nil {
			s.cancel(err)
			return
		}
	}
}

func (s *session) control(ctx context.Context, data []byte) error {
	var in api.ExecInput
	if err := json.Unmarshal(data, &in); err != nil {
		return errProtocol
	}
	if in.EOF {
		s.stdin.Close()
	}
	if in.Resize != nil {
		select {
		case s.resize <- size(in.Resize.Rows, in.Resize.Cols):
		case <-ctx.Done():
		}
	}
	if sig := unix.SignalNum("SIG" + in.Signal); sig != 0 {
		select {
		case s.signals <- sig:
		case <-ctx.Done():
		}
	}
	return nil
}

// ping finds out that the client is gone also while nothing is read from it.
func (s *session) ping(ctx context.Context) {
	tick := time.NewTicker(execPing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		wait, cancel := context.WithTimeout(ctx, execPing)
		err := s.ws.Ping(wait)
		cancel()
		// While the process does not read its input, nobody reads the answer.
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.cancel(errLeft)
			return
		}
	}
}
