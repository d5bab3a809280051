package controller_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudlet/bus"
	"cloudlet/controller"
	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// Accounts of every test cloud.
const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
	root  = "root@example.com" // administrator
)

// cloud is a real controller with a real store, bus and identity. The test plays the
// other components on the bus.
type cloud struct {
	t      testing.TB
	ctl    *controller.Controller
	st     *store.Store
	id     *identity.Identity
	bus    *bus.Bus
	conn   *bus.Conn
	tokens map[string]string // by e-mail; "" is nobody
	names  []string          // pairs: what golden files have instead of what
	events chan string       // what the controller tells DEAs and health manager, in order
	starts chan bus.StartApp // the payloads of the starts among them
}

// start runs a cloud until the test ends; edit may change its configuration.
func start(t testing.TB, edit func(*controller.Config)) *cloud {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Check(); err != nil {
			t.Errorf("store: %v", err)
		}
		st.Close()
	})
	id, err := identity.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	b := testkit.Bus(t)
	c := &cloud{
		t: t, st: st, id: id, bus: b, conn: testkit.Conn(t, b), tokens: map[string]string{},
		events: make(chan string, 4096), starts: make(chan bus.StartApp, 4096),
	}
	c.addUser(alice, false)
	c.addUser(bob, false)
	c.addUser(root, true)
	c.listen()
	cfg := controller.Config{
		Domain: "localhost", Support: "http://api.localhost", Description: "Cloudlet",
		Frameworks: []controller.Framework{
			{Name: "node", Runtimes: []string{"node"}, Detection: []map[string]any{{"app.js": true}}},
			{Name: "sinatra", Runtimes: []string{"ruby18", "ruby19"}, Detection: []map[string]any{{"*.rb": "require 'sinatra'"}}},
			{Name: "standalone", Runtimes: []string{"static", "node"}},
		},
		Runtimes: []controller.Runtime{
			{Name: "node", Version: "20.1.0", Description: "Node.js", Executable: "/usr/bin/node"},
			{Name: "static", Version: "1", Description: "Static files", Executable: "cloudlet"},
			{Name: "ruby18", Version: "1.8.7", Description: "Ruby 1.8.7", Executable: "/usr/bin/ruby"},
			{Name: "ruby19", Description: "Ruby 1.9", Install: "apt-get install ruby"},
		},
		Gather: 10 * time.Second, // only the tests of silence wait for it
	}
	if edit != nil {
		edit(&cfg)
	}
	c.ctl = controller.New(cfg, b, st, id, quiet(t))
	testkit.Run(t, c.ctl)
	c.told() // its own registration
	return c
}

func quiet(t testing.TB) *slog.Logger {
	if _, ok := t.(*testing.T); ok {
		return testkit.Log(t)
	}
	return slog.New(slog.DiscardHandler)
}

