package store

import (
	"bytes"
	"encoding/binary"
	"time"
)

// RevokedLimit is how many revoked tokens are remembered of one user. Beyond it a new
// generation of the user revokes all.
const RevokedLimit = 100

// Revoked tells whether a token of the user was revoked.
func (tx *Tx) Revoked(email string, token []byte) bool {
	return tx.tx.Bucket(bucketRevoked).Get(pair(email, string(token))) != nil
}

// Revoke remembers until expires that a token is revoked, and forgets those of the same
// user that have expired by now. It returns how many are remembered of the user.
func (tx *Tx) Revoke(email string, token []byte, expires, now time.Time) (int, error) {
	b := tx.tx.Bucket(bucketRevoked)
	if err := b.Put(pair(email, string(token)), binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))); err != nil {
		return 0, err
	}
	return tx.dropRevoked(email, func(expires int64) bool { return expires < now.Unix() })
}

// DropRevoked forgets the revoked tokens of a user, who has no valid ones any more.
func (tx *Tx) DropRevoked(email string) error {
	_, err := tx.dropRevoked(email, func(int64) bool { return true })
	return err
}

// dropRevoked forgets those of a user that match, and counts the others.
func (tx *Tx) dropRevoked(email string, match func(expires int64) bool) (kept int, err error) {
	b, prefix := tx.tx.Bucket(bucketRevoked), pair(email, "")
	var drop [][]byte // not while the cursor is on its way
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if len(v) != 8 || match(int64(binary.BigEndian.Uint64(v))) {
			drop = append(drop, bytes.Clone(k))
		} else {
			kept++
		}
	}
	for _, k := range drop {
		if err := b.Delete(k); err != nil {
			return kept, err
		}
	}
	return kept, nil
}
