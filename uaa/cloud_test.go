package uaa_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"cloudlet/bus"
	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/store"
	"cloudlet/uaa"
)

// Accounts of every test cloud; the password of each is its name.
const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
	root  = "root@example.com" // administrator
)

// cloud is a real UAA with a real store, bus and identity.
type cloud struct {
	t      testing.TB
	uaa    *uaa.UAA
	st     *store.Store
	id     *identity.Identity
	bus    *bus.Bus
	conn   *bus.Conn
	routes <-chan bus.Route // what it registers
	ids    map[string]string
}

// sharedKey spares each cloud the making of a key.
var sharedKey = sync.OnceValue(func() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
})

func start(t testing.TB) *cloud {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Check(); err != nil {
			t.Errorf("store: %v", err)
		}
		st.Close()
	})
	if _, err := st.Secret("jwt", sharedKey); err != nil {
		t.Fatal(err)
	}
	id, err := identity.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	b := testkit.Bus(t)
	c := &cloud{t: t, st: st, id: id, bus: b, conn: testkit.Conn(t, b), ids: map[string]string{}}
	for _, email := range []string{alice, bob, root} {
		if err := id.Register(t.Context(), email, email, email == root); err != nil {
			t.Fatal(err)
		}
		c.ids[email] = id.UserID(c.user(email))
	}
	c.routes = testkit.Collect(t, c.conn, bus.RouterRegister)
	c.uaa = uaa.New(uaa.Config{Domain: "vcap.me"}, b, st, id, testkit.Log(t))
	testkit.Run(t, c.uaa)
	return c
}

func (c *cloud) user(email string) (u store.User) {
	c.t.Helper()
	err := c.st.View(func(tx *store.Tx) (err error) {
		u, err = tx.User(email)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   string
}

var client = http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// do sends a request as the router passes it on.
func (c *cloud) do(method, path, body string, header ...string) reply {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.uaa.Addr()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Host = "uaa.vcap.me"
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(data)}
}

// ok is do for what has to work.
func (c *cloud) ok(method, path, body string, header ...string) reply {
	c.t.Helper()
	r := c.do(method, path, body, header...)
	if r.status >= 300 {
		c.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return r
}

func field(r reply, name string) string {
	var v map[string]any
	if json.Unmarshal([]byte(r.body), &v) != nil {
		return ""
	}
	s, _ := v[name].(string)
	return s
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// grant is a token of the password grant, with its refresh token.
func (c *cloud) grant(email string) (access, refresh string) {
	c.t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {email}, "password": {email}}
	r := c.ok("POST", "/oauth/token", form.Encode(), "Authorization", basic("cf", ""))
	return field(r, "access_token"), field(r, "refresh_token")
}

// bearer is the header of a user, or of a client for itself.
func (c *cloud) bearer(who string) string {
	c.t.Helper()
	if strings.Contains(who, "@") {
		access, _ := c.grant(who)
		return "bearer " + access
	}
	r := c.ok("POST", "/oauth/token", "grant_type=client_credentials", "Authorization", basic(who, c.id.ClientSecret(who)))
	return "bearer " + field(r, "access_token")
}

// transcript compares calls and answers with a golden file; UPDATE=1 rewrites it.
type transcript struct {
	c   *cloud
	out strings.Builder
}

var (
	jwtPattern = regexp.MustCompile(`[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{40,}`)
	volatile   = []struct {
		what *regexp.Regexp
		with string
	}{
		{regexp.MustCompile(`"(exp|iat)":1[78]\d{8}`), `"$1":NOW`},
		{regexp.MustCompile(`"(created|lastModified)":"20[^"]*Z"`), `"$1":"NOW"`},
		{regexp.MustCompile(`-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----`), "PEM"},
	}
	uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
)

// readable takes tokens apart and names what differs from run to run.
func (s *transcript) readable(text string) string {
	text = jwtPattern.ReplaceAllStringFunc(text, func(token string) string {
		parts := strings.Split(token, ".")
		head, err1 := base64.RawURLEncoding.DecodeString(parts[0])
		claims, err2 := base64.RawURLEncoding.DecodeString(parts[1])
		if err1 != nil || err2 != nil {
			return token
		}
		return "JWT(" + string(head) + string(claims) + ")"
	})
	for _, v := range volatile {
		text = v.what.ReplaceAllString(text, v.with)
	}
	for email, id := range s.c.ids {
		text = strings.ReplaceAll(text, id, "ID("+email+")")
	}
	return uuidPattern.ReplaceAllString(text, "UUID")
}

// call sends one request and writes both sides down.
func (s *transcript) call(title, method, path, body string, header ...string) reply {
	s.c.t.Helper()
	r := s.c.do(method, path, body, header...)
	fmt.Fprintf(&s.out, "# %s\n> %s %s\n", title, method, s.readable(path))
	if body != "" && len(body) < 500 {
		fmt.Fprintf(&s.out, "> %s\n", s.readable(body))
	}
	fmt.Fprintf(&s.out, "< %d %s\n", r.status, r.header.Get("Content-Type"))
	for _, h := range []string{"Location", "Www-Authenticate", "Retry-After", "Etag"} {
		if v := r.header.Get(h); v != "" {
			fmt.Fprintf(&s.out, "< %s: %s\n", h, s.readable(v))
		}
	}
	fmt.Fprintf(&s.out, "%s\n\n", s.readable(strings.TrimSuffix(r.body, "\n")))
	return r
}

func (s *transcript) compare() {
	t := s.c.t
	t.Helper()
	path := filepath.Join("testdata", t.Name()+".golden")
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(s.out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(s.out.String(), "\n\n"), strings.Split(string(data), "\n\n")
	if len(got) != len(want) {
		t.Errorf("%s: %d entries, want %d", path, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s:\n--- got\n%s\n--- want\n%s", path, got[i], want[i])
		}
	}
}
