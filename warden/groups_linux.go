package warden

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openGroups finds the strongest kind of groups that works here. The reasons say, for
// people, why not all limits are held.
func openGroups(id string, log *slog.Logger) (groups, []string) {
	if mount, own := unified(); mount != "" {
		return openGroups2(mount, own, id, log)
	}
	g, err := openGroups1(id, log)
	if err != nil {
		return nil, []string{"limits are watched, not held: " + err.Error()}
	}
	return g, []string{"the controllers of this machine are on cgroup v1, which kills at the memory limit one process instead of all"}
}

// unified gives where cgroup v2 is mounted and the group of this process in it; nothing
// where its controllers are elsewhere, as on hybrid hosts.
func unified() (mount, own string) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		if f := strings.Fields(before); ok && len(f) > 4 && strings.HasPrefix(after, "cgroup2 ") {
			mount = f[4]
			break
		}
	}
	if mount == "" || !slices.Contains(controllers(mount), "memory") {
		return "", ""
	}
	return mount, ownGroup()
}

// findGroup gives the group of a container that was found again, by what group.path gave;
// nil if it is gone.
func findGroup(path string) group {
	switch {
	case path == "":
		return nil
	case path[0] == '/':
		return findGroup2(path)
	}
	return findGroup1(path)
}

// ownGroup is the path below the mount of the group this process is in, "/" for the top.
func ownGroup() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && !strings.Contains(path, "..") {
			return path
		}
	}
	return "/"
}

// controllers lists those that a group may hand to the groups below it.
func controllers(folder string) []string {
	b, _ := os.ReadFile(filepath.Join(folder, "cgroup.controllers"))
	return strings.Fields(string(b))
}

// writable says whether this user may make groups below a folder and move processes there.
func writable(folder string) bool {
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		if unix.Access(filepath.Join(folder, name), unix.W_OK) != nil {
			return false
		}
	}
	return true
}

// counter reads a file that holds one number, or one "key number" a line.
func counter(path, key string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if key == "" {
		return strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == key {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, key)
}
