package warden

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cloudlet/warden/supervisor"
)

const (
	harmless = syscall.MS_NOSUID | syscall.MS_NODEV
	readOnly = harmless | syscall.MS_RDONLY
	device   = syscall.MS_NOSUID | syscall.MS_NOEXEC
)

// systemFolders are the host's own folders beside /usr; on most systems they
// are symbolic links into it.
var systemFolders = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// settings are what programs of the host's /usr want to find below /etc.
var settings = []string{
	"ca-certificates", "ca-certificates.conf", "pki", "crypto-policies", // trust; and see trusted
	"alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", // programs and libraries
	"localtime", "timezone", "mime.types", "protocols", "services", "terminfo", "fonts",
	"java-*", "maven", "php*", "erlang", "perl", "python*", "node*", "ImageMagick-*",
}

// trusted are of /etc/ssl, without the keys of the host's servers.
var trusted = []string{"cert*", "ca-bundle.pem", "*.cnf"}

var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// rootfs collects the steps that make a root file system.
type rootfs struct {
	root string // where it is mounted before it becomes the root
	list []supervisor.Step
}

func (f *rootfs) add(s supervisor.Step) { f.list = append(f.list, s) }

func (f *rootfs) bind(source, target string, flags uint64) {
	f.add(supervisor.Step{Op: supervisor.OpBind, Source: source, Target: f.root + target, Flags: flags})
}

func (f *rootfs) folder(target string, mode uint64) {
	f.add(supervisor.Step{Op: supervisor.OpFolder, Target: f.root + target, Flags: mode})
}

func (f *rootfs) link(text, target string) {
	f.add(supervisor.Step{Op: supervisor.OpLink, Source: text, Target: f.root + target})
}

func (f *rootfs) file(target, content string) {
	f.add(supervisor.Step{Op: supervisor.OpFile, Target: f.root + target, Data: content, Flags: 0o644})
}

func (f *rootfs) mount(kind, target string, flags uint64, data string) {
	f.add(supervisor.Step{Op: supervisor.OpMount, Source: kind, Target: f.root + target, Kind: kind, Flags: flags, Data: data})
}

// prepareSteps gives what a supervisor can do before it knows its container: the host's
// programs read-only, and what is the same for all. It lets go of the disks of other
// containers, which its copy of the host's mounts would keep from being removed; what the
// host unmounts while it waits goes from the copy as well.
func prepareSteps(dir string, k kind) []supervisor.Step {
	f := &rootfs{root: filepath.Join(dir, rootName)}
	f.add(supervisor.Step{Op: supervisor.OpMount, Target: "/", Flags: syscall.MS_REC | syscall.MS_SLAVE})
	for _, disk := range mountedBelow(filepath.Dir(dir)) {
		if filepath.Dir(disk) != dir {
			f.add(supervisor.Step{Op: supervisor.OpUnmount, Target: disk})
		}
	}
	f.mount("tmpfs", "", harmless, "size=1m,mode=755")
	f.system()
	f.folders()
	f.settings()
	f.dev()
	f.folder("/proc", 0o755)
	f.mount("proc", "/proc", harmless|syscall.MS_NOEXEC, "")
	f.mask()
	if k.network != NetworkHost {
		f.add(supervisor.Step{Op: supervisor.OpLoopbackUp})
	}
	if k.level == Rootless {
		f.share()
	}
	return f.list
}

// share leaves to Cloudlet's user what the kernel counts by user, and not by container.
func (f *rootfs) share() {
	for name, most := range map[string]string{"max_inotify_instances": "32", "max_inotify_watches": "8192"} {
		if file := "/proc/sys/user/" + name; exists(file) {
			f.add(supervisor.Step{Op: supervisor.OpSet, Target: file, Data: most})
		}
	}
}

// mountedBelow lists what is mounted below a folder.
func mountedBelow(folder string) (l []string) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(unescape.Replace(f[4]), folder+"/") {
			l = append(l, unescape.Replace(f[4]))
		}
	}
	return l
}

// unescape reads paths of mountinfo, see proc(5).
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// steps gives the rest, which is the container's own.
func steps(r record, dir string, g group) []supervisor.Step {
	f := &rootfs{root: filepath.Join(dir, rootName)}
	f.bind(r.tmp(), "/tmp", harmless) // on disk: a tmpfs would count as memory
	f.bind(r.Home, insideHome, harmless)
	f.etc(r)
	if g != nil && g.view() != "" {
		// Where runtimes look for the limits they are to live with.
		f.bind(g.view(), "/sys/fs/cgroup", readOnly|syscall.MS_NOEXEC)
	}
	for _, m := range r.Spec.Mounts {
		flags := uint64(readOnly)
		if m.Writable {
			flags = harmless
		}
		f.bind(m.Source, filepath.Join("/", m.Target), flags)
	}
	f.add(supervisor.Step{Op: supervisor.OpHostname, Data: r.Spec.Handle})
	if r.Pasta {
		f.list = append(f.list, unreachable()...)
	}
	f.add(supervisor.Step{Op: supervisor.OpMount, Target: f.root, Flags: syscall.MS_REC | syscall.MS_PRIVATE})
	f.add(supervisor.Step{Op: supervisor.OpRemount, Target: f.root, Flags: readOnly})
	f.add(supervisor.Step{Op: supervisor.OpPivot, Target: f.root})
	return f.list
}

