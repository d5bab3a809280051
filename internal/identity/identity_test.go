package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloudlet/store"
)

// opened is an identity over a fresh store.
func opened(t testing.TB) (*Identity, *store.Store) {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	id, err := Open(st)
	if err != nil {
		t.Fatal(err)
	}
	return id, st
}

// The vectors of v1: keys, e-mails, expiries and MACs are theirs.
var vectors = []struct {
	key, email string
	expires    int64
	mac, token string
	flagged    bool // the e-mail carries Ruby's UTF-8 mark, which we read and never write
}{
	{"token key goes here", "derek@gmail.com", 1299781605, "8e59d96b40ccbc3625964dfb8dcca21174835d7e",
		"04085b082214646572656b40676d61696c2e636f6d6c2b07e517794d22198e59d96b40ccbc3625964dfb8dcca21174835d7e", false},
	{"default_key", "foo@bar.com", 1345678901, "3ce16a5d53049cd1d78ff7558243225b81e6ad9e",
		"04085b08492210666f6f406261722e636f6d063a0645546c2b07356e355022193ce16a5d53049cd1d78ff7558243225b81e6ad9e", true},
}

func TestTokenVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		got, err := parseToken(v.token)
		if err != nil {
			t.Fatal(err)
		}
		if got.email != v.email || got.expires.Unix() != v.expires || hex.EncodeToString(got.mac) != v.mac {
			t.Errorf("%s is %q, %d, %x", v.token, got.email, got.expires.Unix(), got.mac)
		}
		if !got.valid([]byte(v.key)) || got.valid([]byte("another key")) {
			t.Errorf("%s: the MAC is not checked with the key", v.email)
		}
		if written := got.String(); (written == v.token) == v.flagged || !strings.HasPrefix(written, "0408") {
			t.Errorf("%s was written as %s", v.token, written)
		}
	}
}

