package vmc

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudlet/controller/api"
)

// cloud is a v1 cloud as the reference describes it, with its state in memory: what
// commands see of one.
type cloud struct {
	t   *testing.T
	srv *httptest.Server

	mu       sync.Mutex
	users    map[string]string // e-mail to password
	apps     map[string]*api.App
	pool     map[string]bool               // SHA-1 of known files
	zips     map[string][]byte             // last upload of each app
	known    map[string][]api.Resource     // its resources part
	crashed  map[string][]api.Crash        // by app
	files    map[string]string             // "app/instance/path" to content
	ranges   bool                          // parts of files are given
	calls    []string                      // "METHOD path", escaped as it came
	requests []api.AppRequest              // bodies of POST and PUT on apps
	limits   api.Account                   //
	onStart  func(app *api.App) *api.Fault // what a start does; nil: it runs
	log      []string                      // staging log; nil: the server has no such route
	stats    map[int]api.InstanceStats     //
	info     func(info *api.Info)          // changes GET /info
	offered  api.SystemServices            // services
	services map[string]api.Service        // of the user, by name
	handlers map[string]http.HandlerFunc   // "METHOD path" answered otherwise
}

const (
	adminEmail = "admin@example.com"
	token      = "0408deadbeef"
)

func newCloud(t *testing.T) *cloud {
	c := &cloud{
		t:        t,
		users:    map[string]string{adminEmail: "secret"},
		apps:     map[string]*api.App{},
		pool:     map[string]bool{},
		zips:     map[string][]byte{},
		known:    map[string][]api.Resource{},
		crashed:  map[string][]api.Crash{},
		files:    map[string]string{},
		services: map[string]api.Service{},
		limits:   api.Account{Memory: 2048, AppURIs: 4, Services: 16, Apps: 20},
	}
	c.srv = httptest.NewServer(c.routes())
	t.Cleanup(c.srv.Close)
	return c
}

func (c *cloud) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /info", c.getInfo)
	mux.HandleFunc("GET /users", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []map[string]any{{"email": adminEmail, "admin": true, "apps": []map[string]string{{"name": "chat", "state": "STARTED"}}}})
	})
	mux.HandleFunc("POST /users", func(w http.ResponseWriter, r *http.Request) {
		var cred api.Credentials
		c.read(r, &cred)
		c.users[cred.Email] = cred.Password
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /users/{email}", func(w http.ResponseWriter, r *http.Request) {
		var cred api.Credentials
		c.read(r, &cred)
		c.users[r.PathValue("email")] = cred.Password
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /users/{email}", func(w http.ResponseWriter, r *http.Request) {
		delete(c.users, r.PathValue("email"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /users/{email}/tokens", c.login)
	mux.HandleFunc("GET /apps", c.listApps)
	mux.HandleFunc("POST /apps", c.createApp)
	mux.HandleFunc("GET /apps/{app}", c.withApp(func(w http.ResponseWriter, _ *http.Request, a *api.App) { answer(w, a) }))
	mux.HandleFunc("PUT /apps/{app}", c.withApp(c.updateApp))
	mux.HandleFunc("DELETE /apps/{app}", c.withApp(func(_ http.ResponseWriter, _ *http.Request, a *api.App) { delete(c.apps, a.Name) }))
	mux.HandleFunc("GET /apps/{app}/instances", c.withApp(func(w http.ResponseWriter, _ *http.Request, a *api.App) {
		list := []api.Instance{}
		for i := range a.Instances {
			if a.State == api.Started {
				list = append(list, api.Instance{Index: i, State: "RUNNING", Since: 1345678901})
			}
		}
		answer(w, api.Instances{Instances: list})
	}))
	mux.HandleFunc("GET /apps/{app}/stats", c.withApp(func(w http.ResponseWriter, _ *http.Request, _ *api.App) { answer(w, c.stats) }))
	mux.HandleFunc("GET /apps/{app}/crashes", c.withApp(func(w http.ResponseWriter, _ *http.Request, a *api.App) {
		answer(w, api.Crashes{Crashes: append([]api.Crash{}, c.crashed[a.Name]...)})
	}))
	mux.HandleFunc("GET /apps/{app}/instances/{instance}/files/{path}", c.withApp(c.getFile))
	mux.HandleFunc("GET /apps/{app}/staging_log", c.stagingLog)
	mux.HandleFunc("POST /resources", c.matchResources)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { // as v1 knows nothing of other routes
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, " ")
	})
	mux.HandleFunc("GET /info/services", func(w http.ResponseWriter, _ *http.Request) { answer(w, c.offered) })
	mux.HandleFunc("GET /services", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, slices.AppendSeq([]api.Service{}, maps.Values(c.services)))
	})
	mux.HandleFunc("POST /services", c.createService)
	mux.HandleFunc("DELETE /services/{name}", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := c.services[r.PathValue("name")]; !ok {
			refuse(w, api.ServiceNotFound)
			return
		}
		delete(c.services, r.PathValue("name"))
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /apps/{app}/application", c.withApp(c.upload))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + r.URL.EscapedPath()
		c.mu.Lock()
		c.calls = append(c.calls, call)
		special := c.handlers[call]
		c.mu.Unlock()
		switch {
		case special != nil:
			special(w, r)
		case strings.HasSuffix(call, "/staging_log"): // streams while others change things
			mux.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/info"), strings.HasSuffix(r.URL.Path, "/tokens"), call == "POST /users",
			r.Header.Get("Authorization") == token:
			c.mu.Lock()
			defer c.mu.Unlock()
			mux.ServeHTTP(w, r)
		default:
			refuse(w, api.Forbidden)
		}
	})
}

