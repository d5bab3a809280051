package controller

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

func (c *Controller) listUsers(e echo.Context) error {
	if _, err := admin(e); err != nil {
		return err
	}
	type app struct {
		Name  string `json:"name"`
		State string `json:"state"`
	}
	type row struct {
		api.User
		Apps []app `json:"apps"`
	}
	rows := []row{}
	err := c.st.View(func(tx *store.Tx) error {
		users, err := tx.Users()
		if err != nil {
			return err
		}
		for _, u := range users {
			r := row{User: api.User{Email: u.Email, Admin: u.Admin}, Apps: []app{}}
			apps, err := tx.AppsOf(u.Email)
			if err != nil {
				return err
			}
			for _, a := range apps {
				r.Apps = append(r.Apps, app{a.Name, state(&a)})
			}
			rows = append(rows, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, rows)
}

func (c *Controller) addUser(e echo.Context) error {
	req, err := decode[api.Credentials](e)
	if err != nil {
		return err
	}
	ctx, u := e.Request().Context(), who(e).user
	switch {
	case u != nil && u.Admin || c.cfg.Registration == RegistrationOpen:
		err = c.id.Register(ctx, req.Email, req.Password, false)
	case c.cfg.Registration == RegistrationInvite:
		err = c.id.RegisterInvited(ctx, req.Email, req.Password, req.Invitation, time.Now())
	default:
		err = api.Forbidden.Because("registration is closed here; ask the administrator for an account")
	}
	if err != nil {
		return err
	}
	return e.NoContent(http.StatusNoContent)
}

// login gives a token: for the right password, or to an administrator for anybody.
func (c *Controller) login(e echo.Context) error {
	req, err := decode[api.Credentials](e)
	if err != nil {
		return err
	}
	email, now := param(e, "email"), time.Now()
	var token string
	if u := who(e).user; u != nil && u.Admin {
		token, err = c.id.Token(email, now)
	} else {
		token, err = c.id.Login(e.Request().Context(), email, req.Password, e.RealIP(), now)
	}
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, api.Token{Token: token})
}

func (c *Controller) getUser(e echo.Context) error {
	if _, err := user(e); err != nil {
		return err
	}
	email := param(e, "*")
	if who(e).user.Email != email && !who(e).real.Admin {
		return api.Forbidden.Because("only an administrator may look at another user")
	}
	var u store.User
	err := c.st.View(func(tx *store.Tx) (err error) {
		u, err = tx.User(email)
		return err
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, api.User{Email: u.Email, Admin: u.Admin})
}

// setPassword changes the caller's own password, whatever the path says, as in v1.
func (c *Controller) setPassword(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	req, err := decode[api.Credentials](e)
	if err != nil {
		return err
	}
	if err := c.id.SetPassword(e.Request().Context(), u.Email, req.Password); err != nil {
		return err
	}
	return e.NoContent(http.StatusNoContent)
}

// deleteUser removes a user with all that belongs to the account.
func (c *Controller) deleteUser(e echo.Context) error {
	if _, err := admin(e); err != nil {
		return err
	}
	email := param(e, "*")
	if email == who(e).real.Email {
		return api.BadRequest.Because("an administrator cannot delete the account in use")
	}
	ctx := e.Request().Context()
	var apps []store.App
	var services []gone
	err := c.st.Update(func(tx *store.Tx) (err error) {
		if _, err = tx.User(email); err != nil {
			return err
		}
		if apps, err = tx.AppsOf(email); err != nil {
			return err
		}
		for _, app := range apps {
			if err := tx.DeleteApp(app.ID); err != nil {
				return err
			}
		}
		if services, err = dropServices(ctx, tx, email); err != nil {
			return err
		}
		if err := tx.DropPool(email, time.Now()); err != nil {
			return err
		}
		if err := tx.DeleteUser(email); err != nil {
			return err
		}
		return recordDeletion(ctx, tx, email, apps)
	})
	if err != nil {
		return err
	}
	for _, app := range apps {
		c.forget(app.ID)
	}
	for _, g := range services {
		c.gatewayFailed(&g.offering, "unprovision", unprovisionAt(ctx, &g.offering, &g.Service))
	}
	return e.NoContent(http.StatusNoContent)
}
