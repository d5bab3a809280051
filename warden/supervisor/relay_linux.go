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
	linkMost     = 256       // connections at a time of a link
	heldMost     = 8 << 20   // bytes held for slow readers before reads become small
	smallRead    = 2 << 10   // size of those
	probeFirst   = 5 * millisecond
	probeLast    = second // an app that is reached at its own address may never answer
	probeShare   = 50     // a probe comes at most this fraction of the waiting time late
	acceptPause  = 100 * millisecond
	socketFlags  = syscall.SOCK_STREAM | syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
	fdsPerRelay  = 2
	fdsElsewhere = 64
)

// relay carries connections across the border of the container's network namespace: it
// accepts them on one side and dials on the other. A socket belongs to the namespace in
// which it was made, so one process has both sides.
//
// The relay of the container's port listens outside and dials the main process, on
// 127.0.0.1 or ::1. It listens only once that does, so that a refused connection means
// "not ready" outside as it does inside. A relay of a link listens inside and dials a
// unix socket of the host.
type relay struct {
	l        *loop
	listener int
	to       []target // addresses to try; the one that answered, later
	started  int64    // when probing began
	probe    int64    // time of the next probe, 0 when it is over
	paused   int64    // when accepting goes on, 0 if it is not paused
	most     int
	pairs    int
	held     int       // bytes in all flows' rest
	again    []*tunnel // those that used up their round
	spare    []*tunnel
}

// openRelays makes the container's relays, when its network is there.
func (l *loop) openRelays() error {
	if l.set.Relay != 0 {
		port := l.set.Relay
		l.port = l.newRelay(l.set.relay, relayMost,
			&syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
			&syscall.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}})
	}
	for i, k := range l.set.Links {
		if err := l.openLink(k.Port, l.links[i]); err != nil {
			return wrap("link on port "+itoa(int64(k.Port)), err)
		}
	}
	return nil
}

func (l *loop) newRelay(listener, most int, to ...syscall.Sockaddr) *relay {
	syscall.CloseOnExec(listener)
	syscall.SetNonblock(listener, true)
	all := (int(min(l.files.Max, 1<<20)) - fdsElsewhere) / fdsPerRelay
	r := &relay{l: l, listener: listener, most: max(1, min(most, all/(1+len(l.set.Links))))}
	for _, addr := range to {
		r.to = append(r.to, target{addr, -1})
	}
	l.relays = append(l.relays, r)
	return r
}

func (l *loop) openLink(port int, to syscall.Sockaddr) error {
	fd, err := syscall.Socket(syscall.AF_INET, socketFlags, 0)
	if err != nil {
		return err
	}
	r := l.newRelay(fd, linkMost, to)
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	return r.listen()
}

// outsideSocket gives the address of a unix socket of the host that stays good when the
// root changes, and when the socket is made anew: by way of its folder.
func outsideSocket(path string) (syscall.Sockaddr, error) {
	i := len(path) - 1
	for i > 0 && path[i] != '/' {
		i--
	}
	f, err := openFolder(path[:max(i, 0)])
	if err != nil {
		return nil, err
	}
	return &syscall.SockaddrUnix{Name: "/proc/self/fd/" + itoa(int64(f)) + path[i:]}, nil
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
	for i := range r.to {
		if !r.to[i].answers() {
			continue
		}
		for k := range r.to {
			r.to[k].drop()
		}
		r.to, r.probe = r.to[i:i+1], 0
		r.listen()
		return
	}
	r.probe = now + min(max((now-r.started)/probeShare, probeFirst), probeLast)
}

func (r *relay) listen() error {
	err := syscall.Listen(r.listener, backlog)
	if err == nil {
		r.l.add(r.listener, r)
	}
	return err
}

// target is an address and an attempt to connect to it, -1 if there is none.
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
	switch addr.(type) {
	case *syscall.SockaddrInet6:
		return syscall.AF_INET6
	case *syscall.SockaddrUnix:
		return syscall.AF_UNIX
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
		fd, _, err := syscall.Accept4(r.listener, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		switch err {
		case nil:
			r.open(fd)
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

// open dials for a connection that was accepted.
func (r *relay) open(from int) {
	addr := r.to[0].addr
	to, err := syscall.Socket(family(addr), socketFlags, 0)
	if err != nil {
		reset(from)
		syscall.Close(from)
		return
	}
	for _, fd := range []int{from, to} { // where it is TCP
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err := syscall.Connect(to, addr); err != nil && err != syscall.EINPROGRESS {
		reset(from)
		syscall.Close(from)
		syscall.Close(to)
		return
	}
	t := r.tunnel(from, to)
	r.pairs++
	for _, fd := range []int{from, to} {
		r.l.watch(fd, t)
		r.l.poll.addEdges(fd)
	}
}

func (r *relay) tunnel(from, to int) *tunnel {
	var t *tunnel
	if n := len(r.spare); n > 0 {
		t, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		t = new(tunnel)
	}
	*t = tunnel{r: r}
	// Writing is tried before the first event: the kernel says if it is too early.
	t.up = flow{from: from, to: to, writable: true}
	t.down = flow{from: to, to: from, writable: true}
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
	up, down flow // from who was accepted to who was dialled, and back
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
