// Package identity knows who somebody is: users, passwords, invitations and tokens.
//
// Protocol: none; a library over the store for the components that ask who calls. Tokens
// have v1's two forms: the cloud controller's own, and the UAA's JWT, signed with RS256.
// State: users, revoked tokens, invitations and the keys in the store; in memory the
// count of wrong passwords and the latest expiry given to each user.
// Source: v1's user and token models, and its UAA. Both forms are theirs to the byte;
// the keys are random per cloud, and each token carries or is mixed with the user's
// generation, so that it can be revoked.
package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/mail"
	"strconv"
	"strings"
	"time"

	"cloudlet/store"
)

// Errors that callers map to what a client is told.
var (
	ErrWrongPassword = errors.New("wrong e-mail or password")
	ErrBadEmail      = errors.New("no e-mail address")
	ErrNoPassword    = errors.New("the password is missing or longer than 512 bytes")
	ErrToken         = errors.New("the token is invalid, expired or revoked")
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
	key     []byte // of v1's tokens, and what clients' secrets are derived from
	signing signing
	latest  latest
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
	_, err := id.add(ctx, store.User{Email: email, Admin: admin}, password)
	return err
}

// RegisterNamed adds a user with a given and a family name.
func (id *Identity) RegisterNamed(ctx context.Context, email, password, given, family string) (store.User, error) {
	return id.add(ctx, store.User{Email: email, Given: given, Family: family}, password)
}

func (id *Identity) add(ctx context.Context, u store.User, password string) (store.User, error) {
	u, err := id.prepare(ctx, u, password)
	if err != nil {
		return u, err
	}
	return u, id.st.Update(func(tx *store.Tx) error { return enter(ctx, tx, u) })
}

// enter adds a user, and tells so in the log of events.
func enter(ctx context.Context, tx *store.Tx, u store.User) error {
	if err := tx.AddUser(u); err != nil {
		return err
	}
	detail := u.Email
	if u.Admin {
		detail += ", administrator"
	}
	return tx.Record(ctx, store.Event{Owner: u.Email, Action: store.UserCreated, Detail: detail})
}

// prepare completes a new user's record.
func (id *Identity) prepare(ctx context.Context, u store.User, password string) (store.User, error) {
	if err := checkEmail(u.Email); err != nil {
		return u, err
	}
	hash, err := id.hash(ctx, password)
	u.Password, u.Created = hash, time.Now().UTC()
	return u, err
}

// SetPassword changes a password and revokes all tokens of the user.
func (id *Identity) SetPassword(ctx context.Context, email, password string) error {
	hash, err := id.hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = id.change(ctx, email, store.PasswordSet, func(tx *store.Tx, u *store.User) error {
		u.Password = hash
		u.Generation++
		return tx.DropRevoked(email)
	})
	return err
}

// SetQuota gives an account other limits than the cloud's.
func (id *Identity) SetQuota(ctx context.Context, email string, q store.Quota) error {
	_, err := id.change(ctx, email, store.QuotaSet, func(_ *store.Tx, u *store.User) error {
		u.Quota = q
		return nil
	})
	return err
}

// ErrVersion tells that a user was changed since the version that a change is based on.
type ErrVersion struct{ Want, Is int }

func (e ErrVersion) Error() string {
	return fmt.Sprintf("the change is based on version %d, the user is at version %d", e.Want, e.Is)
}

// SetName changes a user's names; version is the one that the change is based on, or
// negative for any.
func (id *Identity) SetName(ctx context.Context, email, given, family string, version int) (store.User, error) {
	return id.change(ctx, email, store.UserUpdated, func(_ *store.Tx, u *store.User) error {
		if version >= 0 && version != u.Version {
			return ErrVersion{version, u.Version}
		}
		u.Given, u.Family = given, family
		return nil
	})
}

// change is the way of all changes to a user. Each is an event.
func (id *Identity) change(ctx context.Context, email string, what store.Action, edit func(*store.Tx, *store.User) error) (u store.User, err error) {
	err = id.st.Update(func(tx *store.Tx) error {
		if u, err = tx.User(email); err != nil {
			return err
		}
		before := u
		if err := edit(tx, &u); err != nil {
			return err
		}
		u.Version++
		u.Modified = time.Now().UTC()
		if err := tx.PutUser(u); err != nil {
			return err
		}
		return tx.Record(ctx, store.Event{Owner: email, Action: what, Detail: differences(before, u)})
	})
	return u, err
}

