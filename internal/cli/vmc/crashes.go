package vmc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sort"
	"strings"

	"cloudlet/controller/api"
)

// tailLines are shown of each log file when a start failed.
const tailLines = 20

func crashesCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	crashes, err := c.Crashes(ctx, app.Name)
	if err != nil {
		return err
	}
	sort.SliceStable(crashes, func(i, j int) bool { return crashes[i].Since < crashes[j].Since })
	rows, ids := crashRows(app.Name, crashes)
	if err := s.files.storeInstances(app.Name, ids); err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(api.Crashes{Crashes: crashes})
	}
	s.show(fmt.Sprintf("No crashed instances for [%s]", app.Name), rows)
	return nil
}

// crashRows numbers crashes; the names may be used with --instance afterwards.
func crashRows(app string, crashes []api.Crash) (rows [][]string, ids map[string]string) {
	rows, ids = [][]string{{"Name", "Instance ID", "Crashed Time"}}, map[string]string{}
	for i, crash := range crashes {
		name := fmt.Sprintf("%s-%d", app, i+1)
		ids[name] = crash.Instance
		rows = append(rows, []string{name, crash.Instance, stamp(crash.Since)})
	}
	return rows, ids
}

// crashlogsCommand prints the logs of a crashed instance: the one that --instance
// names, else the last one.
func crashlogsCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	crashes, err := c.Crashes(ctx, app.Name)
	if err != nil {
		return err
	}
	instances, err := s.wanted(ctx, c, app.Name)
	if err != nil {
		return err
	}
	if s.opts.instance == "" {
		if len(crashes) == 0 {
			s.say("No crashed instances for [%s]", app.Name)
			return nil
		}
		instances = []string{lastCrash(crashes).Instance}
	}
	shown := 0
	for _, folder := range []string{"/logs", "/app/logs", "/app/log"} {
		n, err := s.showLogs(ctx, c, app.Name, instances[0], folder)
		if noSuchFile(err) && folder == "/logs" {
			return fail("`vmc crashes "+app.Name+"` lists those that crashed lately.", "There are no logs of instance '%s'", instances[0])
		}
		if err != nil && folder == "/logs" {
			return explainStopped(err, app)
		}
		shown += n
	}
	if shown == 0 {
		s.say("It left no log output.")
	}
	return nil
}

func lastCrash(crashes []api.Crash) api.Crash {
	last := crashes[0]
	for _, c := range crashes {
		if c.Since > last.Since {
			last = c
		}
	}
	return last
}

// tails are the last lines of an instance's logs, ready to print.
func tails(ctx context.Context, c *api.Client, app, instance string) string {
	names, err := listing(ctx, c, app, instance, "/logs")
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, name := range names {
		if name == "staging.log" {
			continue // staging went well, or it would not have been started
		}
		path := "/logs/" + name
		rc, err := c.File(ctx, app, instance, path)
		if err != nil {
			continue
		}
		if lines := lastLines(rc, tailLines); len(lines) > 0 {
			fmt.Fprintf(&b, "====> %s <====\n\n%s\n\n", path, strings.Join(lines, "\n"))
		}
		rc.Close()
	}
	return b.String()
}

func lastLines(r io.Reader, n int) []string {
	var lines []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if lines = append(lines, harmless(sc.Text())); len(lines) > n {
			lines = lines[1:]
		}
	}
	return lines
}
