package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloudlet/internal/operator"
)

// The figures that users judge the whole by, of the real binary as it is shipped. Each
// operation is one start, push or death; -benchtime Nx sets how many.

// built is the binary under test.
func built(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "cloudlet")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// server is a running cloud.
type server struct {
	b      testing.TB
	binary string
	data   string
	cmd    *exec.Cmd
	status operator.Status
}

// launch starts a cloud, with further flags, and gives the time until its API answers
// through the router.
func launch(b testing.TB, binary, data string, flags ...string) (*server, time.Duration) {
	b.Helper()
	s := &server{b: b, binary: binary, data: data}
	s.cmd = exec.Command(binary, append([]string{"up", "--data", data, "--listen", "127.0.0.1:0"}, flags...)...)
	s.cmd.Env = s.env()
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s.wait(func() error {
		var err error
		if s.status, err = operator.Dial(data).Status(context.Background()); err != nil {
			return err
		}
		return s.answers("/info", "api")
	})
	return s, time.Since(began)
}

func (s *server) env() []string {
	return append(os.Environ(), "HOME="+filepath.Dir(s.data), "CLOUDLET_DATA="+s.data)
}

// wait calls f every millisecond until it returns nil.
func (s *server) wait(f func() error) {
	s.b.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.b.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *server) answers(path, host string) error {
	code, _, err := get(s.status.Listen, "http://"+host+".localhost"+path)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s answers %d", host, code)
	}
	return err
}

func (s *server) vmc(args ...string) {
	s.b.Helper()
	cmd := exec.Command(s.binary, append([]string{"vmc"}, args...)...)
	cmd.Env = s.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		s.b.Fatalf("vmc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *server) stop() {
	s.b.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.b.Error(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.b.Error(err)
	}
}

const nodeApp = "testdata/apps/node-hello"

func needsNode(b *testing.B) {
	if _, err := exec.LookPath("node"); err != nil {
		b.Skip("node is not installed: apt-get install nodejs npm")
	}
}

func report(b *testing.B, total time.Duration) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms/op")
}

// BenchmarkReady is the time from the start of the process to the first answer.
func BenchmarkReady(b *testing.B) {
	binary, data := built(b), filepath.Join(b.TempDir(), "data")
	s, _ := launch(b, binary, data) // the first start makes keys and an account
	s.stop()
	var total time.Duration
	for range b.N {
		s, took := launch(b, binary, data)
		total += took
		s.stop()
	}
	report(b, total)
}

// BenchmarkPush is the time from `vmc push` to the first 200 of a node application
// without dependencies.
func BenchmarkPush(b *testing.B) {
	needsNode(b)
	s, _ := launch(b, built(b), filepath.Join(b.TempDir(), "data"))
	defer s.stop()
	s.vmc("info")
	var total time.Duration
	for i := range b.N {
		name := fmt.Sprintf("hello%d", i)
		began := time.Now()
		s.vmc("push", name, "--path", nodeApp, "-n")
		s.wait(func() error { return s.answers("/", name) })
		total += time.Since(began)
		s.vmc("delete", name, "-n")
	}
	report(b, total)
}

// BenchmarkHeal is the time from the death of an application's process to the next 200.
func BenchmarkHeal(b *testing.B) {
	needsNode(b)
	s, _ := launch(b, built(b), filepath.Join(b.TempDir(), "data"))
	defer s.stop()
	var total time.Duration
	for i := range b.N {
		name := fmt.Sprintf("hello%d", i)
		s.vmc("push", name, "--path", nodeApp, "-n")
		_, id, err := get(s.status.Listen, "http://"+name+".localhost/id")
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for _, pid := range instancePIDs(strings.TrimSpace(id), "node") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				b.Fatal(err)
			}
		}
		s.wait(func() error {
			code, now, err := get(s.status.Listen, "http://"+name+".localhost/id")
			if err != nil || code != http.StatusOK || now == id {
				return fmt.Errorf("%d %v", code, err)
			}
			return nil
		})
		total += time.Since(began)
		s.vmc("delete", name, "-n")
	}
	report(b, total)
}

// BenchmarkIdle is what the server itself uses with ten idle applications.
func BenchmarkIdle(b *testing.B) {
	needsNode(b)
	s, _ := launch(b, built(b), filepath.Join(b.TempDir(), "data"))
	defer s.stop()
	for i := range 10 {
		s.vmc("push", fmt.Sprintf("idle%d", i), "--path", nodeApp, "-n")
	}
	time.Sleep(5 * time.Second) // what the pushes left to do
	const window = 20 * time.Second
	before := s.ticks()
	time.Sleep(window)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(100*float64(s.ticks()-before)/100/window.Seconds(), "%core")
	b.ReportMetric(float64(s.kilobytes("VmRSS:"))/1024, "MB-RSS")
}

// ticks is the processor time of the server in hundredths of a second.
func (s *server) ticks() int {
	s.b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.b.Skip("this system has no /proc: ", err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	sum := 0
	for _, field := range f[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			s.b.Fatal(err)
		}
		sum += n
	}
	return sum
}

func (s *server) kilobytes(name string) int {
	s.b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == name {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				s.b.Fatal(err)
			}
			return n
		}
	}
	s.b.Fatalf("no %s", name)
	return 0
}

// BenchmarkVersion is the time of `vmc version`: what the start of the program costs.
func BenchmarkVersion(b *testing.B) { benchmarkStart(b, "version") }

// BenchmarkApps is the time of `vmc apps`: a start and two requests.
func BenchmarkApps(b *testing.B) { benchmarkStart(b, "apps") }

func benchmarkStart(b *testing.B, args ...string) {
	s, _ := launch(b, built(b), filepath.Join(b.TempDir(), "data"))
	defer s.stop()
	s.vmc("info") // logs in
	b.ResetTimer()
	var total time.Duration
	for range b.N {
		began := time.Now()
		s.vmc(args...)
		total += time.Since(began)
	}
	b.StopTimer()
	report(b, total)
}

// BenchmarkPushAgain is the time of `vmc push --no-start` of 20,000 files, 200 MB, of
// which one was changed since they were pushed.
func BenchmarkPushAgain(b *testing.B) {
	s, _ := launch(b, built(b), filepath.Join(b.TempDir(), "data"))
	defer s.stop()
	folder := b.TempDir()
	rnd := rand.NewChaCha8([32]byte{})
	for i := range 20_000 {
		name := filepath.Join(folder, fmt.Sprintf("d%d/s%d/f%d.bin", i/1000, i/50, i))
		if i%50 == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		noise := make([]byte, 10<<10)
		rnd.Read(noise) //nolint:errcheck // it cannot fail
		if err := os.WriteFile(name, noise, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	push := func(text string) {
		if err := os.WriteFile(filepath.Join(folder, "index.html"), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
		s.vmc("push", "big", "--path", folder, "--no-start", "-n")
	}
	push("first")
	var total time.Duration
	for i := range b.N {
		began := time.Now()
		push(fmt.Sprint("again ", i))
		total += time.Since(began)
	}
	report(b, total)
}
