package controller

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

// uuid is a random one, of version 4.
func uuid() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// configure provisions as cfoundry's services API asks for it: by label.
func (c *Controller) configure(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	req, err := decodeMessage[struct {
		Label, Name, Plan, Version, Provider string
		PlanOption                           json.RawMessage `json:"plan_option"`
	}](e, provisionMessage)
	if err != nil {
		return err
	}
	var o store.Offering
	err = c.st.View(func(tx *store.Tx) (err error) {
		o, err = tx.Offering(req.Label, providerOf(req.Provider))
		return err
	})
	if err != nil {
		return err
	}
	if !visible(&o, u.Email, req.Plan) {
		return store.ErrNoOffering
	}
	version, ok := supported(&o, req.Version)
	if !ok {
		return unsupported(&o, req.Version)
	}
	s, err := c.provision(e.Request().Context(), u, &o, wanted{alias: req.Name, plan: req.Plan, version: version, option: req.PlanOption})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, api.Provisioned{ServiceID: s.Handle, Data: s.Data, Credentials: s.Credentials})
}

// ownHandled reads a service instance by the gateway's id. It has to be the user's.
func ownHandled(tx *store.Tx, u *store.User, handle string) (s store.Service, o store.Offering, err error) {
	if s, err = tx.ServiceHandled(handle); err != nil {
		return s, o, err
	}
	if s.Owner != u.Email {
		return s, o, api.Forbidden.Because("this service belongs to another user")
	}
	o, err = tx.Offering(s.Label, s.Provider)
	return s, o, err
}

// ownNumbered reads an app by its number. It has to be the user's.
func ownNumbered(tx *store.Tx, u *store.User, id store.AppID) error {
	app, err := tx.App(id)
	if err == nil && app.Owner != u.Email {
		err = store.ErrNoApp
	}
	return err
}

// bindApp binds a service instance to an app, which goes on running as it is.
func (c *Controller) bindApp(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	req, err := decodeMessage[struct {
		ServiceID string      `json:"service_id"`
		AppID     store.AppID `json:"app_id"`
	}](e, bindMessage)
	if err != nil {
		return err
	}
	w := binding{app: req.AppID}
	err = c.st.View(func(tx *store.Tx) (err error) {
		if err := ownNumbered(tx, u, req.AppID); err != nil {
			return err
		}
		if w.service, w.offering, err = ownHandled(tx, u, req.ServiceID); err != nil {
			return err
		}
		return unbound(tx, req.AppID, w.service.ID)
	})
	if err != nil {
		return err
	}
	b, err := c.bind(e.Request().Context(), w)
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, map[string]string{"binding_token": b.Token, "label": w.offering.Label})
}

// bindExternal binds what a binding token stands for, whoever made that.
func (c *Controller) bindExternal(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	req, err := decodeMessage[struct {
		Token string      `json:"binding_token"`
		AppID store.AppID `json:"app_id"`
	}](e, bindExternalMessage)
	if err != nil {
		return err
	}
	w := binding{app: req.AppID}
	err = c.st.View(func(tx *store.Tx) (err error) {
		if err := ownNumbered(tx, u, req.AppID); err != nil {
			return err
		}
		token, err := tx.BindingToken(req.Token)
		if err != nil {
			return err
		}
		w.token = &token
		if w.service, err = tx.Service(token.Service); err != nil {
			return err
		}
		if w.offering, err = tx.Offering(w.service.Label, w.service.Provider); err != nil {
			return err
		}
		return unbound(tx, req.AppID, w.service.ID)
	})
	if err != nil {
		return err
	}
	if _, err := c.bind(e.Request().Context(), w); err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}

// unbindToken undoes a binding by its token. A token without one is just removed.
func (c *Controller) unbindToken(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	id := param(e, "token")
	var b store.Binding
	err = c.st.Update(func(tx *store.Tx) (err error) {
		t, err := tx.BindingToken(id)
		if errors.Is(err, store.ErrNoToken) {
			return store.ErrNoBinding
		}
		if err != nil {
			return err
		}
		b, err = tx.FindBinding(func(b *store.Binding) bool { return b.Token == id })
		switch {
		case err == nil:
			return ownNumbered(tx, u, b.App)
		case !errors.Is(err, store.ErrNoBinding):
			return err
		}
		if err := ownToken(tx, u, &t); err != nil {
			return err
		}
		return tx.DeleteBindingToken(id)
	})
	if errors.Is(err, store.ErrNoApp) {
		err = errForeignToken
	}
	if err == nil && b.Token != "" {
		err = c.unbind(e.Request().Context(), b, false)
	}
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}

var errForeignToken = api.Forbidden.Because("this binding token belongs to another user")

// ownToken checks that a token stands for an instance of the user.
func ownToken(tx *store.Tx, u *store.User, t *store.BindingToken) error {
	s, err := tx.Service(t.Service)
	if err == nil && s.Owner != u.Email {
		err = errForeignToken
	}
	return err
}

func (c *Controller) addBindingToken(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	req, err := decodeMessage[struct {
		ServiceID string          `json:"service_id"`
		Options   json.RawMessage `json:"binding_options"`
	}](e, tokenMessage)
	if err != nil {
		return err
	}
	token := store.BindingToken{ID: uuid(), Options: req.Options}
	var o store.Offering
	err = c.st.Update(func(tx *store.Tx) (err error) {
		var s store.Service
		if s, o, err = ownHandled(tx, u, req.ServiceID); err != nil {
			return err
		}
		token.Service = s.ID
		return tx.PutBindingToken(&token)
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct {
		Label string `json:"label"`
		Token string `json:"binding_token"`
	}{o.Label, token.ID})
}

func (c *Controller) getBindingToken(e echo.Context) error {
	var out struct {
		ServiceID string          `json:"service_id"`
		Options   json.RawMessage `json:"binding_options"`
	}
	err := c.st.View(func(tx *store.Tx) error {
		t, err := tx.BindingToken(param(e, "token"))
		if err != nil {
			return err
		}
		s, err := tx.Service(t.Service)
		out.ServiceID, out.Options = s.Handle, t.Options
		return err
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, out)
}

// deleteBindingToken removes a token, and what was bound with it. The gateway is not told.
func (c *Controller) deleteBindingToken(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	err = c.st.Update(func(tx *store.Tx) error {
		t, err := tx.BindingToken(param(e, "token"))
		if err == nil {
			err = ownToken(tx, u, &t)
		}
		if err != nil {
			return err
		}
		return tx.DropBindingToken(t.ID)
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}