// masked and fixed are parts of /proc that tell of the machine, or steer it. The kernel
// refuses most of them to an ordinary user; this holds where it does not.
var (
	masked = []string{"acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats", "kallsyms", "kmsg", "kpagecount", "kpageflags", "kpagecgroup", "config.gz", "sysrq-trigger"}
	fixed  = []string{"bus", "fs", "irq", "sys"}
)

func (f *rootfs) mask() {
	for _, name := range masked {
		st, err := os.Lstat("/proc/" + name)
		switch {
		case err != nil:
		case st.IsDir():
			f.mount("tmpfs", "/proc/"+name, readOnly|syscall.MS_NOEXEC, "size=0,mode=555")
		default:
			f.bind("/dev/null", "/proc/"+name, device)
		}
	}
	for _, name := range fixed {
		if _, err := os.Lstat("/proc/" + name); err == nil {
			f.add(supervisor.Step{Op: supervisor.OpBind, Source: f.root + "/proc/" + name, Target: f.root + "/proc/" + name, Flags: readOnly | syscall.MS_NOEXEC})
		}
	}
}

// system shows the host's programs and libraries.
func (f *rootfs) system() {
	f.bind("/usr", "/usr", readOnly)
	for _, name := range systemFolders {
		f.show("/" + name)
	}
}

// show shows something of the host's in the same place: as the same symbolic
// link if it leads into what is shown anyway, else read-only.
func (f *rootfs) show(path string) {
	st, err := os.Lstat(path)
	if err != nil {
		return
	}
	if st.Mode().Type() != os.ModeSymlink {
		f.bind(path, path, readOnly)
		return
	}
	text, err := os.Readlink(path)
	if err != nil {
		return
	}
	if strings.HasPrefix(filepath.Join(filepath.Dir(path), text)+"/", "/usr/") || strings.HasPrefix(text, "/usr/") {
		f.link(text, path)
		return
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		f.bind(real, path, readOnly)
	}
}

// folders makes those that belong to the container alone.
func (f *rootfs) folders() {
	for _, d := range []string{"/home", "/opt", "/run", "/sys", "/var", "/etc"} {
		f.folder(d, 0o755)
	}
	f.folder("/root", 0o700)
	f.link("../run", "/var/run")
	f.link("../tmp", "/var/tmp")
}

func (f *rootfs) etc(r record) {
	shell := "/bin/sh"
	if _, err := os.Stat("/bin/bash"); err == nil {
		shell = "/bin/bash"
	}
	id := max(r.inside(), 0)
	f.file("/etc/passwd", fmt.Sprintf("root:x:0:0:root:/root:/usr/sbin/nologin\nvcap:x:%d:%d:vcap:%s:%s\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", id, id, insideHome, shell))
	f.file("/etc/group", fmt.Sprintf("root:x:0:\nvcap:x:%d:\nnogroup:x:65534:\n", id))
	f.file("/etc/hostname", r.Spec.Handle+"\n")
	f.file("/etc/hosts", hosts(r))
	f.file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
	f.file("/etc/resolv.conf", resolvConf(r))
}

// settings shows those of the host that its programs need.
func (f *rootfs) settings() {
	f.link("/proc/self/mounts", "/etc/mtab")
	f.showSome("/etc", settings)
	f.showSome("/etc/ssl", trusted)
}

// showSome shows what of a folder of the host's has a name like one of those.
func (f *rootfs) showSome(folder string, like []string) {
	there, _ := os.ReadDir(folder)
	for _, e := range there {
		if slices.ContainsFunc(like, func(pattern string) bool { ok, _ := filepath.Match(pattern, e.Name()); return ok }) {
			f.show(filepath.Join(folder, e.Name()))
		}
	}
}

// dev makes the few devices that harm nobody.
func (f *rootfs) dev() {
	f.folder("/dev", 0o755)
	f.mount("tmpfs", "/dev", device, "size=64k,mode=755")
	for _, name := range devices {
		f.bind("/dev/"+name, "/dev/"+name, device)
	}
	f.folder("/dev/pts", 0o755)
	// The kernel has some 3,000 terminals for all containers.
	f.mount("devpts", "/dev/pts", device, "newinstance,ptmxmode=0666,mode=0620,max=64")
	f.link("pts/ptmx", "/dev/ptmx")
	f.folder("/dev/shm", 0o1777)
	f.mount("tmpfs", "/dev/shm", harmless|syscall.MS_NOEXEC, "size=64m,mode=1777")
	f.link("/proc/self/fd", "/dev/fd")
	defer f.add(supervisor.Step{Op: supervisor.OpRemount, Target: f.root + "/dev", Flags: device | syscall.MS_RDONLY})
	for fd, name := range []string{"stdin", "stdout", "stderr"} {
		f.link(fmt.Sprintf("/proc/self/fd/%d", fd), "/dev/"+name)
	}
}
