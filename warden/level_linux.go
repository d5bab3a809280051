package warden

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownUsers says whether containers get users of their own.
var ownUsers = os.Geteuid() == 0

// findLevel tries the highest level that is asked for.
func (p *Pool) findLevel(ctx context.Context) Isolation {
	iso := Isolation{Level: Process, Limits: watched, Disk: watched}
	because := func(reasons ...string) Isolation {
		iso.Reasons = append(iso.Reasons, reasons...)
		return iso
	}
	switch {
	case p.cfg.Level == Process:
		return because("level process was asked for")
	case p.cfg.Level == Rootless && ownUsers:
		return because("level rootless is for ordinary users: root has level full, or process")
	}
	level, reasons := Full, []string(nil)
	if !ownUsers {
		level, reasons = Rootless, []string{"level full needs root"}
	}
	var missing []string
	p.groups, missing = openGroups(poolID(p.cfg.Dir), p.log)
	reasons = append(reasons, missing...)
	p.limited(&iso)
	var err error
	if p.filter, err = filter(); err != nil {
		return because("system calls cannot be filtered: " + err.Error())
	}
	if level == Rootless {
		reasons = append(reasons, "limits of disk are watched, not held: file systems of containers' own need root")
	} else if p.disks, err = openDisks(p.cfg.Dir); err != nil {
		p.disks = nil
		reasons = append(reasons, "limits of disk are watched, not held: "+err.Error())
	} else {
		iso.Disk = "image"
	}
	if err := p.probe(ctx, level); err != nil {
		p.dropLimits()
		iso.Limits, iso.Disk = watched, watched
		return because("namespaces do not work here, `cloudlet doctor` tells more: " + err.Error())
	}
	iso.Level, iso.OwnFiles = level, true
	return because(reasons...)
}

// watched says that no kernel holds the limits.
const watched = "watched"

// dropLimits undoes what only the stronger levels use.
func (p *Pool) dropLimits() {
	if p.groups != nil {
		p.groups.close()
	}
	if p.short != nil {
		p.short.close()
	}
	p.groups, p.short, p.filter, p.disks = nil, nil, nil, nil
}

func (p *Pool) limited(iso *Isolation) {
	if p.groups == nil {
		return
	}
	iso.Limits = p.groups.name()
	var err error
	if p.short, err = newPressures(); err != nil {
		p.log.Warn("nobody will tell that memory runs short", "err", err)
	}
}

// joinGroup has a process born in a control group.
func joinGroup(attr *syscall.SysProcAttr, folder *os.File) {
	if folder != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(folder.Fd())
	}
}

// rootlessCaps are what a supervisor needs in a user namespace to make mounts, bring up
// interfaces and bound what the namespace may take of its user; numbers as in linux/capability.h. None goes to the app.
var rootlessCaps = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID,
	unix.CAP_SETPCAP, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SYS_RESOURCE,
}

// userNamespace gives the supervisor a user namespace that knows one user, ourselves. It
// is no root in there either, and needs its capabilities to survive exec.
func userNamespace(attr *syscall.SysProcAttr) {
	uid, gid := os.Geteuid(), os.Getegid()
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: gid, Size: 1}}
	attr.AmbientCaps = rootlessCaps
}

// namespaces has a supervisor started in the namespaces of its container.
func namespaces(attr *syscall.SysProcAttr, k kind) {
	if k.level == Process {
		return
	}
	attr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	if k.network != NetworkHost {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
	if k.level == Rootless {
		userNamespace(attr)
	}
}

// makeHomes makes the folder for homes whose users walk to them by path: the
// folder of containers, or one above it, is closed to them, so the homes lie
// beside the outermost closed folder.
func makeHomes(dir string) (string, error) {
	closed, name := dir, "all"
	for d := dir; d != "/"; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil {
			return "", err
		}
		if st.Mode()&0o001 == 0 {
			closed = d
			if d != dir {
				name = strings.ReplaceAll(dir[len(d)+1:], "/", "-")
			}
		}
	}
	homes := filepath.Join(closed+"-home", name)
	for _, d := range []string{filepath.Dir(homes), homes} {
		if err := os.Mkdir(d, 0o711); err != nil && !os.IsExist(err) {
			return "", err
		}
		if err := os.Chmod(d, 0o711); err != nil {
			return "", err
		}
	}
	return homes, nil
}

// selfPath names the running binary, also after its file was replaced.
func selfPath(string) string { return "/proc/self/exe" }

// shortFolder gives a short path to a folder, good until done is called.
func shortFolder(dir string) (string, func(), error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), func() { unix.Close(fd) }, nil
}

func socketCloexec(family, kind int) (int, error) {
	return unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
}

// chown changes the owner of exactly the file that st is about.
func chown(folder int, name string, st *unix.Stat_t, id int) error {
	fd, err := unix.Openat(folder, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil {
		return err
	}
	if now.Dev != st.Dev || now.Ino != st.Ino || now.Nlink != st.Nlink {
		return nil // it was replaced meanwhile
	}
	return unix.Fchownat(fd, "", id, id, unix.AT_EMPTY_PATH)
}
