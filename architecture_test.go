package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// layers are the packages from the bottom up: each may import only those in layers
// below its own. Sub-packages belong to the layer of their parent, if they have none.
var layers = [][]string{
	{"warden/supervisor"},
	{"internal/lifecycle", "internal/runtimes", "internal/operator"},
	{"bus", "store", "warden", "controller/api"},
	{"internal/identity", "internal/component"},
	{"controller", "dea", "healthmgr", "router", "stager", "uaa"},
	{"stager/frameworks"},
	{"internal/cli/vmc/appdir", "internal/cli/vmc/manifest"},
	{"internal/cli/vmc"},
	{"internal/cli"},
	{""}, // main
}

// only says who may import a library that one package stands for.
var only = map[string]*regexp.Regexp{
	"github.com/nats-io/":           regexp.MustCompile(`^bus$`),
	"go.etcd.io/bbolt":              regexp.MustCompile(`^store$`),
	"github.com/containerd/cgroups": regexp.MustCompile(`^warden$`),
	"github.com/coreos/go-systemd":  regexp.MustCompile(`^warden$`),
	"github.com/vishvananda/":       regexp.MustCompile(`^warden(/wardentest)?$`),
	"github.com/google/nftables":    regexp.MustCompile(`^warden(/wardentest)?$`),
	"github.com/labstack/echo":      regexp.MustCompile(`^(controller|uaa|web|services)$`),
	"github.com/urfave/cli":         regexp.MustCompile(`^(internal/cli.*)?$`),
	"cloudlet/internal/testkit":     regexp.MustCompile(`^$`), // tests only
	"cloudlet/warden/wardentest":    regexp.MustCompile(`^$`),
	"testing":                       regexp.MustCompile(`^(internal/testkit|warden/wardentest)$`),
}

// testOnly are the packages that exist for tests.
var testOnly = regexp.MustCompile(`^(internal/testkit|warden/wardentest)$`)

func goList(t *testing.T, format string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return string(out)
}

func rel(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, "cloudlet"), "/")
}

func layer(pkg string) int {
	for i, names := range layers {
		for _, n := range names {
			if n == pkg {
				return i
			}
		}
	}
	return -1
}

func TestImportsPointDown(t *testing.T) {
	for line := range strings.Lines(goList(t, `{{.ImportPath}} {{join .Imports " "}}`)) {
		f := strings.Fields(line)
		pkg := rel(f[0])
		if testOnly.MatchString(pkg) {
			continue
		}
		own := layer(pkg)
		if own < 0 {
			t.Errorf("%s is in no layer: give it one in this test and a line in ARCHITECTURE.md", f[0])
			continue
		}
		for _, imp := range f[1:] {
			if imp == "cloudlet" || strings.HasPrefix(imp, "cloudlet/") {
				if layer(rel(imp)) >= own {
					t.Errorf("%s imports %s: components meet on the bus or in main.go", f[0], imp)
				}
			}
			for prefix, who := range only {
				if strings.HasPrefix(imp, prefix) && !who.MatchString(pkg) {
					t.Errorf("%s imports %s, which is another package's business", f[0], imp)
				}
			}
		}
	}
}

// A supervisor is small because nothing but the system's own calls is initialised
// before it takes over.
func TestSupervisorImportsNothing(t *testing.T) {
	for line := range strings.Lines(goList(t, `{{.ImportPath}} {{join .Imports " "}}`)) {
		f := strings.Fields(line)
		if rel(f[0]) != "warden/supervisor" {
			continue
		}
		for _, imp := range f[1:] {
			if imp != "syscall" && imp != "unsafe" {
				t.Errorf("the supervisor imports %s", imp)
			}
		}
	}
}

// Every package tells what it is for, what it speaks, what it keeps, and where that
// comes from.
func TestPackageComments(t *testing.T) {
	for line := range strings.Lines(goList(t, `{{.ImportPath}}|{{.Name}}|{{.Dir}}`)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if f[1] == "main" {
			continue
		}
		var doc string
		files, err := filepath.Glob(filepath.Join(f[2], "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if tree.Doc != nil {
				doc += tree.Doc.Text()
			}
		}
		if !strings.HasPrefix(doc, "Package "+f[1]+" ") {
			t.Errorf("%s has no package comment that begins with its name", f[0])
		}
		for _, part := range []string{"Protocol: ", "State: ", "Source: "} {
			if !strings.Contains(strings.ReplaceAll(doc, "\n", " "), part) {
				t.Errorf("the package comment of %s lacks %q", f[0], part)
			}
		}
	}
}

// The binary links no test framework.
func TestNoTestingInTheBinary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(out) {
		if pkg := strings.TrimSpace(string(line)); pkg == "testing" || testOnly.MatchString(rel(pkg)) {
			t.Errorf("the binary links %s", pkg)
		}
	}
}
