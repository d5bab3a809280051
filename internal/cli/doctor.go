package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"cloudlet/internal/operator"
	"cloudlet/internal/runtimes"
	"cloudlet/warden"
)

// finding is a line of doctor's report.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, note or problem
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

func doctorCommand(version string, std Streams) *cli.Command {
	return &cli.Command{
		Name:         "doctor",
		Usage:        "look at this machine and say what a cloud would find",
		Flags:        []cli.Flag{dataFlag, jsonFlag},
		OnUsageError: onUsageError,
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			findings := examine(c, version, std)
			if c.Bool("json") {
				if err := printJSON(std.Out, findings); err != nil {
					return err
				}
			} else {
				for _, f := range findings {
					fmt.Fprintf(std.Out, "%-8s %-10s %s\n", f.State, f.Check, f.Text)
					if f.Do != "" {
						fmt.Fprintf(std.Out, "%-19s %s\n", "", f.Do)
					}
				}
			}
			if slices.ContainsFunc(findings, func(f finding) bool { return f.State == "problem" }) {
				return Status(1)
			}
			return nil
		},
	}
}

func examine(c *cli.Context, version string, std Streams) []finding {
	client, dir := running(c, std)
	status, err := client.Status(c.Context)
	up := err == nil
	var out []finding
	switch {
	case up:
		out = append(out, finding{"cloud", "ok", fmt.Sprintf("running: %s (process %d)", status.API, status.PID), ""})
	case errors.Is(err, operator.ErrNotRunning):
		out = append(out, finding{"cloud", "note", "not running", "start it: cloudlet up"})
	default:
		out = append(out, finding{"cloud", "problem", err.Error(), ""})
	}
	out = append(out, dataFolder(dir))
	if !up {
		out = append(out, address("127.0.0.1:8080"))
	}
	out = append(out, isolation(c.Context, status, up)...)
	for _, r := range runtimes.Find(c.Context, version) {
		if r.Found() {
			out = append(out, finding{"runtime", "ok", r.Name + " " + r.Version, ""})
		} else {
			out = append(out, finding{"runtime", "note", r.Name + " is not installed", r.Install})
		}
	}
	if _, err := exec.LookPath("bash"); err != nil {
		out = append(out, finding{"bash", "problem", "bash is not installed; every application's startup script needs it", "apt-get install bash"})
	}
	return append(out, names(c.Context, status, up))
}

func dataFolder(dir string) finding {
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		parent := filepath.Dir(dir)
		for parent != "/" {
			if _, err := os.Stat(parent); err == nil {
				break
			}
			parent = filepath.Dir(parent)
		}
		if err := writable(parent); err != nil {
			return finding{"data", "problem", fmt.Sprintf("%s cannot be made: %v", dir, err), "name another folder: cloudlet up --data DIR"}
		}
		return finding{"data", "ok", dir + " (the first start makes it)", ""}
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", dir)
	}
	if err == nil {
		err = writable(dir)
	}
	if err != nil {
		return finding{"data", "problem", err.Error(), "name another folder: cloudlet up --data DIR"}
	}
	return finding{"data", "ok", dir, ""}
}

// writable tries it, because rights alone do not tell (read-only mounts, quotas).
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".cloudlet-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func address(addr string) finding {
	l, err := Listen(addr)
	if err != nil {
		return finding{"address", "problem", err.Error(), "choose another address: cloudlet up --listen 127.0.0.1:8081"}
	}
	l.Close()
	return finding{"address", "ok", addr + " is free", ""}
}

// isolation asks the running cloud, or tries what a new one could have.
func isolation(ctx context.Context, s operator.Status, up bool) []finding {
	iso := s.Isolation
	if !up {
		w, err := probeIsolation(ctx)
		if err != nil {
			return []finding{{"isolation", "problem", err.Error(), ""}}
		}
		iso = operator.Isolation{Level: string(w.Level), Limits: w.Limits, Reasons: w.Reasons}
	}
	state := "ok"
	if iso.Level != string(warden.Full) {
		state = "note"
	}
	out := []finding{{"isolation", state, fmt.Sprintf("%s, limits are %s", iso.Level, iso.Limits), ""}}
	for _, r := range iso.Reasons {
		out = append(out, finding{"", "note", r, ""})
	}
	if binary, err := os.Executable(); err == nil && iso.Level == string(warden.Process) && os.Geteuid() != 0 {
		out = append(out, userNamespaces("/", binary)...)
	}
	return out
}

// probeIsolation opens a pool of containers in a folder that goes away again.
func probeIsolation(ctx context.Context) (warden.Isolation, error) {
	dir, err := os.MkdirTemp("", "cloudlet-doctor-")
	if err != nil {
		return warden.Isolation{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is in /tmp
	pool := warden.New(warden.Config{Dir: filepath.Join(dir, "containers")}, slog.New(slog.DiscardHandler))
	if err := pool.Open(ctx); err != nil {
		return warden.Isolation{}, err
	}
	return pool.Isolation(), pool.Close()
}

// names tells whether programs other than browsers find the cloud by its names.
func names(ctx context.Context, s operator.Status, up bool) finding {
	domain, listen := "localhost", "127.0.0.1"
	if up {
		domain = s.Domain
		if host, _, err := net.SplitHostPort(s.Listen); err == nil && !net.ParseIP(host).IsUnspecified() {
			listen = host
		}
	}
	host := "api." + domain
	if addrs, err := net.DefaultResolver.LookupHost(ctx, host); err == nil && slices.Contains(addrs, listen) {
		return finding{"names", "ok", host + " resolves", ""}
	}
	return finding{"names", "note", host + " does not resolve for every program; browsers, curl and vmc manage without",
		fmt.Sprintf("for others add a line to /etc/hosts: %s %s <app>.%s", listen, host, domain)}
}
