package wardentest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"

	"cloudlet/warden"
)

// screen keeps what a terminal shows.
type screen struct{ both }

func (t *screen) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ReplaceAll(t.text.String(), "\r\n", "\n")
}

func (t *screen) shows(s *suite, text string) {
	s.Helper()
	s.eventually(func() error {
		if !strings.Contains(t.String(), text) {
			return fmt.Errorf("the terminal shows %q, want %q", t.String(), text)
		}
		return nil
	})
}

func testTerminal(s *suite) {
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	keys, typist := io.Pipe()
	resize := make(chan warden.Size)
	seen := &screen{}
	ended := make(chan error, 1)
	go func() {
		cmd := shell(`trap 'stty size' WINCH; tty; stty size; echo odd >&2; until read a; do :; done; echo "<$a>"; read b; echo end; exit 7`)
		e, err := c.Run(s.ctx(), cmd, warden.Streams{Stdin: keys, Stdout: seen, Terminal: &warden.Terminal{Size: warden.Size{Rows: 24, Columns: 80}, Resize: resize}})
		if err == nil && e.Status != 7 {
			err = fmt.Errorf("exit %+v", e)
		}
		ended <- err
	}()
	seen.shows(s, "24 80\nodd\n")
	if runtime.GOOS == "linux" && !strings.HasPrefix(seen.String(), "/dev/pts/") {
		s.Errorf("the terminal has no name: %q", seen)
	}
	resize <- warden.Size{Rows: 50, Columns: 132}
	fmt.Fprint(typist, "hel\x7flo\n")
	seen.shows(s, "<helo>") // it edits lines
	seen.shows(s, "50 132")
	fmt.Fprint(typist, "begun") // the end of input ends this line, and then the input
	typist.Close()
	seen.shows(s, "end\n")
	if err := <-ended; err != nil {
		s.Errorf("%v; the terminal showed %q", err, seen)
	}
}

// testTerminalEnds: the end of the caller is the end of the session, and control-C
// reaches what runs in the foreground.
func testTerminalEnds(s *suite) {
	s.needsProc()
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	mark := marker()
	keys, typist := io.Pipe()
	seen := &screen{}
	ctx, cancel := context.WithCancel(s.ctx())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		cmd := shell("trap 'echo caught' INT; " + mark + " & trap '' HUP; echo up; while :; do " + mark + "; done")
		_, err := c.Run(ctx, cmd, warden.Streams{Stdin: keys, Stdout: seen, Terminal: &warden.Terminal{}})
		ended <- err
	}()
	seen.shows(s, "up")
	s.lives(mark, 2)
	fmt.Fprint(typist, "\x03")
	seen.shows(s, "caught")
	s.lives(mark, 2)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		s.Errorf("Run: %v", err)
	}
	s.lives(mark, 0)
	// Nobody looks at the output, and a program that is not there is an error.
	if e, err := c.Run(s.ctx(), shell("head -c 1000000 /dev/zero"), warden.Streams{Terminal: &warden.Terminal{}}); err != nil || e.Status != 0 {
		s.Errorf("without streams: %+v, %v", e, err)
	}
	if _, err := c.Run(s.ctx(), warden.Command{Args: []string{"/no/such"}}, warden.Streams{Terminal: &warden.Terminal{}}); err == nil {
		s.Error("a program that is not there was run")
	}
}

func testRunSignals(s *suite) {
	c := s.create(s.pool(warden.Config{}), warden.Spec{})
	for _, terminal := range []*warden.Terminal{nil, {}} {
		signals := make(chan syscall.Signal)
		seen := &screen{}
		ended := make(chan warden.Exit, 1)
		go func() {
			cmd := shell("trap 'echo one' USR1; echo up; while :; do sleep 0.02; done")
			e, err := c.Run(s.ctx(), cmd, warden.Streams{Stdout: seen, Terminal: terminal, Signals: signals})
			if err != nil {
				s.Error(err)
			}
			ended <- e
		}()
		seen.shows(s, "up")
		signals <- syscall.SIGUSR1
		seen.shows(s, "one")
		signals <- syscall.SIGTERM
		if e := <-ended; e.Signal != int(syscall.SIGTERM) {
			s.Errorf("Exit: %+v", e)
		}
	}
}