func (c *cloud) read(r *http.Request, v any) {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		c.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func refuse(w http.ResponseWriter, f *api.Fault) {
	w.WriteHeader(f.Status)
	answer(w, f)
}

func (c *cloud) getInfo(w http.ResponseWriter, r *http.Request) {
	runtimes := func(names ...string) (list []api.Runtime) {
		for _, n := range names {
			list = append(list, api.Runtime{Name: n, Version: "1.0", Description: strings.ToUpper(n)})
		}
		return list
	}
	info := api.Info{
		Name: "vcap", Build: 2222, Support: "http://support.example.com", Version: "0.999", Description: "My cloud",
		Frameworks: map[string]api.Framework{
			"node":       {Name: "node", Runtimes: runtimes("node")},
			"sinatra":    {Name: "sinatra", Runtimes: runtimes("ruby18", "ruby19")},
			"standalone": {Name: "standalone", Runtimes: runtimes("node", "static", "shell")},
		},
	}
	if r.Header.Get("Authorization") == token {
		info.User, info.Limits, info.Usage = adminEmail, &c.limits, &api.Usage{}
		for _, a := range c.apps {
			if a.State == api.Started {
				info.Usage.Apps++
				info.Usage.Memory += a.Resources.Memory * a.Instances
			}
		}
	}
	if c.info != nil {
		c.info(&info)
	}
	answer(w, info)
}

func (c *cloud) login(w http.ResponseWriter, r *http.Request) {
	var cred api.Credentials
	c.read(r, &cred)
	if p, ok := c.users[r.PathValue("email")]; !ok || p != cred.Password {
		refuse(w, api.Forbidden)
		return
	}
	answer(w, api.Token{Token: token})
}

func (c *cloud) listApps(w http.ResponseWriter, _ *http.Request) {
	list := slices.AppendSeq([]*api.App{}, maps.Values(c.apps))
	slices.SortFunc(list, func(a, b *api.App) int { return strings.Compare(a.Name, b.Name) })
	answer(w, list)
}

func (c *cloud) withApp(h func(http.ResponseWriter, *http.Request, *api.App)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := c.apps[r.PathValue("app")]
		if a == nil {
			refuse(w, api.AppNotFound)
			return
		}
		h(w, r, a)
	}
}

