//go:build !linux

package component

import "syscall"

// resident is the most memory that the process ever occupied, in bytes: what it
// occupies now is not told.
func resident(u *syscall.Rusage) int64 { return u.Maxrss }

func machineNow() machine { return machine{} }
