package supervisor

import (
	"syscall"
	"unsafe"
)

const (
	backlog      = 1024
	acceptRound  = 64        // connections taken before others have their turn
	flowRound    = 512 << 10 // bytes moved before others have their turn
	relayMost    = 4096      // connections at a time
	heldMost     = 8 << 20   // bytes held for slow readers before reads become small
	smallRead    = 2 << 10   // size of those
	probeFirst   = 5 * millisecond
	probeLast    = 100 * millisecond
	probeShare   = 50 // a probe comes at most this fraction of the waiting time late
	acceptPause  = 100 * millisecond
	socketFlags  = syscall.SOCK_STREAM | syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
	fdsPerRelay  = 2
	fdsElsewhere = 64
)

// relay carries connections from a socket outside the container's network
// namespace to its main process, which listens inside on the same port, on
// 127.0.0.1 or ::1. The outer socket listens only once the inner one does, so
// that a refused connection means "not ready" outside as it does inside.
type relay struct {
	l        *loop
	listener int
	inside   []target // addresses to try; the one that answered, later
	started  int64    // when probing began
	probe    int64    // time of the next probe, 0 when it is over
	paused   int64    // when accepting goes on, 0 if it is not paused
	most     int
	pairs    int
	held     int       // bytes in all flows' rest
	again    []*tunnel // those that used up their round
	spare    []*tunnel
}

func newRelay(l *loop, fd, port int) *relay {
	syscall.CloseOnExec(fd)
	syscall.SetNonblock(fd, true)
	six := [16]byte{15: 1}
	most := (int(min(l.files.Max, 1<<20)) - fdsElsewhere) / fdsPerRelay
	return &relay{
		l:        l,
		listener: fd,
		inside: []target{
			{&syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}, -1},
			{&syscall.SockaddrInet6{Port: port, Addr: six}, -1},
		},
		most: max(1, min(relayMost, most)),
	}
}

// begin starts looking for the main process's socket.
func (r *relay) begin() {
	r.started = nanotime()
	r.probe = r.started + probeFirst
}

// deadline says when tick has something to do, 0 for never.
func (r *relay) deadline() int64 {
	switch {
	case len(r.again) > 0:
		return 1
	case r.probe != 0:
		return r.probe
	}
	return r.paused
}

func (r *relay) tick(now int64) {
	if r.probe != 0 && now >= r.probe {
		r.look(now)
	}
	if r.paused != 0 && now >= r.paused {
		r.paused = 0
		r.l.add(r.listener, r)
	}
	if len(r.again) == 0 {
		return
	}
	todo := r.again
	r.again = nil
	for _, t := range todo {
		t.queued = false
		t.move()
	}
}

// look tries the addresses inside. A connection that is neither made nor
// refused at once stays pending until the next time.
func (r *relay) look(now int64) {
	for i := range r.inside {
		if !r.inside[i].answers() {
			continue
		}
		for k := range r.inside {
			r.inside[k].drop()
		}
		r.inside, r.probe = r.inside[i:i+1], 0
		if syscall.Listen(r.listener, backlog) == nil {
			r.l.add(r.listener, r)
		}
		return
	}
	r.probe = now + min(max((now-r.started)/probeShare, probeFirst), probeLast)
}

// target is an address inside and an attempt to connect to it, -1 if there is none.
type target struct {
	addr syscall.Sockaddr
	fd   int
}

