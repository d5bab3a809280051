package supervisor

import "syscall"

// killAll signals every process of the container but the supervisor.
func (l *loop) killAll(sig syscall.Signal) {
	if sig == syscall.SIGKILL && l.set.Clone && killGroup(folder(l.set.groups[0])) {
		return
	}
	if l.set.Isolated {
		syscall.Kill(-1, sig) // process 1 of a namespace reaches just the namespace
		return
	}
	self := syscall.Getpid()
	tab := l.processes()
	for pid := range descendants(tab, self) {
		if pid != self {
			syscall.Kill(pid, sig)
		}
	}
}

// killGroup kills all of a control group at once, also who is just being forked. It says
// if that worked; kernels before 5.14 cannot.
func killGroup(group folder) bool {
	fd, err := group.open("cgroup.kill", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_, err = syscall.Write(fd, []byte("1"))
	syscall.Close(fd)
	return err == nil
}

// killRounds bounds how often the process table is read for those that fork meanwhile.
const killRounds = 50

// killRun kills a process with its descendants, its group and its session. They are
// stopped first, until the table shows nobody new: what is stopped starts no others.
func (l *loop) killRun(p *process) {
	doomed := map[int]bool{}
	for range killRounds {
		met := len(doomed)
		for pid := range l.family(p.pid) {
			if !doomed[pid] {
				doomed[pid] = true
				syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
		if len(doomed) == met {
			break
		}
	}
	for pid := range doomed {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// family is who belongs to a process that the supervisor started.
func (l *loop) family(pid int) map[int]bool {
	tab := l.processes()
	set := descendants(tab, pid)
	for _, e := range tab {
		if e.group == pid || e.session == pid {
			set[e.pid] = true
		}
	}
	return set
}

// entry is what matters here of a line of the process table.
type entry struct{ pid, parent, group, session int }

// descendants gives root and everything below it. Orphans are found as well:
// they become children of the supervisor, which is a subreaper.
func descendants(tab []entry, root int) map[int]bool {
	set := map[int]bool{root: true}
	for grown := true; grown; {
		grown = false
		for _, e := range tab {
			if set[e.parent] && !set[e.pid] {
				set[e.pid], grown = true, true
			}
		}
	}
	return set
}

// processes reads the process table from /proc.
func (l *loop) processes() []entry {
	dir, err := openFolder("/proc")
	if err != nil {
		return nil
	}
	defer dir.close()
	var tab []entry
	var names []string
	for {
		n, err := syscall.ReadDirent(int(dir), l.buf)
		if err != nil || n <= 0 {
			break
		}
		_, _, names = syscall.ParseDirent(l.buf[:n], -1, names[:0])
		for _, name := range names {
			if _, ok := atoi(name); !ok {
				continue
			}
			if e, ok := stat(dir, name); ok {
				tab = append(tab, e)
			}
		}
	}
	return tab
}

func stat(proc folder, name string) (entry, bool) {
	fd, err := proc.open(name+"/stat", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return entry{}, false
	}
	defer syscall.Close(fd)
	var b [512]byte
	n, err := syscall.Read(fd, b[:])
	if err != nil {
		return entry{}, false
	}
	return parseStat(string(b[:n]))
}

// parseStat reads "pid (name) state parent group session …"; the name may hold
// anything, so it ends at the last parenthesis.
func parseStat(s string) (entry, bool) {
	open, end := -1, -1
	for i := range len(s) {
		if s[i] == '(' && open < 0 {
			open = i
		}
		if s[i] == ')' {
			end = i
		}
	}
	if open < 1 || end < 0 {
		return entry{}, false
	}
	f := split(s[min(end+2, len(s)):], ' ')
	if len(f) < 4 {
		return entry{}, false
	}
	var e entry
	var ok [4]bool
	e.pid, ok[0] = atoi(s[:open-1])
	e.parent, ok[1] = atoi(f[1])
	e.group, ok[2] = atoi(f[2])
	e.session, ok[3] = atoi(f[3])
	return e, ok == [4]bool{true, true, true, true}
}
