package store

import (
	"encoding/json"
	"time"
)

// User is an account.
type User struct {
	Email    string
	Admin    bool   `json:",omitempty"`
	Password string // hash with its parameters
	// Generation is mixed into the key of the user's tokens: raising it revokes them.
	Generation int
	Created    time.Time
	// Version counts the changes, and Modified is when the last one was; zero where
	// there was none.
	Version  int       `json:",omitzero"`
	Modified time.Time `json:",omitzero"`
	// Given and Family name; the e-mail address stands for both where they are empty.
	Given  string `json:",omitempty"`
	Family string `json:",omitempty"`
	Quota  Quota  `json:",omitzero"`
}

// Quota is what an account may use where that differs from the cloud's default. What is
// nil is as everybody has it.
type Quota struct {
	Memory   *int `json:",omitempty"` // MB, of all started instances
	Apps     *int `json:",omitempty"`
	Services *int `json:",omitempty"`
	URIs     *int `json:",omitempty"` // of each app
}

// User reads a user, or fails with ErrNoUser.
func (tx *Tx) User(email string) (User, error) {
	u, ok, err := get[User](tx.tx.Bucket(bucketUsers), []byte(email))
	if err == nil && !ok {
		err = ErrNoUser
	}
	return u, err
}

// AddUser writes a new user, or fails with ErrUserTaken.
func (tx *Tx) AddUser(u User) error {
	if tx.tx.Bucket(bucketUsers).Get([]byte(u.Email)) != nil {
		return ErrUserTaken
	}
	return tx.PutUser(u)
}

// PutUser writes a user.
func (tx *Tx) PutUser(u User) error {
	return put(tx.tx.Bucket(bucketUsers), []byte(u.Email), u)
}

// DeleteUser removes a user and what is known of the user's tokens, and leaves the events
// to administrators; the apps are the caller's to remove in the same change.
func (tx *Tx) DeleteUser(email string) error {
	if err := tx.DropRevoked(email); err != nil {
		return err
	}
	if err := tx.disownEvents(email); err != nil {
		return err
	}
	return tx.tx.Bucket(bucketUsers).Delete([]byte(email))
}

// Users reads all users by e-mail.
func (tx *Tx) Users() ([]User, error) {
	var users []User
	err := tx.tx.Bucket(bucketUsers).ForEach(func(_, v []byte) error {
		var u User
		users = append(users, u)
		return json.Unmarshal(v, &users[len(users)-1])
	})
	return users, err
}
