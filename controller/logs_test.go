package controller

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

// What waits for a reader is bounded, and one that is too slow is told so.
func TestSlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	f := &follower{
		app: store.App{ID: 42, Name: "hello"}, query: logQuery{follow: true},
		lines: make(chan []byte), events: make(chan api.LogLine, followQueue), lost: make(chan struct{}),
	}
	s := followers{}
	if err := s.add(f); err != nil {
		t.Fatal(err)
	}
	for range followQueue + 100 {
		s.staged(bus.LogLine{App: "42", Source: bus.SourceStaging, Text: "noise"})
		s.staged(bus.LogLine{App: "43", Source: bus.SourceStaging, Text: "of another"})
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.write(context.Background(), w, nil)
	}))
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, last := 0, ""
	for in := bufio.NewScanner(resp.Body); in.Scan(); n++ {
		last = in.Text()
	}
	if n > followQueue+1 || !strings.Contains(last, "too slowly") || strings.Contains(last, "another") {
		t.Errorf("%d lines, the last: %s", n, last)
	}
}
