package warden

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2"
	"golang.org/x/sys/unix"
)

// supervisorsName is the group in which the supervisors of a pool are. No handle has a dot.
const supervisorsName = "supervisors.group"

// emptyTime bounds the wait for the processes of a killed group to be gone.
const emptyTime = 5 * time.Second

// groups2 are groups of cgroup v2: one folder for the pool, below what the system has
// given to this user, with one folder for each container.
type groups2 struct {
	root        string // the delegated folder, where the controllers come from
	base        string // the pool's folder, below root
	controllers []string
	sup         *os.File
	log         *slog.Logger
}

// openGroups2 takes a folder for the pool and the controllers that are to be had there.
func openGroups2(mount, own, id string, log *slog.Logger) (groups, []string) {
	root, why, err := delegated(mount, own, id)
	var reasons []string
	if why != "" {
		reasons = append(reasons, why)
	}
	if err != nil {
		return nil, append(reasons, "limits are watched, not held: "+err.Error())
	}
	g := &groups2{root: root, base: filepath.Join(root, "cloudlet-"+id), log: log}
	for _, c := range []string{"cpu", "memory", "pids", "io"} {
		if slices.Contains(controllers(root), c) {
			g.controllers = append(g.controllers, c)
		} else {
			reasons = append(reasons, fmt.Sprintf("limits of %s are not held: the controller is not delegated to %s", c, root))
		}
	}
	if err := g.prepare(); err != nil {
		os.Remove(g.base)
		return nil, append(reasons, fmt.Sprintf("limits are watched, not held: cgroup %s: %v", g.base, err))
	}
	return g, reasons
}

// delegated is the folder below which this process may make groups, and why it is not a
// better one. With systemd that is the group it has delegated to us. Else it is the top for
// root, and for others the highest above its own that belongs to the user.
func delegated(mount, own, id string) (root, why string, err error) {
	if withSystemd() {
		if root, err = systemdGroup(mount, own, id); err == nil {
			return root, "", leaveRoot(root)
		}
		why = "systemd gives no control group of Cloudlet's own: " + err.Error()
	}
	if os.Geteuid() == 0 {
		return mount, why, nil
	}
	for dir := filepath.Join(mount, own); len(dir) > len(mount); dir = filepath.Dir(dir) {
		if writable(dir) {
			root = dir
		} else if root != "" {
			break
		}
	}
	if root == "" {
		return "", why, fmt.Errorf("no part of cgroup v2 is delegated to this user (%s)", delegateHint)
	}
	if root == filepath.Join(mount, own) {
		err = leaveRoot(root)
	}
	return root, why, err
}

// systemdGroup is the group that systemd has delegated to us, now or earlier.
func systemdGroup(mount, own, id string) (string, error) {
	group := func(own string) string { return strings.TrimSuffix(filepath.Join(mount, own), "/"+leafName) }
	if root := group(own); isDelegated(root) {
		return root, nil
	}
	if err := enterScope(id); err != nil {
		return "", err
	}
	root := group(ownGroup())
	if !writable(root) {
		return "", fmt.Errorf("%s is not to be written", root)
	}
	return root, nil
}

const delegateHint = "start with: systemd-run --user --scope -p Delegate=yes cloudlet up"

// leafName is the group in which Cloudlet itself is, where it would be in the way.
const leafName = "cloudlet.self"

// leaveRoot moves this process into a group below its own: only groups without
// processes may have controllers for others.
func leaveRoot(root string) error {
	leaf := filepath.Join(root, leafName)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0)
}

// prepare makes the pool's folder and hands the controllers down to it.
func (g *groups2) prepare() error {
	if err := os.Mkdir(g.base, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	on := []byte("+" + strings.Join(g.controllers, " +"))
	for _, dir := range []string{g.root, g.base} {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), on, 0); err != nil {
			return err
		}
	}
	if slices.Contains(g.controllers, "memory") {
		g.spare()
	}
	sup := filepath.Join(g.base, supervisorsName)
	if err := os.Mkdir(sup, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var err error
	g.sup, err = os.Open(sup)
	return err
}

