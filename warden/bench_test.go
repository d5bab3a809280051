package warden_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloudlet/warden"
)

var levels = []warden.Level{warden.Full, warden.Rootless, warden.Process}

func benchPool(b *testing.B, level warden.Level) *warden.Pool {
	b.Helper()
	dir := b.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	p := warden.New(warden.Config{Dir: filepath.Join(dir, "c"), Level: level}, slog.New(slog.DiscardHandler))
	if err := p.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	if got := p.Isolation(); got.Level != level {
		b.Skipf("level is %s: %v", got.Level, got.Reasons)
	}
	b.Cleanup(func() {
		for _, c := range p.List() {
			c.Destroy(context.Background()) // the benchmark's own context is over
		}
		p.Close()
	})
	return p
}

// BenchmarkLife makes a container, runs /bin/true as its main process, waits
// for its end and destroys it: each when the pool has settled, or in a row, where the next
// container is still being prepared. Other programs for the same follow, where they are
// installed; what they report is the time to the end.
func BenchmarkLife(b *testing.B) {
	for _, level := range levels {
		b.Run(string(level), func(b *testing.B) { benchLife(b, level, (*warden.Pool).Settle) })
		b.Run(string(level)+"-in-a-row", func(b *testing.B) { benchLife(b, level, func(*warden.Pool) {}) })
	}
	for _, o := range others {
		b.Run(o.name, func(b *testing.B) {
			command := o.prepare(b, "/bin/true")
			var total []time.Duration
			for b.Loop() {
				t0 := time.Now()
				if out, err := command().CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				total = append(total, time.Since(t0))
			}
			reportTimes(b, total)
		})
	}
}

func benchLife(b *testing.B, level warden.Level, between func(*warden.Pool)) {
	p := benchPool(b, level)
	var create, total []time.Duration
	for b.Loop() {
		t0 := time.Now()
		c, err := p.Create(b.Context(), warden.Spec{Handle: "c", Port: true, Limits: benchLimits})
		if err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if err := c.Start(warden.Command{Args: []string{"/bin/true"}}); err != nil {
			b.Fatal(err)
		}
		<-c.Done()
		create, total = append(create, t1.Sub(t0)), append(total, time.Since(t0))
		if err := c.Destroy(b.Context()); err != nil {
			b.Fatal(err)
		}
		between(p)
	}
	b.ReportMetric(quantile(create, 0.5), "create-p50-ms")
	reportTimes(b, total)
}

// benchLimits are those of an ordinary application, so that all that holds them is there.
var benchLimits = warden.Limits{Memory: 256 << 20, Disk: 64 << 20, Files: 256, Processes: 100}

// quantile gives milliseconds.
func quantile(l []time.Duration, q float64) float64 {
	slices.Sort(l)
	return float64(l[int(q*float64(len(l)-1))]) / 1e6
}

func reportTimes(b *testing.B, l []time.Duration) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(quantile(l, 0.5), "p50-ms")
	b.ReportMetric(quantile(l, 0.99), "p99-ms")
}

// BenchmarkFirstByte is the time from nothing to the first output of a program that goes
// on afterwards, each when the pool has settled.
func BenchmarkFirstByte(b *testing.B) {
	sleeper := []string{"/bin/sh", "-c", "echo up; exec sleep 1000"}
	for _, level := range levels {
		b.Run(string(level), func(b *testing.B) {
			p := benchPool(b, level)
			var total []time.Duration
			for b.Loop() {
				t0 := time.Now()
				c, err := p.Create(b.Context(), warden.Spec{Handle: "c", Port: true, Limits: benchLimits})
				if err != nil {
					b.Fatal(err)
				}
				first := make(firstByte, 1)
				go c.Run(b.Context(), warden.Command{Args: sleeper, Env: []string{"PATH=/bin"}}, warden.Streams{Stdout: first})
				total = append(total, (<-first).Sub(t0))
				if err := c.Destroy(b.Context()); err != nil {
					b.Fatal(err)
				}
				p.Settle()
			}
			reportTimes(b, total)
		})
	}
	for _, o := range others {
		b.Run(o.name, func(b *testing.B) {
			command := o.prepare(b, sleeper...)
			var total []time.Duration
			for b.Loop() {
				first := make(firstByte, 1)
				cmd := command()
				cmd.Stdout = first
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				t0 := time.Now()
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				total = append(total, (<-first).Sub(t0))
				o.end(cmd)
			}
			reportTimes(b, total)
		})
	}
}

// firstByte tells when it was written to.
type firstByte chan time.Time

func (f firstByte) Write(b []byte) (int, error) {
	select {
	case f <- time.Now():
	default:
	}
	return len(b), nil
}

// BenchmarkSupervisorMemory tells the private memory of an idle supervisor.
func BenchmarkSupervisorMemory(b *testing.B) {
	for _, level := range levels {
		b.Run(string(level), func(b *testing.B) {
			p := benchPool(b, level)
			c, err := p.Create(b.Context(), warden.Spec{Handle: "idle", Port: true})
			if err != nil {
				b.Fatal(err)
			}
			if err := c.Start(warden.Command{Args: []string{"/bin/sleep", "1000"}}); err != nil {
				b.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			for b.Loop() {
				private, pss := memory(b, "idle")
				b.ReportMetric(private, "private-kB")
				b.ReportMetric(pss, "PSS-kB")
			}
		})
	}
}

func memory(b *testing.B, handle string) (private, pss float64) {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if cmd, _ := os.ReadFile(f); strings.TrimRight(string(cmd), "\x00") != "cloudlet-supervisor\x00"+handle {
			continue
		}
		rollup, err := os.ReadFile(filepath.Join(filepath.Dir(f), "smaps_rollup"))
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(rollup)) {
			var name string
			var n float64
			fmt.Sscan(line, &name, &n)
			switch name {
			case "Private_Clean:", "Private_Dirty:":
				private += n
			case "Pss:":
				pss += n
			}
		}
	}
	return private, pss
}

