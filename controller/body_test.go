package controller

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// trickle gives a piece of a body every so often, up to the deadline of its reader.
type trickle struct {
	pieces, size int
	every        time.Duration
	until        time.Time
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.pieces == 0 {
		return 0, io.EOF
	}
	if left := time.Until(s.until); !s.until.IsZero() && left < s.every {
		time.Sleep(left)
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(s.every)
	s.pieces--
	return min(s.size, len(p)), nil
}

// A body may take hours, as long as it goes on.
func TestSteadyBody(t *testing.T) {
	for _, tc := range []struct {
		name string
		body trickle
		want error
	}{
		{"an upload of hours", trickle{pieces: 500, size: bodyLeast, every: 59 * time.Second}, nil},
		{"in small pieces", trickle{pieces: 10_000, size: bodyLeast / 20, every: 2 * time.Second}, nil},
		{"the last piece is small", trickle{pieces: 1, size: 1, every: 59 * time.Second}, nil},
		{"a byte a second", trickle{pieces: 1000, size: 1, every: time.Second}, errSlow},
		{"nothing", trickle{pieces: 1, size: bodyLeast, every: time.Hour}, errSlow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := tc.body
				b := &steadyBody{ReadCloser: io.NopCloser(&from), window: time.Minute, deadline: func(at time.Time) error {
					from.until = at
					return nil
				}}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, b, make([]byte, bodyLeast))
				if !errors.Is(err, tc.want) {
					t.Errorf("%v after %d bytes, want %v", err, n, tc.want)
				}
				if err == nil && (n != int64(tc.body.pieces*tc.body.size) || !from.until.IsZero()) {
					t.Errorf("%d bytes, deadline %v", n, from.until)
				}
			})
		})
	}
}
