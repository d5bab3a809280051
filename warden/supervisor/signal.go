//go:build unix

package supervisor

import (
	"syscall"
	_ "unsafe" // for go:linkname
)

// os/signal would bring in package os and with it most of the standard
// library's initialisation; these are the two functions of the runtime below it.

//go:linkname signal_enable os/signal.signal_enable
func signal_enable(sig uint32)

//go:linkname signal_recv os/signal.signal_recv
func signal_recv() uint32

//go:linkname nanotime runtime.nanotime
func nanotime() int64

// forwarded are the signals that a supervisor passes on to the main process.
var forwarded = []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}

// watchSignals writes the number of each signal that arrives into a pipe, of
// which it returns the end to read.
func watchSignals() (int, error) {
	var p [2]int
	if err := makePipe(&p); err != nil {
		return -1, err
	}
	if err := syscall.SetNonblock(p[0], true); err != nil {
		return -1, err
	}
	signal_enable(uint32(syscall.SIGCHLD))
	for _, s := range forwarded {
		signal_enable(uint32(s))
	}
	go func() {
		b := make([]byte, 1)
		for {
			b[0] = byte(signal_recv())
			syscall.Write(p[1], b)
		}
	}()
	return p[0], nil
}

// signals is the source that reads the pipe.
type signals struct {
	l  *loop
	fd int
}

func (s signals) ready(event) {
	var buf [64]byte // the loop's own is needed for what a signal leads to
	n, err := syscall.Read(s.fd, buf[:])
	if err != nil {
		return
	}
	child := false
	for _, b := range buf[:n] {
		if sig := syscall.Signal(b); sig == syscall.SIGCHLD {
			child = true
		} else {
			s.l.signalled(sig)
		}
	}
	if child {
		s.l.reap()
	}
}
