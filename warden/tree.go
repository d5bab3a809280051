package warden

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Everything below a home was written by an app, and may change while it is
// looked at. These functions go from descriptor to descriptor, never by path,
// and follow no symbolic link.

// maxDepth bounds how deep folders may be nested; each level takes a descriptor.
const maxDepth = 256

var errTooDeep = fmt.Errorf("folders are nested more than %d deep", maxDepth)

const openFolder = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// visit is called with each entry of a tree, folders before what is in them.
type visit func(folder int, name string, st *unix.Stat_t) error

// walk visits everything below the folder at path.
func walk(path string, v visit) error {
	top, err := openTop(path)
	if err != nil {
		return err
	}
	return walkFolder(top, 0, v)
}

func walkFolder(f *os.File, depth int, v visit) error {
	defer f.Close()
	for {
		names, err := f.Readdirnames(512)
		for _, name := range names {
			if err := walkEntry(f, name, depth, v); err != nil {
				return err
			}
		}
		if err != nil || len(names) == 0 {
			return ignoreEnd(err)
		}
	}
}

func walkEntry(f *os.File, name string, depth int, v visit) error {
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ignoreVanished(err)
	}
	if err := v(fd, name, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if depth == maxDepth {
		return errTooDeep
	}
	sub, err := unix.Openat(fd, name, openFolder, 0)
	if err != nil {
		return ignoreVanished(err)
	}
	return walkFolder(os.NewFile(uintptr(sub), name), depth+1, v)
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// ignoreVanished drops the errors of an entry that was removed, or replaced by
// something else, since its name was read.
func ignoreVanished(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}

// own gives the folder at path and everything below it to a user and the group
// of the same number. A file with several names is given away only when all
// its names were met below path: another could be a file of the host's.
func own(path string, id int) error {
	type file struct{ dev, ino uint64 }
	met := map[file]uint64{}
	err := walk(path, func(folder int, name string, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			f := file{uint64(st.Dev), st.Ino}
			if met[f]++; met[f] < uint64(st.Nlink) {
				return nil
			}
		}
		return ignoreVanished(chown(folder, name, st, id))
	})
	if err != nil {
		return err
	}
	return os.Lchown(path, id, id)
}

// removeTree removes path and everything below it. The app may have made that
// hard: by folders that their owner cannot read or change, which are opened up,
// and by nesting deeper than there are descriptors, which is why what lies deep
// is moved to the top. No more than maxDepth descriptors are used at a time.
func removeTree(path string) error {
	err := unix.Unlink(path)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	top, err := openTop(path)
	if err != nil {
		return err
	}
	defer top.Close()
	r := remover{top: int(top.Fd())}
	if err := r.empty(top, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return os.Remove(path)
}

func openTop(path string) (*os.File, error) {
	fd, err := unix.Open(path, openFolder, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

type remover struct {
	top   int
	moved int // folders moved to the top so far
}

// empty removes all entries of a folder, reading it again until there are none:
// entries may be skipped while others are removed, and come in while others are
// moved.
func (r *remover) empty(f *os.File, depth int) error {
	allowOwner(f)
	for {
		names, err := f.Readdirnames(1024)
		if err != nil || len(names) == 0 {
			return ignoreEnd(err)
		}
		var failed error
		removed := 0
		for _, name := range names {
			if err := r.remove(f, name, depth); err != nil {
				failed = err
			} else {
				removed++
			}
		}
		if removed == 0 {
			return failed
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

func (r *remover) remove(f *os.File, name string, depth int) error {
	fd := int(f.Fd())
	err := unix.Unlinkat(fd, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if depth == maxDepth {
		r.moved++
		return unix.Renameat(fd, name, r.top, fmt.Sprintf(".deep-%d", r.moved))
	}
	sub, e := unix.Openat(fd, name, openFolder, 0)
	if e == unix.EACCES {
		// As root this does not happen. Else whoever may put a link in its place
		// runs as ourselves, and could change what it leads to anyway.
		unix.Fchmodat(fd, name, 0o700, 0)
		sub, e = unix.Openat(fd, name, openFolder, 0)
	}
	if e != nil {
		return err
	}
	folder := os.NewFile(uintptr(sub), name)
	defer folder.Close()
	if err := r.empty(folder, depth+1); err != nil {
		return err
	}
	return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
}

// allowOwner lets the owner do everything in a folder.
func allowOwner(f *os.File) {
	if st, err := f.Stat(); err == nil && st.Mode()&0o700 != 0o700 {
		f.Chmod(0o700)
	}
}
