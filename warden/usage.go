package warden

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// diskShare bounds the work of counting: a count may take this fraction of a core.
const diskShare = 1000

// diskWait is how long Usage waits for a count that is due.
const diskWait = 50 * time.Millisecond

// process is what the process table says of one process.
type process struct {
	pid, parent, session int
	tty                  bool
	memory               int64
	cpu                  time.Duration // its own and that of its children that have ended
}

// Usage tells what the container uses. Memory and CPU are of this moment, the
// supervisor's own left out. Disk is too where the kernel holds its limit; else it was counted at most Config.DiskEvery ago, or
// longer if counting is so much work that it would take more than a thousandth
// of a core for all containers together.
func (c *Container) Usage() (Usage, error) {
	select {
	case <-c.done:
		return Usage{CPU: c.spent(0), Disk: c.countedDisk()}, nil
	default:
	}
	if c.group != nil {
		return c.counted()
	}
	ps, self, err := family(c.rec.PID)
	if err != nil {
		return Usage{}, c.err(err)
	}
	u := Usage{Processes: len(ps)}
	cpu := self.cpu
	for _, q := range ps {
		u.Memory += q.memory
		cpu += q.cpu
	}
	u.CPU = c.spent(cpu)
	u.Disk = c.countedDisk()
	u.Received, u.Sent = c.traffic()
	return u, nil
}

// counted takes the kernel's counters.
func (c *Container) counted() (Usage, error) {
	u, err := c.group.usage()
	if err != nil {
		return Usage{}, c.err(fmt.Errorf("%w: %w", ErrGone, err))
	}
	u.CPU = c.spent(u.CPU)
	u.Disk = c.countedDisk()
	u.Received, u.Sent = c.traffic()
	return u, nil
}

// spent keeps the CPU time from falling: what a process has spent is missing
// for a moment when its parent is about to collect it.
func (c *Container) spent(cpu time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cpu = max(c.cpu, cpu)
	return c.cpu
}

// diskCount is the last count of a container's files.
type diskCount struct {
	bytes   int64
	at      time.Time // zero before the first
	running bool
}

// pacer spaces the counts of all containers.
type pacer struct {
	mu   sync.Mutex // held during a count: one at a time
	next time.Time
}

// countedDisk gives the last count, after it started a new one if it is time.
func (c *Container) countedDisk() int64 {
	if c.rec.Disk {
		return diskUse(c.rec.Home)
	}
	done := make(chan struct{})
	if c.claimCount() {
		go func() {
			defer close(done)
			c.count()
		}()
		select {
		case <-done:
		case <-time.After(diskWait):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.disk.bytes
}

// claimCount says whether the caller should count.
func (c *Container) claimCount() bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disk.running || !c.disk.at.IsZero() && (now.Sub(c.disk.at) < c.p.cfg.DiskEvery || !c.p.disk.due(now)) {
		return false
	}
	c.disk.running = true
	return true
}

func (d *pacer) due(now time.Time) bool {
	if !d.mu.TryLock() {
		return false
	}
	defer d.mu.Unlock()
	return now.After(d.next)
}

func (c *Container) count() {
	d := &c.p.disk
	d.mu.Lock()
	begin := time.Now()
	n := size(c.rec.Home)
	if c.rec.Level != Process {
		n += size(c.rec.tmp())
	}
	now := time.Now()
	d.next = now.Add(diskShare * now.Sub(begin))
	d.mu.Unlock()
	c.mu.Lock()
	c.disk = diskCount{bytes: n, at: now}
	c.mu.Unlock()
}

// size adds up the blocks below a folder, as far as it can be read. A file with
// several names counts for each of them. Nesting so deep that it cannot be
// looked into is no way to hide: it counts as more than any limit.
func size(path string) int64 {
	var n int64
	err := walk(path, func(_ int, _ string, st *unix.Stat_t) error {
		n += int64(st.Blocks) * 512
		return nil
	})
	if errors.Is(err, errTooDeep) {
		return math.MaxInt32 << 20
	}
	return n
}
