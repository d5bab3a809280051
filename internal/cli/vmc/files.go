package vmc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"cloudlet/controller/api"
)

// filesCommand prints a file or the listing of a folder, as it is.
func filesCommand(ctx context.Context, s *session, args []string) error {
	c, app, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	path := "/"
	if len(args) == 2 {
		path = args[1]
	}
	instances, err := s.wanted(ctx, c, app.Name)
	if err != nil {
		return err
	}
	for _, instance := range instances {
		if s.opts.all && !s.opts.json {
			s.say("====> [%s: %s] <====\n", instance, path)
		}
		if err := s.copyFile(ctx, c, app, instance, path); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) copyFile(ctx context.Context, c *api.Client, app api.App, instance, path string) error {
	rc, err := c.File(ctx, app.Name, instance, path)
	if errors.Is(err, api.AppStopped) {
		return explainStopped(err, app)
	}
	if noSuchFile(err) {
		hint := fmt.Sprintf("`vmc files %s` lists what there is", app.Name)
		if s.opts.instance != "" {
			hint += fmt.Sprintf(", `vmc instances %[1]s` and `vmc crashes %[1]s` of which instances", app.Name)
		}
		return &problem{text: "Error: No such file or directory", hint: hint + ".", cause: err}
	}
	if err != nil {
		return err
	}
	defer rc.Close()
	if s.opts.json {
		return s.printFile(rc, instance, path)
	}
	r := bufio.NewReader(rc)
	if s.opts.prefix {
		return s.sayLines(r, fmt.Sprintf("[%s: %s] -", instance, path))
	}
	end := lastByte{w: s.out}
	if _, err := io.Copy(&end, r); err != nil {
		return err
	}
	listing := path == "" || strings.HasSuffix(path, "/") // which has no newline at its end
	if (s.shown || s.opts.all || listing) && end.b != '\n' {
		s.say("")
	}
	return nil
}

// noSuchFile tells that neither the cloud nor the machine of the instance has it.
func noSuchFile(err error) bool {
	var f *api.Fault
	return errors.As(err, &f) && (f.Status == http.StatusNotFound || errors.Is(err, api.FileError))
}

// maxInJSON bounds a file that is printed as JSON, in bytes.
const maxInJSON = 64 << 20

// instanceFile is a file of an instance, or the listing of a folder, as JSON.
type instanceFile struct {
	Instance string  `json:"instance"`
	Path     string  `json:"path"`
	Text     *string `json:"text,omitempty"`
	Base64   []byte  `json:"base64,omitempty"` // of what is no text
}

// printFile prints a file as one line of JSON.
func (s *session) printFile(r io.Reader, instance, path string) error {
	data, err := io.ReadAll(io.LimitReader(r, maxInJSON+1))
	if err != nil {
		return err
	}
	if len(data) > maxInJSON {
		return fail("Print it without --json.", "%s has more than %s", path, size(maxInJSON, 0))
	}
	f := instanceFile{Instance: instance, Path: path}
	if text := string(data); utf8.ValidString(text) {
		f.Text = &text
	} else {
		f.Base64 = data
	}
	return s.printJSONLine(f)
}

// lastByte remembers how what it passes on ends.
type lastByte struct {
	w io.Writer
	b byte
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
	}
	return l.w.Write(p)
}
