package router

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// newTransport talks to the backends.
func newTransport(cfg Config) *http.Transport {
	dialer := &net.Dialer{Timeout: cfg.Dial}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        cfg.BackendIdle,
		MaxResponseHeaderBytes: int64(cfg.MaxHeader),
		DisableCompression:     true, // bodies pass as they are
		// A client that waits for 100 Continue waits for the backend's, within reason.
		ExpectContinueTimeout: time.Second,
	}
}

// dialError says that no connection came about, hence that nothing was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// bufferPool lends the reverse proxy its copy buffers.
type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, bufferSize)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*[bufferSize]byte)(b)) }

// recorder notes what is answered, and passes on at once what a backend sends: bytes
// that wait for more of their kind would stall a slow stream.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	length int64 // of the body, where it is known
}

// Unwrap lets http.ResponseController flush and hijack.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	if err == nil && w.bytes < w.length {
		err = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return n, err
}
