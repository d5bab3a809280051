package warden

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// The kernel tells that a container's processes waited for memory for so long within so
// much time, in microseconds; ordinary users may only ask for windows of two seconds.
const (
	pressureStall  = 200_000
	pressureWindow = 2_000_000
)

// pressures has the kernel tell when containers run short of memory (psi(7)). One thread
// waits for all of them: Go's own poller does not know the urgent events that these are,
// and one that waits for another takes the event without telling it.
type pressures struct {
	poll int
	stop *os.File // run ends when this end of a pipe is closed

	mu    sync.Mutex
	files map[int32]*pressed
}

type pressed struct {
	file *os.File
	told chan<- struct{}
}

func newPressures() (*pressures, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	p := &pressures{poll: fd, stop: w, files: map[int32]*pressed{}}
	if err := p.add(int32(r.Fd())); err != nil {
		return nil, errors.Join(err, unix.Close(fd), r.Close(), w.Close())
	}
	go p.run(r)
	return p, nil
}

// close ends run.
func (p *pressures) close() { p.stop.Close() }

// watch tells on a channel each time a group is short of memory; a channel that is full
// is passed over. It returns what ends that. Kernels may lack it, and systems keep it from
// ordinary users: then nothing is told.
func (p *pressures) watch(group string, told chan<- struct{}) (stop func()) {
	f, err := os.OpenFile(filepath.Join(group, "memory.pressure"), os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return func() {}
	}
	if _, err := fmt.Fprintf(f, "some %d %d", pressureStall, pressureWindow); err != nil {
		f.Close()
		return func() {}
	}
	fd := int32(f.Fd())
	p.mu.Lock()
	p.files[fd] = &pressed{f, told}
	p.mu.Unlock()
	if err := p.add(fd); err != nil {
		p.forget(fd)
	}
	return func() { p.forget(fd) }
}

func (p *pressures) add(fd int32) error {
	return unix.EpollCtl(p.poll, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLPRI, Fd: fd})
}

func (p *pressures) forget(fd int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.files[fd]; w != nil {
		delete(p.files, fd)
		w.file.Close()
	}
}

// run tells until the other end of the pipe is closed.
func (p *pressures) run(stop *os.File) {
	defer unix.Close(p.poll)
	defer stop.Close()
	events := make([]unix.EpollEvent, 32)
	for {
		n, err := unix.EpollWait(p.poll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, e := range events[:max(n, 0)] {
			switch {
			case e.Fd == int32(stop.Fd()):
				return
			case e.Events&unix.EPOLLERR != 0:
				p.forget(e.Fd) // its group is gone
			default:
				p.tell(e.Fd)
			}
		}
	}
}

func (p *pressures) tell(fd int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.files[fd]; w != nil {
		select {
		case w.told <- struct{}{}:
		default:
		}
	}
}
