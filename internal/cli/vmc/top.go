package vmc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cloudlet/controller/api"
)

const (
	topEvery = 2 * time.Second
	// topAtOnce is how many apps are asked about at the same time.
	topAtOnce = 4
)

// usage is a line of top: an instance and what it uses.
type usage struct {
	App       string  `json:"app"`
	Index     int     `json:"index"`
	State     string  `json:"state"`
	CPU       float64 `json:"cpu"`        // percent of a core
	Mem       int64   `json:"mem"`        // bytes
	MemQuota  int64   `json:"mem_quota"`  // bytes
	Disk      int64   `json:"disk"`       // bytes
	DiskQuota int64   `json:"disk_quota"` // bytes
	Uptime    float64 `json:"uptime"`     // seconds
}

// topCommand shows what all instances use, over and over on a terminal and once elsewhere.
func topCommand(ctx context.Context, s *session, _ []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	if s.keyboard != nil && s.redraws && !s.opts.json {
		return s.topLive(ctx, c)
	}
	list, err := usages(ctx, c)
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(list)
	}
	s.show("No running instances", usageRows(list))
	return nil
}

// usages asks for the stats of all apps that are started.
func usages(ctx context.Context, c *api.Client) ([]usage, error) {
	apps, err := c.Apps(ctx)
	if err != nil {
		return nil, err
	}
	list := []usage{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(topAtOnce)
	for _, app := range apps {
		if app.State != api.Started {
			continue
		}
		g.Go(func() error {
			stats, err := c.Stats(ctx, app.Name)
			if errors.Is(err, api.AppNotFound) {
				return nil // deleted since
			}
			mu.Lock()
			defer mu.Unlock()
			for index, st := range stats {
				list = append(list, usageOf(app.Name, index, st))
			}
			return err
		})
	}
	err = g.Wait()
	slices.SortFunc(list, func(a, b usage) int {
		if a.App == b.App {
			return a.Index - b.Index
		}
		return strings.Compare(a.App, b.App)
	})
	return list, err
}

func usageOf(app string, index int, st api.InstanceStats) usage {
	u := usage{App: app, Index: index, State: st.State}
	if st.Stats == nil {
		return u
	}
	u.MemQuota, u.DiskQuota = st.Stats.MemQuota, st.Stats.DiskQuota
	u.Uptime, _ = st.Stats.Uptime.Float64() // what is no number shows as 0, as in stats
	if now := st.Stats.Usage; now != nil {
		kib, _ := now.Mem.Float64()
		u.Mem, u.Disk = int64(kib*1024), now.Disk
		u.CPU, _ = now.CPU.Float64()
	}
	return u
}

// usageRows begin with what is looked for first: a narrow window shows no more.
func usageRows(list []usage) [][]string {
	rows := [][]string{{"Application", "#", "CPU", "Memory (limit)", "State", "Disk (limit)", "Uptime"}}
	for _, u := range list {
		row := []string{u.App, strconv.Itoa(u.Index), "", "", u.State}
		if u.MemQuota > 0 {
			row[2] = fmt.Sprintf("%.1f%%", u.CPU)
			row[3] = fmt.Sprintf("%s (%s) %d%%", size(u.Mem, 1), size(u.MemQuota, 0), 100*u.Mem/u.MemQuota)
			row = append(row, fmt.Sprintf("%s (%s)", size(u.Disk, 1), size(u.DiskQuota, 0)), uptime(u.Uptime))
		}
		rows = append(rows, row)
	}
	return rows
}

// The other screen of a terminal, so that what was on it comes back; without a cursor.
const (
	otherScreen = "\x1b[?1049h\x1b[?25l"
	firstScreen = "\x1b[?25h\x1b[?1049l"
)

// topLive shows them until q or Ctrl-C.
func (s *session) topLive(ctx context.Context, c *api.Client) error {
	ctx, raw, err := s.raw(ctx, otherScreen, firstScreen)
	if err != nil {
		return err
	}
	defer raw.restore()
	keys := make(chan rune)
	go s.readKeys(ctx, keys)
	screen := screen{raw: raw, title: fmt.Sprintf("%s  %s", c.Target, s.info.User)}
	for {
		list, err := usages(ctx, c)
		var refused *api.Fault
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &refused) && refused.Code != 0 && refused.Status < 500:
			return err
		case err != nil:
			screen.trouble = rootCause(err).Error()
		default:
			screen.rows, screen.trouble = usageRows(list), ""
		}
		if screen.wait(ctx, keys) {
			return nil
		}
	}
}

// readKeys reads the keyboard. It ends with the process, since a read cannot be ended.
func (s *session) readKeys(ctx context.Context, keys chan<- rune) {
	for {
		r, _, err := s.in.ReadRune()
		if err != nil {
			r = ctrlD
		}
		select {
		case keys <- r:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// screen is what top shows.
type screen struct {
	raw            *rawMode
	title, trouble string
	rows           [][]string
}

// wait draws until it is time to ask again, and tells whether it is time to end.
func (v *screen) wait(ctx context.Context, keys <-chan rune) (quit bool) {
	again := time.After(topEvery)
	for {
		v.draw()
		select {
		case <-again:
			return false
		case <-v.raw.resized:
		case key := <-keys:
			switch key {
			case 'q', 'Q', ctrlC, ctrlD:
				return true
			case ctrlZ:
				suspend()
			}
		case <-ctx.Done():
			return true
		}
	}
}

// draw fills the window, and no more than it.
func (v *screen) draw() {
	height, width := v.raw.size()
	lines := []string{fmt.Sprintf("%s  %s", time.Now().Format(time.TimeOnly), v.title)}
	if len(v.rows) <= 1 {
		lines = append(lines, "", "No running instances")
	} else {
		rows, _ := even(v.rows)
		lines = append(lines, "")
		for _, row := range rows {
			lines = append(lines, strings.Join(row, "  "))
		}
	}
	last := "q quits"
	if room := max(1, height-2); len(lines) > room {
		last += fmt.Sprintf(", %d more in a higher window", len(lines)-room)
		lines = lines[:room]
	}
	if v.trouble != "" {
		last = v.raw.color(red, cut("No answer ("+v.trouble+"), asking again", width))
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for _, line := range lines {
		b.WriteString(cut(line, width) + "\x1b[K\r\n")
	}
	b.WriteString(last + "\x1b[K\x1b[J")
	fmt.Fprint(v.raw.out, b.String())
}
