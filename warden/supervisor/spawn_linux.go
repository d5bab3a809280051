package supervisor

import (
	"syscall"
	"unsafe"
)

// From linux/prctl.h, linux/close_range.h and linux/resource.h.
const (
	prSetPdeathsig     = 1
	prSetDumpable      = 4
	prSetSeccomp       = 22
	prCapBSetDrop      = 24
	prSetChildReaper   = 36
	prSetNoNewPrivs    = 38
	prCapAmbient       = 47
	prAmbientClearAll  = 4
	rlimitNProc        = 6
	rlimitSigPending   = 11
	pendingSignals     = 4096 // the kernel counts them by user, of whom Cloudlet's may be the same
	sysClone3          = 435
	sysCloseRange      = 436
	sysLandlockSelf    = 446
	cloneIntoCgroup    = 0x200000000
	cloneNewCgroup     = 0x2000000
	seccompFilter      = 2
	capVersion3        = 0x20080522
	closeRangeCloexec  = 4
	lastCapability     = 63
	oomScore           = "500" // apps go before Cloudlet when memory runs out
	oomScoreFile       = "/proc/self/oom_score_adj"
	exitChildFailed    = 253
	maxLimits          = 4
	firstInheritableFD = 3
)

type limit struct {
	which uintptr
	value syscall.Rlimit
}

// image is all that a child needs between fork and exec, made before the fork.
type image struct {
	path, dir *byte
	argv, env **byte
	files     [3]int
	terminal  bool // files are a terminal, which controls the process
	pipe      int  // takes the error number where the child fails
	owner     int
	parent    int // 0: no parent-death signal
	limits    [maxLimits]limit
	nlimits   int
	oomFile   *byte
	oomText   [len(oomScore)]byte
	clone     cloneArgs
	groups    [maxGroups]int // files by which the child enters its control groups
	ngroups   int
	ownGroups bool // the child sees its group as the top
	setGroups bool // supplementary groups can be dropped
	noCaps    capHeader
	filter    *sockFprog // nil: all system calls
	rules     int        // of Landlock, -1: all files
}

// cloneArgs is struct clone_args of linux/sched.h.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// capHeader is what capset(2) takes to have no capability at all.
type capHeader struct {
	version uint32
	pid     int32
	none    [6]uint32
}

// sockFprog is struct sock_fprog of linux/filter.h.
type sockFprog struct {
	len    uint16
	filter *byte
}

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// spawn starts a process in a session of its own, which the terminal controls where its
// files are one. syscall.ForkExec cannot set
// limits, nor take away capabilities and the way to new privileges, hence the
// fork of its own; that does not share memory with the child as the
// standard library's does, so that the child may simply return from calls.
func (l *loop) spawn(cmd Command, files [3]int, terminal bool) (*process, error) {
	img, err := l.image(cmd, files)
	if err != nil {
		return nil, err
	}
	img.terminal = terminal
	var pipe [2]int
	if err := makePipe(&pipe); err != nil {
		return nil, wrap("pipe", err)
	}
	syscall.SetNonblock(pipe[0], true)
	img.pipe = pipe[1]
	pid, errno := forkExec(img)
	syscall.Close(pipe[1])
	if errno != 0 {
		syscall.Close(pipe[0])
		return nil, cannotRun("fork", errno)
	}
	p := &process{l: l, pid: pid, name: cmd.Args[0], pipe: pipe[0]}
	l.procs[pid] = p
	l.add(p.pipe, p)
	return p, nil
}

// childError reads what the child wrote when it failed; the pipe is just
// closed when exec succeeds. It is not known before either.
func childError(fd int) (e syscall.Errno, known bool) {
	b := (*[unsafe.Sizeof(e)]byte)(unsafe.Pointer(&e))[:]
	for {
		switch n, err := syscall.Read(fd, b); {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, false
		case err != nil || n != len(b):
			return 0, true
		default:
			return e, true
		}
	}
}

