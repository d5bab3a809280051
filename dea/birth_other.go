//go:build unix && !linux

package dea

import (
	"os"
	"syscall"
	"time"
)

// birth is when a file was made.
func birth(f *os.File) time.Time {
	info, err := f.Stat()
	if err != nil {
		return time.Time{}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}
	}
	return time.Unix(st.Birthtimespec.Unix())
}
