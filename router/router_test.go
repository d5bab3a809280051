package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cloud is a router on a bus, and somebody there who owns routes.
type cloud struct {
	t      testing.TB
	router *Router
	dea    *bus.Conn
	client *http.Client
}

// start runs a router on a port of its own.
func start(t testing.TB, cfg Config) *cloud {
	t.Helper()
	return startLogging(t, cfg, testkit.Log(t))
}

func startLogging(t testing.TB, cfg Config, log *slog.Logger) *cloud {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	if cfg.Settle == 0 {
		cfg.Settle = time.Nanosecond
	}
	b := testkit.Bus(t)
	c := &cloud{t: t, router: New(cfg, b, log), dea: testkit.Conn(t, b)}
	testkit.Run(t, c.router)
	c.client = c.newClient()
	return c
}

// newClient is a client for which every name leads to the router.
func (c *cloud) newClient() *http.Client {
	return c.clientVia(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", c.router.Addr().String())
	})
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func (c *cloud) clientVia(dial dialFunc) *http.Client {
	tr := &http.Transport{
		DisableCompression:    true,
		MaxIdleConnsPerHost:   256,
		ExpectContinueTimeout: time.Minute,
		DialContext:           dial,
	}
	c.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// backend serves an app until the test ends.
func (c *cloud) backend(h http.HandlerFunc) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.DisableGeneralOptionsHandler = true
	s.Start()
	c.t.Cleanup(s.Close)
	return s
}

// says is an app that answers with a word.
func says(word string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, word) }
}

// routeTo is the registration of a server under host names.
func routeTo(t testing.TB, server string, uris ...string) bus.Route {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return bus.Route{Host: u.Hostname(), Port: port, URIs: uris, App: "42"}
}

// register publishes the route and waits until the router has it.
func (c *cloud) register(m bus.Route) {
	c.t.Helper()
	c.publish(bus.RouterRegister, m)
	testkit.Eventually(c.t, func() error {
		for _, uri := range m.URIs {
			host, _ := normalHost(uri)
			if c.router.table.lookup(host).find(address(m)) < 0 {
				return fmt.Errorf("%s does not lead to %s", uri, address(m))
			}
		}
		return nil
	})
}

func (c *cloud) publish(s bus.Subject[bus.Route], m bus.Route) {
	c.t.Helper()
	if err := s.Publish(c.dea, m); err != nil {
		c.t.Fatal(err)
	}
}

// serve registers an app that answers with h.
func (c *cloud) serve(host string, h http.HandlerFunc) bus.Route {
	c.t.Helper()
	m := routeTo(c.t, c.backend(h).URL, host)
	c.register(m)
	return m
}

// unserved is the address of nobody, each time another.
func unserved(t testing.TB) string { return "http://" + testkit.Refusing(t) }

// get asks for http://host/.
func (c *cloud) get(host string) (status int, body string) {
	c.t.Helper()
	res, body := c.do(c.request("GET", "http://"+host+"/", nil))
	return res.StatusCode, body
}

func (c *cloud) request(method, url string, body io.Reader) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return req
}

func (c *cloud) do(req *http.Request) (*http.Response, string) {
	c.t.Helper()
	res, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(body)
}

// expect waits for an answer.
func (c *cloud) expect(host string, want int) {
	c.t.Helper()
	testkit.Eventually(c.t, func() error {
		got, _ := c.get(host)
		return testkit.Equal(got, want)
	})
}

func TestRouteFollowsRegister(t *testing.T) {
	c := start(t, Config{})
	m := routeTo(t, c.backend(says("hello")).URL, "a.example", "b.example")
	for _, s := range []struct {
		name string
		send bus.Subject[bus.Route]
		want int
	}{
		{"registered", bus.RouterRegister, 200},
		{"unregistered", bus.RouterUnregister, 404},
		{"registered again", bus.RouterRegister, 200},
	} {
		t.Run(s.name, func(t *testing.T) {
			c.publish(s.send, m)
			c.expect("a.example", s.want)
			c.expect("b.example", s.want)
		})
	}
}

func TestUnregisterTakesOneBackendOfOneHost(t *testing.T) {
	c := start(t, Config{})
	m := routeTo(t, c.backend(says("one")).URL, "a.example", "b.example")
	c.register(m)
	c.serve("a.example", says("two"))

	m.URIs = []string{"A.example"}
	c.publish(bus.RouterUnregister, m)
	testkit.Eventually(t, func() error { return testkit.Equal(c.router.Stats().Droplets, 2) })
	for range 4 {
		if _, body := c.get("a.example"); body != "two" {
			t.Errorf("the unregistered backend of a.example answers: %q", body)
		}
	}
	if _, body := c.get("b.example"); body != "one" {
		t.Errorf("b.example answers %q", body)
	}
}

func TestMessagesWithoutSense(t *testing.T) {
	c := start(t, Config{})
	m := routeTo(t, c.backend(says("hello")).URL)
	for _, bad := range []bus.Route{
		{Host: m.Host, Port: m.Port},
		{Host: m.Host, Port: 0, URIs: []string{"x.example"}},
		{Host: "", Port: m.Port, URIs: []string{"x.example"}},
		{Host: m.Host, Port: m.Port, URIs: []string{"x.example/path"}},
		{Host: m.Host, Port: m.Port, URIs: []string{"..", "x y", "a_b.example:http"}},
	} {
		c.publish(bus.RouterRegister, bad)
	}
	m.URIs = []string{"-", "..", "good.example"} // the names that are none do not spoil the others
	c.publish(bus.RouterRegister, m)
	c.expect("good.example", 200)
	if got := c.router.Stats().URLs; got != 2 {
		t.Errorf("%d hosts have routes, want - and good.example", got)
	}
}

