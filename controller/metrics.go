package controller

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/internal/component"
	"cloudlet/store"
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
	u, err := c.scraper(e.Request().Context(), email, password, e.RealIP())
	if err == nil && !u.Admin {
		err = api.Forbidden.Because("only an administrator may do this")
	}
	return err
}

// lastScraper is who last gave the right password. To check one costs 19 MiB, which is
// too much for every scrape. The password itself is not kept, but a MAC of it under a
// key that ends with the process.
type lastScraper struct {
	mu   sync.Mutex
	mac  []byte
	user store.User
}

// scraper checks a password as a login does, unless it is the one of the last time and
// the account has the same password still.
func (c *Controller) scraper(ctx ctx, email, password, address string) (u store.User, err error) {
	h := hmac.New(sha256.New, []byte(c.password))
	h.Write([]byte(email + "\x00" + password))
	mac, last := h.Sum(nil), &c.scrapers
	last.mu.Lock()
	known, as := hmac.Equal(mac, last.mac), last.user
	last.mu.Unlock()
	if known {
		err = c.st.View(func(tx *store.Tx) error {
			u, err = tx.User(as.Email)
			return err
		})
		if err == nil && u.Password == as.Password && u.Generation == as.Generation {
			return u, nil
		}
	}
	if u, err = c.id.Authenticate(ctx, email, password, address, time.Now()); err == nil {
		last.mu.Lock()
		last.mac, last.user = mac, u
		last.mu.Unlock()
	}
	return u, err
}
