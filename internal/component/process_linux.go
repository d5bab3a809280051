package component

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"cloudlet/bus"
)

// resident is the memory that the process occupies, in bytes.
func resident(*syscall.Rusage) int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	fmt.Sscan(string(statm), &size, &pages) //nolint:errcheck // the kernel's own
	return pages * int64(os.Getpagesize())
}

func machineNow() (m machine) {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return m
	}
	unit := int64(info.Unit)
	m.MemFree = int64(info.Freeram) * unit
	m.MemUsed = int64(info.Totalram)*unit - m.MemFree
	load := bus.Decimal(float64(info.Loads[0]) / (1 << 16))
	m.Load = &load
	return m
}
