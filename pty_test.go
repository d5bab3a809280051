package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/term"
)

// runPty runs a command on a terminal, as a file of lines says: pty FILE COMMAND [ARG...].
//
//	expect REGEXP        waits until it was printed, since what was expected before
//	send "TEXT"          types it; a Go string: "y\r", "\x03" is Ctrl-C
//	resize ROWS COLUMNS  makes the window another size
//	signal NAME          sends STOP, CONT, TSTP, TERM, HUP or KILL
//	stopped              waits until the process is stopped
//	vmc ARG...           runs another vmc beside it, which has to succeed
//	slay FILE COMM       kills the processes named COMM of the instance in the file
//	echo on|off          waits until the terminal echoes, or does not
//
// Then the command ends by itself, with status 0 unless it is "! pty". However it ends,
// the terminal has to be as it was. What it printed is the story's stdout.
func runPty(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: pty FILE COMMAND [ARG...]")
	}
	p := startPty(ts, args[1:])
	defer p.stop()
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := p.step(line); err != nil {
			ts.Fatalf("%s: %v; it has printed:\n%q", line, err, p.output())
		}
	}
	err := p.wait()
	if _, werr := io.WriteString(ts.Stdout(), p.output()); werr != nil {
		ts.Fatalf("%v", werr)
	}
	if exited := new(exec.ExitError); err != nil && !(neg && errors.As(err, &exited)) {
		ts.Fatalf("%v; it has printed:\n%q", err, p.output())
	}
	if err == nil && neg {
		ts.Fatalf("it succeeded; it has printed:\n%q", p.output())
	}
}

// ptyRun is a process on a terminal.
type ptyRun struct {
	ts          *testscript.TestScript
	cmd         *exec.Cmd
	master, tty *os.File
	before      *term.State
	ended       chan error

	mu       sync.Mutex
	printed  bytes.Buffer
	expected int // how much of it was expected
}

func startPty(ts *testscript.TestScript, args []string) *ptyRun {
	master, tty, err := pty.Open()
	ts.Check(err)
	p := &ptyRun{ts: ts, master: master, tty: tty, ended: make(chan error, 1)}
	ts.Check(pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 100}))
	p.before, err = term.GetState(int(tty.Fd()))
	ts.Check(err)
	p.cmd = exec.Command(lookPath(ts, args[0]), args[1:]...)
	p.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "CLOUDLET_DATA", "TMPDIR", "DISPLAY"} {
		p.cmd.Env = append(p.cmd.Env, name+"="+ts.Getenv(name))
	}
	p.cmd.Env = append(p.cmd.Env, "TERM=xterm")
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = tty, tty, tty
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(p.cmd.Start())
	go func() { p.ended <- p.cmd.Wait() }()
	go p.read()
	return p
}

// lookPath finds a program of the story.
func lookPath(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	ts.Fatalf("there is no program %s", name)
	return ""
}

func (p *ptyRun) read() {
	b := make([]byte, 4096)
	for {
		n, err := p.master.Read(b)
		p.mu.Lock()
		p.printed.Write(b[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *ptyRun) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.printed.String()
}

// until calls f until it is true.
func (p *ptyRun) until(what string, f func() bool) error {
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("not %s after %s", what, patience)
		}
	}
	return nil
}

func (p *ptyRun) step(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	f := strings.Fields(os.Expand(rest, p.ts.Getenv))
	switch {
	case verb == "expect":
		pattern, err := regexp.Compile(os.Expand(rest, p.ts.Getenv))
		if err != nil {
			return err
		}
		return p.until("printed", func() bool { return p.seen(pattern) })
	case verb == "send":
		text, err := strconv.Unquote(rest)
		if err == nil {
			_, err = p.master.WriteString(text)
		}
		return err
	case verb == "resize" && len(f) == 2:
		rows, err1 := strconv.ParseUint(f[0], 10, 16)
		cols, err2 := strconv.ParseUint(f[1], 10, 16)
		return errors.Join(err1, err2, pty.Setsize(p.master, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)}))
	case verb == "signal":
		return p.signal(rest)
	case verb == "stopped":
		return p.until("stopped", p.stopped)
	case verb == "vmc":
		return p.ts.Exec("vmc", f...)
	case verb == "slay":
		slay(p.ts, false, append([]string{"app"}, f...))
		return nil
	case verb == "echo":
		return p.until(line, func() bool { return p.restored() == (rest == "on") })
	}
	return errors.New("no such step")
}

func (p *ptyRun) seen(pattern *regexp.Regexp) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := pattern.FindIndex(p.printed.Bytes()[p.expected:])
	if at != nil {
		p.expected += at[1]
	}
	return at != nil
}

func (p *ptyRun) signal(name string) error {
	sig, ok := map[string]syscall.Signal{
		"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "TSTP": syscall.SIGTSTP,
		"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL,
	}[name]
	if !ok {
		return errors.New("no such signal")
	}
	return p.cmd.Process.Signal(sig)
}

// stopped reads the state of the process, where the system tells it.
func (p *ptyRun) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "T")
}

// restored tells that the terminal is as it was before the command.
func (p *ptyRun) restored() bool {
	now, err := term.GetState(int(p.tty.Fd()))
	return err == nil && reflect.DeepEqual(now, p.before)
}

// wait awaits the end, and looks at the terminal that is left.
func (p *ptyRun) wait() error {
	select {
	case err := <-p.ended:
		p.ended <- err // for stop
		if !p.restored() {
			return errors.New("the terminal is not as it was")
		}
		p.drain()
		return err
	case <-time.After(patience):
		return fmt.Errorf("still running after %s", patience)
	}
}

// drain lets what was printed last arrive: a mark behind it.
func (p *ptyRun) drain() {
	const mark = "\x00end"
	if _, err := p.tty.WriteString(mark); err != nil {
		return
	}
	p.until("drained", func() bool { return strings.HasSuffix(p.output(), mark) }) //nolint:errcheck // what is there is shown
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printed.Truncate(max(0, p.printed.Len()-len(mark)))
}

func (p *ptyRun) stop() {
	p.cmd.Process.Kill() //nolint:errcheck // it has ended
	<-p.ended
	p.tty.Close()
	p.master.Close()
}

// A process that leaves the terminal raw is found out.
func TestPtyNotices(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	defer master.Close()
	defer tty.Close()
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	p := &ptyRun{tty: tty, before: before}
	if !p.restored() {
		t.Error("an untouched terminal is not as it was")
	}
	if _, err := term.MakeRaw(int(tty.Fd())); err != nil {
		t.Fatal(err)
	}
	if p.restored() {
		t.Error("a raw terminal is as it was")
	}
}
