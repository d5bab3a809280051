package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudlet/store"
)

// open opens a store in dir, which is checked and closed at the end of the test.
func open(t testing.TB, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Check(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func update(t testing.TB, st *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := st.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, st *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := st.View(fn); err != nil {
		t.Fatal(err)
	}
}

// put writes an app of an owner with URIs and gives it back with its id.
func put(t testing.TB, st *store.Store, owner, name string, uris ...string) store.App {
	t.Helper()
	app := store.App{Owner: owner, Name: name, URIs: uris}
	update(t, st, func(tx *store.Tx) error { return tx.PutApp(&app) })
	return app
}

func TestApps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	debug, console := "run", true
	app := store.App{
		Owner: "a@x", Name: "hello", Framework: "node", Runtime: "node", Command: "node a.js", Started: true, Instances: 2,
		Memory: 64, Disk: 2048, FDs: 256, URIs: []string{"hello.x"}, Env: []string{"A=1"}, Debug: &debug, Console: &console,
		Package: &store.Package{Hash: "p", Tree: "t", Size: 3}, PackageState: store.Staged, Droplet: &store.Blob{SHA256: "d", SHA1: "1", Size: 4},
		RunCount: 5, LockVersion: 6, Created: time.Unix(1345678901, 0).UTC(), Updated: time.Unix(1345678902, 3).UTC(),
	}
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutApp(&app), tx.PutStagingLog(app.ID, "staged"))
	})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = open(t, dir)
	view(t, st, func(tx *store.Tx) error {
		byID, err1 := tx.App(app.ID)
		byName, err2 := tx.AppNamed("a@x", "hello")
		if d := cmp.Diff(app, byID) + cmp.Diff(app, byName); d != "" {
			t.Error(d)
		}
		if log := tx.StagingLog(app.ID); log != "staged" {
			t.Errorf("log %q", log)
		}
		return errors.Join(err1, err2)
	})
	update(t, st, func(tx *store.Tx) error { return tx.DeleteApp(app.ID) })
	view(t, st, func(tx *store.Tx) error {
		_, err1 := tx.App(app.ID)
		_, err2 := tx.AppNamed("a@x", "hello")
		if !errors.Is(err1, store.ErrNoApp) || !errors.Is(err2, store.ErrNoApp) || tx.StagingLog(app.ID) != "" || tx.CountApps() != 0 {
			t.Errorf("%v, %v; log %q, %d apps", err1, err2, tx.StagingLog(app.ID), tx.CountApps())
		}
		return nil
	})
	if err := st.Update(func(tx *store.Tx) error { return tx.DeleteApp(app.ID) }); !errors.Is(err, store.ErrNoApp) {
		t.Errorf("deleted twice: %v", err)
	}
	ghost := store.App{ID: 99, Owner: "a@x", Name: "ghost"}
	if err := st.Update(func(tx *store.Tx) error { return tx.PutApp(&ghost) }); !errors.Is(err, store.ErrNoApp) {
		t.Errorf("an app that does not exist was changed: %v", err)
	}
	if again := put(t, st, "a@x", "hello"); again.ID == app.ID {
		t.Error("an id was used twice")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	put(t, st, "a@x", "b")
	put(t, st, "a@x", "a")
	put(t, st, "a@xx", "c") // the owner before is a prefix of this one
	put(t, st, "b@x", "a")
	double := store.App{Owner: "a@x", Name: "a"}
	if err := st.Update(func(tx *store.Tx) error { return tx.PutApp(&double) }); !errors.Is(err, store.ErrNameTaken) || double.ID != 0 {
		t.Errorf("the same name twice: %v, id %d", err, double.ID)
	}
	for owner, want := range map[string]string{"a@x": "a b", "a@xx": "c", "b@x": "a", "a@": "", "": ""} {
		if got := strings.Join(names(t, st, owner), " "); got != want {
			t.Errorf("apps of %q: %q, want %q", owner, got, want)
		}
	}
}

func names(t testing.TB, st *store.Store, owner string) (names []string) {
	t.Helper()
	view(t, st, func(tx *store.Tx) error {
		apps, err := tx.AppsOf(owner)
		for _, a := range apps {
			names = append(names, a.Name)
		}
		return err
	})
	return names
}

