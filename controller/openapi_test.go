package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
)

// described is the description as the API serves it.
func described(t *testing.T) *openapi3.T {
	t.Helper()
	rec := httptest.NewRecorder()
	if err := openapi(echo.New().NewContext(httptest.NewRequest(http.MethodGet, "/", nil), rec)); err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(rec.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Each route is described, and nothing else is.
func TestDescriptionNamesAllRoutes(t *testing.T) {
	t.Parallel()
	var have, want []string
	for path, item := range described(t).Paths.Map() {
		for method := range item.Operations() {
			have = append(have, method+" "+path)
		}
	}
	heads := 0
	for _, r := range bare(t).routes().(*echo.Echo).Routes() {
		switch r.Method {
		case http.MethodHead:
			heads++ // as the description says
		case http.MethodGet:
			heads--
			fallthrough
		default:
			want = append(want, r.Method+" "+template(r.Path))
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	for _, route := range want {
		if !slices.Contains(have, route) {
			t.Errorf("%s is not described in openapi.yaml", route)
		}
	}
	for _, route := range have {
		if !slices.Contains(want, route) {
			t.Errorf("%s is described, and does not exist", route)
		}
	}
	if heads != 0 {
		t.Error("HEAD does not work wherever GET does")
	}
}

var parameter = regexp.MustCompile(`:(\w+)`)

// template is a path of echo in the description's form.
func template(path string) string {
	path = parameter.ReplaceAllString(path, "{$1}")
	if path == "/users/*" {
		return "/users/{email}"
	}
	return strings.Replace(path, "*", "{path}", 1)
}

// exchange is an entry of a golden file.
type exchange struct {
	title, method, path, request string
	status                       int
	kind, answer                 string
}

// exchanges are those of a golden file that can be told from it.
func exchanges(t *testing.T, file string) (list []exchange) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for entry := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		x := exchange{title: filepath.Base(file)}
		for line := range strings.Lines(entry) {
			x.read(strings.TrimSuffix(line, "\n"))
		}
		if x.method != "" && x.status != 0 {
			list = append(list, x)
		}
	}
	return list
}

var (
	requestLine = regexp.MustCompile(`^> (GET|POST|PUT|DELETE|HEAD) (\S+)`)
	bodyLine    = regexp.MustCompile(`^> ([\[{].*|"[\[{].*")$`)
	statusLine  = regexp.MustCompile(`^< (\d{3}) ?(.*)$`)
)

func (x *exchange) read(line string) {
	if m := requestLine.FindStringSubmatch(line); m != nil && x.method == "" {
		x.method, x.path = m[1], m[2]
	} else if m := bodyLine.FindStringSubmatch(line); m != nil {
		if x.request = m[1]; x.request[0] == '"' && json.Unmarshal([]byte(m[1]), &x.request) != nil {
			x.request = ""
		}
	} else if m := statusLine.FindStringSubmatch(line); m != nil {
		fmt.Sscan(m[1], &x.status) //nolint:errcheck // three digits
		x.kind = m[2]
	} else if name, ok := strings.CutPrefix(line, "# "); ok {
		x.title += ": " + name
	} else if x.status != 0 && !strings.HasPrefix(line, "< ") {
		x.answer += line
	}
}

// What the golden files hold is as the description says: paths, statuses, content types,
// the bodies of answers, and those of requests that were accepted.
func TestDescriptionFitsGoldenFiles(t *testing.T) {
	t.Parallel()
	g := goldens{doc: described(t), routes: bare(t).routes().(*echo.Echo), used: map[*openapi3.Operation]bool{}}
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, x := range exchanges(t, file) {
			if err := g.check(x); err != nil {
				t.Errorf("%s: %s %s: %v", x.title, x.method, x.path, err)
			}
		}
	}
	for path, item := range g.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if !g.used[op] && !unseen[method+" "+path] {
				t.Errorf("no golden file shows %s %s", method, path)
			}
		}
	}
}

// goldens holds exchanges against the description.
type goldens struct {
	doc    *openapi3.T
	routes *echo.Echo
	used   map[*openapi3.Operation]bool
}

// operation is the one that a request belongs to, or nil.
func (g *goldens) operation(x exchange) *openapi3.Operation {
	path, _, _ := strings.Cut(x.path, "?")
	if len(path) > 1 {
		path = "/" + strings.Trim(path, "/")
	}
	c := g.routes.NewContext(nil, nil)
	g.routes.Router().Find(x.method, path, c)
	item := g.doc.Paths.Value(template(c.Path()))
	if item == nil {
		return nil
	}
	methods := []string{x.method}
	switch x.method {
	case http.MethodHead:
		methods = []string{http.MethodGet}
	case http.MethodPost:
		methods = append(methods, http.MethodPut, http.MethodDelete) // by a header or a field
	}
	for _, m := range methods {
		if op := item.GetOperation(m); op != nil {
			return op
		}
	}
	return nil
}

// check is an error unless an exchange is as described, or is with no route.
func (g *goldens) check(x exchange) error {
	op := g.operation(x)
	if op == nil {
		if x.status != http.StatusNotFound || x.answer != `" "` {
			return errors.New("the route is not described")
		}
		return nil
	}
	g.used[op] = true
	response := op.Responses.Value(fmt.Sprint(x.status))
	if response == nil {
		response = op.Responses.Default()
	}
	if response == nil {
		return fmt.Errorf("status %d is not described", x.status)
	}
	if x.method != http.MethodHead {
		if err := checkBody(response.Value.Content, x.kind, x.answer); err != nil {
			return err
		}
	}
	if x.status < 400 && x.request != "" && op.RequestBody != nil {
		return checkBody(op.RequestBody.Value.Content, "application/json", x.request)
	}
	return nil
}

// placeholder is what a golden file has instead of a number or a time.
var placeholder = strings.NewReplacer(`"NOW"`, `"2012-08-22T23:41:41Z"`, `:NOW`, `:1345678901`)

func checkBody(content openapi3.Content, kind, body string) error {
	media := content.Get(kind)
	if media == nil {
		if len(content) == 0 && kind == "" {
			return nil
		}
		return fmt.Errorf("content type %q is not described", kind)
	}
	if !strings.HasPrefix(kind, "application/json") {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(placeholder.Replace(body)), &v); err != nil {
		return fmt.Errorf("%q: %w", body, err)
	}
	return media.Schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors())
}

// unseen are operations that no golden file shows.
var unseen = map[string]bool{"GET /openapi.json": true}
