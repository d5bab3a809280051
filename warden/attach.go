package warden

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Attached are the containers of a pool's folder for somebody who does not hold the pool:
// the operator, whether the pool is open or not. They may be asked, and Run in; ending
// and destroying them is the pool's business.
func Attached(ctx context.Context, dir string) ([]*Container, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := New(Config{Dir: dir}, slog.New(slog.DiscardHandler))
	var list []*Container
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !e.IsDir() {
			continue
		}
		// One that is being made, or removed, is none.
		c, err := p.find(ctx, filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if c.conn == nil {
			c.exit = readExit(c.dir)
			close(c.done)
		}
		list = append(list, c)
	}
	return list, nil
}

// Detach lets go of containers that Attached gave.
func Detach(list []*Container) {
	for _, c := range list {
		c.letGo()
	}
}

// State is how far a container is.
type State string

// The states of a container.
const (
	Made    State = "made" // without a main process yet
	Running State = "running"
	Ended   State = "ended"
)

// State tells how far the container is, when it was found or made.
func (c *Container) State() State {
	select {
	case <-c.done:
		return Ended
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		return Running
	}
	return Made
}

// PID is the process number of the supervisor, good as long as the container lives.
func (c *Container) PID() int { return c.rec.PID }

// Level is how the container was isolated when it was made.
func (c *Container) Level() Level { return c.rec.Level }
