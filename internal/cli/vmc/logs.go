package vmc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"cloudlet/controller/api"
)

// maxListing bounds the listing of a folder.
const maxListing = 1 << 20

// logsCommand prints all log files of an instance, or of all; with --tail or --recent the
// lines of all instances as one log.
func logsCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	if s.opts.tail || s.opts.recent || s.opts.lines != nil {
		return s.tailCommand(ctx, c, app)
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

// oneInstance is the one that --instance names, by index, id or the name that crashes
// gave it, else the first one.
func (s *session) oneInstance() (string, error) {
	if s.opts.instance == "" {
		return "0", nil
	}
	known, err := s.files.readInstances()
	if id := known[s.opts.instance]; id != "" {
		return id, err
	}
	return s.opts.instance, err
}

// wanted are the instances that --instance or --all name, else the first one.
func (s *session) wanted(ctx context.Context, c *api.Client, app string) ([]string, error) {
	if !s.opts.all {
		one, err := s.oneInstance()
		return []string{one}, err
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
	if s.opts.json {
		return true, s.printFile(r, instance, path)
	}
	if s.opts.prefix {
		return true, s.sayLines(r, fmt.Sprintf("[%s: %s] -", instance, path))
	}
	s.say("====> %s <====\n", path)
	var err error
	if s.shown {
		err = s.sayLines(r, "")
	} else {
		_, err = io.Copy(s.out, r)
	}
	s.say("")
	return true, err
}

// sayLines prints lines behind a prefix.
func (s *session) sayLines(r *bufio.Reader, prefix string) error {
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			s.say("%s%s", prefix, strings.TrimSuffix(line, "\n"))
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
