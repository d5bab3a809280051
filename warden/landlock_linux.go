package warden

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// At level process Landlock closes all files to an app but the system's and its own. The
// rules are in a descriptor that the supervisor inherits, and that each process which it
// starts is bound to. They follow folders and not names: what is shown as a whole folder
// may change without them.

// Rights of Landlock by the version of its interface that brought them.
const (
	mayRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	mayWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	onFiles  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | mayWrite

	rights1 = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	rights2 = rights1 | unix.LANDLOCK_ACCESS_FS_REFER
	rights3 = rights2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE

	landlockLeast  = 2 // before, files could not be moved from one folder to another, as npm does
	landlockTrunc  = 3
	landlockScopes = 6
)

// landlockVersion is that of the kernel's interface, 0 where it has none.
func landlockVersion() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// confine finds out what closes level process as far as it can be.
func (p *Pool) confine() {
	because := func(why string) { p.iso.Reasons = append(p.iso.Reasons, why) }
	var err error
	if p.filter, err = filter(); err != nil {
		because("system calls cannot be filtered: " + err.Error())
	}
	p.landlock = landlockVersion()
	if p.landlock < landlockLeast {
		p.landlock = 0
		because("applications can read what their user can: this kernel has no Landlock, or one older than Linux 5.19")
		return
	}
	p.iso.OwnFiles = true
	open := []string{"unix sockets that their user may use"}
	if p.landlock < landlockScopes {
		open = append(open, "signals to their user's processes")
	}
	if p.landlock < landlockTrunc {
		open = append(open, "emptying files that their user may write")
	}
	because("Landlock closes all files to applications but the system's and their own; open to them stay " + strings.Join(open, ", "))
}

// fileRules are those of a container, nil where there are none.
func (p *Pool) fileRules(r record) (*os.File, error) {
	if p.landlock == 0 || r.Level != Process {
		return nil, nil
	}
	set, err := newRuleset(p.landlock)
	if err != nil {
		return nil, fmt.Errorf("landlock: %w", err)
	}
	set.allow(mayRead, "/usr", "/etc", "/proc", "/sys")
	for _, name := range systemFolders {
		set.allow(mayRead, "/"+name)
	}
	if resolv, err := filepath.EvalSymlinks(resolvFile); err == nil && !strings.HasPrefix(resolv, "/etc/") {
		set.allow(mayRead, filepath.Dir(resolv)) // it is made anew with the network
	}
	for _, name := range devices {
		set.allow(mayRead|mayWrite, "/dev/"+name)
	}
	for _, m := range r.Spec.Mounts {
		rights := uint64(mayRead)
		if m.Writable {
			rights = set.handled
		}
		set.allow(rights, m.Source)
	}
	set.allow(set.handled, r.Home)
	if set.err != nil {
		set.file.Close()
		return nil, fmt.Errorf("landlock: %w", set.err)
	}
	return set.file, nil
}

// ruleset collects what is allowed; all else is not.
type ruleset struct {
	file    *os.File
	handled uint64
	err     error
}

func newRuleset(version int) (*ruleset, error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: rights2}
	if version >= landlockTrunc {
		attr.Handled_access_fs = rights3
	}
	if version >= landlockScopes {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return nil, errno
	}
	return &ruleset{file: os.NewFile(fd, "landlock"), handled: attr.Handled_access_fs}, nil
}

// allow adds rights to files, and to all that is in folders. What is not there, or not for
// us to open, needs no rule.
func (r *ruleset) allow(rights uint64, paths ...string) {
	for _, path := range paths {
		if err := r.add(rights, path); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			r.err = errors.Join(r.err, fmt.Errorf("%s: %w", path, err))
		}
	}
}

func (r *ruleset) add(rights uint64, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= onFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.handled, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, r.file.Fd(), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
