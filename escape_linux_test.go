package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cloudlet/internal/operator"
)

// thief is an application that reaches for what is Cloudlet's, and leaves traps for those
// who look at its files. Its addresses and paths come in its environment.
const thief = `
try() { name=$1; shift; if timeout 5 "$@" >/dev/null 2>&1; then echo "GOT $name"; else echo "refused $name"; fi; }
knock() { for host in 127.0.0.1 $HOSTS $(gateway); do try "$1 at $host" bash -c "exec 3<>/dev/tcp/$host/$2"; done; }
gateway() { while read -r _ to via _; do if [ "$to" = 00000000 ]; then printf '%d.%d.%d.%d' 0x${via:6:2} 0x${via:4:2} 0x${via:2:2} 0x${via:0:2}; fi; done </proc/net/route; }

try "the data folder" ls "$DATA"
try "the administrator's password" cat "$DATA/admin.password"
try "the database" cat "$DATA/cloud.db"
try "the operator's channel" ls "$DATA/control.sock"
try "the lock of containers" ls "$DATA/containers/.lock"
try "the victim's files" ls "$VICTIM"
knock "the bus" "$BUS"
knock "the API" "$API"
knock "the victim" "$PEER"
try "its control group" rmdir /sys/fs/cgroup
rm -rf logs/stderr.log
ln -s "$DATA/admin.password" logs/stderr.log
ln -s "$DATA/admin.password" password
ln -s / root
ln -s ../../../../../../.. up
ln "$DATA/admin.password" hard
mkfifo pipe
echo words
env
echo all tried
while :; do sleep 1; done
`

// TestEscape runs a thief beside another application: nothing of Cloudlet's is within its
// reach, and its files lead nobody out.
func TestEscape(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root, for containers at level full, and bash")
	}
	bus := freePort(t)
	s, _ := launch(t, "cloudlet", filepath.Join(t.TempDir(), "data"), "--bus", "0.0.0.0:"+bus)
	defer s.stop()
	if s.status.Isolation.Level != "full" {
		t.Skipf("level is %s: %v", s.status.Isolation.Level, s.status.Isolation.Reasons)
	}
	s.vmc("push", "victim", "--path", folderWith(t, "index.html", "mine"), "-n")
	_, api, err := net.SplitHostPort(s.status.Listen)
	if err != nil {
		t.Fatal(err)
	}
	hosts := addresses(t)
	for _, host := range hosts { // what the thief is refused is there
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, bus), patience)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	victim, peer := s.container()
	app := folderWith(t, "thief", thief)
	s.vmc("push", "thief", "--path", app, "--framework", "standalone", "--runtime", "shell", "--command", bash+" thief", "--url", "none", "--no-start", "-n")
	for _, v := range []string{"DATA=" + s.data, "BUS=" + bus, "API=" + api, "VICTIM=" + victim, "PEER=" + peer, "HOSTS=" + strings.Join(hosts, " ")} {
		s.vmc("env-add", "thief", v)
	}
	s.vmc("start", "thief", "-n")
	var said string
	s.wait(func() error {
		if said, err = s.try("files", "thief", "logs/stdout.log"); !strings.Contains(said, "all tried") {
			err = fmt.Errorf("it says %q (%v)", said, err)
		}
		return err
	})
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "GOT ") {
			t.Error(line)
		}
	}
	if n := strings.Count(said, "refused "); n < 10 {
		t.Errorf("%d attempts: %s", n, said)
	}
	s.nothingSecret(said)
	for _, path := range []string{"logs/stderr.log", "app/logs/stderr.log", "app/password", "app/root/etc/passwd", "app/root", "app/up", "app/up/etc/passwd", "app/hard", "app/pipe", "../admin.password"} {
		out, _ := s.try("files", "thief", path)
		s.nothingSecret(out)
	}
	out, _ := s.try("logs", "thief")
	s.nothingSecret(out)
	if err := s.answers("/", "victim"); err != nil {
		t.Error(err)
	}
}

// try runs a command of the client that may fail.
func (s *server) try(args ...string) (string, error) {
	cmd := exec.Command(s.binary, append([]string{"vmc"}, args...)...)
	cmd.Env = s.env()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// container gives home and port of the only container there is.
func (s *server) container() (home, port string) {
	s.b.Helper()
	found, _ := filepath.Glob(filepath.Join(s.data, "containers", "*", "record.json"))
	if len(found) != 1 {
		s.b.Fatalf("%d containers: %q", len(found), found)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		s.b.Fatal(err)
	}
	var record struct {
		Home string
		Port int
	}
	if err := json.Unmarshal(text, &record); err != nil {
		s.b.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(record.Home, "app")); err != nil {
		s.b.Fatal(err)
	}
	return record.Home, strconv.Itoa(record.Port)
}

// nothingSecret holds a text against what no application and no reader of its files may
// learn.
func (s *server) nothingSecret(text string) {
	s.b.Helper()
	password, err := os.ReadFile(filepath.Join(s.data, "admin.password"))
	if err != nil {
		s.b.Fatal(err)
	}
	login, err := operator.Dial(s.data).Login(s.b.Context())
	if err != nil {
		s.b.Fatal(err)
	}
	secrets := []string{strings.TrimSpace(string(password)), login.Token, "root:x:0:0"}
	for _, c := range s.status.UAA.Clients {
		secrets = append(secrets, c)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			s.b.Errorf("a secret is told: %q", text)
		}
	}
}

// addresses are some of the machine that others may reach. Those on the loopback
// interface are left out: there lie the gateways of other Cloudlets, which may have ended
// before the thief knocks, and then an address is anybody's.
func addresses(t *testing.T) (list []string) {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		all, err := l.Addrs()
		if err != nil || l.Flags&net.FlagLoopback != 0 {
			continue // a link may have gone meanwhile
		}
		for _, a := range all {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				list = append(list, n.IP.String())
			}
		}
	}
	return list[:min(len(list), 3)]
}

func folderWith(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
