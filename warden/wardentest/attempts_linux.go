package wardentest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempt is something that an app must not be able to do.
type attempt struct {
	name    string
	want    string // the errors with which it may fail
	process bool   // level process stops it too, where containers have users of their own, even without Landlock
	control bool   // root can do it without a container, and nobody is harmed
	try     func(world) error
}

// The answers to expect: what is not seen is absent, what the kernel or the filter refuses
// is denied.
const (
	denied   = "EPERM EACCES"
	absent   = "ENOENT ESRCH"
	fixed    = "EROFS EACCES EPERM" // for what is written
	filtered = "EPERM ENOSYS"
)

// attempts are made one after the other by a single process, in the order of the list.
var attempts = []attempt{
	// Files of others.
	{"read a host's file", absent, false, true, func(w world) error { return read(w.Secret) }},
	{"read another app's file", absent + " EACCES", true, true, func(w world) error { return read(filepath.Join(w.Home, "secret")) }},
	{"look into the folder of containers", absent + " EACCES", true, true, func(w world) error { return list(w.Folder) }},
	{"read it by way of process 1", denied, false, true, func(w world) error { return read("/proc/1/root" + w.Secret) }},
	{"read it by way of the app's process", absent + " EACCES", true, true, func(w world) error { return read(proc(w.Victim, "cwd/secret")) }},
	{"read it by many dots", absent, false, true, dots},
	{"link to it", "EXDEV " + absent, false, false, func(w world) error { return os.Link(w.Secret, "hard") }},
	{"link to a program", "EXDEV EPERM EROFS", false, false, func(w world) error { return os.Link("/bin/sh", "hard") }},
	{"follow a link to it", absent, false, false, followed},
	{"descriptors of process 1", denied, false, true, func(w world) error { return list("/proc/1/fd") }},
	{"write to the program of process 1", denied + " ENOENT", false, false, func(w world) error { return write("/proc/1/exe", "") }},
	{"write to its own program", "ETXTBSY EROFS EACCES", false, false, func(w world) error { return write("/proc/self/exe", "") }},
	{"write to a system program", fixed, true, false, func(w world) error { return write("/bin/ls", "") }},
	{"write to the list of users", fixed, true, false, func(w world) error { return write("/etc/passwd", "") }},
	{"open a file by its number", filtered, true, false, openByHandle},

	// Memory and environment of others.
	{"environment of another app", absent + " EACCES", true, true, func(w world) error { return read(proc(w.Victim, "environ")) }},
	{"environment of process 1", denied, false, true, func(w world) error { return read("/proc/1/environ") }},
	{"memory of another app, as a file", absent + " EACCES", true, true, func(w world) error { return peek(proc(w.Victim, "mem"), w.Address) }},
	{"memory of process 1, as a file", denied, false, true, func(w world) error { return write("/proc/1/mem", "") }},
	{"memory of another app, by a call", filtered + " ESRCH", true, true, readVictim},
	{"memory of Cloudlet, by a call", filtered + " ESRCH", true, false, func(w world) error { return readMemory(w.Host, w.Address) }},
	{"memory of process 1, by a call", filtered, false, false, func(world) error { return readMemory(1, 4096) }},
	{"trace another app", filtered + " ESRCH", true, true, func(w world) error { return trace(w.Victim) }},
	{"trace Cloudlet", filtered + " ESRCH", true, false, func(w world) error { return trace(w.Host) }},
	{"trace process 1", filtered, false, false, func(world) error { return trace(1) }},

	// Signals and settings of others.
	{"signal another app", "ESRCH EPERM", true, true, func(w world) error { return syscall.Kill(w.Victim, 0) }},
	{"signal Cloudlet", "ESRCH EPERM", true, true, func(w world) error { return syscall.Kill(w.Host, 0) }},
	{"kill process 1", "EPERM survived", false, false, killFirst},
	{"hold another app", "ESRCH EPERM EINVAL", false, true, func(w world) error { return pidfd(w.Victim) }},
	{"limits of another app", "ESRCH EPERM", true, true, func(w world) error { return limit(w.Victim) }},
	{"priority of another app", "ESRCH EPERM", true, true, func(w world) error { return unix.Setpriority(unix.PRIO_PROCESS, w.Victim, 1) }},
	{"a better priority", denied, true, true, func(world) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) }},
	{"more than its limits", "EPERM", false, false, moreLimits},

	// Mounts and namespaces.
	{"mount a file system", filtered, true, false, func(world) error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") }},
	{"bind a folder", filtered, true, false, func(world) error { return unix.Mount("/", "/tmp", "", unix.MS_BIND, "") }},
	{"make the root writable", filtered, true, false, func(world) error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
	{"unmount /proc", filtered, true, false, func(world) error { return unix.Unmount("/proc", unix.MNT_DETACH) }},
	{"open a tree of mounts", filtered, true, false, openTree},
	{"open a file system", filtered, true, false, func(world) error { return fd(unix.Fsopen("tmpfs", 0)) }},
	{"a new mount namespace", "EPERM", true, false, unshare(unix.CLONE_NEWNS)},
	{"a new UTS namespace", "EPERM", true, false, unshare(unix.CLONE_NEWUTS)},
	{"a new IPC namespace", "EPERM", true, false, unshare(unix.CLONE_NEWIPC)},
	{"a new PID namespace", "EPERM", true, false, unshare(unix.CLONE_NEWPID)},
	{"a new network namespace", "EPERM", true, false, unshare(unix.CLONE_NEWNET)},
	{"a new cgroup namespace", "EPERM", true, false, unshare(unix.CLONE_NEWCGROUP)},
	{"a new time namespace", "EPERM", true, false, unshare(unix.CLONE_NEWTIME)},
	{"a new user namespace", "EPERM", false, false, unshare(unix.CLONE_NEWUSER)},
	{"a child in a user namespace", "EPERM", false, true, cloneUser},
	{"namespaces by the newer call", "ENOSYS EPERM", false, false, clone3},
	{"enter a namespace", filtered + " EACCES ENOENT", false, false, enter},
	{"change the root by pivot", filtered, true, false, func(world) error { return unix.PivotRoot(".", ".") }},
	{"change the root", filtered, true, false, func(world) error { return unix.Chroot("/tmp") }},
	{"leave a changed root", filtered + " ENOENT", true, false, leaveRoot},

	// Devices and the kernel.
	{"make a device", filtered, true, false, func(world) error { return unix.Mknod("device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) }},
	{"make a disk", filtered, true, false, func(world) error { return unix.Mknod("disk", unix.S_IFBLK|0o666, int(unix.Mkdev(8, 0))) }},
	{"open a disk", absent, false, false, devices("sda", "vda", "nvme0n1", "xvda", "loop0", "dm-0", "mapper/control", "loop-control", "ram0")},
	{"open the machine's memory", absent, false, false, devices("mem", "kmem", "port")},
	{"open other devices", absent, false, false, devices("kmsg", "fuse", "kvm", "net/tun", "tty0", "tty1", "console", "hwrng", "rtc0", "vsock", "uinput", "snapshot")},
	{"read the kernel's messages", filtered, false, true, func(world) error { _, err := unix.Klogctl(3, make([]byte, 100)); return err }},
	{"press a key of sysrq", fixed + " ENOENT hidden", true, false, func(world) error { return write("/proc/sysrq-trigger", "h") }},
	{"name a program for core files", fixed, true, false, func(world) error { return write("/proc/sys/kernel/core_pattern", "|/home/vcap/x") }},
	{"set what the kernel does in panic", fixed, true, false, func(world) error { return write("/proc/sys/kernel/panic", "1") }},
	{"set forwarding", fixed + " ENOENT", false, false, func(world) error { return write("/proc/sys/net/ipv4/ip_forward", "1") }},
	{"drop caches", fixed, true, false, func(world) error { return write("/proc/sys/vm/drop_caches", "1") }},
	{"hide from the killer", fixed, true, true, func(world) error { return write("/proc/self/oom_score_adj", "-1000") }},
	{"name a program for empty groups", fixed + " ENOENT", true, false, releaseAgent},
	{"raise its own limit of memory", fixed + " ENOENT", true, false, func(world) error { return write("/sys/fs/cgroup/memory.max", "max") }},
	{"leave its group", fixed + " ENOENT", true, false, func(world) error { return write("/sys/fs/cgroup/cgroup.procs", "0") }},
	{"read the machine's memory", denied + " ENOENT EOF", false, true, func(world) error { return read("/proc/kcore") }},
	{"read kernel secrets", denied + " ENOENT EOF", false, false, reads("/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/kmsg", "/proc/kpagecount", "/sys/kernel/debug/sched")},
	{"load a program into the kernel", filtered, false, true, bpf},
	{"add a key", filtered, false, true, func(world) error {
		return fd(unix.AddKey("user", "wardentest", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING))
	}},
	{"look at keys", filtered, false, false, func(world) error { return fd(unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)) }},
	{"count events of the machine", filtered + " EACCES ENOENT", true, false, perf},
	{"a ring of requests", filtered, false, true, ring},
	{"handle page faults", filtered, false, false, func(world) error { return call(unix.SYS_USERFAULTFD, 0) }},
	{"watch all files", filtered, true, false, func(world) error { return fd(unix.FanotifyInit(0, 0)) }},
	{"hear of the machine's devices", "EPROTONOSUPPORT", true, true, func(world) error {
		return fd(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT))
	}},
	{"take all terminals", "ENOSPC", false, true, takeTerminals},
	{"boot another kernel", filtered, true, false, func(world) error { return unix.KexecFileLoad(-1, -1, "", 0) }},
	{"boot another kernel, the older way", filtered, true, false, func(world) error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) }},
	{"load a module", filtered, true, false, func(world) error { return unix.InitModule([]byte("wardentest"), "") }},
	{"load a module from a file", filtered, true, false, func(world) error { return unix.FinitModule(0, "", 0) }},
	{"unload a module", filtered, true, false, func(world) error { return unix.DeleteModule("wardentest", unix.O_NONBLOCK) }},
	{"reboot", filtered, true, false, func(world) error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }},
	{"swap to a file", filtered, true, false, swap},
	{"set the clock", filtered, true, false, setTime},
	{"adjust the clock", filtered, true, false, func(world) error { return fd(unix.Adjtimex(&unix.Timex{Modes: 0x4000})) }},
	{"rename the host", filtered, true, false, func(world) error { return unix.Sethostname([]byte("wardentest")) }},
	{"rename the domain", filtered, true, false, func(world) error { return unix.Setdomainname([]byte("wardentest")) }},
	{"account for processes", filtered, true, false, func(world) error { return unix.Acct("/tmp/none") }},
	{"talk to ports", filtered, true, false, func(world) error { return call(unix.SYS_IOPL, 3) }},
	{"become root", "EPERM EINVAL", true, true, func(world) error { return call(unix.SYS_SETUID, 0) }},
	{"become of root's group", "EPERM EINVAL", true, true, func(world) error { return call(unix.SYS_SETGID, 0) }},
	{"take privileges", "EPERM", true, false, capabilities},

	// Networks.
	{"an abstract socket of the host", "ECONNREFUSED EPERM EACCES", false, true, func(w world) error { return dial("unix", w.Abstract) }},
	{"ports of the host and of the app", "ECONNREFUSED ENETUNREACH EHOSTUNREACH EPERM EACCES timeout", false, true, dialAll},
	{"raw packets", filtered, true, true, func(world) error { return fd(unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)) }},
	{"raw messages", filtered, true, true, func(world) error { return fd(unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)) }},
	{"take a link down", filtered, true, false, linkDown},
	{"change the packet filter", filtered + " ENOPROTOOPT", true, false, packetFilter},
}

