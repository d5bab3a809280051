package uaa

import (
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"cloudlet/internal/identity"
	"cloudlet/store"
)

// Scopes that something here looks at.
const (
	scopeOpenID   = "openid"
	scopePassword = "password.write"
	scopeRead     = "scim.read"
	scopeWrite    = "scim.write"
	scopeResource = "uaa.resource"
)

// Grants of OAuth 2.
const (
	grantImplicit = "implicit"
	grantPassword = "password"
	grantRefresh  = "refresh_token"
	grantClient   = "client_credentials"
)

// client is a program that may ask for tokens.
type client struct {
	id     string
	secret string // empty: it cannot keep one
	grants []string
	scopes []string // of tokens for users
	own    []string // of tokens for itself
	life   time.Duration
}

// clients are those that v1 knew: the programs of users, without secrets, and those of
// the cloud. secret is what a client's password is in this cloud.
func clients(secret func(string) string) map[string]client {
	user := []string{"cloud_controller.read", "cloud_controller.write", scopeOpenID, scopePassword, "tokens.read", "tokens.write"}
	table := map[string]client{}
	for _, c := range []client{
		{id: "vmc", grants: []string{grantImplicit, grantPassword, grantRefresh}, scopes: user, life: 7 * 24 * time.Hour},
		{id: "cf", grants: []string{grantImplicit, grantPassword, grantRefresh}, scopes: user, life: 12 * time.Hour},
		{
			id: "cloud_controller", secret: secret("cloud_controller"), grants: []string{grantClient}, life: 12 * time.Hour,
			own: []string{scopeRead, scopeWrite, scopePassword, scopeResource},
		},
		{
			id: "admin", secret: secret("admin"), grants: []string{grantClient}, life: 12 * time.Hour,
			own: []string{"uaa.admin", scopeRead, scopeWrite, scopePassword, scopeResource},
		},
	} {
		table[c.id] = c
	}
	return table
}

// Secrets are the passwords of those clients that have one, for the operator.
func Secrets(id *identity.Identity) map[string]string {
	secrets := map[string]string{}
	for name, c := range clients(id.ClientSecret) {
		if c.secret != "" {
			secrets[name] = c.secret
		}
	}
	return secrets
}

// knows compares in constant time.
func (c client) knows(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(secret), []byte(c.secret)) == 1
}

func (c client) may(grant string) bool { return slices.Contains(c.grants, grant) }

// forUser are the scopes that a user may have through the client.
func (c client) forUser(u store.User) []string {
	if u.Admin {
		return append(slices.Clone(c.scopes), scopeRead, scopeWrite)
	}
	return c.scopes
}

// narrow takes those scopes that were asked for: all where none is named.
func narrow(allowed []string, asked string) ([]string, error) {
	names := strings.Fields(asked)
	if len(names) == 0 {
		return allowed, nil
	}
	var scopes []string
	for _, name := range names {
		if !slices.Contains(allowed, name) {
			return nil, invalidScope.because("Invalid scope: %.80q. Did you know that you can get default scopes by requesting no value?", name)
		}
		if !slices.Contains(scopes, name) {
			scopes = append(scopes, name)
		}
	}
	return scopes, nil
}
