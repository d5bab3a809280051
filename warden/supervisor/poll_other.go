//go:build unix && !linux

package supervisor

import "syscall"

// poller is kqueue.
type poller struct {
	fd  int
	got [64]syscall.Kevent_t
}

func (p *poller) open() (err error) {
	p.fd, err = syscall.Kqueue()
	if err == nil {
		syscall.CloseOnExec(p.fd)
	}
	return err
}

func (p *poller) add(fd int)    { p.control(fd, syscall.EV_ADD) }
func (p *poller) remove(fd int) { p.control(fd, syscall.EV_DELETE) }

func (p *poller) control(fd, flags int) {
	var change [1]syscall.Kevent_t
	syscall.SetKevent(&change[0], fd, syscall.EVFILT_READ, flags)
	syscall.Kevent(p.fd, change[:], nil, nil)
}

// wait fills events, waiting at most the given milliseconds, -1 for ever.
func (p *poller) wait(events []event, timeout int) int {
	var limit *syscall.Timespec
	if timeout >= 0 {
		t := syscall.NsecToTimespec(int64(timeout) * millisecond)
		limit = &t
	}
	n, err := syscall.Kevent(p.fd, nil, p.got[:], limit)
	if err != nil {
		return 0
	}
	for i := range n {
		events[i] = event{fd: int(p.got[i].Ident), in: true}
	}
	return n
}
