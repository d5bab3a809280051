package controller

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudlet/controller/api"
	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

// bare is a controller with a store and no bus: enough for what parses.
func bare(t testing.TB) *Controller {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	id, err := identity.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Domain:     "localhost",
		Frameworks: []Framework{{Name: "node", Runtimes: []string{"node"}}, {Name: "sinatra", Runtimes: []string{"ruby18", "ruby19"}}},
		Runtimes:   []Runtime{{Name: "node", Executable: "x"}, {Name: "ruby18", Executable: "x"}, {Name: "ruby19"}},
		MaxUpload:  1 << 20,
	}, nil, st, id, slog.New(slog.DiscardHandler))
}

// A URI that is accepted once is accepted again, and stays what it is.
func FuzzURI(f *testing.F) {
	for _, s := range []string{"hello.localhost", "http://Hello.localhost:8080/", "https://http://a.b", "a..b", " x ", "İ.localhost", "api.localhost", "a:1:2"} {
		f.Add(s, true)
	}
	c := bare(f)
	f.Fuzz(func(t *testing.T, uri string, admin bool) {
		owner := &store.User{Admin: admin}
		once, err := c.checkURIs([]string{uri}, owner)
		if err != nil {
			return
		}
		again, err := c.checkURIs(once, owner)
		if err != nil || !cmp.Equal(once, again) {
			t.Errorf("%q became %q, then %q, %v", uri, once, again, err)
		}
	})
}