var (
	errEOF     = errors.New("EOF")
	errTimeout = errors.New("timeout")
	errHidden  = errors.New("hidden") // behind /dev/null

	errSurvived = errors.New("survived")
)

// onNetwork are attempts that level process does not stop: it shares the host's network.
var onNetwork = []string{"an abstract socket of the host", "ports of the host and of the app"}

// controlEnv says that this is the control, where nothing keeps attempts from doing harm.
const controlEnv = "WARDENTEST_CONTROL"

func proc(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// fd closes a descriptor that should not be.
func fd(n int, err error) error {
	if err == nil && n > 2 {
		unix.Close(n)
	}
	return err
}

func call(number uintptr, args ...uintptr) error {
	a := make([]uintptr, 6)
	copy(a, args)
	n, _, no := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if no != 0 {
		return no
	}
	return fd(int(n), nil)
}

func pointer[T any](s []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }

func addressOf(b []byte) uint64 { return uint64(pointer(b)) }

func read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(make([]byte, 64))
	if errors.Is(err, io.EOF) {
		return errEOF
	}
	return err
}

// reads gives the first error that is not one, if any can be read.
func reads(paths ...string) func(world) error {
	return func(world) error {
		var last error
		for _, p := range paths {
			if last = read(p); last == nil {
				return nil
			}
		}
		return last
	}
}

