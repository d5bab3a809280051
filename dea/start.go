package dea

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cloudlet/bus"
	"cloudlet/warden"
)

// start takes one instance. What cannot be taken is refused in silence, as in v1: the
// health manager asks again, of another DEA if there is one.
func (d *DEA) start(work context.Context, m bus.StartApp) {
	if m.Limits.Mem == 0 {
		m.Limits = bus.Limits{Mem: 512, Disk: 256, FDs: 1024}
	}
	why := d.refuse(m.Runtime, m.Limits.Mem)
	if why == "" && (m.SHA1 == "" || m.ExecutableURI == "") {
		why = "the message names no droplet"
	}
	if why != "" {
		d.log.Warn("start refused", "app", m.Droplet, "index", m.Index, "why", why)
		return
	}
	now := time.Now()
	i := &instance{StartApp: m, ID: bus.RandomID(), PrivateID: bus.RandomID() + bus.RandomID(), StartedAt: now}
	i.enter(bus.Starting, now)
	d.instances[i.ID] = i
	d.reserved += m.Limits.Mem
	d.save()
	d.advertise()
	l := d.launch(i)
	d.beside(func() func() {
		box, err := l.run(work)
		return func() { d.launched(work, i, box, err) }
	})
}

// launch is all that the work beside the loop needs of an instance.
type launch struct {
	d       *DEA
	m       bus.StartApp
	runtime Runtime
	spec    warden.Spec
	env     func(box *warden.Container) []string
}

func (d *DEA) launch(i *instance) launch {
	r, _ := d.runtime(i.Runtime)
	copied := *i
	return launch{
		d: d, m: i.StartApp, runtime: r,
		spec: warden.Spec{
			Handle:  i.handle(),
			Port:    true,
			Mounts:  r.Mounts,
			Network: d.cfg.Network,

			Properties: map[string]string{"for": fmt.Sprintf("%s/%d", i.Name, i.Index)},
			Limits: warden.Limits{
				Memory: int64(i.Limits.Mem) << 20, Disk: int64(i.Limits.Disk) << 20,
				Files: i.Limits.FDs, Processes: 512, CPUShares: 1024,
			},
		},
		env: func(box *warden.Container) []string { return d.environment(&copied, box) },
	}
}

// run fetches the droplet and starts it in a container. A container that could not be
// used is removed again.
func (l launch) run(ctx context.Context) (box *warden.Container, err error) {
	droplet, err := l.d.droplets.fetch(ctx, l.m.ExecutableURI, l.m.SHA1)
	if err != nil {
		return nil, fmt.Errorf("droplet: %w", err)
	}
	box, err = l.d.pool.Create(ctx, l.spec)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, box.Destroy(context.WithoutCancel(ctx)))
			box = nil
		}
	}()
	if err := unpackDroplet(droplet, box.Home(), l.spec.Limits.Disk); err != nil {
		return box, fmt.Errorf("droplet: %w", err)
	}
	if err := useRuntime(box.Home(), l.runtime.Executable); err != nil {
		return box, err
	}
	if err := box.Own(); err != nil {
		return box, err
	}
	return box, box.Start(warden.Command{
		Args: []string{"./startup", "-p", strconv.Itoa(box.Port())},
		Env:  l.env(box),
		Dir:  box.HomeInside(),
	})
}

// useRuntime puts the path of the runtime's executable into the startup script.
func useRuntime(home, executable string) error {
	root, err := os.OpenRoot(home)
	if err != nil {
		return err
	}
	defer root.Close()
	script, err := root.ReadFile("startup")
	if err != nil {
		return err
	}
	if err := root.Remove("startup"); err != nil {
		return err
	}
	text := strings.ReplaceAll(string(script), "%VCAP_LOCAL_RUNTIME%", executable)
	// Who is forked meanwhile would have it open for writing, and nobody could run it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return root.WriteFile("startup", []byte(text), 0o500)
}

