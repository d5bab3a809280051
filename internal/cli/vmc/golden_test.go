package vmc

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudlet/controller/api"
)

// fixed is a v1 cloud that always is the same; it has none of the routes that are
// Cloudlet's alone.
func fixed(t *testing.T) *cloud {
	c := newCloud(t)
	c.sells("mysql", "redis")
	c.services["mysql-1a2b3"] = api.Service{Name: "mysql-1a2b3", Vendor: "mysql", Version: "5.1", Tier: "free", Type: "database"}
	hello, shop := started("hello"), started("shop")
	hello.Services = []string{"mysql-1a2b3"}
	hello.Env = []string{"COLOUR=blue", "URL=a=b"}
	shop.URIs, shop.Instances, shop.Staging = []string{"shop.vcap.me", "www.vcap.me"}, 3, api.Staging{Model: "rails3", Stack: "ruby19"}
	off := started("off")
	off.State, off.URIs, off.Env = api.Stopped, []string{}, []string{}
	for _, a := range []*api.App{hello, shop, off} {
		a.Resources.Memory = 128
		c.apps[a.Name] = a
	}
	c.crashed["hello"] = []api.Crash{{Instance: "bbb222", Since: 1345678960}, {Instance: "aaa111", Since: 1345678900}}
	c.stats = map[int]api.InstanceStats{0: {State: "RUNNING", Since: 1345678901, Stats: &api.Stats{
		Name: "hello", Host: "10.0.0.9", URIs: []string{"hello.vcap.me"}, Uptime: "412.7", MemQuota: 134217728, DiskQuota: 2147483648, FDsQuota: 256, Cores: 4,
		Usage: &api.InstanceUsage{Time: "2012-08-22 23:41:41 +0000", CPU: "0.3", Mem: "19212.0", Disk: 1298432},
	}}}
	for _, instance := range []string{"0", "aaa111", "bbb222"} {
		c.files["hello/"+instance+"/logs"] = "stderr.log                                 24B\nstdout.log                                  0B\n"
		c.files["hello/"+instance+"/logs/stderr.log"] = "listening\nof " + instance + "\n"
		c.files["hello/"+instance+"/logs/stdout.log"] = ""
	}
	c.files["hello/0/app/app.js"] = "// hello\n"
	c.files["hello/0/app/logo.png"] = "\x89PNG"
	return c
}

// layouts are command lines whose output is held to the byte, by the file they are kept in.
var layouts = []struct{ file, lines string }{
	{"start", `target
target http://api.example.com
target http://api.example.com/x
info
user
logout
info
user
apps
login
login admin@example.com --passwd wrong
login admin@example.com --passwd secret
login --email admin@example.com --pass secret --verbose
passwd new
targets`},
	{"apps", `apps
list --verbose
apps -q
apps --json
instances hello
instances shop --json
instances off
stats hello
stats --name hello --json
crashes hello
crashes off
crashes hello --json
top
top --json
open hello
apps -u foo@bar.com
apps nonsense`},
	{"change", `stop hello
stop hello
start hello
start hello
restart hello
mem hello
mem hello 256M
mem hello 4G
mem hello lots
scale hello 3
scale hello -1
instances hello 2
instances hello -5
map hello other.vcap.me
unmap hello other.vcap.me
unmap hello other.vcap.me
rename hello hi
delete hello
delete hello
delete
delete --all
delete --all --force
apps`},
	{"push", `push hello
push new --mem 128M
push new
push
push quiet -q --no-start
push small --mem 4G
push bare --path empty
push odd --path odd
push manual --framework standalone --command run --runtime shell --path odd
update new
update off
manifest -n
extend-manifest manifest.yml
push
push other`},
	{"look", `logs hello
logs hello --prefix
logs hello --all --prefix
logs hello --recent
logs hello --json
logs off
crashlogs hello
crashes hello
crashlogs hello --instance hello-1
crashlogs hello --instance hello-9
crashlogs off
files hello /app/app.js
files hello /logs
files hello /logs --all
files hello /app/app.js --json
files hello /app/logo.png --json
files hello /nowhere
files off
env hello
env hello --json
env off
env-add off A=b
env-add off C d=e
env-add off A
env-add off VCAP_X=1
env off
env-del off A
env-del off A`},
	{"services", `services
services --json
create-service redis
create-service redis cache
create_service redis --name third --bind off
create-service oracle
create-service
bind-service cache hello
bind_service nothing hello
unbind-service cache hello
clone-services hello off
clone-services off hello
delete-service cache
delete_service cache
delete-service
tunnel
tunnel mysql-1a2b3
tunnel nothing`},
	{"admin", `users
users --json
add-user foo@bar.com --passwd x
register foo@bar.com
delete-user foo@bar.com
passwd
runtimes
runtimes --json
frameworks
frameworks --json
info --json
user --json`},
	{"misc", `aliases
alias a=apps
alias b user
alias c
b
aliases
aliases --json
unalias a
unalias a
version
version --json
-v
nonsense
map hello
map hello a b c
apps --nonsense
rails-console hello
rails-console shop
micro
micro status
stop off --json
env nobody --verbose`},
	{"lacks", `events
events hello
invite foo@bar.com
quota
exec hello -- ls`},
	{"help", `
help
help push
options
options --json
help nonsense
push -h`},
}

