package cli

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/urfave/cli/v2"
)

// read parses a command line of up as `cloudlet up` would, with an environment.
func read(t *testing.T, env map[string]string, args ...string) (cfg Config, err error) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	std := Streams{Out: t.Output(), Err: t.Output(), Env: os.Getenv}
	up := UpCommand(std, func(_ *cli.Context, c Config) error {
		cfg = c
		return nil
	})
	err = App("test", up, std).RunContext(t.Context(), append([]string{"cloudlet", "up"}, args...))
	return cfg, err
}

func TestConfigPrecedence(t *testing.T) {
	data := t.TempDir()
	file := "listen: 127.0.0.1:1\ndomain: file.example\nadmin: root@file.example\nstart-timeout: 2m\nno-outbound: true\n"
	if err := os.WriteFile(filepath.Join(data, "config.yml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := read(t, map[string]string{"CLOUDLET_DATA": data, "CLOUDLET_DOMAIN": "env.example", "CLOUDLET_LISTEN": "127.0.0.1:2"},
		"--listen", "127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Data: data, Listen: "127.0.0.1:3", Domain: "env.example", Admin: "root@file.example",
		Registration: "closed", StartTimeout: 2 * time.Minute, NoOutbound: true,
	}
	if cfg != want {
		t.Errorf("%+v, want %+v", cfg, want)
	}
}

func TestConfigDefaults(t *testing.T) {
	cfg, err := read(t, map[string]string{"CLOUDLET_DATA": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:8080" || cfg.Domain != "localhost" || cfg.Admin != "admin@localhost" || cfg.Registration != "closed" || cfg.Bus != "" {
		t.Errorf("%+v", cfg)
	}
	if got := cfg.URL("api", "127.0.0.1:8080"); got != "http://api.localhost:8080" {
		t.Error(got)
	}
	if got := cfg.URL("api", "0.0.0.0:80"); got != "http://api.localhost" {
		t.Error(got)
	}
}

// All that is wrong is told at once, as a usage error.
func TestConfigFaults(t *testing.T) {
	_, err := read(t, map[string]string{"CLOUDLET_DATA": t.TempDir()},
		"--listen", "x", "--domain", "-bad-", "--registration", "perhaps", "--isolation", "total", "--admin", "me", "--bus", "y", "--start-timeout", "5ms")
	var usage Usage
	if !errors.As(err, &usage) {
		t.Fatalf("%v is no usage error", err)
	}
	for _, key := range []string{"listen:", "domain:", "registration:", "isolation:", "admin:", "bus:", "start-timeout:"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not in\n%v", key, err)
		}
	}
	if _, err := read(t, nil, "surplus"); !errors.As(err, &usage) {
		t.Errorf("a surplus argument: %v", err)
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		text   string
	}{
		{nil, 0, ""},
		{Status(1), 1, ""},
		{errors.New("no"), 1, "cloudlet: no\n"},
		{hinted(errors.New("no"), "do %s", "this"), 1, "cloudlet: no\n  do this\n"},
		{Usage{errors.New("odd")}, 2, "cloudlet: odd\n"},
		{usageError(errors.New("odd")), 2, "cloudlet: odd\n  " + usageHint + "\n"},
	} {
		var b strings.Builder
		if got := Report(c.err, &b); got != c.status || b.String() != c.text {
			t.Errorf("%v: %d %q, want %d %q", c.err, got, b.String(), c.status, c.text)
		}
	}
}

// Who mistypes is told what was probably meant, and where all is listed.
func TestMistyped(t *testing.T) {
	app := App("test", UpCommand(Streams{Env: os.Getenv}, nil), Streams{Env: os.Getenv})
	app.Writer = t.Output() // a usage error of the library's own
	for line, want := range map[string]string{
		"statsu":        "unknown command \"statsu\"\n  Did you mean status?\n",
		"xyzzy":         "unknown command \"xyzzy\"\n",
		"up --lsten x":  "unknown option \"--lsten\"\n  Did you mean --listen?\n",
		"status --jsn":  "unknown option \"--jsn\"\n  Did you mean --json?\n",
		"--versoin":     "unknown option \"--versoin\"\n  Did you mean --version?\n",
		"warden --x":    "unknown option \"--x\"\n",
		"status no way": "status takes no argument \"no\"\n",
	} {
		var b strings.Builder
		status := Report(app.RunContext(t.Context(), append([]string{"cloudlet"}, strings.Fields(line)...)), &b)
		if status != 2 || b.String() != "cloudlet: "+want+"  "+usageHint+"\n" {
			t.Errorf("%s: status %d, %q", line, status, b.String())
		}
	}
}

func TestServeFiles(t *testing.T) {
	files := fstest.MapFS{
		"index.html":          {Data: []byte("top")},
		"sub/index.html":      {Data: []byte("sub")},
		"sub/page.txt":        {Data: []byte("0123456789")},
		".git/config":         {Data: []byte("secret")},
		".well-known/x":       {Data: []byte("known")},
		"404.html":            {Data: []byte("gone")},
		"bare/file.txt":       {Data: []byte("x")},
		"sub/.hidden/file.js": {Data: []byte("secret")},
	}
	for _, c := range []struct {
		path, rangeOf string
		status        int
		body          string
	}{
		{"/", "", 200, "top"},
		{"/sub/", "", 200, "sub"},
		{"/sub/page.txt", "", 200, "0123456789"},
		{"/sub/page.txt", "bytes=-3", 206, "789"},
		{"/.well-known/x", "", 200, "known"},
		{"/.git/config", "", 404, "gone"},
		{"/sub/.hidden/file.js", "", 404, "gone"},
		{"/nothing", "", 404, "gone"},
		{"/../../etc/passwd", "", 404, "gone"},
		{"/bare/", "", 404, "gone"}, // no listings: what is not linked was not meant to be found
	} {
		req := httptest.NewRequest("GET", "http://x"+c.path, nil)
		if c.rangeOf != "" {
			req.Header.Set("Range", c.rangeOf)
		}
		w := httptest.NewRecorder()
		fileHandler(files).ServeHTTP(w, req)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, w.Code, w.Body, c.status, c.body)
		}
	}
}
