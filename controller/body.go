package controller

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// bodyLeast is what has to come of a request's body within Config.BodyWindow, unless the
// body ends before.
const bodyLeast = 64 << 10

var errSlow = errors.New("it came too slowly: at least 64 KiB a minute are wanted")

// steady gives up on bodies that hardly come: who sends a byte a minute would hold a
// connection and a handler for ever. A large one may take hours, as long as it goes on.
func (c *Controller) steady(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			ctl := http.NewResponseController(w)
			b := &steadyBody{ReadCloser: r.Body, window: c.cfg.BodyWindow, deadline: ctl.SetReadDeadline}
			b.extend() // also for a body that nobody reads, which the server does at the end
			r = r.WithContext(r.Context())
			r.Body = b
		}
		next.ServeHTTP(w, r)
	})
}

// steadyBody has a deadline for each bodyLeast of it.
type steadyBody struct {
	io.ReadCloser
	window   time.Duration
	deadline func(time.Time) error // for what is read from the connection
	left     int                   // bytes, until the deadline is put off
}

func (b *steadyBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.extend()
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSlow
	case err == io.EOF:
		b.deadline(time.Time{}) //nolint:errcheck // the connection is gone, then
	}
	return n, err
}

func (b *steadyBody) extend() {
	b.left = bodyLeast
	b.deadline(time.Now().Add(b.window)) //nolint:errcheck // the connection is gone, then
}
