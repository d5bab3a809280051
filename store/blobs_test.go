package store_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudlet/store"
)

func add(t testing.TB, w *store.Batch, content string) store.Blob {
	t.Helper()
	b, err := w.Add(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keep stores contents as blobs.
func keep(t testing.TB, st *store.Store, contents ...string) (blobs []store.Blob) {
	t.Helper()
	w := st.Blobs.Batch()
	defer w.Discard()
	for _, c := range contents {
		blobs = append(blobs, add(t, w, c))
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return blobs
}

// content reads a blob; "" and an error if there is none.
func content(st *store.Store, sum string) (string, error) {
	f, err := st.Blobs.Open(sum)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

func TestBatch(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 20} { // few are forced to disk one by one, many at once
		st := open(t, t.TempDir())
		w := st.Blobs.Batch()
		var blobs []store.Blob
		for i := range n {
			blobs = append(blobs, add(t, w, fmt.Sprint("content ", i)))
		}
		twice := add(t, w, "content 0")
		sum1, sum256 := sha1.Sum([]byte("content 0")), sha256.Sum256([]byte("content 0"))
		want := store.Blob{SHA256: hex.EncodeToString(sum256[:]), SHA1: hex.EncodeToString(sum1[:]), Size: 9}
		if blobs[0] != want || twice != want {
			t.Errorf("%+v, %+v, want %+v", blobs[0], twice, want)
		}
		if _, err := content(st, want.SHA256); !errors.Is(err, store.ErrNoBlob) {
			t.Errorf("visible before the commit: %v", err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		for i, b := range blobs {
			if got, err := content(st, b.SHA256); err != nil || got != fmt.Sprint("content ", i) {
				t.Errorf("%q, %v", got, err)
			}
		}
		w.Discard() // of nothing
		if got, err := content(st, want.SHA256); err != nil || got != "content 0" {
			t.Errorf("after Discard: %q, %v", got, err)
		}
		if err := w.Commit(); err != nil {
			t.Errorf("an empty commit: %v", err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestBatchFails(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	w := st.Blobs.Batch()
	lost := add(t, w, "lost")
	if _, err := w.Add(io.MultiReader(strings.NewReader("half"), broken{})); err == nil {
		t.Error("a broken reader made a blob")
	}
	w.Discard()
	temp, err := st.Blobs.TempFile()
	if err != nil {
		t.Fatal(err)
	}
	temp.Close()
	if left, err := os.ReadDir(filepath.Dir(temp.Name())); err != nil || len(left) != 1 {
		t.Errorf("%d temporary files, %v; want TempFile's own", len(left), err)
	}
	if _, err := content(st, lost.SHA256); !errors.Is(err, store.ErrNoBlob) {
		t.Errorf("discarded: %v", err)
	}
}

func TestBlobNames(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	sum := keep(t, st, "x")[0].SHA256
	for _, name := range []string{"", "x", "../cloud.db", sum[:63], sum + "0", strings.ToUpper(sum), "../../../../../../../../../../../../../../../../../../../etc/passwd", strings.Repeat("0", 64)} {
		if _, err := content(st, name); !errors.Is(err, store.ErrNoBlob) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// What a kill has left in the folder for temporary files is gone after a start.
func TestTemporaryFilesEndWithTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	add(t, st.Blobs.Batch(), "never committed")
	f, err := st.Blobs.TempFile()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	st.Close()
	open(t, dir)
	if left, err := os.ReadDir(filepath.Dir(f.Name())); err != nil || len(left) != 0 {
		t.Errorf("%d files left, %v", len(left), err)
	}
}

// Swept is what nothing refers to and nobody has just uploaded.
func TestSweep(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	names := []string{"tree", "in a tree", "droplet", "in the pool", "old droplet", "never used"}
	blobs := keep(t, st, names...)
	app := store.App{Owner: "a@x", Name: "hello", Package: &store.Package{Tree: blobs[0].SHA256}, Droplet: &blobs[2]}
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutApp(&app), tx.PutPoolFile("a@x", store.PoolFile{Blob: blobs[3]}))
	})
	trees := func(p store.Package) ([]string, error) {
		if p.Tree != blobs[0].SHA256 {
			t.Errorf("asked for tree %q", p.Tree)
		}
		return []string{blobs[1].SHA256}, nil
	}
	left := func() (left []string) {
		for i, b := range blobs {
			if got, err := content(st, b.SHA256); err == nil && got == names[i] {
				left = append(left, names[i])
			}
		}
		return left
	}
	step := func(what string, age time.Duration, want ...string) {
		t.Helper()
		before := len(left())
		removed, err := st.Sweep(age, trees)
		got := left()
		if d := cmp.Diff(want, got, sorted); err != nil || d != "" || removed != before-len(got) {
			t.Errorf("%s: %d removed, %v, left:\n%s", what, removed, err, d)
		}
	}
	step("all are young", time.Hour, names...)
	old := time.Now().Add(-2 * time.Hour)
	for _, b := range blobs {
		f, err := st.Blobs.Open(b.SHA256)
		if err == nil {
			err = errors.Join(os.Chtimes(f.Name(), old, old), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	keep(t, st, "never used") // somebody uploads it again: it is young now
	step("old", time.Hour, "tree", "in a tree", "droplet", "in the pool", "never used")
	broken := errors.New("broken")
	if n, err := st.Sweep(-1, func(store.Package) ([]string, error) { return nil, broken }); n != 0 || !errors.Is(err, broken) {
		t.Errorf("a tree cannot be read: %d removed, %v", n, err)
	}
	step("nothing is young", -time.Minute, "tree", "in a tree", "droplet", "in the pool")
	update(t, st, func(tx *store.Tx) error { return tx.DeleteApp(app.ID) })
	step("the app is gone", -time.Minute, "in the pool")
	update(t, st, func(tx *store.Tx) error { return tx.DropPool("", time.Now()) })
	step("the pool is empty", -time.Minute)
}

// An upload that finds a blob here may rely on it, however the sweep runs beside it.
func TestSweepAndUploadAtOnce(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	none := func(store.Package) ([]string, error) { return nil, nil }
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := st.Sweep(time.Hour, none); err != nil {
				t.Error(err)
				return
			}
		}
	})
	old := time.Now().Add(-2 * time.Hour)
	for range rounds {
		sum := keep(t, st, "shared")[0].SHA256
		f, err := st.Blobs.Open(sum)
		if err != nil {
			t.Errorf("swept under an upload: %v", err)
			break
		}
		os.Chtimes(f.Name(), old, old) // from now on it may go
		f.Close()
	}
	close(done)
	wg.Wait()
}
