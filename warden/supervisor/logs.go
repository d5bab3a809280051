//go:build unix

package supervisor

import "syscall"

const (
	logRetry = second / 5 // between attempts to open a log file that cannot be opened
	drainMax = 1 << 20    // what is read at the end of what others may still be writing
)

// logFile takes one stream of the main process's output into a file below the
// home's logs folder. The app owns that folder and may put anything into its
// place: nothing but a regular file of a single name is ever written, nothing
// blocks, and what cannot be kept is counted and dropped, so that the app can
// never be stuck on a full pipe.
type logFile struct {
	l     *loop
	name  string
	pipe  int
	file  int // -1 while there is none
	lost  int64
	retry int64
	ended bool
}

func (l *loop) newLog(name string, pipe int) *logFile {
	g := &logFile{l: l, name: name, pipe: pipe, file: -1}
	syscall.SetNonblock(pipe, true)
	g.reopen()
	l.add(pipe, g)
	return g
}

func (g *logFile) ready(event) {
	g.read(scratch)
}

// drain reads what is in the pipe now.
func (g *logFile) drain() {
	g.read(drainMax)
}

// read takes about max bytes from the pipe, less if there is less.
func (g *logFile) read(max int) {
	for max > 0 && !g.ended {
		n, err := syscall.Read(g.pipe, g.l.buf)
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			return
		}
		if err != nil || n == 0 {
			g.ended = true
			g.l.drop(g.pipe)
			return
		}
		g.write(g.l.buf[:n])
		max -= n
	}
}

func (g *logFile) write(b []byte) {
	if !g.fits() {
		g.lost += int64(len(b))
		return
	}
	for len(b) > 0 {
		n, err := syscall.Write(g.file, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			g.lost += int64(len(b))
			return
		}
		b = b[n:]
	}
}

// fits makes sure that there is a file with room. The app may have removed or
// truncated it since the last time, so the file itself is asked.
func (g *logFile) fits() bool {
	var st syscall.Stat_t
	if g.file >= 0 && (syscall.Fstat(g.file, &st) != nil || st.Nlink == 0) {
		g.close()
		g.retry = 0
	}
	if g.file < 0 {
		return g.reopen()
	}
	if st.Size < g.l.set.LogMax {
		return true
	}
	return g.rotate()
}

// rotate moves the full file aside, over the one moved aside before. Where that
// cannot be (say, the app put a folder there) the file is emptied instead.
func (g *logFile) rotate() bool {
	dir, err := g.l.logFolder()
	if err == nil {
		err = dir.rename(g.name, g.name+".1")
		dir.close()
	}
	if err != nil {
		return syscall.Ftruncate(g.file, 0) == nil
	}
	g.close()
	g.retry = 0
	return g.reopen()
}

func (g *logFile) close() {
	if g.file >= 0 {
		syscall.Close(g.file)
		g.file = -1
	}
}

// reopen opens the file if it is time for an attempt, and says if it is open.
func (g *logFile) reopen() bool {
	now := nanotime()
	if now < g.retry {
		return false
	}
	g.retry = now + logRetry
	dir, err := g.l.logFolder()
	if err != nil {
		return false
	}
	defer dir.close()
	g.file = openLog(dir, g.name, g.l.set.Owner)
	return g.file >= 0
}

func openLog(dir folder, name string, owner int) int {
	const flags = syscall.O_WRONLY | syscall.O_APPEND | syscall.O_CREAT | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC
	fd, err := dir.open(name, flags, 0o644)
	if err != nil {
		return -1
	}
	var st syscall.Stat_t
	err = syscall.Fstat(fd, &st)
	// What is somebody else's and not new was moved here, to be given away.
	foreign := owner >= 0 && int(st.Uid) != owner && st.Size > 0
	if err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Nlink != 1 || foreign {
		syscall.Close(fd)
		return -1
	}
	if owner >= 0 {
		syscall.Fchown(fd, owner, owner)
	}
	return fd
}

// logFolder opens the logs folder, which is made if it is missing.
func (l *loop) logFolder() (folder, error) {
	dir, err := l.home.sub("logs")
	if err != syscall.ENOENT {
		return dir, err
	}
	if err := l.home.make("logs", 0o755, l.set.Owner); err != nil {
		return dir, err
	}
	return l.home.sub("logs")
}
