package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

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
	h, err := parseHash(hash)
	if err != nil || len(password) > 512 {
		return false, err
	}
	got, err := id.derive(ctx, password, h.salt, h.t, h.m, h.p, uint32(len(h.key)))
	return err == nil && subtle.ConstantTimeCompare(got, h.key) == 1, err
}

var errHash = errors.New("the stored password hash is damaged")

type parsedHash struct {
	t, m      uint32
	p         uint8
	salt, key []byte
}

// parseHash reads what encode writes. No parameter is zero: argon2 would panic.
func parseHash(hash string) (h parsedHash, err error) {
	fields := strings.Split(hash, "$")
	if len(fields) != 7 || fields[0] != "argon2id" {
		return h, errHash
	}
	var version int
	_, err1 := fmt.Sscan(strings.Join(fields[1:5], " "), &version, &h.t, &h.m, &h.p)
	salt, err2 := base64.RawStdEncoding.DecodeString(fields[5])
	key, err3 := base64.RawStdEncoding.DecodeString(fields[6])
	h.salt, h.key = salt, key
	if errors.Join(err1, err2, err3) != nil || version != argon2.Version || h.t == 0 || h.p == 0 || len(h.key) == 0 {
		return h, errHash
	}
	return h, nil
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
