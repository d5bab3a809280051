//go:build unix

package supervisor

import "syscall"

// source is what the loop calls when its descriptor has something to tell.
type source interface {
	ready(e event)
}

// event tells what a descriptor is ready for. An error or a hang-up counts as
// readable: reading tells what it is.
type event struct {
	fd      int
	in, out bool
	hup     bool // the peer will send no more
}

// Grace is how long processes get after a TERM that came from outside.
const Grace = 10 * second

const (
	second      = 1_000_000_000
	millisecond = 1_000_000
	killEvery   = 20 * millisecond // between two KILLs to what still lives
	scratch     = 64 << 10
)

// phase is how far a container is on its way to its end.
type phase int

const (
	running  phase = iota
	stopping       // TERM was sent
	killing        // KILL is sent until nothing is left
)

// loop is a supervisor's state. Everything happens on one goroutine.
type loop struct {
	set     Setup
	poll    poller
	sources []source // by descriptor
	closing []int    // closed after the round, so that no number is taken anew within it
	buf     []byte   // for whoever reads
	folder  folder   // the container's, for the exit status
	home    folder

	conns int // control connections
	procs map[int]*process
	main  *process
	logs  [2]*logFile

	relays []*relay
	links  []syscall.Sockaddr // where set.Links lead

	port  *relay         // nil if the container has none
	files syscall.Rlimit // of descriptors, as it was at the start

	phase phase
	next  int64 // when to send KILL, while stopping or killing
	done  bool
}

func newLoop(set Setup) (*loop, error) {
	l := &loop{set: set, buf: make([]byte, scratch), procs: map[int]*process{}}
	syscall.Umask(0o022)
	// What is needed of the host is opened before the root changes.
	var err error
	if l.folder, err = openFolder(set.Folder); err != nil {
		return nil, wrap("open "+set.Folder, err)
	}
	if l.home, err = openFolder(set.Home); err != nil {
		return nil, wrap("open "+set.Home, err)
	}
	for _, k := range set.Links {
		to, err := outsideSocket(k.Socket)
		if err != nil {
			return nil, wrap("link to "+k.Socket, err)
		}
		l.links = append(l.links, to)
	}
	if err := syscall.Chdir("/"); err != nil {
		return nil, wrap("chdir /", err)
	}
	if err := prepare(set); err != nil {
		return nil, err
	}
	l.raiseFiles()
	if err := l.poll.open(); err != nil {
		return nil, wrap("poll", err)
	}
	sig, err := watchSignals()
	if err != nil {
		return nil, wrap("signals", err)
	}
	l.add(sig, signals{l, sig})
	for _, fd := range []int{setupFD, controlFD} {
		syscall.CloseOnExec(fd)
		if err := syscall.SetNonblock(fd, true); err != nil {
			return nil, wrap("control socket", err)
		}
	}
	l.add(controlFD, listener{l, controlFD})
	l.connect(setupFD)
	return l, l.openRelays()
}

// raiseFiles takes all the descriptors it may have: the relay needs two per connection.
func (l *loop) raiseFiles() {
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l.files) != nil {
		return
	}
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: l.files.Max, Max: l.files.Max})
}

func (l *loop) run() int {
	var events [64]event
	for !l.done {
		n := l.poll.wait(events[:], l.timeout())
		if n == 0 {
			l.reap() // a child's end interrupts the wait long before its signal has come through the pipe
		}
		for _, e := range events[:n] {
			if s := l.source(e.fd); s != nil {
				s.ready(e)
			}
		}
		l.tick()
		for _, fd := range l.closing {
			syscall.Close(fd)
		}
		l.closing = l.closing[:0]
	}
	// Who waits for the end need not wait until the kernel has taken all of this process down.
	for fd, s := range l.sources {
		if _, ok := s.(*conn); ok {
			syscall.Shutdown(fd, syscall.SHUT_WR)
		}
	}
	return 0
}

// timeout is the time in milliseconds until tick has something to do, -1 for never.
func (l *loop) timeout() int {
	next := l.next
	for _, r := range l.relays {
		if t := r.deadline(); t != 0 && (next == 0 || t < next) {
			next = t
		}
	}
	if next == 0 {
		return -1
	}
	left := next - nanotime()
	if left <= 0 {
		return 0
	}
	return int((left + millisecond - 1) / millisecond)
}

func (l *loop) tick() {
	if l.next == 0 && len(l.relays) == 0 {
		return
	}
	now := nanotime()
	if l.next != 0 && now >= l.next {
		l.kill()
	}
	for _, r := range l.relays {
		r.tick(now)
	}
}

// add has s called when fd is readable.
func (l *loop) add(fd int, s source) {
	l.watch(fd, s)
	l.poll.add(fd)
}

func (l *loop) watch(fd int, s source) {
	for len(l.sources) <= fd {
		l.sources = append(l.sources, nil)
	}
	l.sources[fd] = s
}

func (l *loop) source(fd int) source {
	if fd < 0 || fd >= len(l.sources) {
		return nil
	}
	return l.sources[fd]
}

// mute stops calls for fd without closing it.
func (l *loop) mute(fd int) {
	l.sources[fd] = nil
	l.poll.remove(fd)
}

// drop closes fd at the end of the round.
func (l *loop) drop(fd int) {
	l.mute(fd)
	l.closing = append(l.closing, fd)
}

type failure struct {
	what string
	err  error
}

func (f failure) Error() string { return f.what + ": " + f.err.Error() }

func wrap(what string, err error) error { return failure{what, err} }

// itoa is strconv.Itoa, which is not to be had here.
func itoa(n int64) string {
	if n == 0 {
		return "0"
	}
	u := uint64(n)
	if n < 0 {
		u = -u
	}
	var b [20]byte
	i := len(b)
	for ; u > 0; u /= 10 {
		i--
		b[i] = byte('0' + u%10)
	}
	if n < 0 {
		i--
		b[i] = '-'
	}
	return string(b[i:])
}

// atoi reads the decimal number that s is; ok is false if it is none.
func atoi(s string) (n int, ok bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
