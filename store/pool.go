package store

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"
)

// PoolFile is a file that an owner uploaded before and need not upload again. The pool
// is kept per owner: whoever knows a fingerprint only must not get the file for it.
type PoolFile struct {
	Blob
	Executable bool
	Used       time.Time // to the second
}

// PoolFile finds an owner's file by its SHA-1, in any case.
func (tx *Tx) PoolFile(owner, sha1 string) (PoolFile, bool) {
	sha1 = strings.ToLower(sha1)
	f, ok := parsePoolFile(tx.tx.Bucket(bucketPool).Get(pair(owner, sha1)))
	f.SHA1 = sha1
	return f, ok
}

// PutPoolFile notes that the owner has uploaded the file.
func (tx *Tx) PutPoolFile(owner string, f PoolFile) error {
	return tx.tx.Bucket(bucketPool).Put(pair(owner, strings.ToLower(f.SHA1)), f.record())
}

// The one record that is no JSON: a large app asks for 20,000 of them in one request.
// It is a byte that tells whether the file is executable, eight each of size and time of
// use, and the SHA-256.
const poolHead = 1 + 8 + 8

func (f PoolFile) record() []byte {
	v := make([]byte, 1, poolHead+len(f.SHA256))
	if f.Executable {
		v[0] = 1
	}
	v = binary.BigEndian.AppendUint64(v, uint64(f.Size))
	v = binary.BigEndian.AppendUint64(v, uint64(f.Used.Unix()))
	return append(v, f.SHA256...)
}

// parsePoolFile reads a record. One of another form counts for nothing: the file is
// uploaded once more.
func parsePoolFile(v []byte) (f PoolFile, ok bool) {
	if len(v) <= poolHead || v[0] > 1 {
		return f, false
	}
	f.Executable = v[0] == 1
	f.Size = int64(binary.BigEndian.Uint64(v[1:]))
	f.Used = time.Unix(int64(binary.BigEndian.Uint64(v[9:])), 0).UTC()
	f.SHA256 = string(v[poolHead:])
	return f, true
}

// DropPool forgets the files of an owner, or of everybody where owner is empty, that
// were not used since.
func (tx *Tx) DropPool(owner string, since time.Time) error {
	c := tx.tx.Bucket(bucketPool).Cursor()
	prefix := []byte{}
	if owner != "" {
		prefix = pair(owner, "")
	}
	var drop [][]byte
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if f, ok := parsePoolFile(v); !ok || f.Used.Before(since) {
			drop = append(drop, bytes.Clone(k))
		}
	}
	for _, k := range drop {
		if err := tx.tx.Bucket(bucketPool).Delete(k); err != nil {
			return err
		}
	}
	return nil
}
