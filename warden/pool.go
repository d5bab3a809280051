package warden

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config says where containers live and what they may take of the host.
type Config struct {
	Dir       string        // folder for containers, made 0700
	LogMax    int64         // bytes of a log file before it is rotated, default 1 MiB; one old generation is kept
	DiskEvery time.Duration // minimum age of a disk count, default 10 s; see Usage
	Level     Level         // a level at most this one; empty is the highest that works
	Ports     [2]int        // range of container ports, default 61001 to 65000 as in v1
}

func (c Config) withDefaults() Config {
	c.LogMax = cmp.Or(c.LogMax, 1<<20)
	c.DiskEvery = cmp.Or(c.DiskEvery, 10*time.Second)
	c.Ports = cmp.Or(c.Ports, [2]int{61001, 65000})
	return c
}

// The users of containers, where each has its own.
const (
	firstUser = 52000
	lastUser  = 59999
)

// lockName is the file in Config.Dir that keeps a second pool away.
const lockName = ".lock"

var handlePattern = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Pool makes containers and finds them again.
type Pool struct {
	cfg      Config
	log      *slog.Logger
	binary   string // Cloudlet's own
	homes    string // where homes lie that their users must walk to; empty elsewhere
	iso      Isolation
	groups   groups     // nil where limits are watched
	short    *pressures // nil where the kernel does not tell of memory that runs short
	disks    *disks     // nil where limits of disk are watched
	filter   []byte     // of system calls; empty where there is none
	landlock int        // version of its interface; 0 where it is not used
	lock     *os.File
	disk     pacer

	spares spares

	removed  atomic.Int64   // folders so far
	removing sync.WaitGroup // those that are on their way out

	pasta string   // the program, if it is the way outward of new containers
	proxy *proxy   // nil where containers need none
	net   *network // nil where containers have no addresses of their own

	mu         sync.Mutex
	containers map[string]*Container // nil while one is being made
	users      numbers
	ports      numbers
}

// New only assembles.
func New(cfg Config, log *slog.Logger) *Pool {
	cfg = cfg.withDefaults()
	return &Pool{
		cfg:        cfg,
		log:        log.With("component", "warden"),
		containers: map[string]*Container{},
		users:      newNumbers(firstUser, lastUser),
		ports:      newNumbers(cfg.Ports[0], cfg.Ports[1]),
	}
}

