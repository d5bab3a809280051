package controller

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/store"
)

// listServices are the caller's service instances.
func (c *Controller) listServices(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	out := []api.Service{}
	err = c.st.View(func(tx *store.Tx) error {
		services, err := tx.ServicesOf(u.Email)
		for _, s := range services {
			described, err := describeInstance(tx, &s)
			if err != nil {
				return err
			}
			out = append(out, described)
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, out)
}

func (c *Controller) getService(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	var out api.Service
	err = c.st.View(func(tx *store.Tx) error {
		s, err := tx.ServiceNamed(u.Email, param(e, "alias"))
		if err == nil {
			out, err = describeInstance(tx, &s)
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, out)
}

func describeInstance(tx *store.Tx, s *store.Service) (api.Service, error) {
	o, err := tx.Offering(s.Label, s.Provider)
	properties := o.BindingOptions
	if properties == nil {
		properties = json.RawMessage("{}")
	}
	return api.Service{
		Name: s.Alias, Type: serviceType(o.Name()), Vendor: o.Name(), Provider: showProvider(o.Provider),
		Version: provisionedVersion(s, &o), Tier: s.Plan, Properties: properties,
		Meta: api.ServiceMeta{Created: s.Created.Unix(), Updated: s.Updated.Unix(), Tags: list(o.Tags), Version: 1},
	}, err
}

// provisionedVersion is what the gateway noted; those of 2011 noted none.
func provisionedVersion(s *store.Service, o *store.Offering) string {
	var data struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(s.Data, &data) == nil && data.Version != "" {
		return data.Version
	}
	return o.Version()
}

// addService provisions as the old clients ask for it: by name and version.
func (c *Controller) addService(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	quota := func(tx *store.Tx) error {
		if used, limit := tx.CountServices(u.Email), c.account(u).Services; used >= limit {
			return api.TooManyServices.With(used, limit).Because("delete one that is not needed any more: vmc delete-service NAME")
		}
		return nil
	}
	if err := c.st.View(quota); err != nil {
		return err
	}
	req, err := decodeMessage[api.ServiceRequest](e, provisionOld)
	if err != nil {
		return err
	}
	o, version, err := c.offered(u, req)
	if err != nil {
		return err
	}
	w := wanted{alias: req.Name, plan: req.Tier, version: version, quota: quota}
	if req.Options != nil {
		w.option = req.Options.PlanOption
	}
	if _, err := c.provision(e.Request().Context(), u, &o, w); err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}

// offered finds the offering that has the version asked for.
func (c *Controller) offered(u *store.User, req api.ServiceRequest) (found store.Offering, version string, err error) {
	err = c.st.View(func(tx *store.Tx) error {
		offerings, err := tx.Offerings()
		if err != nil {
			return err
		}
		err = store.ErrNoOffering
		for _, o := range offerings {
			if o.Name() != req.Vendor || o.Provider != providerOf(req.Provider) || !visible(&o, u.Email, req.Tier) {
				continue
			}
			if v, ok := supported(&o, req.Version); ok {
				found, version = o, v
				return nil
			}
			err = unsupported(&o, req.Version)
		}
		return err
	})
	return found, version, err
}

// supported resolves a version or one of its aliases.
func supported(o *store.Offering, version string) (string, bool) {
	if v, ok := o.VersionAliases[version]; ok {
		version = v
	}
	return version, slices.Contains(o.SupportedVersions, version)
}

func unsupported(o *store.Offering, version string) error {
	return api.ServiceVersion.With(version).Because("%s has %v", o.Name(), o.SupportedVersions)
}

// deleteService removes a service instance: here first, then at the gateway, which learns
// of it later if it does not answer now.
func (c *Controller) deleteService(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	ctx := e.Request().Context()
	var g gone
	err = c.st.Update(func(tx *store.Tx) error {
		s, err := tx.ServiceNamed(u.Email, param(e, "alias"))
		if err == nil {
			g, err = dropService(ctx, tx, s)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := c.gatewayFault(&g.offering, "unprovision", unprovisionAt(ctx, &g.offering, &g.Service)); err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}

// serviceTokens is a stub that v1 never filled.
func serviceTokens(e echo.Context) error {
	return e.JSON(http.StatusOK, map[string]string{"error": "Not yet implemented"})
}

// aliases are the names of the service instances that an app is bound to.
func aliases(tx *store.Tx, app store.AppID) ([]string, error) {
	names := []string{}
	bindings, err := tx.BindingsOf(app)
	for _, b := range bindings {
		s, err := tx.Service(b.Service)
		if err != nil {
			return nil, err
		}
		names = append(names, s.Alias)
	}
	return names, err
}

// rebinding is how an app's bindings change.
type rebinding struct {
	bind   []store.Service
	unbind []store.Binding
}

// planBindings compares what an app is bound to with what is asked for. All that is new
// has to be the owner's.
func planBindings(tx *store.Tx, app *store.App, names []string) (r rebinding, err error) {
	bindings, err := tx.BindingsOf(app.ID)
	if err != nil {
		return r, err
	}
	have, err := aliases(tx, app.ID)
	if err != nil {
		return r, err
	}
	for i, name := range names {
		if slices.Contains(have, name) || slices.Contains(names[:i], name) {
			continue
		}
		s, err := tx.ServiceNamed(app.Owner, name)
		if errors.Is(err, store.ErrNoService) {
			err = api.ServiceNotFound.Because("you have no service named %s; `vmc services` lists yours", name)
		}
		if err != nil {
			return r, err
		}
		r.bind = append(r.bind, s)
	}
	for i, b := range bindings {
		if !slices.Contains(names, have[i]) {
			r.unbind = append(r.unbind, b)
		}
	}
	return r, nil
}

// rebind carries a plan out, and leaves app as it is then: to be staged again, if
// anything changed.
func (c *Controller) rebind(ctx ctx, app *store.App, r rebinding) error {
	for _, s := range r.bind {
		w := binding{app: app.ID, service: s, restage: true}
		err := c.st.View(func(tx *store.Tx) (err error) {
			w.offering, err = tx.Offering(s.Label, s.Provider)
			return err
		})
		if err == nil {
			_, err = c.bind(ctx, w)
		}
		if err != nil && !errors.Is(err, errBound) {
			return err
		}
	}
	for _, b := range r.unbind {
		if err := c.unbind(ctx, b, true); err != nil && !errors.Is(err, store.ErrNoBinding) {
			return err
		}
	}
	if len(r.bind)+len(r.unbind) == 0 {
		return nil
	}
	return c.st.View(func(tx *store.Tx) (err error) {
		*app, err = tx.App(app.ID)
		return err
	})
}

// abandon removes an app that could not be bound to all that it asked for.
func (c *Controller) abandon(ctx ctx, app *store.App) {
	var bindings []store.Binding
	err := c.st.View(func(tx *store.Tx) (err error) {
		bindings, err = tx.BindingsOf(app.ID)
		return err
	})
	for _, b := range bindings {
		err = errors.Join(err, c.unbind(ctx, b, false))
	}
	err = errors.Join(err, c.st.Update(func(tx *store.Tx) error {
		return errors.Join(tx.DeleteApp(app.ID), record(ctx, tx, app, store.AppDeleted, "it could not be bound to all that it asked for"))
	}))
	if err != nil {
		c.log.Error("half-made app", "app", app.ID, "err", err)
	}
}

// boundServices is what staging and the app's instances see of its bindings.
func (c *Controller) boundServices(app store.AppID) []bus.Service {
	out := []bus.Service{}
	err := c.st.View(func(tx *store.Tx) error {
		bindings, err := tx.BindingsOf(app)
		for _, b := range bindings {
			s, err := boundService(tx, &b)
			if err != nil {
				return err
			}
			out = append(out, s)
		}
		return err
	})
	if err != nil {
		c.log.Error("bindings", "app", app, "err", err)
	}
	return out
}

func boundService(tx *store.Tx, b *store.Binding) (bus.Service, error) {
	s, err := tx.Service(b.Service)
	if err != nil {
		return bus.Service{}, err
	}
	o, err := tx.Offering(s.Label, s.Provider)
	label := o.Name() + "-" + provisionedVersion(&s, &o)
	out := bus.Service{
		Label: label, Tags: append(list(o.Tags), label, o.Name()), Name: s.Alias, Credentials: b.Credentials, Options: b.Options,
		Plan: s.Plan, Type: serviceType(o.Name()), Version: o.Version(), Vendor: o.Name(),
	}
	var option string
	if json.Unmarshal(s.PlanOption, &option) == nil {
		out.PlanOption = &option
	}
	return out, err
}
