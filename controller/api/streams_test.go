package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"cloudlet/controller/api"
)

func TestLogs(t *testing.T) {
	c, last, _ := serve(t, 200, `{"app":"hello","instance":1,"id":"9f86","source":"stdout","seq":7,"line":"a"}`+"\n\n"+
		`{"app":"hello","instance":-1,"source":"event","seq":0,"line":"stopped"}`+"\n")
	q := api.LogQuery{Lines: 5, Follow: true, Instance: "1", Since: api.LogCursor{"9f86:stdout": 3, "9f86:err": 4}}
	s, err := c.Logs(t.Context(), "hello", q)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := "/apps/hello/logs?follow=1&instance=1&lines=5&since=9f86%3Aerr%3A4%2C9f86%3Astdout%3A3"
	if got := last.URL.RequestURI(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, want := range []string{"a", "stopped"} {
		l, err := s.Next()
		if err != nil || l.Line != want {
			t.Fatalf("%+v, %v", l, err)
		}
		q.Since.Add(l)
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if d := cmp.Diff(api.LogCursor{"9f86:stdout": 7, "9f86:err": 4}, q.Since); d != "" {
		t.Error(d)
	}
}

func FuzzLogCursor(f *testing.F) {
	for _, s := range []string{"", "9f86:stdout:3", "9f86:a.b-c:3,00:stderr:4", ":", "a:b:c", "a:b:-1", "a::1", "a:b:1,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := api.ParseLogCursor(s)
		if err != nil {
			return
		}
		again, err := api.ParseLogCursor(c.String())
		if err != nil || !cmp.Equal(c, again) {
			t.Errorf("%q: %v, then %v, %v", s, c, again, err)
		}
	})
}

// upper answers as an instance would that runs a program which shouts what it is told.
func upper(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow() //nolint:errcheck // it is closed
	ctx := r.Context()
	text := func(v any) {
		data, _ := json.Marshal(v)                 //nolint:errcheck // it can be written
		ws.Write(ctx, websocket.MessageText, data) //nolint:errcheck // the reader sees it
	}
	text(api.ExecOutput{Started: true})
	for {
		kind, data, err := ws.Read(ctx)
		if err != nil {
			return
		}
		var in api.ExecInput
		switch {
		case kind == websocket.MessageBinary:
			ws.Write(ctx, websocket.MessageBinary, append([]byte{api.ExecStdout}, bytes.ToUpper(data)...)) //nolint:errcheck // as above
		case json.Unmarshal(data, &in) == nil && in.EOF:
			ws.Write(ctx, websocket.MessageBinary, []byte("\x02bye")) //nolint:errcheck // as above
			text(api.ExecOutput{Exit: &api.ExecExit{Status: 3, Reason: "exited with status 3"}})
			return
		}
	}
}

func TestExec(t *testing.T) {
	var path, token string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, token = r.URL.Path, r.Header.Get("Authorization")
		upper(w, r)
	}))
	defer srv.Close()
	var out, errs bytes.Buffer
	started := false
	exit, err := api.NewClient(srv.URL, "secret").Exec(t.Context(), "a b", "0", api.ExecRequest{Args: []string{"x"}}, api.ExecStreams{
		Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs, Started: func() { started = true },
	})
	if err != nil || exit.Status != 3 || out.String() != "HELLO" || errs.String() != "bye" || !started {
		t.Errorf("%+v, %v, %q, %q, %v", exit, err, &out, &errs, started)
	}
	if path != "/apps/a b/instances/0/exec" || token != "secret" {
		t.Errorf("%s with %q", path, token)
	}
}

func TestExecRefused(t *testing.T) {
	c, _, _ := serve(t, 404, `{"code":301,"description":"Application not found"}`)
	if _, err := c.Exec(t.Context(), "a", "0", api.ExecRequest{}, api.ExecStreams{}); !errors.Is(err, api.AppNotFound) {
		t.Error(err)
	}
	if _, err := api.NewClient("http://127.0.0.1:1", "").Exec(t.Context(), "a", "0", api.ExecRequest{}, api.ExecStreams{}); !errors.As(err, new(*api.Unreachable)) {
		t.Error(err)
	}
}

func TestExecBroken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_, _, _ = ws.Read(r.Context())
		if r.URL.Path == "/apps/a/instances/0/exec" {
			fmt.Fprint(io.Discard, ws.CloseNow())
			return
		}
		ws.Write(r.Context(), websocket.MessageText, []byte(`{"error":"the instance is gone."}`)) //nolint:errcheck // the reader sees it
	}))
	defer srv.Close()
	c := api.NewClient(srv.URL, "")
	for instance, want := range map[string]string{"0": "broke", "1": "the instance is gone"} {
		if _, err := c.Exec(context.Background(), "a", instance, api.ExecRequest{}, api.ExecStreams{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", instance, err)
		}
	}
}
