// Package store keeps the desired state: what users asked for and Cloudlet accepted.
//
// Protocol: none; a library for the components that own records (controller, identity).
// State: one bbolt file, cloud.db, and content-addressed blobs beside it. The schema,
// version 1, keys before the arrow:
//
//	meta    "schema" → version; other names → bytes (secrets of the cloud)
//	users   e-mail → User
//	revoked e-mail 0 hash → expiry          tokens that were logged out
//	invitations  hash → Invitation          who may register
//	apps    id, 8 bytes big endian → App
//	names   owner 0 name → id               one name per owner
//	uris    uri 0 id → owner                who has which URI
//	pool    owner 0 sha1 → PoolFile         files that an owner has uploaded
//	logs    id → log of the last staging run
//	offerings label 0 provider → Offering   the catalogue of services
//	services  id → Service                  service instances
//	aliases   owner 0 alias → id            one name per owner
//	bindings  app id, service id → Binding
//	tokens    uuid → BindingToken
//	events  number, 8 bytes big endian → Event; their count is in meta
//	events.of  owner 0 number → app's id, and 1 for what the system did
//
// Every change is one transaction that is on disk when Update returns, so that a kill
// at any moment loses nothing that was accepted.
// Source: the tables of the v1 cloud_controller.
package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bberrors "go.etcd.io/bbolt/errors"
)

const schema = 1

// Errors that callers map to what a client is told.
var (
	ErrLocked       = errors.New("the data folder is in use by another process")
	ErrNoApp        = errors.New("no such app")
	ErrNoUser       = errors.New("no such user")
	ErrNameTaken    = errors.New("the owner has an app of this name")
	ErrUserTaken    = errors.New("there is a user of this name")
	ErrNoInvitation = errors.New("no such invitation")
	ErrInvitations  = errors.New("too many invitations are open")
	ErrNoBlob       = errors.New("no such blob")
	ErrNoOffering   = errors.New("no such service in the catalogue")
	ErrNoService    = errors.New("no such service instance")
	ErrNoBinding    = errors.New("no such binding")
	ErrNoToken      = errors.New("no such binding token")
	ErrAliasTaken   = errors.New("the owner has a service instance of this name")
)

// ErrURITaken tells that another owner has the URI.
type ErrURITaken struct{ URI string }

func (e ErrURITaken) Error() string { return fmt.Sprintf("uri %q is taken", e.URI) }

// Store is the open store.
type Store struct {
	db    *bbolt.DB
	Blobs *Blobs
}

var (
	bucketMeta        = []byte("meta")
	bucketUsers       = []byte("users")
	bucketRevoked     = []byte("revoked")
	bucketInvitations = []byte("invitations")
	bucketApps        = []byte("apps")
	bucketNames       = []byte("names")
	bucketURIs        = []byte("uris")
	bucketPool        = []byte("pool")
	bucketLogs        = []byte("logs")
	bucketEvents      = []byte("events")
	bucketEventsOf    = []byte("events.of")
	bucketOfferings   = []byte("offerings")
	bucketServices    = []byte("services")
	bucketAliases     = []byte("aliases")
	bucketBindings    = []byte("bindings")
	bucketTokens      = []byte("tokens")
)

// Open opens, or makes, the store in a folder. It fails with ErrLocked while another
// process has it.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "cloud.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bberrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	blobs, err := openBlobs(filepath.Join(dir, "blobs"))
	if err == nil {
		err = db.Update(migrate)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return &Store{db: db, Blobs: blobs}, nil
}

func migrate(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketUsers, bucketRevoked, bucketInvitations, bucketApps, bucketNames, bucketURIs, bucketPool, bucketLogs, bucketEvents, bucketEventsOf,
		bucketOfferings, bucketServices, bucketAliases, bucketBindings, bucketTokens} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	switch v := meta.Get([]byte("schema")); {
	case v == nil:
		return meta.Put([]byte("schema"), []byte{schema})
	case v[0] != schema:
		return fmt.Errorf("the data is of schema %d, this binary reads schema %d: use the binary that wrote it", v[0], schema)
	}
	return nil
}

// Close closes the file; nothing may be under way.
func (s *Store) Close() error { return s.db.Close() }

// Tx is a transaction. What it returns are copies that outlive it.
type Tx struct{ tx *bbolt.Tx }

// View runs fn on a consistent picture. Keep it short, and never open another
// transaction or the network inside.
func (s *Store) View(fn func(*Tx) error) error {
	return s.db.View(func(tx *bbolt.Tx) error { return fn(&Tx{tx}) })
}

// Update runs fn as one change. All of it is on disk when Update returns nil, and
// nothing of it when fn returned an error.
func (s *Store) Update(fn func(*Tx) error) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return fn(&Tx{tx}) })
}

// Secret is the named secret of this cloud; create makes it at first use. Without
// create it is nil where there is none.
func (s *Store) Secret(name string, create func() []byte) ([]byte, error) {
	var secret []byte
	key := []byte("secret." + name)
	err := s.db.View(func(tx *bbolt.Tx) error {
		secret = append(secret, tx.Bucket(bucketMeta).Get(key)...)
		return nil
	})
	if err != nil || secret != nil || create == nil {
		return secret, err // almost always, and without a write
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if v := meta.Get(key); v != nil {
			secret = append(secret, v...)
			return nil
		}
		secret = create()
		return meta.Put(key, secret)
	})
	return secret, err
}

// Check verifies the file's structure; for tests and for doctor.
func (s *Store) Check() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// put and get are the whole mapping of records: JSON under a key.
func put(b *bbolt.Bucket, key []byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, data)
}

func get[T any](b *bbolt.Bucket, key []byte) (v T, ok bool, err error) {
	data := b.Get(key)
	if data == nil {
		return v, false, nil
	}
	return v, true, json.Unmarshal(data, &v)
}

func idKey(id AppID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

// pair joins two parts of a key; the first never holds a zero byte.
func pair(a, b string) []byte { return append(append([]byte(a), 0), b...) }
