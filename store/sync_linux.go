package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncAll forces to disk all that was written to the file system that holds dir.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
