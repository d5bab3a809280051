package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cloudlet/warden/supervisor"
)

// Handlers are what the cloud can do for its operator.
type Handlers struct {
	Status func() Status
	Login  func(ctx context.Context) (Login, error)
	Down   func() // returns at once

	// Destroy ends and removes the container with a handle.
	Destroy func(ctx context.Context, handle string) error
}

// Server serves the operator channel of one data folder.
type Server struct {
	data  string
	h     Handlers
	log   *slog.Logger
	ready chan struct{}
}

// NewServer assembles a server. The caller holds the data folder's lock.
func NewServer(data string, h Handlers, log *slog.Logger) *Server {
	return &Server{data: data, h: h, log: log.With("component", "operator"), ready: make(chan struct{})}
}

// Ready is closed when the channel is served.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx is cancelled.
func (s *Server) Run(ctx context.Context) error {
	l, err := s.listen()
	if err != nil {
		return fmt.Errorf("operator channel: %w", err)
	}
	srv := &http.Server{
		Handler:           fromOutside(s.routes()),
		ConnContext:       notePeer,
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ownPeers{l, s.log}) }()
	close(s.ready)
	select {
	case err := <-served:
		return fmt.Errorf("operator channel: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return srv.Shutdown(stop)
}

// listen takes the socket's place: a socket left by a killed server is in the way, and
// the folder's lock says that none is alive.
func (s *Server) listen() (net.Listener, error) {
	if err := os.Remove(filepath.Join(s.data, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	path, done, err := socketPath(s.data)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the name may be a link that is gone by then
	return l, os.Chmod(path, 0o600)
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, s.h.Status(), nil)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		login, err := s.h.Login(r.Context())
		answer(w, login, err)
	})
	mux.HandleFunc("DELETE /containers/{handle}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, s.h.Destroy(r.Context(), r.PathValue("handle")))
	})
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, nil)
		s.h.Down()
	})
	return mux
}

// inside marks the requests of containers' processes. They may be of our own user.
type inside struct{}

func notePeer(ctx context.Context, c net.Conn) context.Context {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { //nolint:errcheck // reading tells
			if supervisor.FromContainer(int(fd)) {
				ctx = context.WithValue(ctx, inside{}, true)
			}
		})
	}
	return ctx
}

// fromOutside refuses requests of containers' processes.
func fromOutside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(inside{}) != nil {
			http.Error(w, "This process has a filter of system calls, as applications have, which may not ask. Ask from a plain terminal.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the asker went away
}

// ownPeers accepts only connections of our own user, and of root.
type ownPeers struct {
	net.Listener
	log *slog.Logger
}

func (o ownPeers) Accept() (net.Conn, error) {
	for {
		c, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c.(*net.UnixConn))
		if err == nil && (uid == os.Geteuid() || uid == 0) {
			return c, nil
		}
		o.log.Warn("refused a stranger", "uid", uid, "err", err)
		c.Close()
	}
}
