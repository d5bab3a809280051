package supervisor

import "syscall"

func makePipe(p *[2]int) error { return syscall.Pipe2(p[:], syscall.O_CLOEXEC) }

func accept(fd int) (int, error) {
	n, _, err := syscall.Accept4(fd, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
	return n, err
}

func receive(fd int, p, oob []byte, flags int) (n, oobn int, err error) {
	n, oobn, _, _, err = syscall.Recvmsg(fd, p, oob, syscall.MSG_CMSG_CLOEXEC|flags)
	return n, oobn, err
}