func TestURIs(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	blue := put(t, st, "a@x", "blue", "www.x", "b.x")
	green := put(t, st, "a@x", "green", "www.x")
	taken := func(owner, uri string) bool {
		t.Helper()
		err := st.Update(func(tx *store.Tx) error {
			return tx.PutApp(&store.App{Owner: owner, Name: "probe", URIs: []string{"free.x", uri}})
		})
		var is store.ErrURITaken
		if err == nil {
			update(t, st, func(tx *store.Tx) error {
				app, err := tx.AppNamed(owner, "probe")
				return errors.Join(err, tx.DeleteApp(app.ID))
			})
		} else if !errors.As(err, &is) || is.URI != uri {
			t.Errorf("%s: %v", uri, err)
		}
		return err != nil
	}
	step := func(what, uri string, want bool) {
		t.Helper()
		if got := taken("b@x", uri); got != want {
			t.Errorf("%s: %s is taken: %v", what, uri, got)
		}
		if taken("a@x", uri) {
			t.Errorf("%s: %s is taken for its owner", what, uri)
		}
	}
	step("two apps have it", "www.x", true)
	step("a part of one", "ww.x", false)
	step("one with more behind", "www.x.y", false)
	blue.URIs = []string{"c.x"}
	update(t, st, func(tx *store.Tx) error { return tx.PutApp(&blue) })
	step("one app has it still", "www.x", true)
	step("given up", "b.x", false)
	step("new", "c.x", true)
	update(t, st, func(tx *store.Tx) error { return tx.DeleteApp(green.ID) })
	step("its last app is deleted", "www.x", false)
	blue.URIs = []string{"c.x"}
	update(t, st, func(tx *store.Tx) error { return tx.PutApp(&blue) })
	step("written again", "c.x", true)
	put(t, st, "b@x", "other", "www.x")
	blue.URIs = []string{"d.x", "www.x"}
	if err := st.Update(func(tx *store.Tx) error { return tx.PutApp(&blue) }); !errors.As(err, &store.ErrURITaken{}) {
		t.Errorf("a URI of another user: %v", err)
	}
	step("a refused change takes nothing", "d.x", false)
	step("nor gives it up", "c.x", true)
}

func TestPages(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	var want []store.AppID
	for _, n := range []string{"z", "y", "x", "w", "v"} {
		want = append(want, put(t, st, "a@x", n).ID)
	}
	update(t, st, func(tx *store.Tx) error { return tx.DeleteApp(want[2]) })
	want = slices.Delete(want, 2, 3)
	for _, size := range []int{1, 3, 4, 100} {
		var got []store.AppID
		for after := store.AppID(-7); ; after = got[len(got)-1] {
			var page []store.App
			view(t, st, func(tx *store.Tx) (err error) {
				page, err = tx.Apps(after, size)
				return err
			})
			if len(page) == 0 {
				break
			}
			for _, a := range page {
				got = append(got, a.ID)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %v, want %v", size, got, want)
		}
	}
	view(t, st, func(tx *store.Tx) error {
		if apps, err := tx.Apps(1<<63-1, 5); err != nil || len(apps) != 0 {
			t.Errorf("after the last id there is: %v, %v", apps, err)
		}
		if tx.CountApps() != 4 {
			t.Errorf("%d apps", tx.CountApps())
		}
		return nil
	})
}

func TestVersion(t *testing.T) {
	t.Parallel()
	droplet := &store.Blob{SHA1: "d"}
	for _, tc := range []struct {
		app    store.App
		want   string
		staged bool
	}{
		{store.App{Package: &store.Package{Hash: "p"}, RunCount: 2, PackageState: store.Pending}, "p-2", false},
		{store.App{Package: &store.Package{Hash: "p"}, Droplet: droplet, RunCount: 3, PackageState: store.Staged}, "d-3", true},
		{store.App{Package: &store.Package{Hash: "p"}, Droplet: droplet, PackageState: store.Failed}, "d-0", false},
	} {
		if got := tc.app.Version(); got != tc.want || tc.app.NeedsStaging() == tc.staged {
			t.Errorf("%+v: version %s, needs staging: %v", tc.app, got, tc.app.NeedsStaging())
		}
	}
	var empty store.App
	if a, b := empty.Version(), empty.Version(); a == b || len(a) != len("0123456789abcdef0123456789abcdef-0") || empty.NeedsStaging() {
		t.Errorf("without bits: %s, %s", a, b)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	u := store.User{Email: "b@x", Admin: true, Password: "hash", Generation: 2, Created: time.Unix(1345678901, 0).UTC()}
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.AddUser(u), tx.AddUser(store.User{Email: "a@x"}), tx.AddUser(store.User{Email: "B@x"}))
	})
	if err := st.Update(func(tx *store.Tx) error { return tx.AddUser(store.User{Email: "b@x"}) }); !errors.Is(err, store.ErrUserTaken) {
		t.Errorf("added twice: %v", err)
	}
	view(t, st, func(tx *store.Tx) error {
		got, err := tx.User("b@x")
		if d := cmp.Diff(u, got); err != nil || d != "" {
			t.Errorf("%v %s", err, d)
		}
		if _, err := tx.User("b@"); !errors.Is(err, store.ErrNoUser) {
			t.Errorf("nobody: %v", err)
		}
		users, err := tx.Users()
		var emails []string
		for _, u := range users {
			emails = append(emails, u.Email)
		}
		if !slices.Equal(emails, []string{"B@x", "a@x", "b@x"}) {
			t.Errorf("all: %v", emails)
		}
		return err
	})
	u.Password = "other"
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutUser(u), tx.DeleteUser("a@x"), tx.DeleteUser("a@x"))
	})
	view(t, st, func(tx *store.Tx) error {
		if got, err := tx.User("b@x"); err != nil || got.Password != "other" {
			t.Errorf("%+v %v", got, err)
		}
		if _, err := tx.User("a@x"); !errors.Is(err, store.ErrNoUser) {
			t.Errorf("deleted: %v", err)
		}
		return nil
	})
}

