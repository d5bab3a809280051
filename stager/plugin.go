package stager

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"cloudlet/bus"
)

// Framework is a kind of app: what the catalogue says of it, and how it is staged. A new
// one is a new file in package frameworks.
type Framework struct {
	Name      string
	Runtimes  []string         // names of the runtimes it can use, the default first
	Detection []map[string]any // v1's rules: glob → true, false or a pattern of the content
	// Stage prepares the files below t.App and says how the app is started. What it
	// returns as an error is shown to the user.
	Stage func(ctx context.Context, t *Task) (Launch, error)
}

// Task is one staging run as a plugin sees it.
type Task struct {
	bus.StagingProperties
	// App is the app's folder. Its content is hostile: reach it through App only.
	App *os.Root
	// Run runs a command in the container, in the app's folder. What it prints goes to
	// the log, line by line.
	Run func(ctx context.Context, args ...string) error
	// Say writes a line to the log.
	Say func(format string, args ...any)
}

// Launch says how the droplet's startup script starts the app.
type Launch struct {
	// Command runs in Dir. %VCAP_LOCAL_RUNTIME% in it becomes the path of the runtime,
	// and "$@" the arguments -p and the port, where the server understands them.
	Command string
	Dir     string            // below the droplet; "app" where empty
	Env     map[string]string // exported before; may use the shell's variables
	Before  []string          // shell lines that run in the droplet's folder before
	// StateFile names a file that tells when the app is ready, instead of its port.
	StateFile string
}

// maxManifest bounds files like package.json and Procfile.
const maxManifest = 1 << 20

// ReadFile reads a small file of the app; os.ErrNotExist if there is none.
func (t *Task) ReadFile(name string) ([]byte, error) {
	info, err := t.App.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := t.App.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("%s is larger than %d MiB", name, maxManifest>>20)
	}
	return data, err
}

// ReadJSON parses a small file of the app.
func (t *Task) ReadJSON(name string, v any) error {
	data, err := t.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s is not valid JSON: %w", name, err)
	}
	return nil
}

// Exists tells whether the app has a file or folder of this name.
func (t *Task) Exists(name string) bool {
	_, err := t.App.Stat(name)
	return err == nil
}

// Names lists the app's top folder.
func (t *Task) Names() ([]string, error) {
	dir, err := t.App.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

var procfileLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(.+)$`)

// Procfile is the command of one process type; empty if there is none.
func (t *Task) Procfile(process string) string {
	data, err := t.ReadFile("Procfile")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if m := procfileLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil && m[1] == process {
			return m[2]
		}
	}
	return ""
}
