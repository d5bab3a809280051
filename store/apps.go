package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// AppID is an application's number.
type AppID int64

// PackageState says what became of the uploaded bits.
type PackageState string

// States of a package.
const (
	Pending PackageState = "PENDING"
	Staged  PackageState = "STAGED"
	Failed  PackageState = "FAILED"
)

// App is an application's record.
type App struct {
	ID        AppID
	Owner     string // e-mail
	Name      string
	Framework string
	Runtime   string
	Command   string `json:",omitempty"`
	Started   bool
	Instances int
	Memory    int // MB
	Disk      int // MB
	FDs       int
	URIs      []string // sorted
	Env       []string
	Debug     *string `json:",omitempty"`
	Console   *bool   `json:",omitempty"`

	Package      *Package `json:",omitempty"`
	PackageState PackageState
	Droplet      *Blob `json:",omitempty"`
	RunCount     int

	LockVersion int
	Created     time.Time
	Updated     time.Time
}

// Package is what an owner uploaded: a tree of files, each a blob.
type Package struct {
	Hash string // SHA-1 over the tree
	Tree string // the blob that lists the tree
	Size int64  // bytes of all files
}

// Blob names a stored file by both of its fingerprints.
type Blob struct {
	SHA256 string
	SHA1   string
	Size   int64
}

// NeedsStaging tells that there are bits and no droplet of them.
func (a *App) NeedsStaging() bool { return a.Package != nil && a.PackageState != Staged }

// Version names what runs: it changes with each droplet and at each start. Without any
// bits it is another one at each call, as in v1, so that it equals no instance's.
func (a *App) Version() string {
	var hash string
	switch {
	case a.Droplet != nil:
		hash = a.Droplet.SHA1
	case a.Package != nil:
		hash = a.Package.Hash
	default:
		var id [16]byte
		rand.Read(id[:]) //nolint:errcheck // never fails
		hash = hex.EncodeToString(id[:])
	}
	return fmt.Sprintf("%s-%d", hash, a.RunCount)
}

// App reads an app, or fails with ErrNoApp.
func (tx *Tx) App(id AppID) (App, error) {
	app, ok, err := get[App](tx.tx.Bucket(bucketApps), idKey(id))
	if err == nil && !ok {
		err = ErrNoApp
	}
	return app, err
}

// AppNamed reads an owner's app by name, or fails with ErrNoApp.
func (tx *Tx) AppNamed(owner, name string) (App, error) {
	id := tx.tx.Bucket(bucketNames).Get(pair(owner, name))
	if id == nil {
		return App{}, ErrNoApp
	}
	return tx.App(AppID(binary.BigEndian.Uint64(id)))
}

// AppsOf reads all apps of an owner, by name.
func (tx *Tx) AppsOf(owner string) ([]App, error) {
	var apps []App
	prefix := pair(owner, "")
	c := tx.tx.Bucket(bucketNames).Cursor()
	for k, id := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, id = c.Next() {
		app, err := tx.App(AppID(binary.BigEndian.Uint64(id)))
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// Apps reads up to limit apps with ids above after, in the order of their ids.
func (tx *Tx) Apps(after AppID, limit int) ([]App, error) {
	var apps []App
	c := tx.tx.Bucket(bucketApps).Cursor()
	for k, v := c.Seek(idKey(max(after, 0) + 1)); k != nil && len(apps) < limit; k, v = c.Next() {
		var app App
		if err := json.Unmarshal(v, &app); err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// CountApps counts all apps.
func (tx *Tx) CountApps() int { return tx.tx.Bucket(bucketApps).Stats().KeyN }

// PutApp writes an app; a new one, with id 0, gets its id. It fails with ErrNameTaken,
// or with ErrURITaken where another owner has one of the URIs.
func (tx *Tx) PutApp(app *App) error {
	apps := tx.tx.Bucket(bucketApps)
	var before App
	if app.ID == 0 {
		names := tx.tx.Bucket(bucketNames)
		if names.Get(pair(app.Owner, app.Name)) != nil {
			return ErrNameTaken
		}
		seq, err := apps.NextSequence()
		if err != nil {
			return err
		}
		app.ID = AppID(seq)
		if err := names.Put(pair(app.Owner, app.Name), idKey(app.ID)); err != nil {
			return err
		}
	} else {
		var err error
		if before, err = tx.App(app.ID); err != nil {
			return err
		}
	}
	if err := tx.moveURIs(app, before.URIs); err != nil {
		return err
	}
	return put(apps, idKey(app.ID), app)
}

// moveURIs brings the index of URIs from the old list to the app's present one.
func (tx *Tx) moveURIs(app *App, old []string) error {
	b := tx.tx.Bucket(bucketURIs)
	key := func(uri string) []byte { return pair(uri, string(idKey(app.ID))) }
	for _, uri := range old {
		if !slices.Contains(app.URIs, uri) {
			if err := b.Delete(key(uri)); err != nil {
				return err
			}
		}
	}
	for _, uri := range app.URIs {
		if slices.Contains(old, uri) {
			continue
		}
		if uriOwner(b, uri, app.Owner) {
			return ErrURITaken{uri}
		}
		if err := b.Put(key(uri), []byte(app.Owner)); err != nil {
			return err
		}
	}
	return nil
}

// uriOwner tells whether anybody but owner has the URI.
func uriOwner(b *bbolt.Bucket, uri, owner string) bool {
	prefix := pair(uri, "")
	c := b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if string(v) != owner {
			return true
		}
	}
	return false
}

// StagingLog reads the log of the app's last staging run.
func (tx *Tx) StagingLog(id AppID) string {
	return string(tx.tx.Bucket(bucketLogs).Get(idKey(id)))
}

// PutStagingLog keeps the log of the app's last staging run.
func (tx *Tx) PutStagingLog(id AppID, text string) error {
	return tx.tx.Bucket(bucketLogs).Put(idKey(id), []byte(text))
}

// DeleteApp removes an app with its bindings and its index entries.
func (tx *Tx) DeleteApp(id AppID) error {
	app, err := tx.App(id)
	if err != nil {
		return err
	}
	if err := tx.moveURIs(&App{ID: id, Owner: app.Owner}, app.URIs); err != nil {
		return err
	}
	if err := tx.dropBindings(func(b *Binding) bool { return b.App == id }); err != nil {
		return err
	}
	if err := tx.tx.Bucket(bucketNames).Delete(pair(app.Owner, app.Name)); err != nil {
		return err
	}
	if err := tx.tx.Bucket(bucketLogs).Delete(idKey(id)); err != nil {
		return err
	}
	return tx.tx.Bucket(bucketApps).Delete(idKey(id))
}
