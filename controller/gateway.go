package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloudlet/controller/api"
	"cloudlet/store"
)

const (
	tokenHeader     = "X-VCAP-Service-Token"
	gatewayPatience = 10 * time.Second // where the offering names no timeout
	maxTimeout      = 600              // s
	maxGatewayBody  = 1 << 20
	maxAlias        = 255
)

var errGateway = errors.New("unexpected answer of a service gateway")

// ask sends a request to an offering's gateway and reads its answer into out, unless nil. What the
// gateway refuses in JSON is an *api.Fault with its own code; anything else is errGateway.
// A caller that goes away does not interrupt it, since gateways finish what they began.
func ask(ctx ctx, o *store.Offering, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	limit := gatewayPatience
	if o.Timeout > 0 {
		limit = time.Duration(min(o.Timeout, maxTimeout)) * time.Second
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(o.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %v", errGateway, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(tokenHeader, o.Token)
	resp, err := http.DefaultTransport.RoundTrip(req) // no redirect leads the token elsewhere
	if err != nil {
		return fmt.Errorf("%w: %v", errGateway, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxGatewayBody))
	if err != nil {
		return fmt.Errorf("%w: %v", errGateway, err)
	}
	if resp.StatusCode != http.StatusOK {
		fault := api.ParseFault(resp.StatusCode, text)
		if fault.Code == 0 {
			return fmt.Errorf("%w: status %d", errGateway, resp.StatusCode)
		}
		return fault
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%w: %v", errGateway, err)
	}
	return nil
}

// gatewayFault hides what went wrong behind v1's one fault, and logs it.
func (c *Controller) gatewayFault(o *store.Offering, what string, err error) error {
	if err == nil {
		return nil
	}
	c.gatewayFailed(o, what, err)
	return api.GatewayError.Because("the gateway of %s did not %s: %v", o.Label, what, err)
}

// gatewayFailed logs what the caller need not know: the records are right by then, and
// the gateway compares its own with them.
func (c *Controller) gatewayFailed(o *store.Offering, what string, err error) {
	if err != nil {
		c.log.Error("service gateway", "label", o.Label, "op", what, "err", err)
	}
}

func configurations(handle string) string {
	return "/gateway/v1/configurations/" + url.PathEscape(handle)
}

// handleAnswer is a gateway's answer to provision and bind. Those of 2011 said data.
type handleAnswer struct {
	ServiceID     string          `json:"service_id"`
	Configuration json.RawMessage `json:"configuration"`
	Data          json.RawMessage `json:"data"`
	Credentials   json.RawMessage `json:"credentials"`
}

func (h *handleAnswer) configuration() json.RawMessage {
	if h.Configuration != nil {
		return h.Configuration
	}
	return h.Data
}

func (h *handleAnswer) check() error {
	if h.ServiceID == "" {
		return fmt.Errorf("%w: no service_id", errGateway)
	}
	return nil
}

// wanted is a service instance that somebody asks for.
type wanted struct {
	alias, plan, version string
	option               json.RawMessage
	quota                func(*store.Tx) error // nil: none
}

// provision has the gateway make a service instance. What must hold is looked at before,
// and once more when the instance is recorded: if it does not hold then, the gateway is
// told to take it back.
func (c *Controller) provision(ctx ctx, u *store.User, o *store.Offering, w wanted) (s store.Service, err error) {
	if err := c.st.View(func(tx *store.Tx) error { return mayProvision(tx, u, w) }); err != nil {
		return s, err
	}
	var h handleAnswer
	err = ask(ctx, o, http.MethodPost, "/gateway/v1/configurations", api.GatewayProvision{
		Label: o.Label, Name: w.alias, Plan: w.plan, Email: u.Email, Version: w.version, PlanOption: w.option,
	}, &h)
	if err == nil {
		err = h.check()
	}
	if err != nil {
		return s, c.gatewayFault(o, "provision", err)
	}
	now := time.Now().UTC()
	s = store.Service{
		Owner: u.Email, Alias: w.alias, Label: o.Label, Provider: o.Provider, Handle: h.ServiceID, Plan: w.plan, PlanOption: w.option,
		Data: h.configuration(), Credentials: h.Credentials, Created: now, Updated: now,
	}
	err = c.st.Update(func(tx *store.Tx) error {
		if err := mayProvision(tx, u, w); err != nil {
			return err
		}
		if _, err := tx.Offering(o.Label, o.Provider); err != nil {
			return err
		}
		if err := tx.PutService(&s); err != nil {
			return err
		}
		return tx.Record(ctx, store.Event{Owner: s.Owner, Action: store.ServiceCreated, Detail: fmt.Sprintf("%s, %s, plan %s", s.Alias, s.Label, s.Plan)})
	})
	if err != nil {
		c.gatewayFailed(o, "unprovision", unprovisionAt(ctx, o, &s))
	}
	return s, err
}

// mayProvision checks the name, and the quota where there is one.
func mayProvision(tx *store.Tx, u *store.User, w wanted) error {
	switch _, err := tx.ServiceNamed(u.Email, w.alias); {
	case strings.TrimSpace(w.alias) == "":
		return invalid("Validation failed: Alias can't be blank")
	case len(w.alias) > maxAlias || strings.ContainsRune(w.alias, 0):
		return invalid(fmt.Sprintf("Validation failed: Alias is too long (maximum is %d characters)", maxAlias))
	case err == nil:
		return invalid("Validation failed: Alias has already been taken")
	case !errors.Is(err, store.ErrNoService):
		return err
	case w.quota != nil:
		return w.quota(tx)
	}
	return nil
}

// gone is a service instance that was removed here, and that its gateway is still to be
// told of.
type gone struct {
	store.Service
	offering store.Offering
}

// dropService removes a service instance and all its bindings. The gateway is not asked to
// unbind, as in v1.
func dropService(ctx ctx, tx *store.Tx, s store.Service) (g gone, err error) {
	o, err := tx.Offering(s.Label, s.Provider)
	if err == nil {
		err = tx.DeleteService(&s)
	}
	if err != nil {
		return g, err
	}
	return gone{s, o}, tx.Record(ctx, store.Event{Owner: s.Owner, Action: store.ServiceDeleted, Detail: s.Alias + ", " + s.Label})
}

// dropServices removes all service instances of an owner.
func dropServices(ctx ctx, tx *store.Tx, owner string) (all []gone, err error) {
	services, err := tx.ServicesOf(owner)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		g, err := dropService(ctx, tx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

func unprovisionAt(ctx ctx, o *store.Offering, s *store.Service) error {
	return ask(ctx, o, http.MethodDelete, configurations(s.Handle), struct{}{}, nil)
}

// binding is what is to be bound to what.
type binding struct {
	app      store.AppID
	service  store.Service
	offering store.Offering
	token    *store.BindingToken // nil: a new one without options
	restage  bool                // the app has to be staged again
}

// bind has the gateway make credentials of a service instance for an app.
func (c *Controller) bind(ctx ctx, w binding) (b store.Binding, err error) {
	if w.token == nil {
		w.token = &store.BindingToken{ID: uuid(), Service: w.service.ID, Options: json.RawMessage("{}")}
	}
	s, o := &w.service, &w.offering
	var h handleAnswer
	err = ask(ctx, o, http.MethodPost, configurations(s.Handle)+"/handles", api.GatewayBind{
		ServiceID: s.Handle, Label: o.Label, Email: s.Owner, BindingOptions: w.token.Options,
	}, &h)
	if err == nil {
		err = h.check()
	}
	if err != nil {
		return b, c.gatewayFault(o, "bind", err)
	}
	b = store.Binding{
		Service: s.ID, App: w.app, Handle: h.ServiceID, Token: w.token.ID,
		Configuration: h.configuration(), Credentials: h.Credentials, Options: w.token.Options,
	}
	err = c.st.Update(func(tx *store.Tx) error { return saveBinding(ctx, tx, &b, w) })
	if err != nil {
		c.gatewayFailed(o, "unbind", unbindAt(ctx, o, s, &b))
	}
	return b, err
}

// saveBinding records a binding, unless its app or its instance was deleted meanwhile, or
// somebody else was faster.
func saveBinding(ctx ctx, tx *store.Tx, b *store.Binding, w binding) error {
	if _, err := tx.Service(b.Service); err != nil {
		return err
	}
	if err := unbound(tx, b.App, b.Service); err != nil {
		return err
	}
	app, err := tx.App(b.App)
	if err != nil {
		return err
	}
	if err := tx.PutBindingToken(w.token); err != nil {
		return err
	}
	if err := tx.PutBinding(b); err != nil {
		return err
	}
	return noteBinding(ctx, tx, &app, w.restage, store.Event{Action: store.ServiceBound, Detail: w.service.Alias})
}

// noteBinding tells of a change of an app's bindings, and has it staged again if wanted.
func noteBinding(ctx ctx, tx *store.Tx, app *store.App, restage bool, e store.Event) error {
	if restage {
		app.PackageState = store.Pending
		if err := tx.PutApp(app); err != nil {
			return err
		}
	}
	return record(ctx, tx, app, e.Action, "%s", e.Detail)
}

// unbound fails if the app and the service instance are bound already.
func unbound(tx *store.Tx, app store.AppID, service store.ServiceID) error {
	_, err := tx.Binding(app, service)
	switch {
	case errors.Is(err, store.ErrNoBinding):
		return nil
	case err == nil:
		return errBound
	}
	return err
}

var errBound = invalid("Validation failed: Service config has already been taken")

// unbind removes a binding: here first, then at the gateway.
func (c *Controller) unbind(ctx ctx, b store.Binding, restage bool) error {
	var s store.Service
	var o store.Offering
	err := c.st.Update(func(tx *store.Tx) (err error) {
		if b, err = tx.Binding(b.App, b.Service); err != nil {
			return err
		}
		if s, err = tx.Service(b.Service); err != nil {
			return err
		}
		if o, err = tx.Offering(s.Label, s.Provider); err != nil {
			return err
		}
		app, err := tx.App(b.App)
		if err != nil {
			return err
		}
		if err := tx.DeleteBinding(&b); err != nil {
			return err
		}
		return noteBinding(ctx, tx, &app, restage, store.Event{Action: store.ServiceUnbound, Detail: s.Alias})
	})
	if err != nil {
		return err
	}
	return c.gatewayFault(&o, "unbind", unbindAt(ctx, &o, &s, &b))
}

func unbindAt(ctx ctx, o *store.Offering, s *store.Service, b *store.Binding) error {
	path := configurations(s.Handle) + "/handles/" + url.PathEscape(b.Handle)
	return ask(ctx, o, http.MethodDelete, path, api.GatewayUnbind{ServiceID: s.Handle, HandleID: b.Handle, BindingOptions: b.Options}, nil)
}
