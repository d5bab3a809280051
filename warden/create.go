package warden

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"
)

// children are the supervisors that this process has started and not yet
// collected. They belong to the process and not to a pool: one pool may start
// a supervisor and the next one see its end.
var children sync.Map // process id → *exec.Cmd

// collect waits for a supervisor whose end has begun: its connections are
// closed before the kernel has ended the processes of its namespace.
func collect(pid int) {
	if cmd, ok := children.LoadAndDelete(pid); ok {
		cmd.(*exec.Cmd).Wait()
		return
	}
	for range 200 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Create makes a container: its folder, user, port, and a supervisor in its
// namespaces. Nothing runs in it yet. What an error leaves behind is undone.
func (p *Pool) Create(ctx context.Context, s Spec) (c *Container, err error) {
	if s.Network == "" {
		s.Network = NetworkOwn
	}
	if err := p.claim(s.Handle); err != nil {
		return nil, err
	}
	m := making{p: p, rec: record{Spec: s, Level: p.iso.Level, User: noUser}, dir: filepath.Join(p.cfg.Dir, s.Handle)}
	defer m.release()
	if err := m.make(ctx); err != nil {
		m.undo()
		return nil, fmt.Errorf("create container %s: %w", s.Handle, err)
	}
	c = newContainer(p, m.rec, m.dir)
	c.conn, c.group = m.conn, m.group
	c.next = sync.OnceFunc(func() { p.prepareShell(p.kindOf(m.rec)) })
	p.mu.Lock()
	p.containers[s.Handle] = c
	p.mu.Unlock()
	go c.watch()
	return c, nil
}

// probe makes a container, which is the only sure way to know that it works.
func (p *Pool) probe(ctx context.Context, level Level) error {
	m := making{p: p, rec: record{Spec: Spec{Handle: ".probe", Network: NetworkOwn}, Level: level, User: noUser}}
	m.dir = filepath.Join(p.cfg.Dir, m.rec.Spec.Handle)
	defer m.release()
	defer m.undo()
	return m.make(ctx)
}

// making is a container on its way.
type making struct {
	p     *Pool
	rec   record
	dir   string
	group group      // nil where the kernel holds no limits
	clone bool       // the group is cloned into
	files []*os.File // what the supervisor is given with its setup
	relay bool
	conn  *net.UnixConn

	groupFiles int  // how many of files are the group's
	landlock   bool // the last of files are rules of Landlock
}

func (m *making) make(ctx context.Context) (err error) {
	if err := m.shell(); err != nil {
		return err
	}
	if err := m.folders(); err != nil {
		return err
	}
	if err := m.port(); err != nil {
		return err
	}
	if err := m.enclose(); err != nil {
		return err
	}
	if err := m.rules(); err != nil {
		return err
	}
	if err := m.connect(ctx); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if err := m.setUp(ctx); err != nil {
		return err
	}
	return m.rec.write(m.dir)
}

// rules makes those of Landlock, where they are what keeps files apart.
func (m *making) rules() error {
	f, err := m.p.fileRules(m.rec)
	if f != nil {
		m.files, m.landlock = append(m.files, f), true
	}
	return err
}

// enclose makes the control group in which the container's processes will be.
func (m *making) enclose() (err error) {
	if m.p.groups == nil {
		return nil
	}
	if m.group, err = m.p.groups.create(m.rec.Spec.Handle, m.rec.Spec.Limits); err != nil {
		return err
	}
	m.rec.Group = m.group.path()
	files, clone, err := m.group.files()
	m.files, m.clone = append(m.files, files...), clone
	m.groupFiles = len(files)
	return err
}

// shell takes the container's folder with its supervisor, and decides where home and /tmp
// lie: with a limit that the kernel holds, in a file system of that size.
func (m *making) shell() error {
	// What lies there under this name belongs to no container.
	if err := m.p.removeFolders(m.rec.Spec.Handle); err != nil {
		return err
	}
	k := m.p.kindOf(m.rec)
	s, err := m.p.takeShell(m.dir, k)
	if err != nil {
		return err
	}
	m.conn, m.rec.User, m.rec.PID, m.rec.Address = s.conn, s.user, s.pid, s.address
	at := m.dir
	if m.rec.Disk = k.disk > 0; m.rec.Disk {
		at = filepath.Join(m.dir, diskName)
	}
	m.rec.Home = filepath.Join(at, homeName)
	if m.p.homes != "" {
		m.rec.Home = filepath.Join(m.p.homes, m.rec.Spec.Handle)
	}
	return nil
}

// folders makes, owned by the container's user, home and /tmp.
func (m *making) folders() error {
	folders := []string{m.rec.Home}
	if m.rec.Level != Process {
		folders = append(folders, m.rec.tmp())
	}
	for _, f := range folders {
		if err := os.Mkdir(f, 0o700); err != nil {
			return err
		}
		if m.rec.User == noUser {
			continue
		}
		if err := os.Lchown(f, m.rec.User, m.rec.User); err != nil {
			return err
		}
	}
	return nil
}

// port takes the container's port. With a network of its own the container is
// reached through a relay, whose socket the supervisor gets; else the port
// is only set aside for the app, which binds it itself.
func (m *making) port() error {
	if !m.rec.Spec.Port {
		return nil
	}
	m.relay = m.rec.Level != Process && m.rec.Spec.Network != NetworkHost
	addr := [4]byte{}
	if m.relay {
		addr = [4]byte{127, 0, 0, 1}
	}
	port, fd, err := m.p.takePort(addr)
	if err != nil {
		return err
	}
	m.rec.Port = port
	f := os.NewFile(uintptr(fd), "port")
	if !m.relay {
		return f.Close()
	}
	m.files = append(m.files, f)
	return nil
}

// setUp tells the supervisor what to make, and waits until it has.
func (m *making) setUp(ctx context.Context) error {
	defer deadline(ctx, m.conn)()
	links, err := m.links()
	if err != nil {
		return err
	}
	set := supervisor.Setup{
		Handle:   m.rec.Spec.Handle,
		Folder:   m.dir,
		Home:     m.rec.Home,
		Isolated: m.rec.Level != Process,
		Owner:    m.rec.inside(),
		Rootless: m.rec.Level == Rootless,
		LogMax:   m.p.cfg.LogMax,
		Limits:   wireLimits(m.rec.Spec.Limits),
		Groups:   m.groupFiles,
		Clone:    m.clone,
		Links:    links,
		Filter:   string(m.p.filter),
		Landlock: m.landlock,
	}
	if m.relay {
		set.Relay = m.rec.Port
	}
	if set.Isolated {
		set.Steps = steps(m.rec, m.dir, m.group)
	}
	_, err = ask(m.conn, supervisor.KindSetup, set.Encode(), m.files...)
	m.release()
	if errors.Is(err, ErrGone) {
		err = lastWords(m.dir, err)
	}
	return either(ctx.Err(), err)
}

// lastWords adds what the supervisor said when it died.
func lastWords(dir string, err error) error {
	f, e := os.Open(filepath.Join(dir, errorName))
	if e != nil {
		return err
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 1<<10))
	if len(b) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, b)
}

// release closes what only the supervisor needs.
func (m *making) release() {
	closeAll(m.files)
	m.files = nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// undo takes back a container that could not be made.
func (m *making) undo() {
	if m.conn != nil {
		m.conn.Close()
	}
	if m.rec.PID != 0 {
		syscall.Kill(m.rec.PID, syscall.SIGKILL)
		collect(m.rec.PID)
	}
	if m.group != nil {
		if err := m.group.remove(); err != nil {
			m.p.log.Warn("a group stays behind", "group", m.rec.Group, "err", err)
		}
	}
	if err := m.p.disconnect(m.rec); err != nil {
		m.p.log.Warn("a link stays behind", "handle", m.rec.Spec.Handle, "err", err)
	}
	if err := m.p.removeFolders(m.rec.Spec.Handle); err != nil {
		m.p.log.Warn("a half-made container stays behind", "handle", m.rec.Spec.Handle, "err", err)
	}
	m.p.forget(m.rec)
}

func wireLimits(l Limits) supervisor.Limits {
	return supervisor.Limits{Files: uint64(max(l.Files, 0)), Processes: uint64(max(l.Processes, 0))}
}
