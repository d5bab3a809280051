package stager_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"cloudlet/bus"
	"cloudlet/internal/testkit"
	"cloudlet/stager"
	"cloudlet/stager/frameworks"
	"cloudlet/warden"
)

// rig is a stager with a real bus and real containers; the test stands in the
// controller's place, with files to download and a droplet to receive.
type rig struct {
	t       *testing.T
	conn    *bus.Conn
	pool    *warden.Pool
	server  *httptest.Server
	archive []byte
	droplet chan []byte
}

func newRig(t *testing.T, cfg stager.Config) *rig {
	t.Helper()
	b := testkit.Bus(t)
	r := &rig{t: t, conn: testkit.Conn(t, b), droplet: make(chan []byte, 1)}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.server.Close)
	dir := t.TempDir()
	r.pool = warden.New(warden.Config{Dir: filepath.Join(dir, "containers")}, testkit.Log(t))
	if err := r.pool.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := r.pool.List(); len(left) > 0 {
			t.Errorf("%d containers are left", len(left))
		}
		if err := r.pool.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Dir = filepath.Join(dir, "staging")
	if cfg.Frameworks == nil {
		cfg.Frameworks = frameworks.All()
	}
	testkit.Run(t, stager.New(cfg, b, r.pool, testkit.Log(t)))
	return r
}

func (r *rig) serve(w http.ResponseWriter, q *http.Request) {
	user, password, _ := q.BasicAuth()
	switch {
	case user != "staging" || password != "secret":
		w.WriteHeader(http.StatusUnauthorized)
	case q.Method == http.MethodGet:
		w.Write(r.archive) //nolint:errcheck // the stager went away
	default:
		f, _, err := q.FormFile("upload[droplet]")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		data, err := io.ReadAll(f)
		if err == nil {
			r.droplet <- data
		}
	}
}

// files sets the app: pairs of name and content. A name that ends in * is executable, a
// content that begins with -> makes a link.
func (r *rig) files(pairs ...string) {
	r.t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for i := 0; i < len(pairs); i += 2 {
		name, executable := strings.CutSuffix(pairs[i], "*")
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		body, link := strings.CutPrefix(pairs[i+1], "->")
		switch {
		case link:
			h.SetMode(fs.ModeSymlink | 0o777)
		case executable:
			h.SetMode(0o755)
		default:
			h.SetMode(0o644)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.archive = buf.Bytes()
}

func (r *rig) task(framework, runtime string) bus.StagingTask {
	base := strings.Replace(r.server.URL, "http://", "http://staging:secret@", 1)
	return bus.StagingTask{
		AppID: "42",
		Properties: bus.StagingProperties{
			Framework: framework, FrameworkInfo: bus.FrameworkInfo{Name: framework},
			Runtime: runtime, RuntimeInfo: bus.Runtime{Name: runtime, Executable: "/usr/bin/node"},
			Environment: []string{"FROM_USER=yes"},
		},
		DownloadURI: base + "/staging/app/42", UploadURI: base + "/staging/droplet/42/once",
	}
}

func (r *rig) stage(task bus.StagingTask) bus.StagingResult {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	result, err := bus.Staging.Ask(ctx, r.conn, task)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// unpacked is the droplet's content by name; links as "->target", folders left out.
func (r *rig) unpacked() (files map[string]string, modes map[string]fs.FileMode) {
	r.t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(testkit.Next(r.t, r.droplet)))
	if err != nil {
		r.t.Fatal(err)
	}
	files, modes = map[string]string{}, map[string]fs.FileMode{}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, modes
		}
		if err != nil {
			r.t.Fatal(err)
		}
		body, err := io.ReadAll(t)
		if err != nil {
			r.t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		modes[name] = h.FileInfo().Mode()
		if h.Typeflag == tar.TypeSymlink {
			files[name] = "->" + h.Linkname
		} else if h.Typeflag == tar.TypeReg {
			files[name] = string(body)
		}
	}
}

func needsNode(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: apt-get install nodejs npm", tool)
		}
	}
}

