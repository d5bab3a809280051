//go:build unix && !linux

package supervisor

import "syscall"

// spawn starts a process in a session of its own.
func (l *loop) spawn(cmd Command, files [3]int, terminal bool) (*process, error) {
	path, err := find(cmd.Args[0], cmd.Env, cmd.Dir)
	if err != nil {
		return nil, err
	}
	pid, err := syscall.ForkExec(path, cmd.Args, &syscall.ProcAttr{
		Dir:   cmd.Dir,
		Env:   append([]string{}, cmd.Env...),
		Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: terminal},
	})
	if err != nil {
		return nil, wrap(cmd.Args[0], err)
	}
	p := &process{l: l, pid: pid, pipe: -1}
	l.procs[pid] = p
	return p, nil
}

// childError is not asked here, where spawn has waited until the program ran.
func childError(int) (syscall.Errno, bool) { return 0, true }

func prepare(set Setup) error {
	if set.Owner >= 0 {
		return syscall.ENOTSUP
	}
	return doSteps(set.Steps)
}

func doSteps(steps []Step) error {
	if len(steps) > 0 {
		return syscall.ENOTSUP
	}
	return nil
}