// differences tells what became of a user, without secrets.
func differences(before, after store.User) string {
	words := []string{after.Email}
	for _, f := range []struct {
		name     string
		from, to *int
	}{
		{"memory", before.Quota.Memory, after.Quota.Memory},
		{"apps", before.Quota.Apps, after.Quota.Apps},
		{"services", before.Quota.Services, after.Quota.Services},
		{"urls", before.Quota.URIs, after.Quota.URIs},
	} {
		if from, to := limitText(f.from), limitText(f.to); from != to {
			words = append(words, fmt.Sprintf("%s %s → %s", f.name, from, to))
		}
	}
	if before.Given != after.Given || before.Family != after.Family {
		words = append(words, "name changed")
	}
	return strings.Join(words, ", ")
}

// limitText writes a limit; the cloud's default where there is none.
func limitText(n *int) string {
	if n == nil {
		return "default"
	}
	return strconv.Itoa(*n)
}

// Login checks a password as Authenticate does and gives a token of v1's own form.
func (id *Identity) Login(ctx context.Context, email, password, address string, now time.Time) (string, error) {
	user, err := id.Authenticate(ctx, email, password, address, now)
	if err != nil {
		return "", err
	}
	return id.mint(user, now)
}

// Authenticate checks a password. Wrong passwords in a row close the account for the
// caller's address for a while; others may still log in.
func (id *Identity) Authenticate(ctx context.Context, email, password, address string, now time.Time) (store.User, error) {
	if len(email) > maxEmail {
		return store.User{}, ErrWrongPassword // nobody has it, and the limiter need not remember it
	}
	pair := attempt{email, network(address)}
	done, err := id.limiter.turn(ctx, pair)
	if err != nil {
		return store.User{}, err
	}
	defer done()
	if wait := id.limiter.wait(pair, now); wait > 0 {
		return store.User{}, ErrTooMany{wait}
	}
	user, err := id.user(email)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNoUser) {
		return store.User{}, err
	}
	if !known {
		user.Password = decoy // the same work, so that the answer's time tells nothing
	}
	ok, err := id.verify(ctx, user.Password, password)
	if err != nil {
		return store.User{}, err
	}
	if !ok || !known {
		id.limiter.failed(pair, now)
		return store.User{}, ErrWrongPassword
	}
	id.limiter.succeeded(pair)
	return user, nil
}

// Token gives a token without a password: for administrators and the operator.
func (id *Identity) Token(email string, now time.Time) (string, error) {
	user, err := id.user(email)
	if err != nil {
		return "", err
	}
	return id.mint(user, now)
}

// Audience is what the cloud controller calls itself in tokens.
const Audience = "cloud_controller"

// Caller is the user of an Authorization header; nobody, false, for a token that is
// missing, malformed, expired or revoked. v1 never says which.
func (id *Identity) Caller(header string, now time.Time) (store.User, bool) {
	user, _, err := id.read(header, now)
	return user, err == nil
}

// Revoke makes the token of an Authorization header worthless: logging out. Another
// token of the user stays valid. A token that is none already needs no revoking.
func (id *Identity) Revoke(header string, now time.Time) error {
	user, t, err := id.read(header, now)
	if errors.Is(err, ErrToken) {
		return nil
	}
	if err != nil {
		return err
	}
	return id.st.Update(func(tx *store.Tx) error {
		n, err := tx.Revoke(user.Email, t.mark, t.until, now)
		if err != nil || n <= store.RevokedLimit {
			return err
		}
		// A bound that is met by ending all sessions of the user.
		if user, err = tx.User(user.Email); err != nil {
			return err
		}
		user.Generation++
		return errors.Join(tx.PutUser(user), tx.DropRevoked(user.Email))
	})
}

// ticket is what revoking needs to know of a token.
type ticket struct {
	mark  []byte    // what its revocation is found by
	until time.Time // when it, and what can be had for it, ends anyway
}

// read takes an Authorization header: a JWT behind the word bearer, or a token of v1's
// own form, which some clients send behind that word as well.
func (id *Identity) read(header string, now time.Time) (store.User, ticket, error) {
	scheme, token, found := strings.Cut(header, " ")
	if !found {
		return id.readLegacy(header, now)
	}
	token = strings.TrimSpace(token)
	switch {
	case !strings.EqualFold(scheme, "bearer"):
		return store.User{}, ticket{}, ErrToken
	case strings.Contains(token, "."):
		c, user, err := id.Verify(token, Audience, now)
		if err == nil && c.Email == "" {
			err = ErrToken // a client's, which stands for no user
		}
		return user, c.ticket(), err
	}
	return id.readLegacy(token, now)
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
