package warden

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// controllers1 are those of cgroup v1 that are used. They are the fallback for hosts whose controllers are not on cgroup v2.
var controllers1 = []cgroup1.Name{cgroup1.Memory, cgroup1.Cpu, cgroup1.Cpuacct, cgroup1.Pids, cgroup1.Freezer}

// groups1 are groups of cgroup v1: a folder for the pool in each hierarchy, below the
// group that this process is in.
type groups1 struct {
	list []cgroup1.Subsystem
	base paths
	log  *slog.Logger
}

// paths are those of one group in each hierarchy, as they are written in its path.
type paths map[cgroup1.Name]string

func (p paths) at(name cgroup1.Name) (string, error) {
	if path, ok := p[name]; ok {
		return path, nil
	}
	return "", cgroup1.ErrControllerNotActive
}

func (p paths) below(name string) paths {
	q := paths{}
	for c, path := range p {
		q[c] = filepath.Join(path, name)
	}
	return q
}

func (p paths) String() string {
	var l []string
	for _, c := range controllers1 {
		l = append(l, string(c)+"="+p[c])
	}
	return strings.Join(l, ",")
}

func parsePaths(s string) paths {
	p := paths{}
	for pair := range strings.SplitSeq(s, ",") {
		if c, path, ok := strings.Cut(pair, "="); ok {
			p[cgroup1.Name(c)] = path
		}
	}
	return p
}

func openGroups1(id string, log *slog.Logger) (groups, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the controllers are on cgroup v1, which is root's alone")
	}
	own := cgroup1.NestedPath("cloudlet-" + id)
	g := &groups1{base: paths{}, log: log}
	for _, name := range controllers1 {
		path, err := own(name)
		if err != nil {
			return nil, fmt.Errorf("cgroup v1, %s: %w", name, err)
		}
		g.base[name] = path
	}
	var err error
	g.list, err = hierarchies(g.base)
	return g, err
}

func (g *groups1) name() string          { return "cgroup v1" }
func (g *groups1) supervisors() *os.File { return nil }

func (g *groups1) hierarchy() ([]cgroup1.Subsystem, error) { return g.list, nil }

func (g *groups1) create(handle string, l Limits) (group, error) {
	c := &group1{paths: g.base.below(handle), list: g.list}
	if err := c.remove(); err != nil {
		return nil, err
	}
	var err error
	if c.cg, err = cgroup1.New(c.paths.at, resources1(l), cgroup1.WithHierarchy(g.hierarchy)); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return c, nil
}

func findGroup1(path string) group {
	p := parsePaths(path)
	list, err := hierarchies(p)
	if err != nil {
		return nil
	}
	c := &group1{paths: p, list: list}
	if c.cg, err = cgroup1.Load(p.at, cgroup1.WithHierarchy(func() ([]cgroup1.Subsystem, error) { return list, nil })); err != nil {
		return nil
	}
	return c
}

// hierarchies are those that paths name.
func hierarchies(p paths) ([]cgroup1.Subsystem, error) {
	all, err := cgroup1.Default()
	if err != nil {
		return nil, errors.New("there are no cgroups")
	}
	list := slices.DeleteFunc(all, func(s cgroup1.Subsystem) bool { return p[s.Name()] == "" })
	if len(list) < len(controllers1) {
		return nil, fmt.Errorf("of the controllers %v of cgroup v1 not all are mounted", controllers1)
	}
	return list, nil
}

// folder is that of a group in a hierarchy.
func folder1(s cgroup1.Subsystem, p paths) string {
	return s.(interface{ Path(string) string }).Path(p[s.Name()])
}

func (g *groups1) sweep(keep map[string]bool) {
	for _, s := range g.list {
		entries, _ := os.ReadDir(folder1(s, g.base))
		for _, e := range entries {
			c := &group1{paths: g.base.below(e.Name()), list: g.list}
			if !e.IsDir() || keep[c.path()] {
				continue
			}
			g.log.Info("removing what an earlier run left", "group", c.path())
			if err := c.remove(); err != nil {
				g.log.Warn("a group stays behind", "group", c.path(), "err", err)
			}
		}
	}
}

