package bus

import (
	"encoding/json"
	"fmt"
	"time"
)

const (
	// Staging asks one stager, of the queue group of the same name, to make a droplet.
	Staging Request[StagingTask, StagingResult] = "staging"
	// StagingQueue is the stagers' queue group.
	StagingQueue = "staging"
)

// StagingTask is all that a stager needs.
type StagingTask struct {
	AppID       AppID             `json:"app_id"`
	Properties  StagingProperties `json:"properties"`
	DownloadURI string            `json:"download_uri"`
	UploadURI   string            `json:"upload_uri"`
}

// MarshalJSON writes the app's id as the controllers of the time did, as a number,
// where it is one.
func (t StagingTask) MarshalJSON() ([]byte, error) {
	type plain StagingTask
	if n, ok := t.AppID.Number(); ok {
		return json.Marshal(struct {
			AppID AppNumber `json:"app_id"`
			plain
		}{n, plain(t)})
	}
	return json.Marshal(plain(t))
}

// Validate refuses a task without addresses.
func (t StagingTask) Validate() error {
	if t.AppID == "" || t.DownloadURI == "" || t.UploadURI == "" {
		return fmt.Errorf("app_id, download_uri and upload_uri are needed")
	}
	return nil
}

// StagingProperties describe the app.
type StagingProperties struct {
	Services      []Service     `json:"services"`
	Framework     string        `json:"framework"`
	FrameworkInfo FrameworkInfo `json:"framework_info"`
	Runtime       string        `json:"runtime"`
	RuntimeInfo   Runtime       `json:"runtime_info"`
	Resources     StagingLimits `json:"resources"`
	Environment   []string      `json:"environment"`
	Meta          StagingMeta   `json:"meta"`
}

// FrameworkInfo names the plugin.
type FrameworkInfo struct {
	Name string `json:"name"`
}

// StagingLimits are the app's limits, under staging's own names: MB, MB, count.
type StagingLimits struct {
	Memory int `json:"memory"`
	Disk   int `json:"disk"`
	FDs    int `json:"fds"`
}

// StagingMeta holds what only some frameworks use.
type StagingMeta struct {
	Debug   *string `json:"debug"`
	Console *bool   `json:"console"`
	Command string  `json:"command,omitempty"`
}

// StagingResult ends a task; Error is empty for a droplet that was uploaded.
type StagingResult struct {
	TaskID  string `json:"task_id"`
	TaskLog string `json:"task_log"`
	Error   string `json:"error,omitempty"`
}

// SourceStaging marks lines of a staging task.
const SourceStaging = "STG"

// LogLine is a line that a staging task, or an app, printed. Ours alone.
type LogLine struct {
	App    AppID     `json:"app"`
	Source string    `json:"source"`
	Text   string    `json:"text"`
	Time   time.Time `json:"time"`
}

// Logs carries the lines of one app while they are printed; of all apps for "*".
func Logs(app AppID) Subject[LogLine] { return Subject[LogLine]("logs." + app) }
