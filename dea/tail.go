package dea

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
	"unicode/utf8"

	"cloudlet/controller/api"
)

// Bounds of reading logs, in bytes.
const (
	// lagMax is how far reading goes back, and how far it may fall behind what is written
	// before it skips: an app may make its own logs as long as it likes.
	lagMax = 16 << 20
	chunk  = 32 << 10

	generationsMax = 8 // that one step goes through
)

// tail reads one log of an instance: from a place in its past to what is written now,
// across rotation. The supervisor keeps one old generation beside the file.
//
// A position is the nanoseconds from the instance's start to the birth of the file, and
// the offset in it. So positions rise from one generation to the next, as long as an app
// writes less than a gigabyte in a second, they outlive the reader, the DEA and the
// machine, and one tells the generation it belongs to. Where a file system does not
// know births, or an app cuts its logs short, positions begin again with the file.
type tail struct {
	root   *os.Root // the instance's home
	path   string   // logs/stdout.log
	source string
	epoch  time.Time // the instance's start

	gen  generation
	off  int64  // what of it was read
	rest []byte // of that, a line that was begun
}

// generation is one file of a log.
type generation struct {
	file *os.File
	info os.FileInfo
	base int64 // position of its first byte
}

// line is a line of a log, or a piece of one.
type line struct {
	seq  int64 // position behind it
	text []byte
	part bool // the next piece goes on with it
}

var errNoLog = errors.New("this is no file")

// open opens a generation. What an app has put there instead of a file is none.
func (t *tail) open(path string) (g generation, err error) {
	g.file, err = t.root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return g, err
	}
	g.info, err = g.file.Stat()
	if err == nil && !g.info.Mode().IsRegular() {
		err = errNoLog
	}
	if err != nil {
		g.file.Close()
		return generation{}, err
	}
	if born := birth(g.file); !born.IsZero() {
		g.base = max(0, int64(born.Sub(t.epoch)))
	}
	return g, nil
}

func (g generation) is(other generation) bool {
	return g.file != nil && other.file != nil && os.SameFile(g.info, other.info)
}

func (g generation) size() int64 {
	info, err := g.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func (g generation) close() {
	if g.file != nil {
		g.file.Close()
	}
}

// use goes on at an offset of a generation.
func (t *tail) use(g generation, off int64) {
	t.gen.close()
	t.gen, t.off = g, off
}

// both opens the generations that there are; old is empty where there is one only.
func (t *tail) both() (old, now generation, err error) {
	now, err = t.open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		now, err = t.open(t.path + ".1") // it was just moved aside
		return old, now, err
	}
	if err != nil {
		return old, now, err
	}
	old, err = t.open(t.path + ".1")
	if err != nil || old.is(now) || old.base > now.base { // the latter two: rotated in between
		old.close()
		return generation{}, now, nil
	}
	now.base = max(now.base, old.base+old.size()) // both may have been born in one tick of the clock
	return old, now, nil
}

// begin starts at the beginning of the last lines, that is behind so many line ends and
// one; a negative number means all that there is.
func (t *tail) begin(lines int) error {
	old, now, err := t.both()
	if err != nil {
		return err
	}
	off, left := int64(0), max(1, lines+1)
	if lines >= 0 {
		off, left = back(now.file, now.size(), left)
	}
	if old.file == nil || left == 0 {
		old.close()
		t.use(now, off)
		return nil
	}
	off = 0
	if lines >= 0 {
		off, _ = back(old.file, old.size(), left)
	}
	now.close()
	t.use(old, off)
	return nil
}

// resume goes on behind a position; lost says that lines behind it may be gone.
func (t *tail) resume(seq int64) (lost bool, err error) {
	old, now, err := t.both()
	if err != nil {
		return false, err
	}
	if old.file != nil && seq <= old.base+old.size() {
		now.close()
		t.use(old, max(0, seq-old.base))
		return seq < old.base, nil
	}
	old.close()
	off := seq - now.base
	if off > now.size() {
		off = 0 // it was cut short, and is new
	}
	t.use(now, max(0, off))
	return off < 0 && old.file == nil, nil
}

