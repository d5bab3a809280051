//go:build unix && !linux

package supervisor

import "syscall"

// Processes are started by the loop's own goroutine only, so nothing can slip
// in between making a descriptor and marking it.

func makePipe(p *[2]int) error {
	if err := syscall.Pipe(p[:]); err != nil {
		return err
	}
	syscall.CloseOnExec(p[0])
	syscall.CloseOnExec(p[1])
	return nil
}

func accept(fd int) (int, error) {
	n, _, err := syscall.Accept(fd)
	if err != nil {
		return -1, err
	}
	syscall.CloseOnExec(n)
	return n, syscall.SetNonblock(n, true)
}

func receive(fd int, p, oob []byte, flags int) (n, oobn int, err error) {
	n, oobn, _, _, err = syscall.Recvmsg(fd, p, oob, flags)
	return n, oobn, err
}
