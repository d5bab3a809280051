package dea

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"cloudlet/bus"
	"cloudlet/warden"
)

// monitor samples what instances use and ends those that use more than they were given.
// It is how limits hold where the kernel does not hold them.
func (d *DEA) monitor(work context.Context, now time.Time) {
	for _, i := range d.sorted() {
		if i.box == nil || i.stopped != "" || i.State != bus.Running && i.State != bus.Starting {
			continue
		}
		u, err := i.measure(now)
		if err != nil {
			continue // it is ending; its end is another message
		}
		switch {
		case u.Memory > int64(i.Limits.Mem)<<20:
			d.exceeded(work, i, "Memory limit", i.Limits.Mem, u.Memory>>20, warden.OutOfMemory)
		case u.Disk > int64(i.Limits.Disk)<<20:
			d.exceeded(work, i, "Disk usage limit", i.Limits.Disk, u.Disk>>20, "out of disk")
		}
	}
}

// measure takes a sample. The share of the processor is that since the one before.
func (i *instance) measure(now time.Time) (warden.Usage, error) {
	u, err := i.box.Usage()
	if err != nil {
		return u, err
	}
	i.sample = &bus.Usage{Time: now.UTC().Format(bus.TimeFormat), Mem: bus.Decimal(u.Memory) / 1024, Disk: u.Disk}
	if !i.sampled.IsZero() && now.After(i.sampled) {
		percent := 100 * float64(u.CPU-i.cpu) / float64(now.Sub(i.sampled))
		i.sample.CPU = bus.Decimal(float64(int(max(0, percent)*10+0.5)) / 10)
	}
	i.cpu, i.sampled = u.CPU, now
	return u, nil
}

func (d *DEA) exceeded(work context.Context, i *instance, what string, limit int, actual int64, description string) {
	d.explain(i, fmt.Sprintf("%s of %dM exceeded.", what, limit))
	d.explain(i, fmt.Sprintf("Actual usage was %dM, process terminated.", actual))
	d.crash(work, i, description)
}

func (d *DEA) stats(i *instance) bus.InstanceStats {
	s := bus.InstanceStats{
		Name: i.Name, Host: d.cfg.IP, URIs: append([]string{}, i.URIs...),
		Uptime:   bus.Decimal(float64(time.Since(i.StartedAt).Milliseconds()) / 1000),
		MemQuota: int64(i.Limits.Mem) << 20, DiskQuota: int64(i.Limits.Disk) << 20,
		FDsQuota: i.Limits.FDs, Cores: runtime.NumCPU(), Usage: i.sample,
	}
	if len(i.URIs) > 0 {
		s.Port = &i.Port
	}
	return s
}

func (d *DEA) status() bus.Status {
	s := bus.Status{
		Hello: d.hello(), MaxMemory: d.cfg.MaxMemory, ReservedMemory: d.reserved, NumClients: len(d.instances),
	}
	for _, i := range d.instances {
		if i.sample != nil {
			s.UsedMemory += i.sample.Mem / 1024
		}
	}
	if d.stopping {
		s.State = "SHUTTING_DOWN"
	}
	return s
}
