package warden

import (
	"errors"
	"fmt"
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
	fd, err := unix.Open(path, openFolder, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return walkFolder(os.NewFile(uintptr(fd), path), 0, v)
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
	if err == nil || err.Error() == "EOF" {
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

// removeTree removes path and everything below it. Folders that their owner
// made unreadable or read-only are opened up first, where that is needed.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	walk(path, func(folder int, name string, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			openUp(folder, name)
		}
		return nil
	})
	return os.RemoveAll(path)
}

// openUp lets the owner do everything in a folder.
func openUp(folder int, name string) {
	fd, err := unix.Openat(folder, name, openFolder, 0)
	if err == nil {
		unix.Fchmod(fd, 0o700)
		unix.Close(fd)
		return
	}
	// Without the right to read it cannot be opened. Whoever may replace it by
	// a link here runs as ourselves, and could change the link's target anyway.
	unix.Fchmodat(folder, name, 0o700, 0)
}