// covered elsewhere: what they print is scripts, or words while one types.
var unheld = []string{"completion", "complete"}

// TestLayouts runs command lines against a v1 cloud and holds what they print against
// golden files. UPDATE=1 rewrites them.
func TestLayouts(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	held := map[*command]bool{}
	for _, l := range layouts {
		t.Run(l.file, func(t *testing.T) {
			c := fixed(t)
			u := c.at(t)
			u.file("app.js", "x")
			u.file("odd/x.txt", "x")
			if err := os.Mkdir(filepath.Join(u.dir, "empty"), 0o755); err != nil {
				t.Fatal(err)
			}
			if l.file == "push" {
				u.file("app.js", strings.Repeat("// long enough to ask for resources\n", 3000))
			}
			var b strings.Builder
			for line := range strings.SplitSeq(l.lines, "\n") {
				args := strings.Fields(strings.ReplaceAll(line, "http://api.example.com", c.srv.URL))
				if len(args) > 0 {
					held[findCommand(args[0])] = true
				}
				transcribe(&b, u, line, args)
			}
			compareGolden(t, l.file, readable(c, u, b.String()))
		})
	}
	for i := range commandTable {
		if cmd := &commandTable[i]; !held[cmd] && !slices.Contains(unheld, cmd.names[0]) {
			t.Errorf("nothing holds what `vmc %s` prints", cmd.names[0])
		}
	}
}

// transcribe writes down one command line and all that it prints.
func transcribe(b *strings.Builder, u *user, line string, args []string) {
	status, out, errs := u.vmc(args...)
	fmt.Fprintf(b, "$ vmc %s\n%s", line, out)
	if out != "" && !strings.HasSuffix(out, "\n") {
		b.WriteString("<no newline>\n")
	}
	for e := range strings.Lines(errs) {
		b.WriteString("2> " + e)
	}
	if status != 0 {
		fmt.Fprintf(b, "exit %d\n", status)
	}
}

// readable has what differs from run to run written as something else.
func readable(c *cloud, u *user, text string) string {
	_, port, _ := strings.Cut(strings.TrimPrefix(c.srv.URL, "http://"), ":")
	text = strings.NewReplacer( // as long as what they stand for, so that tables keep their width
		c.srv.URL, "http://api.example.com", ":"+port, "", "0.0.1", "example.com", u.dir, "/src", filepath.Base(u.dir), "src",
	).Replace(text)
	return regexp.MustCompile(`redis-[0-9a-f]{4,5}\b`).ReplaceAllString(text, "redis-1a2b3")
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE") == "1" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "$ vmc "), strings.Split(string(want), "$ vmc ")
	if len(g) != len(w) {
		t.Errorf("%s: %d command lines, want %d", path, len(g), len(w))
	}
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("%s:\ngot  $ vmc %s\nwant $ vmc %s", path, g[i], w[i])
		}
	}
}

// Nothing but the routes of v1 is needed; what else is asked for may be missing.
func TestOldRoutesSuffice(t *testing.T) {
	ours := regexp.MustCompile(`staging_log|/events|/logs$|/exec|/tokens$|/quotas/|/invitations`)
	c := fixed(t)
	u := c.at(t)
	u.file("app.js", "x")
	missing := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	c.handlers = map[string]http.HandlerFunc{"DELETE /tokens": missing}
	for _, line := range []string{"push new", "push new", "stop new", "start new", "logs hello --recent", "crashlogs hello", "delete new", "services", "logout"} {
		if status, out, errs := u.vmc(strings.Fields(line)...); status != 0 {
			t.Errorf("%s: %s%s", line, out, errs)
		}
	}
	v1 := regexp.MustCompile(`^(GET /info(/services|/runtimes)?|GET /apps(/[^/]+(/instances(/[^/]+/files/.*)?|/crashes|/stats)?)?|` +
		`POST /apps(/[^/]+/application)?|(PUT|DELETE) /apps/[^/]+|POST /resources|GET /services)$`)
	for _, call := range c.calls {
		if path, _, _ := strings.Cut(call, "?"); !v1.MatchString(path) && !ours.MatchString(path) {
			t.Errorf("%s is no route of v1", call)
		}
	}
}
