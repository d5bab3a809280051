package warden

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A binary that is its owner's alone gets a copy that the users of containers can run.
func TestBinaryIsReachable(t *testing.T) {
	for _, c := range []struct {
		file, folder os.FileMode
		run, path    bool
	}{
		{0o755, 0o755, true, true},
		{0o700, 0o755, false, false},
		{0o755, 0o700, true, false},
	} {
		base := t.TempDir()
		dir := filepath.Join(base, "bin")
		file := filepath.Join(dir, "cloudlet")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, nil, 0o755), os.Chmod(file, c.file), os.Chmod(dir, c.folder),
			os.Chmod(base, 0o755), os.Chmod(filepath.Dir(base), 0o755)); err != nil {
			t.Fatal(err)
		}
		if got := mayRun(file, false); got != c.run {
			t.Errorf("%o may be run: %v", c.file, got)
		}
		if got := mayRun(file, true); got != c.path {
			t.Errorf("%o in %o may be run by path: %v", c.file, c.folder, got)
		}
	}
}
