// Package cli is the command line of the operator: what `up` reads and prints, and the
// commands beside it, one file each. What users of the cloud type is in package vmc.
//
// Protocol: the operator channel (package operator) towards a running cloud.
// State: none; the lock of the data folder while `up` holds it.
// Source: our own.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"cloudlet/internal/cli/vmc"
	"cloudlet/internal/operator"
)

// Streams are what a command has of the world around it.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(string) string
}

// Hinted is an error with the next step.
type Hinted struct {
	Err  error
	Hint string
}

func (h Hinted) Error() string { return h.Err.Error() }

// Unwrap is the error without its hint.
func (h Hinted) Unwrap() error { return h.Err }

// hinted adds the next step to an error.
func hinted(err error, format string, args ...any) error {
	return Hinted{err, fmt.Sprintf(format, args...)}
}

// Usage is an error in how a command was called; it exits with status 2.
type Usage struct{ error }

// Unwrap is the error, which may have a hint.
func (u Usage) Unwrap() error { return u.error }

// Status is a silent error: the command has printed what there was to say.
type Status int

func (s Status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// Report prints an error, in a line and its hint in another, and gives the exit status.
func Report(err error, w io.Writer) int {
	var status Status
	var usage Usage
	var hint Hinted
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "cloudlet: interrupted")
		return 1
	}
	fmt.Fprintf(w, "cloudlet: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	if errors.As(err, &hint) {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(hint.Hint, "\n", "\n  "))
	}
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// App is the command line of `cloudlet` with up as its first command.
func App(version string, up *cli.Command, std Streams) *cli.App {
	return &cli.App{
		Name:                      "cloudlet",
		Usage:                     "a whole Cloud Foundry v1 in one program",
		Version:                   version,
		HideHelpCommand:           true,
		EnableBashCompletion:      true,
		Reader:                    std.In,
		Writer:                    std.Out,
		ErrWriter:                 std.Err,
		ExitErrHandler:            func(*cli.Context, error) {}, // main decides
		OnUsageError:              onUsageError,
		DisableSliceFlagSeparator: true,
		Commands: []*cli.Command{
			up, statusCommand(std), downCommand(std), doctorCommand(version, std), wardenCommand(std), vmcCommand(std), serveFilesCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknown("command", c.Args().First(), c.App.VisibleCommands(), (*cli.Command).Names)
			}
			return cli.ShowAppHelp(c)
		},
	}
}

const usageHint = "`cloudlet --help` lists the commands, `cloudlet COMMAND --help` their options"

func usageError(err error) error { return Usage{hinted(err, usageHint)} }

// unknown is a usage error about a name, with the one that was probably meant.
func unknown[T any](what, typed string, known []T, names func(T) []string) error {
	var all []string
	for _, k := range known {
		all = append(all, names(k)...)
	}
	hint := usageHint
	if meant := vmc.Suggestion(typed, all); meant != "" {
		hint = meant + "\n" + hint
	}
	return Usage{hinted(fmt.Errorf("unknown %s %q", what, typed), "%s", hint)}
}

// noArguments refuses what a command would have ignored.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usageError(fmt.Errorf("%s takes no argument %q", c.Command.Name, c.Args().First()))
	}
	return nil
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		return unknown("option", "--"+strings.TrimPrefix(name, "-"), c.Command.Flags, func(f cli.Flag) (names []string) {
			for _, n := range f.Names() {
				if len(n) > 1 {
					names = append(names, "--"+n)
				}
			}
			return names
		})
	}
	return usageError(err)
}

func vmcCommand(std Streams) *cli.Command {
	return &cli.Command{
		Name:            "vmc",
		Usage:           "the client: push, apps, logs and all the rest",
		SkipFlagParsing: true,
		HideHelp:        true,
		Action: func(c *cli.Context) error {
			return exit(vmc.Run(c.Context, c.Args().Slice(), vmc.Streams{In: std.In, Out: std.Out, Err: std.Err, Env: std.Env}))
		},
	}
}

func exit(status int) error {
	if status == 0 {
		return nil
	}
	return Status(status)
}

var dataFlag = &cli.StringFlag{Name: "data", Usage: "data `DIR` of the cloud", EnvVars: []string{"CLOUDLET_DATA"}}

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}

// running is a client of the cloud whose data folder the flags name.
func running(c *cli.Context, std Streams) (*operator.Client, string) {
	dir := c.String("data")
	if dir == "" {
		dir = operator.DataDir(std.Env)
	}
	return operator.Dial(dir), dir
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// notRunning adds what to do to the operator channel's error.
func notRunning(err error) error {
	if errors.Is(err, operator.ErrNotRunning) {
		return hinted(err, "start one with `cloudlet up`, or name another data folder with --data")
	}
	return err
}
