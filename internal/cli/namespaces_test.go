package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What keeps users from namespaces is told with the commands that change it, and nothing
// is told where nothing does.
func TestUserNamespaces(t *testing.T) {
	root := t.TempDir()
	set := func(name, value string) {
		t.Helper()
		path := filepath.Join(root, "proc/sys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		got := userNamespaces(root, "/opt/my cloudlet")
		if len(got) != len(want) {
			t.Fatalf("%+v", got)
		}
		for i, f := range got {
			if f.State != "note" || !strings.Contains(f.Do, want[i]) {
				t.Errorf("%+v, want %q in it", f, want[i])
			}
		}
	}
	expect()
	set("kernel/apparmor_restrict_unprivileged_userns", "0")
	set("kernel/unprivileged_userns_clone", "1")
	set("user/max_user_namespaces", "63000")
	expect()
	set("kernel/apparmor_restrict_unprivileged_userns", "1")
	expect(`profile cloudlet "/opt/my cloudlet" flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/cloudlet && sudo apparmor_parser -r /etc/apparmor.d/cloudlet`)
	set("kernel/unprivileged_userns_clone", "0")
	set("user/max_user_namespaces", "0")
	expect("apparmor_parser", "kernel.unprivileged_userns_clone=1", "user.max_user_namespaces=28000")
}
