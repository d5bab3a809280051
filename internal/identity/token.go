package identity

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"

	"cloudlet/store"
)

// legacyToken is v1's token: e-mail, expiry and a MAC over both, serialized as Ruby's
// Marshal does an array of three, in lower-case hex. Clients look for the leading 0408.
type legacyToken struct {
	email   string
	expires time.Time
	mac     []byte
}

var errToken = errors.New("no token")

// userKey is the key of a user's tokens. A raised generation makes all of them invalid.
func (id *Identity) userKey(u store.User) []byte {
	h := hmac.New(sha1.New, id.key)
	h.Write([]byte(u.Email + "\x00" + strconv.Itoa(u.Generation) + "\x00" + u.Created.UTC().Format(time.RFC3339Nano)))
	return h.Sum(nil)
}

// mint makes a token that no other login of the user has, not even one in the same
// second, so that logging out ends one session only.
func (id *Identity) mint(u store.User, now time.Time) (string, error) {
	t := legacyToken{email: u.Email, expires: now.Add(TokenLife).Truncate(time.Second)}
	key := id.userKey(u)
	err := id.st.View(func(tx *store.Tx) error {
		for {
			t.expires = id.latest.after(u.Email, t.expires, now)
			t.mac = t.sign(key)
			if !tx.Revoked(u.Email, t.mac) {
				return nil
			}
		}
	})
	return t.String(), err
}

// readLegacy is the user of a token, or ErrToken.
func (id *Identity) readLegacy(raw string, now time.Time) (user store.User, _ ticket, _ error) {
	t, err := parseToken(raw)
	if err != nil || now.After(t.expires) {
		return user, ticket{}, ErrToken
	}
	err = id.st.View(func(tx *store.Tx) (err error) {
		if user, err = tx.User(t.email); err != nil {
			return err
		}
		if !t.valid(id.userKey(user)) || tx.Revoked(t.email, t.mac) {
			return ErrToken
		}
		return nil
	})
	if errors.Is(err, store.ErrNoUser) || errors.Is(err, ErrToken) {
		return store.User{}, ticket{}, ErrToken
	}
	return user, ticket{mark: t.mac, until: t.expires}, err
}

// latest knows the latest expiry that each user was given.
type latest struct {
	mu  sync.Mutex
	was map[string]time.Time
}

// maxLatest bounds the users that are remembered. Who was forgotten may be given one
// token twice, if both logins are in the same second.
const maxLatest = 10_000

// after is the first second from t on that the user was not given yet.
func (l *latest) after(email string, t, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.was[email]; ok && !t.After(was) {
		t = was.Add(time.Second)
	}
	if len(l.was) >= maxLatest {
		maps.DeleteFunc(l.was, func(_ string, was time.Time) bool { return was.Before(now.Add(TokenLife - time.Second)) })
	}
	if l.was == nil || len(l.was) >= maxLatest {
		l.was = map[string]time.Time{}
	}
	l.was[email] = t
	return t
}

func (t legacyToken) sign(key []byte) []byte {
	h := hmac.New(sha1.New, key)
	h.Write([]byte(t.email + strconv.FormatInt(t.expires.Unix(), 10)))
	return h.Sum(nil)
}

func (t legacyToken) valid(key []byte) bool { return hmac.Equal(t.mac, t.sign(key)) }

// String is the form on the wire. Ruby writes a length n as n+5 up to 122, else as a
// count of bytes and the bytes, little endian.
func (t legacyToken) String() string {
	b := []byte{4, 8, '[', 3 + 5}
	b = appendString(b, t.email)
	b = append(b, 'l', '+', 2+5)
	b = binary.LittleEndian.AppendUint32(b, uint32(t.expires.Unix()))
	b = appendString(b, string(t.mac))
	return hex.EncodeToString(b)
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if len(s) <= 122 {
		b = append(b, byte(len(s)+5))
	} else {
		b = append(b, 1, byte(len(s))) // e-mails end at 254 bytes
	}
	return append(b, s...)
}

// parseToken reads what String writes, and the form in which Ruby marks the e-mail as
// UTF-8. It does not check the MAC.
func parseToken(s string) (legacyToken, error) {
	if len(s) > 1024 {
		return legacyToken{}, errToken
	}
	raw, err := hex.DecodeString(s)
	if err != nil {
		return legacyToken{}, errToken
	}
	r := reader{rest: raw}
	r.expect(4, 8, '[', 3+5)
	flagged := len(r.rest) > 0 && r.rest[0] == 'I'
	if flagged {
		r.expect('I')
	}
	email := r.str()
	if flagged {
		r.expect(6, ':', 6, 'E', 'T')
	}
	r.expect('l', '+', 2+5)
	expires := r.take(4)
	mac := r.str()
	if r.bad || len(r.rest) > 0 || len(mac) != sha1.Size {
		return legacyToken{}, errToken
	}
	return legacyToken{
		email:   string(email),
		expires: time.Unix(int64(binary.LittleEndian.Uint32(expires)), 0),
		mac:     mac,
	}, nil
}

// reader takes a token apart; after the first surprise it is bad and gives zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) expect(want ...byte) {
	for i, b := range r.take(len(want)) {
		if b != want[i] {
			r.bad = true
		}
	}
}

func (r *reader) str() []byte {
	r.expect('"')
	switch n := int(r.take(1)[0]); {
	case n == 1:
		return r.take(int(r.take(1)[0]))
	case n >= 5 && n <= 127:
		return r.take(n - 5)
	default:
		r.bad = true
		return nil
	}
}
