package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// restriction is a setting by which a system keeps user namespaces, and with them level
// rootless, from its users.
type restriction struct {
	file, value string // the setting, and what it is then
	text        string
	do          func(binary string) string
}

var restrictions = []restriction{
	{
		"proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
		"AppArmor keeps user namespaces from programs without a profile",
		func(binary string) string {
			profile := fmt.Sprintf(`abi <abi/4.0>,\ninclude <tunables/global>\nprofile cloudlet "%s" flags=(unconfined) {\n  userns,\n}\n`, binary)
			return fmt.Sprintf(`printf '%s' | sudo tee /etc/apparmor.d/cloudlet && sudo apparmor_parser -r /etc/apparmor.d/cloudlet`, profile)
		},
	},
	{"proc/sys/kernel/unprivileged_userns_clone", "0", "this system allows user namespaces to root only", sysctl("kernel.unprivileged_userns_clone", 1)},
	{"proc/sys/user/max_user_namespaces", "0", "this system allows no user namespaces", sysctl("user.max_user_namespaces", 28000)},
}

// sysctl is how a setting of the kernel is changed, now and for good.
func sysctl(name string, value int) func(string) string {
	return func(string) string {
		return fmt.Sprintf("echo %s=%d | sudo tee /etc/sysctl.d/60-cloudlet.conf && sudo sysctl --system", name, value)
	}
}

// userNamespaces tells what keeps this user from level rootless, and how to change it;
// root is the folder that the settings lie below, and binary the program to be allowed.
func userNamespaces(root, binary string) (out []finding) {
	for _, r := range restrictions {
		b, err := os.ReadFile(filepath.Join(root, r.file))
		if err == nil && strings.TrimSpace(string(b)) == r.value {
			out = append(out, finding{"namespaces", "note", r.text, r.do(binary)})
		}
	}
	return out
}
