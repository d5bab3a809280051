package warden_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloudlet/warden"
)

// TestShort: an app that lives from reclaimed memory is told of, before it is killed.
func TestShort(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	p := open(warden.Full)(t, warden.Config{Dir: dir + "/c"})
	defer p.Close()
	if p.Isolation().Limits != "cgroup v2" || os.Geteuid() != 0 {
		t.Skip("only cgroup v2 tells root of pressure")
	}
	c, err := p.Create(t.Context(), warden.Spec{Handle: "short", Limits: warden.Limits{Memory: 24 << 20, Disk: 256 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Destroy(t.Context())
	// A file that does not quite fit is read by several again and again.
	script := "head -c 26000000 /dev/zero > f; for i in 1 2 3 4; do while :; do cat f > /dev/null; done & done; wait"
	if err := c.Start(warden.Command{Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Short():
	case <-c.Done():
		t.Errorf("it ended: %+v", c.Exit())
	case <-time.After(30 * time.Second):
		found, _ := filepath.Glob("/sys/fs/cgroup/cloudlet-*/short/memory.pressure")
		for _, f := range found {
			b, _ := os.ReadFile(f)
			t.Errorf("nobody was told: %s", b)
		}
	}
}
