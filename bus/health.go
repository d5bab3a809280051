package bus

import (
	"fmt"
	"regexp"
)

// Subjects that tell the health manager what is, and what ought to be.
const (
	// DEAHeartbeat tells every 10 s which instances a DEA has.
	DEAHeartbeat Subject[Heartbeat] = "dea.heartbeat"
	// DropletExited tells, once, that an instance has ended.
	DropletExited Subject[Exited] = "droplet.exited"
	// DropletUpdated tells that an app's desired state has changed.
	DropletUpdated Subject[Updated] = "droplet.updated"
	// HealthStart asks every DEA for a full heartbeat.
	HealthStart Subject[Empty] = "healthmanager.start"
	// HealthStatus asks for the flapping indices or crashed instances of one app. An
	// unknown app gets no reply.
	HealthStatus Request[StatusOf, StatusReply] = "healthmanager.status"
	// HealthHealth asks how many indices run; each known app is one reply.
	HealthHealth Request[HealthOf, Healthy] = "healthmanager.health"
	// HMRequests asks the controllers, in queue group QueueCC, to start and stop.
	HMRequests Subject[HMRequest] = "cloudcontrollers.hm.requests." + DefaultPartition
	// HMRequestsOld is the same subject before partitions.
	HMRequestsOld Subject[HMRequest] = "cloudcontrollers.hm.requests"
	// QueueCC is the controllers' queue group.
	QueueCC = "cc"
)

// Heartbeat lists the instances of a DEA.
type Heartbeat struct {
	Droplets []Beat `json:"droplets"`
	DEA      string `json:"dea"`
	Prod     bool   `json:"prod"`
}

// Beat is one instance in a heartbeat.
type Beat struct {
	Droplet        AppID  `json:"droplet"`
	Version        string `json:"version"`
	Instance       string `json:"instance"`
	Index          int    `json:"index"`
	State          State  `json:"state"`
	StateTimestamp Unix   `json:"state_timestamp"`
	Partition      string `json:"cc_partition"`
}

// OfPartition tells whether the instance belongs to the named partition.
func (b Beat) OfPartition(name string) bool { return partition(b.Partition) == name }

// Reasons for an exit.
const (
	ReasonStopped       = "STOPPED"
	ReasonCrashed       = "CRASHED"
	ReasonDEAShutdown   = "DEA_SHUTDOWN"
	ReasonDEAEvacuation = "DEA_EVACUATION"
)

// Exited tells how an instance ended.
type Exited struct {
	Droplet         AppID  `json:"droplet"`
	Version         string `json:"version"`
	Instance        string `json:"instance"`
	Index           int    `json:"index"`
	Reason          string `json:"reason"`
	Partition       string `json:"cc_partition"`
	CrashTimestamp  Unix   `json:"crash_timestamp,omitempty"`
	ExitStatus      *int   `json:"exit_status,omitempty"`
	ExitDescription string `json:"exit_description,omitempty"`
	// RanFor is how many seconds the instance had been running; ours alone.
	RanFor *Decimal `json:"ran_for,omitempty"`
}

// OfPartition tells whether the instance belonged to the named partition.
func (e Exited) OfPartition(name string) bool { return partition(e.Partition) == name }

// Updated names an app whose desired state changed.
type Updated struct {
	Droplet   AppNumber `json:"droplet"`
	Partition string    `json:"cc_partition"`
}

// StatusOf asks for FLAPPING indices or CRASHED instances.
type StatusOf struct {
	Droplet AppNumber `json:"droplet"`
	Version string    `json:"version,omitempty"`
	State   State     `json:"state"`
}

// StatusReply holds the one list that was asked for.
type StatusReply struct {
	Indices   *[]FlappingIndex   `json:"indices,omitempty"`
	Instances *[]CrashedInstance `json:"instances,omitempty"`
}

// FlappingIndex is an index that crashed too often.
type FlappingIndex struct {
	Index int  `json:"index"`
	Since Unix `json:"since"`
}

// CrashedInstance is an instance whose files a DEA still keeps.
type CrashedInstance struct {
	Instance string `json:"instance"`
	Since    Unix   `json:"since"`
}

// HealthOf asks for the health of several apps.
type HealthOf struct {
	Droplets []AppVersion `json:"droplets"`
}

// AppVersion is an app in one version.
type AppVersion struct {
	Droplet AppNumber `json:"droplet"`
	Version string    `json:"version"`
}

// Healthy tells how many indices of an app run.
type Healthy struct {
	Droplet AppID  `json:"droplet"`
	Version string `json:"version"`
	Healthy int    `json:"healthy"`
}

// Operations of the health manager.
const (
	OpStart    = "START"
	OpStop     = "STOP"
	OpSpindown = "SPINDOWN"
)

// HMRequest asks the controller to bring an app nearer to its desired state.
type HMRequest struct {
	Droplet     AppID    `json:"droplet"`
	Op          string   `json:"op"`
	LastUpdated Unix     `json:"last_updated"` // of the desired state it is based on
	Version     string   `json:"version,omitempty"`
	Indices     []int    `json:"indices,omitempty"`
	Flapping    bool     `json:"flapping,omitempty"`
	Instances   []string `json:"instances,omitempty"`
}

var hmOps = regexp.MustCompile(`(?i)^(start|stop|spindown)$`)

// Validate refuses operations nobody knows.
func (r HMRequest) Validate() error {
	if !hmOps.MatchString(r.Op) {
		return fmt.Errorf("op %.40q is unknown", r.Op)
	}
	return nil
}
