//go:build !linux

package store

import "golang.org/x/sys/unix"

// syncAll forces to disk all that was written.
func syncAll(string) error { return unix.Sync() }