// The pool is per owner; what was not used for a while is forgotten.
func TestPool(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	day := func(n int) time.Time { return time.Unix(1345678901, 0).UTC().AddDate(0, 0, n) }
	file := func(sha1 string, used time.Time) store.PoolFile {
		return store.PoolFile{Blob: store.Blob{SHA256: "2" + sha1, SHA1: sha1, Size: 3}, Executable: true, Used: used}
	}
	update(t, st, func(tx *store.Tx) error {
		return errors.Join(
			tx.PutPoolFile("a@x", file("ABC", day(1))), tx.PutPoolFile("a@x", file("def", day(5))),
			tx.PutPoolFile("a@xx", file("abc", day(1))), tx.PutPoolFile("b@x", file("abc", day(5))))
	})
	known := func() (out []string) {
		view(t, st, func(tx *store.Tx) error {
			for _, owner := range []string{"a@x", "a@xx", "b@x", "c@x"} {
				for _, sum := range []string{"aBc", "def"} {
					if f, ok := tx.PoolFile(owner, sum); ok {
						out = append(out, owner+" "+strings.ToLower(f.SHA1))
					}
				}
			}
			return nil
		})
		return out
	}
	step := func(drop func(*store.Tx) error, want ...string) {
		t.Helper()
		update(t, st, drop)
		if got := known(); !slices.Equal(got, want) {
			t.Errorf("known: %q, want %q", got, want)
		}
	}
	step(func(*store.Tx) error { return nil }, "a@x abc", "a@x def", "a@xx abc", "b@x abc")
	view(t, st, func(tx *store.Tx) error {
		f, _ := tx.PoolFile("a@x", "abc")
		want := file("ABC", day(1))
		want.SHA1 = "abc"
		if d := cmp.Diff(want, f); d != "" {
			t.Error(d)
		}
		return nil
	})
	step(func(tx *store.Tx) error { return tx.DropPool("a@x", day(3)) }, "a@x def", "a@xx abc", "b@x abc")
	step(func(tx *store.Tx) error { return tx.DropPool("", day(3)) }, "a@x def", "b@x abc")
	step(func(tx *store.Tx) error { return tx.DropPool("a@x", day(9)) }, "b@x abc")
}

// A change is whole or not at all.
func TestUpdateIsWhole(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	refused := errors.New("refused")
	err := st.Update(func(tx *store.Tx) error {
		app := store.App{Owner: "a@x", Name: "hello", URIs: []string{"a.x"}}
		return errors.Join(tx.PutApp(&app), tx.AddUser(store.User{Email: "a@x"}), tx.PutStagingLog(app.ID, "x"), refused)
	})
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	view(t, st, func(tx *store.Tx) error {
		users, err := tx.Users()
		if len(users) != 0 || tx.CountApps() != 0 {
			t.Errorf("%d users, %d apps", len(users), tx.CountApps())
		}
		return err
	})
	put(t, st, "b@x", "hello", "a.x") // the URI is free
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	get := func(name, fresh string) string {
		t.Helper()
		got, err := st.Secret(name, func() []byte { return []byte(fresh) })
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	if a, b := get("token", "first"), get("other", "second"); a != "first" || b != "second" {
		t.Errorf("%q, %q", a, b)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = open(t, dir)
	if got := get("token", "third"); got != "first" {
		t.Errorf("after a restart: %q", got)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	st := open(t, dir)
	if _, err := store.Open(dir); !errors.Is(err, store.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	for _, name := range []string{"", "cloud.db", "blobs", "blobs/tmp"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q is open to others: %v, %v", name, info, err)
		}
	}
	put(t, st, "a@x", "hello")
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "cloud.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(other); err == nil || !strings.Contains(err.Error(), "cloud.db") {
		t.Errorf("opened what is no database: %v", err)
	}
}

var sorted = cmpopts.SortSlices(strings.Compare)
