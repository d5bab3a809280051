package controller_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudlet/controller"
	"cloudlet/controller/api"
	"cloudlet/store"
)

const (
	loadUsers   = 200
	loadApps    = 5 // of each user, stopped
	loadClients = 64
)

// load is a cloud with many users, and what its clients were promised.
type load struct {
	*cloud
	mu                sync.Mutex
	counts            map[string]int // of accepted updates, by owner and app
	accepted, refused atomic.Int64
}

func loaded(t *testing.T) *load {
	t.Helper()
	l := &load{cloud: start(t, roomy), counts: map[string]int{}}
	if err := l.st.Update(func(tx *store.Tx) error {
		for u := range loadUsers {
			if err := tx.AddUser(store.User{Email: loadUser(u), Password: "none"}); err != nil {
				return err
			}
			for a := range loadApps {
				app := store.App{
					Owner: loadUser(u), Name: fmt.Sprintf("app%d", a), Framework: "node", Runtime: "node", Instances: 1,
					Memory: 64, Disk: 2048, FDs: 256, PackageState: store.Pending, URIs: []string{fmt.Sprintf("u%d-%d.localhost", u, a)},
				}
				if err := tx.PutApp(&app); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for u := range loadUsers {
		token, err := l.id.Token(loadUser(u), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		l.tokens[loadUser(u)] = token
	}
	return l
}

// roomy lets a user have what many clients make at once.
func roomy(cfg *controller.Config) { cfg.Account = api.Account{Memory: 2048, AppURIs: 4, Apps: 1000} }

func loadUser(n int) string { return fmt.Sprintf("u%d@example.com", n) }

// Hundreds of users at once get no error, lose no update, and leave no memory behind. The
// long form lasts a minute.
func TestLoad(t *testing.T) {
	l := loaded(t)
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	more := func(round int) bool { return round < rounds }
	if os.Getenv("CLOUDLET_TEST_LONG") == "1" {
		end := time.Now().Add(time.Minute)
		more = func(int) bool { return time.Now().Before(end) }
	}
	l.run(t, func(round int) bool { return round < 5 }) // connections and caches are made
	before := live()
	l.run(t, more)
	grown := live() - before
	if grown > 8<<20 {
		t.Errorf("%d bytes are held for ever", grown)
	}
	if l.accepted.Load() == 0 {
		t.Error("no update was accepted")
	}
	l.compare(t)
	t.Logf("%d updates were accepted, %d refused; the heap has grown by %d KiB", l.accepted.Load(), l.refused.Load(), grown>>10)
}

// live is how much memory is in use.
func live() int64 {
	var m runtime.MemStats
	for range 2 { // what the first one finalizes, the second one frees
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// run has all clients send requests while there are more.
func (l *load) run(t *testing.T, more func(round int) bool) {
	var wg sync.WaitGroup
	for range loadClients {
		wg.Go(func() {
			for round := 0; more(round); round++ {
				if err := l.request(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	transport.CloseIdleConnections()
}

// request does something that users do, as one of them. Every other time it is one of
// two, so that updates do meet.
func (l *load) request() error {
	user, name := loadUser(rand.IntN(loadUsers)), fmt.Sprintf("app%d", rand.IntN(loadApps))
	if rand.IntN(2) == 0 {
		user = loadUser(rand.IntN(2))
	}
	switch rand.IntN(10) {
	case 0:
		return l.expectStatus(user, "GET", "/apps", "", 200)
	case 1:
		return l.expectStatus(user, "GET", "/info", "", 200)
	case 2:
		return l.expectStatus(user, "GET", "/events", "", 200)
	case 3:
		extra := fmt.Sprintf("x%d", rand.Int64())
		return errors.Join(
			l.expectStatus(user, "POST", "/apps", fmt.Sprintf(`{"name":%q,"staging":{"framework":"node"}}`, extra), 302),
			l.expectStatus(user, "DELETE", "/apps/"+extra, "", 200))
	case 4, 5, 6:
		return l.update(user, name)
	}
	return l.expectStatus(user, "GET", "/apps/"+name, "", 200)
}

func (l *load) expectStatus(who, method, path, body string, want int) error {
	r, err := l.send(who, method, path, strings.NewReader(body))
	if err == nil && r.status != want {
		err = fmt.Errorf("%s %s as %s: %d %s", method, path, who, r.status, r.body)
	}
	return err
}

// update counts one on in an app, by the version rule: where somebody else has changed the
// app meanwhile it is refused, and what is accepted stays.
func (l *load) update(user, name string) error {
	var app api.App
	r, err := l.send(user, "GET", "/apps/"+name, nil)
	if err == nil {
		err = json.Unmarshal([]byte(r.body), &app)
	}
	if err != nil {
		return err
	}
	count := 0
	if len(app.Env) == 1 {
		if _, err := fmt.Sscanf(app.Env[0], "COUNT=%d", &count); err != nil {
			return err
		}
	}
	body := fmt.Sprintf(`{"env":["COUNT=%d"],"meta":{"version":%d}}`, count+1, app.Meta.Version)
	r, err = l.send(user, "PUT", "/apps/"+name, strings.NewReader(body))
	switch {
	case err != nil:
		return err
	case r.status == 400 && errors.Is(api.ParseFault(r.status, []byte(r.body)), api.LockingError):
		l.refused.Add(1)
	case r.status == 200:
		l.accepted.Add(1)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.counts[user+" "+name]++
	default:
		return fmt.Errorf("PUT %s of %s: %d %s", name, user, r.status, r.body)
	}
	return nil
}

// compare fails the test unless each app has what its accepted updates have made of it.
func (l *load) compare(t *testing.T) {
	for u := range loadUsers {
		for a := range loadApps {
			app := l.app(loadUser(u), fmt.Sprintf("app%d", a))
			n := l.counts[app.Owner+" "+app.Name]
			if want := fmt.Sprintf("COUNT=%d", n); n > 0 && !slices.Equal(app.Env, []string{want}) || app.LockVersion != n {
				t.Errorf("%s of %s: %q at version %d after %d updates", app.Name, app.Owner, app.Env, app.LockVersion, n)
			}
		}
	}
}
