package warden

import (
	"fmt"
	"math/rand/v2"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// numbers hands out numbers of a range in turn, so that one that was given back
// rests as long as possible: ports have connections in TIME_WAIT, user ids
// files that are just being removed.
type numbers struct {
	first, last, next int
	used              map[int]bool
}

// newNumbers begins somewhere, so that two pools on one machine rarely meet.
func newNumbers(first, last int) numbers {
	next := first + rand.IntN(max(last-first+1, 1))
	return numbers{first: first, last: last, next: next, used: map[int]bool{}}
}

// take gives the next number that is not used and that ok accepts.
func (n *numbers) take(ok func(int) bool) (int, error) {
	for range n.last - n.first + 1 {
		i := n.next
		if n.next++; n.next > n.last {
			n.next = n.first
		}
		if !n.used[i] && ok(i) {
			n.used[i] = true
			return i, nil
		}
	}
	return 0, fmt.Errorf("none of %d to %d is free", n.first, n.last)
}

// use marks the number of a container that was found again.
func (n *numbers) use(i int) { n.used[i] = true }

func (n *numbers) free(i int) { delete(n.used, i) }

// isUser says if the host has given the id to a user of its own.
func isUser(id int) bool {
	_, err := user.LookupId(strconv.Itoa(id))
	return err == nil
}

// takePort gives a port on which nobody listens, and a socket bound to it. The
// socket does not allow reuse of its address, so that nobody else can bind the
// port while it is held.
func (p *Pool) takePort(addr [4]byte) (port, socket int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	port, err = p.ports.take(func(i int) bool {
		socket, err = bindTCP(addr, i)
		return err == nil
	})
	if err != nil {
		return 0, -1, fmt.Errorf("container port: %w", err)
	}
	return port, socket, nil
}

func bindTCP(addr [4]byte, port int) (int, error) {
	fd, err := socketCloexec(unix.AF_INET, unix.SOCK_STREAM)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: addr}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
