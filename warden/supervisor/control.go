//go:build unix

package supervisor

import "syscall"

// listener is the control socket. Who may connect is a matter of the folder it
// lies in, which only Cloudlet's user can enter. No process of a container may, whose user
// that can be.
type listener struct {
	l  *loop
	fd int
}

func (s listener) ready(event) {
	fd, err := accept(s.fd)
	if err != nil {
		return
	}
	if FromContainer(fd) {
		answer(fd, KindError, Fault{Text: errInside}.encode())
		syscall.Close(fd)
		return
	}
	s.l.connect(fd)
}

// conn is a control connection.
type conn struct {
	l    *loop
	fd   int
	in   []byte
	fds  []int    // descriptors that came along and were not used yet
	run  *process // the process that lives and dies with this connection
	gone bool     // the peer sends no more
}

func (l *loop) connect(fd int) {
	l.conns++
	l.add(fd, &conn{l: l, fd: fd})
}

func (c *conn) ready(event) {
	oob := make([]byte, syscall.CmsgSpace(3*4))
	n, oobn, err := receive(c.fd, c.l.buf, oob, syscall.MSG_DONTWAIT)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	c.fds = append(c.fds, rights(oob[:oobn])...)
	if err != nil || n == 0 {
		c.ended()
		return
	}
	c.in = append(c.in, c.l.buf[:n]...)
	for c.l.source(c.fd) == source(c) {
		kind, body, used, err := Parse(c.in)
		if err == ErrShort {
			return
		}
		if err != nil {
			c.close()
			return
		}
		c.handle(kind, body)
		c.dropRights()
		c.in = c.in[:copy(c.in, c.in[used:])]
	}
}

// ended is called when the peer has closed its end: the process that depends
// on it is killed, and only then, having told how it ended, the connection goes.
func (c *conn) ended() {
	if c.run == nil {
		c.close()
		return
	}
	c.gone = true
	c.l.mute(c.fd)
	c.l.killRun(c.run)
}

func (c *conn) close() {
	c.dropRights()
	c.l.drop(c.fd)
	for _, p := range c.l.procs {
		if p.asked == c {
			p.asked = nil
		}
	}
	if c.run != nil {
		c.run.conn = nil
		c.l.killRun(c.run)
		c.run = nil
	}
	c.l.conns--
	c.l.endIfUnused()
}

// endIfUnused ends the supervisor if nobody is left who could start the main process.
func (l *loop) endIfUnused() {
	if l.conns == 0 && l.main == nil {
		l.kill()
	}
}

func (c *conn) dropRights() {
	closeAll(c.fds...)
	c.fds = c.fds[:0]
}

func (c *conn) send(kind Kind, body []byte, fds ...int) {
	if !answer(c.fd, kind, body, fds...) && !c.gone {
		c.gone = true
		syscall.Shutdown(c.fd, syscall.SHUT_RD) // read as the end in the next round
	}
}

func (c *conn) handle(kind Kind, body []byte) {
	if n, err := c.l.request(c, kind, body); err != errLater {
		c.answer(n, err)
	}
}

func (c *conn) answer(n Number, err error, fds ...int) {
	if err == nil {
		c.send(KindOK, n.Encode(), fds...)
		return
	}
	f, ok := err.(Fault)
	if !ok {
		f = Fault{Text: err.Error()}
	}
	c.send(KindError, f.encode())
}

// request does what a frame asks for; the number is the answer's, unless that is errLater.
func (l *loop) request(c *conn, kind Kind, body []byte) (Number, error) {
	switch kind {
	case KindWatch:
		if l.main == nil {
			return 0, nil
		}
		return Number(l.main.pid), nil
	case KindStart:
		cmd, err := DecodeCommand(body)
		if err != nil {
			return 0, err
		}
		return l.start(c, cmd)
	case KindRun:
		cmd, err := DecodeCommand(body)
		if err != nil {
			return 0, err
		}
		return l.attach(c, cmd)
	case KindTerminal:
		t, err := DecodeTerminal(body)
		if err != nil {
			return 0, err
		}
		return l.attachTerminal(c, t)
	case KindLimits:
		limits, err := DecodeLimits(body)
		if err == nil {
			l.set.Limits = limits
		}
		return 0, err
	}
	n, err := DecodeNumber(body)
	if err != nil {
		return 0, err
	}
	switch kind {
	case KindSignal:
		return 0, l.signal(syscall.Signal(n))
	case KindSignalRun:
		l.signalRun(c.run, syscall.Signal(n))
		return 0, nil
	case KindStop:
		l.stop(int64(n))
		return 0, nil
	}
	return 0, ErrMalformed
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) []int {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var fds []int
	for i := range msgs {
		got, err := syscall.ParseUnixRights(&msgs[i])
		if err == nil {
			fds = append(fds, got...)
		}
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	return fds
}