func (l *loop) image(cmd Command, files [3]int) (*image, error) {
	path, err := find(cmd.Args[0], cmd.Env, cmd.Dir)
	if err != nil {
		return nil, err
	}
	img := &image{files: files, owner: l.set.Owner}
	if img.path, err = syscall.BytePtrFromString(path); err != nil {
		return nil, err
	}
	if img.dir, err = syscall.BytePtrFromString(cmd.Dir); err != nil {
		return nil, err
	}
	argv, err := syscall.SlicePtrFromStrings(cmd.Args)
	if err != nil {
		return nil, err
	}
	env, err := syscall.SlicePtrFromStrings(cmd.Env)
	if err != nil {
		return nil, err
	}
	img.argv, img.env = &argv[0], &env[0]
	img.oomFile, _ = syscall.BytePtrFromString(oomScoreFile)
	copy(img.oomText[:], oomScore)
	if !l.set.Isolated {
		img.parent = syscall.Getpid() // a namespace dies with its process 1 anyway
	}
	l.limits(img)
	l.confine(img)
	return img, nil
}

// confine has the child born in its control group, and bound to its filter.
func (l *loop) confine(img *image) {
	img.clone = cloneArgs{exitSignal: uint64(syscall.SIGCHLD)}
	img.noCaps.version = capVersion3
	img.setGroups = !l.set.Rootless
	img.ownGroups = l.set.Isolated
	if l.set.Clone {
		img.clone.flags, img.clone.cgroup = cloneIntoCgroup, uint64(l.set.groups[0])
	} else {
		img.ngroups = copy(img.groups[:], l.set.groups)
	}
	img.rules = -1
	if l.set.Landlock {
		img.rules = l.set.rules
	}
	if n := len(l.set.Filter) / sockFilterSize; n > 0 {
		img.filter = &sockFprog{uint16(n), unsafe.StringData(l.set.Filter)}
	}
}

const sockFilterSize = 8

// limits computes the resource limits: never above what is allowed, and a limit
// of processes only where it counts for this container's user alone.
func (l *loop) limits(img *image) {
	add := func(which uintptr, n uint64) {
		img.limits[img.nlimits] = limit{which, syscall.Rlimit{Cur: n, Max: n}}
		img.nlimits++
	}
	add(syscall.RLIMIT_CORE, 0)
	var pending syscall.Rlimit
	if syscall.Getrlimit(rlimitSigPending, &pending) == nil {
		add(rlimitSigPending, min(pending.Max, pendingSignals))
	}
	files := l.files
	if n := l.set.Limits.Files; n != 0 {
		n = min(n, files.Max)
		files = syscall.Rlimit{Cur: n, Max: n}
	}
	img.limits[img.nlimits] = limit{syscall.RLIMIT_NOFILE, files}
	img.nlimits++
	if n := l.set.Limits.Processes; n != 0 && l.set.Owner >= 0 {
		add(rlimitNProc, n)
	}
}

