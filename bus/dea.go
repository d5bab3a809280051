package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Subjects between cloud controller and DEAs.
const (
	// DEAHello announces a DEA once, at its start.
	DEAHello Subject[Hello] = "dea.start"
	// DEAAdvertise tells every 5 s, and at each change, what room a DEA has. A full
	// DEA is silent and drops out of the pools after 10 s.
	DEAAdvertise Subject[Advertise] = "dea.advertise"
	// DEALocate asks all DEAs to advertise now.
	DEALocate Subject[Empty] = "dea.locate"
	// DEADiscover asks who could run an app; the first Hello wins.
	DEADiscover Request[Discover, Hello] = "dea.discover"
	// DEAStop stops the instances that match.
	DEAStop Subject[StopApp] = "dea.stop"
	// DEAUpdate tells the instances of an app their new URIs.
	DEAUpdate Subject[StartApp] = "dea.update"
	// DEAFindDroplet is answered once by each instance that matches.
	DEAFindDroplet Request[FindDroplet, FoundDroplet] = "dea.find.droplet"
	// DEAStatus is answered by every DEA.
	DEAStatus Request[Empty, Status] = "dea.status"
	// DropletStatus is answered by every starting or running instance.
	DropletStatus Request[Empty, InstanceStats] = "droplet.status"
)

// DEAStart is the subject on which the DEA with this id takes instances to start.
func DEAStart(id string) Subject[StartApp] { return Subject[StartApp]("dea." + id + ".start") }

// Hello introduces a DEA.
type Hello struct {
	ID      string  `json:"id"`
	IP      string  `json:"ip"`
	Port    int     `json:"port"`    // of the file viewer
	Version float64 `json:"version"` // 0.99
}

// Advertise is a DEA's offer.
type Advertise struct {
	ID              string        `json:"id"`
	AvailableMemory int           `json:"available_memory"` // MB
	Runtimes        []string      `json:"runtimes"`
	Prod            bool          `json:"prod"`
	Instances       map[AppID]int `json:"app_id_to_count,omitempty"`
}

// Validate refuses what cannot be addressed.
func (a Advertise) Validate() error { return validToken(a.ID) }

// Limits are an instance's bounds: MB, MB and a count.
type Limits struct {
	Mem  int `json:"mem"`
	Disk int `json:"disk"`
	FDs  int `json:"fds"`
}

// Runtime is an entry of the runtimes catalogue as it travels in messages.
type Runtime struct {
	Name        string            `json:"name"`
	Version     string            `json:"version"`
	Description string            `json:"description,omitempty"`
	Executable  string            `json:"executable"`
	Environment map[string]string `json:"environment,omitempty"`
}

// Discover asks for a place for one instance.
type Discover struct {
	Droplet     AppNumber `json:"droplet"`
	Limits      Limits    `json:"limits"`
	Name        string    `json:"name"`
	RuntimeInfo Runtime   `json:"runtime_info"`
	Runtime     string    `json:"runtime"`
	Prod        bool      `json:"prod"`
	SHA         string    `json:"sha"`
}

// Service is a bound service as staging and start see it.
type Service struct {
	Label       string          `json:"label"`
	Tags        []string        `json:"tags"`
	Name        string          `json:"name"`
	Credentials json.RawMessage `json:"credentials"`
	Options     json.RawMessage `json:"options,omitempty"`
	Plan        string          `json:"plan"`
	PlanOption  *string         `json:"plan_option"`
	Type        string          `json:"type"`
	Version     string          `json:"version"`
	Vendor      string          `json:"vendor"`
}

// StartApp asks a DEA to start one instance.
type StartApp struct {
	Droplet        AppNumber `json:"droplet"`
	Name           string    `json:"name"`
	URIs           []string  `json:"uris"`
	Runtime        string    `json:"runtime"`
	RuntimeInfo    Runtime   `json:"runtime_info"`
	Framework      string    `json:"framework"`
	Prod           bool      `json:"prod"`
	SHA1           string    `json:"sha1"`
	ExecutableFile *string   `json:"executableFile"`
	ExecutableURI  string    `json:"executableUri"`
	Version        string    `json:"version"`
	Services       []Service `json:"services"`
	Limits         Limits    `json:"limits"`
	Env            []string  `json:"env"`
	Users          []string  `json:"users"`
	Partition      string    `json:"cc_partition"`
	Index          int       `json:"index"`
	Debug          *string   `json:"debug"`
	Console        *bool     `json:"console"`
	Flapping       bool      `json:"flapping,omitempty"`
}

