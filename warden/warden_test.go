package warden_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloudlet/warden"
)

func TestSmoke(t *testing.T) {
	for _, lvl := range []warden.Level{"", warden.Process} {
		t.Run("level "+string(lvl), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "c")
			p := warden.New(warden.Config{Dir: dir, Level: lvl}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
			t0 := time.Now()
			if err := p.Open(context.Background()); err != nil {
				t.Fatal(err)
			}
			t.Log(p.Isolation(), time.Since(t0))
			t0 = time.Now()
			c, err := p.Create(context.Background(), warden.Spec{Handle: "a", Port: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Log("create", time.Since(t0))
			t0 = time.Now()
			e, err := c.Run(context.Background(), warden.Command{Args: []string{"sh", "-c", "id; pwd; ls -la / /etc; ls -l /proc/self/fd; mount; ps ax | tail -5; cat /proc/self/status | grep -E 'Cap|NoNew'; ulimit -a"}, Env: []string{"PATH=/bin:/usr/bin"}}, warden.Streams{Stdout: os.Stdout, Stderr: os.Stdout})
			t.Log(e, err, time.Since(t0))
			t0 = time.Now()
			if err := c.Start(warden.Command{Args: []string{"sh", "-c", "echo hello; exit 3"}, Env: []string{"PATH=/bin:/usr/bin"}}); err != nil {
				t.Fatal(err)
			}
			<-c.Done()
			t.Log(c.Exit(), time.Since(t0))
			b, err := os.ReadFile(filepath.Join(c.Home(), "logs", "stdout.log"))
			t.Logf("%q %v", b, err)
			t0 = time.Now()
			if err := c.Destroy(context.Background()); err != nil {
				t.Fatal(err)
			}
			t.Log("destroy", time.Since(t0))
			p.Close()
		})
	}
}