// benchHelper serves inside the containers of the relay's benchmarks.
const benchHelper = "WARDEN_BENCH_SERVE"

func init() {
	if addr := os.Getenv(benchHelper); addr != "" {
		serveEcho(addr)
		os.Exit(0)
	}
}

func serveEcho(addr string) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(struct{ io.Writer }{c}, c) // no splice: an app reads and writes
			c.Close()
		}()
	}
}

// BenchmarkRelay compares the ways to an app: by the relay, by the container's own
// address (direct), and, at level process, without either.
func BenchmarkRelay(b *testing.B) {
	for _, level := range levels {
		b.Run(string(level), func(b *testing.B) {
			p := benchPool(b, level)
			c := startEcho(b, p)
			ways := map[string]string{"loopback/": c.Addrs()[0]}
			if len(c.Addrs()) == 2 {
				ways = map[string]string{"direct/": c.Addrs()[0], "relay/": c.Addrs()[1]}
			}
			for name, addr := range ways {
				awaitBench(addr)
				b.Run(name+"latency", func(b *testing.B) { benchLatency(b, addr) })
				b.Run(name+"connect", func(b *testing.B) { benchConnect(b, addr) })
				b.Run(name+"throughput", func(b *testing.B) { benchThroughput(b, addr) })
			}
		})
	}
}

// startEcho starts a server in a container.
func startEcho(b *testing.B, p *warden.Pool) *warden.Container {
	b.Helper()
	m, inside := p.Binary()
	c, err := p.Create(b.Context(), warden.Spec{Handle: "echo", Port: true, Mounts: []warden.Mount{m}})
	if err != nil {
		b.Fatal(err)
	}
	if p.Isolation().Level == warden.Process {
		inside = filepath.Join(c.Home(), "helper")
		copyBinary(b, m.Source, inside)
	}
	c.Own()
	listen := fmt.Sprintf("0.0.0.0:%d", c.Port())
	if err := c.Start(warden.Command{Args: []string{inside}, Env: []string{benchHelper + "=" + listen}}); err != nil {
		b.Fatal(err)
	}
	return c
}

func awaitBench(addr string) {
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
	}
}

func copyBinary(b *testing.B, from, to string) {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func benchLatency(b *testing.B, addr string) {
	conn := dialBench(b, addr)
	msg := make([]byte, 512)
	for b.Loop() {
		conn.Write(msg)
		if _, err := io.ReadFull(conn, msg); err != nil {
			b.Fatal(err)
		}
	}
}

func benchConnect(b *testing.B, addr string) {
	msg := make([]byte, 512)
	for b.Loop() {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		conn.Write(msg)
		if _, err := io.ReadFull(conn, msg); err != nil {
			b.Fatal(err)
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func benchThroughput(b *testing.B, addr string) {
	conn := dialBench(b, addr)
	chunk := make([]byte, 64<<10)
	b.SetBytes(int64(len(chunk)))
	total := int64(0)
	received := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, conn)
		received <- n
	}()
	for b.Loop() {
		n, err := conn.Write(chunk)
		if err != nil {
			b.Fatal(err)
		}
		total += int64(n)
	}
	conn.(*net.TCPConn).CloseWrite()
	if n := <-received; n != total {
		b.Fatalf("%d of %d bytes came back", n, total)
	}
}

func dialBench(b *testing.B, addr string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// BenchmarkNeighbour is what an answer of a container takes while another one misbehaves
// as its limits allow.
func BenchmarkNeighbour(b *testing.B) {
	for _, bomb := range []struct{ name, script string }{
		{"quiet", "sleep 1000"},
		{"processor", "while :; do :; done & while :; do :; done"},
		{"forks", "b() { b | b & }; (while :; do b; done) 2>/dev/null & exec sleep 1000"},
		{"memory", "while :; do head -c 1000000000 /dev/zero | tail -c 1000000000 >/dev/null; done"},
		{"disk", "while :; do head -c 60000000 /dev/zero > x; cat x >/dev/null; done"},
		{"log", "yes"},
	} {
		b.Run(bomb.name, func(b *testing.B) {
			p := benchPool(b, warden.Full)
			addr := startEcho(b, p).Addrs()[0]
			awaitBench(addr)
			c, err := p.Create(b.Context(), warden.Spec{Handle: "bomb", Limits: benchLimits})
			if err == nil {
				err = c.Start(warden.Command{Args: []string{"/bin/sh", "-c", bomb.script}, Env: []string{"PATH=/bin"}})
			}
			if err != nil {
				b.Fatal(err)
			}
			conn := dialBench(b, addr)
			msg := make([]byte, 512)
			var took []time.Duration
			for b.Loop() {
				t0 := time.Now()
				conn.Write(msg)
				if _, err := io.ReadFull(conn, msg); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(t0))
			}
			reportTimes(b, took)
		})
	}
}
