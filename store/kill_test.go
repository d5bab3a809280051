package store_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"cloudlet/store"
)

// childDir tells the test binary to be the process that is killed.
const childDir = "STORE_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println("error:", write(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write makes apps with blobs until the process is killed, and prints what was accepted:
// a line is printed when Update has returned.
func write(dir string) error {
	st, err := store.Open(dir)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		w := st.Blobs.Batch()
		var droplet store.Blob
		for j := range 1 + i%12 { // both ways of forcing to disk
			if droplet, err = w.Add(strings.NewReader(chapter(i, j))); err != nil {
				return err
			}
		}
		if err := w.Commit(); err != nil {
			return err
		}
		app := store.App{Owner: "a@x", Name: fmt.Sprint("app", i), URIs: []string{fmt.Sprint("app", i, ".x")}, Droplet: &droplet}
		if err := st.Update(func(tx *store.Tx) error { return tx.PutApp(&app) }); err != nil {
			return err
		}
		if i%3 == 2 { // what is deleted stays so
			if err := st.Update(func(tx *store.Tx) error { return tx.DeleteApp(app.ID) }); err != nil {
				return err
			}
			fmt.Println("deleted", app.Name)
			continue
		}
		fmt.Println("wrote", app.Name)
	}
}

// chapter is a content long enough that a kill may come in its middle.
func chapter(i, j int) string { return strings.Repeat(fmt.Sprintf("%d.%d ", i, j), 20_000) }

// Whatever was accepted before a kill -9 is there afterwards, and whole.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		dir := t.TempDir()
		accepted := killed(t, dir, 1+rand.IntN(40))
		st := open(t, dir)
		view(t, st, func(tx *store.Tx) error {
			for name, wrote := range accepted {
				app, err := tx.AppNamed("a@x", name)
				if !wrote {
					if !errors.Is(err, store.ErrNoApp) {
						t.Errorf("%s was deleted: %v", name, err)
					}
					continue
				}
				if err != nil || len(app.URIs) != 1 {
					t.Errorf("%s was accepted: %+v, %v", name, app, err)
				}
			}
			return wholeBlobs(t, st, tx)
		})
		if err := st.Check(); err != nil {
			t.Error(err)
		}
	}
}

// killed runs the child in dir, kills it after so many lines, and gives what it had
// accepted by then: true for written, false for deleted.
func killed(t *testing.T, dir string, lines int) map[string]bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[string]bool{}
	for s := bufio.NewScanner(out); s.Scan(); lines-- {
		what, name, _ := strings.Cut(s.Text(), " ")
		if what == "error:" {
			t.Fatal(s.Text())
		}
		accepted[name] = what == "wrote"
		if lines == 0 {
			cmd.Process.Kill() // and read on: what was printed was accepted
		}
	}
	cmd.Wait() //nolint:errcheck // it was killed
	if len(accepted) == 0 {
		t.Fatal("nothing was accepted")
	}
	return accepted
}

// wholeBlobs checks that every app's droplet is the content that its name says.
func wholeBlobs(t *testing.T, st *store.Store, tx *store.Tx) error {
	apps, err := tx.Apps(0, 10_000)
	for _, app := range apps {
		text, err := content(st, app.Droplet.SHA256)
		if err != nil {
			t.Errorf("droplet of %s: %v", app.Name, err)
		}
		w := st.Blobs.Batch()
		if got := add(t, w, text); got != *app.Droplet {
			t.Errorf("droplet of %s is %+v, want %+v", app.Name, got, *app.Droplet)
		}
		w.Discard()
	}
	return err
}
