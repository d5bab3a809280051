// Package identity knows who somebody is: users, passwords and v1's tokens.
//
// Protocol: none; a library over the store for the components that ask who calls.
// State: users in the store, and the count of wrong passwords in memory.
// Source: v1's user and token models. The token's form is theirs to the byte; its key
// is random per cloud and mixed with a per-user generation, so that it can be revoked.
package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"cloudlet/store"
)

// Errors that callers map to what a client is told.
var (
	ErrWrongPassword = errors.New("wrong e-mail or password")
	ErrBadEmail      = errors.New("no e-mail address")
	ErrNoPassword    = errors.New("the password is missing or longer than 512 bytes")
)

// ErrTooMany tells that an account is closed for a while after wrong passwords.
type ErrTooMany struct{ Wait time.Duration }

func (e ErrTooMany) Error() string {
	return fmt.Sprintf("too many wrong passwords, try again in %s", e.Wait.Round(time.Second))
}

// TokenLife is how long a token is valid: v1's week.
const TokenLife = 7 * 24 * time.Hour

// maxEmail bounds an e-mail address, in bytes.
const maxEmail = 254

// Identity answers who somebody is.
type Identity struct {
	st      *store.Store
	key     []byte // of tokens
	limiter limiter
	hashing chan struct{} // bounds the memory that logins at once take
}

// Open reads, or makes, the cloud's token key.
func Open(st *store.Store) (*Identity, error) {
	key, err := st.Secret("token", func() []byte { return []byte(rand.Text() + rand.Text()) })
	if err != nil {
		return nil, err
	}
	return &Identity{st: st, key: key, hashing: make(chan struct{}, 2)}, nil
}

// Register adds a user.
func (id *Identity) Register(ctx context.Context, email, password string, admin bool) error {
	if err := checkEmail(email); err != nil {
		return err
	}
	hash, err := id.hash(ctx, password)
	if err != nil {
		return err
	}
	return id.st.Update(func(tx *store.Tx) error {
		return tx.AddUser(store.User{Email: email, Password: hash, Admin: admin, Created: time.Now().UTC()})
	})
}

// SetPassword changes a password and revokes all tokens of the user.
func (id *Identity) SetPassword(ctx context.Context, email, password string) error {
	hash, err := id.hash(ctx, password)
	if err != nil {
		return err
	}
	return id.st.Update(func(tx *store.Tx) error {
		u, err := tx.User(email)
		if err != nil {
			return err
		}
		u.Password = hash
		u.Generation++
		return tx.PutUser(u)
	})
}

// Login checks a password and gives a token. Wrong passwords in a row close the account
// for the caller's address for a while; others may still log in.
func (id *Identity) Login(ctx context.Context, email, password, address string, now time.Time) (string, error) {
	if len(email) > maxEmail {
		return "", ErrWrongPassword // nobody has it, and the limiter need not remember it
	}
	if wait := id.limiter.wait(email, address, now); wait > 0 {
		return "", ErrTooMany{wait}
	}
	user, err := id.user(email)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNoUser) {
		return "", err
	}
	if !known {
		user.Password = decoy // the same work, so that the answer's time tells nothing
	}
	ok, err := id.verify(ctx, user.Password, password)
	if err != nil {
		return "", err
	}
	if !ok || !known {
		id.limiter.failed(email, address, now)
		return "", ErrWrongPassword
	}
	id.limiter.succeeded(email, address)
	return id.mint(user, now), nil
}

// Token gives a token without a password: for administrators and the operator.
func (id *Identity) Token(email string, now time.Time) (string, error) {
	user, err := id.user(email)
	if err != nil {
		return "", err
	}
	return id.mint(user, now), nil
}

// Caller is the user of an Authorization header; nobody, false, for a token that is
// missing, malformed, expired or revoked. v1 never says which.
func (id *Identity) Caller(header string, now time.Time) (store.User, bool) {
	raw := header
	if scheme, rest, found := strings.Cut(header, " "); found && strings.EqualFold(scheme, "bearer") {
		raw = strings.TrimSpace(rest)
	}
	t, err := parseToken(raw)
	if err != nil || now.After(t.expires) {
		return store.User{}, false
	}
	user, err := id.user(t.email)
	if err != nil || !t.valid(id.userKey(user)) {
		return store.User{}, false
	}
	return user, true
}

func (id *Identity) user(email string) (u store.User, err error) {
	err = id.st.View(func(tx *store.Tx) error {
		u, err = tx.User(email)
		return err
	})
	return u, err
}

func checkEmail(email string) error {
	addr, err := mail.ParseAddress(email)
	if err != nil || addr.Address != email || len(email) > maxEmail || strings.ContainsAny(email, "\x00/ ") {
		return fmt.Errorf("%.80q: %w", email, ErrBadEmail)
	}
	return nil
}
