package operator

import "net"

// peerUID is the user at the other end; -1 with an error where the system does not tell.
func peerUID(c *net.UnixConn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := raw.Control(func(fd uintptr) { uid, err = peerOf(int(fd)) })
	if cerr != nil {
		return -1, cerr
	}
	return uid, err
}
