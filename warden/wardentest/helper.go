package wardentest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"cloudlet/warden"
)

// helperEnv turns this test binary into a program for the inside of a container.
const helperEnv = "WARDENTEST_HELPER"

func init() {
	if f := helpers[os.Getenv(helperEnv)]; f != nil {
		f(os.Args[1:])
		os.Exit(0)
	}
}

var helpers = map[string]func(args []string){
	"env":   func([]string) { fmt.Println(strings.Join(os.Environ(), "\n")) },
	"fds":   helpFDs,
	"echo":  func(args []string) { serve(args[0], func(c *net.TCPConn) { io.Copy(c, c) }) },
	"count": func(args []string) { serve(args[0], helpCount) },
	"break": func(args []string) { serve(args[0], func(c *net.TCPConn) { c.SetLinger(0) }) },
	"dial":  helpDial,
	"get":   helpGet,
	"names": helpNames,
	"send":  helpSend,
	"flood": helpFlood,
	"ask":   helpAsk,
	"deep":  helpDeep,

	"control": helpControl,

	"connect":     helpConnect,
	"connectMany": helpConnectMany,
	"fetch":       helpFetch,
	"largeHead":   helpLargeHead,
	"memory":      helpMemory,
	"busy":        helpBusy,
}

// helpFDs prints the descriptors that this program was started with.
func helpFDs([]string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		fmt.Println(err)
	}
	var l []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		// Left out: the descriptor of the folder just read, and those that the Go
		// runtime opens for itself (for polling, and to know its cgroup).
		if err == nil && !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/") {
			l = append(l, e.Name())
		}
	}
	sort.Strings(l)
	fmt.Println(strings.Join(l, " "))
}

func serve(addr string, handle func(*net.TCPConn)) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			handle(c.(*net.TCPConn))
			c.Close()
		}()
	}
}

// helpCount answers only after the end of what it reads.
func helpCount(c *net.TCPConn) {
	n, _ := io.Copy(io.Discard, c)
	fmt.Fprintf(c, "%d bytes", n)
}

func helpDial(args []string) {
	for _, addr := range args {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			fmt.Println("no")
			continue
		}
		c.Close()
		fmt.Println("yes")
	}
}

// helpGet prints what servers send, or "no".
func helpGet(args []string) {
	for _, addr := range args {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			fmt.Println("no")
			continue
		}
		b, _ := io.ReadAll(c)
		fmt.Println(string(b))
		c.Close()
	}
}

// helpNames prints the addresses of names, or why there are none.
func helpNames(args []string) {
	for _, name := range args {
		l, err := net.DefaultResolver.LookupHost(context.Background(), name)
		switch e := (*net.DNSError)(nil); {
		case errors.As(err, &e) && e.IsTimeout:
			fmt.Println("no answer")
		case err != nil:
			fmt.Println("no")
		default:
			fmt.Println(strings.Join(l, " "))
		}
	}
}

// helpSend sends a datagram to each address.
func helpSend(args []string) {
	for _, addr := range args[1:] {
		c, err := net.Dial("udp", addr)
		if err != nil {
			fmt.Println(err)
			continue
		}
		c.Write([]byte(args[0]))
		c.Close()
	}
}

// helpFlood begins as many conversations as it is told, until they are refused: it sends
// to another port each time.
func helpFlood(args []string) {
	most, _ := strconv.Atoi(args[1])
	c, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range most {
		to := &net.UDPAddr{IP: net.ParseIP(args[0]), Port: 1024 + i}
		if _, err := c.WriteTo([]byte("x"), to); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("sent")
}

// helpAsk sends something to the port for names as often as it is told, from one port or
// from one for each.
func helpAsk(args []string) {
	many, _ := strconv.Atoi(args[1])
	var c net.Conn
	for i := range many {
		if i == 0 || args[2] == "each" {
			var err error
			if c, err = net.Dial("udp4", net.JoinHostPort(args[0], "53")); err != nil {
				fmt.Println(err)
				return
			}
			defer c.Close()
		}
		c.Write([]byte("what is the name of the rose"))
	}
	fmt.Println("asked")
}

// helpDeep nests folders, each in the one before.
func helpDeep(args []string) {
	n, _ := strconv.Atoi(args[0])
	for i := range n {
		if os.Mkdir("d", 0o700) != nil || syscall.Chdir("d") != nil {
			n = i
			break
		}
	}
	fmt.Println(n)
}

// helper gives the command that runs a helper in a container that was made
// from a Spec with the mounts of helperMounts.
func helper(s testing.TB, p *warden.Pool, c *warden.Container, name string, args ...string) warden.Command {
	m, inside := p.Binary()
	if p.Isolation().Level == warden.Process {
		// The container's user may not be able to walk to the test binary.
		inside = filepath.Join(c.Home(), "helper")
		if err := copyFile(m.Source, inside); err != nil {
			s.Fatal(err)
		}
		if err := c.Own(); err != nil {
			s.Fatal(err)
		}
	}
	return warden.Command{Args: append([]string{inside}, args...), Env: []string{helperEnv + "=" + name}}
}

func helperMounts(p *warden.Pool) []warden.Mount {
	m, _ := p.Binary()
	return []warden.Mount{m}
}

func copyFile(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil // it may be running
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	// Who is forked meanwhile would have it open for writing, and nobody could run it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
