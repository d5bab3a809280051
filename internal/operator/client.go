package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNotRunning is returned when no cloud serves the data folder.
var ErrNotRunning = errors.New("no cloud is running here")

// Client asks the cloud of one data folder.
type Client struct {
	data string
	http http.Client
}

// Dial makes a client; nothing is connected before the first call.
func Dial(data string) *Client {
	c := &Client{data: data}
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSocket(ctx, data)
		},
	}
	c.http.Timeout = 10 * time.Second
	return c
}

// Status tells about the running cloud.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/status", &s)
}

// Login gives a token for the administrator's account.
func (c *Client) Login(ctx context.Context) (Login, error) {
	var l Login
	return l, c.call(ctx, http.MethodPost, "/login", &l)
}

// Destroy ends and removes a container.
func (c *Client) Destroy(ctx context.Context, handle string) error {
	return c.call(ctx, http.MethodDelete, "/containers/"+url.PathEscape(handle), nil)
}

// Down asks the cloud to stop and waits until its process has ended.
func (c *Client) Down(ctx context.Context) error {
	s, err := c.Status(ctx)
	if err == nil {
		err = c.call(ctx, http.MethodPost, "/down", nil)
	}
	if err != nil {
		return err
	}
	for {
		if errors.Is(syscall.Kill(s.PID, 0), syscall.ESRCH) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://cloudlet"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("the cloud of %s belongs to another user: %w", c.data, err)
		}
		return fmt.Errorf("%w (data folder %s)", ErrNotRunning, c.data)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("operator channel: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("operator channel: %s", strings.TrimSpace(string(body)))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

func dialSocket(ctx context.Context, data string) (net.Conn, error) {
	path, done, err := socketPath(data)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// maxSocketPath is what fits into a socket address on every system.
const maxSocketPath = 100

// socketPath names the socket in a way that fits: a long data folder is reached through
// a short link to it.
func socketPath(data string) (path string, done func(), err error) {
	path = filepath.Join(data, socketName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	tmp, err := os.MkdirTemp("", "cl")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(tmp) }
	abs, err := filepath.Abs(data)
	if err == nil {
		err = os.Symlink(abs, filepath.Join(tmp, "d"))
	}
	if err != nil {
		done()
		return "", nil, err
	}
	return filepath.Join(tmp, "d", socketName), done, nil
}
