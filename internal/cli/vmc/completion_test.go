package vmc

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudlet/controller/api"
)

func TestComplete(t *testing.T) {
	c := newCloud(t)
	for _, name := range []string{"hello", "help-desk", "other", "$(touch x)"} {
		c.apps[name] = started(name)
	}
	u := c.at(t)
	u.write(u.home, ".vmc_aliases", "pu: push\nx: exec\n")
	u.write(u.home, ".vmc_token", `{"http://api.a.b":"0408","`+c.srv.URL+`":"`+token+`"}`)
	for line, want := range map[string]string{
		"pu|":                 "pu push",
		"st|":                 "start stats stop",
		"--no-st|":            "--no-start",
		"push --js|":          "--json",
		"push --no-|":         "--no-color --no-prompt --no-resources --no-start",
		"logs --|":            "--all --help --instance --json --lines --no-color --no-prompt --prefix --quiet --recent --tail --token-file --trace --verbose",
		"push --framework s|": "sinatra standalone static",
		"push --runtime ru|":  "ruby18 ruby19",
		"start he|":           "hello help-desk",
		"start hello |":       "",
		"start --trace he|":   "hello help-desk",
		"pu hel|":             "hello help-desk",
		"map o|":              "other",
		"map other |":         "",
		"env-add --json o|":   "other",
		"push --mem 2|":       "256M 2G",
		"push --app o|":       "other",
		"push --path |":       "",
		"help psu|":           "",
		"help lo|":            "login logout logs",
		"completion |":        "bash fish zsh",
		"unalias |":           "pu x",
		"target http://api|":  "http://api.a.b",
		"exec other cat |":    "",
		"x other cat --js|":   "",
		"nonsense |":          "",
		"push --nonsense |":   "",
		"start $|":            "",
		"|":                   "",
	} {
		words := strings.Split(strings.TrimSuffix(line, "|"), " ")
		status, out, errs := u.vmc(append([]string{"complete", "--"}, words...)...)
		if line == "|" {
			if strings.Count(out, "\n") < 40 || strings.Contains(out, "complete\n") {
				t.Errorf("all commands:\n%s", out)
			}
			continue
		}
		if got := strings.Join(strings.Fields(out), " "); status != 0 || got != want || errs != "" {
			t.Errorf("%s: status %d, %q, want %q, stderr %q", line, status, got, want, errs)
		}
	}
}

// A cloud that does not answer, or not to this user, is worth no word and no wait.
func TestCompleteWithoutCloud(t *testing.T) {
	c := newCloud(t)
	u := c.at(t)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	c.handlers = map[string]http.HandlerFunc{"GET /apps": func(w http.ResponseWriter, r *http.Request) { <-hang }}
	for _, token := range []string{`{"` + c.srv.URL + `":"` + token + `"}`, `{}`, `no JSON`} {
		u.write(u.home, ".vmc_token", token)
		began := time.Now()
		if status, out, errs := u.vmc("complete", "--", "start", "h"); status != 0 || out+errs != "" || time.Since(began) > 10*completePatience {
			t.Errorf("status %d after %s, %q, %q", status, time.Since(began), out, errs)
		}
	}
}

// The scripts are good to the shells that they are for.
func TestCompletionScripts(t *testing.T) {
	u := stranger(t)
	for shell := range shells {
		status, out, errs := u.vmc("completion", shell)
		if status != 0 || errs != "" || !strings.HasPrefix(out, "#") {
			t.Errorf("%s: status %d, %q", shell, status, errs)
		}
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("%s is not installed", shell)
			continue
		}
		u.file("script", out)
		if out, err := exec.Command(shell, "-n", filepath.Join(u.dir, "script")).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	u.fails([]string{"There is no completion for 'csh'"}, "completion", "csh")
}

func TestSuggestions(t *testing.T) {
	for typed, want := range map[string]string{
		"psuh": "push", "pus": "push", "lgs": "logs", "aps": "apps", "instanecs": "instances", "create_servic": "create_service", "scal": "scale", "instan": "instances",
		"x": "", "xyzzy": "", "": "",
	} {
		if want != "" {
			want = "Did you mean " + want + "?"
		}
		if got := Suggestion(typed, commandNames()); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	u.fails([]string{"vmc: Unknown command [psuh]\nDid you mean push?\nUsage: "}, "psuh")
	u.fails([]string{"Error 301: Application not found: 'helo'\nDid you mean hello?\n"}, "stats", "helo")
	u.fails([]string{"Error: invalid option: --instnaces\nDid you mean --instances?\n"}, "scale", "hello", "--instnaces", "2")
	u.fails([]string{"Error: invalid option: --xyz\n`vmc options` lists them.\n"}, "apps", "--xyz")
	u.fails([]string{"Error: invalid option: -x\n`vmc options` lists them.\n"}, "apps", "-x")
}

func TestScaleBoth(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	u := c.at(t)
	memory := c.apps["hello"].Resources.Memory
	status, out, errs := u.vmc("scale", "hello", "--instances", "3", "--mem", "256M")
	if want := "Scaling Application to 3 instances of 256M: OK\nStopping Application 'hello': OK\n"; status != 0 || !strings.HasPrefix(out, want) {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	if a := c.apps["hello"]; a.Instances != 3 || a.Resources.Memory != 256 || memory == 256 || a.State != api.Started {
		t.Errorf("app %+v", a)
	}
	u.wants("Application [hello] has 3 instances of 256M already.\n\n", "scale", "hello", "3", "--mem", "256")
	u.fails([]string{"Not enough capacity for operation."}, "scale", "hello", "+20", "--mem", "256M")
}

func TestOpenPrints(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["hello"].URIs = []string{"hello.example.com", "other.example.com"}
	u := c.at(t)
	port := c.srv.URL[strings.LastIndex(c.srv.URL, ":"):]
	u.wants("http://hello.example.com"+port+"\n\n", "open", "hello")
	c.apps["hello"].URIs = nil
	u.fails([]string{"Application 'hello' has no URL\n`vmc map hello hello.0.0.1` gives it one."}, "open", "hello")
}

func TestTopOnce(t *testing.T) {
	c := newCloud(t)
	c.apps["hello"] = started("hello")
	c.apps["other"] = started("other")
	c.apps["other"].State = api.Stopped
	c.stats = map[int]api.InstanceStats{
		0: {State: "RUNNING", Stats: &api.Stats{Uptime: "3661.0", MemQuota: 64 << 20, DiskQuota: 2 << 30, Cores: 4,
			Usage: &api.InstanceUsage{CPU: "0.34", Mem: "16384", Disk: 1 << 20}}},
		1: {State: "DOWN", Since: 1},
	}
	u := c.at(t)
	u.wants(`
+-------------+---+------+-----------------+---------+--------------+-------------+
| Application | # | CPU  | Memory (limit)  | State   | Disk (limit) | Uptime      |
+-------------+---+------+-----------------+---------+--------------+-------------+
| hello       | 0 | 0.3% | 16.0M (64M) 25% | RUNNING | 1.0M (2G)    | 0d:1h:1m:1s |
| hello       | 1 |      |                 | DOWN    |              |             |
+-------------+---+------+-----------------+---------+--------------+-------------+

`, "top")
	_, out, _ := u.vmc("top", "--json")
	if !strings.Contains(out, `"mem": 16777216,`) {
		t.Errorf("got %s", out)
	}
}