// addUser makes an account without the work of hashing a password.
func (c *cloud) addUser(email string, admin bool) {
	c.t.Helper()
	u := store.User{Email: email, Admin: admin, Password: "none", Created: time.Unix(1345678901, 0)}
	if err := c.st.Update(func(tx *store.Tx) error { return tx.AddUser(u) }); err != nil {
		c.t.Fatal(err)
	}
	token, err := c.id.Token(email, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	c.tokens[email] = token
}

// listen notes what the controller publishes, all of it in one order.
func (c *cloud) listen() {
	note := func(format string, args ...any) { c.events <- fmt.Sprintf(format, args...) }
	handlers := []bus.Handler{
		bus.DEAStop.To(func(m bus.StopApp) {
			note("dea.stop %d version=%q indices=%v instances=%v", m.Droplet, m.Version, m.Indices, m.Instances)
		}),
		bus.DEAUpdate.To(func(m bus.StartApp) { note("dea.update %d uris=%v", m.Droplet, m.URIs) }),
		bus.DropletUpdated.To(func(m bus.Updated) { note("droplet.updated %d %s", m.Droplet, m.Partition) }),
		bus.RouterRegister.To(func(bus.Route) { note("router.register") }),
	}
	for _, dea := range []string{"dea-1", "dea-2", "dea-3"} {
		handlers = append(handlers, bus.DEAStart(dea).To(func(m bus.StartApp) {
			note("%s.start %d index=%d version=%q", dea, m.Droplet, m.Index, m.Version)
			c.starts <- m
		}))
	}
	testkit.Handle(c.t, c.conn, handlers...)
}

// told is all that the controller has published since the last call. It registers its
// route again when a router asks, after whatever it had to say before.
func (c *cloud) told() []string {
	c.t.Helper()
	c.publish(bus.RouterStart.Publish(c.conn, bus.RouterHello{}))
	var out []string
	for {
		e := testkit.Next(c.t, c.events)
		if e == "router.register" {
			if out == nil && c.fresh() {
				continue
			}
			return out
		}
		out = append(out, e)
	}
}

// fresh tells, once, that the controller's first registration was not seen yet.
func (c *cloud) fresh() bool {
	if _, seen := c.tokens["registered"]; seen {
		return false
	}
	c.tokens["registered"] = ""
	return true
}

func (c *cloud) publish(err error) {
	c.t.Helper()
	if err == nil {
		err = c.conn.Flush()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// expect fails the test unless exactly these messages were published meanwhile.
func (c *cloud) expect(want ...string) {
	c.t.Helper()
	got := c.told()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		c.t.Fatalf("on the bus:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// transport keeps a connection for each of many clients.
var transport = &http.Transport{MaxIdleConnsPerHost: 64}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   string
}

// send sends a request as it stands: no redirect is followed, no path is cleaned.
func (c *cloud) send(who, method, path string, body io.Reader, header ...string) (reply, error) {
	req, err := http.NewRequest(method, c.ctl.URL()+path, body)
	if err != nil {
		return reply{}, err
	}
	req.Host = "api.localhost"
	if token := c.tokens[who]; token != "" {
		req.Header.Set("Authorization", token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

// do is send with a body in memory; a failed connection fails the test.
func (c *cloud) do(who, method, path, body string, header ...string) reply {
	c.t.Helper()
	r, err := c.send(who, method, path, strings.NewReader(body), header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// ok is do for requests that prepare a test.
func (c *cloud) ok(who, method, path, body string, header ...string) string {
	c.t.Helper()
	r := c.do(who, method, path, body, header...)
	if r.status >= 400 {
		c.t.Fatalf("%s %s %s: %d %s", method, path, body, r.status, r.body)
	}
	return r.body
}

// part is one part of a multipart form.
type part struct{ name, file, kind, body string }

// form is a multipart form as body and content type.
func form(t testing.TB, parts ...part) (body, kind string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		disposition := fmt.Sprintf("form-data; name=%q", p.name)
		if p.file != "" {
			disposition += fmt.Sprintf("; filename=%q", p.file)
		}
		h.Set("Content-Disposition", disposition)
		if p.kind != "" {
			h.Set("Content-Type", p.kind)
		}
		pw, err := w.CreatePart(h)
		if err == nil {
			_, err = io.WriteString(pw, p.body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

// upload sends a zip and a list of resources as vmc does.
func (c *cloud) upload(who, app, zipped, resources string) reply {
	c.t.Helper()
	parts := []part{{name: "_method", body: "put"}}
	if zipped != "" {
		parts = append(parts, part{"application", "app.zip", "application/octet-stream", zipped})
	}
	body, kind := form(c.t, append(parts, part{name: "resources", body: resources})...)
	return c.do(who, "POST", "/apps/"+app+"/application", body, "Content-Type", kind)
}

// pack zips files given as name, content, name, content.
func pack(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err == nil {
			_, err = io.WriteString(f, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// unpack reads a zip back as lines of mode, name and content.
func unpack(zipped string) (string, error) {
	r, err := zip.NewReader(strings.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, f := range r.File {
		body, err := f.Open()
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s %s=%s\n", f.Mode(), f.Name, text)
	}
	return out.String(), nil
}

// files are those of an app's package.
func (c *cloud) files(who, app string) string {
	c.t.Helper()
	text, err := unpack(c.ok(who, "GET", "/apps/"+app+"/application", ""))
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// stager plays the stager: by default it makes a droplet of the package's files.
type stager struct {
	c     *cloud
	tasks chan bus.StagingTask
	mu    sync.Mutex
	do    func(bus.StagingTask) bus.StagingResult
}

func (c *cloud) stager() *stager {
	s := &stager{c: c, tasks: make(chan bus.StagingTask, 64)}
	s.do = s.stage
	testkit.Handle(c.t, c.conn, bus.Staging.Answer(func(task bus.StagingTask, reply func(bus.StagingResult)) {
		c.events <- fmt.Sprintf("staging %s", task.AppID)
		s.tasks <- task
		s.mu.Lock()
		do := s.do
		s.mu.Unlock()
		go func() { reply(do(task)) }()
	}).Queue(bus.StagingQueue))
	return s
}

// instead replaces what the stager does.
func (s *stager) instead(do func(bus.StagingTask) bus.StagingResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *stager) stage(task bus.StagingTask) bus.StagingResult {
	zipped, err := fetch(task.DownloadURI)
	var files string
	if err == nil {
		files, err = unpack(zipped)
	}
	if err == nil {
		err = sendDroplet(task.UploadURI, strings.NewReader("droplet of\n"+files))
	}
	return bus.StagingResult{TaskID: "t1", TaskLog: "[2012-11-03 09:14:31] Staged\n", Error: text(err)}
}

func text(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func fetch(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", url, resp.Status, body)
	}
	return string(body), err
}

// sendDroplet uploads a droplet in chunks, as the stager does while it packs.
func sendDroplet(url string, droplet io.Reader) error {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		part, err := form.CreateFormFile("upload[droplet]", "droplet.tgz")
		if err == nil {
			_, err = io.Copy(part, droplet)
		}
		if err == nil {
			err = form.Close()
		}
		w.CloseWithError(err)
	}()
	resp, err := http.Post(url, form.FormDataContentType(), r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("droplet: %s %s", resp.Status, body)
	}
	return err
}

// dea advertises a DEA and waits until the controller has heard it.
func (c *cloud) dea(id string, memory int) {
	c.t.Helper()
	c.publish(bus.DEAAdvertise.Publish(c.conn, bus.Advertise{
		ID: id, AvailableMemory: memory, Runtimes: []string{"node", "static", "ruby18"},
	}))
	c.told()
}

// health plays the health manager's answers to questions about what runs.
func (c *cloud) health(healthy int, status func(bus.StatusOf) *bus.StatusReply) {
	testkit.Handle(c.t, c.conn,
		bus.HealthHealth.Answer(func(q bus.HealthOf, reply func(bus.Healthy)) {
			for _, d := range q.Droplets {
				reply(bus.Healthy{Droplet: d.Droplet.ID(), Version: d.Version, Healthy: healthy})
			}
		}),
		bus.HealthStatus.Answer(func(q bus.StatusOf, reply func(bus.StatusReply)) {
			if r := status(q); r != nil {
				reply(*r)
			}
		}))
}

// app reads an app's record.
func (c *cloud) app(owner, name string) *store.App {
	c.t.Helper()
	var app store.App
	if err := c.st.View(func(tx *store.Tx) (err error) {
		app, err = tx.AppNamed(owner, name)
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return &app
}

// bulkLogin asks the controller for the login of its bulk API.
func (c *cloud) bulkLogin() bus.BulkLogin {
	c.t.Helper()
	login, err := bus.BulkCredentials.Ask(context.Background(), c.conn, bus.Empty{})
	if err != nil {
		c.t.Fatal(err)
	}
	return login
}

// pushed is a started app of alice with bits, in a cloud with a stager and one DEA.
func pushed(t testing.TB, edit func(*controller.Config)) (*cloud, *stager) {
	t.Helper()
	c := start(t, edit)
	s := c.stager()
	c.dea("dea-1", 4096)
	c.ok(alice, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"},"uris":["hello.localhost"],"instances":1,"resources":{"memory":128}}`)
	if r := c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]"); r.status != 200 {
		t.Fatal(r)
	}
	c.ok(alice, "PUT", "/apps/hello", `{"state":"STARTED"}`)
	testkit.Next(t, s.tasks)
	c.told()
	return c, s
}