func (g *groups1) close() {
	for _, s := range g.list {
		os.Remove(folder1(s, g.base))
	}
}

func resources1(l Limits) *specs.LinuxResources {
	memory, pids, shares := int64(-1), int64(-1), weightOf(l.CPUShares)*1024/100
	if l.Memory > 0 {
		memory = l.Memory
	}
	if l.Processes > 0 {
		pids = int64(l.Processes)
	}
	quota := int64(-1)
	if q := quotaOf(l.CPUQuota); q != nil {
		quota = *q
	}
	none := uint64(0) // swap would be a way around the limit of memory
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory, Swappiness: &none},
		CPU:    &specs.LinuxCPU{Shares: &shares, Quota: &quota},
		Pids:   &specs.LinuxPids{Limit: &pids},
	}
}

// group1 is a container's group of cgroup v1.
type group1 struct {
	paths paths
	list  []cgroup1.Subsystem
	cg    cgroup1.Cgroup
}

func (c *group1) path() string { return c.paths.String() }
func (c *group1) view() string { return "" } // there is no one place to read it

// files are those by which a process enters: cgroup v1 cannot be cloned into.
func (c *group1) files() (list []*os.File, clone bool, err error) {
	for _, s := range c.list {
		f, err := os.OpenFile(filepath.Join(folder1(s, c.paths), "cgroup.procs"), os.O_WRONLY, 0)
		if err != nil {
			closeAll(list)
			return nil, false, err
		}
		list = append(list, f)
	}
	return list, false, nil
}

func (c *group1) limit(l Limits) error { return c.cg.Update(resources1(l)) }

// file gives the path of one of the group's files.
func (c *group1) file(controller cgroup1.Name, name string) string {
	for _, s := range c.list {
		if s.Name() == controller {
			return filepath.Join(folder1(s, c.paths), name)
		}
	}
	return ""
}

func (c *group1) usage() (Usage, error) {
	nanos, err := counter(c.file(cgroup1.Cpuacct, "cpuacct.usage"), "")
	if err != nil {
		return Usage{}, err
	}
	memory, err := counter(c.file(cgroup1.Memory, "memory.usage_in_bytes"), "")
	if err != nil {
		return Usage{}, err
	}
	idle, _ := counter(c.file(cgroup1.Memory, "memory.stat"), "total_inactive_file")
	pids, err := counter(c.file(cgroup1.Pids, "pids.current"), "")
	return Usage{CPU: time.Duration(nanos), Memory: max(memory-idle, 0), Processes: int(pids)}, err
}

func (c *group1) starved() int64 {
	n, _ := counter(c.file(cgroup1.Memory, "memory.oom_control"), "oom_kill")
	return n
}

// freeze returns when all processes have stopped, or run again.
func (c *group1) freeze(on bool) error {
	want, file := "THAWED", c.file(cgroup1.Freezer, "freezer.state")
	if on {
		want = "FROZEN"
	}
	for end := time.Now().Add(emptyTime); ; time.Sleep(time.Millisecond) {
		if err := os.WriteFile(file, []byte(want), 0); err != nil {
			return err
		}
		now, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(now)) == want {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the processes are %s and not %s", strings.TrimSpace(string(now)), want)
		}
	}
}

// kill goes by process: whoever forks meanwhile is met the next time, or ends with its
// namespace.
func (c *group1) kill() error {
	b, err := os.ReadFile(c.file(cgroup1.Memory, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, f := range strings.Fields(string(b)) {
		if pid, e := strconv.Atoi(f); e == nil && pid > 1 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return err
}

// remove kills what is in the group and removes its folders.
func (c *group1) remove() error {
	for end := time.Now().Add(emptyTime); ; time.Sleep(time.Millisecond) {
		var failed error
		for _, s := range c.list {
			if err := os.Remove(folder1(s, c.paths)); err != nil && !errors.Is(err, os.ErrNotExist) {
				failed = err
			}
		}
		if failed == nil || time.Now().After(end) {
			return failed
		}
		c.freeze(false)
		c.kill()
	}
}