func TestStartAndGreet(t *testing.T) {
	b := testkit.Bus(t)
	conn := testkit.Conn(t, b)
	hellos := testkit.Collect(t, conn, bus.RouterStart)
	r := New(Config{Addr: "127.0.0.1:0", StartEvery: 20 * time.Millisecond}, b, testkit.Log(t))
	if r.Addr() != nil {
		t.Error("the router has an address before it runs")
	}
	testkit.Run(t, r)

	first, second := testkit.Next(t, hellos), testkit.Next(t, hellos)
	greeted, err := bus.RouterGreet.Ask(t.Context(), conn, bus.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []bus.RouterHello{first, second, greeted} {
		if h.ID != r.id || h.Version != 0.98 || h.Interval != 1 || len(h.Hosts) != 1 || h.Hosts[0] != "127.0.0.1" {
			t.Errorf("the router says %+v", h)
		}
	}
}

func TestHelloNamesAnAddressOthersReach(t *testing.T) {
	if ip := visibleIP(net.IPv4zero); ip.IsUnspecified() {
		t.Errorf("a listener on all addresses is announced as %s", ip)
	}
}

func TestStaleRoutesAreDropped(t *testing.T) {
	c := start(t, Config{Stale: 500 * time.Millisecond, Prune: 20 * time.Millisecond})
	stays := routeTo(t, c.backend(says("stays")).URL, "stays.example")
	goes := routeTo(t, c.backend(says("goes")).URL, "goes.example")
	expect := func(host string, want int, registered ...bus.Route) {
		testkit.Eventually(t, func() error {
			for _, m := range registered {
				c.publish(bus.RouterRegister, m)
			}
			got, _ := c.get(host)
			return testkit.Equal(got, want)
		})
	}
	expect("goes.example", 200, stays, goes)
	expect("goes.example", 404, stays)
	expect("stays.example", 200, stays)
}

// A router that may have missed registrations does not take silence for absence.
func TestNoPruningAfterDeafness(t *testing.T) {
	now := time.Now()
	for _, s := range []struct {
		name    string
		dropped int
		late    time.Duration
		want    bool // that the route stays
	}{
		{"in time and complete", 0, 30 * time.Second, false},
		{"messages were dropped", 7, 30 * time.Second, true},
		{"the process was suspended", 0, 10 * time.Minute, true},
	} {
		t.Run(s.name, func(t *testing.T) {
			r := New(Config{}, nil, testkit.Log(t))
			r.pruned = now
			r.table.register("a.example", bus.Route{Host: "h", Port: 1}, now.Add(-time.Hour))
			r.table.publish()
			r.prune(now.Add(s.late), s.dropped)
			if got := r.table.lookup("a.example") != nil; got != s.want {
				t.Errorf("the route stays: %v, want %v", got, s.want)
			}
		})
	}
}

func TestUnknownHostsWaitForTheRegistrantsAtFirst(t *testing.T) {
	c := start(t, Config{Settle: time.Hour})
	m := routeTo(t, c.backend(says("hello")).URL, "a.example")
	type answer struct {
		status int
		body   string
	}
	got := make(chan answer)
	go func() {
		status, body := c.get("a.example")
		got <- answer{status, body}
	}()
	c.publish(bus.RouterRegister, m)
	if a := testkit.Next(t, got); a != (answer{200, "hello"}) {
		t.Errorf("got %v", a)
	}
}

func TestUsedPortIsReported(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := New(Config{Addr: ln.Addr().String()}, testkit.Bus(t), testkit.Log(t))
	if err := r.Run(t.Context()); err == nil {
		t.Error("a router runs on a port that is taken")
	}
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	c, stop := startStoppable(t, Config{Drain: time.Minute})
	c.serve("a.example", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "finished")
	})
	got := make(chan string)
	go func() {
		_, body := c.get("a.example")
		got <- body
	}()
	<-arrived
	ended := stop()
	testkit.Eventually(t, func() error {
		conn, err := net.Dial("tcp", c.router.Addr().String())
		if err != nil {
			return nil
		}
		conn.Close()
		return errors.New("a draining router accepts connections")
	})
	close(release)
	if body := testkit.Next(t, got); body != "finished" {
		t.Errorf("the request got %q", body)
	}
	if err := testkit.Next(t, ended); err != nil {
		t.Error(err)
	}
}

func TestDrainCutsOffWhatNeverEnds(t *testing.T) {
	arrived := make(chan struct{})
	c, stop := startStoppable(t, Config{Drain: 10 * time.Millisecond})
	c.serve("a.example", func(_ http.ResponseWriter, req *http.Request) {
		close(arrived)
		<-req.Context().Done()
	})
	got := make(chan error)
	go func() {
		_, err := c.client.Do(c.request("GET", "http://a.example/", nil))
		got <- err
	}()
	<-arrived
	if err := testkit.Next(t, stop()); err != nil {
		t.Error(err)
	}
	if err := testkit.Next(t, got); err == nil {
		t.Error("a request that was cut off looks answered")
	}
}

// startStoppable is start for tests that stop the router themselves; what Run returned
// comes out of the channel.
func startStoppable(t *testing.T, cfg Config) (c *cloud, stop func() <-chan error) {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	b := testkit.Bus(t)
	c = &cloud{t: t, router: New(cfg, b, testkit.Log(t)), dea: testkit.Conn(t, b)}
	c.client = c.newClient()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- c.router.Run(ctx) }()
	<-c.router.Ready()
	return c, func() <-chan error {
		cancel()
		return ended
	}
}
