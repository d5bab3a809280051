package warden_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cloudlet/warden"
)

// scopeEnv has TestScope be the process that dies and leaves a container.
const scopeEnv = "WARDENTEST_SCOPE"

// TestScope: where systemd runs, containers are in a scope of Cloudlet's own, and are found
// there by a Cloudlet that has another one.
func TestScope(t *testing.T) {
	if st, err := os.Lstat("/run/systemd/system"); err != nil || !st.IsDir() {
		t.Skip("it needs systemd")
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Skip("it needs cgroup v2")
	}
	if dir := os.Getenv(scopeEnv); dir != "" {
		leaveInScope(t, dir)
		return
	}
	dir := t.TempDir()
	before := exec.Command(os.Args[0], "-test.run=^TestScope$")
	before.Env = append(os.Environ(), scopeEnv+"="+dir)
	if out, err := before.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := warden.New(warden.Config{Dir: dir}, testLog(t))
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	old, err := p.Get("old")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := p.Create(t.Context(), warden.Spec{Handle: "fresh"})
	if err != nil {
		t.Fatal(err)
	}
	for c, pid := range map[*warden.Container]int{old: before.Process.Pid, fresh: os.Getpid()} {
		group := groupOf(t, dir, c)
		if scope := fmt.Sprintf("-%d.scope/", pid); !strings.Contains(group, scope) {
			t.Errorf("%s is in %s, want %s", c.Handle(), group, scope)
		}
		limits := c.Spec().Limits
		limits.Memory = 64 << 20
		if err := c.SetLimits(limits); err != nil {
			t.Error(err)
		}
		b, err := os.ReadFile(filepath.Join(group, "memory.max"))
		if strings.TrimSpace(string(b)) != "67108864" {
			t.Errorf("%s: memory.max is %q, %v", c.Handle(), b, err)
		}
		if err := c.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func leaveInScope(t *testing.T, dir string) {
	p := warden.New(warden.Config{Dir: dir}, testLog(t))
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if iso := p.Isolation(); iso.Limits != "cgroup v2" || strings.Contains(strings.Join(iso.Reasons, "\n"), "systemd") {
		t.Fatalf("%+v", iso)
	}
	c, err := p.Create(t.Context(), warden.Spec{Handle: "old"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(warden.Command{Args: []string{"/bin/sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
}

// groupOf is a container's group, by its record.
func groupOf(t *testing.T, dir string, c *warden.Container) string {
	b, err := os.ReadFile(filepath.Join(dir, c.Handle(), "record.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Group string }
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r.Group
}
