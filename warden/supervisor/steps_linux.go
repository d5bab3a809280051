package supervisor

import (
	"syscall"
	"unsafe"
)

// From linux/mount.h and asm-generic/unistd.h.
const (
	sysMountSetattr = 442
	atFdcwd         = -100
	atRecursive     = 0x8000
	mountAttrSize   = 32
	attrReadOnly    = 1
	attrNoSuid      = 2
	attrNoDev       = 4
	attrNoExec      = 8
	routeUp         = 1 // RTF_UP and RTF_REJECT of linux/route.h
	routeReject     = 0x200
)

// prepare makes the container's surroundings and turns the supervisor into what
// collects its processes.
func prepare(set Setup) error {
	if !set.Isolated {
		if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetChildReaper, 1, 0, 0, 0, 0); e != 0 {
			return wrap("become a subreaper", e)
		}
	}
	if set.Rootless {
		// Who hides from its processes cannot set it for them any more: they inherit it.
		writeScore()
	}
	if set.Owner >= 0 {
		// Nothing of a supervisor is for its processes' eyes, not even in the
		// moment between fork and exec.
		syscall.RawSyscall6(syscall.SYS_PRCTL, prSetDumpable, 0, 0, 0, 0, 0)
	}
	return doSteps(set.Steps)
}

func doSteps(steps []Step) error {
	for _, s := range steps {
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

func (s Step) do() error {
	switch s.Op {
	case OpMount:
		return s.check("mount", syscall.Mount(s.Source, s.Target, s.Kind, uintptr(s.Flags), s.Data))
	case OpBind:
		return s.check("bind "+s.Source+" on", s.bind())
	case OpRemount:
		return s.check("remount", syscall.Mount("", s.Target, "", uintptr(s.Flags)|syscall.MS_REMOUNT|syscall.MS_BIND, ""))
	case OpFolder:
		return s.check("make", makeFolders(s.Target, uint32(s.Flags)))
	case OpFile:
		return s.check("write", s.writeTo(syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_NOFOLLOW|syscall.O_CLOEXEC))
	case OpSet:
		return s.check("set", s.writeTo(syscall.O_WRONLY|syscall.O_CLOEXEC))
	case OpLink:
		return s.check("link", syscall.Symlink(s.Source, s.Target))
	case OpPivot:
		return s.check("pivot to", pivot(s.Target))
	case OpHostname:
		return s.check("set host name", syscall.Sethostname([]byte(s.Data)))
	case OpUnmount:
		syscall.Unmount(s.Target, syscall.MNT_DETACH) // what is not there is as good as gone
		return nil
	case OpLoopbackUp:
		return s.check("bring up loopback", loopbackUp())
	case OpUnreachable:
		return s.check("bar the way to", s.bar())
	}
	return ErrMalformed
}

func (s Step) check(what string, err error) error {
	if err != nil {
		return wrap(what+" "+s.Target, err)
	}
	return nil
}

func (s Step) writeTo(flags int) error {
	fd, err := syscall.Open(s.Target, flags, uint32(s.Flags))
	if err != nil {
		return err
	}
	_, err = syscall.Write(fd, []byte(s.Data))
	syscall.Close(fd)
	return err
}

// bind makes the target, a folder or an empty file like the source, and
// restricts the mount with all that is mounted below it.
func (s Step) bind() error {
	var st syscall.Stat_t
	if err := syscall.Stat(s.Source, &st); err != nil {
		return err
	}
	if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		if err := makeFolders(s.Target, 0o755); err != nil {
			return err
		}
	} else if err := makeFile(s.Target); err != nil {
		return err
	}
	if err := syscall.Mount(s.Source, s.Target, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return err
	}
	err := restrict(s.Target, s.Flags)
	if err != syscall.ENOSYS {
		return err
	}
	// Kernels before 5.12 restrict the top only: then show no more than that.
	if err := syscall.Unmount(s.Target, syscall.MNT_DETACH); err != nil {
		return err
	}
	if err := syscall.Mount(s.Source, s.Target, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	return syscall.Mount("", s.Target, "", uintptr(s.Flags)|syscall.MS_REMOUNT|syscall.MS_BIND, "")
}

// restrict is mount_setattr(2) for a whole tree of mounts.
func restrict(target string, flags uint64) error {
	path, err := syscall.BytePtrFromString(target)
	if err != nil {
		return err
	}
	attr := struct{ set, clear, propagation, userns uint64 }{}
	for _, m := range [][2]uint64{{syscall.MS_RDONLY, attrReadOnly}, {syscall.MS_NOSUID, attrNoSuid}, {syscall.MS_NODEV, attrNoDev}, {syscall.MS_NOEXEC, attrNoExec}} {
		if flags&m[0] != 0 {
			attr.set |= m[1]
		}
	}
	cwd := atFdcwd
	_, _, e := syscall.RawSyscall6(sysMountSetattr, uintptr(cwd), uintptr(unsafe.Pointer(path)), atRecursive, uintptr(unsafe.Pointer(&attr)), mountAttrSize, 0)
	if e != 0 {
		return e
	}
	return nil
}

// makeFolders makes a folder and those above it; it is no error if it is there.
func makeFolders(path string, mode uint32) error {
	err := syscall.Mkdir(path, mode)
	if i := lastSlash(path); err == syscall.ENOENT && i > 0 {
		if err := makeFolders(path[:i], 0o755); err != nil {
			return err
		}
		err = syscall.Mkdir(path, mode)
	}
	if err != nil {
		if err == syscall.EEXIST {
			return nil
		}
		return err
	}
	return syscall.Chmod(path, mode) // for the sticky bit, and whatever the umask takes away
}

func lastSlash(path string) int {
	i := len(path) - 1
	for i > 0 && path[i] != '/' {
		i--
	}
	return i
}

func makeFile(path string) error {
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG {
		return nil // such as one of /proc, which may not be to write
	}
	if i := lastSlash(path); i > 0 {
		if err := makeFolders(path[:i], 0o755); err != nil {
			return err
		}
	}
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return syscall.Close(fd)
}

// pivot stacks the old root on the new one and takes it away again, which
// needs no folder for it.
func pivot(root string) error {
	if err := syscall.Chdir(root); err != nil {
		return err
	}
	if err := syscall.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := syscall.Unmount(".", syscall.MNT_DETACH); err != nil {
		return err
	}
	return syscall.Chdir("/")
}

func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	req := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP}
	copy(req.name[:], "lo")
	if _, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); e != 0 {
		return e
	}
	return nil
}

// bar adds a route that leads nowhere, by struct rtentry of linux/route.h.
func (s Step) bar() error {
	if len(s.Data) != 8 {
		return ErrMalformed
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	req := struct {
		_                      uintptr
		to, gateway, mask      syscall.RawSockaddrInet4
		flags                  uint16
		_                      int16
		_, _                   uintptr
		metric                 int16
		device, mtu, window, _ uintptr
	}{flags: routeUp | routeReject}
	req.to.Family, req.mask.Family = syscall.AF_INET, syscall.AF_INET
	copy(req.to.Addr[:], s.Data[:4])
	copy(req.mask.Addr[:], s.Data[4:])
	if _, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCADDRT, uintptr(unsafe.Pointer(&req))); e != 0 && e != syscall.EEXIST {
		return e
	}
	return nil
}
