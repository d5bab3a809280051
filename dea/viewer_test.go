package dea

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A listing has an end, whatever an app has put into its folder.
func TestListingIsBounded(t *testing.T) {
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	list := func() []string {
		w := httptest.NewRecorder()
		serveFile(w, httptest.NewRequest("GET", "/", nil), home, "app/")
		return strings.Split(w.Body.String(), "\n")
	}
	for i := range listMost + 5 {
		if err := os.Symlink("nowhere", filepath.Join(home, "app", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if i == 2 && len(list()) != 3 {
			t.Errorf("3 files are %q", list())
		}
	}
	if l := list(); len(l) != listMost+1 || l[listMost] != "and more, which are not listed" {
		t.Errorf("%d lines, the last of which is %q", len(l), l[len(l)-1])
	}
}
