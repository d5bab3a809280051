package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"

	"cloudlet/internal/operator"
)

// OpenData makes the data folder and takes its lock, which the caller gives back. A
// second `up` on the same folder is told where the first one runs.
func OpenData(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hinted(fmt.Errorf("the data folder cannot be made: %w", err), "name another one with --data DIR")
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, hinted(fmt.Errorf("the data folder belongs to somebody else: %w", err), "name another one with --data DIR")
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, hinted(fmt.Errorf("the data folder cannot be written: %w", err), "name another one with --data DIR")
	}
	if !ok {
		return nil, alreadyRunning(ctx, dir)
	}
	return func() { lock.Unlock() }, nil //nolint:errcheck // the process ends
}

func alreadyRunning(ctx context.Context, dir string) error {
	s, err := operator.Dial(dir).Status(ctx)
	if err != nil {
		return hinted(fmt.Errorf("another Cloudlet is starting or stopping on %s", dir), "try again in a moment")
	}
	return hinted(fmt.Errorf("a Cloudlet is running already on this data folder: %s (process %d, data %s)", s.API, s.PID, dir),
		"`cloudlet status` tells about it, `cloudlet down` stops it")
}

// Listen opens the address for browsers and clients. It comes first, so that a used
// port is known before anything is started.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, hinted(fmt.Errorf("%s is in use by another program", addr), "choose another address: cloudlet up --listen 127.0.0.1:8081")
	case errors.Is(err, os.ErrPermission):
		return nil, hinted(fmt.Errorf("%s is not allowed for this user", addr), "ports below 1024 need root; choose another: cloudlet up --listen 127.0.0.1:8080")
	case err != nil:
		return nil, hinted(fmt.Errorf("cannot listen on %s: %w", addr, err), "choose another address with --listen HOST:PORT")
	}
	return l, nil
}
