//go:build unix && !linux

package warden

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// family asks ps for the process table and gives the descendants of a supervisor.
func family(supervisor int) ([]process, process, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=,rss=,time=").Output()
	if err != nil {
		return nil, process{}, fmt.Errorf("ps: %w", err)
	}
	var all []process
	for line := range strings.Lines(string(out)) {
		if p, ok := parsePS(line); ok {
			all = append(all, p)
		}
	}
	member := map[int]bool{supervisor: true}
	var ps []process
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if member[p.parent] && !member[p.pid] {
				member[p.pid], grown = true, true
				ps = append(ps, p)
			}
		}
	}
	return ps, process{}, nil
}

func parsePS(line string) (process, bool) {
	f := strings.Fields(line)
	if len(f) != 4 {
		return process{}, false
	}
	pid, e1 := strconv.Atoi(f[0])
	parent, e2 := strconv.Atoi(f[1])
	rss, e3 := strconv.ParseInt(f[2], 10, 64)
	cpu, e4 := parseTime(f[3])
	ok := e1 == nil && e2 == nil && e3 == nil && e4 == nil
	return process{pid: pid, parent: parent, memory: rss << 10, cpu: cpu}, ok
}

// parseTime reads minutes and seconds, "12:34.56", or with hours "1:12:34".
func parseTime(s string) (time.Duration, error) {
	var total float64
	for part := range strings.SplitSeq(s, ":") {
		n, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, err
		}
		total = total*60 + n
	}
	return time.Duration(total * float64(time.Second)), nil
}

// killSupervisor kills the supervisor of a container.
func killSupervisor(r record) { syscall.Kill(r.PID, syscall.SIGKILL) }

// sweep kills the groups of the processes that are known.
func sweep(_ record, leaders []int) {
	for _, pid := range slices.Compact(leaders) {
		syscall.Kill(-pid, syscall.SIGKILL)
	}
}