// spare has all containers together reclaim and wait before they take the last eighth
// of the machine's memory, so that Cloudlet and its host go on.
func (g *groups2) spare() {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return
	}
	total := int64(info.Totalram) * int64(info.Unit)
	high := total - total/8
	m, err := cgroup2.Load(g.rel(g.base), cgroup2.WithMountpoint(g.root))
	if err == nil {
		err = m.Update(&cgroup2.Resources{Memory: &cgroup2.Memory{High: &high}})
	}
	if err != nil {
		g.log.Warn("no memory is kept free for the host", "group", g.base, "err", err)
	}
}

func (g *groups2) rel(path string) string { return "/" + strings.TrimPrefix(path[len(g.root):], "/") }

func (g *groups2) name() string          { return "cgroup v2" }
func (g *groups2) supervisors() *os.File { return g.sup }

func (g *groups2) create(handle string, l Limits) (group, error) {
	c := &group2{dir: filepath.Join(g.base, handle), controllers: g.controllers}
	if err := c.remove(); err != nil {
		return nil, err
	}
	var err error
	c.m, err = cgroup2.NewManager(g.base, "/"+handle, c.resources(l))
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return c, c.weigh(l)
}

func findGroup2(path string) group {
	base := filepath.Dir(path)
	m, err := cgroup2.Load("/"+filepath.Base(path), cgroup2.WithMountpoint(base))
	if err != nil || !exists(path) {
		return nil
	}
	return &group2{dir: path, m: m, controllers: controllers(path)}
}

func (g *groups2) sweep(keep map[string]bool) {
	entries, err := os.ReadDir(g.base)
	if err != nil {
		return
	}
	for _, e := range entries {
		dir := filepath.Join(g.base, e.Name())
		if !e.IsDir() || e.Name() == supervisorsName || keep[dir] {
			continue
		}
		g.log.Info("removing what an earlier run left", "group", dir)
		if err := (&group2{dir: dir}).remove(); err != nil {
			g.log.Warn("a group stays behind", "group", dir, "err", err)
		}
	}
}

// close removes what is empty: groups of containers that go on are not.
func (g *groups2) close() {
	g.sup.Close()
	os.Remove(filepath.Join(g.base, supervisorsName))
	os.Remove(g.base)
}

// resources turns limits into settings, of the controllers that are there. Swap would be
// a way around the limit of memory. When the limit is reached, all processes of the
// container end together: what is left of an app without one of them helps nobody.
func (c *group2) resources(l Limits) *cgroup2.Resources {
	var r cgroup2.Resources
	if slices.Contains(c.controllers, "memory") {
		none, together, most := int64(0), true, unlimited(l.Memory)
		r.Memory = &cgroup2.Memory{Max: &most, OOMGroup: &together}
		if exists(filepath.Join(filepath.Dir(c.dir), supervisorsName, "memory.swap.max")) {
			r.Memory.Swap = &none
		}
	}
	if slices.Contains(c.controllers, "cpu") {
		weight := weightOf(l.CPUShares)
		r.CPU = &cgroup2.CPU{Weight: &weight, Max: cgroup2.NewCPUMax(quotaOf(l.CPUQuota), nil)}
	}
	if slices.Contains(c.controllers, "pids") {
		r.Pids = &cgroup2.Pids{Max: -1}
		if l.Processes > 0 {
			r.Pids.Max = int64(l.Processes)
		}
	}
	return &r
}

// ioWeights take a container's share of input and output, and the most of it. The first is
// there where the kernel reckons with what a request costs, the second where the disk's
// scheduler is BFQ.
var ioWeights = map[string]uint64{"io.weight": 10000, "io.bfq.weight": 1000}