func list(path string) error {
	_, err := os.ReadDir(path)
	return err
}

// write opens a file for writing and, where there is text, writes it.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil || text == "" {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Rdev == unix.Mkdev(1, 3) {
		return errors.Join(err, errHidden)
	}
	_, err = f.WriteString(text)
	return err
}

// takeTerminals takes more than a container needs.
func takeTerminals(world) error {
	for range 200 {
		f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
	}
	return nil
}

func dots(w world) error { return read(strings.Repeat("../", 100) + w.Secret) }

func followed(w world) error {
	if err := os.Symlink(w.Secret, "soft"); err != nil {
		return err
	}
	return read("soft")
}

// openByHandle opens the folder that most file systems have as number 2.
func openByHandle(world) error {
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	handle := unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0})
	return fd(unix.OpenByHandleAt(int(root.Fd()), handle, unix.O_RDONLY))
}

func peek(path string, at uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, len(secret))
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		return err
	}
	return isSecret(b)
}

func isSecret(b []byte) error {
	if string(b) != secret {
		return fmt.Errorf("read %q", b)
	}
	return nil
}

func readVictim(w world) error { return readMemory(w.Victim, w.Address) }

func readMemory(pid int, at uint64) error {
	b := make([]byte, len(secret))
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	if err != nil {
		return err
	}
	return isSecret(b)
}

