package warden

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"
)

// shell is what a container begins as: its folder, the disk in it, and a supervisor in
// namespaces that has yet to be told what to make of them. All of that takes longer than
// what is particular to a container, and is the same for all of a kind.
type shell struct {
	dir  string
	pid  int
	conn *net.UnixConn
}

// kind is what a shell is made for.
type kind struct {
	level   Level
	network bool  // of its own
	disk    int64 // bytes; 0 for none of its own
}

func (p *Pool) kindOf(r record) kind {
	k := kind{level: r.Level, network: r.Spec.Network != NetworkHost}
	if p.disks != nil && r.Spec.Limits.Disk > 0 {
		k.disk = max(r.Spec.Limits.Disk, diskLeast)
	}
	return k
}

// diskLeast is the smallest disk, in bytes.
const diskLeast = 4 << 20

// makeShell makes the folder dir into one. What an error leaves behind is the caller's to
// remove.
func (p *Pool) makeShell(dir string, k kind) (*shell, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if k.disk > 0 {
		if err := p.disks.make(dir, k.disk); err != nil {
			return nil, err
		}
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	control, err := listenControl(dir)
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer control.Close()
	s := &shell{dir: dir, conn: conn}
	if s.pid, err = p.startSupervisor(dir, k, theirs, control); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// startSupervisor starts one in the namespaces of its kind. The settings of its runtime
// keep it small: it has one goroutine that works, and hardly makes garbage. Its second
// argument is room for the container's handle.
func (p *Pool) startSupervisor(dir string, k kind, files ...*os.File) (int, error) {
	stderr, err := os.OpenFile(filepath.Join(dir, errorName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer stderr.Close()
	cmd := &exec.Cmd{
		Path:        selfPath(p.binary),
		Args:        []string{"cloudlet-supervisor", strings.Repeat("-", supervisor.HandleSpace)},
		Env:         []string{supervisor.Env + "=1", "GOMAXPROCS=1", "GOTRACEBACK=single"},
		Dir:         "/",
		Stderr:      stderr,
		ExtraFiles:  files,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	namespaces(cmd.SysProcAttr, k)
	if p.groups != nil {
		joinGroup(cmd.SysProcAttr, p.groups.supervisors())
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the supervisor: %w", err)
	}
	children.Store(cmd.Process.Pid, cmd)
	return cmd.Process.Pid, nil
}

// alive says whether the supervisor still waits: it sends nothing before it is asked.
func (s *shell) alive() bool {
	s.conn.SetReadDeadline(time.Unix(1, 0))
	defer s.conn.SetReadDeadline(time.Time{})
	_, err := s.conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// end ends the supervisor, which goes with its connection.
func (s *shell) end() {
	s.conn.Close()
	collect(s.pid)
}

// spares are shells made in advance, one each of the kinds that were last asked for.
type spares struct {
	mu   sync.Mutex // held while one is made
	list []spare    // the latest last
	made int
	open bool // while the pool is
	work sync.WaitGroup
}

type spare struct {
	kind  kind
	shell *shell
}

// sparesMost bounds the spares of a pool: applications and staging are two kinds.
const sparesMost = 2

// takeShell gives the container's folder dir as a shell, and has another one made.
func (p *Pool) takeShell(dir string, k kind) (*shell, error) {
	s, open := p.spares.take(k)
	if open {
		defer p.prepareShell(k)
	}
	if s == nil {
		return p.makeShell(dir, k)
	}
	if !s.alive() {
		p.dropShell(s)
		return p.makeShell(dir, k)
	}
	if err := os.Rename(s.dir, dir); err != nil {
		p.dropShell(s)
		return nil, err
	}
	s.dir = dir
	return s, nil
}

func (s *spares) set(open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = open
}

// take gives a spare of a kind, nil if there is none, and says if there may be another.
func (s *spares) take(k kind) (found *shell, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, have := range s.list {
		if have.kind == k {
			s.list = append(s.list[:i], s.list[i+1:]...)
			return have.shell, s.open
		}
	}
	return nil, s.open
}

// prepareShell makes a spare of a kind, beside the caller.
func (p *Pool) prepareShell(k kind) {
	p.spares.work.Go(func() {
		p.spares.mu.Lock()
		defer p.spares.mu.Unlock()
		if !p.spares.open || p.spares.has(k) {
			return
		}
		if len(p.spares.list) == sparesMost {
			p.dropShell(p.spares.list[0].shell)
			p.spares.list = p.spares.list[1:]
		}
		p.spares.made++
		dir := filepath.Join(p.cfg.Dir, fmt.Sprintf("%s%d", sparePrefix, p.spares.made))
		s, err := p.makeShell(dir, k)
		if err != nil {
			p.log.Warn("no container was prepared", "err", err)
			p.removeDisk(dir)
			return
		}
		p.spares.list = append(p.spares.list, spare{k, s})
	})
}

func (s *spares) has(k kind) bool {
	for _, have := range s.list {
		if have.kind == k {
			return true
		}
	}
	return false
}

// dropShell ends a shell and removes its folder.
func (p *Pool) dropShell(s *shell) {
	s.end()
	p.removeDisk(s.dir)
}

// closeSpares ends all of them.
func (p *Pool) closeSpares() {
	p.spares.set(false)
	p.spares.work.Wait()
	for _, s := range p.spares.list {
		p.dropShell(s.shell)
	}
	p.spares.list = nil
}
