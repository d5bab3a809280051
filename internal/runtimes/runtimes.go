// Package runtimes finds the language runtimes of this machine.
//
// Protocol: none. The names are v1's, because old clients know them; the version shown
// is that of what is really here.
// State: none; the machine is looked at once per start.
// Source: v1's runtimes.yml and its version probes.
package runtimes

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of the runtimes that are no language.
const (
	// Static serves a folder of files by the Cloudlet binary itself.
	Static = "static"
	// Shell is whatever the system has: scripts, and programs that bring all they need.
	Shell = "shell"
)

// Runtime is an entry of the catalogue.
type Runtime struct {
	Name        string
	Description string
	Version     string   // what was found; empty if nothing was
	Executable  string   // where; empty if nothing was
	Roots       []string // folders outside the system's that it needs to run
	Install     string   // what to do to have it
}

// Found tells whether the runtime can be used here.
func (r Runtime) Found() bool { return r.Executable != "" }

// probe says how a language runtime is recognised.
type probe struct {
	name, description string
	executables       []string // first one in PATH wins
	args              []string
	version           *regexp.Regexp // first group is the version
	install           string
}

var probes = []probe{{
	name: "node", description: "Node.js",
	executables: []string{"node", "nodejs"}, args: []string{"--version"},
	version: regexp.MustCompile(`^v?(\d+(?:\.\d+)*)`),
	install: "apt-get install nodejs npm",
}}

// Find looks for all known runtimes in PATH, side by side. self is the version of the
// Cloudlet binary, which is the static runtime.
func Find(ctx context.Context, self string) []Runtime {
	found := make([]Runtime, len(probes), len(probes)+2)
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() { found[i] = p.find(ctx) })
	}
	wg.Wait()
	return append(found,
		Runtime{Name: Static, Description: "Static files", Version: self, Executable: "cloudlet"},
		Runtime{Name: Shell, Description: "Programs of the system", Version: "1", Executable: "/bin/sh"})
}

func (p probe) find(ctx context.Context) Runtime {
	r := Runtime{Name: p.name, Description: p.description, Install: p.install}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, name := range p.executables {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, p.args...).CombinedOutput()
		if m := p.version.FindSubmatch(out); err == nil && m != nil {
			r.Version, r.Executable = string(m[1]), path
			r.Roots = roots(path)
			return r
		}
	}
	return r
}

// roots are the installation folders of an executable outside the system's own: version
// managers keep runtimes in /opt or in home folders.
func roots(executable string) []string {
	var dirs []string
	paths := []string{executable}
	if real, err := filepath.EvalSymlinks(executable); err == nil {
		paths = append(paths, real)
	}
	for _, path := range paths {
		dir, ok := strings.CutSuffix(filepath.Dir(path), "/bin")
		if ok && dir != "" && dir != "/usr" && !strings.HasPrefix(dir, "/usr/") && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
