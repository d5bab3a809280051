package runtimes

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// fake puts a program into a folder of its own and into PATH.
func fake(t *testing.T, dir, name, script string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return path
}

func find(t *testing.T, name string) Runtime {
	t.Helper()
	all := Find(t.Context(), "v9")
	i := slices.IndexFunc(all, func(r Runtime) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("%s is not in the catalogue", name)
	}
	return all[i]
}

func TestFindsVersionAndRoots(t *testing.T) {
	home := t.TempDir()
	real := fake(t, filepath.Join(home, "versions", "20", "bin"), "node", "echo v20.1.2")
	link := filepath.Join(home, "current", "bin")
	if err := os.MkdirAll(link, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Join(link, "node")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", link)
	r := find(t, "node")
	want := []string{filepath.Join(home, "current"), filepath.Join(home, "versions", "20")}
	if r.Version != "20.1.2" || r.Executable != filepath.Join(link, "node") || !slices.Equal(r.Roots, want) {
		t.Errorf("%+v", r)
	}
}

func TestMissingAndBroken(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if r := find(t, "node"); r.Found() || r.Install == "" {
		t.Errorf("%+v", r)
	}
	fake(t, t.TempDir(), "node", "exit 1")
	if r := find(t, "node"); r.Found() {
		t.Errorf("one that fails counts as found: %+v", r)
	}
	if r := find(t, Static); r.Version != "v9" || !r.Found() {
		t.Errorf("%+v", r)
	}
}

func TestRootsOfTheSystemAreNone(t *testing.T) {
	for _, path := range []string{"/usr/bin/env", "/usr/local/bin/none", "/bin/sh"} {
		if got := roots(path); len(got) != 0 {
			t.Errorf("%s has roots %v", path, got)
		}
	}
}
