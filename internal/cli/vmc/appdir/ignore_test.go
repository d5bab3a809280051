package appdir

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestIgnoreFilesOverride(t *testing.T) {
	all := map[string]string{"a.txt": "", "b.txt": "", "sub/a.txt": "", "sub/b.txt": "", "sub/deep/a.txt": "", "keep.log": ""}
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"git's", map[string]string{".gitignore": "a.txt\n!keep.log"}, "b.txt keep.log sub/b.txt"},
		{"cf's before git's", map[string]string{".gitignore": "*.txt", ".cfignore": "!b.txt"}, "b.txt sub/b.txt"},
		{"vmc's before cf's", map[string]string{".cfignore": "a.txt", ".vmcignore": "!/sub/a.txt"}, "b.txt sub/a.txt sub/b.txt"},
		{"the deeper one", map[string]string{".gitignore": "*.txt", "sub/.gitignore": "!a.txt", "sub/deep/.gitignore": "a.txt"}, "sub/a.txt"},
		{"a kind before a depth", map[string]string{".vmcignore": "a.txt", "sub/.gitignore": "!a.txt"}, "b.txt sub/b.txt"},
		{"bound to its folder", map[string]string{"sub/.cfignore": "/a.txt\n/sub/b.txt"}, "a.txt b.txt sub/b.txt sub/deep/a.txt"},
		{"no way back into a folder", map[string]string{".gitignore": "sub/", "sub/.vmcignore": "!b.txt"}, "a.txt b.txt"},
		{"a folder of that name", map[string]string{".gitignore/": ""}, "a.txt b.txt sub/a.txt sub/b.txt sub/deep/a.txt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{}
			for _, m := range []map[string]string{all, tc.files} {
				for name, text := range m {
					files[name] = text
				}
			}
			got := slices.DeleteFunc(paths(t, tree(t, files)), func(s string) bool { return strings.HasSuffix(s, "ignore") })
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestIgnoreFileTooLong(t *testing.T) {
	d := tree(t, map[string]string{"a": "", ".gitignore": strings.Repeat("x\n", maxIgnore/2+1)})
	if _, err := d.Files(); err == nil || !strings.Contains(err.Error(), ".gitignore is longer than") {
		t.Errorf("got %v", err)
	}
}

// gitKeeps are the files that git does not ignore, the built-in patterns included.
func gitKeeps(t *testing.T, d *Dir, files []string) []string {
	t.Helper()
	git := func(stdin string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", d.Root, "-c", "core.excludesFile=/dev/null", "-c", "core.ignoreCase=false"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+t.TempDir())
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: nothing is ignored
			t.Fatalf("git %q: %v", args, err)
		}
		return string(out)
	}
	git("", "init", "-q")
	if err := os.WriteFile(filepath.Join(d.Root, ".git", "info", "exclude"), []byte("*~\n\\#*#\n*.log\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ignored := strings.Split(git(strings.Join(files, "\x00")+"\x00", "check-ignore", "--no-index", "-z", "--stdin"), "\x00")
	return slices.DeleteFunc(slices.Clone(files), func(f string) bool { return slices.Contains(ignored, f) })
}

// odd is a pattern whose two stars git takes for folders though they follow a letter,
// against its own manual, since it compares the letters before the first wildcard apart.
var odd = regexp.MustCompile(`^!?[^*?\[\\]*[^*?\[\\/!]\*\*`)

// Of random trees with random ignore files, what git would ignore is left out, and
// nothing else.
func TestIgnoresAsGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed: apt-get install git")
	}
	names := []string{"a", "b", "ab", "abc", "a b", "b ", "é", "#a", "!b", "[a]", "x.log", "x.js", "y-z", ".env", "a~", `b\c`, "]", "A1"}
	pieces := []string{
		"a", "b", "ab", "c", "é", " ", "  ", "*", "**", "?", "/", "/", "/**/", "**/", "/**", "[ab]", "[!a]", "[^b-z]", "[]a]", "[[:alpha:]]",
		"[[:punct:]]", "[a-", "[[:x:]]", `\#`, `\*`, `\`, `\ `, ".log", "x", ".js", "#", "!", "-", "[--z]", "[z-a]", "\r", "\t",
	}
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		pick := func(from []string) string { return from[rnd.IntN(len(from))] }
		texts := map[string]string{}
		for range 40 {
			path := pick(names)
			for range rnd.IntN(3) {
				path += "/" + pick(names)
			}
			texts[path] = ""
		}
		folders := []string{"", "a/", "b/"}
		for _, folder := range folders[:1+rnd.IntN(3)] {
			text := ""
			for range 1 + rnd.IntN(6) {
				line := ""
				if rnd.IntN(4) == 0 {
					line = "!"
				}
				for range 1 + rnd.IntN(5) {
					line += pick(pieces)
				}
				if !odd.MatchString(line) {
					text += line + "\n"
				}
			}
			texts[folder+".gitignore"] = text
		}
		compareWithGit(t, seed, texts)
	}
}

func compareWithGit(t *testing.T, seed uint64, texts map[string]string) {
	t.Helper()
	for name := range texts { // a name that is also a folder is a folder
		for other := range texts {
			if strings.HasPrefix(other, name+"/") {
				delete(texts, name)
			}
		}
	}
	d := tree(t, texts)
	var files []string
	err := fs.WalkDir(os.DirFS(d.Root), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, want := paths(t, d), gitKeeps(t, d, files)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		only := func(a, b []string) []string {
			return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
		}
		t.Errorf("seed %d: only ours %q, only git's %q", seed, only(got, want), only(want, got))
		for name, text := range texts {
			if text != "" {
				t.Logf("%s: %q", name, text)
			}
		}
	}
}

// Whatever an ignore file holds, it is read in linear time, and a last line decides.
func FuzzIgnore(f *testing.F) {
	f.Add("*.log\n!keep.log\n/a/**/b/", "a/x/b/keep.log")
	f.Add("[[:alpha:]-z]*\\ \\", "a ")
	f.Add("a**/b\n***\n[!]a]\n[a-\\]]", "x/b]")
	f.Add("\xff?[\x80-\xff]", "\xff\xfe\xfd")
	f.Fuzz(func(t *testing.T, text, name string) {
		if name = strings.Trim(filepath.ToSlash(filepath.Clean("/"+name)), "/"); name == "" {
			return
		}
		file := ignorer{rules: []map[string][]rule{{".": parseIgnore(text)}}}
		ignored := file.ignores(name, false)
		if ignored && !file.ignores(name, true) && !strings.Contains(text, "/") {
			t.Errorf("%q ignores the file %q, and not the folder", text, name)
		}
		kept := ignorer{rules: []map[string][]rule{{".": parseIgnore(text + "\n!**")}}}
		if kept.ignores(name, false) != (filepath.Base(name) == ".git") {
			t.Errorf("%q still ignores %q", text, name)
		}
	})
}
