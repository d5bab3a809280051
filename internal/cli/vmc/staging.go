package vmc

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"cloudlet/controller/api"
)

const (
	// dots are printed for so many seconds where there is no staging log.
	dots = 45
	// logGrace and noLogGrace are how long the end of the log is awaited when staging
	// has ended: with a log it comes at once; without one there was nothing to stage.
	logGrace   = 2 * time.Second
	noLogGrace = 50 * time.Millisecond
)

// stage sends a change that may make the server stage the app, and shows the log of
// that meanwhile; on servers without one, a dot a second.
func (s *session) stage(ctx context.Context, c *api.Client, name string, req api.AppRequest) error {
	what := fmt.Sprintf("Staging Application '%s': ", name)
	fmt.Fprint(s.out, what)
	done := make(chan error, 1)
	go func() { done <- c.UpdateApp(ctx, name, req) }()

	follow, stop := context.WithCancel(ctx)
	defer stop()
	lines, err := s.showStaging(followStaging(follow, c, name), done, stop)
	switch {
	case err != nil && lines == 0:
		s.say("")
	case err == nil && lines > 0:
		fmt.Fprint(s.out, what)
	}
	if stagingFault(err) && (lines == 0 || s.opts.quiet) {
		s.sayStagingLog(ctx, c, name)
	}
	if err == nil {
		s.ok(strings.TrimSuffix(what, ": "))
	}
	return err
}

// sayStagingLog prints the end of the log of a staging that failed, where nobody has seen
// it live.
func (s *session) sayStagingLog(ctx context.Context, c *api.Client, name string) {
	rc, err := c.File(ctx, name, "0", "logs/staging.log")
	if err != nil {
		return // there is none, or no cloud any more
	}
	defer rc.Close()
	if lines := lastLines(rc, tailLines); len(lines) > 0 {
		fmt.Fprintf(s.err, "====> /logs/staging.log <====\n\n%s\n\n", strings.Join(lines, "\n"))
	}
}

// showStaging prints the log until it ends and staging has, and counts its lines. It
// stops a log that goes on after that.
func (s *session) showStaging(log <-chan string, done <-chan error, stop func()) (lines int, err error) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	ticks := 0
	for done != nil || log != nil {
		select {
		case line, ok := <-log:
			if !ok {
				log = nil
				continue
			}
			if lines++; lines == 1 {
				s.say("")
			}
			s.say("  %s", harmless(line))
		case err = <-done:
			done = nil
			grace := logGrace
			if lines == 0 {
				grace = noLogGrace
			}
			defer time.AfterFunc(grace, stop).Stop()
		case <-second.C:
			if ticks++; log == nil && lines == 0 && ticks <= dots {
				fmt.Fprint(s.out, ".")
			}
		}
	}
	return lines, err
}

// followStaging sends the lines of the staging that is about to begin and then closes
// the channel; at once on a server that has no such log.
func followStaging(ctx context.Context, c *api.Client, name string) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		rc, err := c.StagingLog(ctx, name)
		if err != nil {
			return
		}
		defer rc.Close()
		sc := bufio.NewScanner(rc)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			select {
			case lines <- strings.TrimRight(sc.Text(), "\r"):
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