func TestDropletLayout(t *testing.T) {
	r := newRig(t, stager.Config{})
	r.files("run*", "#!/bin/sh\n", "lib/data.txt", "data", ".dotfile", "kept", "link", "->lib/data.txt")
	task := r.task("standalone", "shell")
	task.Properties.Meta.Command = "./run --fast"
	lines := testkit.Collect(t, r.conn, bus.Logs("42"))
	result := r.stage(task)
	if result.Error != "" || result.TaskID == "" {
		t.Fatalf("staging: %+v", result)
	}
	files, modes := r.unpacked()
	for name, want := range map[string]string{
		"app/run": "#!/bin/sh\n", "app/lib/data.txt": "data", "app/.dotfile": "kept", "app/link": "->lib/data.txt",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	for name, want := range map[string]fs.FileMode{"startup": 0o500, "stop": 0o500, "app/run": 0o755, "app/lib/data.txt": 0o644} {
		if modes[name].Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, modes[name].Perm(), want)
		}
	}
	for _, dir := range []string{"logs/", "tmp/"} {
		if !modes[dir].IsDir() {
			t.Errorf("%s is missing", dir)
		}
	}
	want := `#!/bin/bash
export TMPDIR="$PWD/tmp"
DROPLET_BASE_DIR=$PWD
[ -n "$VCAP_LOGS_COLLECTED" ] || exec > "$DROPLET_BASE_DIR/logs/stdout.log" 2> "$DROPLET_BASE_DIR/logs/stderr.log"
cd app
./run --fast &
STARTED=$!
echo "$STARTED" >> "$DROPLET_BASE_DIR/run.pid"
wait $STARTED
`
	if files["startup"] != want {
		t.Errorf("startup is\n%s", files["startup"])
	}
	if !strings.Contains(files["logs/staging.log"], "Staging application") {
		t.Errorf("staging.log is %q", files["logs/staging.log"])
	}
	for _, step := range []string{
		"Setting up temporary directories", "Downloading application", "Unpacking application",
		"Staging application", "Creating droplet", "Uploading droplet", "Done!",
	} {
		if !strings.Contains(result.TaskLog, "] "+step+"\n") {
			t.Errorf("the log lacks %q:\n%s", step, result.TaskLog)
		}
		if got := testkit.Next(t, lines); got.Text != step || got.Source != bus.SourceStaging || got.App != "42" {
			t.Errorf("the line on the bus is %+v, want %q", got, step)
		}
	}
}

func TestNodeDependencies(t *testing.T) {
	needsNode(t)
	r := newRig(t, stager.Config{})
	r.files("package.json", `{"name":"a","version":"1.0.0","scripts":{"start":"node app.js"},"dependencies":{"greet":"file:./greet"}}`,
		"greet/package.json", `{"name":"greet","version":"1.0.0","main":"index.js","scripts":{"postinstall":"node -e \"require('fs').writeFileSync('made', process.env.FROM_USER)\""}}`,
		"greet/index.js", "", "app.js", "require('greet')")
	result := r.stage(r.task("node", "node"))
	if result.Error != "" {
		t.Fatalf("staging: %s\n%s", result.Error, result.TaskLog)
	}
	files, _ := r.unpacked()
	if files["app/node_modules/greet"] == "" && files["app/node_modules/greet/package.json"] == "" {
		t.Error("greet was not installed")
	}
	if files["app/greet/made"] != "yes" {
		t.Error("the install script did not run with the user's environment")
	}
	if !strings.Contains(files["startup"], "%VCAP_LOCAL_RUNTIME% $NODE_ARGS app.js $@ &\n") {
		t.Errorf("startup is\n%s", files["startup"])
	}
	for name := range files {
		if strings.HasPrefix(name, "tmp/") {
			t.Errorf("%s is in the droplet", name)
		}
	}
}

// What a plugin finds missing is told in a sentence, and a failing tool with its output.
func TestPluginsSayWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name, framework, runtime, want string
		files                          []string
	}{
		{"node without a program", "node", "node", "no program found", []string{"a.js", "", "b.js", ""}},
		{"broken package.json", "node", "node", "package.json is not valid JSON", []string{"package.json", "{", "app.js", ""}},
		{"no start command", "standalone", "shell", "there is no start command", []string{"data", "x"}},
		{"no index.html", "standalone", "static", "there is no index.html", []string{"data", "x"}},
		{"unknown framework", "fortran", "f77", `no plugin for framework "fortran"`, []string{"data", "x"}},
		{"entry that leads out", "standalone", "shell", "Failed unpacking app", []string{"../../out", "x"}},
		{"entry through a link", "standalone", "shell", "Failed unpacking app", []string{"l", "->/tmp", "l/out", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, stager.Config{})
			r.files(c.files...)
			result := r.stage(r.task(c.framework, c.runtime))
			if !strings.HasPrefix(result.Error, "Staging task failed:\n ") || !strings.Contains(result.Error, c.want) {
				t.Errorf("the error is %q", result.Error)
			}
			if strings.Contains(result.Error+result.TaskLog, "secret") {
				t.Error("the password of the upload address is in the error")
			}
		})
	}
}

func TestProcfile(t *testing.T) {
	r := newRig(t, stager.Config{})
	r.files("Procfile", "worker: sleep 1\r\nweb: ./serve -p $PORT\r\n")
	if result := r.stage(r.task("standalone", "shell")); result.Error != "" {
		t.Fatal(result.Error)
	}
	if files, _ := r.unpacked(); !strings.Contains(files["startup"], "\n./serve -p $PORT &\n") {
		t.Errorf("startup is\n%s", files["startup"])
	}
}

func TestStaticFindsItsFolder(t *testing.T) {
	for _, c := range []struct{ file, command string }{
		{"index.html", "exec %VCAP_LOCAL_RUNTIME% serve-files . $@ &"},
		{"dist/index.html", "exec %VCAP_LOCAL_RUNTIME% serve-files dist $@ &"},
	} {
		r := newRig(t, stager.Config{})
		r.files(c.file, "<p>")
		if result := r.stage(r.task("standalone", "static")); result.Error != "" {
			t.Fatal(result.Error)
		}
		if files, _ := r.unpacked(); !strings.Contains(files["startup"], c.command) {
			t.Errorf("%s: startup is\n%s", c.file, files["startup"])
		}
	}
}

