package frameworks

import (
	"context"
	"errors"

	"cloudlet/internal/runtimes"
	"cloudlet/stager"
)

// standalone runs whatever command the user names. What v1 did not know travels under
// it, with a runtime of its own: old clients fail on frameworks that they do not know.
var standalone = stager.Framework{
	Name:      "standalone",
	Runtimes:  []string{runtimes.Shell, runtimes.Static, "node"},
	Detection: []map[string]any{},
	Stage:     stageStandalone,
}

func stageStandalone(ctx context.Context, t *stager.Task) (stager.Launch, error) {
	if t.Runtime == runtimes.Static {
		return stageStatic(t)
	}
	command := t.Meta.Command
	if command == "" {
		command = t.Procfile("web")
	}
	if command == "" {
		return stager.Launch{}, errors.New("there is no start command: name one with --command, or add a Procfile with a line like\n  web: ./server -port $PORT")
	}
	return stager.Launch{Command: command}, nil
}
