package supervisor

import (
	"syscall"
	"unsafe"
)

const epollET = 1 << 31

// poller is epoll.
type poller struct {
	fd  int
	got [64]syscall.EpollEvent
}

func (p *poller) open() (err error) {
	p.fd, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return err
}

// add tells of fd as long as it is readable.
func (p *poller) add(fd int) {
	p.control(syscall.EPOLL_CTL_ADD, fd, syscall.EPOLLIN)
}

// addEdges tells each time fd becomes readable, writable or half closed.
func (p *poller) addEdges(fd int) {
	p.control(syscall.EPOLL_CTL_ADD, fd, syscall.EPOLLIN|syscall.EPOLLOUT|syscall.EPOLLRDHUP|epollET)
}

func (p *poller) remove(fd int) {
	p.control(syscall.EPOLL_CTL_DEL, fd, 0)
}

func (p *poller) control(op, fd int, events uint32) {
	syscall.EpollCtl(p.fd, op, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// wait fills events, waiting at most the given milliseconds, -1 for ever.
func (p *poller) wait(events []event, timeout int) int {
	// Under load there is something already: then the scheduler, which is told
	// of every call that may block, need not know. Polling longer than that was
	// tried, and takes the processor from those that are waited for.
	n := p.raw(0)
	if n == 0 && timeout != 0 {
		n, _ = syscall.EpollWait(p.fd, p.got[:], timeout)
	}
	n = max(n, 0)
	for i, g := range p.got[:n] {
		const broken = syscall.EPOLLERR | syscall.EPOLLHUP
		events[i] = event{
			fd:  int(g.Fd),
			in:  g.Events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|broken) != 0,
			out: g.Events&(syscall.EPOLLOUT|broken) != 0,
			hup: g.Events&(syscall.EPOLLRDHUP|broken) != 0,
		}
	}
	return n
}

func (p *poller) raw(timeout int) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.got[0])), uintptr(len(p.got)), uintptr(timeout), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