// trace attaches to a process and lets it go.
func trace(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		return err
	}
	var ws unix.WaitStatus
	unix.Wait4(pid, &ws, unix.WALL, nil)
	return unix.PtraceDetach(pid)
}

// killFirst kills the process that all others end with. Where it has the same user the
// kernel takes the signal and ignores it.
func killFirst(world) error {
	if err := syscall.Kill(1, syscall.SIGKILL); err != nil {
		return err
	}
	time.Sleep(time.Second)
	return errSurvived
}

func pidfd(pid int) error {
	n, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(n)
	return unix.PidfdSendSignal(n, 0, nil, 0)
}

func limit(pid int) error {
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		return err
	}
	return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &now, nil)
}

func moreLimits(world) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return err
	}
	now.Max++
	return unix.Prlimit(0, unix.RLIMIT_NOFILE, &now, nil)
}

func openTree(world) error { return fd(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)) }

// unshare tries it on a thread that is thrown away.
func unshare(flag int) func(world) error {
	return func(world) error {
		result := make(chan error)
		go func() {
			runtime.LockOSThread()
			result <- unix.Unshare(flag)
		}()
		return <-result
	}
}

func cloneUser(world) error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	return cmd.Run()
}

func clone3(world) error {
	args := make([]uint64, 11) // struct clone_args; a wrong size fails where the call is known
	return call(unix.SYS_CLONE3, pointer(args), 1)
}

