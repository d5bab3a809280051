package frameworks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"cloudlet/stager"
)

var node = stager.Framework{
	Name:      "node",
	Runtimes:  []string{"node"},
	Detection: []map[string]any{{"*.js": "."}},
	Stage:     stageNode,
}

// manifest is what matters of a package.json.
type manifest struct {
	Main                 string            `json:"main"`
	Scripts              map[string]string `json:"scripts"`
	Dependencies         map[string]string `json:"dependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
}

func stageNode(ctx context.Context, t *stager.Task) (stager.Launch, error) {
	var pkg manifest
	if err := t.ReadJSON("package.json", &pkg); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return stager.Launch{}, err
	}
	if err := installPackages(ctx, t, pkg); err != nil {
		return stager.Launch{}, err
	}
	command, err := nodeCommand(t, pkg)
	return stager.Launch{
		Command: command,
		Env: map[string]string{
			"NODE_ENV": "${NODE_ENV:-production}",
			"PATH":     "$PWD/app/node_modules/.bin:$PATH",
		},
	}, err
}

// installPackages runs npm where the app depends on something. With a lock file it
// installs exactly that; packages that were shipped along stay.
func installPackages(ctx context.Context, t *stager.Task, pkg manifest) error {
	if len(pkg.Dependencies)+len(pkg.OptionalDependencies) == 0 {
		return nil
	}
	command := "install"
	if t.Exists("package-lock.json") || t.Exists("npm-shrinkwrap.json") {
		command = "ci"
	}
	if t.Exists("node_modules") {
		command = "rebuild"
		t.Say("Using the node_modules that came with the application")
	} else {
		t.Say("Installing packages: npm %s", command)
	}
	err := t.Run(ctx, "npm", command, "--omit=dev", "--no-audit", "--no-fund", "--no-progress",
		"--no-update-notifier", "--cache", "../tmp/npm")
	if err != nil {
		return fmt.Errorf("%w; the lines above say why", err)
	}
	return nil
}

// nodeCommand is how the app is started: the start script, else the Procfile, else the
// file that looks like the program.
func nodeCommand(t *stager.Task, pkg manifest) (string, error) {
	const run = "%VCAP_LOCAL_RUNTIME% $NODE_ARGS "
	if script := strings.TrimSpace(pkg.Scripts["start"]); script != "" {
		if file, ok := strings.CutPrefix(script, "node "); ok && !strings.ContainsAny(file, "&|;") {
			return run + file + " $@", nil
		}
		return script, nil
	}
	if command := t.Procfile("web"); command != "" {
		return command, nil
	}
	names, err := t.Names()
	if err != nil {
		return "", err
	}
	if file := mainFile(names, pkg.Main); file != "" {
		return run + file + " $@", nil
	}
	return "", errors.New("no program found: add \"scripts\": {\"start\": \"node FILE.js\"} to package.json, " +
		"or name the file server.js, app.js, index.js or main.js")
}

// mainFile picks as v1 did: the only top-level script, else the last of the usual names.
func mainFile(names []string, main string) string {
	var scripts []string
	for _, n := range names {
		if strings.HasSuffix(n, ".js") && plain(n) {
			scripts = append(scripts, n)
		}
	}
	if len(scripts) == 1 {
		return scripts[0]
	}
	for _, n := range []string{"application.js", "main.js", "index.js", "app.js", "server.js"} {
		if slices.Contains(scripts, n) {
			return n
		}
	}
	if main != "" && plain(main) {
		return main
	}
	return ""
}

// plain tells that a name means nothing to a shell.
func plain(name string) bool {
	return !strings.HasPrefix(name, "-") && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
	}) < 0
}
