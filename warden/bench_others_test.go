package warden_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// other is a program that isolates as warden does, to compare with in the same run.
type other struct {
	name    string
	prepare func(b *testing.B, args ...string) (command func() *exec.Cmd)
}

var others = []other{
	{"plain", func(b *testing.B, args ...string) func() *exec.Cmd {
		return func() *exec.Cmd { return exec.Command(args[0], args[1:]...) }
	}},
	{"bwrap", func(b *testing.B, args ...string) func() *exec.Cmd {
		needs(b, "bwrap")
		line := append(strings.Fields("--unshare-all --die-with-parent --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp"), args...)
		return func() *exec.Cmd { return exec.Command("bwrap", line...) }
	}},
	{"crun", bundle},
	{"runc", bundle},
}

func needs(b *testing.B, program string) {
	b.Helper()
	if _, err := exec.LookPath(program); err != nil {
		b.Skip(err)
	}
}

// bundle prepares what programs of the Open Container Initiative want: their own default
// configuration, with the host's /usr. It skips where such a program cannot run.
func bundle(b *testing.B, args ...string) func() *exec.Cmd {
	program := filepath.Base(b.Name())
	needs(b, program)
	dir := b.TempDir()
	spec := exec.Command(program, "spec")
	spec.Dir = dir
	if out, err := spec.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	root := filepath.Join(dir, "rootfs")
	var errs []error
	for _, name := range []string{"usr", "proc", "dev", "sys"} {
		errs = append(errs, os.MkdirAll(filepath.Join(root, name), 0o755))
	}
	for _, name := range []string{"bin", "lib", "lib64"} {
		errs = append(errs, os.Symlink("usr/"+name, filepath.Join(root, name)))
	}
	name := "bench-" + filepath.Base(filepath.Dir(dir)) + filepath.Base(dir)
	b.Cleanup(func() { exec.Command(program, "delete", "--force", name).Run() })
	command := func() *exec.Cmd { return exec.Command(program, "run", "--bundle", dir, name) }
	if err := errors.Join(append(errs, configure(dir, "/bin/true"))...); err != nil {
		b.Fatal(err)
	}
	if out, err := command().CombinedOutput(); err != nil {
		b.Skipf("%s cannot run here: %s", program, out)
	}
	if err := configure(dir, args...); err != nil {
		b.Fatal(err)
	}
	return command
}

// configure sets the program of a bundle, and shows it the host's /usr.
func configure(dir string, args ...string) error {
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	process := config["process"].(map[string]any)
	process["args"], process["terminal"] = args, false
	mounts := slices.DeleteFunc(config["mounts"].([]any), func(m any) bool { return m.(map[string]any)["destination"] == "/usr" })
	config["mounts"] = append(mounts, map[string]any{"destination": "/usr", "type": "bind", "source": "/usr", "options": []string{"rbind", "ro"}})
	if text, err = json.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// end ends a program that goes on, and what it has made.
func (o other) end(cmd *exec.Cmd) {
	if o.name == "crun" || o.name == "runc" {
		exec.Command(o.name, "delete", "--force", cmd.Args[len(cmd.Args)-1]).Run()
	} else {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	cmd.Wait()
}
