// Package api is what the cloud controller and its clients share: the JSON bodies of
// the v1 REST API, its error table, and a client.
//
// Protocol: Cloud Foundry v1 (2011-2013) over HTTP, to the field. What is ours alone
// has routes of its own; the v1 objects carry nothing more than they did.
// State: none.
// Source: the v1 cloud_controller and what its clients were seen to send.
package api

import (
	"encoding/json"
	"strings"
	"time"
)

// States of an app.
const (
	Started = "STARTED"
	Stopped = "STOPPED"
)

// App is the app object.
type App struct {
	Name             string    `json:"name"`
	Staging          Staging   `json:"staging"`
	URIs             []string  `json:"uris"`
	Instances        int       `json:"instances"`
	RunningInstances *int      `json:"runningInstances"`
	Resources        Resources `json:"resources"`
	State            string    `json:"state"`
	Services         []string  `json:"services"`
	Version          string    `json:"version"`
	Env              []string  `json:"env"`
	Meta             Meta      `json:"meta"`
}

// Staging names framework and runtime.
type Staging struct {
	Model string `json:"model"`
	Stack string `json:"stack"`
}

// Resources are an app's limits: MB, MB, descriptors.
type Resources struct {
	Memory int `json:"memory"`
	Disk   int `json:"disk"`
	FDs    int `json:"fds"`
}

// Meta is the part of an app that only some clients read.
type Meta struct {
	Command string  `json:"command,omitempty"`
	Debug   *string `json:"debug"`
	Console *bool   `json:"console"`
	Version int     `json:"version"`
	Created int64   `json:"created"`
}

// AppRequest creates or changes an app. Absent members keep their value, but for
// services, debug and console, which v1 resets.
type AppRequest struct {
	Name      string            `json:"name,omitempty"`
	Staging   *StagingRequest   `json:"staging,omitempty"`
	URIs      *[]string         `json:"uris,omitempty"`
	Instances *Int              `json:"instances,omitempty"`
	Resources *ResourcesRequest `json:"resources,omitempty"`
	State     *string           `json:"state,omitempty"`
	Services  []string          `json:"services,omitempty"`
	Env       *[]string         `json:"env,omitempty"`
	Debug     *string           `json:"debug,omitempty"`
	Console   *bool             `json:"console,omitempty"`
	Meta      *MetaRequest      `json:"meta,omitempty"`
}

