//go:build unix

// Package supervisor is the process that stays with a container: it makes the
// container's file system, starts and reaps its processes, keeps their output
// and their exit status, and relays its port.
//
// A supervisor is the same binary as Cloudlet, re-executed with Env set; this
// package's init takes over and never returns. The package imports nothing but
// syscall and has an import path that sorts before the third-party ones, so
// that it runs before the large binary's other initialisation and a supervisor
// stays small. It outlives Cloudlet, which finds it again by its socket.
//
// Protocol: frames as in wire.go. Descriptor 3 is a connection that brings a
// Setup and takes the answer, descriptor 4 the listening control socket,
// with the Setup come (where Setup.Relay) a TCP socket that is bound outside but
// does not listen yet, those of the container's control groups, and (where
// Setup.Landlock) one of Landlock's rules. A supervisor
// without a main process ends with its last control connection, as does one that
// waits for its Setup; one with a main process ends with that process, and at its
// end no process of the container is left.
// State: the file "exit" in the container's folder, written when the main
// process has ended, and the log files below the home.
// Source: the v1 warden's wshd and its iomux; catatonit and runc's init.
package supervisor

import "syscall"

// Env is the variable that turns a re-executed binary into a supervisor.
const Env = "CLOUDLET_SUPERVISOR"

// NetworkName is a file in the container's folder that a supervisor removes at its end:
// what carries the container's network outward watches it, and ends as well. It is alone
// in its folder, because some who watch see only the first of several changes.
const NetworkName = "net/ns"

// The descriptors a supervisor is started with, after the standard ones.
const (
	setupFD = 3 + iota
	controlFD
)

func init() {
	if v, ok := syscall.Getenv(Env); !ok || v != "1" {
		return
	}
	syscall.Exit(run())
}

// run does what a supervisor does until its container has ended, and returns
// the process's exit status. It stays on the main thread, as every init does:
// the children's parent-death signal is bound to the thread that forked them.
func run() int {
	set, err := readSetup(setupFD)
	if err != nil {
		return 2
	}
	rename(set.Handle)
	l, err := newLoop(set)
	if err != nil {
		answer(setupFD, KindError, Fault{Text: err.Error()}.encode())
		return 1
	}
	if !answer(setupFD, KindOK, Number(syscall.Getpid()).Encode()) {
		return 1
	}
	return l.run()
}

// maxGroups bounds the control groups of a container: there is one of version 2, or one
// for each hierarchy of version 1.
const maxGroups = 8

// setupRights is the most descriptors that come with a Setup: the relay's, the groups' and the rules'.
const setupRights = 1 + maxGroups + 1

// readSetup reads the first frames, blocking: there is nothing else to do. What can be done
// before all is known, which takes longest, may be asked for in advance.
func readSetup(fd int) (Setup, error) {
	var in []byte
	var fds []int
	buf, oob := make([]byte, 4096), make([]byte, syscall.CmsgSpace(setupRights*4))
	for {
		n, oobn, err := receive(fd, buf, oob, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return Setup{}, err
		}
		if n == 0 {
			return Setup{}, syscall.EPIPE
		}
		in, fds = append(in, buf[:n]...), append(fds, rights(oob[:oobn])...)
		kind, body, used, err := Parse(in)
		if err == ErrShort {
			continue
		}
		if err != nil {
			return Setup{}, err
		}
		set, err := DecodeSetup(body)
		if err != nil || kind != KindSetup && kind != KindPrepare {
			return set, ErrMalformed
		}
		if kind == KindSetup {
			return set, set.take(fds)
		}
		if err := doSteps(set.Steps); err != nil {
			answer(fd, KindError, Fault{Text: err.Error()}.encode())
			return set, err
		}
		answer(fd, KindOK, Number(0).Encode())
		in = in[used:]
	}
}

// take shares out the descriptors that came along.
func (s *Setup) take(fds []int) error {
	if s.Relay != 0 && len(fds) > 0 {
		s.relay, fds = fds[0], fds[1:]
	}
	if n := len(fds) - 1; s.Landlock && n >= 0 {
		s.rules, fds = fds[n], fds[:n]
	}
	if len(fds) != s.Groups || s.Landlock && s.rules == 0 || s.Clone && s.Groups != 1 || s.Relay != 0 && s.relay == 0 {
		return ErrMalformed
	}
	s.groups = fds
	return nil
}

// answer writes a frame, with descriptors where there are any. Frames of a supervisor are far smaller than a socket's
// buffer; a peer that does not read them is let go.
func answer(fd int, kind Kind, body []byte, fds ...int) bool {
	frame := AppendFrame(nil, kind, body)
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	n, err := syscall.SendmsgN(fd, frame, rights, nil, 0)
	return err == nil && n == len(frame)
}
