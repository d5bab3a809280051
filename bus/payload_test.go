package bus

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// decoder decodes a payload of one kind and encodes it again.
type decoder func(data []byte) (v any, again []byte, err error)

func kind[T any](data []byte) (any, []byte, error) {
	v, err := Decode[T](data)
	if err != nil {
		return nil, nil, err
	}
	again, err := encode(v)
	return v, again, err
}

// kinds are all payloads that travel.
var kinds = []struct {
	name   string
	decode decoder
}{
	{"Advertise", kind[Advertise]}, {"BulkLogin", kind[BulkLogin]}, {"Component", kind[Component]}, {"Discover", kind[Discover]},
	{"Empty", kind[Empty]}, {"Exited", kind[Exited]}, {"FindDroplet", kind[FindDroplet]}, {"FoundDroplet", kind[FoundDroplet]},
	{"HMRequest", kind[HMRequest]}, {"HealthOf", kind[HealthOf]}, {"Healthy", kind[Healthy]}, {"Heartbeat", kind[Heartbeat]},
	{"Hello", kind[Hello]}, {"InstanceStats", kind[InstanceStats]}, {"LogLine", kind[LogLine]}, {"Route", kind[Route]},
	{"RouterHello", kind[RouterHello]}, {"StagingResult", kind[StagingResult]}, {"StagingTask", kind[StagingTask]}, {"StartApp", kind[StartApp]},
	{"Status", kind[Status]}, {"StatusOf", kind[StatusOf]}, {"StatusReply", kind[StatusReply]}, {"StopApp", kind[StopApp]}, {"Updated", kind[Updated]},
	{"CloudEvent", kind[CloudEvent]}, {"ActiveApps", kind[ActiveApps]}, {"Text", kind[Text]}, {"Announcement", kind[Announcement]},
	{"DiscoverNodes", kind[DiscoverNodes]}, {"Provision", kind[Provision]}, {"Unprovision", kind[Unprovision]}, {"Bind", kind[Bind]},
	{"Unbind", kind[Unbind]}, {"Restore", kind[Restore]}, {"ServiceReply", kind[ServiceReply]}, {"ServiceHandle", kind[ServiceHandle]},
	{"InstanceHandles", kind[InstanceHandles]}, {"UpdatedHandles", kind[UpdatedHandles]}, {"NodeHandles", kind[NodeHandles]}, {"Orphans", kind[Orphans]},
}

func decodeKind(t testing.TB, name string) decoder {
	t.Helper()
	for _, k := range kinds {
		if k.name == name {
			return k.decode
		}
	}
	t.Fatalf("no payload %s", name)
	return nil
}

func ptr[T any](v T) *T { return &v }

// deflated is text as a zlib stream.
func deflated(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write([]byte(text)) //nolint:errcheck // it is in memory
	z.Close()             //nolint:errcheck // likewise
	return b.String()
}

func handle(id string) ServiceHandle {
	return ServiceHandle{id, json.RawMessage(`{"plan":"free"}`), json.RawMessage(`{"name":"` + id + `"}`)}
}

