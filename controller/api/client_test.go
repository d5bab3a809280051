package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloudlet/controller/api"
	"cloudlet/internal/testkit"
)

// serve answers every request with a status and a body, and keeps the last request.
func serve(t *testing.T, status int, body string) (*api.Client, *http.Request, *bytes.Buffer) {
	t.Helper()
	var last http.Request
	var sent bytes.Buffer
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = *r.Clone(context.Background())
		sent.Reset()
		if _, err := io.Copy(&sent, r.Body); err != nil {
			t.Error(err)
		}
		if status == http.StatusFound {
			w.Header().Set("Location", "http://nowhere.invalid/")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return api.NewClient(srv.URL, "0408abc"), &last, &sent
}

func TestClientHeaders(t *testing.T) {
	c, last, _ := serve(t, 200, `[]`)
	c.Proxy, c.TraceKey = "foo@bar.com", "22"
	if _, err := c.Apps(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Authorization": "0408abc", "Proxy-User": "foo@bar.com", "X-Vcap-Trace": "22",
		"Content-Type": "application/json", "Accept": "application/json",
	} {
		if got := last.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	c.Token, c.Proxy, c.TraceKey = "", "", ""
	if _, err := c.Info(t.Context()); err == nil {
		t.Error("an array is no Info")
	}
	for _, name := range []string{"Authorization", "Proxy-User", "X-Vcap-Trace"} {
		if _, ok := last.Header[name]; ok {
			t.Errorf("empty %s was sent", name)
		}
	}
}

// Path components are encoded one by one, as the Ruby clients do it.
func TestClientPaths(t *testing.T) {
	c, last, _ := serve(t, 200, `{"token":"0408"}`)
	for _, tc := range []struct {
		want string
		call func() error
	}{
		{"GET /users/foo%40bar.com", func() error { _, err := c.User(t.Context(), "foo@bar.com"); return err }},
		{"POST /users/a%2Bb%40c.d/tokens", func() error { _, err := c.Login(t.Context(), "a+b@c.d", "x"); return err }},
		{"GET /apps/..%2Fx%20y%3F", func() error { _, err := c.App(t.Context(), "../x y?"); return err }},
		{"GET /apps/a/instances/0/files/%2Flogs%2Fstderr.log", func() error {
			rc, err := c.File(t.Context(), "a", "0", "/logs/stderr.log")
			if err == nil {
				rc.Close()
			}
			return err
		}},
		{"PUT /apps/a/update", func() error { return c.Update(t.Context(), "a") }},
		{"DELETE /users/a%40b", func() error { return c.DeleteUser(t.Context(), "a@b") }},
	} {
		if err := tc.call(); err != nil {
			t.Error(err)
		}
		if got := last.Method + " " + last.URL.EscapedPath(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestClientEvents(t *testing.T) {
	c, last, _ := serve(t, 200, `[]`)
	for _, tc := range []struct {
		name   string
		before uint64
		want   string
	}{
		{"", 0, "/events?limit=5"},
		{"", 9, "/events?before=9&limit=5"},
		{"a b", 9, "/apps/a%20b/events?before=9&limit=5"},
	} {
		if _, err := c.Events(t.Context(), tc.name, tc.before, 5); err != nil {
			t.Error(err)
		}
		if got := last.URL.RequestURI(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestClientFaults(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		is     *api.Fault
		text   string
		hint   string
	}{
		{404, `{"code":301,"description":"Application not found"}`, api.AppNotFound, "Error 301: Application not found", ""},
		{400, `{"code":701,"description":"The URI: \"x\" has already been taken or reserved","hint":"try y"}`, api.URITaken,
			"Error 701: The URI: 'x' has already been taken or reserved", "try y"},
		{400, `{"description":"bad"}`, nil, `Error (HTTP 400): {"description":"bad"}`, ""},
		{502, "<html><body>The gateway is not well today</body></html>", nil, "Error (JSON 502): <html><body>The gateway is not...", ""},
		{502, "<html>\r\n<h1>Bad\n", nil, "Error (JSON 502): <html> <h1>Bad...", ""},
		{404, " ", nil, "Error (404): No Response Received", ""},
		{301, "", nil, "Error (301): No Response Received", ""},
	} {
		c, _, _ := serve(t, tc.status, tc.body)
		_, err := c.App(t.Context(), "x")
		var f *api.Fault
		if !errors.As(err, &f) || f.Error() != tc.text || f.Hint != tc.hint || f.Status != tc.status {
			t.Errorf("%d %s: %v, want %s", tc.status, tc.body, err, tc.text)
		}
		if tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%v is not %v", err, tc.is)
		}
		if errors.Is(err, api.Forbidden) {
			t.Errorf("%v is not Forbidden", err)
		}
	}
}

// POST /apps answers with a redirect that must not be followed, and a body.
func TestCreateAppDoesNotFollow(t *testing.T) {
	c, _, sent := serve(t, 302, `{"result":"success","redirect":"http://api.vcap.me/apps/hello"}`)
	framework, none := "node", []string{}
	got, err := c.CreateApp(t.Context(), api.AppRequest{Name: "hello", Staging: &api.StagingRequest{Framework: &framework}, URIs: &none})
	if err != nil || got.Redirect != "http://api.vcap.me/apps/hello" {
		t.Errorf("%+v, %v", got, err)
	}
	if want := `{"name":"hello","staging":{"framework":"node"},"uris":[]}`; sent.String() != want {
		t.Errorf("sent %s, want %s", sent, want)
	}
}

func TestClientUnreachable(t *testing.T) {
	_, port, _ := net.SplitHostPort(testkit.Refusing(t))
	for _, host := range []string{"127.0.0.1", "api.localhost"} {
		c := api.NewClient("http://"+net.JoinHostPort(host, port), "")
		_, err := c.Info(t.Context())
		var away *api.Unreachable
		if !errors.As(err, &away) || away.Target != c.Target {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// Names below localhost are this machine, whatever resolvers think.
func TestClientDialsLoopback(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(api.Info{Name: r.Host})
	}))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for _, host := range []string{"localhost", "api.localhost", "a.b.LOCALHOST"} {
		info, err := api.NewClient("http://"+host+":"+port, "").Info(t.Context())
		if err != nil || info.Name != host+":"+port {
			t.Errorf("%s: %q, %v", host, info.Name, err)
		}
	}
}

func TestNormalTarget(t *testing.T) {
	for in, want := range map[string]string{
		"api.vcap.me": "http://api.vcap.me", "http://a.b//": "http://a.b", "https://a.b:8443": "https://a.b:8443", " a.b ": "http://a.b",
	} {
		if got := api.NormalTarget(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestPutBits(t *testing.T) {
	var got struct {
		method, resources, zip string
		length                 int64
	}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
			return
		}
		f, _, err := r.FormFile("application")
		if err != nil {
			t.Error(err)
			return
		}
		data, _ := io.ReadAll(f)
		got.method, got.resources, got.zip, got.length = r.FormValue("_method"), r.FormValue("resources"), string(data), r.ContentLength
	}))
	defer srv.Close()
	var sent int64
	err := api.NewClient(srv.URL, "").PutBits(t.Context(), "hello", api.Upload{
		Known: []api.Resource{{FN: "a.js", Size: 3, SHA1: "00"}},
		Zip:   strings.NewReader("PKzip"), Size: 5, Progress: func(n int64) { sent = n },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.method != "put" || got.resources != `[{"fn":"a.js","size":3,"sha1":"00"}]` || got.zip != "PKzip" || got.length <= 5 || sent != 5 {
		t.Errorf("got %+v, progress %d", got, sent)
	}
}

// A server that refuses before it has read everything is understood, and nobody hears
// of progress afterwards.
func TestPutBitsRefusedEarly(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"code":200,"description":"Operation not permitted"}`)
	}))
	defer srv.Close()
	zip := bytes.NewReader(make([]byte, 32<<20))
	var last int64
	err := api.NewClient(srv.URL, "").PutBits(t.Context(), "hello", api.Upload{
		Zip: zip, Size: zip.Size(), Progress: func(n int64) { last = n },
	})
	if !errors.Is(err, api.Forbidden) {
		t.Errorf("%v after %d bytes", err, last)
	}
}

func TestInstancesOldAndNew(t *testing.T) {
	for _, body := range []string{
		`{"instances":[{"index":0,"state":"RUNNING","since":5,"debug_ip":"1.2.3.4","debug_port":8000,"console_ip":null,"console_port":null}]}`,
		`[{"index":0,"state":"RUNNING","since":5,"debug_ip":"1.2.3.4","debug_port":8000}]`,
	} {
		c, _, _ := serve(t, 200, body)
		list, err := c.Instances(t.Context(), "x")
		if err != nil || len(list) != 1 || list[0].State != "RUNNING" || list[0].Ports == nil || *list[0].Ports.DebugPort != 8000 {
			t.Errorf("%s: %+v, %v", body, list, err)
		}
	}
	c, _, _ := serve(t, 200, `{"instances":[{"index":1,"state":"DOWN","since":5}]}`)
	if list, err := c.Instances(t.Context(), "x"); err != nil || list[0].Ports != nil || list[0].Index != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// What a client reads and sends back unchanged changes nothing.
func TestRequestKeepsEverything(t *testing.T) {
	mode, console := "run", true
	app := api.App{
		Name: "hello", State: api.Started, Instances: 2, Env: []string{"A=1"}, Services: []string{"s"}, URIs: []string{"u"},
		Staging: api.Staging{Model: "node", Stack: "node06"}, Resources: api.Resources{Memory: 64},
		Meta: api.Meta{Version: 7, Debug: &mode, Console: &console},
	}
	got, err := json.Marshal(app.Request())
	want := `{"name":"hello","staging":{"framework":"node","runtime":"node06"},"uris":["u"],"instances":2,"resources":{"memory":64},` +
		`"state":"STARTED","services":["s"],"env":["A=1"],"debug":"run","console":true,"meta":{"version":7}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got, err = json.Marshal(api.App{}.Request())
	if err != nil || !strings.Contains(string(got), `"uris":[]`) || !strings.Contains(string(got), `"env":[]`) {
		t.Errorf("empty app: %s, %v", got, err)
	}
}

func FuzzParseFault(f *testing.F) {
	f.Add(404, []byte(`{"code":301,"description":"Application not found"}`))
	f.Add(500, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if api.ParseFault(status, body).Error() == "" {
			t.Error("an error without words")
		}
	})
}
