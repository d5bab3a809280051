package uaa

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"cloudlet/internal/identity"
	"cloudlet/internal/testkit"
	"cloudlet/store"
)

func TestRedirects(t *testing.T) {
	t.Parallel()
	u := &UAA{cfg: Config{Domain: "vcap.me"}}
	for uri, want := range map[string]bool{
		"http://uaa.cloudfoundry.com/redirect/vmc":         true,
		"https://uaa.cloudfoundry.com/redirect/vmc":        true,
		"https://uaa.vcap.me/redirect/vmc":                 true,
		"http://uaa.vcap.me:8080/redirect/vmc":             true,
		"":                                                 true,
		"http://uaa.cloudfoundry.com/redirect/cf":          false,
		"http://uaa.cloudfoundry.com:80/redirect/vmc":      false,
		"ftp://uaa.cloudfoundry.com/redirect/vmc":          false,
		"http://uaa.cloudfoundry.com/redirect/vmc/":        false,
		"http://uaa.cloudfoundry.com/redirect/vmc?x":       false,
		"http://uaa.cloudfoundry.com/redirect/vmc#x":       false,
		"http://uaa.cloudfoundry.com/redirect%2Fvmc":       false,
		"http://x@uaa.cloudfoundry.com/redirect/vmc":       false,
		"http://uaa.cloudfoundry.com.evil/redirect/vmc":    false,
		"http://uaa.vcap.me.evil/redirect/vmc":             false,
		"http://evil/redirect/vmc":                         false,
		"//uaa.cloudfoundry.com/redirect/vmc":              false,
		"http://uaa.cloudfoundry.com/redirect/vmc\r\nX: y": false,
		"javascript:alert(1)":                              false,
		"/redirect/vmc":                                    false,
		"http://uaa.vcap.me:8080:9/redirect/vmc":           false,
		"HTTP://uaa.cloudfoundry.com/redirect/vmc":         false,
	} {
		if got, err := u.redirect(client{id: "vmc"}, uri); (err == nil) != want || want && uri != "" && got != uri {
			t.Errorf("%q: %q, %v", uri, got, err)
		}
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	user := scimUser{ID: "1-2", UserName: `a"b'@c.d`, Name: scimName{"Ann", ""}, Emails: []scimEmail{{`a"b'@c.d`}}}
	for filter, want := range map[string]bool{
		"": true, "  ": true,
		`id eq "1-2"`:                  true,
		`ID EQ "1-2"`:                  true,
		`id eq '1-2'`:                  true,
		`id eq "1"`:                    false,
		`id sw "1"`:                    true,
		`id co "-"`:                    true,
		`username eq "a\"b'@c.d"`:      true,
		`userName eq "\u0061\"b'@c.d"`: true,
		`emails.value co 'a"b'`:        true,
		`name.givenName eq "ann"`:      false,
		`familyname pr`:                false,
		`familyname pr or id pr`:       true,
		`id eq "2" or id eq "3"`:       false,
		`id eq "2"or id eq "1-2"`:      true,
		`  id	eq	"1-2"	OR  id pr  `:    true,
	} {
		match, err := parseFilter(filter)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		if got := match(user); got != want {
			t.Errorf("%q: %v", filter, got)
		}
	}
	for _, filter := range []string{
		strings.Repeat("id pr or ", maxTerms) + "id pr", `id eq "` + strings.Repeat("x", maxFilter) + `"`,
		`id`, `id eq`, `id eq 1`, `or`, `id pr or`, `id pr id pr`, `(id pr)`, `id eq "1" "2"`, `password eq "x"`, `id eq null`,
	} {
		if _, err := parseFilter(filter); err == nil {
			t.Errorf("%.40q is a filter", filter)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`userName eq "a@b.c"`, `emails.value sw 'a' or id pr`, `id co "\u00e4\"" OR id pr`, `id eq "`, `and or pr`} {
		f.Add(s)
	}
	user := scimUser{ID: "1", UserName: "a@b.c", Emails: []scimEmail{{"a@b.c"}}}
	f.Fuzz(func(t *testing.T, s string) {
		match, err := parseFilter(s)
		if err != nil {
			return
		}
		got := match(user)
		again, err := parseFilter(s + ` or id eq "1"`)
		if strings.TrimSpace(s) == "" || len(s) > maxFilter-20 {
			return
		}
		if err != nil && !strings.Contains(err.Error(), "terms") {
			t.Errorf("%q is a filter, and with another term it is none: %v", s, err)
		}
		if err == nil && (!again(user) || !got && match(user)) {
			t.Errorf("%q does not match alike", s)
		}
	})
}

// Whatever is sent, nobody gets a token without the password, no redirect leads
// elsewhere, and nothing breaks.
func FuzzAuthorize(f *testing.F) {
	st, err := store.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { st.Close() })
	id, err := identity.Open(st)
	if err != nil {
		f.Fatal(err)
	}
	if err := id.Register(f.Context(), "a@b.c", "sesame", true); err != nil {
		f.Fatal(err)
	}
	handler := New(Config{Domain: "vcap.me"}, nil, st, id, testkit.Log(f)).routes()
	redirect := "redirect_uri=" + url.QueryEscape("http://uaa.vcap.me/redirect/vmc")
	f.Add("client_id=vmc&response_type=token&"+redirect, `credentials={"username":"a@b.c","password":"sesame"}`, false)
	f.Add("", "client_id=cf&response_type=token&source=credentials&username=a@b.c&password=sesame&state=%0d%0a", false)
	f.Add("", "client_id=cf&grant_type=password&username=a@b.c&password=sesame&scope=openid", true)
	f.Add("source=credentials", "grant_type=refresh_token&refresh_token=x.y.z&client_id=vmc", true)
	f.Add("%zz", "&&=;", true)
	f.Fuzz(func(t *testing.T, query, body string, token bool) {
		path := "/oauth/authorize"
		if token {
			path = "/oauth/token"
		}
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%q, %q: %d %s", query, body, w.Code, w.Body)
		}
		granted := w.Code == http.StatusOK || w.Code == http.StatusFound
		if granted && !strings.Contains(unescaped(body), "sesame") {
			t.Errorf("%q, %q: %d %s %s", query, body, w.Code, w.Header(), w.Body)
		}
		to := w.Header().Get("Location")
		place, _, _ := strings.Cut(to, "#")
		if to != "" && (!strings.HasSuffix(place, "/redirect/vmc") && !strings.HasSuffix(place, "/redirect/cf") || strings.ContainsAny(to, "\r\n ")) {
			t.Errorf("redirected to %q", to)
		}
	})
}

// unescaped decodes what JSON within a form may hide.
func unescaped(body string) string {
	v, err := url.ParseQuery(body)
	if err != nil {
		return body
	}
	name, password, _ := credentials(form{body: v, query: url.Values{"source": {"credentials"}}})
	return name + password
}