func TestTokenForms(t *testing.T) {
	t.Parallel()
	good := vectors[0].token
	for _, bad := range []string{
		"", "0408", good[:len(good)-2], good + "00", good[2:], strings.Replace(good, "0408", "0407", 1), strings.Replace(good, "5b08", "5b07", 1),
		strings.Replace(good, "6c2b07", "6c2b06", 1), strings.Replace(good, "2219", "2218", 1), "g" + good[1:], good[:20], strings.Repeat("04", 600),
	} {
		if got, err := parseToken(bad); err == nil {
			t.Errorf("%q is a token of %q", bad, got.email)
		}
	}
	if _, err := parseToken(strings.ToUpper(good)); err != nil {
		t.Errorf("upper case: %v", err)
	}
	for _, n := range []int{1, 122, 123, 200, maxEmail} {
		want := legacyToken{email: strings.Repeat("e", n), expires: time.Unix(1345678901, 0), mac: make([]byte, 20)}
		got, err := parseToken(want.String())
		if err != nil || got.email != want.email || !got.expires.Equal(want.expires) {
			t.Errorf("an e-mail of %d bytes: %q, %v", n, got.email, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.token)
	}
	f.Add(legacyToken{email: strings.Repeat("e", 200), mac: make([]byte, 20)}.String())
	f.Add("04085b0822")
	f.Fuzz(func(t *testing.T, s string) {
		once, err := parseToken(s)
		if err != nil {
			return
		}
		again, err := parseToken(once.String())
		if err != nil || again.email != once.email || !again.expires.Equal(once.expires) || string(again.mac) != string(once.mac) {
			t.Errorf("%s is %+v, then %+v, %v", s, once, again, err)
		}
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	id, st := opened(t)
	ctx := t.Context()
	now := time.Unix(1345678901, 0)
	long := strings.Repeat("l", 242) + "@example.com"
	for _, email := range []string{"foo@bar.com", "bar@bar.com", long} {
		if err := id.Register(ctx, email, "secret", email == "foo@bar.com"); err != nil {
			t.Fatal(err)
		}
	}
	for _, email := range []string{"foo@bar.com", long} {
		token, err := id.Login(ctx, email, "secret", "10.0.0.1", now)
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range []string{token, "Bearer " + token, "bearer  " + token, strings.ToUpper(token)} {
			if u, ok := id.Caller(header, now); !ok || u.Email != email || u.Admin != (email == "foo@bar.com") {
				t.Errorf("%.30s is %+v, %v", header, u, ok)
			}
		}
		for _, header := range []string{"", "Bearer", "Basic " + token, token + " x", " " + token, "Bearer bearer " + token} {
			if u, ok := id.Caller(header, now); ok {
				t.Errorf("%.30s is %+v", header, u)
			}
		}
		if _, ok := id.Caller(token, now.Add(TokenLife)); !ok {
			t.Error("expired a moment too early")
		}
		if _, ok := id.Caller(token, now.Add(TokenLife+time.Second)); ok {
			t.Error("valid after its time")
		}
	}
	token, err := id.Token("foo@bar.com", now)
	if err != nil {
		t.Fatal(err)
	}
	revoked := func(why string) {
		t.Helper()
		if _, ok := id.Caller(token, now); ok {
			t.Errorf("%s, and the token lives", why)
		}
	}
	if err := id.SetPassword(ctx, "bar@bar.com", "other"); err != nil {
		t.Fatal(err)
	}
	if _, ok := id.Caller(token, now); !ok {
		t.Error("another user's new password revoked the token")
	}
	if err := id.SetPassword(ctx, "foo@bar.com", "secret"); err != nil {
		t.Fatal(err)
	}
	revoked("a new password was set")
	token, err = id.Token("foo@bar.com", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Update(func(tx *store.Tx) error { return tx.DeleteUser("foo@bar.com") }); err != nil {
		t.Fatal(err)
	}
	revoked("the user was deleted")
	token, err = id.Token("bar@bar.com", now)
	if err != nil {
		t.Fatal(err)
	}
	again := store.User{Email: "bar@bar.com", Generation: 1, Created: now}
	if err := st.Update(func(tx *store.Tx) error { return errors.Join(tx.DeleteUser(again.Email), tx.AddUser(again)) }); err != nil {
		t.Fatal(err)
	}
	revoked("a new user of the same name came")
	if _, err := id.Token("nobody@bar.com", now); !errors.Is(err, store.ErrNoUser) {
		t.Errorf("a token for nobody: %v", err)
	}
}

// Not a bit of a token may be changed.
func TestTampering(t *testing.T) {
	t.Parallel()
	id, _ := opened(t)
	if err := id.st.Update(func(tx *store.Tx) error {
		return errors.Join(tx.AddUser(store.User{Email: "a@b.c"}), tx.AddUser(store.User{Email: "a@b.d"}))
	}); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1345678901, 0)
	token, err := id.Token("a@b.c", now)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(raw) {
		raw[bit/8] ^= 1 << (bit % 8)
		if u, ok := id.Caller(hex.EncodeToString(raw), now); ok {
			t.Errorf("bit %d changed: still %s", bit, u.Email)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
	other, _ := opened(t)
	if err := other.st.Update(func(tx *store.Tx) error { return tx.AddUser(store.User{Email: "a@b.c"}) }); err != nil {
		t.Fatal(err)
	}
	if _, ok := other.Caller(token, now); ok {
		t.Error("a token of another cloud is valid here")
	}
}

// The key outlives a restart, and with it the tokens.
func TestKeyIsKept(t *testing.T) {
	t.Parallel()
	id, st := opened(t)
	if err := st.Update(func(tx *store.Tx) error { return tx.AddUser(store.User{Email: "a@b.c"}) }); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := id.Token("a@b.c", now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(st)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Caller(token, now); !ok {
		t.Error("a restart revoked the token")
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	id, _ := opened(t)
	ctx, now := t.Context(), time.Unix(1345678901, 0)
	if err := id.Register(ctx, "a@b.c", "pässword $ with everything", false); err != nil {
		t.Fatal(err)
	}
	if err := id.Register(ctx, "a@b.c", "other", false); !errors.Is(err, store.ErrUserTaken) {
		t.Errorf("registered twice: %v", err)
	}
	for _, tc := range []struct {
		email, password string
		want            error
	}{
		{"a@b.c", "pässword $ with everything", nil},
		{"a@b.c", "pässword $ with everythin", ErrWrongPassword},
		{"a@b.c", "", ErrWrongPassword},
		{"a@b.c", strings.Repeat("x", 513), ErrWrongPassword},
		{"A@b.c", "pässword $ with everything", ErrWrongPassword},
		{"nobody@b.c", "", ErrWrongPassword},
		{strings.Repeat("x", 1000), "x", ErrWrongPassword},
	} {
		if _, err := id.Login(ctx, tc.email, tc.password, "10.0.0.1", now); !errors.Is(err, tc.want) {
			t.Errorf("%.20q, %.20q: %v, want %v", tc.email, tc.password, err, tc.want)
		}
	}
	if n := len(id.limiter.pairs); n != 3 {
		t.Errorf("the limiter remembers %d accounts, want those that could be", n)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	id.hashing <- struct{}{}
	id.hashing <- struct{}{} // both places are taken
	if _, err := id.Login(gone, "a@b.c", "x", "10.0.0.9", now); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that went away waits for its turn: %v", err)
	}
}

// An unknown user costs the same work as a known one, and no password fits the decoy.
func TestDecoy(t *testing.T) {
	t.Parallel()
	id, _ := opened(t)
	hash, err := id.hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	shape := func(hash string) (s []string) {
		for i, field := range strings.Split(hash, "$") {
			if i > 3 {
				field = fmt.Sprint(len(field)) // salt and key
			}
			s = append(s, field)
		}
		return s
	}
	if got, want := fmt.Sprint(shape(decoy)), fmt.Sprint(shape(hash)); got != want {
		t.Errorf("the decoy is %s, a password %s", got, want)
	}
	for _, password := range []string{"", "\x00", "secret"} {
		if ok, err := id.verify(t.Context(), decoy, password); ok || err != nil {
			t.Errorf("%q fits the decoy: %v, %v", password, ok, err)
		}
	}
}

func TestDamagedHash(t *testing.T) {
	t.Parallel()
	id, _ := opened(t)
	for _, hash := range []string{"", "none", strings.Replace(decoy, "$2$", "$0$", 1), strings.Replace(decoy, "$1$", "$0$", 1), decoy + "$x",
		strings.Replace(decoy, "$19$", "$16$", 1), strings.Replace(decoy, "argon2id", "argon2i", 1),
		"argon2id$19$2$19456$1$!!$!!", "argon2id$19$2$19456$1$AAAA$!!", "argon2id$19$2$19456$1$AAAA", "argon2id$19$2$19456$1$AAAA$"} {
		if ok, err := id.verify(t.Context(), hash, "x"); ok || err == nil {
			t.Errorf("%q: %v, %v", hash, ok, err)
		}
	}
}

func TestEmails(t *testing.T) {
	t.Parallel()
	for email, want := range map[string]bool{
		"foo@bar.com": true, "admin@localhost": true, "a+b.c@d": true, "ä@ö.de": true, strings.Repeat("x", 250) + "@b.c": true,
		"": false, "foo": false, "@bar": false, "foo@": false, "a@b@c": false, "Foo <foo@bar.com>": false, "foo@bar.com ": false,
		"a/b@c": false, "a\x00@c": false, "a\n@c": false, `"a b"@c`: false, strings.Repeat("x", 251) + "@b.c": false,
	} {
		if err := checkEmail(email); (err == nil) != want {
			t.Errorf("%.40q: %v", email, err)
		}
	}
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	var l limiter
	now := time.Unix(1345678901, 0)
	wait := func(want time.Duration) {
		t.Helper()
		if got := l.wait(attempt{"a", "x"}, now); got != want {
			t.Errorf("wait %s, want %s", got, want)
		}
	}
	fail := func() { l.failed(attempt{"a", "x"}, now) }
	for range freeAttempts - 1 {
		fail()
		wait(0)
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		fail()
		wait(want * time.Second)
	}
	for range 100 { // far beyond any shift
		fail()
	}
	wait(longestWait)
	if l.wait(attempt{"a", "y"}, now) != 0 || l.wait(attempt{"b", "x"}, now) != 0 {
		t.Error("another address or account has to wait")
	}
	now = now.Add(longestWait - time.Second)
	wait(time.Second)
	now = now.Add(time.Second)
	wait(0)
	fail()
	wait(longestWait)
	now = now.Add(forgetAfter + 1)
	fail() // long after: counted from the beginning
	wait(0)
	for range freeAttempts {
		fail()
	}
	l.succeeded(attempt{"a", "x"})
	wait(0)
	fail()
	wait(0)
}

// The limiter is bounded: what is old is forgotten first.
func TestLimiterIsBounded(t *testing.T) {
	t.Parallel()
	var l limiter
	now := time.Unix(1345678901, 0)
	for i := range maxTracked / 2 {
		l.failed(attempt{fmt.Sprint("old", i), "x"}, now)
	}
	now = now.Add(forgetAfter + 1)
	for i := range maxTracked / 2 {
		for range freeAttempts {
			l.failed(attempt{fmt.Sprint("new", i), "x"}, now)
		}
	}
	l.failed(attempt{"one more", "x"}, now)
	if n := len(l.pairs); n != maxTracked/2+1 {
		t.Errorf("%d are remembered", n)
	}
	if l.wait(attempt{"new0", "x"}, now) == 0 {
		t.Error("what is new was forgotten")
	}
	for i := range 3 * maxTracked {
		l.failed(attempt{fmt.Sprint("flood", i), "x"}, now)
	}
	if n := len(l.pairs); n > maxTracked {
		t.Errorf("%d are remembered", n)
	}
}
