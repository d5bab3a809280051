package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"cloudlet/internal/operator"
	"cloudlet/warden"
)

// containersName is the folder of containers below the data folder.
const containersName = "containers"

// Containers is the folder of containers of the cloud in a data folder.
func Containers(data string) string { return filepath.Join(data, containersName) }

// wardenCommand is the operator's look behind applications: at their containers. It works
// on the folder of containers, and so also where no cloud runs or one does not answer.
func wardenCommand(std Streams) *cli.Command {
	sub := func(name, args, usage string, flags []cli.Flag, run cli.ActionFunc) *cli.Command {
		return &cli.Command{
			Name: name, ArgsUsage: args, Usage: usage, Flags: append([]cli.Flag{dataFlag}, flags...), OnUsageError: onUsageError, Action: run,
		}
	}
	return &cli.Command{
		Name:         "warden",
		Usage:        "look at containers, run commands in them, destroy them",
		OnUsageError: onUsageError,
		Subcommands: []*cli.Command{
			sub("list", "", "list the containers with what they use", []cli.Flag{jsonFlag}, func(c *cli.Context) error { return wardenList(c, std) }),
			sub("info", "HANDLE", "tell all about a container", []cli.Flag{jsonFlag}, func(c *cli.Context) error { return wardenInfo(c, std) }),
			sub("exec", "HANDLE [--] COMMAND [ARGUMENT...]", "run a command in a container, as its application could", nil, func(c *cli.Context) error { return wardenExec(c, std) }),
			sub("destroy", "HANDLE", "end a container and remove its files; what runs in it is not asked", nil, func(c *cli.Context) error { return wardenDestroy(c, std) }),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError(fmt.Errorf("unknown command %q of warden", c.Args().First()))
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

// box is a container as it is printed.
type box struct {
	Handle     string            `json:"handle"`
	For        string            `json:"for,omitempty"` // what it was made for, as far as its maker said
	State      warden.State      `json:"state"`
	Level      warden.Level      `json:"level"`
	PID        int               `json:"pid"`
	Port       int               `json:"port,omitempty"`
	Home       string            `json:"home"`
	Network    warden.Network    `json:"network"`
	Memory     use               `json:"memory"` // bytes
	Disk       use               `json:"disk"`   // bytes
	Processes  use               `json:"processes"`
	CPU        float64           `json:"cpu"` // seconds so far
	Exit       *ended            `json:"exit,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
}

// use is what is used, of a limit that is 0 where there is none.
type use struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
}

// ended is how a container's main process ended.
type ended struct {
	Status int       `json:"status"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

func describeBox(c *warden.Container) box {
	s := c.Spec()
	b := box{
		Handle: c.Handle(), For: s.Properties["for"], State: c.State(), Level: c.Level(), PID: c.PID(), Port: c.Port(),
		Home: c.Home(), Network: s.Network, Properties: s.Properties,
	}
	u, err := c.Usage()
	if err != nil {
		u = warden.Usage{} // it ends just now
	}
	b.Memory, b.Disk = use{u.Memory, s.Limits.Memory}, use{u.Disk, s.Limits.Disk}
	b.Processes, b.CPU = use{int64(u.Processes), int64(s.Limits.Processes)}, u.CPU.Seconds()
	if b.State == warden.Ended {
		exit := c.Exit()
		b.Exit, b.PID = &ended{exit.Status, exit.Reason, exit.At}, 0
	}
	return b
}

// attached gives the containers of the data folder that the flags name.
func attached(c *cli.Context, std Streams) ([]*warden.Container, error) {
	_, dir := running(c, std)
	list, err := warden.Attached(c.Context, Containers(dir))
	if errors.Is(err, os.ErrPermission) {
		return nil, hinted(fmt.Errorf("the containers of %s belong to another user", dir), "run as the user who runs the cloud, or name another data folder with --data")
	}
	return list, err
}

func wardenList(c *cli.Context, std Streams) error {
	if err := noArguments(c); err != nil {
		return err
	}
	list, err := attached(c, std)
	if err != nil {
		return err
	}
	defer warden.Detach(list)
	boxes := []box{}
	for _, c := range list {
		boxes = append(boxes, describeBox(c))
	}
	if c.Bool("json") {
		return printJSON(std.Out, boxes)
	}
	if len(boxes) == 0 {
		fmt.Fprintln(std.Out, "There are no containers.")
		return nil
	}
	w := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HANDLE\tFOR\tSTATE\tLEVEL\tPORT\tMEMORY\tCPU\tPROCESSES\tDISK")
	for _, b := range boxes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.2fs\t%d\t%s\n", b.Handle, orDash(b.For), b.State, b.Level, orDash(number(b.Port)),
			b.Memory, b.CPU, b.Processes.Used, b.Disk)
	}
	return w.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// String writes bytes.
func (u use) String() string {
	s := humanize.IBytes(uint64(max(u.Used, 0)))
	if u.Limit != 0 {
		s += " of " + humanize.IBytes(uint64(u.Limit))
	}
	return s
}

// one attaches to the container that the first argument names, until detach is called.
func one(c *cli.Context, std Streams) (found *warden.Container, detach func(), err error) {
	list, err := attached(c, std)
	if err != nil {
		return nil, nil, err
	}
	detach = func() { warden.Detach(list) }
	if found, err = choose(c, list); err != nil {
		detach()
	}
	return found, detach, err
}

// choose finds the container that the first argument names; a beginning that only one has
// is enough.
func choose(c *cli.Context, list []*warden.Container) (*warden.Container, error) {
	name := c.Args().First()
	if name == "" {
		return nil, usageError(fmt.Errorf("warden %s needs the handle of a container", c.Command.Name))
	}
	var found []*warden.Container
	for _, b := range list {
		if b.Handle() == name {
			return b, nil
		}
		if strings.HasPrefix(b.Handle(), name) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, hinted(fmt.Errorf("there is no container %q", name), "`cloudlet warden list` has their handles")
	}
	return nil, hinted(fmt.Errorf("%d containers begin with %q", len(found), name), "write more of the handle")
}

func wardenInfo(c *cli.Context, std Streams) error {
	found, detach, err := one(c, std)
	if err != nil {
		return err
	}
	defer detach()
	b := describeBox(found)
	if c.Bool("json") {
		return printJSON(std.Out, b)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(std.Out, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("Handle", "%s", b.Handle)
	line("State", "%s", b.State)
	if b.Exit != nil {
		line("Exit", "%s, at %s", b.Exit.Reason, b.Exit.At.Format(time.DateTime))
	}
	line("Level", "%s", b.Level)
	if b.PID != 0 {
		line("Process", "%d (its supervisor)", b.PID)
	}
	line("Network", "%s", b.Network)
	if b.Port != 0 {
		line("Port", "%d", b.Port)
	}
	line("Home", "%s", b.Home)
	line("Memory", "%s", b.Memory)
	line("Disk", "%s", b.Disk)
	line("CPU", "%.3f seconds so far", b.CPU)
	line("Processes", "%d, at most %s", b.Processes.Used, orDash(number(int(b.Processes.Limit))))
	for _, k := range slices.Sorted(maps.Keys(b.Properties)) {
		line(strings.ToUpper(k[:1])+k[1:], "%s", b.Properties[k])
	}
	return nil
}

// wardenExec runs a command with the streams of this process, on a terminal where this is
// one; its exit status becomes ours.
func wardenExec(c *cli.Context, std Streams) error {
	found, detach, err := one(c, std)
	if err != nil {
		return err
	}
	defer detach()
	args := c.Args().Tail()
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"/bin/sh"}
	}
	home := found.HomeInside()
	cmd := warden.Command{Args: args, Env: []string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + home, "USER=vcap", "TERM=" + std.Env("TERM"),
	}}
	exit, err := runHere(c.Context, found, cmd, std)
	if errors.Is(err, warden.ErrGone) {
		return fmt.Errorf("container %s has ended", found.Handle())
	}
	if err != nil {
		return err
	}
	return exitStatus(exit)
}

func exitStatus(e warden.Exit) error {
	if e.Status == 0 {
		return nil
	}
	return Status(e.Status)
}

// runHere runs it between our own streams.
func runHere(ctx context.Context, c *warden.Container, cmd warden.Command, std Streams) (warden.Exit, error) {
	streams := warden.Streams{Stdin: std.In, Stdout: std.Out, Stderr: std.Err}
	in, isFile := std.In.(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		return c.Run(ctx, cmd, streams)
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return warden.Exit{}, err
	}
	defer term.Restore(int(in.Fd()), before) //nolint:errcheck // it is gone, then
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sizes := make(chan warden.Size)
	go follow(ctx, changed, int(in.Fd()), sizes)
	streams.Terminal = &warden.Terminal{Size: sizeOf(int(in.Fd())), Resize: sizes}
	return c.Run(ctx, cmd, streams)
}

// follow tells each new size of the terminal.
func follow(ctx context.Context, changed <-chan os.Signal, fd int, sizes chan<- warden.Size) {
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case sizes <- sizeOf(fd):
		case <-ctx.Done():
			return
		}
	}
}