func (c *group2) weigh(l Limits) error {
	for name, most := range ioWeights {
		file := filepath.Join(c.dir, name)
		if !exists(file) {
			continue
		}
		if err := os.WriteFile(file, strconv.AppendUint(nil, min(weightOf(l.CPUShares), most), 10), 0); err != nil {
			return err
		}
	}
	return nil
}

// unlimited stands for no limit of memory: more than any machine has.
func unlimited(n int64) int64 {
	if n == 0 {
		return 1<<63 - 4096
	}
	return n
}

// weightOf turns v1's shares, of which 1024 are normal, into weights, of which 100 are.
func weightOf(shares int) uint64 {
	if shares == 0 {
		return 100
	}
	return uint64(min(max(shares*100/1024, 1), 10000))
}

// quotaOf is the time of processors, in microseconds, that a period of 100 ms may take.
func quotaOf(cores float64) *int64 {
	if cores <= 0 {
		return nil
	}
	q := max(int64(cores*100_000), 1000)
	return &q
}

// group2 is a container's group of cgroup v2.
type group2 struct {
	dir         string
	controllers []string
	m           *cgroup2.Manager
}

func (c *group2) path() string { return c.dir }
func (c *group2) view() string { return c.dir }

func (c *group2) files() ([]*os.File, bool, error) {
	f, err := os.Open(c.dir)
	return []*os.File{f}, true, err
}

func (c *group2) limit(l Limits) error { return errors.Join(c.m.Update(c.resources(l)), c.weigh(l)) }

// usage reads the kernel's counters. Memory is without the cache of files that nobody
// uses now, which the kernel gives up before it kills.
func (c *group2) usage() (Usage, error) {
	var u Usage
	micros, err := counter(filepath.Join(c.dir, "cpu.stat"), "usage_usec")
	if err != nil {
		return u, err
	}
	u.CPU = time.Duration(micros) * time.Microsecond
	// Where a controller is not delegated its files are missing, and the figure is 0.
	memory, _ := counter(filepath.Join(c.dir, "memory.current"), "")
	idle, _ := counter(filepath.Join(c.dir, "memory.stat"), "inactive_file")
	u.Memory = max(memory-idle, 0)
	n, _ := counter(filepath.Join(c.dir, "pids.current"), "")
	u.Processes = int(n)
	return u, nil
}

func (c *group2) starved() int64 {
	n, _ := counter(filepath.Join(c.dir, "memory.events"), "oom_kill")
	return n
}

// freeze returns when all processes have stopped, or run again. The library only sees to
// it that the kernel was told so.
func (c *group2) freeze(on bool) error {
	if !on {
		return c.m.Thaw()
	}
	if err := c.m.Freeze(); err != nil {
		return err
	}
	for end := time.Now().Add(emptyTime); ; time.Sleep(time.Millisecond) {
		frozen, err := counter(filepath.Join(c.dir, "cgroup.events"), "frozen")
		if err != nil || frozen == 1 {
			return err
		}
		if time.Now().After(end) {
			return errors.New("the processes do not stop")
		}
	}
}

func (c *group2) kill() error {
	err := os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// remove kills what is in the group and in groups below it, and removes them. A killed
// process stays in its group until the kernel is done with it.
func (c *group2) remove() error {
	err := os.Remove(c.dir)
	for end := time.Now().Add(emptyTime); err != nil && !errors.Is(err, fs.ErrNotExist); err = os.Remove(c.dir) {
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("remove group: %w", err)
		}
		if err := c.kill(); err != nil {
			return err
		}
		c.removeBelow()
		time.Sleep(time.Millisecond)
	}
	return nil
}

// removeBelow removes groups that a process made for itself, deepest first.
func (c *group2) removeBelow() {
	var below []string
	filepath.WalkDir(c.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && path != c.dir {
			below = append(below, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(below) {
		os.Remove(dir)
	}
}
