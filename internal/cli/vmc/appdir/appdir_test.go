package appdir

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree makes a folder: names that end in a slash are folders, texts that begin with
// "-> " links.
func tree(t testing.TB, files map[string]string) *Dir {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, link := strings.CutPrefix(text, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case link:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &Dir{Root: root}
}

func offerAll(string, string) bool { return true }

func offerOnly(names ...string) Offers {
	return func(framework, runtime string) bool {
		if runtime != "" {
			framework += "/" + runtime
		}
		return slices.Contains(names, framework)
	}
}

func TestDetect(t *testing.T) {
	zipped := func(names ...string) string { return string(zipText(t, names)) }
	for _, tc := range []struct {
		name   string
		files  map[string]string
		offers Offers
		want   string // framework, runtime, command, archive, sure
	}{
		{"rails", map[string]string{"config/environment.rb": "", "config.ru": "", "app.js": ""}, offerAll, "rails3 sure"},
		{"rack", map[string]string{"config.ru": "", "x.rb": "require 'sinatra'"}, offerAll, "rack sure"},
		{"rack not offered", map[string]string{"config.ru": "", "x.rb": "require 'sinatra'"}, offerOnly("sinatra"), "sinatra sure"},
		{"war", map[string]string{"a.war": zipped("WEB-INF/web.xml")}, offerAll, "java_web a.war sure"},
		{"grails", map[string]string{"a.war": zipped("WEB-INF/lib/grails-web-1.3.jar", "WEB-INF/lib/spring-core-3.jar")}, offerAll, "grails a.war sure"},
		{"lift", map[string]string{"a.war": zipped("WEB-INF/lib/lift-webkit_2.8.jar")}, offerAll, "lift a.war sure"},
		{"spring by jar", map[string]string{"a.war": zipped("WEB-INF/lib/spring-core-3.0.jar")}, offerAll, "spring a.war sure"},
		{"spring by class", map[string]string{"a.war": zipped("WEB-INF/classes/org/springframework/A.class")}, offerAll, "spring a.war sure"},
		{"exploded", map[string]string{"WEB-INF/web.xml": "", "WEB-INF/lib/org.springframework.core-3.jar": ""}, offerAll, "spring sure"},
		{"broken war", map[string]string{"a.war": "no zip"}, offerAll, "java_web a.war sure"},
		{"sinatra", map[string]string{"a.rb": "# x\n  require \"sinatra/base\"\n"}, offerAll, "sinatra sure"},
		{"other ruby ends the chain", map[string]string{"a.rb": "puts 1 # require 'sinatra'", "app.js": "", "index.html": ""}, offerAll, "standalone"},
		{"php", map[string]string{"index.php": "", "index.html": ""}, offerAll, "php sure"},
		{"erlang", map[string]string{"releases/1/a.rel": "", "releases/1/a.boot": ""}, offerAll, "otp_rebar sure"},
		{"django", map[string]string{"manage.py": "", "settings.py": "", "wsgi.py": ""}, offerAll, "django sure"},
		{"wsgi", map[string]string{"wsgi.py": ""}, offerAll, "wsgi sure"},
		{"dotnet", map[string]string{"web.config": ""}, offerAll, "dotNet sure"},
		{"node", map[string]string{"main.js": "", "index.html": "", "Procfile": "web: x"}, offerAll, "node sure"},
		{"play", map[string]string{"dist.zip": zipped("app/lib/play.core_2.9.jar")}, offerAll, "play dist.zip sure"},
		{"only a zip", map[string]string{"dist.zip": zipped("run.sh")}, offerAll, "standalone dist.zip"},
		{"a zip beside others", map[string]string{"dist.zip": zipped("run.sh"), "x": ""}, offerAll, "standalone"},
		{"procfile", map[string]string{"Procfile": "web: ./run\n", "index.html": ""}, offerAll, "standalone ./run sure"},
		{"static", map[string]string{"index.html": ""}, offerAll, "standalone static sure"},
		{"static not offered", map[string]string{"index.html": ""}, offerOnly("standalone"), "standalone"},
		{"node not offered", map[string]string{"app.js": ""}, offerOnly("standalone", "standalone/static"), "standalone"},
		{"nothing offered", map[string]string{"app.js": ""}, offerOnly("php"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := tree(t, tc.files).Detect(tc.offers)
			got := strings.Join(slices.DeleteFunc([]string{k.Framework, k.Runtime, k.Command, k.Archive}, func(s string) bool { return s == "" }), " ")
			if k.Sure {
				got += " sure"
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if k.Framework != "" && (k.Name == "" || k.Memory == 0) {
				t.Errorf("incomplete: %+v", k)
			}
		})
	}
}

func TestDetectInFolderWithOddName(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a[b*")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a.php"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if k := (&Dir{Root: root}).Detect(offerAll); k.Framework != "php" {
		t.Errorf("detected %+v", k)
	}
}

func TestProcfile(t *testing.T) {
	got := ParseProcfile("# a comment\r\nweb:  node server.js  \r\n\nworker: ./w\nweb: second\nno process\nx:\n: y\n")
	if len(got) != 2 || got["web"] != "node server.js" || got["worker"] != "./w" {
		t.Errorf("got %q", got)
	}
}

func FuzzParseProcfile(f *testing.F) {
	f.Add("web: a\nworker: b")
	f.Fuzz(func(t *testing.T, text string) {
		var b strings.Builder
		processes := ParseProcfile(text)
		for name, command := range processes {
			fmt.Fprintf(&b, "%s: %s\n", name, command)
		}
		again := ParseProcfile(b.String())
		for name, command := range processes {
			if again[name] != command {
				t.Errorf("%s: %q became %q", name, command, again[name])
			}
		}
	})
}

func paths(t *testing.T, d *Dir) []string {
	t.Helper()
	files, err := d.Files()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range files {
		if !f.Mode.IsDir() {
			names = append(names, f.Path)
		}
	}
	return names
}

func TestFilesLeavesOut(t *testing.T) {
	d := tree(t, map[string]string{
		".git/config": "", "sub/.git/x": "", ".gitignore": "", "a~": "", "#a#": "", "a.log": "", "log/keep.txt": "", "log/b.log": "",
		"a.js": "", ".env": "", "a#b": "",
	})
	want := []string{".env", ".gitignore", "a#b", "a.js", "log/keep.txt"}
	if got := paths(t, d); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVmcignore(t *testing.T) {
	all := map[string]string{"node_modules/a/b.js": "", "sub/node_modules/c.js": "", "tmp/x": "", "sub/tmp/y": "", "doc/a.md": "", "doc/b.txt": "", "keep.log": "", "other.log": ""}
	for _, tc := range []struct{ ignore, want string }{
		{"", "doc/a.md doc/b.txt node_modules/a/b.js sub/node_modules/c.js sub/tmp/y tmp/x"},
		{"node_modules", "doc/a.md doc/b.txt sub/tmp/y tmp/x"},
		{"/tmp/", "doc/a.md doc/b.txt node_modules/a/b.js sub/node_modules/c.js sub/tmp/y"},
		{"tmp\nnode_modules/", "doc/a.md doc/b.txt"},
		{"*\n!doc\n!doc/*.md", "doc/a.md"},
		{"# comment\n\n  \n/**/*.js\n!keep.log", "doc/a.md doc/b.txt keep.log sub/tmp/y tmp/x"},
		{"doc/*.md\r\nsub/**", "doc/b.txt node_modules/a/b.js tmp/x"},
		{"[", "doc/a.md doc/b.txt node_modules/a/b.js sub/node_modules/c.js sub/tmp/y tmp/x"},
	} {
		d := tree(t, all)
		if err := os.WriteFile(filepath.Join(d.Root, ".vmcignore"), []byte(tc.ignore), 0o644); err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(paths(t, d), func(s string) bool { return s == ".vmcignore" })
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%q: got %q, want %q", tc.ignore, got, tc.want)
		}
	}
}

func TestLinks(t *testing.T) {
	d := tree(t, map[string]string{"a/b/file": "x", "in": "-> a/b/file", "a/up": "-> ../in", "a/folder": "-> b", "dangling": "-> a/nothing"})
	want := []string{"a/b/file", "a/folder", "a/up", "dangling", "in"}
	if got := paths(t, d); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, files := range map[string]map[string]string{
		"up":        {"l": "-> ../x"},
		"deep up":   {"a/b/l": "-> ../../../x"},
		"absolute":  {"l": "-> /etc/passwd"},
		"parent":    {"l": "-> .."},
		"in detour": {"a/b/": "", "a/b/l": "-> ../..", "m": "-> a/b/l/../secret"},
	} {
		t.Run(name, func(t *testing.T) {
			d := tree(t, files)
			if err := os.WriteFile(filepath.Join(filepath.Dir(d.Root), "secret"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if files, err := d.Files(); !errors.Is(err, ErrOutside) {
				t.Errorf("%+v, %v", files, err)
			}
		})
	}
}

// A link is no reason to refuse an app that lies behind one.
func TestRootBehindLink(t *testing.T) {
	d := tree(t, map[string]string{"a": "x", "b": "-> a"})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(d.Root, link); err != nil {
		t.Fatal(err)
	}
	if got := paths(t, &Dir{Root: link}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
}

// randomTree makes files, folders, links and modes.
func randomTree(t *testing.T, rnd *rand.Rand) *Dir {
	files := map[string]string{}
	for i := range 30 {
		name := fmt.Sprintf("d%d/e%d/f%d", rnd.IntN(3), rnd.IntN(3), i)
		switch rnd.IntN(5) {
		case 0:
			files[name+"/"] = ""
		case 1:
			files[name] = "-> ../e0"
		default:
			files[name] = strings.Repeat("text", rnd.IntN(5000))
		}
	}
	d := tree(t, files)
	for name, text := range files {
		if text != "" && !strings.HasPrefix(text, "-> ") && rnd.IntN(3) == 0 {
			if err := os.Chmod(filepath.Join(d.Root, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return d
}

// What is packed once unpacks to the same tree.
func TestPackRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		d := randomTree(t, rand.New(rand.NewPCG(seed, 1)))
		archive := filepath.Join(t.TempDir(), "app.zip")
		pack(t, d, archive)
		opened, err := Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		if got, want := describe(t, opened), describe(t, d); !slices.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func pack(t *testing.T, d *Dir, archive string) {
	t.Helper()
	files, err := d.Files()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.Pack(t.Context(), f, files, func(int64) {}); err != nil {
		t.Fatal(err)
	}
}

func describe(t *testing.T, d *Dir) []string {
	t.Helper()
	files, err := d.Files()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range files {
		line := fmt.Sprintf("%s %v %s", f.Path, f.Mode, f.Link)
		if f.Mode.IsRegular() {
			sum, err := d.Fingerprint(f)
			if err != nil {
				t.Fatal(err)
			}
			line += sum
		}
		lines = append(lines, line)
	}
	return lines
}

func TestPackNothing(t *testing.T) {
	var b bytes.Buffer
	if err := (&Dir{}).Pack(t.Context(), &b, nil, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(z.File) != 1 || z.File[0].Name != ".__empty__" {
		t.Errorf("%v, %v", z, err)
	}
}

func TestOpenFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(name, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(t, d); len(got) != 1 || !strings.HasPrefix(got[0], "prog -rwxr-xr-x") {
		t.Errorf("got %q", got)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
	if _, err := Open(name + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// zipText is an archive with these names, of one byte each.
func zipText(t testing.TB, names []string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, n := range names {
		w, err := z.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(n, "/") {
			if _, err := w.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Nothing that an archive names is written outside of the folder it is unpacked to.
func FuzzUnzipStaysInside(f *testing.F) {
	f.Add("../evil")
	f.Add("a/../../evil")
	f.Add("/evil")
	f.Add("ok/x")
	f.Fuzz(func(t *testing.T, name string) {
		outer := t.TempDir()
		folder, archive := filepath.Join(outer, "in"), filepath.Join(t.TempDir(), "a.zip")
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(archive, zipText(t, []string{name}), 0o644); err != nil {
			t.Fatal(err)
		}
		err := unzip(archive, folder)
		left, readErr := os.ReadDir(outer)
		if readErr != nil || len(left) != 1 {
			t.Errorf("%q (%v) wrote outside: %v, %v", name, err, left, readErr)
		}
	})
}

func TestCheckNothing(t *testing.T) {
	for text, want := range map[string]error{"x.log": ErrNothing, "sub/": ErrNothing, "x": nil} {
		if err := tree(t, map[string]string{text: ""}).Check(); !errors.Is(err, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
