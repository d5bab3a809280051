//go:build unix

package supervisor

import "syscall"

// process is one that the supervisor started. Whether its program runs is told later, by a
// pipe: which program that is, and a signal to it, are the app's to choose and may hold it
// up, and nothing holds up a supervisor.
type process struct {
	l        *loop
	pid      int
	name     string
	conn     *conn  // where its end is told; nil for the main process
	asked    *conn  // where its start is told, until it was
	pipe     int    // -1 where the start has been waited for
	settled  bool   // its program runs, or cannot
	output   [2]int // what the main process writes comes from there
	terminal []int  // the other end of its terminal, for who asked, if it has one
}

// errLater stands for an answer that is given when the program runs.
const errLater = wireError("later")

const (
	errStarted = "the main process was started before"
	errNoMain  = "there is no main process"
	errEnding  = "the container is ending"
	errInside  = "refused to a process with a filter of system calls, as those of containers are"
	errFull    = "the container has as many processes and threads as it may have; end one of them first"
)

// start starts the main process with its output in the log files.
func (l *loop) start(c *conn, cmd Command) (Number, error) {
	if l.main != nil {
		return 0, Fault{CauseStarted, errStarted}
	}
	if l.phase != running {
		return 0, Fault{Text: errEnding}
	}
	null, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, wrap("open /dev/null", err)
	}
	defer syscall.Close(null)
	var out, errs [2]int
	if err := makePipe(&out); err != nil {
		return 0, wrap("pipe", err)
	}
	defer syscall.Close(out[1])
	if err := makePipe(&errs); err != nil {
		syscall.Close(out[0])
		return 0, wrap("pipe", err)
	}
	defer syscall.Close(errs[1])
	l.give(out[1], errs[1])
	p, err := l.spawn(cmd, [3]int{null, out[1], errs[1]}, false)
	if err != nil {
		closeAll(out[0], errs[0])
		return 0, err
	}
	p.output, p.asked, l.main = [2]int{out[0], errs[0]}, c, p
	p.settle()
	return 0, errLater
}

// ready is called when the program runs, or cannot.
func (p *process) ready(event) { p.settle() }

// settle goes on when it is known how the start went, which is at the latest when the
// process has ended.
func (p *process) settle() {
	if p.settled {
		return
	}
	var errno syscall.Errno
	if p.pipe >= 0 {
		known := false
		if errno, known = childError(p.pipe); !known {
			return
		}
		p.l.drop(p.pipe)
	}
	p.settled = true
	switch {
	case errno != 0:
		p.failed(cannotRun(p.name, errno))
		return
	case p == p.l.main:
		p.l.mainStarted()
	}
	p.tell(Number(p.pid), nil)
}

// cannotRun is the error of a process that could not be made, or not become a program.
func cannotRun(name string, errno syscall.Errno) error {
	if errno == syscall.EAGAIN {
		return Fault{Text: errFull}
	}
	return wrap(name, errno)
}

func (l *loop) mainStarted() {
	l.logs = [2]*logFile{l.newLog("stdout.log", l.main.output[0]), l.newLog("stderr.log", l.main.output[1])}
	if l.port != nil {
		l.port.begin()
	}
}

// failed forgets a process whose program cannot run; it has yet to be collected.
func (p *process) failed(err error) {
	p.tell(0, err)
	if p == p.l.main {
		closeAll(p.output[:]...)
		p.l.main = nil
		p.l.endIfUnused()
	}
	if c := p.conn; c != nil {
		c.run, p.conn = nil, nil
		if c.gone {
			c.close()
		}
	}
}

// tell answers who asked for the process, unless that one is gone.
func (p *process) tell(n Number, err error) {
	if p.asked != nil {
		p.asked.answer(n, err, p.terminal...)
	}
	closeAll(p.terminal...)
	p.asked, p.terminal = nil, nil
}

func closeAll(fds ...int) {
	for _, fd := range fds {
		syscall.Close(fd)
	}
}

// attach starts a further process on the descriptors that came with the request.
func (l *loop) attach(c *conn, cmd Command) (Number, error) {
	if len(c.fds) != 3 {
		return 0, ErrMalformed
	}
	l.give(c.fds...)
	return l.further(c, cmd, [3]int(c.fds))
}

// attachTerminal starts a further process on a new terminal. What is typed and shown
// there goes through a descriptor that is sent with the answer.
func (l *loop) attachTerminal(c *conn, t Terminal) (Number, error) {
	master, slave, err := openTerminal(t.Rows, t.Columns)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(slave)
	if l.set.Owner >= 0 {
		syscall.Fchown(slave, l.set.Owner, l.set.Owner)
	}
	n, err := l.further(c, t.Command, [3]int{slave, slave, slave}, master)
	if err != errLater {
		syscall.Close(master)
	}
	return n, err
}

// further starts a process that lives and dies with a connection; terminal is the other
// end of the terminal that its files are and that is to control it, if they are one.
func (l *loop) further(c *conn, cmd Command, files [3]int, terminal ...int) (Number, error) {
	if c.run != nil {
		return 0, ErrMalformed
	}
	if l.phase != running {
		return 0, Fault{Text: errEnding}
	}
	p, err := l.spawn(cmd, files, len(terminal) > 0)
	if err != nil {
		return 0, err
	}
	p.conn, p.asked, p.terminal, c.run = c, c, terminal, p
	p.settle()
	return 0, errLater
}

