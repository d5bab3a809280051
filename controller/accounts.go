package controller

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

// What v1 has no routes for: logging out, quotas and invitations.

// logout makes the token that it came with worthless. Whoever has none is logged out.
func (c *Controller) logout(e echo.Context) error {
	if err := c.id.Revoke(e.Request().Header.Get("Authorization"), time.Now()); err != nil {
		return err
	}
	return e.NoContent(http.StatusNoContent)
}

// account is what a user may use.
func (c *Controller) account(u *store.User) api.Account {
	a := c.cfg.Account
	if u.Admin {
		a = c.cfg.AdminAccount
	}
	for _, q := range []struct{ own, to *int }{
		{u.Quota.Memory, &a.Memory}, {u.Quota.Apps, &a.Apps}, {u.Quota.Services, &a.Services}, {u.Quota.URIs, &a.AppURIs},
	} {
		if q.own != nil {
			*q.to = *q.own
		}
	}
	return a
}

// getQuota tells administrators about everybody, and others about themselves.
func (c *Controller) getQuota(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	email := param(e, "email")
	if u.Email != email && !u.Admin {
		return api.Forbidden.Because("only an administrator may look at another user")
	}
	return c.answerQuota(e, email)
}

// setQuota replaces an account's own limits. Those that are absent are as everybody has
// them. What runs goes on; the next start is measured by the new limits.
func (c *Controller) setQuota(e echo.Context) error {
	if _, err := admin(e); err != nil {
		return err
	}
	req, err := decode[api.QuotaRequest](e)
	if err != nil {
		return err
	}
	for _, n := range []*int{req.Memory, req.Apps, req.Services, req.AppURIs} {
		if n != nil && (*n < 0 || *n > api.MaxQuota) {
			return api.BadRequest.Because("a limit is a number from 0 to %d", api.MaxQuota)
		}
	}
	return c.putQuota(e, store.Quota{Memory: req.Memory, Apps: req.Apps, Services: req.Services, URIs: req.AppURIs})
}

func (c *Controller) resetQuota(e echo.Context) error {
	if _, err := admin(e); err != nil {
		return err
	}
	return c.putQuota(e, store.Quota{})
}

func (c *Controller) putQuota(e echo.Context, q store.Quota) error {
	email := param(e, "email")
	if err := c.id.SetQuota(e.Request().Context(), email, q); err != nil {
		return err
	}
	return c.answerQuota(e, email)
}

func (c *Controller) answerQuota(e echo.Context, email string) error {
	var out api.Quota
	err := c.st.View(func(tx *store.Tx) error {
		u, err := tx.User(email)
		if err != nil {
			return err
		}
		apps, err := tx.AppsOf(email)
		out = api.Quota{Email: email, Limits: c.account(&u), Usage: usageOf(apps)}
		out.Own = api.QuotaRequest{Memory: u.Quota.Memory, Apps: u.Quota.Apps, Services: u.Quota.Services, AppURIs: u.Quota.URIs}
		return err
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, out)
}

func (c *Controller) invite(e echo.Context) error {
	by, err := admin(e)
	if err != nil {
		return err
	}
	req, err := decodeOptional[api.InvitationRequest](e)
	if err != nil {
		return err
	}
	code, i, err := c.id.Invite(e.Request().Context(), req.Email, by.Email, time.Now())
	if err != nil {
		return err
	}
	out := invitation(i)
	out.Code = code
	return e.JSON(http.StatusOK, out)
}

func invitation(i store.Invitation) api.Invitation {
	return api.Invitation{ID: i.ID, Email: i.Email, By: i.By, Expires: i.Expires.Unix()}
}

// listInvitations lists those that are open, without their codes: nobody knows these.
func (c *Controller) listInvitations(e echo.Context) error {
	if _, err := admin(e); err != nil {
		return err
	}
	out, now := []api.Invitation{}, time.Now()
	err := c.st.View(func(tx *store.Tx) error {
		all, err := tx.Invitations()
		for _, i := range all {
			if now.Before(i.Expires) {
				out = append(out, invitation(i))
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(out, func(a, b api.Invitation) int { return strings.Compare(a.Email+a.ID, b.Email+b.ID) })
	return e.JSON(http.StatusOK, out)
}

func (c *Controller) withdraw(e echo.Context) error {
	if _, err := admin(e); err != nil {
		return err
	}
	err := c.st.Update(func(tx *store.Tx) error {
		i, err := tx.Invitation(param(e, "id"))
		if err != nil {
			return err
		}
		if err := tx.DeleteInvitation(i.ID); err != nil {
			return err
		}
		return tx.Record(e.Request().Context(), store.Event{Owner: i.By, Action: store.UserUninvited, Detail: i.Email})
	})
	if err != nil {
		return err
	}
	return e.NoContent(http.StatusNoContent)
}
