package warden

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// What was written is there when a disk is mounted again, though somebody still has the
// mount that was before: whoever makes a container copies the host's.
func TestDiskIsMountedAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	dir := t.TempDir()
	d, err := openDisks(dir)
	if err != nil {
		t.Skip("no disks here: ", err)
	}
	if err := d.make(dir, diskLeast); err != nil {
		t.Fatal(err)
	}
	defer removeDisk(dir)
	file := filepath.Join(dir, diskName, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	if err := unmountDisk(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it is still mounted")
	}
	if err := mountDisk(dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
}
