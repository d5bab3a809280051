package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

const (
	execFirst = 10 * time.Second // for the client to say what it wants, and for the DEA to answer
	execPing  = 10 * time.Second // between two looks whether the client is still there
)

// exec runs a process in an instance, over a websocket: see api.ExecRequest. Messages
// pass between the client and the DEA; of what is run the first word is an event. Ours alone.
func (c *Controller) exec(e echo.Context) error {
	app, err := c.ownApp(e)
	if err != nil {
		return err
	}
	if !app.Started {
		return api.AppStopped.Because("start it first: vmc start %s", app.Name)
	}
	q, err := instanceQuery(&app, param(e, "id"), bus.Starting, bus.Running)
	if err != nil {
		return err
	}
	if !e.IsWebSocket() {
		return api.BadRequest.Because("this is for websockets: vmc exec %s -- COMMAND", app.Name)
	}
	if !sameOrigin(e.Request()) {
		return api.Forbidden.Because("a page of another site may not do this")
	}
	found := bus.DEAFindDroplet.Gather(e.Request().Context(), c.conn, q, 1, c.cfg.Gather)
	if len(found) == 0 {
		return api.InstanceNotFound.With(param(e, "id")).Because("it does not run at present; `vmc instances %s` lists those that do", app.Name)
	}
	client, err := websocket.Accept(e.Response(), e.Request(), nil)
	if err != nil {
		return nil // it was answered
	}
	defer client.CloseNow() //nolint:errcheck // closed properly where that is possible
	c.work.Add(1)           // the server does not wait for a connection that is no HTTP any more
	defer c.work.Done()
	client.SetReadLimit(api.ExecFrameMax)
	token := e.Request().Header.Get("Authorization")
	allowed := func() bool { _, ok := c.id.Caller(token, time.Now()); return ok }
	if err := c.runIn(e.Request().Context(), client, &app, found[0], allowed); err != nil {
		refuse(e.Request().Context(), client, err)
	}
	return nil
}

// sameOrigin tells that no browser, or a page of this API, asks.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin == "" || err == nil && strings.EqualFold(u.Host, r.Host)
}

// instanceQuery asks for an instance by its index or its id.
func instanceQuery(app *store.App, id string, states ...bus.State) (bus.FindDroplet, error) {
	if !indexText.MatchString(id) {
		return bus.FindDroplet{Droplet: bus.AppNumber(app.ID), Instances: []string{id}, InstanceIDs: []string{id}}, nil
	}
	index, err := strconv.Atoi(id)
	if err != nil || index >= app.Instances {
		return bus.FindDroplet{}, api.InstanceNotFound.With(id).Because("%s has %d instance(s), counted from 0", app.Name, app.Instances)
	}
	return bus.FindDroplet{Droplet: bus.AppNumber(app.ID), Version: app.Version(), Indices: []int{index}, States: states}, nil
}

// refuse tells the client, in a message, why nothing is run.
func refuse(ctx context.Context, client *websocket.Conn, why error) {
	ctx, cancel := context.WithTimeout(ctx, execFirst)
	defer cancel()
	data, err := json.Marshal(api.ExecOutput{Error: why.Error()})
	if err == nil && client.Write(ctx, websocket.MessageText, data) == nil {
		client.Close(websocket.StatusNormalClosure, "") //nolint:errcheck // all was said
	}
}

// runIn has the DEA run what the client asks for, and returns when both have said all, or
// the client's token is not valid any more.
func (c *Controller) runIn(ctx context.Context, client *websocket.Conn, app *store.App, d bus.FoundDroplet, allowed func() bool) error {
	first, req, err := readRequest(ctx, client)
	if err != nil {
		return err
	}
	dea, err := dialViewer(ctx, d)
	if err != nil {
		return err
	}
	defer dea.CloseNow() //nolint:errcheck // closed properly where that is possible
	dea.SetReadLimit(-1)
	err = c.st.Update(func(tx *store.Tx) error {
		return record(ctx, tx, app, store.AppExec, "instance %d, %s", d.Index, firstWord(req))
	})
	if err != nil {
		c.log.Error("event", "err", err)
		return errors.New("the event could not be written, so nothing is run")
	}
	if err := dea.Write(ctx, websocket.MessageText, first); err != nil {
		return errors.New("the DEA does not answer")
	}
	pass(ctx, client, dea, allowed)
	return nil
}

func readRequest(ctx context.Context, client *websocket.Conn) (first []byte, req api.ExecRequest, err error) {
	ctx, cancel := context.WithTimeout(ctx, execFirst)
	defer cancel()
	kind, first, err := client.Read(ctx)
	if err == nil && (kind != websocket.MessageText || json.Unmarshal(first, &req) != nil) {
		err = errors.New("the first message is not the JSON that is expected")
	}
	return first, req, err
}

// dialViewer opens a websocket to the DEA. What it refuses is said in its words.
func dialViewer(ctx context.Context, d bus.FoundDroplet) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, execFirst)
	defer cancel()
	req, err := viewerRequest(ctx, d, "exec")
	if err != nil {
		return nil, err
	}
	dea, resp, err := websocket.Dial(ctx, req.URL.String(), &websocket.DialOptions{HTTPHeader: req.Header})
	if err == nil {
		return dea, nil
	}
	if resp == nil {
		return nil, fmt.Errorf("the DEA does not answer: %w", err)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, errors.New("the instance is not ready yet, or has ended; try again")
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil || len(text) == 0 {
		return nil, fmt.Errorf("the DEA refuses: %s", resp.Status)
	}
	return nil, errors.New(strings.TrimSpace(string(text)))
}

// firstWord is what may be told of a command: what follows may be secret.
func firstWord(req api.ExecRequest) string {
	if len(req.Args) == 0 {
		return "a shell"
	}
	word, _, _ := strings.Cut(strings.TrimSpace(req.Args[0]), " ")
	return word[:min(len(word), 64)]
}

// pass hands messages on until one side closes, and then tells the other.
func pass(ctx context.Context, client, dea *websocket.Conn, allowed func() bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		passOn(ctx, dea, client)
	}()
	go func() {
		defer cancel()
		watch(ctx, client, allowed)
	}()
	passOn(ctx, client, dea)
}

func passOn(ctx context.Context, to, from *websocket.Conn) {
	for {
		kind, data, err := from.Read(ctx)
		if err == nil {
			err = to.Write(ctx, kind, data)
		} else if code := websocket.CloseStatus(err); code >= 0 {
			to.Close(code, "") //nolint:errcheck // it may be closed too
		}
		if err != nil {
			return
		}
	}
}

// watch returns when the client is gone, or may do this no longer. The pings find one that
// has gone while the process reads no input, so that nobody reads from it.
func watch(ctx context.Context, client *websocket.Conn, allowed func() bool) {
	tick := time.NewTicker(execPing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		wait, cancel := context.WithTimeout(ctx, execPing)
		err := client.Ping(wait)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) || !allowed() {
			return
		}
	}
}
