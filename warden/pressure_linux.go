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

// pressures has the kernel tell when containers run short of memory (psi(7)). One epoll
// descriptor stands for all of them, and is itself waited for by Go's own: that knows
// nothing of the urgent events which these are.
type pressures struct {
	poll *os.File

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
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	p := &pressures{poll: os.NewFile(uintptr(fd), "memory pressure"), files: map[int32]*pressed{}}
	go p.run()
	return p, nil
}

// close ends run.
func (p *pressures) close() { p.poll.Close() }

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
	raw, err := p.poll.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(poll uintptr) {
		err = unix.EpollCtl(int(poll), unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLPRI, Fd: fd})
	})
	return errors.Join(e, err)
}

func (p *pressures) forget(fd int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.files[fd]; w != nil {
		delete(p.files, fd)
		w.file.Close()
	}
}

// run tells until the descriptor is closed.
func (p *pressures) run() {
	raw, err := p.poll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 32)
	for {
		n := 0
		err := raw.Read(func(poll uintptr) bool {
			n, _ = unix.EpollWait(int(poll), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if e.Events&unix.EPOLLERR != 0 {
				p.forget(e.Fd) // its group is gone
				continue
			}
			p.tell(e.Fd)
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
