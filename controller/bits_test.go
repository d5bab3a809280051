package controller_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloudlet/controller"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// descriptor is one entry of a list of resources.
func descriptor(fn, content string) string {
	sum := sha1.Sum([]byte(content))
	return fmt.Sprintf(`{"fn":%q,"size":%d,"sha1":%q}`, fn, len(content), hex.EncodeToString(sum[:]))
}

// withApp is a cloud in which alice has an app without bits.
func withApp(t testing.TB, edit func(*controller.Config)) *cloud {
	t.Helper()
	c := start(t, edit)
	c.ok(alice, "POST", "/apps", create)
	return c
}

// packaging is fault 402 with its argument.
func packaging(text, hint string) fault {
	return fault{500, 402, "App packaging failed: '" + text + "'", hint}
}

func listing(hint string) fault { return packaging("Failed listing application archive", hint) }
func unsafe(hint string) fault  { return packaging("Failed unzipping application", hint) }
func tooLarge(max string) fault {
	return packaging("Application exceeds maximum allowed size ("+max+"MB)", ".vmcignore")
}
func noSource(hint string) fault { return packaging("Failed synchronizing resource pool", hint) }

// Every way in which a client has ever sent an app's bits.
func TestUploadForms(t *testing.T) {
	t.Parallel()
	zipped := pack(t, "app.js", "hello", "lib/", "", "lib/a.js", "a")
	const want = "-rw-r--r-- app.js=hello\ndrwxr-xr-x lib/=\n-rw-r--r-- lib/a.js=a\n"
	method := part{name: "_method", body: "put"}
	resources := part{name: "resources", body: "[]"}
	application := part{"application", "app.zip", "application/zip", zipped}
	for _, tc := range []struct {
		name, verb string
		parts      []part
	}{
		{"vmc", "POST", []part{method, application, resources}},
		{"vmcjs", "POST", []part{resources, method, application}},
		{"application first", "POST", []part{application, resources, method}},
		{"Java", "POST", []part{{"_method", "", "application/json;charset=UTF-8", "put"}, {"application", "app.zip", "application/octet-stream", zipped},
			{"resources", "", "application/json;charset=UTF-8", "[]"}}},
		{"Java 0.7", "PUT", []part{application, resources}},
		{"text parts with file names", "POST", []part{{"_method", "m", "", "put"}, {"application", "a", "", zipped}, {"resources", "r", "application/json", "[]"}}},
		{"no resources", "PUT", []part{application}},
		{"empty resources", "PUT", []part{application, {name: "resources"}}},
		{"no type and no file name", "PUT", []part{{name: "application", body: zipped}, resources}},
		{"parts of the future", "PUT", []part{{name: "x", body: "y"}, application}},
		{"resources that are in the zip", "PUT", []part{application, {name: "resources", body: "[" + descriptor("app.js", "never uploaded") + "]"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := withApp(t, nil)
			body, kind := form(t, tc.parts...)
			r := c.do(alice, tc.verb, "/apps/hello/application", body, "Content-Type", kind)
			if r.status != 200 || r.body != " " {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if got := c.files(alice, "hello"); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// The pool spares uploads, per owner, and in all orders of what is sent and what is known.
func TestPool(t *testing.T) {
	t.Parallel()
	c := withApp(t, nil)
	c.ok(bob, "POST", "/apps", `{"name":"his","staging":{"framework":"node"}}`)
	c.ok(bob, "POST", "/apps", `{"name":"application","staging":{"framework":"node"}}`)
	if r := c.upload(alice, "hello", pack(t, "secret", "alice's", "b", "bb"), "[]"); r.status != 200 {
		t.Fatal(r)
	}
	known := descriptor("/tmp/.vmc_hello_files/secret", "alice's")
	upper := strings.Replace(strings.ToUpper(descriptor("B", "bb")), `"FN":"B","SIZE":2,"SHA1"`, `"fn":"x/b","more":{"a":[1]},"size":"2","sha1"`, 1)
	wrongSize := strings.Replace(descriptor("b", "bb"), `"size":2`, `"size":3`, 1)
	for _, tc := range []struct{ who, body, want string }{
		{alice, "[" + known + "]", "[" + known + "]"},
		{alice, "[7, null, " + upper + ", \"x\", [], {}, " + wrongSize + "," + descriptor("c", "unknown") + "]", "[" + upper + "]"},
		{alice, "[]", "[]"},
		{alice, `{"fn":"a"}`, "[]"},
		{bob, "[" + known + "]", "[]"},
	} {
		if got := strings.TrimSpace(c.ok(tc.who, "POST", "/resources", tc.body)); got != tc.want {
			t.Errorf("%s knows %s, want %s", tc.who, got, tc.want)
		}
	}
	badRequest("JSON").check(t, c.do(alice, "POST", "/resources", "["))

	noSource("was not uploaded before").check(t, c.upload(bob, "his", pack(t, "a", "a"), "["+descriptor("stolen", "alice's")+"]"))
	fault{404, 301, "Application not found", "nothing was uploaded"}.check(t, c.do(bob, "GET", "/apps/his/application", ""))
	body, kind := form(t, part{name: "_method", body: "delete"})
	c.ok(bob, "POST", "/apps/his", body, "Content-Type", kind)
	noApp().check(t, c.do(bob, "GET", "/apps/his", ""))

	if r := c.upload(alice, "hello", pack(t, "new", "n"), "["+descriptor("dir/s", "alice's")+","+upper+"]"); r.status != 200 {
		t.Fatal(r)
	}
	const want = "drwxr-xr-x dir/=\n-rw-r--r-- dir/s=alice's\n-rw-r--r-- new=n\ndrwxr-xr-x x/=\n-rw-r--r-- x/b=bb\n"
	if got := c.files(alice, "hello"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	urlencoded := url.Values{"_method": {"put"}, "resources": {"[" + descriptor("only", "bb") + "]"}}.Encode()
	c.ok(alice, "POST", "/apps/hello/application", urlencoded, "Content-Type", "application/x-www-form-urlencoded")
	if got := c.files(alice, "hello"); got != "-rw-r--r-- only=bb\n" {
		t.Errorf("without a file: %s", got)
	}
	c.ok(bob, "POST", "/apps/application", `_method=delete`, "Content-Type", "application/x-www-form-urlencoded") // no upload
	noApp().check(t, c.do(bob, "GET", "/apps/application", ""))
}

// The mode of a pooled file is that of its first upload, links and dot files stay.
func TestModesAndLinks(t *testing.T) {
	t.Parallel()
	c := withApp(t, nil)
	const script, target = "#!/bin/sh\n", "bin/run"
	zipped := zipOf(t, entry{name: "bin/run", mode: 0o755, body: script}, entry{name: "link", mode: fs.ModeSymlink | 0o777, body: target},
		entry{name: ".hidden", mode: 0o600, body: "x"}, entry{name: "bin/up", mode: fs.ModeSymlink, body: "../link"}, entry{name: "suid", mode: fs.ModeSetuid | 0o777, body: "s"})
	if r := c.upload(alice, "hello", zipped, "[]"); r.status != 200 {
		t.Fatal(r)
	}
	const want = "-rw------- .hidden=x\ndrwxr-xr-x bin/=\n-rwxr-xr-x bin/run=#!/bin/sh\n\nLrwxrwxrwx bin/up=../link\nLrwxrwxrwx link=bin/run\n-rwxr-xr-x suid=s\n"
	if got := c.files(alice, "hello"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	c.upload(alice, "hello", zipOf(t, entry{name: "copy", mode: 0o644, body: script}), "[]")
	c.upload(alice, "hello", zipOf(t, entry{name: "copy", mode: 0o644, body: script}), "["+descriptor("pooled", script)+"]")
	if got, want := c.files(alice, "hello"), "-rw-r--r-- copy=#!/bin/sh\n\n-rwxr-xr-x pooled=#!/bin/sh\n\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	c.upload(alice, "hello", "", "["+descriptor("again", script)+"]")
	if got, want := c.files(alice, "hello"), "-rwxr-xr-x again=#!/bin/sh\n\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	c.upload(alice, "hello", "", "["+strings.Replace(descriptor("plain", script), "{", `{"mode":"644",`, 1)+"]")
	if got, want := c.files(alice, "hello"), "-rw-r--r-- plain=#!/bin/sh\n\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// entry is an entry of a zip that is made by hand.
type entry struct {
	name string
	mode fs.FileMode
	body string
}

func zipOf(t testing.TB, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, e.body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func link(name, to string) entry { return entry{name, fs.ModeSymlink | 0o777, to} }
func file(name string) entry     { return entry{name, 0o644, "x"} }

// Archives that are damaged, hostile or both leave the old package as it was.
func TestBadArchives(t *testing.T) {
	t.Parallel()
	c := withApp(t, func(cfg *controller.Config) { cfg.MaxUpload = 4 << 20 })
	good := pack(t, "app.js", "hello")
	if r := c.upload(alice, "hello", good, "[]"); r.status != 200 {
		t.Fatal(r)
	}
	flipped := []byte(pack(t, "a", noise(1000)))
	flipped[40] ^= 0xff
	for _, tc := range []struct {
		name, zip, resources string
		want                 fault
	}{
		{"no zip", "hello", "[]", listing("no complete zip archive")},
		{"empty", "", "[]", fault{}},
		{"truncated", good[:len(good)-10], "[]", listing("no complete zip archive")},
		{"without its beginning", good[20:], "[]", listing("no complete zip archive")},
		{"damaged", string(flipped), "[]", listing(`"a" is damaged`)},
		{"wrong checksum", strings.Replace(zipOf(t, file("a")), "ax", "ay", 1), "[]", listing(`"a" is damaged`)},
		{"encrypted", setFlag(good, 1), "[]", unsafe(`"app.js" is encrypted`)},
		{"unknown compression", setMethod(good, 99), "[]", listing("unsupported compression")},
		{"declared size lies", lie(t, 100), "[]", listing("is damaged")},
		{"expands without end", bomb(t, 64<<20, 1), "[]", tooLarge("4.19")},
		{"expands together", bomb(t, 1<<20, 5), "[]", tooLarge("4.19")},
		{"too large as it comes", noise(5 << 20), "[]", tooLarge("4.19")},
		{"absolute path", zipOf(t, file("/etc/passwd")), "[]", unsafe("leads out of the application")},
		{"above", zipOf(t, file("../x")), "[]", unsafe("leads out of the application")},
		{"above and back", zipOf(t, file("a/../../hello/x")), "[]", unsafe("leads out of the application")},
		{"dots inside", zipOf(t, file("a/../b")), "[]", unsafe("leads out of the application")},
		{"dots at the end", zipOf(t, file("a/..")), "[]", unsafe("leads out of the application")},
		{"backslashes", zipOf(t, file(`..\x`)), "[]", unsafe("no file name should have")},
		{"zero byte", zipOf(t, file("a\x00b")), "[]", unsafe("no file name should have")},
		{"no UTF-8", zipOf(t, file("a\xff")), "[]", unsafe("no file name should have")},
		{"a long path", zipOf(t, file(strings.Repeat("a", 1025))), "[]", unsafe("too long or too deep")},
		{"a deep path", zipOf(t, file(strings.Repeat("a/", 65)+"b")), "[]", unsafe("too long or too deep")},
		{"a device", zipOf(t, entry{"null", fs.ModeDevice | 0o666, ""}), "[]", unsafe("neither file, folder nor link")},
		{"link to an absolute path", zipOf(t, link("a", "/etc")), "[]", unsafe("the link \"a\" leads out")},
		{"link above", zipOf(t, link("a/b", "../../x")), "[]", unsafe("leads out")},
		{"link with dots after a component", zipOf(t, link("a", "b/../..")), "[]", unsafe("leads out")},
		{"link with dots after a dot", zipOf(t, link("a", "./..")), "[]", unsafe("leads out")},
		{"link with doubled slashes", zipOf(t, link("a", "..//..")), "[]", unsafe("leads out")},
		{"link through a link", zipOf(t, link("d/up", "../d"), link("e", "d/up/../../x")), "[]", unsafe("leads out")},
		{"empty link", zipOf(t, link("a", "")), "[]", unsafe("leads out")},
		{"long link", zipOf(t, link("a", strings.Repeat("b", 2000))), "[]", unsafe("leads out")},
		{"file below a link", zipOf(t, link("a", "."), file("a/b")), "[]", unsafe("below something that is no folder")},
		{"link in place of a folder", zipOf(t, file("a/b"), link("a", ".")), "[]", unsafe("both a file and a folder")},
		{"file below a file", zipOf(t, file("a"), file("a/b")), "[]", unsafe("below something that is no folder")},
		{"folder in place of a file", zipOf(t, file("a"), entry{"a/", fs.ModeDir | 0o755, ""}), "[]", unsafe("both a file and a folder")},
		{"descriptor below a link", zipOf(t, link("a", "b")), "[" + descriptor("a/x", "hello") + "]", noSource("below something that is no folder")},
		{"descriptor not in the pool", good, "[" + descriptor("x", "never seen") + "]", noSource(`"x" was not uploaded before`)},
		{"descriptor of another size", good, `[{"fn":"x","size":6,"sha1":"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"}]`, noSource(`"x" was not uploaded before`)},
		{"descriptor escapes", good, "[" + descriptor("../x", "hello") + "]", noSource("leads out of the application")},
		{"descriptor is absolute", good, "[" + descriptor("/x", "hello") + "]", noSource("leads out of the application")},
		{"descriptor without a name", good, "[" + descriptor("", "hello") + "]", noSource("is empty")},
		{"descriptor of the root", good, "[" + descriptor("./", "hello") + "]", noSource("is no file")},
		{"null in the list", good, "[null]", noSource("is empty")},
		{"no list", good, "{}", badRequest("no list of files")},
		{"no JSON", good, "[", badRequest("no list of files")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want.status == 0 { // a part without content
				body, kind := form(t, part{"application", "app.zip", "", ""})
				listing("").check(t, c.do(alice, "PUT", "/apps/hello/application", body, "Content-Type", kind))
				return
			}
			tc.want.check(t, c.upload(alice, "hello", tc.zip, tc.resources))
			if got := c.files(alice, "hello"); got != "-rw-r--r-- app.js=hello\n" {
				t.Errorf("the package became\n%s", got)
			}
		})
	}
	c.nothingLeft()
}

// nothingLeft fails the test while temporary files lie about.
func (c *cloud) nothingLeft() {
	c.t.Helper()
	f, err := c.st.Blobs.TempFile()
	if err != nil {
		c.t.Fatal(err)
	}
	f.Close()
	os.Remove(f.Name())
	testkit.Eventually(c.t, func() error {
		left, err := os.ReadDir(filepath.Dir(f.Name()))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d temporary files, one is %s", len(left), left[0].Name())
		}
		return err
	})
}

// Archives that look odd and are fine.
func TestOddArchives(t *testing.T) {
	t.Parallel()
	c := withApp(t, nil)
	for _, tc := range []struct{ name, zip, want string }{
		{"nothing in it", zipOf(t), ""},
		{"the same name twice: the last one counts", zipOf(t, file("a"), entry{"a", 0o644, "last"}), "-rw-r--r-- a=last\n"},
		{"a folder twice", zipOf(t, entry{"d/", fs.ModeDir | 0o700, ""}, entry{"d/", fs.ModeDir | 0o700, ""}), "drwxr-xr-x d/=\n"},
		{"the root itself", zipOf(t, entry{"./", fs.ModeDir | 0o755, ""}, file("./a")), "-rw-r--r-- a=x\n"},
		{"doubled slashes", zipOf(t, file("a//b")), "drwxr-xr-x a/=\n-rw-r--r-- a/b=x\n"},
		{"a dangling link", zipOf(t, link("a", "nowhere")), "Lrwxrwxrwx a=nowhere\n"},
		{"a link to the root", zipOf(t, link("d/a", "..")), "drwxr-xr-x d/=\nLrwxrwxrwx d/a=..\n"},
		{"a name with dots", zipOf(t, file("..a/b..")), "drwxr-xr-x ..a/=\n-rw-r--r-- ..a/b..=x\n"},
		{"something before it", "#!/bin/sh\n" + zipOf(t, file("a")), "-rw-r--r-- a=x\n"},
		{"zip64", zip64(t), "-rw-r--r-- a=x\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if r := c.upload(alice, "hello", tc.zip, "[]"); r.status != 200 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if got := c.files(alice, "hello"); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

// setFlag and setMethod change all headers of a zip, local and central.
func setFlag(zipped string, flag uint16) string     { return setHeaders(zipped, 6, 8, flag) }
func setMethod(zipped string, method uint16) string { return setHeaders(zipped, 8, 10, method) }

func setHeaders(zipped string, local, central int, v uint16) string {
	b := []byte(zipped)
	for i := range len(b) - 4 {
		switch string(b[i : i+4]) {
		case "PK\x03\x04":
			b[i+local] |= byte(v)
		case "PK\x01\x02":
			b[i+central] |= byte(v)
		}
	}
	return string(b)
}

// lie is a zip whose entry is longer than its header says.
func lie(t testing.TB, declared uint64) string {
	t.Helper()
	content := strings.Repeat("x", 10_000)
	return rawZip(t, content, func(h *zip.FileHeader) { h.UncompressedSize64 = declared })
}

// bomb is a zip of n entries, of as many zero bytes each.
func bomb(t testing.TB, size, n int) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range n {
		f, err := w.Create(fmt.Sprint("zeros", i))
		if err == nil {
			_, err = io.CopyN(f, zeros{}, int64(size))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// noise does not compress.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return string(b)
}

// rawZip holds one deflated entry whose header edit may falsify.
func rawZip(t testing.TB, content string, edit func(*zip.FileHeader)) string {
	t.Helper()
	var packed, b bytes.Buffer
	d, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(d, content)
	d.Close()
	h := &zip.FileHeader{
		Name: "a", Method: zip.Deflate, CRC32: crc32.ChecksumIEEE([]byte(content)),
		CompressedSize64: uint64(packed.Len()), UncompressedSize64: uint64(len(content)),
	}
	h.SetMode(0o644)
	edit(h)
	w := zip.NewWriter(&b)
	f, err := w.CreateRaw(h)
	if err == nil {
		_, err = f.Write(packed.Bytes())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// zip64 is a small zip with the end records of a large one.
func zip64(t testing.TB) string {
	z := []byte(zipOf(t, file("a")))
	end := bytes.LastIndex(z, []byte("PK\x05\x06"))
	size, offset := binary.LittleEndian.Uint32(z[end+12:]), binary.LittleEndian.Uint32(z[end+16:])
	le := binary.LittleEndian
	record := le.AppendUint64([]byte("PK\x06\x06"), 44)
	record = le.AppendUint32(append(record, 45, 0, 45, 0), 0)
	record = le.AppendUint32(record, 0)
	record = le.AppendUint64(le.AppendUint64(record, 1), 1)
	record = le.AppendUint64(le.AppendUint64(record, uint64(size)), uint64(offset))
	locator := le.AppendUint64(le.AppendUint32([]byte("PK\x06\x07"), 0), uint64(end))
	locator = le.AppendUint32(locator, 1)
	tail := bytes.Repeat([]byte{0xff}, 22)
	copy(tail, "PK\x05\x06\x00\x00\x00\x00")
	tail[20], tail[21] = 0, 0
	return string(bytes.Join([][]byte{z[:end], record, locator, tail}, nil))
}

// directoryOnly is a zip that is nothing but a table of contents of n empty entries.
func directoryOnly(n int) string {
	le := binary.LittleEndian
	var b bytes.Buffer
	for i := range n {
		name := fmt.Sprintf("%07x", i)
		h := make([]byte, 46, 64)
		copy(h, "PK\x01\x02")
		le.PutUint16(h[28:], uint16(len(name)))
		b.Write(append(h, name...))
	}
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	le.PutUint16(end[8:], uint16(n))
	le.PutUint16(end[10:], uint16(n))
	le.PutUint32(end[12:], uint32(b.Len()))
	b.Write(end)
	return b.String()
}

// A million entries are refused before they are in memory. Not parallel: it counts what
// the whole process takes.
func TestMillionEntries(t *testing.T) {
	c := withApp(t, nil)
	for _, tc := range []struct {
		name string
		n    int
		want fault
	}{
		{"just too many", 100_001, tooLarge("536.87")},
		{"a million", 1_000_000, tooLarge("536.87")},
	} {
		body, kind := form(t, part{"application", "app.zip", "", directoryOnly(tc.n)})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := c.do(alice, "PUT", "/apps/hello/application", body, "Content-Type", kind)
		runtime.ReadMemStats(&after)
		tc.want.check(t, r)
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 40 {
			t.Errorf("%s: %d MB were allocated to refuse %d MB", tc.name, took, len(body)>>20)
		}
	}
	c.nothingLeft()
}

func TestUploadMalformed(t *testing.T) {
	t.Parallel()
	c := withApp(t, nil)
	twice, kind := form(t, part{"application", "a", "", "x"}, part{"application", "b", "", "y"})
	badRequest("two parts").check(t, c.do(alice, "PUT", "/apps/hello/application", twice, "Content-Type", kind))
	badRequest("ended early").check(t, c.do(alice, "PUT", "/apps/hello/application", twice[:len(twice)/2], "Content-Type", kind))
	badRequest("").check(t, c.do(alice, "PUT", "/apps/hello/application", twice, "Content-Type", "multipart/form-data"))
	badRequest("a part named application").check(t, c.do(alice, "PUT", "/apps/hello/application", "{}", "Content-Type", "application/json"))
	badRequest("a part named application").check(t, c.do(alice, "PUT", "/apps/hello/application", ""))
	c.nothingLeft()
}

// A connection that breaks in the middle of an upload leaves the old package, and no file.
func TestUploadCut(t *testing.T) {
	t.Parallel()
	c := withApp(t, nil)
	if r := c.upload(alice, "hello", pack(t, "app.js", "hello"), "[]"); r.status != 200 {
		t.Fatal(r)
	}
	body, kind := form(t, part{"application", "app.zip", "", noise(1 << 20)})
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.ctl.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /apps/hello/application HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", c.tokens[alice], kind, len(body))
	io.WriteString(conn, body[:len(body)/2])
	temp, err := c.st.Blobs.TempFile()
	if err != nil {
		t.Fatal(err)
	}
	temp.Close()
	os.Remove(temp.Name())
	testkit.Eventually(t, func() error { // it is being received
		if n, err := os.ReadDir(filepath.Dir(temp.Name())); err != nil || len(n) == 0 {
			return fmt.Errorf("%d files, %v", len(n), err)
		}
		return nil
	})
	conn.Close()
	c.nothingLeft()
	if got := c.files(alice, "hello"); got != "-rw-r--r-- app.js=hello\n" {
		t.Errorf("the package became\n%s", got)
	}
}

// Who goes silent in the middle of a body is told so and let go, also where nobody reads
// the body.
func TestSilentBodies(t *testing.T) {
	t.Parallel()
	c := withApp(t, nil)
	hasty := controller.New(controller.Config{Domain: "localhost", BodyWindow: 50 * time.Millisecond}, c.bus, c.st, c.id, testkit.Log(t))
	testkit.Run(t, hasty)
	zip, kind := form(t, part{"application", "app.zip", "", noise(64 << 10)})
	const slow = "it came too slowly"
	for _, tc := range []struct {
		name, request, kind, body string
		status                    int
		text                      string
	}{
		{"JSON", "POST /apps", "application/json", `{"name":`, 400, slow},
		{"a form", "POST /apps", "application/x-www-form-urlencoded", "_method=", 400, slow},
		{"an upload", "PUT /apps/hello/application", kind, zip[:len(zip)/2], 400, slow},
		{"an upload that hardly begins", "PUT /apps/hello/application", kind, zip[:5], 400, slow},
		{"what nobody reads", "GET /info", "", "x", 200, "Cloudlet"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(hasty.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			tc.request, c.tokens[alice], tc.kind, len(tc.body)+1000, tc.body)
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		answer, err := io.ReadAll(conn) // until it is closed
		if err != nil || !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", tc.status)) || !strings.Contains(string(answer), tc.text) {
			t.Errorf("%s: %q, %v", tc.name, answer, err)
		}
	}
	c.nothingLeft()
}

// Identical files are one blob, whoever uploads them, and stay while anybody has them.
func TestIdenticalFilesAreStoredOnce(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	zipped := pack(t, "a", "same", "b", "same", "c/d", "same")
	for _, who := range []string{alice, bob} {
		c.ok(who, "POST", "/apps", `{"name":"hello","staging":{"framework":"node"}}`)
		if r := c.upload(who, "hello", zipped, "[]"); r.status != 200 {
			t.Fatal(r)
		}
	}
	sweep := func() int {
		removed, err := c.st.Sweep(-1, func(store.Package) ([]string, error) { return nil, nil })
		if err != nil {
			t.Fatal(err)
		}
		return removed
	}
	c.ok(root, "DELETE", "/users/"+alice, "")
	if n := sweep(); n != 0 {
		t.Errorf("%d blobs went although they are bob's, too", n)
	}
	const files = "-rw-r--r-- a=same\n-rw-r--r-- b=same\ndrwxr-xr-x c/=\n-rw-r--r-- c/d=same\n"
	if got := c.files(bob, "hello"); got != files {
		t.Error(got)
	}
	c.ok(root, "DELETE", "/users/"+bob, "")
	if n := sweep(); n != 2 { // the content and the tree
		t.Errorf("there were %d blobs", n)
	}
}

// What is deleted is swept, what is referred to is not; the pool goes with its owner.
func TestDeletedUserLeavesNothing(t *testing.T) {
	t.Parallel()
	c, _ := pushed(t, nil)
	droplet := c.app(alice, "hello").Droplet.SHA256
	c.ok(root, "DELETE", "/users/"+alice, "")
	c.expect(`dea.stop 1 version="" indices=[] instances=[]`)
	removed, err := c.st.Sweep(-1, func(store.Package) ([]string, error) { return nil, nil })
	if err != nil || removed != 3 { // file, tree and droplet
		t.Errorf("removed %d, %v", removed, err)
	}
	if f, err := c.st.Blobs.Open(droplet); err == nil {
		f.Close()
		t.Error("the droplet is still there")
	}
	if err := c.st.View(func(tx *store.Tx) error {
		if _, ok := tx.PoolFile(alice, "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"); ok {
			t.Error("the pool still holds a file")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
