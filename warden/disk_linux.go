package warden

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// disks gives each container a file system of its own, as large as its limit, in a file
// of the pool: what is full is full for that container alone, its use is one question to
// the kernel, files are bounded in number too, and removing it takes no walk through it.
//
// Project quotas would be cheaper, but few machines have a file system with them switched
// on; a sized image works on every one. It is sparse, and gives back what is deleted, so
// that it takes no more of the host than what is in it.
type disks struct {
	folder string // of templates, one per size
	mkfs   string

	mu sync.Mutex
}

const (
	templatesName = ".images"
	templatesMost = 16 // of which the oldest goes
	mkfsTime      = 20 * time.Second
	perInode      = 8 << 10 // bytes of the limit for which one file is allowed
)

// openDisks finds out if images work here, by mounting one.
func openDisks(dir string) (*disks, error) {
	mkfs, err := findMkfs()
	if err != nil {
		return nil, err
	}
	d := &disks{folder: filepath.Join(dir, templatesName), mkfs: mkfs}
	probe := filepath.Join(dir, ".probe-disk")
	if err := errors.Join(removeDisk(probe), os.RemoveAll(probe), os.Mkdir(probe, 0o700)); err != nil {
		return nil, err
	}
	defer os.RemoveAll(probe)
	return d, errors.Join(d.make(probe, diskLeast), removeDisk(probe))
}

// findMkfs looks where ordinary users' PATH does not.
func findMkfs() (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, "mkfs.ext4")); err == nil {
			return path, nil
		}
	}
	return "", errors.New("mkfs.ext4 is missing (Debian: apt-get install e2fsprogs)")
}

// make mounts a file system in the container's folder dir.
func (d *disks) make(dir string, limit int64) error {
	template, err := d.template(limit)
	if err != nil {
		return err
	}
	image := filepath.Join(dir, imageName)
	if err := copySparse(template, image); err != nil {
		return err
	}
	target := filepath.Join(dir, diskName)
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	if err := mountImage(image, target); err != nil {
		return fmt.Errorf("mount the disk image: %w", err)
	}
	return os.Remove(filepath.Join(target, "lost+found"))
}

// mountDisk mounts a file system again that unmountDisk, or a restart of the machine, has
// left unmounted.
func mountDisk(dir string) error {
	target := filepath.Join(dir, diskName)
	if exists(filepath.Join(target, homeName)) {
		return nil
	}
	return mountImage(filepath.Join(dir, imageName), target)
}

// unmountDisk leaves the file system of the container in dir as a file, which has all that
// was written: another container that is just being made has a copy of each mount for a
// moment, so that the kernel may write later than mountDisk reads.
func unmountDisk(dir string) error {
	target, err := os.Open(filepath.Join(dir, diskName))
	if err != nil {
		return err
	}
	defer target.Close()
	if err := unix.Syncfs(int(target.Fd())); err != nil {
		return fmt.Errorf("write %s: %w", target.Name(), err)
	}
	return detachDisk(dir)
}

// detachDisk takes the file system of the container in dir out of sight; it is no error if
// there is none. Who has a file open there keeps it until the file is closed.
func detachDisk(dir string) error {
	err := unix.Unmount(filepath.Join(dir, diskName), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount %s: %w", filepath.Join(dir, diskName), err)
	}
	return nil
}

// removeDisk takes the file system of the container in dir away, if there is one.
func removeDisk(dir string) error {
	if err := detachDisk(dir); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(dir, imageName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// diskUse tells what is used of the file system at path.
func diskUse(path string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

// template gives an empty file system with room for limit bytes, made once per size.
func (d *disks) template(limit int64) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path := filepath.Join(d.folder, strconv.FormatInt(limit, 10))
	now := time.Now()
	if os.Chtimes(path, now, now) == nil {
		return path, nil
	}
	if err := os.MkdirAll(d.folder, 0o700); err != nil {
		return "", err
	}
	d.forget()
	fresh := path + ".new"
	if err := d.format(fresh, limit); err != nil {
		os.Remove(fresh)
		return "", err
	}
	return path, os.Rename(fresh, path)
}

// format makes a file system that has limit bytes free for files: the tables of inodes
// and blocks come on top. There is no journal, as no container outlives the host's crash.
func (d *disks) format(path string, limit int64) error {
	inodes := max(limit/perInode, 512)
	size := limit + inodes*256 + limit/256 + 1<<20
	size += -size & (1<<20 - 1)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), mkfsTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, d.mkfs, "-q", "-F", "-b", "4096", "-m", "0", "-I", "256", "-N", strconv.FormatInt(inodes, 10),
		"-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %.200s", err, out)
	}
	return nil
}

// forget removes templates that were not used for longest.
func (d *disks) forget() {
	entries, _ := os.ReadDir(d.folder)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(used(a), used(b)) })
	for _, e := range entries[:max(len(entries)-templatesMost+1, 0)] {
		os.Remove(filepath.Join(d.folder, e.Name()))
	}
}

func used(e fs.DirEntry) int64 {
	info, err := e.Info()
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// copySparse copies what a file has of data, which is little of an empty file system.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); ; {
		begin, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // no more data
		}
		if err != nil {
			return err
		}
		if at, err = in.Seek(begin, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, begin), io.NewSectionReader(in, begin, at-begin)); err != nil {
			return err
		}
	}
}

// mountImage mounts an image by a loop device that goes with the mount.
func mountImage(image, target string) error {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	loop, err := attachLoop(f)
	if err != nil {
		return err
	}
	defer loop.Close()
	return unix.Mount(loop.Name(), target, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, "discard,noinit_itable,barrier=0")
}

// attachLoop takes a free loop device. Another process may be quicker to take it. Its input
// and output are direct where the host's file system can: through the host's cache, a
// container of little memory that writes was measured forty times slower, since its dirty
// pages are bounded by its limit.
func attachLoop(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO}}
	for try := 0; ; try++ {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("no loop device is free: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) || try == 100 {
			return nil, fmt.Errorf("%s: %w", loop.Name(), err)
		}
	}
}
