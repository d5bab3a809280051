package cli

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloudlet/internal/cli/vmc"
)

//go:embed demo/index.html
var demoPage []byte

const demoApp = "hello"

// Demo pushes the sample that the binary carries, as its user would, fetches it, and
// prints where it is. target is the API, listen the router's address.
func Demo(ctx context.Context, cfg Config, listen string, std Streams) error {
	home, err := os.MkdirTemp("", "cloudlet-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home) //nolint:errcheck // it is in /tmp
	app := filepath.Join(home, demoApp)
	if err := os.Mkdir(app, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(app, "index.html"), demoPage, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "\n$ cloudlet vmc push %s\n", demoApp)
	status := vmc.Run(ctx, []string{"push", demoApp, "--path", app, "-n"}, vmc.Streams{
		In: strings.NewReader(""), Out: std.Out, Err: std.Err,
		Env: func(name string) string {
			switch name {
			case "HOME": // the user's own login and target stay as they are
				return home
			case "CLOUDLET_DATA":
				return cfg.Data
			}
			return std.Env(name)
		},
	})
	if status != 0 {
		return fmt.Errorf("the demo could not be pushed; the lines above say why")
	}
	url := cfg.URL(demoApp, listen)
	took, err := fetch(ctx, url, listen)
	if err != nil {
		return fmt.Errorf("the demo does not answer: %w", err)
	}
	fmt.Fprintf(std.Out, "%s answers in %s: open it in a browser.\n", url, took.Round(100*time.Microsecond))
	return nil
}

// fetch gets a page of an app through the router, whatever its name resolves to here.
func fetch(ctx context.Context, url, listen string) (time.Duration, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, listen)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return time.Since(began), nil
}