// give lets the container's user open pipes again by name, as /dev/stdout.
func (l *loop) give(fds ...int) {
	for _, fd := range fds {
		var st syscall.Stat_t
		if l.set.Owner >= 0 && syscall.Fstat(fd, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFIFO {
			syscall.Fchown(fd, l.set.Owner, l.set.Owner)
		}
	}
}

// signal sends a signal to the main process.
func (l *loop) signal(sig syscall.Signal) error {
	if l.main == nil {
		return Fault{CauseNoMain, errNoMain}
	}
	if l.procs[l.main.pid] == nil {
		return nil // it has ended; its number may be somebody else's by now
	}
	return syscall.Kill(l.main.pid, sig)
}

// signalRun sends a signal to a further process and its group. One that has ended is no
// error: its end is told.
func (l *loop) signalRun(p *process, sig syscall.Signal) {
	if p != nil {
		syscall.Kill(-p.pid, sig)
	}
}

// signalled handles a signal that the supervisor itself was sent.
func (l *loop) signalled(sig syscall.Signal) {
	if sig == syscall.SIGTERM {
		l.stop(Grace)
		return
	}
	l.signal(sig)
}

// stop sends TERM to all, and has KILL sent after grace.
func (l *loop) stop(grace int64) {
	if l.phase == killing {
		return
	}
	if grace <= 0 {
		l.kill()
		return
	}
	now := nanotime()
	if l.phase == running {
		l.phase, l.next = stopping, now+grace
	} else {
		l.next = min(l.next, now+grace)
	}
	l.killAll(syscall.SIGTERM)
	l.reap()
}

// kill sends KILL to all that is left, now and every killEvery until nothing is.
func (l *loop) kill() {
	l.phase, l.next = killing, nanotime()+killEvery
	l.killAll(syscall.SIGKILL)
	l.reap()
}

// reap collects ended processes, adopted ones too.
func (l *loop) reap() {
	for !l.done {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.ECHILD && l.phase != running {
			l.finish()
		}
		if err != nil || pid <= 0 {
			return
		}
		l.ended(pid, ws)
	}
}

func (l *loop) ended(pid int, ws syscall.WaitStatus) {
	p := l.procs[pid]
	delete(l.procs, pid)
	if p != nil {
		p.settle()
	}
	switch {
	case p == nil: // an orphan
	case p == l.main:
		l.mainEnded(ws)
	case p.conn != nil:
		c := p.conn
		c.run = nil
		c.send(KindExited, Number(ws).Encode())
		if c.gone {
			c.close()
		}
	}
}

// mainEnded keeps the output and the exit status first and has the next tick end the
// rest, so that both are there even if something cannot be killed. Mostly there is no rest.
func (l *loop) mainEnded(ws syscall.WaitStatus) {
	for _, g := range l.logs {
		g.drain()
	}
	l.writeExit(ws)
	l.phase, l.next = killing, nanotime()
}

// finish is reached when no process is left.
func (l *loop) finish() {
	for _, g := range l.logs {
		if g != nil {
			g.drain()
		}
	}
	l.folder.remove(NetworkName)
	l.next, l.done = 0, true
}

// writeExit writes status, signal, time (Unix nanoseconds) and the bytes of
// output that could not be kept, in one line.
func (l *loop) writeExit(ws syscall.WaitStatus) {
	status, signal := ws.ExitStatus(), 0
	if ws.Signaled() {
		signal = int(ws.Signal())
		status = 128 + signal
	}
	var now syscall.Timeval
	syscall.Gettimeofday(&now)
	nanos := int64(now.Sec)*second + int64(now.Usec)*1000
	line := itoa(int64(status)) + " " + itoa(int64(signal)) + " " + itoa(nanos) + " " + itoa(l.logs[0].lost+l.logs[1].lost) + "\n"
	fd, err := l.folder.open("exit.new", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	_, err = syscall.Write(fd, []byte(line))
	syscall.Close(fd)
	if err == nil {
		l.folder.rename("exit.new", "exit")
	}
}

// find looks a program up as execvp does, in the container's file system.
func find(name string, env []string, dir string) (string, error) {
	if contains(name, '/') {
		return name, nil
	}
	for _, d := range split(lookup(env, "PATH"), ':') {
		path := d + "/" + name
		if d == "" || d[0] != '/' {
			path = dir + "/" + path
		}
		var st syscall.Stat_t
		if syscall.Stat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG && st.Mode&0o111 != 0 {
			return path, nil
		}
	}
	return "", Fault{Text: name + ": no such program in PATH"}
}

// lookup gives the last value of a variable, which is the one that counts.
func lookup(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if e := env[i]; len(e) > len(name) && e[len(name)] == '=' && e[:len(name)] == name {
			return e[len(name)+1:]
		}
	}
	return ""
}

func contains(s string, c byte) bool {
	for i := range len(s) {
		if s[i] == c {
			return true
		}
	}
	return false
}

func split(s string, sep byte) []string {
	var l []string
	for s != "" {
		i := 0
		for i < len(s) && s[i] != sep {
			i++
		}
		l = append(l, s[:i])
		s = s[min(i+1, len(s)):]
	}
	return l
}
