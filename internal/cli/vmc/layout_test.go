package vmc

import (
	"bytes"
	"strings"
	"testing"

	"github.com/creack/pty"

	"cloudlet/controller/api"
)

func TestAppsTable(t *testing.T) {
	one, two := 1, 2
	got := table(appRows([]api.App{
		{Name: "hello", Instances: 1, RunningInstances: &one, State: api.Started, URIs: []string{"hello.vcap.me"}, Services: []string{"mysql-1a2b3"}},
		{Name: "three", Instances: 3, RunningInstances: &two, State: api.Started, URIs: []string{"a.vcap.me", "b.vcap.me"}},
		{Name: "odd", Instances: 1, State: api.Started},
		{Name: "off", Instances: 1, State: api.Stopped},
	}))
	want := `+-------------+----+---------+----------------------+-------------+
| Application | #  | Health  | URLS                 | Services    |
+-------------+----+---------+----------------------+-------------+
| hello       | 1  | RUNNING | hello.vcap.me        | mysql-1a2b3 |
| three       | 3  | 67%     | a.vcap.me, b.vcap.me |             |
| odd         | 1  | N/A     |                      |             |
| off         | 1  | STOPPED |                      |             |
+-------------+----+---------+----------------------+-------------+
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStatsTable(t *testing.T) {
	got := table(statsRows(map[int]api.InstanceStats{
		1: {State: "DOWN", Since: 1345679000},
		2: {State: "RUNNING", Stats: &api.Stats{Uptime: "100000.0", MemQuota: 1 << 30, DiskQuota: 512 << 20, Cores: 2}},
		0: {State: "RUNNING", Stats: &api.Stats{
			Uptime: "412.7", MemQuota: 134217728, DiskQuota: 2147483648, Cores: 4,
			Usage: &api.InstanceUsage{CPU: "0.3", Mem: "19212.0", Disk: 1298432},
		}},
	}))
	want := `+----------+-------------+----------------+--------------+---------------+
| Instance | CPU (Cores) | Memory (limit) | Disk (limit) | Uptime        |
+----------+-------------+----------------+--------------+---------------+
| 0        | 0.3% (4)    | 18.8M (128M)   | 1.2M (2G)    | 0d:0h:6m:52s  |
| 2        | NA% (2)     | NA (1G)        | NA (512M)    | 1d:3h:46m:40s |
+----------+-------------+----------------+--------------+---------------+
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestInstancesTableWithDebugger(t *testing.T) {
	ip, port := "10.0.0.1", 4711
	rows := instanceRows([]api.Instance{
		{Index: 0, State: "RUNNING", Since: 1345678901, Ports: &api.DebugTTY{DebugIP: &ip, DebugPort: &port}},
		{Index: 1, State: "DOWN", Since: 1345678901},
	})
	if len(rows[0]) != 5 || rows[1][3] != ip || rows[1][4] != "4711" || len(rows[2]) != 3 {
		t.Errorf("rows %q", rows)
	}
}

// A narrow window shows what is looked for first, and a low one says that there is more.
func TestSmallTop(t *testing.T) {
	typing, tty, err := pty.Open()
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	defer typing.Close()
	defer tty.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 6, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	one := usage{App: "日本", State: "RUNNING", CPU: 12.5, Mem: 32 << 20, MemQuota: 64 << 20, DiskQuota: 2 << 30}
	v := screen{title: "http://api.example.com", rows: usageRows([]usage{one, one, one})}
	v.raw = &rawMode{terminal: &terminal{out: &out}, fd: int(tty.Fd())}
	v.draw()
	got := strings.NewReplacer("\x1b[H", "", "\x1b[K", "", "\x1b[J", "", "\r", "").Replace(out.String())
	want := `
Application  #  CPU    Memory (limit)   
日本         0  12.5%  32.0M (64M) 50%  
q quits, 2 more in a higher window`
	if !strings.HasSuffix(got, "\n"+want) || strings.Count(got, "\n") != 4 {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1.0K", 1298432: "1.2M", 2 << 30: "2.0G"} {
		if got := size(n, 1); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{1: "1K", 1024: "1K", 1025: "2K", 1 << 20: "1024K", 1<<20 + 1: "2M"} {
		if got := roundUp(n); got != want {
			t.Errorf("roundUp(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestParseMem(t *testing.T) {
	for text, want := range map[string]int{"256": 256, "256M": 256, "64m": 64, "1G": 1024, "2g": 2048, "128MB": 128, "0": 0, "": 0, "-1": 0, "1.5G": 0, "M": 0, "99999999": 0} {
		got, err := parseMem(text)
		if got != want && want != 0 || (err != nil) != (want == 0) {
			t.Errorf("parseMem(%q) = %d, %v", text, got, err)
		}
	}
	for mb, want := range map[int]string{64: "64M", 1024: "1G", 1536: "1536M"} {
		if got := formatMem(mb); got != want {
			t.Errorf("formatMem(%d) = %s", mb, got)
		}
	}
}

func TestScale(t *testing.T) {
	for _, tc := range []struct {
		now  int
		arg  string
		want int // 0: refused
	}{
		{2, "5", 5}, {2, "+1", 3}, {2, "-1", 1}, {2, "-2", 0}, {2, "0", 0}, {2, "", 0}, {2, "x", 0}, {2, "+-1", 0},
		{2, "--1", 0}, {2, "99999999999999999999", 0},
	} {
		got, err := scale(tc.now, tc.arg)
		if err == nil && got != tc.want || (err != nil) != (tc.want == 0) {
			t.Errorf("scale(%d, %q) = %d, %v", tc.now, tc.arg, got, err)
		}
	}
}

func TestMatch(t *testing.T) {
	choices := []string{"node", "sinatra", "standalone"}
	for answer, want := range map[string]string{"1": "node", "3": "standalone", "n": "node", "SIN": "sinatra", "s": "", "4": "", "0": "", "x": ""} {
		if got, ok := match(answer, choices); got != want || ok != (want != "") {
			t.Errorf("match(%q) = %q, %v", answer, got, ok)
		}
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"http://Hello.localhost:8080/": "hello.localhost", "hello.localhost": "hello.localhost", "https://a.b": "a.b", " a.b:http ": "a.b:http",
	} {
		if got := hostOf(in); got != want {
			t.Errorf("hostOf(%q) = %q", in, got)
		}
	}
	if got := domainOf("http://api.vcap.me:8080"); got != "vcap.me" {
		t.Errorf("domain %q", got)
	}
	if got := address("https://api.vcap.me", "a.vcap.me"); got != "https://a.vcap.me" {
		t.Errorf("address %q", got)
	}
	if got := address("http://api.localhost:8080", "a.localhost"); got != "http://a.localhost:8080" {
		t.Errorf("address %q", got)
	}
}

func TestParseListing(t *testing.T) {
	got := parseListing("app/                                         -\nmy file.log                               1.2K\nstderr.log                                  0B")
	if len(got) != 2 || got[0] != "my file.log" || got[1] != "stderr.log" {
		t.Errorf("names %q", got)
	}
}

// Letters of double width, those that are put over others, and what would break the box.
func TestOddCells(t *testing.T) {
	got := table([][]string{{"Variable", "Value"}, {"日本", "e\u0301té"}, {"x", "two\nlines\x1b[2J"}})
	want := `+----------+-------------------+
| Variable | Value             |
+----------+-------------------+
| 日本     | e` + "\u0301" + `té               |
| x        | two\nlines\x1b[2J |
+----------+-------------------+
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
