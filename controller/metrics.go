package controller

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/internal/component"
)

// discovery is how long components may take to make themselves known.
const discovery = 250 * time.Millisecond

// metrics are the numbers of all components in Prometheus' text format.
func (c *Controller) metrics(e echo.Context) error {
	if err := c.checkScraper(e); err != nil {
		return err
	}
	e.Response().Header().Set(echo.HeaderContentType, "text/plain; version=0.0.4; charset=utf-8")
	e.Response().WriteHeader(http.StatusOK)
	return component.WriteMetrics(e.Response(), component.Gather(e.Request().Context(), c.conn, discovery))
}

// checkScraper lets administrators in: by a token, or, since a scraper cannot renew
// one, by e-mail and password.
func (c *Controller) checkScraper(e echo.Context) error {
	email, password, basic := e.Request().BasicAuth()
	if !basic {
		_, err := admin(e)
		return err
	}
	u, err := c.id.Authenticate(e.Request().Context(), email, password, e.RealIP(), time.Now())
	if err == nil && !u.Admin {
		err = api.Forbidden.Because("only an administrator may do this")
	}
	return err
}