// UnmarshalJSON takes false for no debug mode: v1 took anything that is not true for none.
func (r *AppRequest) UnmarshalJSON(data []byte) error {
	type plain AppRequest
	read := struct {
		*plain
		Debug json.RawMessage `json:"debug"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	if len(read.Debug) == 0 || string(read.Debug) == "false" {
		return nil
	}
	return json.Unmarshal(read.Debug, &r.Debug)
}

// StagingRequest takes both pairs of names that clients use.
type StagingRequest struct {
	Model     *string `json:"model,omitempty"`
	Stack     *string `json:"stack,omitempty"`
	Framework *string `json:"framework,omitempty"`
	Runtime   *string `json:"runtime,omitempty"`
	Command   *string `json:"command,omitempty"`
}

// ResourcesRequest sets the memory, in MB; the rest is read-only.
type ResourcesRequest struct {
	Memory *Int `json:"memory,omitempty"`
}

// MetaRequest carries the version that a change is based on.
type MetaRequest struct {
	Version *int `json:"version,omitempty"`
}

// UnmarshalJSON reads a version of any form in which clients send integers.
func (m *MetaRequest) UnmarshalJSON(data []byte) error {
	var read struct {
		Version *Int `json:"version"`
	}
	err := json.Unmarshal(data, &read)
	m.Version = (*int)(read.Version)
	return err
}

// Int is an integer that some clients send as a string, or with a decimal point.
type Int int

// UnmarshalJSON reads 3, "3" and 3.0.
func (i *Int) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if whole, zeros, ok := strings.Cut(text, "."); ok && zeros != "" && strings.Trim(zeros, "0") == "" {
		text = whole
	}
	var n int
	err := json.Unmarshal([]byte(text), &n)
	*i = Int(n)
	return err
}

// Info is GET /info. The last three members are there for a known user only.
type Info struct {
	Name        string               `json:"name"`
	Build       int                  `json:"build"`
	Support     string               `json:"support"`
	Version     string               `json:"version"` // "0.999": a string, or Java clients take it for v2
	Description string               `json:"description"`
	AllowDebug  bool                 `json:"allow_debug"`
	Frameworks  map[string]Framework `json:"frameworks"`
	// Authorization is the UAA's URL; clients that know one log in there.
	Authorization string   `json:"authorization_endpoint,omitempty"`
	User          string   `json:"user,omitempty"`
	Limits        *Account `json:"limits,omitempty"`
	Usage         *Usage   `json:"usage,omitempty"`
}

// Framework is an entry of Info.
type Framework struct {
	Name      string           `json:"name"`
	Runtimes  []Runtime        `json:"runtimes"`
	Detection []map[string]any `json:"detection"`
}

// Runtime is a runtime of a framework.
type Runtime struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Description string `json:"description"`
}

// RuntimeInfo is an entry of GET /info/runtimes.
type RuntimeInfo struct {
	Version     string   `json:"version"`
	Description string   `json:"description"`
	DebugModes  []string `json:"debug_modes"`
}

// Account holds a user's limits: MB, URIs per app, and counts.
type Account struct {
	Memory   int `json:"memory"`
	AppURIs  int `json:"app_uris"`
	Services int `json:"services"`
	Apps     int `json:"apps"`
}

// Usage is what of an Account is used; memory and apps count started apps only.
type Usage struct {
	Memory   int `json:"memory"`
	Apps     int `json:"apps"`
	Services int `json:"services"`
}

// Credentials create a user, change a password or ask for a token.
type Credentials struct {
	Email    string `json:"email,omitempty"`
	Password string `json:"password,omitempty"`
	// Invitation is the code of one, where a cloud wants it for registering; ours alone.
	Invitation string `json:"invitation,omitempty"`
}

// Token answers a login.
type Token struct {
	Token string `json:"token"`
}

// User is GET /users/:email.
type User struct {
	Email string `json:"email"`
	Admin bool   `json:"admin"`
}

// MaxQuota is the largest limit there is.
const MaxQuota = 1 << 30

// Quota is GET /quotas/:email; ours alone.
type Quota struct {
	Email  string       `json:"email"`
	Limits Account      `json:"limits"` // that are in force
	Usage  Usage        `json:"usage"`
	Own    QuotaRequest `json:"own"` // those that the account does not share with all others
}

// QuotaRequest is PUT /quotas/:email. What is absent is as everybody has it.
type QuotaRequest struct {
	Memory   *int `json:"memory,omitempty"`
	AppURIs  *int `json:"app_uris,omitempty"`
	Services *int `json:"services,omitempty"`
	Apps     *int `json:"apps,omitempty"`
}

// InvitationRequest is POST /invitations; ours alone. Without an address the invitation
// is for whoever has its code.
type InvitationRequest struct {
	Email string `json:"email,omitempty"`
}

// Invitation is an open invitation. Its code is shown once, when it is made.
type Invitation struct {
	ID      string `json:"id"`
	Code    string `json:"code,omitempty"`
	Email   string `json:"email,omitempty"`
	By      string `json:"by"`
	Expires int64  `json:"expires"`
}

// Created answers POST /apps, along with a 302 to the same address.
type Created struct {
	Result   string `json:"result"`
	Redirect string `json:"redirect"`
}

// Instances is GET /apps/:name/instances.
type Instances struct {
	Instances []Instance `json:"instances"`
}

// Instance is one entry. The four addresses appear on starting and running ones.
type Instance struct {
	Index int       `json:"index"`
	State string    `json:"state"`
	Since int64     `json:"since"`
	Ports *DebugTTY `json:"-"`
}

// DebugTTY holds the debugger's and the console's addresses.
type DebugTTY struct {
	DebugIP     *string `json:"debug_ip"`
	DebugPort   *int    `json:"debug_port"`
	ConsoleIP   *string `json:"console_ip"`
	ConsolePort *int    `json:"console_port"`
}

// MarshalJSON writes the addresses beside the rest, or not at all.
func (i Instance) MarshalJSON() ([]byte, error) {
	type plain Instance
	if i.Ports == nil {
		return json.Marshal(plain(i))
	}
	return json.Marshal(struct {
		plain
		*DebugTTY
	}{plain(i), i.Ports})
}

// InstanceStats is one entry of GET /apps/:name/stats, which is keyed by index.
type InstanceStats struct {
	State string `json:"state"`
	Since int64  `json:"since,omitempty"`
	Stats *Stats `json:"stats,omitempty"`
}

// Stats are a running instance's numbers.
type Stats struct {
	Name      string         `json:"name"`
	Host      string         `json:"host"`
	Port      *int           `json:"port"`
	URIs      []string       `json:"uris"`
	Uptime    json.Number    `json:"uptime"` // seconds, always with a decimal point
	MemQuota  int64          `json:"mem_quota"`
	DiskQuota int64          `json:"disk_quota"`
	FDsQuota  int            `json:"fds_quota"`
	Cores     int            `json:"cores"`
	Usage     *InstanceUsage `json:"usage,omitempty"`
}

// InstanceUsage is the last sample: percent, KiB and bytes.
type InstanceUsage struct {
	Time string      `json:"time"`
	CPU  json.Number `json:"cpu"`
	Mem  json.Number `json:"mem"`
	Disk int64       `json:"disk"`
}

// Crashes is GET /apps/:name/crashes.
type Crashes struct {
	Crashes []Crash `json:"crashes"`
}

// Crash is an instance whose files are still kept.
type Crash struct {
	Instance string `json:"instance"`
	Since    int64  `json:"since"`
}

// UpdateState is GET /apps/:name/update.
type UpdateState struct {
	State string `json:"state"`
	Since int64  `json:"since"`
}

// Resource describes one file of an app by its content. Mode, in octal, is ours alone:
// v1's descriptors had none.
type Resource struct {
	FN   string `json:"fn"`
	Size Int64  `json:"size"`
	SHA1 string `json:"sha1"`
	Mode string `json:"mode,omitempty"`
}

// Int64 is a number that some clients send as a string.
type Int64 int64

// UnmarshalJSON reads 3 and "3".
func (i *Int64) UnmarshalJSON(data []byte) error {
	var n int64
	err := json.Unmarshal([]byte(strings.Trim(string(data), `"`)), &n)
	*i = Int64(n)
	return err
}

// Event is a change that somebody made, or that befell an app: an entry of GET /events
// and GET /apps/:name/events, which are ours alone.
type Event struct {
	ID         uint64    `json:"id"`
	Time       time.Time `json:"time"`
	Actor      string    `json:"actor"` // an e-mail address, or "system"
	OnBehalfOf string    `json:"on_behalf_of,omitempty"`
	Address    string    `json:"address"`
	Action     string    `json:"action"`
	App        string    `json:"app"` // empty where an account was changed
	Detail     string    `json:"detail"`
}
