package controller

import (
	"cmp"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/internal/component"
)

// traffic counts requests to the API.
type traffic struct {
	requests atomic.Uint64
	pending  atomic.Int64
	recent   component.Rolling
}

// varz are the controller's numbers. Staging is the stager's business, so that v1's
// counts of stage commands stay 0, as they did in its last years.
type varz struct {
	Requests      uint64 `json:"requests"`
	Pending       int64  `json:"pending_requests"` // being answered
	PerSecond     int64  `json:"requests_per_sec"`
	RunningStages int    `json:"running_stage_cmds"`
	PendingStages int    `json:"pending_stage_cmds"`
}

func (c *Controller) varz() any {
	return varz{
		Requests:  c.traffic.requests.Load(),
		Pending:   c.traffic.pending.Load(),
		PerSecond: c.traffic.recent.PerSecond(time.Now()),
	}
}

// observe counts a request, and adds it to the audit trail on the bus.
func (c *Controller) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		c.traffic.requests.Add(1)
		c.traffic.pending.Add(1)
		defer c.traffic.pending.Add(-1)
		c.traffic.recent.Add(time.Now(), 0)
		err := next(e)
		if !errors.Is(err, echo.ErrNotFound) {
			c.auditRequest(e, err)
		}
		return err
	}
}

// auditRequest tells who called what, upon which app or user, and how that went: never
// what was in a body, nor a part of the path that is good for access.
func (c *Controller) auditRequest(e echo.Context, err error) {
	path := e.Request().URL.Path
	if e.Param("hash") != "" || e.Param("upload") != "" || e.Param("token") != "" {
		path = e.Path()
	}
	email := "N/A"
	if who, ok := e.Get(callerKey).(caller); ok && who.user != nil {
		email = who.user.Email
		if who.user.Email != who.real.Email {
			c.audit("SYSTEM", who.real.Email, "PROXY ATTEMPT", email, "SUCCEEDED")
		}
	}
	event := []any{"USER", email, e.Request().Method + ":" + path}
	if name := cmp.Or(param(e, "name"), param(e, "email"), param(e, "*")); name != "" {
		event = append(event, name)
	}
	if why := c.failure(e, err); why != "" {
		c.audit(append(event, "FAILED", why)...)
	} else {
		c.audit(append(event, "SUCCEEDED")...)
	}
}

// failure says why a request failed; empty for one that did not.
func (c *Controller) failure(e echo.Context, err error) string {
	if err == nil {
		if status := e.Response().Status; status >= http.StatusBadRequest {
			return http.StatusText(status)
		}
		return ""
	}
	if fault := c.faultOf(err); fault != nil {
		return fault.Text
	}
	var unknown *echo.HTTPError
	if errors.As(err, &unknown) {
		return http.StatusText(unknown.Code)
	}
	return api.SystemError.Text
}

// audit adds an event to the trail. Whoever wants to keep it listens.
func (c *Controller) audit(event ...any) {
	now := time.Now().Format(bus.TimeFormat)
	c.tell(bus.CloudEvents.Publish(c.conn, append(bus.CloudEvent{now}, event...)))
}
