package stager

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// writeScripts completes the droplet: startup, stop and the log beside app/ and tmp/.
// What the app's own tools may have put in their place is removed first.
func writeScripts(home *os.Root, l Launch, log string) error {
	files := []struct {
		name, text string
		mode       fs.FileMode
	}{
		{"startup", startupScript(l), 0o500},
		{"stop", stopScript(l), 0o500},
		{"logs/staging.log", log, 0o644},
	}
	if l.StateFile != "" {
		files = append(files, struct {
			name, text string
			mode       fs.FileMode
		}{"droplet.yaml", "---\nstate_file: " + l.StateFile + "\n", 0o644})
	}
	if err := errors.Join(home.RemoveAll("logs"), home.RemoveAll("tmp")); err != nil {
		return err
	}
	if err := errors.Join(home.Mkdir("logs", 0o755), home.Mkdir("tmp", 0o755)); err != nil {
		return err
	}
	for _, f := range files {
		if err := home.RemoveAll(f.name); err != nil {
			return err
		}
		if err := home.WriteFile(f.name, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

// exports are the lines that set a launch's variables, sorted by name.
func exports(l Launch) string {
	env := map[string]string{"TMPDIR": "$PWD/tmp"}
	maps.Copy(env, l.Env)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "export %s=\"%s\"\n", name, env[name])
	}
	return b.String()
}

// startupScript follows v1's line by line, but for the redirection: where the DEA
// collects the output, it rotates it, too, and says so by VCAP_LOGS_COLLECTED.
func startupScript(l Launch) string {
	dir := l.Dir
	if dir == "" {
		dir = "app"
	}
	var b strings.Builder
	b.WriteString("#!/bin/bash\n" + exports(l))
	for _, line := range l.Before {
		b.WriteString(line + "\n")
	}
	b.WriteString("DROPLET_BASE_DIR=$PWD\n")
	b.WriteString("[ -n \"$VCAP_LOGS_COLLECTED\" ] || exec > \"$DROPLET_BASE_DIR/logs/stdout.log\" 2> \"$DROPLET_BASE_DIR/logs/stderr.log\"\n")
	b.WriteString("cd " + dir + "\n")
	b.WriteString(l.Command + " &\n")
	b.WriteString("STARTED=$!\necho \"$STARTED\" >> \"$DROPLET_BASE_DIR/run.pid\"\nwait $STARTED\n")
	return b.String()
}

// stopScript is for the original DEA; ours ends the container.
func stopScript(l Launch) string {
	return "#!/bin/bash\n" + exports(l) +
		"APPPID=$1\nAPP_PPID=`ps -o ppid= -p $APPPID`\nkill -9 $APPPID\nkill -9 $APP_PPID\n"
}

// uploadDroplet packs the droplet while it sends it.
func uploadDroplet(ctx context.Context, to string, home *os.Root, limit int64) error {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		part, err := form.CreateFormFile("upload[droplet]", "droplet.tgz")
		if err == nil {
			err = packDroplet(part, home, limit)
		}
		if err == nil { // else the form stays open, so that nobody takes it for whole
			err = form.Close()
		}
		w.CloseWithError(err)
	}()
	defer r.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, r)
	if err != nil {
		return errors.New("the address is malformed")
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := noProxy.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) //nolint:errcheck // it only explains
		return fmt.Errorf("the answer was %s: %s", resp.Status, text)
	}
	return nil
}

var errTooLarge = errors.New("the staged application is larger than its disk limit")

// packDroplet writes the folder as a compressed tar. Files, folders and links are
// packed; what else an app may have made (sockets, pipes, devices) is left out.
func packDroplet(w io.Writer, home *os.Root, limit int64) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	err = fs.WalkDir(home.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n, err := packEntry(t, home, name)
		if limit -= n; err == nil && limit < 0 {
			err = errTooLarge
		}
		return err
	})
	return errors.Join(err, t.Close(), z.Close())
}

func packEntry(t *tar.Writer, home *os.Root, name string) (int64, error) {
	info, err := home.Lstat(name)
	if err != nil {
		return 0, err
	}
	h := &tar.Header{Name: "./" + name, Mode: int64(info.Mode().Perm()), Format: tar.FormatPAX}
	switch info.Mode().Type() {
	case 0:
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = home.Readlink(name); err != nil {
			return 0, err
		}
	default:
		return 0, nil
	}
	if err := t.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return 0, err
	}
	f, err := home.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(t, f)
}
