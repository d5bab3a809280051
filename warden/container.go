package warden

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"
)

// askTime bounds a question to a supervisor, which answers at once unless
// something is badly wrong.
const askTime = 10 * time.Second

// killTime is how long a supervisor may take to end its container, or to answer a new
// Cloudlet, before it is killed itself.
const killTime = 5 * time.Second

// Container is a private place with at most one main process.
type Container struct {
	p    *Pool
	dir  string
	done chan struct{}

	group group // nil where the kernel holds no limits
	short chan struct{}

	conn      net.Conn      // open as long as the supervisor lives; nil if it was dead when found
	collected chan struct{} // closed when nothing is left of the supervisor
	next      func()        // has the shell of another such container made, once: after the start, which it would slow down
	released  chan struct{}
	letGoOnce sync.Once

	rec     record // does not change; the limits in force are below
	mu      sync.Mutex
	limits  Limits
	leaders []int // processes that lead a session, as far as they are known
	exit    Exit
	cpu     time.Duration // highest seen: a process may end between two reads
	disk    diskCount
	gone    bool // destroyed
	started bool // there is a main process
	destroy sync.Mutex
}

func newContainer(p *Pool, r record, dir string) *Container {
	return &Container{
		p: p, rec: r, dir: dir, limits: r.Spec.Limits, next: func() {},
		done: make(chan struct{}), collected: make(chan struct{}), released: make(chan struct{}), short: make(chan struct{}, 1),
	}
}

// adopt takes a container that an earlier pool has made; an error that is
// fs.ErrNotExist says that it was never completed.
func (p *Pool) adopt(ctx context.Context, dir string) (*Container, error) {
	c, err := p.find(ctx, dir)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		c.kill()
		collect(c.rec.PID)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	p.users.use(c.rec.User)
	p.ports.use(c.rec.Port)
	p.useAddress(c.rec.Address)
	if c.conn != nil {
		go c.watch()
		return c, nil
	}
	if c.rec.Disk {
		if err := mountDisk(dir); err != nil {
			p.log.Warn("the files of an ended container cannot be shown", "handle", c.Handle(), "err", err)
		}
	}
	c.ended()
	close(c.collected)
	return c, nil
}

// find reads what the container in dir is, and connects to its supervisor if that lives. If
// that does not answer in time the error is context.DeadlineExceeded.
func (p *Pool) find(ctx context.Context, dir string) (*Container, error) {
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	c := newContainer(p, r, dir)
	c.group = findGroup(r.Group)
	ctx, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	switch conn, main, err := attach(ctx, dir); {
	case err == nil:
		c.conn, c.started = conn, main != 0
		c.leads(main)
	case !errors.Is(err, ErrGone):
		return c, err
	}
	return c, nil
}

// attach gives a connection that tells the end of a supervisor, and the main
// process's number, 0 before it was started.
func attach(ctx context.Context, dir string) (*net.UnixConn, supervisor.Number, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return nil, 0, err
	}
	stop := deadline(ctx, conn)
	main, err := ask(conn, supervisor.KindWatch, nil)
	if !stop() || err != nil {
		conn.Close()
		return nil, 0, either(ctx.Err(), err)
	}
	return conn, main, nil
}

// watch waits for the end of the supervisor, which is the container's.
func (c *Container) watch() {
	if c.p.short != nil && c.group != nil {
		defer c.p.short.watch(c.group.path(), c.short)()
	}
	io.Copy(io.Discard, c.conn)
	select {
	case <-c.released:
		if c.State() == Made {
			collect(c.rec.PID) // it ends by itself
		}
		return
	default:
	}
	c.conn.Close()
	if c.group == nil {
		collect(c.rec.PID)
	}
	// With a group nobody waits for the supervisor: a group that could be removed was empty.
	c.ended()
	collect(c.rec.PID)
	close(c.collected)
}

func (c *Container) ended() {
	e := readExit(c.dir)
	if !e.Known && c.rec.Level == Process {
		// The supervisor was killed, and cannot have killed the others.
		c.mu.Lock()
		leaders := c.leaders
		c.mu.Unlock()
		sweep(c.rec, leaders)
	}
	if c.group != nil {
		// What was killed by itself, and not with all others, is no reason for an end
		// that came in another way.
		if c.group.starved() > 0 && (e.Status == 128+int(syscall.SIGKILL) || !e.Known) {
			e.Reason = OutOfMemory
		}
		if err := c.group.remove(); err != nil {
			c.p.log.Warn("a group stays behind", "group", c.rec.Group, "err", err)
		}
	}
	if c.rec.Pasta {
		os.Remove(filepath.Join(c.dir, supervisor.NetworkName)) // if the supervisor could not
	}
	c.mu.Lock()
	c.exit = e
	c.mu.Unlock()
	close(c.done)
}

// leads notes a process that the supervisor has started: at level process, its
// number finds what is left of its session if the supervisor is killed.
func (c *Container) leads(pid supervisor.Number) {
	if pid == 0 || c.rec.Level != Process {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaders = append(c.leaders, int(pid))
}

// follows forgets it again.
func (c *Container) follows(pid supervisor.Number) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaders = slices.DeleteFunc(c.leaders, func(p int) bool { return p == int(pid) })
}

// letGo ends the watch without an effect on the container.
func (c *Container) letGo() {
	c.letGoOnce.Do(func() {
		close(c.released)
		if c.conn != nil {
			c.conn.Close()
		}
	})
}

// Handle is the container's name.
func (c *Container) Handle() string { return c.rec.Spec.Handle }

