package dea

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cloudlet/bus"
	"cloudlet/warden"
)

// viewer serves the files of instances: v1's file viewer, with its texts.
type viewer struct {
	srv            *http.Server
	port           int
	ip             string
	user, password string
	cancel         context.CancelFunc // ends what is being watched, and processes started by hand

	mu       sync.RWMutex
	exhibits map[string]*exhibit // by staged name
}

// exhibit is what the viewer knows of an instance.
type exhibit struct {
	name, id string
	index    int
	started  time.Time
	home     string
	box      *warden.Container
	env      []string      // as the instance has it
	sessions atomic.Int32  // processes that were started by hand
	ended    chan struct{} // closed when nothing is written to its files any more
}

// show gives an exhibit that the viewer shows from now on.
func (v *viewer) show(i *instance, env []string) *exhibit {
	x := &exhibit{
		name: i.Name, id: i.ID, index: i.Index, started: i.StartedAt, home: i.box.Home(),
		box: i.box, env: env, ended: make(chan struct{}),
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.exhibits[i.staged()] = x
	return x
}

func (x *exhibit) hasEnded() bool {
	select {
	case <-x.ended:
		return true
	default:
		return false
	}
}

func startViewer(ip string, port int, log *slog.Logger) (*viewer, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("file viewer: %w", err)
	}
	v := &viewer{
		ip: ip, port: l.Addr().(*net.TCPAddr).Port, user: bus.RandomID(), password: bus.RandomID(),
		exhibits: map[string]*exhibit{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	v.srv = &http.Server{Handler: v, BaseContext: func(net.Listener) context.Context { return ctx }, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	go func() {
		if err := v.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("file viewer", "err", err)
		}
	}()
	return v, nil
}

func (v *viewer) uri() string {
	return "http://" + net.JoinHostPort(v.ip, strconv.Itoa(v.port)) + "/droplets/"
}

func (v *viewer) credentials() []string { return []string{v.user, v.password} }

func (v *viewer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := v.srv.Shutdown(ctx)
	v.cancel()
	if err != nil {
		v.srv.Close() //nolint:errcheck // a download that did not end
	}
}

func (v *viewer) remove(staged string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.exhibits, staged)
}

func (v *viewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body != http.NoBody { // nothing is done with one: the server shall not wait for its end
		http.NewResponseController(w).SetReadDeadline(time.Now()) //nolint:errcheck // the connection is gone, then
	}
	user, password, _ := r.BasicAuth()
	if subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(v.user+":"+v.password)) != 1 {
		w.Header().Set("WWW-Authenticate", `Basic realm="files"`)
		http.Error(w, "Not authorized", http.StatusUnauthorized)
		return
	}
	what, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	staged, name, _ := strings.Cut(rest, "/")
	v.mu.RLock()
	x := v.exhibits[staged]
	v.mu.RUnlock()
	switch {
	case x == nil:
		notFound(w)
	case what == "droplets":
		serveFile(w, r, x.home, name)
	case what == "logs":
		serveLogs(w, r, x)
	case what == "exec":
		serveExec(w, r, x)
	default:
		notFound(w)
	}
}

func notFound(w http.ResponseWriter) { answer(w, http.StatusNotFound, "Entity not found.\n") }

func forbidden(w http.ResponseWriter) {
	w.Header().Set("X-Cascade", "pass")
	answer(w, http.StatusForbidden, "Not accessible\n")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}

// serveFile answers with a file or a listing. The root refuses links that lead out.
func serveFile(w http.ResponseWriter, r *http.Request, home, name string) {
	clean := path.Clean("/" + name)[1:]
	if slices.Contains(strings.Split(name, "/"), "..") || clean == "startup" || clean == "stop" || strings.ContainsRune(name, 0) {
		forbidden(w)
		return
	}
	if clean == "" {
		clean = "."
	}
	root, err := os.OpenRoot(home)
	if err != nil {
		notFound(w)
		return
	}
	defer root.Close()
	// An app may have put a pipe there, which must not keep us waiting.
	f, err := root.OpenFile(clean, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		notFound(w)
		return
	}
	if err != nil {
		forbidden(w)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		notFound(w)
	case info.IsDir():
		list(w, f, clean == ".")
	case info.Mode().IsRegular():
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", info.ModTime(), f)
	default:
		forbidden(w)
	}
}

// listMost bounds the entries of a listing: an app may have as many as its disk holds.
const listMost = 10_000

// list writes a folder as v1 did, for clients that split at blanks. At an instance's top
// only what concerns its owner is shown.
func list(w http.ResponseWriter, dir *os.File, top bool) {
	entries, err := dir.ReadDir(listMost + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		notFound(w)
		return
	}
	more := len(entries) > listMost
	entries = entries[:min(len(entries), listMost)]
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	lines := []string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || top && !slices.Contains([]string{"app", "logs", "tomcat"}, e.Name()) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it went away
		}
		name, size := e.Name(), sizeText(info.Size())
		if info.IsDir() {
			name, size = name+"/", "-"
		}
		lines = append(lines, fmt.Sprintf("%-35s %10s", name, size))
	}
	if more {
		lines = append(lines, "and more, which are not listed")
	}
	answer(w, http.StatusOK, strings.Join(lines, "\n"))
}

func sizeText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, unit := float64(n)/1024, 'K'
	for _, u := range "MGT" {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	return fmt.Sprintf("%.1f%c", f, unit)
}
