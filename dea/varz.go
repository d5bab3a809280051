package dea

import "cloudlet/bus"

// varz are the DEA's numbers, in v1's units.
type varz struct {
	MaxMemory      int               `json:"apps_max_memory"`      // MB
	ReservedMemory int               `json:"apps_reserved_memory"` // MB
	UsedMemory     int               `json:"apps_used_memory"`     // MB
	Apps           int               `json:"num_apps"`
	State          string            `json:"state,omitempty"`
	Running        []runningApp      `json:"running_apps"`
	Frameworks     map[string]*share `json:"frameworks"`
	Runtimes       map[string]*share `json:"runtimes"`
}

// share is what the instances of one kind have.
type share struct {
	UsedMemory     bus.Decimal `json:"used_memory"`     // KB
	ReservedMemory int         `json:"reserved_memory"` // KB
	UsedDisk       int64       `json:"used_disk"`       // bytes
	UsedCPU        bus.Decimal `json:"used_cpu"`        // percent of one core
}

// runningApp is an instance's record, without what only the instance may know.
type runningApp struct {
	Droplet        bus.AppID  `json:"droplet_id"`
	Instance       string     `json:"instance_id"`
	Index          int        `json:"instance_index"`
	Name           string     `json:"name"`
	URIs           []string   `json:"uris"`
	Users          []string   `json:"users"`
	Version        string     `json:"version"`
	MemQuota       int64      `json:"mem_quota"`  // bytes
	DiskQuota      int64      `json:"disk_quota"` // bytes
	FDsQuota       int        `json:"fds_quota"`
	State          bus.State  `json:"state"`
	StateTimestamp bus.Unix   `json:"state_timestamp"`
	Runtime        string     `json:"runtime"`
	Framework      string     `json:"framework"`
	Start          string     `json:"start"`
	Port           int        `json:"port"`
	Staged         string     `json:"staged"`
	Partition      string     `json:"cc_partition"`
	Usage          *bus.Usage `json:"usage"`
}

func (d *DEA) varz() any {
	s := d.status()
	v := varz{
		MaxMemory: s.MaxMemory, ReservedMemory: s.ReservedMemory, UsedMemory: int(s.UsedMemory), State: s.State,
		Running: []runningApp{}, Frameworks: map[string]*share{}, Runtimes: map[string]*share{},
	}
	for _, i := range d.sorted() {
		if i.released {
			continue
		}
		v.Apps++
		addTo(v.Frameworks, i.Framework, i)
		addTo(v.Runtimes, i.Runtime, i)
		if i.State == bus.Running {
			v.Running = append(v.Running, i.record())
		}
	}
	return v
}

func addTo(shares map[string]*share, name string, i *instance) {
	s := shares[name]
	if s == nil {
		s = &share{}
		shares[name] = s
	}
	s.ReservedMemory += i.Limits.Mem << 10
	if u := i.sample; u != nil {
		s.UsedMemory += u.Mem
		s.UsedDisk += u.Disk
		s.UsedCPU += u.CPU
	}
}

func (i *instance) record() runningApp {
	return runningApp{
		Droplet: i.Droplet.ID(), Instance: i.ID, Index: i.Index, Name: i.Name, URIs: i.URIs, Users: i.Users,
		Version: i.Version, MemQuota: int64(i.Limits.Mem) << 20, DiskQuota: int64(i.Limits.Disk) << 20, FDsQuota: i.Limits.FDs,
		State: i.State, StateTimestamp: bus.At(i.StateAt), Runtime: i.Runtime, Framework: i.Framework,
		Start: i.StartedAt.Format(bus.TimeFormat), Port: i.Port, Staged: i.staged(), Partition: i.Partition, Usage: i.sample,
	}
}
