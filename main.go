// Cloudlet is a whole Cloud Foundry v1 in one program: `cloudlet up` is the server,
// `cloudlet vmc`, or the same file called vmc, the client.
//
// This file is the composition root: the only place that knows all components, in the
// order in which they start. They stop in the reverse order.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/lmittmann/tint"
	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/dea"
	"cloudlet/healthmgr"
	"cloudlet/internal/cli"
	"cloudlet/internal/cli/vmc"
	"cloudlet/internal/identity"
	"cloudlet/internal/lifecycle"
	"cloudlet/internal/operator"
	"cloudlet/internal/runtimes"
	"cloudlet/router"
	"cloudlet/stager"
	"cloudlet/stager/frameworks"
	"cloudlet/store"
	"cloudlet/uaa"
	"cloudlet/warden"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program. The first signal is a request to stop, the second one ends
// the process at once.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if filepath.Base(args[0]) == "vmc" {
		return vmc.Run(ctx, args[1:], vmc.Streams{In: in, Out: out, Err: errs})
	}
	std := cli.Streams{In: in, Out: out, Err: errs, Env: os.Getenv}
	command := cli.UpCommand(std, func(c *urfave.Context, cfg cli.Config) error { return up(c.Context, cfg, std) })
	return cli.Report(cli.App(version, command, std).RunContext(ctx, args), errs)
}

// up runs the cloud until ctx is cancelled, or an operator asks it to stop.
func up(ctx context.Context, cfg cli.Config, std cli.Streams) error {
	began := time.Now()
	ctx, down := context.WithCancel(ctx)
	defer down()
	level := usualLevel(cfg)
	log := newLogger(std.Err, level)

	unlock, err := cli.OpenData(ctx, cfg.Data)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := cli.Listen(cfg.Listen)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // the router has closed it
	found := sync.OnceValue(func() []runtimes.Runtime { return runtimes.Find(ctx, version) })
	go found() // looking takes as long as all the rest

	st, err := store.Open(cfg.Data)
	if err != nil {
		return err
	}
	defer st.Close() //nolint:errcheck // last to go: nothing writes after it
	id, err := identity.Open(st)
	if err != nil {
		return err
	}
	if err := ensureAdmin(ctx, cfg, id, st, std.Env); err != nil {
		return err
	}
	b, err := bus.Start(bus.Config{Listen: cfg.Bus})
	if err != nil {
		return err
	}
	defer b.Close()
	pool := warden.New(warden.Config{Dir: cli.Containers(cfg.Data), Level: warden.Level(cfg.Isolation)}, log)
	if err := pool.Open(ctx); err != nil {
		return err
	}
	defer pool.Close() //nolint:errcheck // it only lets go

	iso := pool.Isolation()
	network, err := instanceNetwork(cfg, iso)
	if err != nil {
		return err
	}
	unsafe := iso.Level == warden.Process && !cfg.AllowUnsafe
	status := describe(cfg, b, listener.Addr().String(), iso, found(), began)
	status.UAA = operator.UAA{URL: cfg.URL("uaa", status.Listen), Clients: uaa.Secrets(id)}
	operators := operator.Handlers{
		Destroy: func(ctx context.Context, handle string) error {
			c, err := pool.Get(handle)
			if err != nil {
				return err
			}
			return c.Destroy(ctx)
		},
		Status: func() operator.Status { return status },
		Login: func(context.Context) (operator.Login, error) {
			token, err := id.Token(cfg.Admin, time.Now())
			return operator.Login{Target: status.API, Email: cfg.Admin, Token: token}, err
		},
		Down: down,
	}
	registration := cfg.Registration
	if unsafe {
		registration = "closed"
	}
	needs, deaRuntimes := runtimeMounts(pool, found())

	g := lifecycle.Group{}
	g.Add("operator", operator.NewServer(cfg.Data, operators, log))
	g.Add("uaa", uaa.New(uaa.Config{Domain: cfg.Domain}, b, st, id, log))
	g.Add("stager", stager.New(stager.Config{
		Dir: filepath.Join(cfg.Data, "staging"), Frameworks: frameworks.All(), Mounts: needs,
	}, b, pool, log))
	g.Add("dea", dea.New(dea.Config{
		Dir: filepath.Join(cfg.Data, "dea"), MaxMemory: status.Memory, Runtimes: deaRuntimes, Ready: cfg.StartTimeout, Network: network,
	}, b, pool, log))
	g.Add("healthmgr", healthmgr.New(healthmgr.Config{API: status.API}, b, log)) // stops before dea: a shutdown is not a crash
	g.Add("controller", controller.New(controller.Config{
		Description: fmt.Sprintf("Cloudlet %s, isolation %s", version, iso.Level), Details: status.Isolation.Reasons,
		Domain: cfg.Domain, Support: status.API, Frameworks: catalogue(), Runtimes: installed(found()),
		UAA: status.UAA.URL, Registration: registration, AdminsOnly: unsafe,
	}, b, st, id, log))
	g.Add("router", router.New(router.Config{Listener: listener}, b, log)) // last in, first to drain

	err = g.Run(ctx, func() {
		cli.Describe(std.Out, status)
		fmt.Fprintf(std.Out, "\nready in %d ms. Ctrl-C stops the cloud and its applications.\n", time.Since(began).Milliseconds())
		if cfg.Demo {
			go demo(ctx, cfg, status.Listen, std, level)
		}
	})
	if ctx.Err() != nil && err == nil {
		fmt.Fprintln(std.Err, "stopped")
	}
	return err
}

