package stager

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cloudlet/bus"
	"cloudlet/warden"
)

// task is one staging run. Its steps and their texts are v1's.
type task struct {
	*Stager
	request bus.StagingTask
	id      string
	box     *warden.Container

	mu   sync.Mutex
	log  bytes.Buffer
	full bool
}

// maxLog bounds a staging log, in bytes. It travels in the reply, whose bound is 1 MiB
// and where a character may take six.
const maxLog = 128 << 10

// failure is an error with the text that v1 had for its step, and why.
func failure(step string, err error) error { return fmt.Errorf("%s: %w", step, err) }

func (t *task) run(ctx context.Context) (err error) {
	t.say("Setting up temporary directories")
	t.box, err = t.pool.Create(ctx, warden.Spec{
		Handle:  handlePrefix + t.id,
		Network: t.network(),
		Limits:  warden.Limits{Memory: t.cfg.Memory, Disk: t.cfg.Disk, Files: 8192, Processes: 512},
		Mounts:  t.cfg.Mounts,
	})
	if err != nil {
		return failure("Failed setting up a container", err)
	}
	defer t.destroy(ctx)
	home, err := os.OpenRoot(t.box.Home())
	if err != nil {
		return err
	}
	defer home.Close()

	t.say("Downloading application")
	archive := filepath.Join(t.cfg.Dir, t.id+".zip")
	defer os.Remove(archive) //nolint:errcheck // the next start removes what stays
	if err := download(ctx, t.request.DownloadURI, archive); err != nil {
		return failure("Failed downloading app", err)
	}
	t.say("Unpacking application")
	if err := t.unpack(home, archive); err != nil {
		return failure("Failed unpacking app", err)
	}
	t.say("Staging application")
	launch, err := t.stage(ctx, home)
	if err != nil {
		t.say("Staging plugin failed: %v", err)
		return failure("Staging plugin failed", err)
	}
	// From here on nothing of the app runs that could change files under our hands.
	if err := t.box.Stop(ctx, 0); err != nil {
		return failure("Failed creating droplet", err)
	}
	t.say("Creating droplet")
	if err := writeScripts(home, launch, t.text()); err != nil {
		return failure("Failed creating droplet", err)
	}
	t.say("Uploading droplet")
	if err := uploadDroplet(ctx, t.request.UploadURI, home, t.cfg.Disk); err != nil {
		return failure("Failed uploading droplet", err)
	}
	t.say("Done!")
	return nil
}

// network is one from which package managers can fetch: the host's, if there is no other.
func (t *task) network() warden.Network {
	if t.pool.Isolation().Outward {
		return warden.NetworkOwn
	}
	return warden.NetworkHost
}

func (t *task) destroy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := t.box.Destroy(ctx); err != nil {
		t.Stager.log.Error("staging container", "handle", t.box.Handle(), "err", err)
	}
}

// download fetches the archive into a file. Name and password in the address become
// HTTP Basic, and are never part of an error.
func download(ctx context.Context, from, to string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return errors.New("the address is malformed")
	}
	resp, err := noProxy.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer was %s", resp.Status)
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

// noProxy talks to the controller, which no proxy of the environment leads to.
var noProxy = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// withoutURL strips the address, which may hold a password, from a client's error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// unpack lays the archive out below app/. The root refuses whatever leads out of it.
func (t *task) unpack(home *os.Root, archive string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, dir := range []string{"app", "logs", "tmp"} {
		if err := home.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	app, err := home.OpenRoot("app")
	if err != nil {
		return err
	}
	defer app.Close()
	left := t.cfg.Disk
	for _, f := range z.File {
		if left, err = unpackEntry(app, f, left); err != nil {
			return err
		}
	}
	return t.box.Own()
}

// unpackEntry writes one entry and gives what is left of the disk.
func unpackEntry(app *os.Root, f *zip.File, left int64) (int64, error) {
	name, mode := path.Clean(f.Name), f.Mode()
	if mode.IsDir() {
		return left, app.MkdirAll(name, 0o755)
	}
	if err := app.MkdirAll(path.Dir(name), 0o755); err != nil {
		return left, err
	}
	r, err := f.Open()
	if err != nil {
		return left, err
	}
	defer r.Close()
	if mode.Type() == fs.ModeSymlink {
		target, err := io.ReadAll(io.LimitReader(r, 4096))
		if err != nil {
			return left, err
		}
		return left, app.Symlink(string(target), name)
	}
	if !mode.IsRegular() {
		return left, fmt.Errorf("%q is no file", name)
	}
	out, err := app.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode.Perm()&0o755|0o600)
	if err != nil {
		return left, err
	}
	n, err := io.Copy(out, io.LimitReader(r, left+1))
	if err == nil && n > left {
		err = fmt.Errorf("it is larger than %d MB", left>>20)
	}
	return left - n, errors.Join(err, out.Close())
}