// Spec is what the container was made from, with the limits now in force.
func (c *Container) Spec() Spec {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.rec.Spec
	s.Limits = c.limits
	s.Mounts = slices.Clone(s.Mounts)
	s.Properties = maps.Clone(s.Properties)
	return s
}

// Home is the writable folder, on the host. What is in there was written by
// the app: whoever reads it must not follow its links.
func (c *Container) Home() string { return c.rec.Home }

// HomeInside is the same folder as the processes inside see it.
func (c *Container) HomeInside() string {
	if c.rec.Level == Process {
		return c.rec.Home
	}
	return insideHome
}

// Port is where the container is reached, on 127.0.0.1 of the host and by the
// same number inside; 0 if it has none.
func (c *Container) Port() int { return c.rec.Port }

// Done is closed when the main process, or the supervisor, has ended. No
// process of the container is left then.
func (c *Container) Done() <-chan struct{} { return c.done }

// Short receives each time the container's processes had to wait for memory for a fifth
// of a second or so, a word of warning before they are killed; never where the kernel does not tell.
func (c *Container) Short() <-chan struct{} { return c.short }

// Exit tells how the main process ended; it is valid once Done is closed.
func (c *Container) Exit() Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exit
}

// Own gives everything below Home to the container's user. It follows no
// symbolic link, and leaves files alone that have names outside of Home.
func (c *Container) Own() error {
	if c.rec.User == noUser {
		return nil
	}
	return c.err(own(c.rec.Home, c.rec.User))
}

// Start starts the main process, once. It survives Cloudlet; its output goes
// to logs/stdout.log and logs/stderr.log below Home. ErrStarted says that
// there was one before, ErrGone that the container has ended.
func (c *Container) Start(cmd Command) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	pid, err := c.request(ctx, supervisor.KindStart, c.wireCommand(cmd).Encode())
	c.next()
	if err == nil {
		c.mu.Lock()
		c.started = true
		c.mu.Unlock()
	}
	c.leads(pid)
	return err
}

func (c *Container) wireCommand(cmd Command) supervisor.Command {
	dir := cmd.Dir
	if dir == "" {
		dir = c.HomeInside()
	}
	return supervisor.Command{Args: cmd.Args, Env: cmd.Env, Dir: dir}
}

// Signal sends a signal to the main process.
func (c *Container) Signal(sig syscall.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	_, err := c.request(ctx, supervisor.KindSignal, supervisor.Number(sig).Encode())
	return err
}

// SetLimits remembers the limits. Those of descriptors and processes hold for
// processes that are started from now on.
func (c *Container) SetLimits(l Limits) error {
	r := c.rec
	r.Spec.Limits = l
	c.mu.Lock()
	err := r.write(c.dir)
	if err == nil {
		c.limits = l
	}
	c.mu.Unlock()
	if err == nil && c.group != nil {
		err = c.group.limit(l)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is nothing left to limit
	}
	if err != nil {
		return c.err(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	_, err = c.request(ctx, supervisor.KindLimits, wireLimits(l).Encode())
	if errors.Is(err, ErrGone) {
		return nil // there is nothing left to limit
	}
	return errors.Join(err, c.shape(l.Bandwidth))
}

// Freeze stops all processes of the container where they are, until Thaw; ErrUnsupported
// where no control group does it. Stopping and destroying thaw.
func (c *Container) Freeze() error { return c.freeze(true) }

// Thaw lets a frozen container go on.
func (c *Container) Thaw() error { return c.freeze(false) }

func (c *Container) freeze(on bool) error {
	if c.group == nil {
		return c.err(fmt.Errorf("freeze: %w", errors.ErrUnsupported))
	}
	err := c.group.freeze(on)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrGone
	}
	return c.err(err)
}

// Stop sends TERM to all processes and KILL after grace, and returns when all
// have ended. A container that has ended is no error.
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	if c.group != nil {
		c.Thaw() // one that has ended needs none
	}
	_, err := c.request(ctx, supervisor.KindStop, supervisor.Number(grace).Encode())
	if err != nil && !errors.Is(err, ErrGone) {
		return err
	}
	return c.wait(ctx)
}

func (c *Container) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return nil
	case <-c.released:
		return c.err(ErrClosed)
	case <-ctx.Done():
		return c.err(ctx.Err())
	}
}

// Destroy stops the container without grace and removes all there is of it. It
// may be called again, also after an error.
func (c *Container) Destroy(ctx context.Context) error {
	c.destroy.Lock()
	defer c.destroy.Unlock()
	if c.gone {
		return nil
	}
	c.next()
	if err := c.end(ctx); err != nil {
		return err
	}
	select {
	case <-c.collected:
	case <-ctx.Done():
		return c.err(ctx.Err())
	}
	if c.rec.Level == Process {
		sweep(c.rec, nil)
	}
	if err := c.p.disconnect(c.rec); err != nil {
		return c.err(err)
	}
	if err := c.p.removeFolders(c.rec.Spec.Handle); err != nil {
		return c.err(err)
	}
	c.p.forget(c.rec)
	c.gone = true
	return nil
}

// end has the supervisor end everything and, where it does not, kills it.
func (c *Container) end(ctx context.Context) error {
	polite, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	err := c.Stop(polite, 0)
	if err == nil || errors.Is(err, ErrClosed) || ctx.Err() != nil {
		return err
	}
	c.kill()
	return c.wait(ctx)
}

// kill ends everything without the supervisor's help.
func (c *Container) kill() {
	c.p.log.Warn("killing a supervisor that does not answer", "handle", c.Handle())
	if c.group != nil {
		c.group.freeze(false) // cgroup v1 ends nothing that is frozen
		c.group.kill()
	}
	killSupervisor(c.rec)
}