// back gives the offset behind the n-th line end from the end, and how many of them were
// not found before the beginning.
func back(f io.ReaderAt, size int64, n int) (off int64, left int) {
	b := make([]byte, chunk)
	first := max(0, size-lagMax)
	for end := size; end > first; {
		from := max(first, end-chunk)
		part := b[:end-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return end, 0 // it was cut short meanwhile
		}
		for i := bytes.LastIndexByte(part, '\n'); i >= 0; i = bytes.LastIndexByte(part[:i], '\n') {
			if n--; n == 0 {
				return from + int64(i) + 1, 0
			}
		}
		end = from
	}
	if first > 0 {
		return first, 0
	}
	return 0, n
}

// step hands over all that was written since the last time, across generations. It tells
// how many bytes it had to skip, and whether generations may have been missed.
func (t *tail) step(b []byte, emit func(line) error) (skipped int64, missed bool, err error) {
	for range generationsMax {
		moved := t.replaced() // looked at first: then nothing more is written to what was moved aside
		n, err := t.read(b, emit)
		skipped += n
		if err != nil || !moved {
			return skipped, missed, err
		}
		ok, between := t.next()
		missed = missed || between
		if !ok {
			break
		}
	}
	return skipped, missed, nil
}

// replaced tells that another file is in the place of the one that is read.
func (t *tail) replaced() bool {
	info, err := t.root.Stat(t.path)
	return err == nil && (t.gen.file == nil || !os.SameFile(info, t.gen.info))
}

// next moves on to the generation that follows the one that is read. If it was moved
// aside itself meanwhile, there may have been more of them.
func (t *tail) next() (ok, missed bool) {
	end := t.gen.base + t.off
	if old, err := t.open(t.path + ".1"); err == nil {
		if t.gen.file != nil && !old.is(t.gen) && old.base >= t.gen.base {
			old.base = max(old.base, end)
			t.use(old, 0)
			return true, true
		}
		old.close()
	}
	now, err := t.open(t.path)
	if err != nil {
		return false, false
	}
	now.base = max(now.base, end)
	t.use(now, 0)
	return true, false
}

// read hands over what was written to this generation since the last time, line by line,
// and says how many bytes had to be skipped.
func (t *tail) read(b []byte, emit func(line) error) (skipped int64, err error) {
	if t.gen.file == nil {
		return 0, nil
	}
	size := t.gen.size()
	if size < t.off { // it was cut short
		t.gen.base += t.off
		t.off, t.rest = 0, nil
	}
	if size-t.off > lagMax {
		skipped = size - lagMax - t.off
		t.off, t.rest = size-lagMax, nil
	}
	for {
		n, err := t.gen.file.ReadAt(b, t.off)
		t.off += int64(n)
		if n > 0 {
			if err := t.split(b[:n], emit); err != nil {
				return skipped, err
			}
		}
		if err != nil || n == 0 {
			return skipped, nil // at its end, for now
		}
	}
}

// split hands over the lines of a chunk that was read, and keeps what is begun.
func (t *tail) split(b []byte, emit func(line) error) error {
	end := t.gen.base + t.off
	t.rest = append(t.rest, b...)
	b = t.rest
	for {
		n, used, part := cut(b)
		if used == 0 {
			t.rest = append(t.rest[:0], b...)
			return nil
		}
		text := b[:n]
		b = b[used:]
		if err := emit(line{seq: end - int64(len(b)), text: text, part: part}); err != nil {
			return err
		}
	}
}

// cut finds the first line, or piece of a line, of b: its length, and how many bytes it
// takes with its end. Nothing is used where the line may go on.
func cut(b []byte) (n, used int, part bool) {
	i := bytes.IndexByte(b[:min(len(b), api.LogLineMax+1)], '\n')
	switch {
	case i >= 0:
		return len(bytes.TrimSuffix(b[:i], []byte("\r"))), i + 1, false
	case len(b) <= api.LogLineMax:
		return 0, 0, false
	}
	n = api.LogLineMax
	for k := 1; k < utf8.UTFMax; k++ { // not within a character
		if utf8.RuneStart(b[n-k]) {
			if !utf8.FullRune(b[n-k : n]) {
				n -= k
			}
			break
		}
	}
	return n, n, true
}

// end hands over a line that was begun and will not go on.
func (t *tail) end(emit func(line) error) error {
	rest := t.rest
	t.rest = nil
	if len(rest) == 0 {
		return nil
	}
	return emit(line{seq: t.gen.base + t.off, text: rest})
}

// place is the position that was handed over so far.
func (t *tail) place() int64 { return t.gen.base + t.off - int64(len(t.rest)) }

func (t *tail) close() { t.gen.close() }
