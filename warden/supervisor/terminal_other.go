//go:build unix && !linux

package supervisor

import (
	"syscall"
	"unsafe"
)

const openPeer = syscall.O_RDWR | syscall.O_NOCTTY | syscall.O_CLOEXEC

// winsize is the kernel's.
type winsize struct{ rows, columns, x, y uint16 }

// openTerminal makes a terminal.
func openTerminal(rows, columns uint16) (master, slave int, err error) {
	master, err = syscall.Open("/dev/ptmx", openPeer, 0)
	if err != nil {
		return -1, -1, wrap("open /dev/ptmx", err)
	}
	slave, err = openPeerOf(master, winsize{rows: rows, columns: columns})
	if err != nil {
		syscall.Close(master)
		return -1, -1, wrap("make a terminal", err)
	}
	return master, slave, nil
}

func openPeerOf(master int, size winsize) (int, error) {
	var name [128]byte // as long as the kernel's answer is at most
	for _, c := range []struct {
		request uintptr
		arg     unsafe.Pointer
	}{
		{syscall.TIOCPTYGRANT, nil},
		{syscall.TIOCPTYUNLK, nil},
		{syscall.TIOCPTYGNAME, unsafe.Pointer(&name)},
		{syscall.TIOCSWINSZ, unsafe.Pointer(&size)},
	} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(master), c.request, uintptr(c.arg)); errno != 0 {
			return -1, errno
		}
	}
	n := 0
	for n < len(name) && name[n] != 0 {
		n++
	}
	return syscall.Open(string(name[:n]), openPeer, 0)
}