// examples are payloads of v1's components, of all generations, and what they mean.
var examples = []struct {
	kind, text string
	want       any
}{
	{"Component", `{"type":"DEA","index":0,"uuid":"0-7be1f2c3","host":"10.0.0.7:34501","credentials":["b1","9f"],"start":"2012-11-03 09:14:02 +0000","uptime":"0d:0h:3m:12s"}`,
		Component{Type: "DEA", Index: ptr(0), UUID: "0-7be1f2c3", Host: "10.0.0.7:34501", Credentials: []string{"b1", "9f"}, Start: "2012-11-03 09:14:02 +0000", Uptime: "0d:0h:3m:12s"}},
	{"Component", `{"type":"uaa","index":null,"uuid":"x"}`, Component{Type: "uaa", UUID: "x"}},
	{"Hello", `{"id":"0-7be1","ip":"10.0.0.7","port":12345,"version":0.99}`, Hello{"0-7be1", "10.0.0.7", 12345, 0.99}},
	{"Advertise", `{"id":"0-7be1","available_memory":3584,"runtimes":["ruby18","node"],"prod":null}`,
		Advertise{ID: "0-7be1", AvailableMemory: 3584, Runtimes: []string{"ruby18", "node"}}},
	{"Discover", `{"droplet":42,"limits":{"mem":256,"disk":2048,"fds":256},"name":"hello","runtime_info":{"name":"ruby19","version":"1.9.2p180","executable":"ruby","version_flag":"-e 'puts RUBY_VERSION'"},"runtime":"ruby19","prod":false,"sha":"2fd4"}`,
		Discover{Droplet: 42, Limits: Limits{256, 2048, 256}, Name: "hello", Runtime: "ruby19", SHA: "2fd4", RuntimeInfo: Runtime{Name: "ruby19", Version: "1.9.2p180", Executable: "ruby"}}},
	{"StartApp", `{"droplet":42,"name":"hello","uris":["hello.vcap.me"],"runtime":"ruby19","runtime_info":{"name":"ruby19","version":"1.9.2p180","executable":"ruby"},
		"framework":"sinatra","prod":false,"sha1":"2fd4","executableFile":"/var/vcap/shared/droplets/droplet_42","executableUri":"http://10.0.0.2:9022/staged_droplets/42/2fd4","version":"2fd4-1",
		"services":[{"label":"redis-2.2","tags":["nosql"],"name":"redis-1","credentials":{"port":5000},"options":{},"plan":"free","plan_option":null,"type":"key-value","version":"2.2","vendor":"redis"}],
		"limits":{"mem":128,"disk":2048,"fds":256},"env":["FOO=bar"],"users":["me@example.com"],"cc_partition":"default","index":3,"debug":"run","console":true,"flapping":true}`,
		StartApp{Droplet: 42, Name: "hello", URIs: []string{"hello.vcap.me"}, Runtime: "ruby19", RuntimeInfo: Runtime{Name: "ruby19", Version: "1.9.2p180", Executable: "ruby"},
			Framework: "sinatra", SHA1: "2fd4", ExecutableFile: ptr("/var/vcap/shared/droplets/droplet_42"), ExecutableURI: "http://10.0.0.2:9022/staged_droplets/42/2fd4", Version: "2fd4-1",
			Services: []Service{{Label: "redis-2.2", Tags: []string{"nosql"}, Name: "redis-1", Credentials: json.RawMessage(`{"port":5000}`), Options: json.RawMessage(`{}`), Plan: "free", Type: "key-value", Version: "2.2", Vendor: "redis"}},
			Limits:   Limits{128, 2048, 256}, Env: []string{"FOO=bar"}, Users: []string{"me@example.com"}, Partition: "default", Index: 3, Debug: ptr("run"), Console: ptr(true), Flapping: true}},
	{"StartApp", `{"droplet":"42","name":"hello"}`, StartApp{Droplet: 42, Name: "hello"}},
	{"StopApp", `{"droplet":42}`, StopApp{Droplet: 42}},
	{"StopApp", `{"droplet":42,"version":"2fd4-1","indices":[2,3]}`, StopApp{Droplet: 42, Version: "2fd4-1", Indices: []int{2, 3}}},
	{"StopApp", `{"droplet":"42","instances":["9f86"],"states":["RUNNING"]}`, StopApp{Droplet: 42, Instances: []string{"9f86"}, States: []State{Running}}},
	{"StopApp", `{"droplet":42,"instance_ids":["9f86"]}`, StopApp{Droplet: 42, InstanceIDs: []string{"9f86"}}},
	{"FindDroplet", `{"droplet":42,"version":"v","states":["STARTING","RUNNING"],"include_stats":true,"path":"/x"}`,
		FindDroplet{Droplet: 42, Version: "v", States: []State{Starting, Running}, IncludeStats: true}},
	{"FoundDroplet", `{"dea":"0-7be1","version":"2fd4-1","droplet":"42","instance":"9f86","index":1,"state":"RUNNING","state_timestamp":1351934045,"file_uri":"http://10.0.0.7:12345/droplets/","credentials":["u","p"],"staged":"hello-0-9f86",
		"debug_ip":null,"debug_port":null,"console_ip":"10.0.0.7","console_port":9,"stats":{"name":"hello","host":"10.0.0.7","port":41234,"uris":["hello.vcap.me"],"uptime":73.41,"mem_quota":134217728,"disk_quota":2147483648,"fds_quota":256,"cores":4,
		"usage":{"time":"2012-11-03 09:15:18 +0000","cpu":0.3,"mem":18432.0,"disk":5242880}}}`,
		FoundDroplet{DEA: "0-7be1", Version: "2fd4-1", Droplet: "42", Instance: "9f86", Index: 1, State: Running, StateTimestamp: 1351934045, FileURI: "http://10.0.0.7:12345/droplets/",
			Credentials: []string{"u", "p"}, Staged: "hello-0-9f86", ConsoleIP: ptr("10.0.0.7"), ConsolePort: ptr(9),
			Stats: &InstanceStats{Name: "hello", Host: "10.0.0.7", Port: ptr(41234), URIs: []string{"hello.vcap.me"}, Uptime: 73.41, MemQuota: 134217728, DiskQuota: 2147483648, FDsQuota: 256, Cores: 4,
				Usage: &Usage{Time: "2012-11-03 09:15:18 +0000", CPU: 0.3, Mem: 18432, Disk: 5242880}}}},
	{"FoundDroplet", `{"droplet":42,"staged":null,"state":"CRASHED","state_timestamp":1351934045.75,"stats":{"uptime":73}}`,
		FoundDroplet{Droplet: "42", State: Crashed, StateTimestamp: 1351934045, Stats: &InstanceStats{Uptime: 73}}},
	{"Status", `{"id":"d","ip":"10.0.0.7","port":12345,"version":0.99,"max_memory":4096,"reserved_memory":512,"used_memory":100.5,"num_clients":4,"state":"SHUTTING_DOWN"}`,
		Status{Hello: Hello{"d", "10.0.0.7", 12345, 0.99}, MaxMemory: 4096, ReservedMemory: 512, UsedMemory: 100.5, NumClients: 4, State: "SHUTTING_DOWN"}},
	{"Heartbeat", `{"droplets":[{"droplet":"42","version":"2fd4-1","instance":"9f86","index":0,"state":"RUNNING","state_timestamp":1351934045,"cc_partition":"default"}],"dea":"0-7be1","prod":false}`,
		Heartbeat{DEA: "0-7be1", Droplets: []Beat{{Droplet: "42", Version: "2fd4-1", Instance: "9f86", State: Running, StateTimestamp: 1351934045, Partition: "default"}}}},
	{"Heartbeat", `{"droplets":[{"droplet":42,"state_timestamp":1351934045.5}]}`, Heartbeat{Droplets: []Beat{{Droplet: "42", StateTimestamp: 1351934045}}}},
	{"Exited", `{"droplet":"42","version":"2fd4-1","instance":"9f86","index":2,"reason":"CRASHED","cc_partition":"default","crash_timestamp":1351934102}`,
		Exited{Droplet: "42", Version: "2fd4-1", Instance: "9f86", Index: 2, Reason: ReasonCrashed, Partition: "default", CrashTimestamp: 1351934102}},
	{"Exited", `{"droplet":"9f8c-1","reason":"CRASHED","exit_status":137,"exit_description":"out of memory"}`,
		Exited{Droplet: "9f8c-1", Reason: ReasonCrashed, ExitStatus: ptr(137), ExitDescription: "out of memory"}},
	{"Updated", `{"droplet":42,"cc_partition":"default"}`, Updated{42, "default"}},
	{"Updated", `{"droplet":42}`, Updated{Droplet: 42}},
	{"StatusOf", `{"droplet":42,"version":"2fd4-1","state":"FLAPPING"}`, StatusOf{42, "2fd4-1", Flapping}},
	{"StatusReply", `{"indices":[{"index":1,"since":1351934102}]}`, StatusReply{Indices: &[]FlappingIndex{{1, 1351934102}}}},
	{"StatusReply", `{"instances":[{"instance":"9f86","since":1351934102}]}`, StatusReply{Instances: &[]CrashedInstance{{"9f86", 1351934102}}}},
	{"StatusReply", `{"indices":[]}`, StatusReply{Indices: &[]FlappingIndex{}}},
	{"StatusReply", `{"indices":[{"index":1,"since":null}]}`, StatusReply{Indices: &[]FlappingIndex{{Index: 1}}}},
	{"HealthOf", `{"droplets":[{"droplet":42,"version":"2fd4-1"},{"droplet":43,"version":"x"}]}`, HealthOf{[]AppVersion{{42, "2fd4-1"}, {43, "x"}}}},
	{"Healthy", `{"droplet":"42","version":"2fd4-1","healthy":2}`, Healthy{"42", "2fd4-1", 2}},
	{"Healthy", `{"droplet":42,"version":"2fd4-1","healthy":2}`, Healthy{"42", "2fd4-1", 2}},
	{"HMRequest", `{"droplet":"42","op":"START","last_updated":1351933990,"version":"2fd4-1","indices":[1],"flapping":true}`,
		HMRequest{Droplet: "42", Op: "START", LastUpdated: 1351933990, Version: "2fd4-1", Indices: []int{1}, Flapping: true}},
	{"HMRequest", `{"droplet":42,"op":"stop","last_updated":0,"instances":["9f86","0a1b"]}`, HMRequest{Droplet: "42", Op: "stop", Instances: []string{"9f86", "0a1b"}}},
	{"HMRequest", `{"droplet":"42","op":"SPINDOWN"}`, HMRequest{Droplet: "42", Op: "SPINDOWN"}},
	{"RouterHello", `{"id":"r","version":0.98}`, RouterHello{ID: "r", Version: 0.98}},
	{"RouterHello", `{"id":"r","hosts":["10.0.0.3"],"minimumRegisterIntervalInSeconds":5}`, RouterHello{ID: "r", Hosts: []string{"10.0.0.3"}, Interval: 5}},
	{"Route", `{"dea":"0-7be1","app":"42","host":"10.0.0.7","port":41234,"uris":["hello.vcap.me"],"tags":{"framework":"sinatra"},"private_instance_id":"p"}`,
		Route{DEA: "0-7be1", App: "42", Host: "10.0.0.7", Port: 41234, URIs: []string{"hello.vcap.me"}, Tags: map[string]string{"framework": "sinatra"}, PrivateInstanceID: "p"}},
	{"Route", `{"app":42,"host":"10.0.0.7","port":1,"uris":[]}`, Route{App: "42", Host: "10.0.0.7", Port: 1, URIs: []string{}}},
	{"StagingTask", `{"app_id":42,"properties":{"services":[],"framework":"sinatra","framework_info":{"name":"sinatra","runtimes":[{"ruby18":{"default":true}}]},"runtime":"ruby19","runtime_info":{"name":"ruby19"},
		"resources":{"memory":128,"disk":2048,"fds":256},"environment":["FOO=bar"],"meta":{"debug":null,"console":null,"command":"x"}},"download_uri":"http://u:p@h/a","upload_uri":"http://u:p@h/b"}`,
		StagingTask{AppID: "42", DownloadURI: "http://u:p@h/a", UploadURI: "http://u:p@h/b", Properties: StagingProperties{
			Services: []Service{}, Framework: "sinatra", FrameworkInfo: FrameworkInfo{"sinatra"}, Runtime: "ruby19", RuntimeInfo: Runtime{Name: "ruby19"},
			Resources: StagingLimits{128, 2048, 256}, Environment: []string{"FOO=bar"}, Meta: StagingMeta{Command: "x"}}}},
	{"StagingResult", `{"task_id":"t","task_log":"l","error":"Staging task failed:\n x"}`, StagingResult{"t", "l", "Staging task failed:\n x"}},
	{"StagingResult", `{"task_id":"t","task_log":null,"error":null}`, StagingResult{TaskID: "t"}},
	{"BulkLogin", `{"user":"bulk_api","password":"p"}`, BulkLogin{User: "bulk_api", Password: "p"}},
	{"CloudEvent", `[1351934045,"USER","me@example.com","GET:/apps",null]`, CloudEvent{1351934045.0, "USER", "me@example.com", "GET:/apps", nil}},
	{"Empty", ``, Empty{}},
	{"Empty", `{}`, Empty{}},
	{"Empty", `[1]`, Empty{}},
	{"LogLine", `{"app":"42","source":"STG","text":"npm install","time":"2012-11-03T09:14:31Z"}`, LogLine{"42", SourceStaging, "npm install", time.Date(2012, 11, 3, 9, 14, 31, 0, time.UTC)}},
	{"InstanceStats", `{"name":"hello","uris":[]}`, InstanceStats{Name: "hello", URIs: []string{}}},
	{"ActiveApps", deflated(`["42","57"]`), ActiveApps{"42", "57"}},
	{"ActiveApps", deflated(`[42]`), ActiveApps{"42"}},
	{"ActiveApps", deflated(`[]`), ActiveApps{}},
	{"Text", `please check`, Text("please check")},
	{"Text", ``, Text("")},
	{"Announcement", `{"available_capacity":200,"capacity_unit":1,"id":"redis_node_0","plan":"free","supported_versions":["2.2","2.4"]}`,
		Announcement{200, 1, "redis_node_0", "free", []string{"2.2", "2.4"}}},
	{"Announcement", `{"available_memory":4096,"id":"redis_node_0"}`, Announcement{ID: "redis_node_0"}},
	{"DiscoverNodes", ``, DiscoverNodes{}},
	{"DiscoverNodes", `{"plan":"free"}`, DiscoverNodes{"free"}},
	{"Provision", `{"plan":"free","version":"2.2"}`, Provision{Plan: "free", Version: "2.2"}},
	{"Provision", `{"plan":"free","version":"2.2","credentials":{"name":"redis-1","port":5000}}`,
		Provision{"free", "2.2", json.RawMessage(`{"name":"redis-1","port":5000}`)}},
	{"ServiceReply", `{"success":true,"credentials":{"name":"redis-1","node_id":"redis_node_0"}}`,
		ServiceReply{Success: true, Credentials: json.RawMessage(`{"name":"redis-1","node_id":"redis_node_0"}`)}},
	{"ServiceReply", `{"success":true}`, ServiceReply{Success: true}},
	{"ServiceReply", `{"success":false,"error":{"status":500,"msg":{"code":30500,"description":"Internal Error"}}}`,
		ServiceReply{Error: &ServiceError{500, ServiceMessage{30500, "Internal Error"}}}},
	{"Unprovision", `{"name":"redis-1","bindings":[{"name":"redis-1"}]}`, Unprovision{"redis-1", []json.RawMessage{[]byte(`{"name":"redis-1"}`)}}},
	{"Bind", `{"name":"redis-1"}`, Bind{Name: "redis-1"}},
	{"Bind", `{"name":"redis-1","bind_opts":{"privileges":["FULL"]},"credentials":{"user":"u"}}`,
		Bind{"redis-1", json.RawMessage(`{"privileges":["FULL"]}`), json.RawMessage(`{"user":"u"}`)}},
	{"Unbind", `{"credentials":{"name":"redis-1"}}`, Unbind{json.RawMessage(`{"name":"redis-1"}`)}},
	{"Restore", `{"instance_id":"redis-1","backup_path":"/var/vcap/backups/re/di/s-/redis-1/1351934045"}`,
		Restore{"redis-1", "/var/vcap/backups/re/di/s-/redis-1/1351934045"}},
	{"ServiceHandle", `{"service_id":"redis-1","configuration":{"plan":"free"},"credentials":{"name":"redis-1"}}`, handle("redis-1")},
	{"InstanceHandles", `[{"service_id":"redis-1","configuration":{"plan":"free"},"credentials":{"name":"redis-1"}},[{"service_id":"b1","configuration":{"plan":"free"},"credentials":{"name":"b1"}}]]`,
		InstanceHandles{handle("redis-1"), []ServiceHandle{handle("b1")}}},
	{"UpdatedHandles", `[{"service_id":"redis-1","configuration":{"plan":"free"},"credentials":{"name":"redis-1"}},{"service_id":"b1","configuration":{"plan":"free"},"credentials":{"name":"b1"}}]`,
		UpdatedHandles{Handles: []ServiceHandle{handle("redis-1"), handle("b1")}}},
	{"UpdatedHandles", `{"success":false,"error":{"status":500,"msg":{"code":30500,"description":"Internal Error"}}}`,
		UpdatedHandles{Failed: &ServiceReply{Error: &ServiceError{500, ServiceMessage{30500, "Internal Error"}}}}},
	{"NodeHandles", `{"instances_list":["redis-1"],"bindings_list":[{"name":"redis-1","username":"u"}],"node_id":"redis_node_0"}`,
		NodeHandles{[]string{"redis-1"}, []json.RawMessage{[]byte(`{"name":"redis-1","username":"u"}`)}, "redis_node_0"}},
	{"Orphans", `{"orphan_ins_list":["redis-1"],"orphan_binding_list":[{"name":"redis-1","username":"u"}]}`,
		Orphans{[]string{"redis-1"}, []json.RawMessage{[]byte(`{"name":"redis-1","username":"u"}`)}}},
}