// demo shows a push. Meanwhile the log has what goes wrong only, to leave the story alone.
func demo(ctx context.Context, cfg cli.Config, listen string, std cli.Streams, level *slog.LevelVar) {
	usual := level.Level()
	if !cfg.Verbose {
		level.Set(slog.LevelWarn)
	}
	err := cli.Demo(ctx, cfg, listen, std)
	level.Set(usual)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(std.Err, "cloudlet: %v\n", err)
	}
}

func usualLevel(cfg cli.Config) *slog.LevelVar {
	level := new(slog.LevelVar) // info
	if cfg.Verbose {
		level.Set(slog.LevelDebug)
	}
	return level
}

func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	f, ok := w.(*os.File)
	return slog.New(tint.NewTextHandler(w, &tint.Options{
		Level: level, TimeFormat: time.TimeOnly, NoColor: !ok || !term.IsTerminal(int(f.Fd())),
	}))
}

// ensureAdmin makes the administrator's account at the first start. The password lies
// in the data folder, for the owner alone.
func ensureAdmin(ctx context.Context, cfg cli.Config, id *identity.Identity, st *store.Store, getenv func(string) string) error {
	err := st.View(func(tx *store.Tx) error {
		_, err := tx.User(cfg.Admin)
		return err
	})
	if !errors.Is(err, store.ErrNoUser) {
		return err
	}
	password := getenv("CLOUDLET_ADMIN_PASSWORD")
	if password == "" {
		password = rand.Text()
	}
	if err := id.Register(ctx, cfg.Admin, password, true); err != nil {
		return fmt.Errorf("administrator %s: %w", cfg.Admin, err)
	}
	return renameio.WriteFile(filepath.Join(cfg.Data, "admin.password"), []byte(password+"\n"), 0o600, renameio.WithStaticPermissions(0o600))
}

func describe(cfg cli.Config, b *bus.Bus, listen string, iso warden.Isolation, found []runtimes.Runtime, began time.Time) operator.Status {
	s := operator.Status{
		API: cfg.URL("api", listen), Listen: listen, Domain: cfg.Domain, Admin: cfg.Admin, Data: cfg.Data,
		PID: os.Getpid(), Version: version, Started: began, BusURL: b.URL(), Memory: promisedMemory(),
		Isolation: operator.Isolation{Level: string(iso.Level), Limits: iso.Limits, Reasons: iso.Reasons},
	}
	if iso.Level == warden.Process && !cfg.AllowUnsafe {
		could := "read this user's files"
		if iso.OwnFiles {
			could = "get at this user's sockets and network"
		}
		s.Isolation.Reasons = append(s.Isolation.Reasons,
			"applications could "+could+", so only the administrator may push (--allow-unsafe lifts that)")
	}
	if cfg.NoOutbound {
		s.Isolation.Reasons = append(s.Isolation.Reasons, "applications have no way outward: --no-outbound was given")
	}
	for _, r := range found {
		s.Runtimes = append(s.Runtimes, operator.Runtime{Name: r.Name, Version: r.Version, Install: r.Install})
	}
	return s
}

// instanceNetwork is the network of instances. What was asked for must hold.
func instanceNetwork(cfg cli.Config, iso warden.Isolation) (warden.Network, error) {
	if !cfg.NoOutbound {
		return warden.NetworkOwn, nil
	}
	if iso.Level == warden.Process {
		return "", errors.New("--no-outbound cannot hold here, where applications share this machine's network: run as root on Linux, or leave it out")
	}
	return warden.NetworkClosed, nil
}

// catalogue is what clients see of the frameworks that can be staged.
func catalogue() (out []controller.Framework) {
	for _, f := range frameworks.All() {
		out = append(out, controller.Framework{Name: f.Name, Runtimes: f.Runtimes, Detection: f.Detection})
	}
	return out
}

func installed(found []runtimes.Runtime) (out []controller.Runtime) {
	for _, r := range found {
		out = append(out, controller.Runtime{
			Name: r.Name, Version: r.Version, Description: r.Description, Executable: r.Executable, Install: r.Install,
		})
	}
	return out
}

// runtimeMounts are the folders that the runtimes need in containers, all together for
// staging and each for the instances that use it.
func runtimeMounts(pool *warden.Pool, found []runtimes.Runtime) (all []warden.Mount, each []dea.Runtime) {
	binary, inside := pool.Binary()
	for _, r := range found {
		if !r.Found() {
			continue
		}
		d := dea.Runtime{Name: r.Name, Executable: r.Executable}
		for _, dir := range r.Roots {
			d.Mounts = append(d.Mounts, warden.Mount{Source: dir, Target: dir})
		}
		if r.Name == runtimes.Static {
			d.Executable, d.Mounts = inside, []warden.Mount{binary}
		}
		all, each = append(all, d.Mounts...), append(each, d)
	}
	return all, each
}

// promisedMemory is what instances may have of this machine, in MB: three quarters.
func promisedMemory() int {
	total := totalMemory()
	if total == 0 {
		return 2048
	}
	return int(total >> 20 * 3 / 4)
}