func sizeOf(fd int) warden.Size {
	columns, rows, err := term.GetSize(fd)
	if err != nil || rows <= 0 || columns <= 0 {
		return warden.Size{Rows: 24, Columns: 80}
	}
	return warden.Size{Rows: uint16(rows), Columns: uint16(columns)}
}

// wardenDestroy asks the cloud, whose container it is; where none runs, it opens the pool.
func wardenDestroy(c *cli.Context, std Streams) error {
	found, detach, err := one(c, std)
	if err != nil {
		return err
	}
	detach()
	client, dir := running(c, std)
	err = client.Destroy(c.Context, found.Handle())
	if errors.Is(err, operator.ErrNotRunning) {
		err = destroyAlone(c.Context, dir, found.Handle())
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "Destroyed container %s. If an application ran in it, the cloud starts another.\n", found.Handle())
	return nil
}

func destroyAlone(ctx context.Context, dir, handle string) error {
	pool := warden.New(warden.Config{Dir: Containers(dir)}, slog.New(slog.DiscardHandler))
	if err := pool.Open(ctx); err != nil {
		return err
	}
	defer pool.Close() //nolint:errcheck // what counts is the container
	found, err := pool.Get(handle)
	if err != nil {
		return err
	}
	return found.Destroy(ctx)
}
