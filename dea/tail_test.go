package dea

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloudlet/controller/api"
	"cloudlet/internal/testkit"
)

// book is a log as the supervisor keeps it.
type book struct {
	t    *testing.T
	path string
	file *os.File
	born time.Time
}

func newBook(t *testing.T) *book {
	b := &book{t: t, path: filepath.Join(t.TempDir(), "stdout.log")}
	b.reopen()
	t.Cleanup(func() { b.file.Close() })
	return b
}

// reopen makes a new file, born later than the one before by the file system's clock.
func (b *book) reopen() {
	b.t.Helper()
	for {
		f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			b.t.Fatal(err)
		}
		born := birth(f)
		if born.IsZero() {
			b.t.Skip("this file system does not keep times of birth")
		}
		if born.After(b.born) {
			b.file, b.born = f, born
			return
		}
		f.Close()
		if err := os.Remove(b.path); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *book) rotate() {
	b.t.Helper()
	if err := os.Rename(b.path, b.path+".1"); err != nil {
		b.t.Fatal(err)
	}
	b.file.Close()
	b.reopen()
}

func (b *book) write(text string) {
	b.t.Helper()
	if _, err := b.file.WriteString(text); err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) tail() *tail {
	b.t.Helper()
	root, err := os.OpenRoot(filepath.Dir(b.path))
	if err != nil {
		b.t.Fatal(err)
	}
	t := &tail{root: root, path: filepath.Base(b.path), source: "stdout", epoch: b.born.Add(-time.Second)}
	b.t.Cleanup(func() { t.close(); root.Close() })
	return t
}

// lines steps once and gives what came.
func (t *tail) lines(tb testing.TB) (got []string, seq int64) {
	tb.Helper()
	_, _, err := t.step(make([]byte, 1000), func(l line) error {
		if l.seq <= seq {
			tb.Errorf("position %d after %d", l.seq, seq)
		}
		got, seq = append(got, string(l.text)), l.seq
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return got, seq
}

func numbered(from, to int) (l []string) {
	for i := from; i < to; i++ {
		l = append(l, fmt.Sprintf("line %d", i))
	}
	return l
}

func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

func TestTailBegins(t *testing.T) {
	b := newBook(t)
	b.write(text(numbered(0, 5)) + "line ")
	b.rotate()
	b.write("5\n" + text(numbered(6, 8)) + "line 8")
	for n, want := range map[int][]string{
		0: nil, 1: numbered(7, 8), 2: numbered(6, 8), 3: numbered(5, 8), 4: numbered(4, 8), 8: numbered(0, 8), 99: numbered(0, 8), -1: numbered(0, 8),
	} {
		tail := b.tail()
		if err := tail.begin(n); err != nil {
			t.Fatal(err)
		}
		if got, _ := tail.lines(t); !slices.Equal(got, want) {
			t.Errorf("the last %d: %q, want %q", n, got, want)
		}
		var end []string
		err := tail.end(func(l line) error { end = append(end, string(l.text)); return nil })
		if err != nil || !slices.Equal(end, []string{"line 8"}) {
			t.Errorf("at the end: %q, %v", end, err)
		}
	}
}

// However a log grows, is rotated and read, and wherever reading breaks off: each line
// comes once.
func TestTailLosesNothing(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBook(t)
		tail := b.tail()
		epoch := tail.epoch
		if err := tail.begin(0); err != nil {
			t.Fatal(err)
		}
		var got, all []string
		for i := range 300 {
			line := fmt.Sprintf("%d%s", i, strings.Repeat("x", r.IntN(30)))
			all = append(all, line)
			cut := r.IntN(len(line))
			b.write(line[:cut])
			if r.IntN(15) == 0 {
				lines, _ := tail.lines(t) // between two rotations
				got = append(got, lines...)
				b.rotate()
			}
			b.write(line[cut:] + "\n")
			if r.IntN(4) > 0 {
				continue
			}
			lines, seq := tail.lines(t)
			got = append(got, lines...)
			if seq > 0 && r.IntN(2) == 0 {
				tail = b.tail()
				tail.epoch = epoch
				if lost, err := tail.resume(seq); lost || err != nil {
					t.Fatalf("resume: %v, %v", lost, err)
				}
			}
		}
		lines, _ := tail.lines(t)
		if got = append(got, lines...); !slices.Equal(got, all) {
			t.Fatalf("seed %d: %d lines of %d, or in another order", seed, len(got), len(all))
		}
	}
}

func TestTailMissesGenerations(t *testing.T) {
	b := newBook(t)
	tail := b.tail()
	b.write("one\n")
	if err := tail.begin(-1); err != nil {
		t.Fatal(err)
	}
	_, first := tail.lines(t)
	for _, word := range []string{"two\n", "three\n", "four\n"} {
		b.rotate()
		b.write(word)
	}
	var got []string
	_, missed, err := tail.step(make([]byte, 100), func(l line) error { got = append(got, string(l.text)); return nil })
	if !slices.Equal(got, []string{"three", "four"}) || !missed || err != nil {
		t.Errorf("%q, %v, %v", got, missed, err)
	}
	again := b.tail()
	again.epoch = tail.epoch
	if lost, err := again.resume(first); !lost || err != nil {
		t.Errorf("resume: %v, %v", lost, err)
	}
}

func TestTailOfHostileFiles(t *testing.T) {
	b := newBook(t)
	b.write("before\n")
	tail := b.tail()
	if err := tail.begin(-1); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if got, _ := tail.lines(t); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	expect("at first", "before")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.file.Truncate(0))
	b.write("cut\n")
	expect("cut short", "cut")
	must(os.Remove(b.path))
	expect("removed")
	must(syscall.Mkfifo(b.path, 0o600))
	expect("a pipe")
	must(os.Remove(b.path))
	must(os.Symlink("/etc/passwd", b.path))
	expect("a link that leads out")
	must(os.Remove(b.path))
	must(os.Mkdir(b.path, 0o700))
	expect("a folder")
	must(os.Remove(b.path))
	b.reopen()
	b.write("after\n")
	expect("a file again", "after")
	must(b.file.Truncate(1 << 40))
	skipped, _, err := tail.step(make([]byte, chunk), func(line) error { return nil })
	if skipped < 1<<39 || err != nil {
		t.Errorf("skipped %d, %v", skipped, err)
	}
}

// The pieces of a text are the same however it is read, and lose nothing but line ends.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n\nc"), uint16(3))
	f.Add(bytes.Repeat([]byte("äöü"), api.LogLineMax/4), uint16(700))
	f.Add([]byte("\xff\xfe\n\x00"), uint16(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint16) {
		pieces := func(step int) (out []string) {
			tail := &tail{}
			emit := func(l line) error {
				if len(l.text) > api.LogLineMax {
					t.Errorf("a piece of %d bytes", len(l.text))
				}
				out = append(out, fmt.Sprintf("%d %v %q", l.seq, l.part, l.text))
				return nil
			}
			for rest := text; len(rest) > 0; {
				n := min(step, len(rest))
				tail.off += int64(n)
				if err := tail.split(rest[:n], emit); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := tail.end(emit); err != nil {
				t.Fatal(err)
			}
			return out
		}
		whole, parts := pieces(len(text)+1), pieces(int(size)+1)
		if err := testkit.Equal(strings.Join(parts, "\n"), strings.Join(whole, "\n")); err != nil {
			t.Error(err)
		}
	})
}
