// Package warden makes containers: a private place in which an app, a staging
// task or a service runs without hurting its neighbours.
//
// Protocol: none on the bus. Callers hold a Pool and the Containers it made. A
// container is a supervisor process (package warden/supervisor, the same binary
// re-executed) that outlives Cloudlet; warden speaks to it over a unix socket in
// the container's folder.
// State: one folder per container below Config.Dir, holding its record, its
// supervisor's socket, the exit status and the writable home. A restarted
// Cloudlet finds its containers again from these folders.
//
// Limits: the kernel holds them where it can. A container has memory.max and no memory.high:
// swap is closed to it, so that there is little to take back, and an app near its limit
// would crawl instead of ending with a reason and starting anew. All containers together
// have one, for the host's sake. Input and output are shared by weight and not bounded
// (io.max): v1 has no such limit, and how much is fair depends on the disk.
//
// Source: the v1 warden (create, spawn, link, stop, destroy, limits, info); the
// namespaces and the supervisor follow what bubblewrap and runc's init do.
package warden

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// Level says how strongly containers are isolated from each other and the host.
type Level string

const (
	// Full isolates by namespaces, an unprivileged user of its own and a private
	// root file system; it needs root on Linux.
	Full Level = "full"
	// Rootless does the same through a user namespace, for an ordinary user.
	Rootless Level = "rootless"
	// Process separates by process group, folder, rlimits and, as root, user id.
	Process Level = "process"
)

// Errors that callers tell apart.
var (
	ErrUnknownHandle = errors.New("unknown container handle")
	ErrHandleTaken   = errors.New("container handle is taken")
	ErrStarted       = errors.New("the container's main process was started before")
	ErrGone          = errors.New("the container's supervisor is gone")
	ErrClosed        = errors.New("the pool was closed")
)

// Isolation is the level in force and, where it is not Full, why.
type Isolation struct {
	Level   Level
	Reasons []string // one sentence each, for people
	Disk    string   // who holds the limits of disk: "image", or "watched"
	Limits  string   // who holds the others: "cgroup v2", "cgroup v1", or "watched" by whoever uses the pool
	Outward bool     // containers with NetworkOwn reach what lies outside of this machine
	// OwnFiles says that processes see no files but the system's and their container's.
	OwnFiles bool
	Proxy    bool // they do so by an HTTP proxy alone; see Container.ProxyEnv
}

// Limits are upper bounds; zero means unlimited.
type Limits struct {
	Memory    int64   // bytes, of all processes together
	Disk      int64   // bytes below Home
	Files     int     // open descriptors of one process
	Processes int     // processes and threads
	CPUShares int     // relative weight, 1024 is normal
	CPUQuota  float64 // processors' worth of time, 0.5 is half a core
	Bandwidth Bandwidth
}

// Bandwidth bounds what a container receives, and as much again what it sends. It holds
// where the container has an address of its own.
type Bandwidth struct {
	Rate  int64 // bytes per second
	Burst int64 // bytes that may pass at once; raised to what the rate needs
}

// Mount shows a folder or file of the host inside the container, read-only unless Writable.
// At level process the host's own path is what the container sees.
type Mount struct {
	Source   string
	Target   string
	Writable bool
}

// Link is a TCP port inside, on 127.0.0.1, that leads to a unix socket of the host. It
// holds where the container has a network namespace of its own.
type Link struct {
	Port   int
	Socket string // an absolute path; the socket may be made anew at any time
}

// Network says which network a container is in.
type Network string

const (
	// NetworkOwn is a network namespace of its own, with an address on which its own
	// host alone reaches it, and a way outward: neither to the host nor to other
	// containers. Where Isolation.Outward says no, it has nothing but loopback.
	NetworkOwn Network = "own"
	// NetworkClosed is the same without a way outward.
	NetworkClosed Network = "closed"
	// NetworkHost is the host's network.
	NetworkHost Network = "host"
)

// Spec is what a container is made from.
type Spec struct {
	Handle     string // caller's choice, [a-z0-9-]{1,64}, unique in the pool
	Limits     Limits
	Network    Network           // NetworkOwn where empty; levels without namespaces use the host's
	Port       bool              // allocate a TCP port on which the container can be reached
	Links      []Link            // at most 16
	Mounts     []Mount           // what it sees besides the system's own folders
	Properties map[string]string // the owner's notes; kept over a restart
}

// Command is a process to run inside a container.
type Command struct {
	Args []string // Args[0] is looked up in PATH of Env when it holds no slash
	Env  []string // complete: nothing is inherited
	Dir  string   // inside the container; Home where empty
}

// Streams are the ends of an attached process; nil discards or gives end of file.
// Channels stay open until Run has returned.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       *Terminal             // what the process is started on; nil for pipes
	Signals        <-chan syscall.Signal // for the process and its group; may be nil
	Started        func()                // called once the process runs; may be nil
}

// Terminal has a process run on a terminal of its own. All output comes on Stdout then,
// and the end of Stdin is typed as such (control-D).
type Terminal struct {
	Size
	Resize <-chan Size // may be nil
}

// Size is a terminal's, in characters.
type Size struct{ Rows, Columns uint16 }

// Exit tells how a process ended.
type Exit struct {
	Status int       // exit status, or 128 plus the signal's number
	Signal int       // the signal that ended it, 0 if none
	Known  bool      // false where nobody was left to see the end (the supervisor was killed)
	Reason string    // for people: "exited with status 1", "killed by signal 9", or OutOfMemory
	At     time.Time // when
}

// OutOfMemory is Exit.Reason where the kernel killed the container at its limit of memory.
const OutOfMemory = "out of memory"

// Usage is what a container uses now.
type Usage struct {
	Memory    int64         // bytes, resident, of all its processes
	CPU       time.Duration // user and system time of all its processes so far
	Processes int
	Disk      int64 // bytes below Home; Config.DiskEvery bounds how often it is counted
	Received  int64 // bytes that came in by the container's address
	Sent      int64 // bytes that left by it
}