// A page token that is accepted says the same in its plain form.
func FuzzBulkToken(f *testing.F) {
	for _, s := range []string{`bulk_token={"id":20}`, `bulk_token[id]=20`, `bulk_token=null&bulk_token[id]=1`, `bulk_token={"id":"7"}`, `bulk_token={"id":1e30}`, `bulk_token={"id":-1}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		after, err := bulkToken(q)
		if err != nil {
			return
		}
		again, err := bulkToken(url.Values{"bulk_token": {fmt.Sprintf(`{"id":"%d"}`, after)}})
		if err != nil || again != after {
			t.Errorf("%s is %d, then %d, %v", query, after, again, err)
		}
	})
}

// An accepted description, read and sent back as clients do, changes nothing.
func FuzzAppRequest(f *testing.F) {
	for _, s := range []string{
		`{"name":"hello","staging":{"framework":"node","runtime":null},"uris":["hello.localhost"],"instances":1,"resources":{"memory":"128"}}`,
		`{"staging":{"model":"sinatra","stack":"ruby18","command":"x"},"state":"started","env":["A=1","A=1","VCAP_A=2"],"console":true}`,
		`{"staging":{"model":"rails/1.0"},"debug":"run","meta":{"version":0}}`, `{"staging":{}}`, `null`, `{"instances":"-1"}`,
	} {
		f.Add([]byte(s))
	}
	c := bare(f)
	owner := &store.User{Email: "a@b"}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parse[api.AppRequest](body)
		if err != nil {
			return
		}
		app := store.App{ID: 1, Owner: owner.Email, Name: "hello", Memory: 256, PackageState: store.Pending}
		if c.apply(&app, req, owner, nil) != nil {
			return
		}
		read := describeApp(&app, nil, []string{})
		sent, err := json.Marshal(map[string]any{
			"staging": read.Staging, "uris": read.URIs, "instances": read.Instances, "resources": read.Resources, "state": read.State,
			"env": read.Env, "debug": read.Meta.Debug, "console": read.Meta.Console, "meta": read.Meta, "services": read.Services,
		})
		if err != nil {
			t.Fatal(err)
		}
		if req, err = parse[api.AppRequest](sent); err != nil {
			t.Fatalf("%s: %v", sent, err)
		}
		again := app
		if err := c.apply(&again, req, owner, []store.App{app}); err != nil {
			t.Fatalf("%s: %v", sent, err)
		}
		same := cmp.Options{cmpopts.IgnoreFields(store.App{}, "LockVersion", "Updated"), cmpopts.EquateEmpty()}
		if d := cmp.Diff(app, again, same); d != "" {
			t.Errorf("%s: %s", sent, d)
		}
	})
}

// sealed is a zip of entries given as mode and name.
func sealed(t testing.TB, entries ...entryOf) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(e.body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type entryOf struct {
	mode       fs.FileMode
	name, body string
}

// Whatever comes as an archive: it is refused with a cause, or all of it stays inside,
// and the same names are accepted again.
func FuzzUnzip(f *testing.F) {
	f.Add(sealed(f, entryOf{0o644, "a/b", "hello"}, entryOf{0o755, "run", "#!"}))
	f.Add(sealed(f, entryOf{fs.ModeSymlink, "a/l", "../b"}, entryOf{0o644, "../x", ""}))
	f.Add(sealed(f, entryOf{fs.ModeSymlink, "l", "."}, entryOf{0o644, "l/x", ""}))
	f.Add(sealed(f, entryOf{fs.ModeDir, "d/", ""}))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	c := bare(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		nodes := c.unpackAll(t, data)
		if nodes == nil {
			return
		}
		for _, n := range nodes {
			if !filepath.IsLocal(n.Path) || n.Link != "" && n.Link != "." && !filepath.IsLocal(path.Join(path.Dir(n.Path), n.Link)) {
				t.Errorf("%q, %q leads out", n.Path, n.Link)
			}
		}
		var again []entryOf
		for _, n := range nodes {
			again = append(again, entryOf{n.Mode, n.Path + map[bool]string{true: "/"}[n.Mode.IsDir()], n.Link})
		}
		contents := cmpopts.IgnoreFields(node{}, "Blob", "Size")
		if d := cmp.Diff(nodes, c.unpackAll(t, sealed(t, again...)), contents); d != "" {
			t.Error(d)
		}
	})
}

// unpackAll is what an archive holds; nil if it was refused.
func (c *Controller) unpackAll(t *testing.T, data []byte) []node {
	t.Helper()
	u := unpacker{batch: c.st.Blobs.Batch(), tree: tree{}, left: c.cfg.MaxUpload}
	defer u.batch.Discard()
	err := u.unzip(bytes.NewReader(data), int64(len(data)))
	var fault *api.Fault
	switch {
	case err == nil:
	case errors.As(c.packagingFault(err), &fault):
		return nil
	default:
		t.Fatalf("an error that nobody explains: %v", err)
	}
	return append([]node{}, u.tree.list()...)
}

// Whatever comes as an upload is understood or refused; no file is left.
func FuzzUpload(f *testing.F) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	w.SetBoundary("x")
	w.WriteField("_method", "put")
	w.WriteField("resources", `[{"fn":"a","size":"1","sha1":"A"}]`)
	p, err := w.CreateFormFile("application", "a.zip")
	if err != nil {
		f.Fatal(err)
	}
	p.Write(sealed(f, entryOf{0o644, "a", "b"}))
	w.Close()
	f.Add("multipart/form-data; boundary=x", b.Bytes())
	f.Add("multipart/form-data", b.Bytes())
	f.Add("application/x-www-form-urlencoded", []byte("_method=put&resources=%5B%5D"))
	f.Add("", []byte("[]"))
	c := bare(f)
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := httptest.NewRequest("PUT", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", kind)
		zipped, _, err := c.readParts(r)
		if zipped != nil {
			zipped.Close()
			os.Remove(zipped.Name())
		}
		var fault *api.Fault
		if err != nil && !errors.As(err, &fault) {
			t.Errorf("an error that nobody explains: %v", err)
		}
	})
}

// Whatever path is asked for: no failure, no redirect, and nothing of other users.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"/", "//", "/info//", "/apps/hello", "/apps/%68ello", "/apps/a%2Fb", "/apps/hello/instances/0/files/%2Flogs%2F", "/apps/hello/instances/0/files//x",
		"/users/alice@example.com", "/users/alice%40example.com", "/users/bob@example.com", "/apps/../users", "/%", "/%zz", "/staged_droplets/1/x", "/apps/hello/staging_log/",
	} {
		f.Add(s)
	}
	c := bare(f)
	now := time.Now()
	err := c.st.Update(func(tx *store.Tx) error {
		return errors.Join(
			tx.AddUser(store.User{Email: "alice@example.com"}), tx.AddUser(store.User{Email: "bob@example.com"}),
			tx.PutApp(&store.App{Owner: "bob@example.com", Name: "his"}))
	})
	if err != nil {
		f.Fatal(err)
	}
	token, err := c.id.Token("alice@example.com", now)
	if err != nil {
		f.Fatal(err)
	}
	if c.conn, err = testkit.Bus(f).Connect("fuzz", slog.New(slog.DiscardHandler)); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.conn.Close)
	h := c.routes()
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || strings.HasPrefix(u.Path, "/bulk") {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = u
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code >= 300 && w.Code < 400 || strings.Contains(w.Body.String(), "bob@") || strings.Contains(w.Body.String(), `"his"`) {
			t.Errorf("%q: %d %s", path, w.Code, w.Body)
		}
	})
}

// Descriptors are read as encoding/json reads them, only faster.
func FuzzResources(f *testing.F) {
	for _, s := range []string{
		`[{"fn":"a","size":3,"sha1":"ab"}]`, ` [ { "size" : "12" , "sha1":"A" } ,7,null,"x\"]",[],[{}],{},{"more":{"a":[1,"}"]},"fn":"b"}]`,
		`[{"SHA1":"x","sha1":"y"},{"sha1":"\u0061"},{"size":007},{"size":"007"},{"size":1e3},{"size":-1},{"fn":1,"sha1":"x"}]`, `{"fn":"a"}`, `[]`, `7`, `"["`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return
		}
		var want []json.RawMessage
		if json.Unmarshal(body, &want) != nil {
			want = nil
		}
		i := 0
		for raw := range elements(body) {
			if i == len(want) || string(raw) != string(want[i]) {
				t.Fatalf("element %d of %q is %q, want %q", i, body, raw, want)
			}
			i++
			var slow api.Resource
			slowErr := json.Unmarshal(raw, &slow)
			if fast, err := resource(raw); (err == nil) != (slowErr == nil) || err == nil && fast != slow {
				t.Errorf("%q is %+v, %v; want %+v, %v", raw, fast, err, slow, slowErr)
			}
		}
		if i != len(want) {
			t.Errorf("%d elements of %q, want %q", i, body, want)
		}
	})
}

// Whatever a gateway sends, it is an offering or told what is wrong; what is accepted is
// accepted again.
func FuzzOffering(f *testing.F) {
	for _, seed := range []string{
		`{"label":"redis-2.2","url":"http://10.0.0.9:33001","supported_versions":["2.2"],"version_aliases":{"current":"2.2"},"plans":["free"],"active":true}`,
		`{"label":"a-b","url":"https://x","supported_versions":[],"version_aliases":{},"acls":{"wildcards":["*("],"plans":{"x":{}}},"cf_plan_id":{"x":1},"timeout":1e2}`,
		`{"label":null}`, `[1]`, `null`, ``, `{"a":1,"a":null}`, `{"label":"a-b","timeout":99999999999999999999}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseMessage[api.Offering](offeringMessage, body)
		var bad invalid
		if err != nil {
			if !errors.As(err, &bad) || bad == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		o := store.Offering{Label: req.Label}
		if applyOffering(&o, &req) != nil {
			return
		}
		visible(&o, "a@example.com", "")
		describeService(&o, "", "1", "")
		again, err := json.Marshal(describeOffering(&o))
		if err == nil {
			_, err = parseMessage[api.Offering](offeringMessage, again)
		}
		if err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// A form's header never fails; what Go's own reader understands is understood alike.
func FuzzFormKind(f *testing.F) {
	for _, seed := range []string{
		"multipart/form-data; boundary=0.6327711024042219", "multipart/form-data;boundary=-----------RubyMultipartPost", `Multipart/Form-Data; Boundary="a b"`,
		"multipart/form-data; boundary=a/b=c?", "application/x-www-form-urlencoded; charset=UTF-8", ";", "multipart/form-data; boundary=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		kind, boundary := formKind(header)
		want, params, err := mime.ParseMediaType(header)
		if err == nil && (kind != want || boundary != params["boundary"]) {
			t.Errorf("%q: %q, %q", header, kind, boundary)
		}
	})
}
