package component

import (
	"math"
	"runtime"
	"syscall"
	"time"

	"cloudlet/bus"
)

// born is about when the process began.
var born = time.Now()

// process are the numbers of the process, under their names of 2011 and of 2013. All
// components of a process have the same.
type process struct {
	Cores    int         `json:"num_cores"`
	Mem      int64       `json:"mem"`       // resident, KB
	MemBytes int64       `json:"mem_bytes"` // the same in bytes
	CPU      bus.Decimal `json:"cpu"`       // percent of one core since the start, as ps has it
	machine
}

// machine are the numbers of the machine, where the system tells them.
type machine struct {
	MemUsed int64        `json:"mem_used_bytes,omitempty"`
	MemFree int64        `json:"mem_free_bytes,omitempty"`
	Load    *bus.Decimal `json:"cpu_load_avg,omitempty"` // over a minute
}

func processNow(now time.Time) process {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) //nolint:errcheck // it fails for a wrong constant only
	used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	p := process{Cores: runtime.NumCPU(), MemBytes: resident(&u), machine: machineNow()}
	p.Mem = p.MemBytes >> 10
	p.CPU = bus.Decimal(math.Round(1000*used.Seconds()/max(1e-3, now.Sub(born).Seconds())) / 10)
	return p
}
