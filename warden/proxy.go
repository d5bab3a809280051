package warden

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// proxy is the way outward of containers that have no other: an HTTP proxy that Cloudlet
// serves on a unix socket, to which a link leads from each of them. It takes CONNECT and
// plain http://, and goes to no address of this machine.
type proxy struct {
	find   func(handle string) (*Container, error)
	server http.Server
	onward httputil.ReverseProxy
	dialer net.Dialer

	ctx    context.Context // of the tunnels, which the server forgets
	cancel context.CancelFunc
}

const (
	proxySocket  = ".proxy" // in Config.Dir
	proxyPort    = 3128     // inside
	proxyDial    = 30 * time.Second
	proxyIdle    = 10 * time.Minute // after which a connection on which nothing moves ends
	proxyWait    = time.Minute      // for the next request, or the rest of its head
	proxyHeaders = 64 << 10
)

// serveProxy starts the proxy of a pool's containers in the folder dir.
func serveProxy(dir string, find func(string) (*Container, error), log *slog.Logger) (*proxy, error) {
	if err := os.Remove(filepath.Join(dir, proxySocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := listen(dir, proxySocket)
	if err != nil {
		return nil, err
	}
	p := newProxy(find, log)
	go p.server.Serve(ln) //nolint:errcheck // it ends when it is closed
	return p, nil
}

func newProxy(find func(string) (*Container, error), log *slog.Logger) *proxy {
	p := &proxy{find: find, dialer: net.Dialer{Timeout: proxyDial, Control: outside}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	quiet := slog.NewLogLogger(log.Handler(), slog.LevelDebug) // apps break connections as they like
	p.server = http.Server{
		Handler: p, ReadHeaderTimeout: proxyWait, IdleTimeout: proxyWait, MaxHeaderBytes: proxyHeaders, ErrorLog: quiet,
	}
	p.onward = httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {}, // the request names its server itself
		FlushInterval: -1,
		ErrorLog:      quiet,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, err error) { unconnected(w, err) },
		Transport: &http.Transport{
			DialContext: p.dial, DisableCompression: true, IdleConnTimeout: proxyWait,
			MaxResponseHeaderBytes: proxyHeaders, ResponseHeaderTimeout: proxyIdle,
		},
	}
	return p
}

// close breaks all connections.
func (p *proxy) close() {
	p.cancel()
	p.server.Close()
	p.onward.Transport.(*http.Transport).CloseIdleConnections()
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !p.knows(r):
		w.Header().Set("Proxy-Authenticate", `Basic realm="cloudlet"`)
		http.Error(w, "The proxy wants the name and the password that http_proxy in the environment holds.", http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	case r.URL.Scheme == "http" && r.URL.Host != "":
		p.onward.ServeHTTP(w, r)
	default:
		http.Error(w, "The proxy takes CONNECT host:port and http://host/.", http.StatusBadRequest)
	}
}

// knows tells if a request comes from a container that may use the proxy.
func (p *proxy) knows(r *http.Request) bool {
	basic := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	handle, password, _ := basic.BasicAuth()
	c, err := p.find(handle)
	return err == nil && c.rec.Proxy != "" && subtle.ConstantTimeCompare([]byte(c.rec.Proxy), []byte(password)) == 1
}

// dial connects with an address outside of this machine.
func (p *proxy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := p.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return newIdleConn(conn), nil
}

// tunnel carries bytes both ways.
func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := p.dial(r.Context(), "tcp", r.Host)
	if err != nil {
		unconnected(w, err)
		return
	}
	defer far.Close()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	near := newIdleConn(conn)
	defer near.Close()
	defer context.AfterFunc(p.ctx, func() { near.Close(); far.Close() })()
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	if _, err := near.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		return
	}
	if _, err := far.Write(early); err != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() { pour(far, near) })
	pour(near, far)
	up.Wait()
}

// pour copies to the end, which it passes on. Where that fails, both directions end.
func pour(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(idleConn).Conn.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	to.Close()
	from.Close()
}

// idleConn fails when nothing has moved for a while, in either direction.
type idleConn struct{ net.Conn }

func newIdleConn(c net.Conn) idleConn {
	c.SetDeadline(time.Now().Add(proxyIdle))
	return idleConn{c}
}

func (c idleConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.SetDeadline(time.Now().Add(proxyIdle))
	return n, err
}

func (c idleConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.SetDeadline(time.Now().Add(proxyIdle))
	return n, err
}

// errInside says that an address is this machine's, or a secret of its cloud's.
var errInside = errors.New("the proxy leads out of this machine only")

func unconnected(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	if errors.Is(err, errInside) {
		status = http.StatusForbidden
	}
	http.Error(w, "The proxy cannot connect: "+err.Error(), status)
}

// outside allows the addresses that lie outside of this machine. It is asked with each
// that is about to be dialled, so that names have no say in it.
func outside(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	a := to.Addr().Unmap().WithZone("")
	if !a.IsGlobalUnicast() || holds(metadata, a) || holds(ownAddresses(), a) {
		return fmt.Errorf("%s: %w", a, errInside)
	}
	return nil
}

// ProxyEnv are the variables by which programs in the container find the way outward; none
// where they need none. What own sets already, in capitals or not, is left out.
func (c *Container) ProxyEnv(own []string) (env []string) {
	if c.rec.Proxy == "" {
		return nil
	}
	url := fmt.Sprintf("http://%s:%s@127.0.0.1:%d", c.Handle(), c.rec.Proxy, proxyPort)
	for _, v := range [][2]string{{"http_proxy", url}, {"https_proxy", url}, {"no_proxy", "localhost,127.0.0.1,::1"}} {
		taken := func(e string) bool { return len(e) > len(v[0]) && strings.EqualFold(e[:len(v[0])+1], v[0]+"=") }
		if !slices.ContainsFunc(own, taken) {
			env = append(env, v[0]+"="+v[1], strings.ToUpper(v[0])+"="+v[1])
		}
	}
	return env
}
