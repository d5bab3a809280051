package vmc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"

	"cloudlet/controller/api"
)

const (
	maxListing = 1 << 20
	tailLines  = 20 // of each file, shown when a start failed
)

// logsCommand prints all log files of an instance, or of all.
func logsCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	instances, err := s.wanted(ctx, c, app.Name)
	if err != nil {
		return err
	}
	shown := 0
	for _, instance := range instances {
		n, err := s.showLogs(ctx, c, app.Name, instance, "/logs")
		if err != nil {
			return explainStopped(err, app)
		}
		shown += n
	}
	if shown == 0 {
		s.say("No log output yet from [%s]", app.Name)
	}
	return nil
}

// wanted are the instances that --instance or --all name, else the first one.
func (s *session) wanted(ctx context.Context, c *api.Client, app string) ([]string, error) {
	if !s.opts.all {
		instance := "0"
		if s.opts.instance != "" {
			known, err := s.files.readInstances()
			if err != nil {
				return nil, err
			}
			if instance = known[s.opts.instance]; instance == "" {
				instance = s.opts.instance
			}
		}
		return []string{instance}, nil
	}
	list, err := c.Instances(ctx, app)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, i := range list {
		all = append(all, strconv.Itoa(i.Index))
	}
	return all, nil
}

// explainStopped says why a stopped app has no files.
func explainStopped(err error, app api.App) error {
	if !errors.Is(err, api.AppStopped) {
		return err
	}
	return &problem{
		text: fmt.Sprintf("Error 305: Application '%s' is stopped", app.Name),
		hint: fmt.Sprintf("`vmc start %[1]s` starts it, `vmc crashlogs %[1]s` shows the logs of crashed instances, "+
			"`vmc files %[1]s logs/staging.log` that of the last staging.", app.Name),
		cause: err,
	}
}

// showLogs prints the files of a folder that are not empty, and counts them.
func (s *session) showLogs(ctx context.Context, c *api.Client, app, instance, folder string) (int, error) {
	names, err := listing(ctx, c, app, instance, folder)
	if err != nil {
		return 0, err
	}
	shown := 0
	for _, name := range names {
		path := folder + "/" + name
		rc, err := c.File(ctx, app, instance, path)
		if err != nil {
			continue // gone since it was listed
		}
		some, err := s.showLog(rc, instance, path)
		if err != nil {
			return shown, err
		}
		if some {
			shown++
		}
	}
	return shown, nil
}

// showLog prints one file, unless it is empty.
func (s *session) showLog(rc io.ReadCloser, instance, path string) (bool, error) {
	defer rc.Close()
	r := bufio.NewReader(rc)
	if _, err := r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, err
	}
	if s.opts.prefix {
		return true, s.prefixed(r, instance, path)
	}
	s.say("====> %s <====\n", path)
	_, err := io.Copy(s.out, r)
	s.say("")
	return true, err
}

// prefixed prints lines with the place they come from.
func (s *session) prefixed(r *bufio.Reader, instance, path string) error {
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			s.say("[%s: %s] -%s", instance, path, strings.TrimSuffix(line, "\n"))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// listing are the names of the files in a folder of an instance, without its folders.
func listing(ctx context.Context, c *api.Client, app, instance, folder string) ([]string, error) {
	rc, err := c.File(ctx, app, instance, folder)
	data, err := read(rc, err, maxListing)
	if err != nil {
		return nil, err
	}
	return parseListing(string(data)), nil
}

// parseListing takes the last word of a line for the size and the rest for the name.
func parseListing(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		i := strings.LastIndexAny(line, " \t")
		if i < 0 {
			continue
		}
		if name := strings.TrimSpace(line[:i]); name != "" && !strings.HasSuffix(name, "/") {
			names = append(names, name)
		}
	}
	return names
}

// filesCommand prints a file or the listing of a folder, as it is.
func filesCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	path := "/"
	if len(args) == 2 {
		path = args[1]
	}
	instances, err := s.wanted(ctx, c, app.Name)
	if err != nil {
		return err
	}
	for _, instance := range instances {
		if s.opts.all {
			s.say("====> [%s: %s] <====\n", instance, path)
		}
		if err := s.copyFile(ctx, c, app, instance, path); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) copyFile(ctx context.Context, c *api.Client, app api.App, instance, path string) error {
	rc, err := c.File(ctx, app.Name, instance, path)
	if errors.Is(err, api.AppStopped) {
		return explainStopped(err, app)
	}
	var fault *api.Fault
	if errors.As(err, &fault) && (fault.Status == 404 || errors.Is(err, api.FileError)) {
		return &problem{text: "Error: No such file or directory", hint: "`vmc files " + app.Name + "` lists what there is.", cause: err}
	}
	if err != nil {
		return err
	}
	defer rc.Close()
	r := bufio.NewReader(rc)
	if s.opts.prefix {
		return s.prefixed(r, instance, path)
	}
	end := lastByte{w: s.out}
	if _, err := io.Copy(&end, r); err != nil {
		return err
	}
	if s.redraws && end.b != '\n' { // listings have no newline at their end
		s.say("")
	}
	return nil
}

// lastByte remembers how what it passes on ends.
type lastByte struct {
	w io.Writer
	b byte
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
	}
	return l.w.Write(p)
}

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
		if lines = append(lines, sc.Text()); len(lines) > n {
			lines = lines[1:]
		}
	}
	return lines
}
