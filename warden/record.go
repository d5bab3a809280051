package warden

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Names in a container's folder.
const (
	recordName = "record.json" // what Cloudlet needs to find the container again; written last
	socketName = "ctl"         // the supervisor's control socket
	exitName   = "exit"        // how the main process ended
	homeName   = "home"        // the container's home, unless it lies in Pool.homes
	diskName   = "disk"        // where its file system is mounted, if it has one: home and tmp are there
	imageName  = "disk.img"    // what is mounted there
	tmpName    = "tmp"         // its /tmp
	rootName   = "root"        // where its root is mounted, in its own namespace only
	errorName  = "supervisor.log"
)

// insideHome is Home as the processes of a container with its own root see it.
const insideHome = "/home/vcap"

// noUser stands for Cloudlet's own user.
const noUser = -1

// record is what is kept of a container over a restart.
type record struct {
	Spec  Spec
	Level Level
	Home  string // on the host
	User  int
	Port  int
	PID   int    // the supervisor's, valid as long as it answers
	Disk  bool   // home and /tmp are in a file system of their own
	Group string // group.path of its control group; empty where there is none
	// Address is the container's own; none where it has loopback or the host's network.
	Address netip.Addr
	Pasta   bool   // the way outward is pasta
	Proxy   string // the password at the proxy, where that is the way outward
}

// inside is the user that the container's processes are, where that is another one than
// the supervisor's or may do less: in a user namespace that has but one, both are the same.
func (r record) inside() int {
	if r.Level == Rootless {
		return os.Geteuid()
	}
	return r.User
}

// tmp is /tmp of a container with its own root, on the host.
func (r record) tmp() string { return filepath.Join(filepath.Dir(r.Home), tmpName) }

func readRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w", recordName, err)
	}
	if r.Spec.Handle != filepath.Base(dir) {
		return r, fmt.Errorf("%s: belongs to container %q", recordName, r.Spec.Handle)
	}
	return r, nil
}

func (r record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, recordName+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, recordName))
}

// readExit reads what the supervisor wrote: status, signal, time, lost bytes.
func readExit(dir string) Exit {
	b, err := os.ReadFile(filepath.Join(dir, exitName))
	if err != nil {
		return Exit{Reason: "nobody saw how it ended", At: time.Now()}
	}
	var n [4]int64
	f := strings.Fields(string(b))
	for i := range min(len(f), len(n)) {
		n[i], _ = strconv.ParseInt(f[i], 10, 64)
	}
	return newExit(int(n[0]), int(n[1]), time.Unix(0, n[2]))
}

func newExit(status, signal int, at time.Time) Exit {
	e := Exit{Status: status, Signal: signal, Known: true, At: at}
	e.Reason = fmt.Sprintf("exited with status %d", status)
	if signal != 0 {
		e.Reason = fmt.Sprintf("killed by signal %d", signal)
	}
	return e
}