// Open finds out the level, and the containers of an earlier pool in the same
// folder: those that still run are adopted, those that ended meanwhile are
// listed with their Exit until they are destroyed, half-made ones are removed.
func (p *Pool) Open(ctx context.Context) (err error) {
	if p.binary, err = os.Executable(); err != nil {
		return err
	}
	if p.cfg.Dir, err = filepath.Abs(p.cfg.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(p.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(p.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := p.takeLock(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.lock.Close()
		}
	}()
	p.iso = p.findLevel(ctx)
	if err := p.useNetwork(ctx); err != nil {
		return err
	}
	if p.iso.Level == Process {
		p.confine()
	}
	if p.iso.Level == Process && ownUsers {
		if p.homes, err = makeHomes(p.cfg.Dir); err != nil {
			return err
		}
	}
	if p.binary, err = p.executable(); err != nil {
		return err
	}
	if err := p.adoptAll(ctx); err != nil {
		return err
	}
	p.openSpares()
	return p.sweepNetwork()
}

// binaryCopy names the copy of the binary that containers may run.
const binaryCopy = ".bin/cloudlet"

// executable is the binary by a path at which the users of containers may run it. One
// that is its owner's alone, or lies in a folder that is, gets a copy.
func (p *Pool) executable() (string, error) {
	folder := p.homes
	if p.iso.Level == Full {
		folder = p.cfg.Dir
	}
	if folder == "" || mayRun(p.binary, p.iso.Level == Process) {
		return p.binary, nil
	}
	from, err := os.Open(p.binary)
	if err != nil {
		return "", err
	}
	defer from.Close()
	path := filepath.Join(folder, binaryCopy)
	// What runs of an older copy keeps it: it is replaced, not written over.
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return path, errors.Join(err, to.Close())
}

// mayRun tells whether anybody may execute the file and, where that counts, pass all
// folders above it.
func mayRun(path string, byPath bool) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o005 != 0o005 {
		return false
	}
	for dir := filepath.Dir(path); byPath; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return true
}

func (p *Pool) takeLock() error {
	f, err := os.OpenFile(filepath.Join(p.cfg.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("containers in %s belong to another Cloudlet: %w", p.cfg.Dir, err)
	}
	p.lock = f
	return nil
}

func (p *Pool) adoptAll(ctx context.Context) error {
	entries, err := os.ReadDir(p.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(p.cfg.Dir, e.Name())
		if strings.HasPrefix(e.Name(), gonePrefix) || strings.HasPrefix(e.Name(), sparePrefix) {
			p.removeDisk(dir)
		}
		if strings.HasPrefix(e.Name(), ".") || !e.IsDir() {
			continue
		}
		c, err := p.adopt(ctx, dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.log.Info("removing a half-made container", "handle", e.Name())
			p.removeFolders(e.Name())
		case err != nil:
			p.log.Warn("not a container: left as it is", "folder", dir, "err", err)
		default:
			p.containers[c.rec.Spec.Handle] = c
		}
	}
	p.sweep()
	return nil
}

// sweep removes what a crash left of containers that are not there any more.
func (p *Pool) sweep() {
	if p.groups == nil {
		return
	}
	keep := map[string]bool{}
	for _, c := range p.containers {
		keep[c.rec.Group] = true
	}
	p.groups.sweep(keep)
}

// Isolation tells the level in force.
func (p *Pool) Isolation() Isolation { return p.iso }

// Binary gives the mount that shows Cloudlet's own binary inside a container,
// and the path by which a process inside calls it.
func (p *Pool) Binary() (Mount, string) {
	inside := p.binary
	if p.iso.Level != Process {
		inside = "/cloudlet"
	}
	return Mount{Source: p.binary, Target: inside}, inside
}

// List gives all containers, by handle.
func (p *Pool) List() []*Container {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l []*Container
	for _, c := range p.containers {
		if c != nil {
			l = append(l, c)
		}
	}
	slices.SortFunc(l, func(a, b *Container) int { return strings.Compare(a.Handle(), b.Handle()) })
	return l
}

// Get gives one container, or ErrUnknownHandle.
func (p *Pool) Get(handle string) (*Container, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.containers[handle]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%q: %w", handle, ErrUnknownHandle)
}

// Close lets go of all containers. Those with a main process keep running;
// those without one end by themselves; of those that have ended only files stay.
func (p *Pool) Close() error {
	for _, c := range p.List() {
		c.letGo()
		if c.State() == Ended && c.rec.Disk {
			// Open mounts it again.
			if err := unmountDisk(c.dir); err != nil {
				p.log.Warn("close", "handle", c.Handle(), "err", err)
			}
		}
	}
	p.closeSpares()
	p.removing.Wait()
	if p.homes != "" {
		os.RemoveAll(filepath.Join(p.homes, filepath.Dir(binaryCopy))) // Open makes it anew
		os.Remove(p.homes)                                             // these two stay unless they are empty
		os.Remove(filepath.Dir(p.homes))
	}
	if p.groups != nil {
		p.groups.close()
	}
	if p.proxy != nil {
		p.proxy.close()
	}
	if p.short != nil {
		p.short.close()
	}
	if p.lock == nil {
		return nil
	}
	return errors.Join(p.closeNetwork(), p.lock.Close())
}

// claim takes a handle, so that nobody else makes a container of this name.
func (p *Pool) claim(handle string) error {
	if !handlePattern.MatchString(handle) {
		return fmt.Errorf("container handle %q: only a-z, 0-9 and -, at most 64", handle)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, taken := p.containers[handle]; taken {
		return fmt.Errorf("%q: %w", handle, ErrHandleTaken)
	}
	p.containers[handle] = nil
	return nil
}

// forget gives back what a container held in the pool.
func (p *Pool) forget(r record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.containers, r.Spec.Handle)
	p.users.free(r.User)
	p.ports.free(r.Port)
	p.freeAddress(r.Address)
}

// takeUser gives a user id that nobody has, or noUser where containers run as
// Cloudlet itself. Another Cloudlet's containers may have the same, which does no harm in
// namespaces; at level process, where it would, the process table is asked.
func (p *Pool) takeUser(level Level) (int, error) {
	if !ownUsers {
		return noUser, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users.take(func(id int) bool { return !isUser(id) && (level != Process || !isRunning(id)) })
}

// removeFolders removes all that a container has on disk.
func (p *Pool) removeFolders(handle string) error {
	var errs []error
	if exists(filepath.Join(p.cfg.Dir, handle, imageName)) {
		return p.removeLater(handle)
	}
	if p.homes != "" {
		errs = append(errs, removeTree(filepath.Join(p.homes, handle)))
	}
	return errors.Join(append(errs, removeTree(filepath.Join(p.cfg.Dir, handle)))...)
}

// Beginnings of the names of folders that are being removed, and of those that wait for a
// container with their disk.
const (
	gonePrefix  = ".gone-"
	sparePrefix = ".spare-"
)

// removeLater removes a container's folder that has a disk of its own. Unmounting waits for
// what the host writes, so it is done beside the caller; the container's name is free at once.
func (p *Pool) removeLater(handle string) error {
	gone := filepath.Join(p.cfg.Dir, fmt.Sprintf("%s%d-%s", gonePrefix, p.removed.Add(1), handle))
	if err := os.Rename(filepath.Join(p.cfg.Dir, handle), gone); err != nil {
		return err
	}
	p.removing.Go(func() { p.removeDisk(gone) })
	return nil
}

func (p *Pool) removeDisk(dir string) {
	if err := errors.Join(removeDisk(dir), removeTree(dir)); err != nil {
		p.log.Warn("a disk stays behind", "folder", dir, "err", err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
