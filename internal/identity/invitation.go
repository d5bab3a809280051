package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"cloudlet/store"
)

// ErrInvitation tells that a code is wrong, used, withdrawn, too old or somebody else's.
var ErrInvitation = errors.New("the invitation does not hold")

// InvitationLife is how long an invitation holds.
const InvitationLife = 7 * 24 * time.Hour

// Invite makes the code of an invitation for an e-mail address, or for anybody where
// that is empty. It holds for one account. Only a hash of the code is kept.
func (id *Identity) Invite(ctx context.Context, email, by string, now time.Time) (code string, i store.Invitation, err error) {
	if email != "" {
		if err := checkEmail(email); err != nil {
			return "", i, err
		}
	}
	code = rand.Text()
	i = store.Invitation{ID: invitationID(code), Email: email, By: by, Expires: now.Add(InvitationLife).UTC().Truncate(time.Second)}
	err = id.st.Update(func(tx *store.Tx) error {
		if _, err := tx.User(email); email != "" && err == nil {
			return store.ErrUserTaken
		}
		if err := tx.AddInvitation(i, now); err != nil {
			return err
		}
		return tx.Record(ctx, store.Event{Owner: by, Action: store.UserInvited, Detail: email})
	})
	return code, i, err
}

func invitationID(code string) string {
	sum := sha256.Sum256([]byte(code))
	return hex.EncodeToString(sum[:16])
}

// RegisterInvited adds a user who has an invitation, and uses that up.
func (id *Identity) RegisterInvited(ctx context.Context, email, password, code string, now time.Time) error {
	key := invitationID(code)
	holds := func(tx *store.Tx) error {
		i, err := tx.Invitation(key)
		switch {
		case errors.Is(err, store.ErrNoInvitation):
			return ErrInvitation
		case err != nil:
			return err
		case !now.Before(i.Expires) || i.Email != "" && i.Email != email:
			return ErrInvitation
		}
		return nil
	}
	if err := id.st.View(holds); err != nil { // before the work of hashing
		return err
	}
	u, err := id.prepare(ctx, store.User{Email: email}, password)
	if err != nil {
		return err
	}
	return id.st.Update(func(tx *store.Tx) error {
		if err := holds(tx); err != nil {
			return err
		}
		return errors.Join(enter(ctx, tx, u), tx.DeleteInvitation(key))
	})
}
