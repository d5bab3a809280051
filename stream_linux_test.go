package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"cloudlet/internal/operator"
)

// Whatever an application's size, its bits only pass through the server: an upload, the
// owner's download, and at a start the stager's download, the droplet's upload and the
// DEA's download, all in one process. The long form takes half a gigabyte.
func TestBitsStream(t *testing.T) {
	size, limit := int64(64_000_000), 12<<10 // bytes, KiB
	if os.Getenv("CLOUDLET_TEST_LONG") == "1" {
		size, limit = 500_000_000, 32<<10
	}
	app := filepath.Join(t.TempDir(), "app")
	writeNoise(t, app, size)
	s, _ := launch(t, "cloudlet", filepath.Join(t.TempDir(), "data"))
	defer s.stop()
	s.vmc("apps") // logs in
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"upload", func() { s.vmc("push", "big", "--path", app, "--no-start", "-n") }},
		{"download", func() {
			if n := s.download("/apps/big/application"); n < size {
				t.Errorf("%d bytes came of %d", n, size)
			}
		}},
		{"start", func() { s.vmc("start", "big", "-n") }},
	} {
		before := s.forgetPeak()
		step.do()
		peak := s.kilobytes("VmHWM:")
		t.Logf("%s of %d MB: %d KiB before, %d KiB at most", step.name, size/1e6, before, peak)
		if peak-before > limit {
			t.Errorf("%s takes %d KiB of memory", step.name, peak-before)
		}
	}
	if err := s.answers("/", "big"); err != nil {
		t.Error(err)
	}
	s.vmc("delete", "big", "-n")
}

// writeNoise makes a static site of files that cannot be compressed.
func writeNoise(t *testing.T, dir string, size int64) {
	t.Helper()
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello"), 0o600)
	}
	const files = 4
	noise := rand.NewChaCha8([32]byte{})
	for i := range files {
		if err != nil {
			break
		}
		var f *os.File
		if f, err = os.Create(filepath.Join(dir, fmt.Sprintf("noise%d", i))); err == nil {
			_, err = io.CopyN(f, noise, size/files)
			f.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// forgetPeak makes the highest use of memory the present one, and gives that.
func (s *server) forgetPeak() (kilobytes int) {
	s.b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		s.b.Skip("this system does not tell a process's peak: ", err)
	}
	return s.kilobytes("VmRSS:")
}

// download reads an answer of the API through the router, as the administrator.
func (s *server) download(path string) (n int64) {
	s.b.Helper()
	login, err := operator.Dial(s.data).Login(context.Background())
	if err != nil {
		s.b.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, s.status.API+path, nil)
	if err != nil {
		s.b.Fatal(err)
	}
	req.Header.Set("Authorization", login.Token)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.status.Listen)
		},
	}}
	resp, err := client.Do(req)
	if err != nil {
		s.b.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err = io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		s.b.Fatal(resp.Status, err)
	}
	return n
}
