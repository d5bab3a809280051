package store

import (
	"encoding/json"
	"time"
)

// Invitation lets somebody make an account. Its key is a hash of the code.
type Invitation struct {
	ID      string    `json:"-"`          // the hash, in hex
	Email   string    `json:",omitempty"` // whom it is for; empty for anybody
	By      string    // the administrator
	Expires time.Time // until when it holds
}

// InvitationLimit is how many invitations may be open.
const InvitationLimit = 1000

// AddInvitation writes an invitation and forgets those that have expired by now. It
// fails with ErrInvitations where too many are open.
func (tx *Tx) AddInvitation(i Invitation, now time.Time) error {
	open, err := tx.Invitations()
	if err != nil {
		return err
	}
	left := 0
	for _, old := range open {
		if now.Before(old.Expires) {
			left++
		} else if err := tx.DeleteInvitation(old.ID); err != nil {
			return err
		}
	}
	if left >= InvitationLimit {
		return ErrInvitations
	}
	return put(tx.tx.Bucket(bucketInvitations), []byte(i.ID), i)
}

// Invitation reads an invitation, or fails with ErrNoInvitation.
func (tx *Tx) Invitation(id string) (Invitation, error) {
	i, ok, err := get[Invitation](tx.tx.Bucket(bucketInvitations), []byte(id))
	if err == nil && !ok {
		err = ErrNoInvitation
	}
	i.ID = id
	return i, err
}

// DeleteInvitation removes an invitation.
func (tx *Tx) DeleteInvitation(id string) error {
	return tx.tx.Bucket(bucketInvitations).Delete([]byte(id))
}

// Invitations reads all, in no order that means anything.
func (tx *Tx) Invitations() ([]Invitation, error) {
	var all []Invitation
	err := tx.tx.Bucket(bucketInvitations).ForEach(func(k, v []byte) error {
		i := Invitation{ID: string(k)}
		err := json.Unmarshal(v, &i)
		all = append(all, i)
		return err
	})
	return all, err
}
