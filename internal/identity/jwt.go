package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudlet/store"
)

// maxJWT bounds a token, in bytes.
const maxJWT = 8 << 10

// Claims are what a JWT says. All of them are flat, since old clients find them with a
// regular expression. A client's own token has none of the user's.
type Claims struct {
	jwt.RegisteredClaims          // jti, aud, iat and exp
	UserID               string   `json:"user_id,omitempty"`
	UserName             string   `json:"user_name,omitempty"`
	Email                string   `json:"email,omitempty"`
	Scope                []string `json:"scope"`
	ClientID             string   `json:"client_id"`
	// Generation is the user's when the token was made; ours alone.
	Generation int `json:"generation,omitempty"`
	// Session ties access tokens to the refresh token they came from; ours alone.
	Session string `json:"session,omitempty"`
}

// NewSession names a session.
func NewSession() string { return newID() }

// Grant says what a JWT is for.
type Grant struct {
	Client  string
	User    *store.User // nil: the client for itself
	Scope   []string
	Life    time.Duration
	Session string // empty: the token stands alone
	// Refresh makes a token that is good for nothing but to get others.
	Refresh bool
}

// Issue makes a JWT.
func (id *Identity) Issue(g Grant, now time.Time) (token string, c Claims, err error) {
	c = Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID: newID(), Audience: audience(g.Scope),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(g.Life)),
		},
		Scope: g.Scope, ClientID: g.Client, Session: g.Session,
	}
	if g.Refresh {
		c.Audience = jwt.ClaimStrings{RefreshAudience}
	}
	if u := g.User; u != nil {
		c.UserID, c.UserName, c.Email, c.Generation = id.UserID(*u), u.Email, u.Email, u.Generation
	}
	key, err := id.signing.private(id.st)
	if err != nil {
		return "", c, err
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodRS256, c).SignedString(key)
	return token, c, err
}

// RefreshAudience takes refresh tokens, and nobody else does.
const RefreshAudience = "refresh_token"

// audience is made from the scopes' first parts.
func audience(scope []string) jwt.ClaimStrings {
	aud := jwt.ClaimStrings{}
	for _, s := range scope {
		name, _, _ := strings.Cut(s, ".")
		if !slices.Contains(aud, name) {
			aud = append(aud, name)
		}
	}
	return aud
}

// Verify reads a JWT that was made for an audience, or for any but RefreshAudience where
// that is empty. It fails with ErrToken. The user is that of the claims; nobody for a client's token.
func (id *Identity) Verify(token, audience string, now time.Time) (Claims, store.User, error) {
	var c Claims
	if len(token) > maxJWT || strings.Count(token, ".") != 2 {
		return c, store.User{}, ErrToken
	}
	key, err := id.signing.private(id.st)
	if err != nil {
		return c, store.User{}, err
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	}
	if audience != "" {
		options = append(options, jwt.WithAudience(audience))
	}
	_, err = jwt.NewParser(options...).ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return &key.PublicKey, nil })
	if err != nil {
		return Claims{}, store.User{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if audience == "" && slices.Contains(c.Audience, RefreshAudience) {
		return Claims{}, store.User{}, ErrToken
	}
	user, err := id.holder(c)
	if err != nil {
		return Claims{}, store.User{}, err
	}
	return c, user, nil
}

// holder is the user of verified claims, who may have gone or revoked them since.
func (id *Identity) holder(c Claims) (u store.User, err error) {
	err = id.st.View(func(tx *store.Tx) error {
		if c.Email != "" {
			if u, err = tx.User(c.Email); err != nil {
				return err
			}
			if c.Generation != u.Generation || c.UserID != id.UserID(u) {
				return ErrToken
			}
		}
		if tx.Revoked(c.Email, c.ticket().mark) {
			return ErrToken
		}
		return nil
	})
	if errors.Is(err, store.ErrNoUser) {
		err = ErrToken
	}
	return u, err
}

// RefreshLife is how long a refresh token is valid.
const RefreshLife = 30 * 24 * time.Hour

// ticket stands for the token, or for the session with all tokens that it gave.
func (c Claims) ticket() ticket {
	if c.ExpiresAt == nil {
		return ticket{}
	}
	name, until := "token "+c.ID, c.ExpiresAt.Time
	if c.Session != "" {
		name, until = "session "+c.Session, c.IssuedAt.Add(RefreshLife)
	}
	mark := sha256.Sum256([]byte(name))
	return ticket{mark: mark[:], until: until}
}

// UserID is the UAA's id of a user. An account that is made anew has another one.
func (id *Identity) UserID(u store.User) string {
	return uuid(id.derived("user", u.Email, u.Created.UTC().Format(time.RFC3339Nano)))
}

// UserByID finds a user, or fails with store.ErrNoUser.
func (id *Identity) UserByID(userID string) (found store.User, err error) {
	err = id.st.View(func(tx *store.Tx) error {
		users, err := tx.Users()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(users, func(u store.User) bool { return id.UserID(u) == userID })
		if i < 0 {
			return store.ErrNoUser
		}
		found = users[i]
		return nil
	})
	return found, err
}

// ClientSecret is the password of a client in this cloud.
func (id *Identity) ClientSecret(client string) string {
	return fmt.Sprintf("%x", id.derived("client", client)[:16])
}

// derived is a secret that only this cloud can tell.
func (id *Identity) derived(parts ...string) []byte {
	h := hmac.New(sha256.New, id.key)
	h.Write([]byte(strings.Join(parts, "\x00")))
	return h.Sum(nil)
}
