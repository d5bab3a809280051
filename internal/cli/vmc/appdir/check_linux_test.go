package appdir

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that may not be read is told before anything is uploaded. Who may read all is
// another user meanwhile, on a thread that ends with the test.
func TestCheckUnreadable(t *testing.T) {
	d := tree(t, map[string]string{"app.js": "x", "sub/secret": "y"})
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{filepath.Dir(d.Root): 0o755, filepath.Join(d.Root, "sub/secret"): 0} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that nobody else gets the thread
		if os.Geteuid() == 0 {
			const nobody, same = 65534, ^uintptr(0)
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, nobody, same); errno != 0 {
				got <- errno
				return
			}
		}
		got <- d.Check()
	}()
	if err := <-got; !errors.Is(err, os.ErrPermission) || err.Error() != "sub/secret: permission denied" {
		t.Errorf("got %v", err)
	}
}
