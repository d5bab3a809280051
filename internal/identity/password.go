package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// Parameters of argon2id as OWASP recommends for 19 MiB.
const (
	argonTime    = 2
	argonMemory  = 19 * 1024 // KiB
	argonThreads = 1
	argonKey     = 32
)

// decoy is what an unknown user's password is compared with: of the same cost, and no
// password fits it, because its key is all zero.
var decoy = encode(argonTime, argonMemory, argonThreads, make([]byte, 16), make([]byte, argonKey))

func (id *Identity) hash(ctx context.Context, password string) (string, error) {
	if password == "" || len(password) > 512 {
		return "", ErrNoPassword
	}
	salt := make([]byte, 16)
	rand.Read(salt) //nolint:errcheck // never fails
	key, err := id.derive(ctx, password, salt, argonTime, argonMemory, argonThreads, argonKey)
	if err != nil {
		return "", err
	}
	return encode(argonTime, argonMemory, argonThreads, salt, key), nil
}

// verify compares in constant time, with the parameters that the hash was made with.
func (id *Identity) verify(ctx context.Context, hash, password string) (bool, error) {
	var version int
	var t, m uint32
	var p uint8
	var s, k string
	if _, err := fmt.Sscanf(hash, "argon2id$%d$%d$%d$%d$%s", &version, &t, &m, &p, &s); err != nil {
		return false, fmt.Errorf("password hash: %w", err)
	}
	for i := range s {
		if s[i] == '$' {
			s, k = s[:i], s[i+1:]
			break
		}
	}
	salt, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return false, fmt.Errorf("password hash: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(k)
	if err != nil {
		return false, fmt.Errorf("password hash: %w", err)
	}
	if len(password) > 512 {
		return false, nil
	}
	got, err := id.derive(ctx, password, salt, t, m, p, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, err
}

func encode(t, m uint32, p uint8, salt, key []byte) string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("argon2id$%d$%d$%d$%d$%s$%s", argon2.Version, t, m, p, b.EncodeToString(salt), b.EncodeToString(key))
}

// derive waits for its turn: each derivation takes 19 MiB while it runs.
func (id *Identity) derive(ctx context.Context, password string, salt []byte, t, m uint32, p uint8, n uint32) ([]byte, error) {
	select {
	case id.hashing <- struct{}{}:
		defer func() { <-id.hashing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, t, m, p, n), nil
}
