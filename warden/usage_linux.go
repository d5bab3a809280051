package warden

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc, the same on all architectures.
const clockTick = 10 * time.Millisecond

var pageSize = int64(os.Getpagesize())

// family gives all descendants of a supervisor, and of itself the time its
// ended children have spent.
func family(supervisor int) ([]process, process, error) {
	self, err := readProcess(supervisor)
	if err != nil {
		return nil, process{}, fmt.Errorf("%w: %w", ErrGone, err)
	}
	var ps []process
	todo := childrenOf(supervisor)
	for len(todo) > 0 {
		pid := todo[0]
		todo = append(todo[1:], childrenOf(pid)...)
		if p, err := readProcess(pid); err == nil {
			p.cpu += p.ended
			ps = append(ps, p.process)
		}
	}
	return ps, process{cpu: self.ended}, nil
}

// childrenOf asks each thread, as it is threads that fork.
func childrenOf(pid int) []int {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	var l []int
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				l = append(l, n)
			}
		}
	}
	return l
}

type statLine struct {
	process
	ended  time.Duration // time of its children that have ended
	zombie bool
}

// readProcess reads /proc/PID/stat: "pid (name) state parent …", see proc(5).
func readProcess(pid int) (statLine, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return statLine{}, err
	}
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 22 {
		return statLine{}, fmt.Errorf("process %d: malformed stat", pid)
	}
	num := func(field int) int64 { // numbered as in proc(5)
		n, _ := strconv.ParseInt(f[field-3], 10, 64)
		return n
	}
	return statLine{
		process: process{
			pid: pid, parent: int(num(4)), session: int(num(6)), tty: num(7) != 0,
			cpu: time.Duration(num(14)+num(15)) * clockTick, memory: num(24) * pageSize,
		},
		ended:  time.Duration(num(16)+num(17)) * clockTick,
		zombie: f[0] == "Z" || f[0] == "X",
	}, nil
}

// killSupervisor kills the supervisor of a container, and nobody who was given its number
// since: who is killed is held by a descriptor before it is looked at.
func killSupervisor(r record) {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.PID))
	if strings.TrimRight(string(b), "\x00") == supervisorName+"\x00"+r.Spec.Handle {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// isRunning says if a process of this user lives, say of another Cloudlet.
func isRunning(user int) bool {
	names, _ := filepath.Glob("/proc/[0-9]*")
	return slices.ContainsFunc(names, func(dir string) bool { return ownedBy(dir, user) })
}

func ownedBy(dir string, user int) bool {
	st, err := os.Stat(dir)
	return err == nil && int(st.Sys().(*syscall.Stat_t).Uid) == user
}

// sweep kills what is left of a container at level process whose supervisor did
// not end it: all processes of its user or, where it has none of its own, those
// of the sessions that are known and those without a terminal that are in its home.
func sweep(r record, leaders []int) {
	for range 100 {
		if !sweepOnce(r, leaders) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func sweepOnce(r record, leaders []int) (found bool) {
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range names {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !belongs(dir, pid, r, leaders) {
			continue
		}
		found = true
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return found
}

func belongs(dir string, pid int, r record, leaders []int) bool {
	p, err := readProcess(pid)
	if err != nil || p.zombie {
		return false
	}
	if r.User != noUser {
		return ownedBy(dir, r.User)
	}
	if slices.Contains(leaders, p.session) {
		return true
	}
	cwd, err := os.Readlink(dir + "/cwd")
	return err == nil && !p.tty && strings.HasPrefix(cwd+"/", r.Home+"/")
}