func (c *cloud) createApp(w http.ResponseWriter, r *http.Request) {
	var req api.AppRequest
	c.read(r, &req)
	c.requests = append(c.requests, req)
	a := &api.App{Name: req.Name, State: api.Stopped, URIs: []string{}, Services: []string{}, Env: []string{}}
	c.apply(a, req)
	c.apps[a.Name] = a
	where := c.srv.URL + "/apps/" + a.Name
	w.Header().Set("Location", where)
	w.WriteHeader(http.StatusFound)
	answer(w, api.Created{Result: "success", Redirect: where})
}

func (c *cloud) updateApp(w http.ResponseWriter, r *http.Request, a *api.App) {
	var req api.AppRequest
	c.read(r, &req)
	c.requests = append(c.requests, req)
	if req.Meta == nil || req.Meta.Version == nil || *req.Meta.Version != a.Meta.Version {
		refuse(w, api.LockingError)
		return
	}
	was := a.State
	c.apply(a, req)
	if was == api.Stopped && a.State == api.Started && c.onStart != nil {
		if f := c.onStart(a); f != nil {
			a.State = api.Stopped
			refuse(w, f)
		}
	}
}

// apply does what the semantics of an update say, as far as commands can see it.
func (c *cloud) apply(a *api.App, req api.AppRequest) {
	a.Meta.Version++
	if req.State != nil {
		a.State = strings.ToUpper(*req.State)
	}
	if req.URIs != nil {
		a.URIs = append([]string{}, *req.URIs...)
		slices.Sort(a.URIs)
	}
	if req.Instances != nil {
		a.Instances = int(*req.Instances)
	}
	if req.Resources != nil && req.Resources.Memory != nil {
		a.Resources = api.Resources{Memory: int(*req.Resources.Memory), Disk: 2048, FDs: 256}
	}
	if req.Env != nil {
		a.Env = *req.Env
	}
	if st := req.Staging; st != nil {
		if st.Framework != nil {
			a.Staging.Model = *st.Framework
		}
		if st.Runtime != nil {
			a.Staging.Stack = *st.Runtime
		}
		if st.Command != nil {
			a.Meta.Command = *st.Command
		}
	}
	a.Meta.Debug, a.Meta.Console = req.Debug, req.Console
	a.Services = append([]string{}, req.Services...)
	running := 0
	if a.State == api.Started {
		running = a.Instances
	}
	a.RunningInstances = &running
}

// sells makes the cloud offer services of one version, with a free plan.
func (c *cloud) sells(names ...string) {
	c.offered = api.SystemServices{}
	for _, n := range names {
		o := api.SystemService{Vendor: n, Version: "1.0", Type: "generic", Description: strings.ToUpper(n), Tiers: map[string]api.Tier{"free": {Order: 1}}}
		c.offered[n+"s"] = map[string]map[string]api.SystemService{n: {"1.0": o}}
	}
}

func (c *cloud) createService(w http.ResponseWriter, r *http.Request) {
	var req api.ServiceRequest
	c.read(r, &req)
	o, ok := c.offered[req.Vendor+"s"][req.Vendor][req.Version]
	if _, sold := o.Tiers[req.Tier]; !ok || !sold {
		refuse(w, api.ServiceNotFound)
		return
	}
	c.services[req.Name] = api.Service{Name: req.Name, Vendor: req.Vendor, Version: req.Version, Tier: req.Tier, Type: req.Type}
	answer(w, struct{}{})
}

func (c *cloud) getFile(w http.ResponseWriter, r *http.Request, a *api.App) {
	if a.State != api.Started && !strings.HasSuffix(r.PathValue("path"), "staging.log") {
		refuse(w, api.AppStopped)
		return
	}
	text, ok := c.files[a.Name+"/"+r.PathValue("instance")+r.PathValue("path")]
	if !ok {
		http.Error(w, "Entity not found.", http.StatusNotFound)
		return
	}
	if c.ranges {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
		return
	}
	io.WriteString(w, text)
}