func TestExamples(t *testing.T) {
	t.Parallel()
	for _, e := range examples {
		decode := decodeKind(t, e.kind)
		got, again, err := decode([]byte(e.text))
		if err != nil {
			t.Errorf("%s %s: %v", e.kind, e.text, err)
			continue
		}
		if d := cmp.Diff(e.want, got); d != "" {
			t.Errorf("%s %s: %s", e.kind, e.text, d)
		}
		if twice, _, err := decode(again); err != nil || !cmp.Equal(got, twice) {
			t.Errorf("%s %s was written as %s: %v", e.kind, e.text, again, err)
		}
	}
}

// What we write is what components of the time read.
func TestWritten(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		v    any
		want string
	}{
		{StagingTask{AppID: "42"}, `"app_id":42,`},
		{StagingTask{AppID: "9f8c-1"}, `"app_id":"9f8c-1",`},
		{Healthy{Droplet: "42"}, `{"droplet":"42"`},
		{StopApp{Droplet: 42}, `{"droplet":42}`},
		{StartApp{}, `"executableFile":null,`},
		{StartApp{}, `"debug":null,"console":null}`},
		{Route{App: "42"}, `"app":"42"`},
		{Usage{CPU: 0, Mem: 19212, Disk: 3}, `"cpu":0.0,"mem":19212.0,"disk":3}`},
		{Usage{CPU: 0.25, Mem: 1e21}, `"cpu":0.25,"mem":1e+21,`},
		{Usage{CPU: -3}, `"cpu":-3.0,`},
		{StatusReply{Indices: &[]FlappingIndex{}}, `{"indices":[]}`},
		{FoundDroplet{StateTimestamp: 5}, `"state_timestamp":5,`},
		{Provision{Plan: "free"}, `{"plan":"free"}`},
		{InstanceHandles{Instance: ServiceHandle{ServiceID: "a"}}, `[{"service_id":"a","configuration":null,"credentials":null},[]]`},
		{Text("free words"), `free words`},
		{DiscoverNodes{"free"}, `{"plan":"free"}`},
	} {
		if got, err := encode(tc.v); err != nil || !strings.Contains(string(got), tc.want) {
			t.Errorf("%+v is written as %s, %v; want %s in it", tc.v, got, err, tc.want)
		}
	}
	for _, v := range []any{Empty{}, DiscoverNodes{}, Text("")} {
		if got, err := encode(v); err != nil || len(got) != 0 {
			t.Errorf("%T: %q, %v", v, got, err)
		}
	}
	if got, err := encode(ActiveApps(nil)); err != nil || string(got) != deflated("[]") {
		t.Errorf("no active apps: %q, %v", got, err)
	}
	if _, err := encode(Usage{CPU: Decimal(math.NaN())}); err == nil {
		t.Error("not a number was written")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, e := range []struct{ kind, text string }{
		{"Hello", `{`}, {"Hello", `[]`}, {"Hello", `{"port":"x"}`},
		{"Advertise", `{}`}, {"Advertise", `{"id":"a.b"}`}, {"Advertise", `{"id":">"}`}, {"Advertise", `{"id":"a b"}`}, {"Advertise", `{"id":"` + strings.Repeat("a", 129) + `"}`},
		{"StartApp", `{}`}, {"StartApp", `{"droplet":"x"}`}, {"StartApp", `{"droplet":1,"index":-1}`}, {"StartApp", `{"droplet":1,"index":70000}`},
		{"StartApp", `{"droplet":1,"name":"../x"}`}, {"StartApp", `{"droplet":1,"name":"a\u0000"}`}, {"StartApp", `{"droplet":1,"sha1":"../x"}`},
		{"StartApp", `{"droplet":1,"limits":{"mem":-1}}`}, {"StartApp", `{"droplet":1,"limits":{"fds":-1}}`},
		{"Healthy", `{"droplet":"../1"}`}, {"Healthy", `{"droplet":""}`}, {"Healthy", `{"droplet":[1]}`}, {"Healthy", `{"droplet":"` + strings.Repeat("1", 65) + `"}`},
		{"HMRequest", `{"droplet":"42"}`}, {"HMRequest", `{"droplet":"42","op":"RESTART"}`}, {"HMRequest", `{"droplet":"42","op":"START STOP"}`},
		{"Heartbeat", `{"droplets":[{"droplet":"1","state_timestamp":1e300}]}`}, {"Heartbeat", `{"droplets":[{"droplet":"1","state_timestamp":"now"}]}`},
		{"Route", `{}`}, {"Route", `{"host":"h","port":0}`}, {"Route", `{"host":"h","port":65536}`}, {"Route", `{"host":"a/b","port":1}`},
		{"Route", `{"host":"h","port":1,"uris":["a/b"]}`}, {"Route", `{"host":"h","port":1,"uris":[""]}`}, {"Route", `{"host":"h","port":1,"uris":["` + strings.Repeat("a", 256) + `"]}`},
		{"StagingTask", `{}`}, {"StagingTask", `{"app_id":1,"download_uri":"x"}`}, {"StagingTask", `{"download_uri":"x","upload_uri":"y"}`},
		{"Updated", `{"droplet":1.5}`}, {"Updated", `{"droplet":null}`},
		{"ActiveApps", ``}, {"ActiveApps", `["42"]`}, {"ActiveApps", deflated(`{`)}, {"ActiveApps", deflated(`[null]`)}, {"ActiveApps", deflated(`["../1"]`)},
		{"ActiveApps", deflated(`["42"]`)[:12]}, {"ActiveApps", deflated("[" + strings.Repeat(" ", maxActiveApps) + "]")},
		{"Announcement", `{}`}, {"Announcement", `{"id":"a.b"}`}, {"NodeHandles", `{"node_id":">"}`},
		{"Provision", `{}`}, {"Unprovision", `{"name":""}`}, {"Unprovision", `{"name":".."}`}, {"Bind", `{"name":"a/b"}`}, {"Restore", `{"instance_id":"a\u0000"}`},
		{"Orphans", `{"orphan_ins_list":["redis-1","../redis-2"]}`}, {"ServiceHandle", `{}`}, {"UpdatedHandles", `[{}]`},
		{"InstanceHandles", `{}`}, {"InstanceHandles", `[]`}, {"InstanceHandles", `[{"service_id":"a"},[{}]]`}, {"InstanceHandles", `[{},[]]`},
	} {
		if v, _, err := decodeKind(t, e.kind)([]byte(e.text)); err == nil {
			t.Errorf("%s %s was accepted: %+v", e.kind, e.text, v)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	if n, ok := AppID("42").Number(); n != 42 || !ok || n.ID() != "42" {
		t.Errorf("%d, %v", n, ok)
	}
	if _, ok := AppID("9f8c-1").Number(); ok {
		t.Error("an id of another cloud is a number")
	}
	now := time.Unix(1351934045, 999)
	if At(now) != 1351934045 || !At(now).Time().Equal(time.Unix(1351934045, 0)) {
		t.Errorf("%d", At(now))
	}
	if !(Beat{}).OfPartition("default") || (Beat{Partition: "x"}).OfPartition("default") || !(Exited{Partition: "x"}).OfPartition("x") {
		t.Error("partitions")
	}
}

// noID is an id that was absent: read as none, and nothing that a component sends.
var noID = regexp.MustCompile(`"(droplet|app)":""`)

// What is accepted once is accepted again, and written the same.
func FuzzDecode(f *testing.F) {
	for _, e := range examples {
		for i, k := range kinds {
			if k.name == e.kind {
				f.Add(uint8(i), []byte(e.text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, data []byte) {
		k := kinds[int(n)%len(kinds)]
		_, once, err := k.decode(data)
		if err != nil || noID.Match(once) {
			return
		}
		_, twice, err := k.decode(once)
		if err != nil || string(once) != string(twice) {
			t.Errorf("%s %s was written as %s, then as %s: %v", k.name, data, once, twice, err)
		}
	})
}