// StopApp selects instances to stop; what is absent does not filter.
type StopApp struct {
	Droplet   AppNumber `json:"droplet"`
	Version   string    `json:"version,omitempty"`
	Instances []string  `json:"instances,omitempty"`
	Indices   []int     `json:"indices,omitempty"`
	States    []State   `json:"states,omitempty"`

	// InstanceIDs is a later sender's name for Instances.
	InstanceIDs []string `json:"instance_ids,omitempty"`
}

// FindDroplet selects instances to be told about.
type FindDroplet struct {
	Droplet      AppNumber `json:"droplet"`
	Version      string    `json:"version,omitempty"`
	Instances    []string  `json:"instances,omitempty"`
	InstanceIDs  []string  `json:"instance_ids,omitempty"`
	Indices      []int     `json:"indices,omitempty"`
	States       []State   `json:"states,omitempty"`
	IncludeStats bool      `json:"include_stats,omitempty"`
}

// FoundDroplet tells about one instance.
type FoundDroplet struct {
	DEA            string         `json:"dea"`
	Version        string         `json:"version"`
	Droplet        AppID          `json:"droplet"`
	Instance       string         `json:"instance"`
	Index          int            `json:"index"`
	State          State          `json:"state"`
	StateTimestamp Unix           `json:"state_timestamp"`
	FileURI        string         `json:"file_uri"`
	Credentials    []string       `json:"credentials"`
	Staged         string         `json:"staged"`
	DebugIP        *string        `json:"debug_ip"`
	DebugPort      *int           `json:"debug_port"`
	ConsoleIP      *string        `json:"console_ip"`
	ConsolePort    *int           `json:"console_port"`
	Stats          *InstanceStats `json:"stats,omitempty"`
}

// InstanceStats are an instance's numbers.
type InstanceStats struct {
	Name      string   `json:"name"`
	Host      string   `json:"host"`
	Port      *int     `json:"port"`
	URIs      []string `json:"uris"`
	Uptime    Decimal  `json:"uptime"`     // seconds
	MemQuota  int64    `json:"mem_quota"`  // bytes
	DiskQuota int64    `json:"disk_quota"` // bytes
	FDsQuota  int      `json:"fds_quota"`
	Cores     int      `json:"cores"`
	Usage     *Usage   `json:"usage,omitempty"`
}

// Usage is one sample of what an instance uses.
type Usage struct {
	Time string  `json:"time"` // "2012-11-03 09:15:18 +0000"
	CPU  Decimal `json:"cpu"`  // percent of one core
	Mem  Decimal `json:"mem"`  // KiB
	Disk int64   `json:"disk"` // bytes
}

// Decimal is a number that is always written with a decimal point: clients in typed
// languages read 0 as an integer and fail.
type Decimal float64

// MarshalJSON writes 3 as 3.0.
func (d Decimal) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(float64(d))
	if err == nil && !strings.ContainsAny(string(b), ".e") {
		b = append(b, '.', '0')
	}
	return b, err
}

// Status tells a DEA's room and use.
type Status struct {
	Hello
	MaxMemory      int     `json:"max_memory"`      // MB
	ReservedMemory int     `json:"reserved_memory"` // MB
	UsedMemory     Decimal `json:"used_memory"`     // MB
	NumClients     int     `json:"num_clients"`
	State          string  `json:"state,omitempty"` // SHUTTING_DOWN or absent
}

// Validate refuses a start that no DEA could carry out.
func (s StartApp) Validate() error {
	switch {
	case s.Droplet <= 0:
		return errors.New("droplet is missing")
	case s.Index < 0 || s.Index > 1<<16:
		return fmt.Errorf("index %d is out of range", s.Index)
	case strings.ContainsAny(s.Name, "/\x00"):
		return fmt.Errorf("name %q holds a slash", s.Name)
	case strings.Contains(s.SHA1, "/"):
		return fmt.Errorf("sha1 %q holds a slash", s.SHA1)
	case s.Limits.Mem < 0 || s.Limits.Disk < 0 || s.Limits.FDs < 0:
		return errors.New("a limit is negative")
	}
	return nil
}

// validToken refuses ids that would be another subject.
func validToken(id string) error {
	if id == "" || len(id) > 128 || strings.ContainsAny(id, ".*> \t\r\n") {
		return fmt.Errorf("%.140q is no component id", id)
	}
	return nil
}
