package vmc

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"

	"cloudlet/controller/api"
)

// openCommand prints the URL of an app and shows it in a browser, where there is a
// screen to show it on.
func openCommand(ctx context.Context, s *session, args []string) error {
	return s.forEach(ctx, args, func(name string) error {
		c, app, err := s.app(ctx, name)
		if err != nil {
			return err
		}
		if len(app.URIs) == 0 {
			return fail(fmt.Sprintf("`vmc map %s %s` gives it one.", name, defaultURL(name, c.Target)), "Application '%s' has no URL", name)
		}
		url := address(c.Target, app.URIs[0])
		if app.State != api.Started {
			fmt.Fprintf(s.err, "Application '%[1]s' is stopped: `vmc start %[1]s` starts it\n", name)
		}
		if s.opts.json {
			err = s.printJSON(map[string]string{"app": name, "url": url})
		} else {
			s.say("%s", url)
		}
		if program := s.browser(); err == nil && program != "" && app.State == api.Started {
			err = browse(program, url)
		}
		return err
	})
}

// browser is the program that opens URLs; empty without a screen.
func (s *session) browser() string {
	switch {
	case runtime.GOOS == "darwin":
		return "open"
	case s.env("DISPLAY") != "" || s.env("WAYLAND_DISPLAY") != "":
		return "xdg-open"
	}
	return ""
}

// browse starts a browser and leaves it to itself.
func browse(program, url string) error {
	cmd := exec.Command(program, url)
	if err := cmd.Start(); err != nil {
		return fail("The URL above can be opened by hand.", "No browser can be started: %v", err)
	}
	return cmd.Process.Release()
}