func (t *target) answers() bool {
	if t.fd < 0 {
		fd, err := syscall.Socket(family(t.addr), socketFlags, 0)
		if err != nil {
			return false
		}
		t.fd = fd
		if err := syscall.Connect(fd, t.addr); err != nil && err != syscall.EINPROGRESS {
			t.drop()
			return false
		}
	}
	if _, err := syscall.Getpeername(t.fd); err == nil {
		return true
	}
	if e, err := syscall.GetsockoptInt(t.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || e != 0 {
		t.drop()
	}
	return false
}

func (t *target) drop() {
	if t.fd >= 0 {
		syscall.Close(t.fd)
		t.fd = -1
	}
}

func family(addr syscall.Sockaddr) int {
	if _, ok := addr.(*syscall.SockaddrInet6); ok {
		return syscall.AF_INET6
	}
	return syscall.AF_INET
}

// ready takes new connections.
func (r *relay) ready(event) {
	for range acceptRound {
		if r.pairs >= r.most {
			r.pause()
			return
		}
		out, _, err := syscall.Accept4(r.listener, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		switch err {
		case nil:
			r.open(out)
		case syscall.EINTR, syscall.ECONNABORTED:
		case syscall.EAGAIN:
			return
		default:
			r.pause() // out of descriptors or memory
			return
		}
	}
}

// pause leaves new connections in the kernel's queue for a moment.
func (r *relay) pause() {
	r.l.mute(r.listener)
	r.paused = nanotime() + acceptPause
}

// open connects inside for a connection that came from outside.
func (r *relay) open(out int) {
	addr := r.inside[0].addr
	in, err := syscall.Socket(family(addr), socketFlags, 0)
	if err != nil {
		reset(out)
		syscall.Close(out)
		return
	}
	syscall.SetsockoptInt(out, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	syscall.SetsockoptInt(in, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if err := syscall.Connect(in, addr); err != nil && err != syscall.EINPROGRESS {
		reset(out)
		syscall.Close(out)
		syscall.Close(in)
		return
	}
	t := r.tunnel(out, in)
	r.pairs++
	for _, fd := range []int{out, in} {
		r.l.watch(fd, t)
		r.l.poll.addEdges(fd)
	}
}

func (r *relay) tunnel(out, in int) *tunnel {
	var t *tunnel
	if n := len(r.spare); n > 0 {
		t, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		t = new(tunnel)
	}
	*t = tunnel{r: r}
	// Writing is tried before the first event: the kernel says if it is too early.
	t.up = flow{from: out, to: in, writable: true}
	t.down = flow{from: in, to: out, writable: true}
	return t
}

// reset makes the coming close tell the peer that the connection broke.
func reset(fd int) {
	syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}

// tunnel is a pair of connections. Descriptors are watched for edges, so what
// they are ready for is remembered in the flows.
type tunnel struct {
	r        *relay
	up, down flow // from outside to inside, and back
	queued   bool
	closed   bool
}

// flow is one direction.
type flow struct {
	from, to           int
	readable, writable bool
	hup                bool   // the end of from is near: read until it is there
	end                bool   // from has ended
	told               bool   // to was told so
	rest               []byte // read and not written yet
}

func (t *tunnel) ready(e event) {
	src, dst := &t.up, &t.down
	if e.fd == t.down.from {
		src, dst = dst, src
	}
	src.readable = src.readable || e.in
	src.hup = src.hup || e.hup
	dst.writable = dst.writable || e.out
	t.move()
}

func (t *tunnel) move() {
	if t.closed {
		return
	}
	up, down := t.r.pump(&t.up), t.r.pump(&t.down)
	switch {
	case up == broken || down == broken:
		reset(t.up.from)
		reset(t.up.to)
		t.close()
	case t.up.told && t.down.told:
		t.close()
	case (up == busy || down == busy) && !t.queued:
		t.queued = true
		t.r.again = append(t.r.again, t)
	}
}

func (t *tunnel) close() {
	t.closed = true
	r := t.r
	r.held -= len(t.up.rest) + len(t.down.rest)
	r.l.drop(t.up.from)
	r.l.drop(t.up.to)
	t.up.rest, t.down.rest = nil, nil
	r.pairs--
	if !t.queued {
		r.spare = append(r.spare, t)
	}
}

// What pump comes back with.
const (
	idle   = iota // it waits for an event
	busy          // there is more to do
	broken        // the connection failed
)

// pump moves bytes of one direction until something would block, the end is
// passed on, or the round is used up.
func (r *relay) pump(f *flow) int {
	for moved := 0; moved < flowRound; {
		var n int
		var ok bool
		switch {
		case len(f.rest) > 0 && f.writable:
			n, ok = f.write(f.rest)
			r.held -= n
			if f.rest = f.rest[n:]; len(f.rest) == 0 {
				f.rest = nil
			}
		case len(f.rest) > 0:
			return idle
		case f.end:
			f.tell()
			return idle
		case f.readable && f.writable:
			n, ok = r.carry(f)
		default:
			return idle
		}
		if !ok {
			return broken
		}
		moved += n
	}
	return busy
}

// carry reads once and writes what it read; what cannot be written is held.
func (r *relay) carry(f *flow) (int, bool) {
	size := scratch
	if r.held > heldMost {
		size = smallRead
	}
	b := r.l.buf[:size]
	n, errno := raw(syscall.SYS_READ, f.from, b)
	switch {
	case errno == syscall.EAGAIN:
		f.readable = false
		return 0, true
	case errno == syscall.EINTR:
		return 0, true
	case errno != 0:
		return 0, false
	case n == 0:
		f.end = true
		return 0, true
	}
	// A short read has emptied the socket, unless its end follows.
	f.readable = n == size || f.hup
	w, ok := f.write(b[:n])
	if ok && w < n && !f.told {
		f.rest = append([]byte(nil), b[w:n]...)
		r.held += n - w
	}
	return n, ok
}

// write writes what the receiver takes. A receiver that takes nothing any more
// ends this direction only: its answer may still be on the way.
func (f *flow) write(b []byte) (int, bool) {
	n, errno := raw(syscall.SYS_WRITE, f.to, b)
	switch errno {
	case 0:
		f.writable = n == len(b)
		return n, true
	case syscall.EAGAIN:
		f.writable = false
		return 0, true
	case syscall.EINTR:
		return 0, true
	case syscall.EPIPE, syscall.ECONNRESET:
		f.end, f.told = true, true
		return len(b), true
	}
	return 0, false
}

// tell passes the end on.
func (f *flow) tell() {
	if !f.told {
		f.told = true
		syscall.Shutdown(f.to, syscall.SHUT_WR)
	}
}

// raw reads or writes without telling the scheduler: these descriptors never block.
func raw(call uintptr, fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