// writeScore has the kernel choose this process, and those it starts, before others when
// memory runs out.
func writeScore() {
	fd, err := syscall.Open(oomScoreFile, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	syscall.Write(fd, []byte(oomScore))
	syscall.Close(fd)
}

// zero is what a process writes to enter a control group of version 1.
var zero byte = '0'

// forkExec forks and, in the child, becomes the image. Between fork and exec
// the child has one thread of a runtime that had several: it must not call
// anything that may grow the stack, allocate or be scheduled, hence only raw
// system calls, as in the standard library's forkAndExecInChild1.
//
//go:norace
//go:noinline
func forkExec(img *image) (int, syscall.Errno) {
	var (
		pid, fd uintptr
		i       int
		errno   syscall.Errno
	)
	beforeFork()
	pid, _, errno = syscall.RawSyscall(sysClone3, uintptr(unsafe.Pointer(&img.clone)), unsafe.Sizeof(img.clone), 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return int(pid), errno
	}

	if _, _, errno = syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0); errno != 0 {
		goto failed
	}
	afterForkInChild()
	for i = 0; i < img.ngroups; i++ {
		if _, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(img.groups[i]), uintptr(unsafe.Pointer(&zero)), 1); errno != 0 {
			goto failed
		}
	}
	if img.ownGroups {
		if _, _, errno = syscall.RawSyscall(syscall.SYS_UNSHARE, cloneNewCgroup, 0, 0); errno != 0 {
			goto failed
		}
	}
	// Best effort: a child that keeps its parent's score is no reason to fail.
	fd, _, errno = syscall.RawSyscall6(syscall.SYS_OPENAT, 0, uintptr(unsafe.Pointer(img.oomFile)), syscall.O_WRONLY|syscall.O_CLOEXEC, 0, 0, 0)
	if errno == 0 {
		syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&img.oomText[0])), uintptr(len(img.oomText)))
	}
	for i = 0; i < len(img.files); i++ {
		// All descriptors here are above 2, so none is overwritten before its turn.
		if _, _, errno = syscall.RawSyscall(syscall.SYS_DUP3, uintptr(img.files[i]), uintptr(i), 0); errno != 0 {
			goto failed
		}
	}
	if img.terminal {
		if _, _, errno = syscall.RawSyscall(syscall.SYS_IOCTL, 0, syscall.TIOCSCTTY, 0); errno != 0 {
			goto failed
		}
	}
	syscall.RawSyscall(sysCloseRange, firstInheritableFD, uintptr(^uint32(0)), closeRangeCloexec)
	for i = 0; i < img.nlimits; i++ {
		if _, _, errno = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, img.limits[i].which, uintptr(unsafe.Pointer(&img.limits[i].value)), 0, 0, 0); errno != 0 {
			goto failed
		}
	}
	if _, _, errno = syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		goto failed
	}
	if img.owner >= 0 {
		syscall.RawSyscall6(syscall.SYS_PRCTL, prCapAmbient, prAmbientClearAll, 0, 0, 0, 0)
		for i = 0; i <= lastCapability; i++ {
			if _, _, errno = syscall.RawSyscall6(syscall.SYS_PRCTL, prCapBSetDrop, uintptr(i), 0, 0, 0, 0); errno != 0 {
				break
			}
		}
		if errno != 0 && errno != syscall.EINVAL { // EINVAL: a capability that this kernel does not have
			goto failed
		}
		if _, _, errno = syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0); errno != 0 && img.setGroups {
			goto failed
		}
		if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESGID, uintptr(img.owner), uintptr(img.owner), uintptr(img.owner)); errno != 0 {
			goto failed
		}
		if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(img.owner), uintptr(img.owner), uintptr(img.owner)); errno != 0 {
			goto failed
		}
		// Again, as a change of user may undo it (fs.suid_dumpable): what the supervisor has
		// open is there until exec.
		syscall.RawSyscall6(syscall.SYS_PRCTL, prSetDumpable, 0, 0, 0, 0, 0)
	}
	if img.owner >= 0 {
		if _, _, errno = syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&img.noCaps)), uintptr(unsafe.Pointer(&img.noCaps.none)), 0); errno != 0 {
			goto failed
		}
	}
	if img.parent != 0 {
		// After the change of user, which would undo it.
		if _, _, errno = syscall.RawSyscall6(syscall.SYS_PRCTL, prSetPdeathsig, uintptr(syscall.SIGKILL), 0, 0, 0, 0); errno != 0 {
			goto failed
		}
		if pid, _, _ = syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0); pid != uintptr(img.parent) {
			goto failed
		}
	}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(img.dir)), 0, 0); errno != 0 {
		goto failed
	}
	if img.rules >= 0 {
		if _, _, errno = syscall.RawSyscall(sysLandlockSelf, uintptr(img.rules), 0, 0); errno != 0 {
			goto failed
		}
	}
	if img.filter != nil {
		if _, _, errno = syscall.RawSyscall6(syscall.SYS_PRCTL, prSetSeccomp, seccompFilter, uintptr(unsafe.Pointer(img.filter)), 0, 0, 0); errno != 0 {
			goto failed
		}
	}
	_, _, errno = syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(img.path)), uintptr(unsafe.Pointer(img.argv)), uintptr(unsafe.Pointer(img.env)))

failed:
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(img.pipe), uintptr(unsafe.Pointer(&errno)), unsafe.Sizeof(errno))
	for {
		syscall.RawSyscall(syscall.SYS_EXIT, exitChildFailed, 0, 0)
	}
}
