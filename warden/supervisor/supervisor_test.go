//go:build unix

package supervisor

import (
	"go/parser"
	"go/token"
	"math"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// TestImports: a supervisor is small because this package needs nothing whose
// initialisation would have to run before its own.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if p := imp.Path.Value; p != `"syscall"` && p != `"unsafe"` {
				t.Errorf("%s imports %s", name, p)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, n := range []int64{0, 1, -1, 10, 1234567890, math.MaxInt64, math.MinInt64} {
		if got := itoa(n); got != strconv.FormatInt(n, 10) {
			t.Errorf("itoa(%d) = %s", n, got)
		}
	}
	for s, want := range map[string]int{"0": 0, "1": 1, "4194304": 4194304} {
		if got, ok := atoi(s); got != want || !ok {
			t.Errorf("atoi(%q) = %d, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-1", "1a", "self", "99999999999"} {
		if got, ok := atoi(s); ok {
			t.Errorf("atoi(%q) = %d", s, got)
		}
	}
}

func TestSplit(t *testing.T) {
	for s, want := range map[string][]string{"": nil, "a": {"a"}, "a:b": {"a", "b"}, "a::b": {"a", "", "b"}, ":a": {"", "a"}} {
		if got := split(s, ':'); !reflect.DeepEqual(got, want) {
			t.Errorf("split(%q) = %q", s, got)
		}
	}
}

func TestLookup(t *testing.T) {
	env := []string{"A=1", "PATH=/a", "PATHS=/b", "PATH=/c", "broken"}
	if got := lookup(env, "PATH"); got != "/c" {
		t.Errorf("PATH is %q", got)
	}
	if got := lookup(env, "B"); got != "" {
		t.Errorf("B is %q", got)
	}
}