// launched goes on, on the loop, with an instance whose container runs or could not be
// made. It may have been stopped meanwhile.
func (d *DEA) launched(work context.Context, i *instance, box *warden.Container, err error) {
	if err != nil {
		d.log.Error("start", "app", i.Droplet, "index", i.Index, "instance", i.ID, "err", err)
		d.finish(i, bus.ReasonCrashed, err.Error(), nil)
		d.remove(i)
		return
	}
	i.box, i.Port = box, box.Port()
	d.save()
	if i.stopped != "" {
		d.stop(work, i, i.stopped)
		return
	}
	d.follow(work, i)
	d.awaitReady(work, i)
}

// follow hands the end of the instance's container to the loop.
func (d *DEA) follow(work context.Context, i *instance) {
	x := d.viewer.show(i, d.environment(i, i.box))
	box := i.box
	d.beside(func() func() {
		d.warn(i, box)
		return func() {
			d.ended(work, i)
			close(x.ended) // now also with the reason in its files
		}
	})
}

// warnEvery spaces the warnings of one instance.
const warnEvery = time.Minute

// warn writes into the instance's log that memory runs short, until it ends.
func (d *DEA) warn(i *instance, box *warden.Container) {
	var last time.Time
	for {
		select {
		case <-box.Done():
			return
		case <-box.Short():
		}
		if now := time.Now(); now.Sub(last) > warnEvery {
			last = now
			d.explain(i, fmt.Sprintf("Memory is nearly used up: the application waits for some of its %dM to become free.", i.Limits.Mem))
		}
	}
}

var stateFileLine = regexp.MustCompile(`(?m)^state_file:\s*"?([\w./-]+)"?\s*$`)

// awaitReady waits, beside the loop, until the instance answers, and notes where.
func (d *DEA) awaitReady(work context.Context, i *instance) {
	box, host := i.box, ""
	limit, test := d.cfg.Ready, func() bool {
		host = answering(box.Addrs())
		return host != ""
	}
	if file := stateFile(box.Home()); file != "" {
		limit, test = d.cfg.ReadyFile, func() bool { return saysRunning(box.Home(), file) }
	} else if len(i.URIs) == 0 {
		test = func() bool { return true }
	}
	d.beside(func() func() {
		err := poll(box.Done(), limit, test)
		return func() {
			i.Host = host
			d.isReady(work, i, limit, err)
		}
	})
}

var errEnded = errors.New("the instance ended")

// poll calls test, ever more slowly, until it is true. An app that answers at once is
// seen within milliseconds.
func poll(done <-chan struct{}, limit time.Duration, test func() bool) error {
	deadline := time.After(limit)
	for pause := 4 * time.Millisecond; ; pause = min(pause*5/4, 250*time.Millisecond) {
		if test() {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-done:
			return errEnded
		case <-deadline:
			return context.DeadlineExceeded
		}
	}
}

// answering gives the host of the first address that somebody listens on. The app may have
// begun to listen after the better ones were tried, so these are tried again.
func answering(addrs []string) string {
	for i, addr := range addrs {
		if !listens(addr) {
			continue
		}
		host, _, _ := net.SplitHostPort(addr)
		return cmp.Or(answering(addrs[:i]), host)
	}
	return ""
}

func listens(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, 250*time.Millisecond)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// isReady makes the instance known, or ends one that never answered.
func (d *DEA) isReady(work context.Context, i *instance, limit time.Duration, err error) {
	if i.State != bus.Starting || i.stopped != "" || errors.Is(err, errEnded) {
		return // its end is another message
	}
	if err != nil {
		d.explain(i, fmt.Sprintf("The application did not listen on port %d ($PORT, $VCAP_APP_PORT) within %s, so it was stopped.", i.Port, limit))
		d.crash(work, i, "App instance failed health check")
		return
	}
	now := time.Now()
	i.enter(bus.Running, now)
	i.RunningAt = now
	if _, err := i.measure(now); err != nil { // so that there are numbers from the first moment
		d.log.Debug("usage", "instance", i.ID, "err", err)
	}
	d.log.Info("running", "app", i.Droplet, "name", i.Name, "index", i.Index, "instance", i.ID, "dur", now.Sub(i.StartedAt))
	d.save()
	d.tell(bus.DEAHeartbeat.Publish(d.conn, bus.Heartbeat{DEA: d.id, Droplets: []bus.Beat{i.beat()}}))
	d.register(i, i.URIs)
}
