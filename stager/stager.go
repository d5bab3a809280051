// Package stager turns the files of an app into a droplet: the folder, packed, that a
// DEA unpacks and starts.
//
// Protocol: answers requests on the subject "staging" in the queue group of that name.
// It fetches the files from the request's download_uri, puts the droplet to its
// upload_uri, and replies with the log. Log lines also go out on logs.<app> while they
// are written.
// State: none; a task is a container and a folder that end with it.
// Source: v1's stager and vcap-staging. What a framework needs is in its plugin
// (package frameworks); its commands run in the container, never outside.
package stager

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/component"
	"cloudlet/warden"
)

// Config bounds staging.
type Config struct {
	Frameworks []Framework
	Dir        string        // for archives under way
	Limit      time.Duration // for one task; 10 minutes where zero
	Tasks      int           // at once; 4 where zero
	Memory     int64         // bytes for a task's container; 1 GiB where zero
	Disk       int64         // bytes, unpacked; 2 GiB where zero
	// Mounts are folders of the host that runtimes need.
	Mounts []warden.Mount
}

// Stager is the component.
type Stager struct {
	cfg   Config
	bus   *bus.Bus
	pool  *warden.Pool
	log   *slog.Logger
	ready chan struct{}

	conn  *bus.Conn
	slots chan struct{}
}

// New assembles a stager.
func New(cfg Config, b *bus.Bus, pool *warden.Pool, log *slog.Logger) *Stager {
	if cfg.Limit == 0 {
		cfg.Limit = 10 * time.Minute
	}
	if cfg.Tasks == 0 {
		cfg.Tasks = 4
	}
	if cfg.Memory == 0 {
		cfg.Memory = 1 << 30
	}
	if cfg.Disk == 0 {
		cfg.Disk = 2 << 30
	}
	return &Stager{
		cfg: cfg, bus: b, pool: pool, log: log.With("component", "stager"),
		ready: make(chan struct{}), slots: make(chan struct{}, cfg.Tasks),
	}
}

// Ready is closed when requests are taken.
func (s *Stager) Ready() <-chan struct{} { return s.ready }

// handlePrefix begins the names of staging containers, so that those of a killed
// Cloudlet are found and removed.
const handlePrefix = "staging-"

// Run stages until ctx is cancelled; then tasks under way are given up.
func (s *Stager) Run(ctx context.Context) error {
	conn, err := s.bus.Connect("stager", s.log)
	if err != nil {
		return err
	}
	defer conn.Close()
	s.conn = conn
	if err := s.clean(ctx); err != nil {
		return err
	}
	var work sync.WaitGroup
	defer work.Wait()
	in, err := conn.Subscribe(bus.Staging.Answer(func(t bus.StagingTask, reply func(bus.StagingResult)) {
		work.Go(func() { reply(s.perform(ctx, t)) })
	}).Queue(bus.StagingQueue))
	if err != nil {
		return err
	}
	status, err := component.Start(conn, component.Spec{Type: "Stager", Numbers: s.varz}, s.log)
	if err != nil {
		return err
	}
	defer status.Close()
	close(s.ready)
	for {
		select {
		case m := <-in.C:
			in.Handle(m)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Stager) varz() any {
	return map[string]int{"running_tasks": len(s.slots), "max_tasks": cap(s.slots)}
}

// clean removes what a killed Cloudlet left.
func (s *Stager) clean(ctx context.Context) error {
	for _, c := range s.pool.List() {
		if strings.HasPrefix(c.Handle(), handlePrefix) {
			if err := c.Destroy(ctx); err != nil {
				s.log.Warn("left-over container", "handle", c.Handle(), "err", err)
			}
		}
	}
	if err := os.RemoveAll(s.cfg.Dir); err != nil {
		return err
	}
	return os.MkdirAll(s.cfg.Dir, 0o700)
}

// perform carries one task out and puts the outcome into v1's words.
func (s *Stager) perform(ctx context.Context, m bus.StagingTask) bus.StagingResult {
	t := &task{Stager: s, request: m, id: strings.ToLower(rand.Text())}
	result := bus.StagingResult{TaskID: t.id}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		result.Error = "the stager is shutting down"
		return result
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, s.cfg.Limit)
	defer cancel()
	err := t.run(limited)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		result.Error = "the stager is shutting down"
	case limited.Err() != nil:
		result.Error = fmt.Sprintf("Staging task failed:\n Staging timed out after %d seconds.", int(s.cfg.Limit.Seconds()))
		t.say("Staging timed out after %d seconds.", int(s.cfg.Limit.Seconds()))
	default:
		result.Error = "Staging task failed:\n " + err.Error()
	}
	result.TaskLog = t.text()
	s.log.Info("staged", "app", m.AppID, "framework", m.Properties.Framework, "dur", time.Since(began), "err", result.Error)
	return result
}
