//go:build unix && !linux

package supervisor

import "syscall"

// folder is the path of a folder: without an identity of their own the
// processes of a container could touch Cloudlet's files anyway.
type folder string

func openFolder(path string) (folder, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	return folder(path), syscall.Close(fd)
}

func (f folder) sub(name string) (folder, error) { return openFolder(string(f) + "/" + name) }

func (f folder) make(name string, mode uint32, _ int) error {
	return syscall.Mkdir(string(f)+"/"+name, mode)
}

func (f folder) open(name string, flags int, mode uint32) (int, error) {
	return syscall.Open(string(f)+"/"+name, flags, mode)
}

func (f folder) rename(from, to string) error {
	return syscall.Rename(string(f)+"/"+from, string(f)+"/"+to)
}

func (f folder) close() {}

func (f folder) remove(name string) { syscall.Unlink(string(f) + "/" + name) }
