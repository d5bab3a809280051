package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"

	"cloudlet/store"
)

// keyBits is the size of the signing key. Making one takes up to a second.
const keyBits = 2048

// signing is the cloud's key for JWTs, which is made or read at first need.
type signing struct {
	mu  sync.Mutex
	key *rsa.PrivateKey
}

var errKey = errors.New("the stored signing key is damaged")

// private is the key. It is made once: whoever comes meanwhile waits for it.
func (s *signing) private(st *store.Store) (*rsa.PrivateKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	data, err := st.Secret("jwt", nil)
	if err == nil && data == nil {
		data, err = makeKey(st)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errKey
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKey, err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errKey
	}
	s.key = private
	return private, nil
}

// makeKey makes the key before the store's transaction, which is to be short.
func makeKey(st *store.Store) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return st.Secret("jwt", func() []byte { return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}) })
}

// PublicKey is what verifies JWTs, in PEM.
func (id *Identity) PublicKey() (string, error) {
	key, err := id.signing.private(id.st)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// uuid writes 16 bytes as a random UUID is written.
func uuid(b []byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func newID() string {
	b := make([]byte, 16)
	rand.Read(b) //nolint:errcheck // never fails
	return uuid(b)
}
