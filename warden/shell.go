package warden

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"
)

// shell is what a container begins as: its folder, the disk in it, a user, an address, and a
// supervisor in namespaces that has yet to be told what to make of them. All of that takes
// longer than what is particular to a container, and is the same for all of a kind.
type shell struct {
	dir     string
	kind    kind
	user    int
	pid     int
	conn    *net.UnixConn
	address netip.Addr // invalid where the pool gives none
}

// kind is what a shell is made for.
type kind struct {
	level   Level
	network Network
	disk    int64 // bytes; 0 for none of its own
}

func (p *Pool) kindOf(r record) kind {
	k := kind{level: r.Level, network: r.Spec.Network}
	if p.disks != nil && r.Spec.Limits.Disk > 0 {
		k.disk = max(r.Spec.Limits.Disk, diskLeast)
	}
	return k
}

// diskLeast is the smallest disk, in bytes.
const diskLeast = 4 << 20

// makeShell makes one of the folder dir. An error leaves nothing behind but that.
func (p *Pool) makeShell(dir string, k kind) (s *shell, err error) {
	s = &shell{dir: dir, kind: k, user: noUser}
	defer func() {
		if err != nil {
			p.endShell(s)
			s = nil
		}
	}()
	if s.user, err = p.takeUser(k.level); err != nil {
		return s, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return s, err
	}
	if k.disk > 0 {
		if err := p.disks.make(dir, k.disk); err != nil {
			return s, err
		}
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return s, err
	}
	s.conn = conn
	defer theirs.Close()
	control, err := listenControl(dir)
	if err != nil {
		return s, err
	}
	defer control.Close()
	if s.pid, err = p.startSupervisor(dir, k, theirs, control); err != nil {
		return s, err
	}
	if p.net != nil && k.network != NetworkHost {
		if s.address, err = p.takeAddress(); err != nil {
			return s, err
		}
		if err := p.net.connect(s.record()); err != nil {
			return s, fmt.Errorf("network: %w", err)
		}
	}
	return s, s.prepare()
}

// prepare has the supervisor do what it can before it knows its container.
func (s *shell) prepare() error {
	if s.kind.level == Process {
		return nil
	}
	if err := os.Mkdir(filepath.Join(s.dir, rootName), 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	defer deadline(ctx, s.conn)()
	_, err := ask(s.conn, supervisor.KindPrepare, supervisor.Setup{Steps: prepareSteps(s.dir, s.kind)}.Encode())
	if errors.Is(err, ErrGone) {
		err = lastWords(s.dir, err)
	}
	return either(ctx.Err(), err)
}

// record is what the network needs to know of its container.
func (s *shell) record() record {
	return record{Spec: Spec{Network: s.kind.network}, Address: s.address, PID: s.pid}
}

// supervisorName is what the process table shows; the container's handle follows.
const supervisorName = "cloudlet-supervisor"

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
		Args:        []string{supervisorName, strings.Repeat("-", supervisor.HandleSpace)},
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

// spares are shells made in advance, one each of the kinds that were last asked for.
type spares struct {
	work sync.WaitGroup // those in the making

	mu   sync.Mutex // nobody holds it for long
	list []*spare   // the latest last
	made int
	open bool // while the pool is
}

// spare is a shell made in advance, or in the making.
type spare struct {
	kind  kind
	ready chan struct{} // closed when it is made
	shell *shell        // then: nil if it could not be
}

// sparesMost bounds the spares of a pool: applications and staging are two kinds.
const sparesMost = 2

// takeShell gives the container's folder dir as a shell. One that is in the making is
// waited for: another would be ready later, and hold up both.
func (p *Pool) takeShell(dir string, k kind) (*shell, error) {
	s := p.spares.take(k)
	if s == nil {
		return p.makeShell(dir, k)
	}
	// Another Cloudlet may have come to the same user meanwhile: see takeUser.
	if !s.alive() || k.level == Process && isRunning(s.user) {
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

// take gives a spare of a kind, nil if there is none.
func (s *spares) take(k kind) *shell {
	s.mu.Lock()
	i := s.index(k)
	if i < 0 {
		s.mu.Unlock()
		return nil
	}
	found := s.list[i]
	s.list = slices.Delete(s.list, i, i+1)
	s.mu.Unlock()
	<-found.ready
	return found.shell
}

// index finds a spare of a kind, -1 if there is none. The caller holds mu.
func (s *spares) index(k kind) int {
	return slices.IndexFunc(s.list, func(have *spare) bool { return have.kind == k })
}

// prepareShell has a spare of a kind made beside the caller, in the place of the oldest
// one where there are enough.
func (p *Pool) prepareShell(k kind) {
	s := &p.spares
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open || s.index(k) >= 0 {
		return
	}
	var old []*spare
	if len(s.list) == sparesMost {
		old, s.list = s.list[:1], s.list[1:]
	}
	s.made++
	dir := filepath.Join(p.cfg.Dir, fmt.Sprintf("%s%d", sparePrefix, s.made))
	fresh := &spare{kind: k, ready: make(chan struct{})}
	s.list = append(s.list, fresh)
	s.work.Go(func() {
		defer close(fresh.ready)
		p.dropSpares(old)
		var err error
		if fresh.shell, err = p.makeShell(dir, k); err != nil {
			p.log.Warn("no container was prepared", "err", err)
			p.removeDisk(dir)
		}
	})
}

// endShell ends the supervisor, which goes with its connection, and gives back user and address.
func (p *Pool) endShell(s *shell) {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.pid != 0 {
		collect(s.pid)
	}
	if err := p.disconnect(s.record()); err != nil {
		p.log.Warn("a link stays behind", "address", s.address, "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users.free(s.user)
	p.freeAddress(s.address)
}

// dropShell ends a shell and removes its folder.
func (p *Pool) dropShell(s *shell) {
	p.endShell(s)
	p.removeDisk(s.dir)
}

// dropSpares ends spares that nobody can take any more.
func (p *Pool) dropSpares(list []*spare) {
	for _, s := range list {
		if <-s.ready; s.shell != nil {
			p.dropShell(s.shell)
		}
	}
}

// openSpares allows spares to be made, and closeSpares ends all of them.
func (p *Pool) openSpares() {
	p.spares.mu.Lock()
	defer p.spares.mu.Unlock()
	p.spares.open = true
}

func (p *Pool) closeSpares() {
	p.spares.mu.Lock()
	list := p.spares.list
	p.spares.open, p.spares.list = false, nil
	p.spares.mu.Unlock()
	p.dropSpares(list)
	p.spares.work.Wait()
}
