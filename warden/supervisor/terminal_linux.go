package supervisor

import (
	"syscall"
	"unsafe"
)

const (
	tiocGPTPeer = 0x5441 // from asm-generic/ioctls.h
	openPeer    = syscall.O_RDWR | syscall.O_NOCTTY | syscall.O_CLOEXEC
)

// winsize is the kernel's.
type winsize struct{ rows, columns, x, y uint16 }

// openTerminal makes a terminal of the file system that the supervisor sees, which is
// the container's, so that its processes find it under its name.
func openTerminal(rows, columns uint16) (master, slave int, err error) {
	master, err = syscall.Open("/dev/ptmx", openPeer, 0)
	if err != nil {
		return -1, -1, wrap("open /dev/ptmx", err)
	}
	locked, size := int32(0), winsize{rows: rows, columns: columns}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(master), syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&locked)))
	if errno == 0 {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, uintptr(master), syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size)))
	}
	peer := uintptr(0)
	if errno == 0 {
		peer, _, errno = syscall.Syscall(syscall.SYS_IOCTL, uintptr(master), tiocGPTPeer, openPeer)
	}
	if errno != 0 {
		syscall.Close(master)
		return -1, -1, wrap("make a terminal", errno)
	}
	return master, int(peer), nil
}
