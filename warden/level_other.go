//go:build unix && !linux

package warden

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"cloudlet/warden/supervisor"

	"golang.org/x/sys/unix"
)

const ownUsers = false

func (p *Pool) findLevel(context.Context) Isolation {
	return Isolation{Level: Process, Limits: "watched", Disk: "watched", Reasons: []string{"stronger isolation needs Linux"}}
}

func isRunning(int) bool { return false }

func namespaces(*syscall.SysProcAttr, kind) {}

func joinGroup(*syscall.SysProcAttr, *os.File) {}

func (p *Pool) confine() {}

func (p *Pool) fileRules(record) (*os.File, error) { return nil, nil }

func makeHomes(string) (string, error) { return "", nil }

func selfPath(binary string) string { return binary }

// shortFolder gives a short path to a folder, good until done is called.
func shortFolder(dir string) (string, func(), error) {
	tmp, err := os.MkdirTemp("/tmp", "cl")
	if err != nil {
		return "", nil, err
	}
	link := filepath.Join(tmp, "d")
	if err := os.Symlink(dir, link); err != nil {
		os.RemoveAll(tmp)
		return "", nil, err
	}
	return link, func() { os.RemoveAll(tmp) }, nil
}

func socketCloexec(family, kind int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, kind, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}

func chown(folder int, name string, _ *unix.Stat_t, id int) error {
	return unix.Fchownat(folder, name, id, id, unix.AT_SYMLINK_NOFOLLOW)
}

func steps(record, string, group) []supervisor.Step { return nil }

func prepareSteps(string, kind) []supervisor.Step { return nil }
