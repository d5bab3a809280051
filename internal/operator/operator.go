// Package operator is the channel between a running cloud and the person whose machine
// it is: status, stop, and a token for the first `vmc`.
//
// Protocol: HTTP over the unix socket control.sock in the data folder. The socket is
// 0600 and the peer's user id is compared with ours, so whoever may read the data
// folder anyway is who may ask, but for the processes of containers (supervisor.FromContainer).
// State: none; the server answers from what Handlers hand it.
// Source: the admin sockets of Docker and tailscaled.
package operator

import (
	"os"
	"path/filepath"
	"time"
)

const socketName = "control.sock"

// Status describes a running cloud.
type Status struct {
	API       string    `json:"api"`     // the target for clients
	Listen    string    `json:"listen"`  // host:port of the router
	Domain    string    `json:"domain"`  // apps are <name>.<domain>
	Admin     string    `json:"admin"`   // account of the administrator
	Data      string    `json:"data"`    // data folder
	PID       int       `json:"pid"`     // of the server
	Version   string    `json:"version"` // of the binary
	Started   time.Time `json:"started"`
	Isolation Isolation `json:"isolation"`
	Runtimes  []Runtime `json:"runtimes"`
	BusURL    string    `json:"bus_url,omitempty"` // only where --bus opened it
	Memory    int       `json:"memory_mb"`         // promised to apps at most
	UAA       UAA       `json:"uaa"`
}

// UAA is where tokens come from, with the secrets of those clients that are no user's.
type UAA struct {
	URL     string            `json:"url"`
	Clients map[string]string `json:"clients"`
}

// Isolation is the level in force and why it is not higher.
type Isolation struct {
	Level   string   `json:"level"`
	Limits  string   `json:"limits"`
	Reasons []string `json:"reasons"`
}

// Runtime is a runtime that was looked for.
type Runtime struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // empty: not found
	Install string `json:"install,omitempty"` // what to do about it
}

// Login is a token for the API.
type Login struct {
	Target string `json:"target"`
	Email  string `json:"email"`
	Token  string `json:"token"`
}

// DataDir is the data folder that is used when none is named: CLOUDLET_DATA, the
// system's folder for root, else the user's.
func DataDir(getenv func(string) string) string {
	if dir := getenv("CLOUDLET_DATA"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/cloudlet"
	}
	if dir := getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "cloudlet")
	}
	return filepath.Join(getenv("HOME"), ".local", "share", "cloudlet")
}
