package store

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// PoolFile is a file that an owner uploaded before and need not upload again. The pool
// is kept per owner: whoever knows a fingerprint only must not get the file for it.
type PoolFile struct {
	Blob
	Executable bool `json:",omitempty"`
	Used       time.Time
}

// PoolFile finds an owner's file by its SHA-1, in any case.
func (tx *Tx) PoolFile(owner, sha1 string) (PoolFile, bool, error) {
	return get[PoolFile](tx.tx.Bucket(bucketPool), poolKey(owner, sha1))
}

// PutPoolFile notes that the owner has uploaded the file.
func (tx *Tx) PutPoolFile(owner string, f PoolFile) error {
	return put(tx.tx.Bucket(bucketPool), poolKey(owner, f.SHA1), f)
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
		var f PoolFile
		if err := json.Unmarshal(v, &f); err != nil {
			return err
		}
		if f.Used.Before(since) {
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

func poolKey(owner, sha1 string) []byte { return pair(owner, strings.ToLower(sha1)) }