// stage runs the framework's plugin.
func (t *task) stage(ctx context.Context, home *os.Root) (Launch, error) {
	name := t.request.Properties.FrameworkInfo.Name
	if name == "" {
		name = t.request.Properties.Framework
	}
	i := slices.IndexFunc(t.cfg.Frameworks, func(f Framework) bool { return f.Name == name })
	if i < 0 {
		return Launch{}, fmt.Errorf("this stager has no plugin for framework %q", name)
	}
	app, err := home.OpenRoot("app")
	if err != nil {
		return Launch{}, err
	}
	defer app.Close()
	return t.cfg.Frameworks[i].Stage(ctx, &Task{
		StagingProperties: t.request.Properties,
		App:               app,
		Run:               t.command,
		Say:               t.say,
	})
}

// command runs a plugin's command in the container.
func (t *task) command(ctx context.Context, args ...string) error {
	home := t.box.HomeInside()
	bin := filepath.Dir(t.request.Properties.RuntimeInfo.Executable)
	env := []string{
		"HOME=" + home, "TMPDIR=" + home + "/tmp", "LANG=C.UTF-8", "USER=vcap",
		"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	own := t.request.Properties.Environment
	env = slices.Concat(env, t.box.ProxyEnv(own), own)
	lines := &lineWriter{line: func(s string) { t.say("%s", s) }}
	exit, err := t.box.Run(ctx, warden.Command{Args: args, Env: env, Dir: home + "/app"},
		warden.Streams{Stdout: lines, Stderr: lines})
	lines.flush()
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if exit.Status != 0 {
		return errors.Join(fmt.Errorf("%s %s", strings.Join(args, " "), exit.Reason), t.diskFull())
	}
	return nil
}

// diskFull is the reason why a command may have failed whose container has hardly any
// room left. Where the limit is not held by the kernel the droplet's size tells.
func (t *task) diskFull() error {
	u, err := t.box.Usage()
	if err == nil && u.Disk > t.cfg.Disk/20*19 {
		return errTooLarge
	}
	return nil
}

// say writes a line, with the time as v1 had it, to the log and to those who follow it.
func (t *task) say(format string, args ...any) {
	now := time.Now()
	line := strings.TrimRight(fmt.Sprintf(format, args...), "\r\n")
	if !t.keep(now, &line) {
		return
	}
	err := bus.Logs(t.request.AppID).Publish(t.conn, bus.LogLine{
		App: t.request.AppID, Source: bus.SourceStaging, Text: line, Time: now,
	})
	if err != nil {
		t.Stager.log.Warn("staging log", "app", t.request.AppID, "err", err)
	}
}

// keep adds a line to the log, if there is room. The first that finds none says so.
func (t *task) keep(now time.Time, line *string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full {
		return false
	}
	if t.full = t.log.Len() >= maxLog; t.full {
		*line = fmt.Sprintf("(what follows is left out: the log is longer than %d KiB)", maxLog>>10)
	}
	fmt.Fprintf(&t.log, "[%s] %s\n", now.Format("2006-01-02 15:04:05"), *line)
	return true
}

func (t *task) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log.String()
}

// lineWriter cuts a stream into lines; a line without end is cut at 16 KiB.
type lineWriter struct {
	mu   sync.Mutex
	buf  []byte
	line func(string)
}

const maxLine = 16 << 10

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	for {
		i := bytes.IndexByte(w.buf, '\n')
		if i < 0 && len(w.buf) < maxLine {
			return len(p), nil
		}
		if i < 0 {
			i = maxLine - 1
		}
		w.line(strings.ToValidUTF8(string(w.buf[:i]), "?"))
		w.buf = w.buf[i+1:]
	}
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.line(strings.ToValidUTF8(string(w.buf), "?"))
		w.buf = nil
	}
}