func (c *cloud) stagingLog(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	lines := c.log
	c.mu.Unlock()
	if lines == nil {
		http.Error(w, " ", http.StatusNotFound)
		return
	}
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
}

func (c *cloud) matchResources(w http.ResponseWriter, r *http.Request) {
	var given []api.Resource
	c.read(r, &given)
	known := []api.Resource{}
	for _, g := range given {
		if c.pool[g.SHA1] {
			known = append(known, g)
		}
	}
	answer(w, known)
}

func (c *cloud) upload(w http.ResponseWriter, r *http.Request, a *api.App) {
	if r.ContentLength <= 0 {
		c.t.Error("the upload has no length: the front end of v1 takes no chunks")
	}
	if err := r.ParseMultipartForm(32 << 20); err != nil {
		c.t.Error(err)
	}
	if r.FormValue("_method") != "put" {
		c.t.Errorf("_method is %q", r.FormValue("_method"))
	}
	var known []api.Resource
	if err := json.Unmarshal([]byte(r.FormValue("resources")), &known); err != nil {
		c.t.Error(err)
	}
	f, _, err := r.FormFile("application")
	if err != nil {
		c.t.Error(err)
		return
	}
	data, err := io.ReadAll(f)
	if err != nil {
		c.t.Error(err)
	}
	c.zips[a.Name], c.known[a.Name] = data, known
}

// uploaded are the names in the last upload of an app.
func (c *cloud) uploaded(app string) []string {
	c.t.Helper()
	z, err := zip.NewReader(bytes.NewReader(c.zips[app]), int64(len(c.zips[app])))
	if err != nil {
		c.t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// user is a person with a home folder at a shell.
type user struct {
	t    *testing.T
	home string
	dir  string // working folder
	env  map[string]string
	in   string
}

// at makes a user whose target is the cloud, and who is logged in.
func (c *cloud) at(t *testing.T) *user {
	u := stranger(t)
	u.write(u.home, ".vmc_target", c.srv.URL+"\n")
	u.write(u.home, ".vmc_token", fmt.Sprintf("{%q:%q}\n", c.srv.URL, token))
	return u
}

// stranger is a user without any file.
func stranger(t *testing.T) *user {
	home := t.TempDir()
	return &user{t: t, home: home, dir: t.TempDir(), env: map[string]string{
		"HOME": home, "CLOUDLET_DATA": filepath.Join(home, "no-cloud"),
	}}
}

func (u *user) write(folder, name, text string) {
	u.t.Helper()
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
}

// file puts a file into the working folder.
func (u *user) file(name, text string) { u.t.Helper(); u.write(u.dir, name, text) }

// vmc runs a command line.
func (u *user) vmc(args ...string) (status int, out, errs string) {
	u.t.Helper()
	var o, e bytes.Buffer
	status = Run(u.t.Context(), args, Streams{
		In: strings.NewReader(u.in), Out: &o, Err: &e, Dir: u.dir,
		Env: func(name string) string { return u.env[name] },
	})
	return status, o.String(), e.String()
}

// wants runs a command line that succeeds and prints exactly that.
func (u *user) wants(want string, args ...string) {
	u.t.Helper()
	status, out, errs := u.vmc(args...)
	if status != 0 || out != want || errs != "" {
		u.t.Errorf("vmc %q: status %d, stderr %q, stdout:\n%s\nwant:\n%s", args, status, errs, out, want)
	}
}

// fails runs a command line that fails, and wants these pieces on stderr.
func (u *user) fails(pieces []string, args ...string) {
	u.t.Helper()
	status, out, errs := u.vmc(args...)
	if status != 1 {
		u.t.Errorf("vmc %q: status %d, want 1\n%s%s", args, status, out, errs)
	}
	for _, p := range pieces {
		if !strings.Contains(errs, p) {
			u.t.Errorf("vmc %q: stderr lacks %q:\n%s", args, p, errs)
		}
	}
}
