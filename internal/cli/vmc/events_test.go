package vmc

import (
	"net/http"
	"testing"
	"time"

	"cloudlet/controller/api"
)

func TestEvents(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	at := time.Date(2012, 8, 22, 23, 41, 41, 0, time.Local)
	events := []api.Event{
		{ID: 9, Time: at, Actor: "system", Action: "app.crash", App: "hello", Detail: "instance 0 after 12s"},
		{ID: 7, Time: at.Add(-time.Hour), Actor: adminEmail, OnBehalfOf: "a@b", Address: "127.0.0.1", Action: "app.update", App: "hello", Detail: "instances 1 → 3"},
		{ID: 2, Time: at.Add(-2 * time.Hour), Actor: adminEmail, Action: "user.password", Detail: "a@b"},
	}
	c.handlers = map[string]http.HandlerFunc{
		"GET /events":            func(w http.ResponseWriter, _ *http.Request) { answer(w, events) },
		"GET /apps/hello/events": func(w http.ResponseWriter, _ *http.Request) { answer(w, events[:2]) },
	}
	u := c.at(t)
	u.wants(`
+---------------------+---------------------------+------------------+----------------------+
| Time                | Who                       | What             | Detail               |
+---------------------+---------------------------+------------------+----------------------+
| 2012-08-22 23:41:41 | system                    | app.crash hello  | instance 0 after 12s |
| 2012-08-22 22:41:41 | admin@example.com for a@b | app.update hello | instances 1 → 3      |
| 2012-08-22 21:41:41 | admin@example.com         | user.password    | a@b                  |
+---------------------+---------------------------+------------------+----------------------+

`, "events")
	u.wants(`
+---------------------+---------------------------+------------+----------------------+
| Time                | Who                       | What       | Detail               |
+---------------------+---------------------------+------------+----------------------+
| 2012-08-22 23:41:41 | system                    | app.crash  | instance 0 after 12s |
| 2012-08-22 22:41:41 | admin@example.com for a@b | app.update | instances 1 → 3      |
+---------------------+---------------------------+------------+----------------------+

`, "events", "hello")
	events = events[:0]
	u.wants("No events\n\n", "events")
	u.wants("[]\n\n", "events", "--json")
	u.fails([]string{"Error 301: Application not found: 'none'"}, "events", "none")
	c.handlers = nil // another cloud
	u.fails([]string{"Error: this cloud keeps no events"}, "events")
}