func enter(world) error {
	for _, path := range []string{"/proc/1/ns/mnt", "/proc/1/ns/net", "/proc/self/ns/uts"} {
		f, err := os.Open(path)
		if err == nil {
			err = unix.Setns(int(f.Fd()), 0)
			f.Close()
		}
		if err == nil || path == "/proc/self/ns/uts" {
			return err
		}
	}
	return nil
}

// leaveRoot is the classic: change the root while a folder above is open, and walk up
// from there.
func leaveRoot(w world) error {
	up, err := os.Open(".")
	if err != nil {
		return err
	}
	defer up.Close()
	os.Mkdir("cell", 0o700)
	if err := unix.Chroot("cell"); err != nil {
		return err
	}
	unix.Fchdir(int(up.Fd()))
	for range 100 {
		unix.Chdir("..")
	}
	unix.Chroot(".")
	return read(w.Secret)
}

// devices opens some, for reading or writing.
func devices(names ...string) func(world) error {
	return func(world) error {
		var last error
		for _, n := range names {
			for _, how := range []int{os.O_RDONLY, os.O_WRONLY} {
				f, err := os.OpenFile("/dev/"+n, how|unix.O_NONBLOCK, 0)
				if err == nil {
					f.Close()
					return nil
				}
				last = err
			}
		}
		return last
	}
}

// releaseAgent is of cgroup v1: in the top folder of each hierarchy.
func releaseAgent(world) error {
	found, _ := filepath.Glob("/sys/fs/cgroup/*/release_agent")
	for _, f := range append(found, "/sys/fs/cgroup/release_agent") {
		if err := write(f, ""); err == nil {
			return nil
		}
	}
	return unix.Mount("cgroup", "/tmp", "cgroup", 0, "rdma")
}

// bpf loads "return 0" as a filter of packets.
func bpf(world) error {
	code := []uint64{0xb7, 0x95} // r0 = 0; exit
	licence := []byte("GPL\x00")
	attr := make([]uint64, 16)
	attr[0] = unix.BPF_PROG_TYPE_SOCKET_FILTER | uint64(len(code))<<32
	attr[1], attr[2] = uint64(pointer(code)), uint64(pointer(licence))
	err := call(unix.SYS_BPF, unix.BPF_PROG_LOAD, pointer(attr), 48)
	runtime.KeepAlive(code)
	runtime.KeepAlive(licence)
	return err
}

func perf(world) error {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
	return fd(unix.PerfEventOpen(&attr, -1, 0, -1, 0))
}

func ring(world) error {
	params := make([]byte, 120)
	return call(unix.SYS_IO_URING_SETUP, 1, pointer(params))
}

func swap(world) error {
	if err := os.WriteFile("swap", make([]byte, 64<<10), 0o600); err != nil {
		return err
	}
	name, _ := unix.BytePtrFromString("swap")
	return call(unix.SYS_SWAPON, uintptr(unsafe.Pointer(name)), 0)
}

func setTime(world) error {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_REALTIME, &now)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	tv := unix.NsecToTimeval(now.Nano())
	return unix.Settimeofday(&tv)
}

// capabilities adds all to its own sets.
func capabilities(world) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	all := []unix.CapUserData{{Effective: 1 << unix.CAP_CHOWN, Permitted: 1 << unix.CAP_CHOWN}, {}}
	return unix.Capset(&header, &all[0])
}

func dial(network, addr string) error {
	c, err := net.DialTimeout(network, addr, 2*time.Second)
	if err == nil {
		return c.Close()
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return errTimeout
	}
	return err
}

func dialAll(w world) (err error) {
	for _, addr := range w.Ports {
		if err = dial("tcp", addr); err == nil {
			return nil
		}
	}
	return err
}

func linkDown(world) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

// packetFilter replaces a table of iptables, where there are any.
func packetFilter(world) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	const soSetReplace = 64
	return unix.SetsockoptString(s, unix.SOL_IP, soSetReplace, "x")
}
