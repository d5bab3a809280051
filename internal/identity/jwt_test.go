package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudlet/store"
)

// sharedKey spares the tests the making of a key each.
var sharedKey = sync.OnceValue(func() []byte {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
})

// signer is an identity with a signing key and the users a@b.c and b@b.c.
func signer(t testing.TB) (*Identity, *store.Store) {
	t.Helper()
	id, st := opened(t)
	if _, err := st.Secret("jwt", sharedKey); err != nil {
		t.Fatal(err)
	}
	err := st.Update(func(tx *store.Tx) error {
		return errors.Join(tx.AddUser(store.User{Email: "a@b.c", Created: then}), tx.AddUser(store.User{Email: "b@b.c", Created: then}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, st
}

var (
	then   = time.Unix(1345678901, 0)
	scopes = []string{"cloud_controller.read", "cloud_controller.write", "openid", "password.write"}
)

func issue(t testing.TB, id *Identity, email string, g Grant) string {
	t.Helper()
	if email != "" {
		u, err := id.user(email)
		if err != nil {
			t.Fatal(err)
		}
		g.User = &u
	}
	g.Client = "vmc"
	if g.Scope == nil {
		g.Scope = scopes
	}
	if g.Life == 0 {
		g.Life = time.Hour
	}
	token, _, err := id.Issue(g, then)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Old clients decode header and payload in one go and look for the second pair of
// braces: the header has to fill whole groups of base64, the claims have to be flat.
func TestJWTForm(t *testing.T) {
	t.Parallel()
	id, _ := signer(t)
	token := issue(t, id, "a@b.c", Grant{})
	parts := strings.Split(token, ".")
	if parts[0] != base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) || len(parts[0])%4 != 0 {
		t.Errorf("header %s", parts[0])
	}
	if strings.Contains(token, "=") {
		t.Error("padded")
	}
	both, err := base64.StdEncoding.DecodeString(parts[0] + parts[1] + strings.Repeat("=", -len(parts[1])&3))
	if err != nil {
		t.Fatal(err)
	}
	payload := strings.TrimPrefix(string(both), `{"alg":"RS256","typ":"JWT"}`)
	if strings.Count(payload, "{") != 1 || strings.Count(payload, "}") != 1 {
		t.Errorf("not flat: %s", payload)
	}
	var c map[string]any
	if err := json.Unmarshal([]byte(payload), &c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"email": "a@b.c", "user_name": "a@b.c", "client_id": "vmc", "aud": "[cloud_controller openid password]",
		"scope": fmt.Sprint(scopes), "exp": fmt.Sprintf("%g", 1345678901+3600.0), "iat": fmt.Sprintf("%g", 1345678901.0),
	} {
		if got := fmt.Sprint(c[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"jti", "user_id"} {
		if s, _ := c[name].(string); len(s) != 36 {
			t.Errorf("%s is %q", name, s)
		}
	}
}

func TestJWTCaller(t *testing.T) {
	t.Parallel()
	id, _ := signer(t)
	token := issue(t, id, "a@b.c", Grant{})
	for _, header := range []string{"bearer " + token, "Bearer " + token, "BEARER  " + token} {
		if u, ok := id.Caller(header, then); !ok || u.Email != "a@b.c" {
			t.Errorf("%.20s: %+v, %v", header, u, ok)
		}
	}
	legacy, err := id.Token("a@b.c", then)
	if err != nil {
		t.Fatal(err)
	}
	for what, header := range map[string]string{
		"no scheme":          token,
		"another scheme":     "Basic " + token,
		"two tokens":         "bearer " + token + " " + token,
		"a client's own":     "bearer " + issue(t, id, "", Grant{Scope: []string{"cloud_controller.read"}}),
		"a refresh token":    "bearer " + issue(t, id, "a@b.c", Grant{Refresh: true}),
		"for somebody else":  "bearer " + issue(t, id, "a@b.c", Grant{Scope: []string{"openid"}}),
		"expired":            "bearer " + issue(t, id, "a@b.c", Grant{Life: -time.Second}),
		"too long":           "bearer " + token + strings.Repeat("a", maxJWT),
		"more parts":         "bearer " + token + ".",
		"fewer parts":        "bearer " + token[:strings.LastIndex(token, ".")],
		"legacy with a part": "bearer " + legacy + ".",
	} {
		if u, ok := id.Caller(header, then); ok {
			t.Errorf("%s: %s", what, u.Email)
		}
	}
	if _, ok := id.Caller("bearer "+token, then.Add(time.Hour)); ok {
		t.Error("valid when it has expired")
	}
}

// What others sign, or nobody does, is no token.
func TestJWTForgeries(t *testing.T) {
	t.Parallel()
	id, _ := signer(t)
	public, err := id.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	u, err := id.user("a@b.c")
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{
		"jti": "x", "email": u.Email, "user_id": id.UserID(u), "aud": []string{Audience}, "exp": then.Add(time.Hour).Unix(), "scope": scopes,
	}
	other, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(method jwt.SigningMethod, key any, drop string) string {
		c := jwt.MapClaims{}
		for name, v := range claims {
			if name != drop {
				c[name] = v
			}
		}
		token, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	ours, err := id.signing.private(id.st)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := id.Verify(sign(jwt.SigningMethodRS256, ours, ""), Audience, then); err != nil {
		t.Errorf("the form itself: %v", err)
	}
	for what, token := range map[string]string{
		"alg none":                 sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, ""),
		"another key":              sign(jwt.SigningMethodRS256, other, ""),
		"the public key as HMAC's": sign(jwt.SigningMethodHS256, []byte(public), ""),
		"v1's sample secret":       sign(jwt.SigningMethodHS256, []byte("tokensecret"), ""),
		"another hash":             sign(jwt.SigningMethodRS512, ours, ""),
		"no expiry":                sign(jwt.SigningMethodRS256, ours, "exp"),
		"no audience":              sign(jwt.SigningMethodRS256, ours, "aud"),
		"no user id":               sign(jwt.SigningMethodRS256, ours, "user_id"),
	} {
		if _, _, err := id.Verify(token, Audience, then); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Every way to end a token ends both forms of it.
func TestRevocation(t *testing.T) {
	t.Parallel()
	id, st := signer(t)
	ctx := t.Context()
	headers := func(email string) (out []string) {
		for range 2 { // two logins of the same second
			legacy, err := id.Token(email, then)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, legacy, "bearer "+issue(t, id, email, Grant{}))
		}
		return out
	}
	check := func(why string, headers []string, want ...bool) {
		t.Helper()
		for i, h := range headers {
			if _, ok := id.Caller(h, then); ok != want[i%len(want)] {
				t.Errorf("%s: %d: %v", why, i, ok)
			}
		}
	}
	a, b := headers("a@b.c"), headers("b@b.c")
	check("new", append(a, b...), true)
	for _, h := range a[:2] {
		for range 2 { // the second time it is none any more
			if err := id.Revoke(h, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	check("logged out once", a, false, false, true, true)
	if _, ok := id.Caller(strings.ToUpper(a[0]), then); ok {
		t.Error("another spelling of the revoked token is valid")
	}
	if err := id.SetPassword(ctx, "a@b.c", "new"); err != nil {
		t.Fatal(err)
	}
	check("a new password", a, false)
	check("another user", b, true)
	if err := st.Update(func(tx *store.Tx) error { return tx.DeleteUser("b@b.c") }); err != nil {
		t.Fatal(err)
	}
	check("deleted", b, false)
	if err := st.Update(func(tx *store.Tx) error { return tx.AddUser(store.User{Email: "b@b.c", Created: then.Add(1)}) }); err != nil {
		t.Fatal(err)
	}
	check("a new user of the same name", b, false)
	check("both again", append(headers("a@b.c"), headers("b@b.c")...), true)
	for _, h := range []string{"", "bearer", "bearer x.y.z", "0408", "Basic YTpi"} {
		if err := id.Revoke(h, then); err != nil {
			t.Errorf("%q: %v", h, err)
		}
	}
}

// A session is its refresh token and all that came of it.
func TestRevokedSession(t *testing.T) {
	t.Parallel()
	id, _ := signer(t)
	refresh := issue(t, id, "a@b.c", Grant{Session: "s", Refresh: true, Life: RefreshLife})
	access := issue(t, id, "a@b.c", Grant{Session: "s"})
	apart := issue(t, id, "a@b.c", Grant{Session: "t"})
	if err := id.Revoke("bearer "+access, then); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]bool{access: false, apart: true} {
		if _, _, err := id.Verify(token, "", then); (err == nil) != want {
			t.Errorf("access: %v", err)
		}
	}
	if _, _, err := id.Verify(refresh, RefreshAudience, then); !errors.Is(err, ErrToken) {
		t.Errorf("refresh: %v", err)
	}
}

// Who logs out more often than can be remembered logs out everywhere; nothing grows.
func TestRevokedIsBounded(t *testing.T) {
	t.Parallel()
	id, st := signer(t)
	kept, err := id.Token("a@b.c", then)
	if err != nil {
		t.Fatal(err)
	}
	for i := range store.RevokedLimit + 1 {
		if _, ok := id.Caller(kept, then); !ok {
			t.Fatalf("after %d: logged out", i)
		}
		token, err := id.Token("a@b.c", then)
		if err == nil {
			err = id.Revoke(token, then)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := id.Caller(token, then); ok {
			t.Fatalf("after %d: still valid", i)
		}
	}
	if _, ok := id.Caller(kept, then); ok {
		t.Error("more is remembered than is bounded")
	}
	var left int
	err = st.Update(func(tx *store.Tx) error {
		left, err = tx.Revoke("a@b.c", []byte("one"), then, then)
		return err
	})
	if err != nil || left != 1 {
		t.Errorf("%d are remembered, %v", left, err)
	}
	err = st.Update(func(tx *store.Tx) error { // those that have expired are forgotten
		left, err = tx.Revoke("a@b.c", []byte("two"), then.Add(time.Hour), then.Add(time.Minute))
		return err
	})
	if err != nil || left != 1 {
		t.Errorf("%d are remembered, %v", left, err)
	}
}

// A restart forgets who was given what; a revoked token is not given out again.
func TestNoRevokedTokenAnew(t *testing.T) {
	t.Parallel()
	id, st := signer(t)
	for range 3 {
		token, err := id.Token("a@b.c", then)
		if err == nil {
			err = id.Revoke(token, then)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(st)
	if err != nil {
		t.Fatal(err)
	}
	token, err := again.Token("a@b.c", then)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Caller(token, then); !ok {
		t.Error("a revoked token was given out")
	}
}

func TestLatestIsBounded(t *testing.T) {
	t.Parallel()
	var l latest
	for i := range 3 * maxLatest {
		l.after(fmt.Sprint(i), then.Add(TokenLife), then)
		if len(l.was) > maxLatest {
			t.Fatalf("%d are remembered", len(l.was))
		}
	}
	at := then.Add(TokenLife)
	if a, b := l.after("x", at, then), l.after("x", at, then); !a.Equal(at) || !b.Equal(at.Add(time.Second)) {
		t.Errorf("%s, %s", a, b)
	}
}

// The key is made once, whoever asks first, and is kept.
func TestSigningKey(t *testing.T) {
	t.Parallel()
	id, st := opened(t)
	keys := make(chan string, 8)
	for range cap(keys) {
		go func() {
			key, err := id.PublicKey()
			if err != nil {
				key = err.Error()
			}
			keys <- key
		}()
	}
	first := <-keys
	if !strings.HasPrefix(first, "-----BEGIN PUBLIC KEY-----\n") {
		t.Fatal(first)
	}
	for range cap(keys) - 1 {
		if key := <-keys; key != first {
			t.Errorf("another key: %s", key)
		}
	}
	again, err := Open(st)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := again.PublicKey(); err != nil || key != first {
		t.Errorf("after a restart: %s, %v", key, err)
	}
}

func TestDamagedKey(t *testing.T) {
	t.Parallel()
	for _, damaged := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		id, st := opened(t)
		if _, err := st.Secret("jwt", func() []byte { return []byte(damaged) }); err != nil {
			t.Fatal(err)
		}
		if key, err := id.PublicKey(); damaged != "" && !errors.Is(err, errKey) {
			t.Errorf("%q: %s, %v", damaged, key, err)
		}
	}
}

func TestUserIDs(t *testing.T) {
	t.Parallel()
	id, st := signer(t)
	a, err := id.user("a@b.c")
	if err != nil {
		t.Fatal(err)
	}
	if u, err := id.UserByID(id.UserID(a)); err != nil || u.Email != "a@b.c" {
		t.Errorf("%+v, %v", u, err)
	}
	anew := a
	anew.Created = a.Created.Add(1)
	other, _ := opened(t)
	if id.UserID(anew) == id.UserID(a) || other.UserID(a) == id.UserID(a) {
		t.Error("another account has the same id")
	}
	for _, unknown := range []string{"", "x", id.UserID(anew)} {
		if _, err := id.UserByID(unknown); !errors.Is(err, store.ErrNoUser) {
			t.Errorf("%q: %v", unknown, err)
		}
	}
	again, err := Open(st)
	if err != nil {
		t.Fatal(err)
	}
	if again.UserID(a) != id.UserID(a) || again.ClientSecret("admin") != id.ClientSecret("admin") {
		t.Error("a restart changes ids or secrets")
	}
	if id.ClientSecret("admin") == id.ClientSecret("cf") || id.ClientSecret("admin") == other.ClientSecret("admin") {
		t.Error("two secrets are the same")
	}
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	id, st := signer(t)
	ctx := t.Context()
	invite := func(email string, at time.Time) string {
		t.Helper()
		code, i, err := id.Invite(ctx, email, "a@b.c", at)
		if err != nil || i.Email != email || i.By != "a@b.c" || strings.Contains(i.ID, code) {
			t.Fatalf("%+v, %v", i, err)
		}
		return code
	}
	register := func(email, code string, want error) {
		t.Helper()
		if err := id.RegisterInvited(ctx, email, "secret", code, then); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", email, err, want)
		}
	}
	register("c@b.c", "", ErrInvitation)
	register("c@b.c", "guess", ErrInvitation)
	named, anybody := invite("c@b.c", then), invite("", then)
	register("d@b.c", named, ErrInvitation)
	register("c@b.c", named, nil)
	register("e@b.c", named, ErrInvitation) // used up
	register("c@b.c", anybody, store.ErrUserTaken)
	register("none", anybody, ErrBadEmail)
	register("d@b.c", anybody, nil) // mistakes do not use it up
	register("e@b.c", invite("", then.Add(-InvitationLife)), ErrInvitation)
	if _, _, err := id.Invite(ctx, "c@b.c", "a@b.c", then); !errors.Is(err, store.ErrUserTaken) {
		t.Errorf("invited whom we have: %v", err)
	}
	if _, _, err := id.Invite(ctx, "c", "a@b.c", then); !errors.Is(err, ErrBadEmail) {
		t.Errorf("invited nobody: %v", err)
	}
	withdrawn := invite("", then)
	if err := st.Update(func(tx *store.Tx) error { return tx.DeleteInvitation(invitationID(withdrawn)) }); err != nil {
		t.Fatal(err)
	}
	register("e@b.c", withdrawn, ErrInvitation)
}

func TestInvitationsAreBounded(t *testing.T) {
	t.Parallel()
	_, st := signer(t)
	err := st.Update(func(tx *store.Tx) error {
		for i := range store.InvitationLimit {
			if err := tx.AddInvitation(store.Invitation{ID: fmt.Sprint(i), Expires: then.Add(time.Hour)}, then); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	add := func(now time.Time) error {
		return st.Update(func(tx *store.Tx) error {
			return tx.AddInvitation(store.Invitation{ID: "more", Expires: now.Add(time.Hour)}, now)
		})
	}
	if err := add(then); !errors.Is(err, store.ErrInvitations) {
		t.Errorf("one more: %v", err)
	}
	if err := add(then.Add(2 * time.Hour)); err != nil {
		t.Errorf("when those have expired: %v", err)
	}
	err = st.View(func(tx *store.Tx) error {
		all, err := tx.Invitations()
		if len(all) != 1 {
			t.Errorf("%d are open", len(all))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUserChanges(t *testing.T) {
	t.Parallel()
	id, _ := signer(t)
	ctx, memory := t.Context(), 64
	if err := id.SetQuota(ctx, "a@b.c", store.Quota{Memory: &memory}); err != nil {
		t.Fatal(err)
	}
	if _, err := id.SetName(ctx, "a@b.c", "A", "B", 0); !errors.As(err, &ErrVersion{}) {
		t.Errorf("an old version: %v", err)
	}
	for _, version := range []int{1, -1} {
		if _, err := id.SetName(ctx, "a@b.c", "A", "B", version); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
	u, err := id.user("a@b.c")
	if err != nil || *u.Quota.Memory != 64 || u.Given != "A" || u.Version != 3 || u.Generation != 0 || u.Modified.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	if err := id.SetQuota(ctx, "nobody", store.Quota{}); !errors.Is(err, store.ErrNoUser) {
		t.Errorf("nobody: %v", err)
	}
}

// A thousand guesses at once are counted like a thousand in a row.
func TestGuessesAtOnce(t *testing.T) {
	t.Parallel()
	id, _ := opened(t)
	if err := id.Register(t.Context(), "a@b.c", "secret", false); err != nil {
		t.Fatal(err)
	}
	const guesses = 40
	errs := make(chan error, guesses)
	for i := range guesses {
		go func() { // all from one network
			_, err := id.Login(t.Context(), "a@b.c", "guess", fmt.Sprintf("2001:db8::%x", i), then)
			errs <- err
		}()
	}
	wrong := 0
	for range guesses {
		if errors.Is(<-errs, ErrWrongPassword) {
			wrong++
		}
	}
	if wrong != freeAttempts {
		t.Errorf("%d guesses were looked at", wrong)
	}
	if _, err := id.Login(t.Context(), "a@b.c", "secret", "2001:db8:0:1::1", then); err != nil {
		t.Errorf("the owner, from elsewhere: %v", err)
	}
	if len(id.limiter.busy) != 0 {
		t.Error("an attempt does not end")
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1": "::ffff:10.0.0.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "": "", "pipe": "pipe",
	} {
		if got := network(address); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
}

// Whatever is sent as a header, only what we made is a token.
func FuzzCaller(f *testing.F) {
	id, _ := signer(f)
	token := issue(f, id, "a@b.c", Grant{})
	legacy, err := id.Token("a@b.c", then)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("bearer " + token)
	f.Add("bearer " + legacy)
	f.Add(legacy)
	f.Add("bearer " + strings.Replace(token, ".", "..", 1))
	f.Add("bearer eyJhbGciOiJub25lIn0.eyJlbWFpbCI6ImFAYi5jIn0.")
	f.Fuzz(func(t *testing.T, header string) {
		u, ok := id.Caller(header, then)
		if !ok {
			return
		}
		words := strings.Fields(header)
		word := words[len(words)-1]
		if u.Email != "a@b.c" || word != token && !strings.EqualFold(word, legacy) {
			t.Errorf("%q is %s", header, u.Email)
		}
	})
}