// hostile is a plugin that does what the scripts of a hostile package might.
func hostile(script string) []stager.Framework {
	return []stager.Framework{{
		Name: "hostile", Runtimes: []string{"shell"},
		Stage: func(ctx context.Context, t *stager.Task) (stager.Launch, error) {
			return stager.Launch{Command: "true"}, t.Run(ctx, "/bin/bash", "-c", script)
		},
	}}
}

func TestStagingIsBounded(t *testing.T) {
	for _, c := range []struct {
		name, script, want string
		cfg                stager.Config
	}{
		{name: "time", script: "sleep 600", cfg: stager.Config{Limit: time.Second}, want: "Staging timed out after 1 seconds."},
		{name: "exit status", script: "echo because >&2; exit 7", want: "status 7"},
		{name: "disk", script: "head -c 30000000 /dev/zero > big", cfg: stager.Config{Disk: 10 << 20}, want: "larger than its disk limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Frameworks = hostile(c.script)
			r := newRig(t, c.cfg)
			r.files("x", "y")
			if result := r.stage(r.task("hostile", "shell")); !strings.Contains(result.Error, c.want) {
				t.Errorf("the error is %q", result.Error)
			}
		})
	}
}

// TestStagingDoesNotReachTheHost: what runs while staging has a network of its own, where
// such a network has a way outward.
func TestStagingDoesNotReachTheHost(t *testing.T) {
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	script := "(exec 3<>/dev/tcp/127.0.0.1/" + port + ") 2>/dev/null && exit 7; exit 0"
	r := newRig(t, stager.Config{Frameworks: hostile(script)})
	iso := r.pool.Isolation()
	hosts := iso.Level == warden.Process || !iso.Outward
	r.files("x", "y")
	if result := r.stage(r.task("hostile", "shell")); strings.Contains(result.Error, "status 7") != hosts {
		t.Errorf("the error is %q, in the host's network: %v", result.Error, hosts)
	}
}

func TestHostileScriptsChangeNothingElse(t *testing.T) {
	r := newRig(t, stager.Config{Frameworks: hostile(strings.Join([]string{
		"cd ..", "rm -rf logs tmp startup stop", "ln -s /etc logs", "ln -s /etc/passwd startup", "mkdir stop", "mkfifo app/pipe",
		"ln -s /etc/passwd app/passwd", "(sleep 600; touch late) & disown", `yes $'\x01' | head -c 3000000`, "true",
	}, "; "))})
	r.files("x", "y")
	result := r.stage(r.task("hostile", "shell"))
	if result.Error != "" {
		t.Fatal(result.Error)
	}
	if len(result.TaskLog) > 1<<20 {
		t.Errorf("the log has %d bytes", len(result.TaskLog))
	}
	files, modes := r.unpacked()
	if !strings.HasPrefix(files["startup"], "#!/bin/bash\n") || !strings.HasPrefix(files["stop"], "#!/bin/bash\n") {
		t.Error("the scripts are not ours")
	}
	if _, ok := files["logs/passwd"]; ok || !modes["logs/"].IsDir() || files["app/passwd"] != "->/etc/passwd" {
		t.Errorf("links were followed: %v", modes)
	}
	if _, ok := modes["app/pipe"]; ok {
		t.Error("a pipe is in the droplet")
	}
}

// A controller that goes away in the middle gets an error, and nothing is left behind.
func TestControllerThatFails(t *testing.T) {
	r := newRig(t, stager.Config{})
	r.files("index.html", "x")
	task := r.task("standalone", "static")
	for _, c := range []struct {
		change func(*bus.StagingTask)
		want   string
	}{
		{func(t *bus.StagingTask) { t.DownloadURI = strings.Replace(t.DownloadURI, "secret", "wrong", 1) }, "Failed downloading app"},
		{func(t *bus.StagingTask) { t.UploadURI = strings.Replace(t.UploadURI, "secret", "wrong", 1) }, "Failed uploading droplet"},
		{func(t *bus.StagingTask) { t.DownloadURI = "http://staging:secret@127.0.0.1:1/x" }, "Failed downloading app"},
		{func(t *bus.StagingTask) { t.DownloadURI = "://secret" }, "Failed downloading app"},
	} {
		m := task
		c.change(&m)
		result := r.stage(m)
		if !strings.Contains(result.Error, c.want) || strings.Contains(fmt.Sprint(result), "secret") {
			t.Errorf("the result is %+v, want %q", result, c.want)
		}
	}
	r.archive = []byte("this is no zip")
	if result := r.stage(task); !strings.Contains(result.Error, "Failed unpacking app") {
		t.Errorf("the error is %q", result.Error)
	}
}
