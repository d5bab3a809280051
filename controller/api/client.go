package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// quick bounds a request that the server answers from what it knows.
	quick = time.Minute
	// slow bounds the wait for the answer to one that makes the server work:
	// staging may take 15 minutes.
	slow = 16 * time.Minute

	maxBody  = 64 << 20 // no answer in JSON is near it
	maxFault = 64 << 10
)

// Client speaks to one cloud as one user. It may be used by several goroutines.
type Client struct {
	Target   string    // the API's URL, without a trailing slash
	Token    string    // as issued, and sent as it is; empty means anonymous
	Proxy    string    // for admins: the user to act as
	TraceKey string    // makes the router name itself and the backend in the answer
	Trace    io.Writer // where every request is told, without its secrets; nil for none

	http *http.Client
}

// NewClient makes a client for a target as NormalTarget writes it.
func NewClient(target, token string) *Client {
	return &Client{Target: target, Token: token, http: newHTTP()}
}

// NormalTarget is a target as vmc stores it: with a scheme, without trailing slashes.
func NormalTarget(target string) string {
	target = strings.TrimSpace(target)
	if !strings.HasPrefix(target, "http://") && !strings.HasPrefix(target, "https://") {
		target = "http://" + target
	}
	return strings.TrimRight(target, "/")
}

// Unreachable says that nothing answers at the target.
type Unreachable struct {
	Target string
	Err    error
}

func (u *Unreachable) Error() string { return fmt.Sprintf("cannot reach %s: %v", u.Target, u.Err) }

// Unwrap is what the network said.
func (u *Unreachable) Unwrap() error { return u.Err }

// Redirect says that the API is elsewhere.
type Redirect struct{ From, To string }

func (r *Redirect) Error() string { return fmt.Sprintf("%s sends its clients to %s", r.From, r.To) }

// ErrNotV1 is why an answer cannot be taken.
var ErrNotV1 = errors.New("the answer is not what a Cloud Foundry v1 API says")

// newHTTP is a client that follows no redirect, since POST /apps answers with one, and
// that waits for headers as long as staging may take. Requests bound themselves further.
func newHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  proxy,
			DialContext:            dialLoopback,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  slow,
			MaxResponseHeaderBytes: 1 << 20,
			IdleConnTimeout:        time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// proxy is the environment's, for other machines: the standard library goes past it for
// localhost only, and not for the names below.
func proxy(r *http.Request) (*url.URL, error) {
	if isLocalhost(r.URL.Hostname()) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// dialLoopback dials this machine for localhost and all names below it, which browsers
// and curl do by themselves and resolvers do not.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !isLocalhost(host) {
		return d.DialContext(ctx, network, addr)
	}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err == nil {
		return conn, nil
	}
	if conn, err6 := d.DialContext(ctx, network, net.JoinHostPort("::1", port)); err6 == nil {
		return conn, nil
	}
	return nil, err
}

func isLocalhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// request is one call before it is sent.
type request struct {
	method string
	path   string
	body   func() io.Reader // nil for none; called again where the transport tries again
	length int64
	ctype  string
	ranged string // the Range header; empty for none
}

// notV1 tells which request got an answer that no API of v1 gives.
func (r request) notV1(format string, args ...any) error {
	return fmt.Errorf("%s %s: %w: %s", r.method, r.path, ErrNotV1, fmt.Sprintf(format, args...))
}

// route joins path segments, each percent-encoded as the Ruby clients do it: all but
// letters, digits and "-_.~".
func route(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + strings.ReplaceAll(url.QueryEscape(s), "+", "%20"))
	}
	return b.String()
}

// get fills out with a JSON answer.
func (c *Client) get(ctx context.Context, path string, out any) error {
	return c.call(ctx, quick, http.MethodGet, path, nil, out)
}

// call sends in as JSON, unless nil, and reads the answer into out, unless nil.
func (c *Client) call(ctx context.Context, patience time.Duration, method, path string, in, out any) error {
	r := request{method: method, path: path, ctype: "application/json"}
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.length = int64(len(data))
		r.body = func() io.Reader { return bytes.NewReader(data) }
	}
	return c.exchange(ctx, patience, r, out)
}

// exchange sends a request whose answer is JSON, or of no interest.
func (c *Client) exchange(ctx context.Context, patience time.Duration, r request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)) // so that the connection is used again
		return err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(data) > maxBody {
		err = r.notV1("it is longer than %d MiB", maxBody>>20)
	}
	if err != nil {
		return err
	}
	err = json.Unmarshal(data, out)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return r.notV1("a JSON %s is in the wrong place", kind.Value)
	case err != nil:
		return r.notV1("%v", err)
	}
	return nil
}

// stream gives the body of an answer that takes as long as it takes. The caller closes it.
func (c *Client) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: path, ctype: "application/json"})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// send returns a good answer, whose body the caller closes; 302 is one of a change, since
// POST /apps gives it. What the server refuses is a *Fault; where there is no server, it
// is an *Unreachable, and where it says that the API is elsewhere, a *Redirect.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	c.trace(req, resp, err, time.Since(start))
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusFound && r.method != http.MethodGet {
		return resp, nil
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		if to, err := resp.Location(); err == nil && resp.StatusCode < http.StatusBadRequest {
			return nil, c.redirected(r, to.String())
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxFault))
		if err != nil {
			return nil, err
		}
		return nil, ParseFault(resp.StatusCode, body)
	}
	return resp, nil
}

// redirected tells an API that has moved from a server that sends its visitors somewhere.
func (c *Client) redirected(r request, to string) error {
	if base, ok := strings.CutSuffix(to, r.path); ok && base != c.Target && !strings.Contains(base, "?") {
		return &Redirect{c.Target, base}
	}
	return r.notV1("it sends to %s", to)
}

func (c *Client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		body = r.body()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.Target+r.path, body)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL of an API: %w", c.Target, err)
	}
	if r.body != nil {
		req.ContentLength = r.length
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(r.body()), nil }
	}
	req.Header.Set("Content-Type", r.ctype)
	req.Header.Set("Accept", "application/json")
	for name, value := range map[string]string{
		"Authorization": c.Token, "Proxy-User": c.Proxy, "X-VCAP-Trace": c.TraceKey, "Range": r.ranged,
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// explain tells a cloud that is not there from a request that broke.
func (c *Client) explain(err error) error {
	var op *net.OpError
	var dns *net.DNSError
	if errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial" {
		return &Unreachable{c.Target, err}
	}
	return err
}

// trace tells one exchange: never a token, nor a body, which may hold a password.
func (c *Client) trace(req *http.Request, resp *http.Response, err error, took time.Duration) {
	if c.Trace == nil {
		return
	}
	who := "anonymous"
	if c.Token != "" {
		who = "with token"
	}
	fmt.Fprintf(c.Trace, ">>> %s %s (%s, %d bytes)\n", req.Method, req.URL, who, max(req.ContentLength, 0))
	if err != nil {
		fmt.Fprintf(c.Trace, "<<< %v\n", err)
		return
	}
	fmt.Fprintf(c.Trace, "<<< %s after %s\n", resp.Status, took.Round(time.Millisecond))
	for _, name := range []string{"Location", "X-Vcap-Router", "X-Vcap-Backend"} {
		if v := resp.Header.Get(name); v != "" {
			fmt.Fprintf(c.Trace, "    %s: %s\n", name, v)
		}
	}
}
