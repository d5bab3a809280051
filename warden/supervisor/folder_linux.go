package supervisor

import "syscall"

// folder is a descriptor of a folder. Names in it are never followed if they
// are symbolic links.
type folder int

const folderFlags = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_CLOEXEC

func openFolder(path string) (folder, error) {
	fd, err := syscall.Open(path, folderFlags, 0)
	return folder(fd), err
}

func (f folder) sub(name string) (folder, error) {
	fd, err := syscall.Openat(int(f), name, folderFlags, 0)
	return folder(fd), err
}

func (f folder) make(name string, mode uint32, owner int) error {
	if err := syscall.Mkdirat(int(f), name, mode); err != nil || owner < 0 {
		return err
	}
	d, err := f.sub(name)
	if err != nil {
		return err
	}
	defer d.close()
	return syscall.Fchown(int(d), owner, owner)
}

func (f folder) open(name string, flags int, mode uint32) (int, error) {
	return syscall.Openat(int(f), name, flags, mode)
}

func (f folder) rename(from, to string) error {
	return syscall.Renameat(int(f), from, int(f), to)
}

func (f folder) close() { syscall.Close(int(f)) }

func (f folder) remove(name string) { syscall.Unlinkat(int(f), name) }
