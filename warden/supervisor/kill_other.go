//go:build unix && !linux

package supervisor

import "syscall"

// killAll signals the groups of all processes that were started here. What
// left its group is out of reach: there is no subreaper on these systems.
func (l *loop) killAll(sig syscall.Signal) {
	for pid := range l.procs {
		syscall.Kill(-pid, sig)
	}
	if l.main != nil {
		syscall.Kill(-l.main.pid, sig)
	}
}

func (l *loop) killRun(p *process) {
	syscall.Kill(-p.pid, syscall.SIGKILL)
}
