package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// ExecRequest says what to run in an instance's container: the first message.
type ExecRequest struct {
	Args []string          `json:"args"`          // empty for an interactive shell
	Env  map[string]string `json:"env,omitempty"` // beside what the app itself finds
	TTY  bool              `json:"tty,omitempty"` // with a terminal; stderr comes on stdout then
	Rows int               `json:"rows,omitempty"`
	Cols int               `json:"cols,omitempty"`
}

// ExecInput is a text message of the client after the first; one member is set. Input
// itself comes in binary messages.
type ExecInput struct {
	Resize *TerminalSize `json:"resize,omitempty"`
	EOF    bool          `json:"eof,omitempty"`    // stdin ends
	Signal string        `json:"signal,omitempty"` // "INT": for the process and its group
}

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct {
	Rows int `json:"rows"`
	Cols int `json:"cols"`
}

// ExecFrameMax bounds a message of the client in bytes.
const ExecFrameMax = 64 << 10

// First bytes of the server's binary messages, which carry output.
const (
	ExecStdout = 1
	ExecStderr = 2
)

// ExecOutput is a text message of the server; one member is set. Exit and Error are the last.
type ExecOutput struct {
	Started bool      `json:"started,omitempty"`
	Exit    *ExecExit `json:"exit,omitempty"`
	Error   string    `json:"error,omitempty"` // a sentence
}

// ExecExit is how the process ended.
type ExecExit struct {
	Status int    `json:"status"` // exit status, or 128 and the signal's number
	Signal int    `json:"signal"` // 0 where no signal ended it
	Reason string `json:"reason"`
}

// ExecStreams are the ends of the process. Output that cannot be written ends it.
type ExecStreams struct {
	Stdin          io.Reader           // nil for none; its end is the process's end of file
	Stdout, Stderr io.Writer           // nil discards
	Resize         <-chan TerminalSize // stays open until Exec has returned, as Signals does
	Signals        <-chan string       // names without SIG
	Started        func()              // called once, when the process runs; may be nil
}

// Exec runs a process in an instance and returns how it ended; instance is an index or
// an id. With ctx the process is killed. Only Cloudlet has it. A stdin that is blocked in
// Read is not waited for.
func (c *Client) Exec(ctx context.Context, name, instance string, r ExecRequest, s ExecStreams) (ExecExit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ws, err := c.websocket(ctx, route("apps", name, "instances", instance, "exec"))
	if err != nil {
		return ExecExit{}, err
	}
	defer ws.CloseNow() //nolint:errcheck // closed properly where that is possible
	ws.SetReadLimit(1 << 20)
	if err := writeJSON(ctx, ws, r); err != nil {
		return ExecExit{}, err
	}
	if s.Stdin != nil {
		go sendInput(ctx, ws, s.Stdin)
	}
	go sendControl(ctx, ws, s)
	return readOutput(ctx, ws, s)
}

// websocket opens one as this client's user. What the server refuses is a *Fault.
func (c *Client) websocket(ctx context.Context, path string) (*websocket.Conn, error) {
	req, err := c.newRequest(ctx, request{method: http.MethodGet, path: path})
	if err != nil {
		return nil, err
	}
	req.Header.Del("Content-Type")
	start := time.Now()
	ws, resp, err := websocket.Dial(ctx, req.URL.String(), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: req.Header})
	c.trace(req, resp, err, time.Since(start))
	if err == nil {
		return ws, nil
	}
	if resp != nil && resp.StatusCode >= http.StatusMultipleChoices {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxFault)) //nolint:errcheck // what is there is shown
		return nil, ParseFault(resp.StatusCode, body)
	}
	return nil, c.explain(err)
}

func writeJSON(ctx context.Context, ws *websocket.Conn, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ws.Write(ctx, websocket.MessageText, data)
}

func sendInput(ctx context.Context, ws *websocket.Conn, in io.Reader) {
	b := make([]byte, 16<<10)
	for {
		n, err := in.Read(b)
		if n > 0 && ws.Write(ctx, websocket.MessageBinary, b[:n]) != nil {
			return
		}
		if err != nil {
			writeJSON(ctx, ws, ExecInput{EOF: true}) //nolint:errcheck // the reader meets the same error
			return
		}
	}
}

func sendControl(ctx context.Context, ws *websocket.Conn, s ExecStreams) {
	for {
		var in ExecInput
		select {
		case size := <-s.Resize:
			in.Resize = &size
		case in.Signal = <-s.Signals:
		case <-ctx.Done():
			return
		}
		if writeJSON(ctx, ws, in) != nil {
			return
		}
	}
}

// ErrNoExit says that the connection ended before the process.
var ErrNoExit = errors.New("the connection to the instance broke; the process was ended")

func readOutput(ctx context.Context, ws *websocket.Conn, s ExecStreams) (ExecExit, error) {
	for {
		kind, data, err := ws.Read(ctx)
		if ctx.Err() != nil {
			return ExecExit{}, ctx.Err()
		}
		if err != nil {
			return ExecExit{}, fmt.Errorf("%w (%w)", ErrNoExit, err)
		}
		if kind == websocket.MessageBinary {
			if err := s.write(data); err != nil {
				return ExecExit{}, err
			}
			continue
		}
		var out ExecOutput
		if err := json.Unmarshal(data, &out); err != nil {
			return ExecExit{}, err
		}
		switch {
		case out.Exit != nil:
			ws.Close(websocket.StatusNormalClosure, "") //nolint:errcheck // all was said
			return *out.Exit, nil
		case out.Error != "":
			return ExecExit{}, errors.New(strings.TrimSuffix(out.Error, "."))
		case out.Started && s.Started != nil:
			s.Started()
		}
	}
}

func (s ExecStreams) write(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	w := s.Stdout
	if data[0] == ExecStderr {
		w = s.Stderr
	}
	if w == nil {
		return nil
	}
	_, err := w.Write(data[1:])
	return err
}
