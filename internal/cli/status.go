package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloudlet/internal/operator"
)

func statusCommand(std Streams) *cli.Command {
	return &cli.Command{
		Name:         "status",
		Usage:        "tell about the running cloud",
		Flags:        []cli.Flag{dataFlag, jsonFlag},
		OnUsageError: onUsageError,
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			client, _ := running(c, std)
			s, err := client.Status(c.Context)
			if err != nil {
				return notRunning(err)
			}
			if c.Bool("json") {
				return printJSON(std.Out, s)
			}
			Describe(std.Out, s)
			fmt.Fprintf(std.Out, "  %-10s process %d, for %s\n", "Running", s.PID, time.Since(s.Started).Round(time.Second))
			return nil
		},
	}
}

func downCommand(std Streams) *cli.Command {
	return &cli.Command{
		Name:         "down",
		Usage:        "stop the running cloud and its applications",
		Flags:        []cli.Flag{dataFlag},
		OnUsageError: onUsageError,
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			client, dir := running(c, std)
			fmt.Fprint(std.Err, "Stopping the cloud and its applications ... ")
			if err := client.Down(c.Context); err != nil {
				fmt.Fprintln(std.Err)
				return notRunning(err)
			}
			fmt.Fprintln(std.Err, "done")
			fmt.Fprintf(std.Out, "Stopped. `cloudlet up` starts it again with all it had (data folder %s).\n", dir)
			return nil
		},
	}
}

// Describe prints a cloud, a line a fact.
func Describe(w io.Writer, s operator.Status) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "Cloudlet %s\n\n", s.Version)
	line("Target", "%s", s.API)
	line("Apps", "%s", strings.Replace(s.API, "//api.", "//<name>.", 1))
	line("Admin", "%s (password: %s/admin.password)", s.Admin, s.Data)
	line("Isolation", "%s, limits are %s", s.Isolation.Level, s.Isolation.Limits)
	for _, r := range s.Isolation.Reasons {
		line("", "%s", r)
	}
	var found, missing []string
	for _, r := range s.Runtimes {
		if r.Version != "" {
			found = append(found, r.Name+" "+r.Version)
		} else {
			missing = append(missing, fmt.Sprintf("%s is missing: %s", r.Name, r.Install))
		}
	}
	line("Runtimes", "%s", strings.Join(found, ", "))
	for _, m := range missing {
		line("", "%s", m)
	}
	line("Memory", "%d MB for applications", s.Memory)
	if s.BusURL != "" {
		line("Bus", "open to NATS clients; `cloudlet status --json` has the address")
	}
	line("Data", "%s", s.Data)
}
