package dea

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cloudlet/bus"
	"cloudlet/warden"
)

// environment is what the app finds, in v1's order: what comes later wins.
func (d *DEA) environment(i *instance, box *warden.Container) []string {
	r, _ := d.runtime(i.Runtime)
	port := strconv.Itoa(box.Port())
	e := env{}
	e.set("PATH", filepath.Dir(r.Executable)+":/usr/local/bin:/usr/bin:/bin")
	e.set("LANG", "C.UTF-8")
	e.set("USER", "vcap")
	e.set("HOME", box.HomeInside())
	e.set("VCAP_LOGS_COLLECTED", "1") // the supervisor has stdout and stderr
	e.json("VCAP_APPLICATION", vcapApplication(i, box.Port()))
	e.json("VCAP_SERVICES", vcapServices(i.Services))
	e.set("VCAP_APP_HOST", d.cfg.IP)
	e.set("VCAP_APP_PORT", port)
	e.set("PORT", port) // what everything since v1 reads
	for _, name := range []string{"VCAP_DEBUG_IP", "VCAP_DEBUG_PORT", "VCAP_CONSOLE_IP", "VCAP_CONSOLE_PORT"} {
		e.set(name, "")
	}
	d.oldEnvironment(&e, i, port)
	for _, entry := range slices.Concat(box.ProxyEnv(i.Env), i.Env) {
		name, value, _ := strings.Cut(entry, "=")
		e.set(name, e.expand(value))
	}
	return e.list
}

// oldEnvironment sets the names that were deprecated in 2011, and are still read.
func (d *DEA) oldEnvironment(e *env, i *instance, port string) {
	type service struct {
		Name    string          `json:"name"`
		Type    string          `json:"type"`
		Vendor  string          `json:"vendor"`
		Version string          `json:"version"`
		Tier    string          `json:"tier"`
		Options json.RawMessage `json:"options"`
	}
	services := []service{}
	for _, s := range i.Services {
		services = append(services, service{s.Name, s.Type, s.Vendor, s.Version, s.Plan, s.Credentials})
	}
	e.set("VMC_WARNING_WARNING", "All VMC_* environment variables are deprecated, please use VCAP_* versions.")
	e.json("VMC_SERVICES", services)
	e.json("VMC_APP_INSTANCE", vcapApplication(i, 0))
	e.set("VMC_APP_NAME", i.Name)
	e.set("VMC_APP_ID", i.ID)
	e.set("VMC_APP_VERSION", i.Version)
	e.set("VMC_APP_HOST", d.cfg.IP)
	e.set("VMC_APP_PORT", port)
	for _, s := range i.Services {
		var c struct {
			Hostname string `json:"hostname"`
			Host     string `json:"host"`
			Port     int    `json:"port"`
		}
		if json.Unmarshal(s.Credentials, &c) == nil && c.Port != 0 && c.Hostname+c.Host != "" {
			host := c.Hostname
			if host == "" {
				host = c.Host
			}
			e.set("VMC_"+strings.ToUpper(s.Vendor), fmt.Sprintf("%s:%d", host, c.Port))
		}
	}
}

// vcapApplication is the instance as it may see itself; the port is left out at 0.
func vcapApplication(i *instance, port int) any {
	type limits struct {
		FDs  int   `json:"fds"`
		Mem  int64 `json:"mem"`
		Disk int64 `json:"disk"`
	}
	return struct {
		InstanceID     string   `json:"instance_id"`
		InstanceIndex  int      `json:"instance_index"`
		Name           string   `json:"name"`
		URIs           []string `json:"uris"`
		Users          []string `json:"users"`
		Version        string   `json:"version"`
		Start          string   `json:"start"`
		Runtime        string   `json:"runtime"`
		StateTimestamp bus.Unix `json:"state_timestamp"`
		Port           int      `json:"port,omitempty"`
		Limits         limits   `json:"limits"`
		Host           string   `json:"host"`
	}{
		i.ID, i.Index, i.Name, i.URIs, i.Users, i.Version, i.StartedAt.Format(bus.TimeFormat), i.Runtime,
		bus.At(i.StateAt), port,
		limits{i.Limits.FDs, int64(i.Limits.Mem) << 20, int64(i.Limits.Disk) << 20}, "127.0.0.1",
	}
}

// vcapServices groups the bound services by label.
func vcapServices(services []bus.Service) any {
	type service struct {
		Name        string          `json:"name"`
		Label       string          `json:"label"`
		Plan        string          `json:"plan,omitempty"`
		Tags        []string        `json:"tags,omitempty"`
		PlanOption  *string         `json:"plan_option,omitempty"`
		Credentials json.RawMessage `json:"credentials,omitempty"`
	}
	out := map[string][]service{}
	for _, s := range services {
		out[s.Label] = append(out[s.Label], service{s.Name, s.Label, s.Plan, s.Tags, s.PlanOption, s.Credentials})
	}
	return out
}

// env collects variables; a later one replaces an earlier one of the same name.
type env struct{ list []string }

func (e *env) set(name, value string) {
	for i, entry := range e.list {
		if strings.HasPrefix(entry, name+"=") {
			e.list[i] = name + "=" + value
			return
		}
	}
	e.list = append(e.list, name+"="+value)
}

func (e *env) json(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte("null")
	}
	e.set(name, string(data))
}

func (e *env) get(name string) (string, bool) {
	for _, entry := range e.list {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// expand replaces $NAME and ${NAME} by variables that are set, as v1's shell did. Other
// dollar signs stay, because passwords hold them; single quotes around it all protect.
func (e *env) expand(value string) string {
	if n := len(value); n >= 2 && value[0] == '\'' && value[n-1] == '\'' {
		return value[1 : n-1]
	}
	var out strings.Builder
	for rest := value; rest != ""; {
		i := strings.IndexByte(rest, '$')
		if i < 0 {
			out.WriteString(rest)
			break
		}
		out.WriteString(rest[:i])
		name, length := variable(rest[i:])
		if v, ok := e.get(name); ok && name != "" {
			out.WriteString(v)
		} else {
			out.WriteString(rest[i : i+length])
		}
		rest = rest[i+length:]
	}
	return out.String()
}

// variable reads a reference at the beginning of s, a "$", and its length.
func variable(s string) (name string, length int) {
	if strings.HasPrefix(s, "${") {
		if end := strings.IndexByte(s, '}'); end > 0 {
			return s[2:end], end + 1
		}
		return "", 1
	}
	n := 1
	for n < len(s) && (s[n] == '_' || s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || n > 1 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return s[1:n], n
}

// stateFile is the file by which the droplet tells that it is ready; empty if it tells
// by its port.
func stateFile(home string) string {
	root, err := os.OpenRoot(home)
	if err != nil {
		return ""
	}
	defer root.Close()
	data, err := readSmall(root, "droplet.yaml")
	if err != nil {
		return ""
	}
	if m := stateFileLine.FindSubmatch(data); m != nil {
		return string(m[1])
	}
	return ""
}

func saysRunning(home, file string) bool {
	root, err := os.OpenRoot(home)
	if err != nil {
		return false
	}
	defer root.Close()
	var s struct {
		State string `json:"state"`
	}
	data, err := readSmall(root, file)
	return err == nil && json.Unmarshal(data, &s) == nil && s.State == string(bus.Running)
}
