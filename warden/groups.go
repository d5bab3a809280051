package warden

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
)

// groups is where the kernel holds the limits of a pool's containers. There are two:
// cgroup v2, which the design is about, and cgroup v1 for hosts whose controllers are
// there still. Without either the pool has none, and the DEA watches.
type groups interface {
	// name is for people: "cgroup v2".
	name() string
	// create makes a group, whose remains of an earlier container are removed.
	create(handle string, l Limits) (group, error)
	// supervisors is the folder of the group for supervisors, to be cloned into; nil
	// where they stay in Cloudlet's own.
	supervisors() *os.File
	// sweep removes groups of an earlier pool in the same folder that keep does not name.
	sweep(keep map[string]bool)
	close()
}

// group holds the limits of one container and counts what it uses. Its supervisor is
// not in it: it has to live when a limit is reached.
type group interface {
	path() string
	// files are what a supervisor needs to put a process there: with clone one folder
	// to clone into, else files that the process writes 0 to.
	files() (list []*os.File, clone bool, err error)
	// view is a folder that shows the group, for the container to read; or empty.
	view() string
	limit(l Limits) error
	usage() (Usage, error)
	// starved says how often the kernel killed something for want of memory.
	starved() int64
	freeze(on bool) error
	// kill kills all processes that are in it.
	kill() error
	// remove kills what is left and removes the group.
	remove() error
}

// poolID tells a pool's groups, links and rules from those of others on the machine, and
// is the same after a restart.
func poolID(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:3])
}
