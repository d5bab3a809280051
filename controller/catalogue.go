package controller

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

// core is how the provider of ordinary services is shown; it is stored as "".
const core = "core"

func providerOf(name string) string {
	if name == core {
		return ""
	}
	return name
}

func showProvider(name string) string {
	if name == "" {
		return core
	}
	return name
}

// serviceType was a column once; clients sort by it still.
func serviceType(name string) string {
	switch {
	case strings.Contains(name, "mysql"), strings.Contains(name, "postgresql"):
		return "database"
	case strings.Contains(name, "redis"):
		return "key-value"
	case strings.Contains(name, "mongodb"):
		return "document"
	}
	return "generic"
}

// acl restricts a service or one of its plans to some users.
type acl struct {
	Users     []string       `json:"users"`
	Wildcards []string       `json:"wildcards"`
	Plans     map[string]acl `json:"plans"`
}

// admits tells whether a user passes; email is empty for anonymous callers.
func (a acl) admits(email string) bool {
	if a.Users == nil && a.Wildcards == nil {
		return true
	}
	return email != "" && (slices.Contains(a.Users, email) ||
		slices.ContainsFunc(a.Wildcards, func(w string) bool { return matches(w, email) }))
}

// matches tells whether a text fits a pattern, in which * stands for anything.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	text, ok := strings.CutPrefix(text, parts[0])
	if len(parts) == 1 {
		return ok && text == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, rest, found := strings.Cut(text, part)
		text, ok = rest, ok && found
	}
	return ok && strings.HasSuffix(text, parts[last])
}

// visible tells whether a user may see a plan of an offering, or any plan where plan is
// empty.
func visible(o *store.Offering, email, plan string) bool {
	if o.Plans == nil {
		return false
	}
	if o.ACLs == nil {
		return true
	}
	var a acl
	if json.Unmarshal(o.ACLs, &a) != nil {
		return false
	}
	if plan != "" {
		return a.admits(email) && a.Plans[plan].admits(email)
	}
	return slices.ContainsFunc(o.Plans, func(p string) bool { return visible(o, email, p) })
}

// catalogue reads the active offerings that the caller may see.
func (c *Controller) catalogue(e echo.Context) (seen []store.Offering, email string, err error) {
	if u := who(e).user; u != nil {
		email = u.Email
	}
	err = c.st.View(func(tx *store.Tx) error {
		offerings, err := tx.Offerings()
		for _, o := range offerings {
			if o.Active && visible(&o, email, "") {
				seen = append(seen, o)
			}
		}
		return err
	})
	return seen, email, err
}

// infoServices is the catalogue as vmc and the Java client read it.
func (c *Controller) infoServices(e echo.Context) error {
	seen, email, err := c.catalogue(e)
	if err != nil {
		return err
	}
	providers := map[string]int{}
	for _, o := range seen {
		providers[o.Name()]++
	}
	out := map[string]map[string]map[string]api.SystemService{}
	for _, o := range seen {
		if o.Provider != "" && providers[o.Name()] > 1 {
			continue // the old routes have no place for a provider
		}
		versions := below(below(out, serviceType(o.Name())), o.Name())
		for _, version := range o.SupportedVersions {
			alias := aliasOf(&o, version)
			if len(o.SupportedVersions) == 1 || alias == "current" {
				versions[version] = describeService(&o, email, version, alias)
			}
		}
	}
	return e.JSON(http.StatusOK, out)
}

// below is the map under a key, made if need be.
func below[M ~map[string]V, V any](m map[string]M, key string) M {
	if m[key] == nil {
		m[key] = M{}
	}
	return m[key]
}

// aliasOf is the name under which a version goes, if any.
func aliasOf(o *store.Offering, version string) string {
	if o.VersionAliases["current"] == version {
		return "current"
	}
	for _, alias := range slices.Sorted(maps.Keys(o.VersionAliases)) {
		if o.VersionAliases[alias] == version {
			return alias
		}
	}
	return ""
}

func describeService(o *store.Offering, email, version, alias string) api.SystemService {
	s := api.SystemService{
		ID: o.ID, Vendor: o.Name(), Version: version, Tiers: map[string]api.Tier{}, Type: serviceType(o.Name()),
		Description: "-", DefaultPlan: o.DefaultPlan, Alias: alias,
	}
	if o.Description != nil {
		s.Description = *o.Description
	}
	if o.Provider != "" {
		s.Provider = &o.Provider
	}
	var options map[string]json.RawMessage
	json.Unmarshal(o.PlanOptions, &options) //nolint:errcheck // anything else than an object gives no options
	for i, plan := range slices.Sorted(slices.Values(o.Plans)) {
		if !visible(o, email, plan) {
			continue
		}
		t := api.Tier{Order: i + 1}
		if values, ok := options[plan]; ok {
			t.Options.PlanOption = &api.PlanOption{Type: "value", Description: "Which plan would you like to use", Values: values}
		}
		s.Tiers[plan] = t
	}
	return s
}

// listOfferings is the catalogue as cfoundry reads it.
func (c *Controller) listOfferings(e echo.Context) error {
	seen, _, err := c.catalogue(e)
	if err != nil {
		return err
	}
	out := map[string]map[string]map[string]map[string]api.Offering{}
	for _, o := range seen {
		providers := below(below(out, serviceType(o.Name())), o.Name())
		below(providers, showProvider(o.Provider))[o.Version()] = describeOffering(&o)
	}
	return e.JSON(http.StatusOK, out)
}

func describeOffering(o *store.Offering) api.Offering {
	out := api.Offering{
		Label: o.Label, URL: o.URL, Description: o.Description, InfoURL: o.InfoURL, Tags: o.Tags, Plans: o.Plans,
		PlanIDs: o.PlanIDs, PlanOptions: o.PlanOptions, BindingOptions: o.BindingOptions, ACLs: o.ACLs,
		Timeout: o.Timeout, Provider: o.Provider,
		SupportedVersions: o.SupportedVersions, VersionAliases: o.VersionAliases, DefaultPlan: o.DefaultPlan,
	}
	if o.Active {
		out.Active = json.RawMessage("true")
	}
	return out
}

// gateway is who shows a service token: one of the cloud's own, or a broker.
type gateway struct {
	token string
	own   bool
}

// callingGateway reads the service token. It has to be one of the cloud's.
func (c *Controller) callingGateway(e echo.Context) (gateway, error) {
	shown := e.Request().Header.Get(tokenHeader)
	own, err := c.st.GatewayToken()
	if err != nil {
		return gateway{}, err
	}
	broker, err := c.st.BrokerToken()
	if err != nil {
		return gateway{}, err
	}
	switch {
	case same(shown, own):
		return gateway{own, true}, nil
	case same(shown, broker):
		return gateway{broker, false}, nil
	}
	return gateway{}, errServiceToken
}

var errServiceToken = api.Forbidden.Because("this route is for service gateways, which show the cloud's token in %s", tokenHeader)

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// ownOffering reads the offering of the path, which has to be the calling gateway's.
func (c *Controller) ownOffering(e echo.Context) (o store.Offering, err error) {
	if e.Request().Header.Get(tokenHeader) == "" {
		return o, errServiceToken
	}
	err = c.st.View(func(tx *store.Tx) (err error) {
		o, err = tx.Offering(param(e, "label"), providerOf(param(e, "provider")))
		return err
	})
	if err == nil && !same(e.Request().Header.Get(tokenHeader), o.Token) {
		err = errServiceToken
	}
	return o, err
}

// registerOffering makes or changes an offering. Gateways repeat it as a heartbeat.
func (c *Controller) registerOffering(e echo.Context) error {
	if e.Request().Header.Get(tokenHeader) == "" {
		return errServiceToken
	}
	req, err := decodeMessage[api.Offering](e, offeringMessage)
	if err != nil {
		return err
	}
	g, err := c.callingGateway(e)
	if err != nil {
		return err
	}
	err = c.st.Update(func(tx *store.Tx) error {
		o, err := tx.Offering(req.Label, providerOf(req.Provider))
		switch {
		case errors.Is(err, store.ErrNoOffering):
			o = store.Offering{Label: req.Label, Token: g.token, Active: true}
			err = mayOffer(tx, &o, g)
		case err == nil && o.Token != g.token:
			err = errServiceToken
		}
		if err != nil {
			return err
		}
		if err := applyOffering(&o, &req); err != nil {
			return err
		}
		return tx.PutOffering(&o)
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}

// mayOffer keeps brokers from offering under the name of one of the cloud's own services.
func mayOffer(tx *store.Tx, o *store.Offering, g gateway) error {
	offerings, err := tx.Offerings()
	if err != nil || g.own {
		return err
	}
	for _, other := range offerings {
		if other.Name() == o.Name() && other.Token != g.token {
			return api.Forbidden.Because("%s is one of the cloud's own services; offer under another name", o.Name())
		}
	}
	return nil
}

// applyOffering changes what is given, and resets some of what is not, as v1 did.
func applyOffering(o *store.Offering, req *api.Offering) error {
	o.URL, o.ACLs, o.Timeout, o.Provider = req.URL, req.ACLs, req.Timeout, providerOf(req.Provider)
	o.SupportedVersions, o.VersionAliases, o.DefaultPlan = req.SupportedVersions, req.VersionAliases, req.DefaultPlan
	given(&o.Description, req.Description, req.Description != nil)
	given(&o.InfoURL, req.InfoURL, req.InfoURL != nil)
	given(&o.Tags, req.Tags, req.Tags != nil)
	given(&o.Plans, req.Plans, req.Plans != nil)
	given(&o.PlanIDs, req.PlanIDs, req.PlanIDs != nil)
	given(&o.PlanOptions, req.PlanOptions, req.PlanOptions != nil)
	given(&o.BindingOptions, req.BindingOptions, req.BindingOptions != nil)
	given(&o.Active, slices.Contains([]string{"true", "1", `"true"`, `"t"`, `"1"`}, string(req.Active)), req.Active != nil)
	if o.PlanIDs == nil {
		return nil
	}
	var ids map[string]any
	if json.Unmarshal(o.PlanIDs, &ids) != nil || slices.ContainsFunc(slices.Collect(maps.Keys(ids)), func(plan string) bool { return !slices.Contains(o.Plans, plan) }) {
		return invalid("Validation failed: cf_plan_id does not match plans")
	}
	return nil
}

func given[T any](to *T, v T, ok bool) {
	if ok {
		*to = v
	}
}

func (c *Controller) getOffering(e echo.Context) error {
	o, err := c.ownOffering(e)
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, describeOffering(&o))
}

func (c *Controller) deleteOffering(e echo.Context) error {
	o, err := c.ownOffering(e)
	if err != nil {
		return err
	}
	if err := c.st.Update(func(tx *store.Tx) error { return tx.DeleteOffering(o.Label, o.Provider) }); err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}

// proxiedOfferings are those of the calling broker, under the key that the route had in
// its time.
func (c *Controller) proxiedOfferings(key string) echo.HandlerFunc {
	return func(e echo.Context) error {
		g, err := c.callingGateway(e)
		if err != nil {
			return err
		}
		if g.own {
			return api.Forbidden.Because("this route is for brokers")
		}
		out := []api.Offering{}
		err = c.st.View(func(tx *store.Tx) error {
			offerings, err := tx.Offerings()
			for _, o := range offerings {
				if o.Token == g.token {
					out = append(out, describeOffering(&o))
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		return e.JSON(http.StatusOK, map[string]any{key: out})
	}
}

// listHandles gives a gateway its records back: instances first, then bindings.
func (c *Controller) listHandles(e echo.Context) error {
	o, err := c.ownOffering(e)
	if err != nil {
		return err
	}
	handles, bound := []api.Handle{}, []api.Handle{}
	err = c.st.View(func(tx *store.Tx) error {
		services, err := tx.ServicesOffered(o.Label, o.Provider)
		for _, s := range services {
			handles = append(handles, api.Handle{ServiceID: s.Handle, Configuration: s.Data, Credentials: s.Credentials})
			bindings, err := tx.BindingsTo(s.ID)
			if err != nil {
				return err
			}
			for _, b := range bindings {
				bound = append(bound, api.Handle{ServiceID: b.Handle, Configuration: b.Configuration, Credentials: b.Credentials})
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, map[string]any{"handles": append(handles, bound...)})
}

// updateHandle replaces what a gateway has told of an instance or of a binding before.
// The id in the body counts, as in v1.
func (c *Controller) updateHandle(e echo.Context) error {
	token := e.Request().Header.Get(tokenHeader)
	if token == "" {
		return errServiceToken
	}
	h, err := decodeMessage[api.Handle](e, handleMessage)
	if err != nil {
		return err
	}
	err = c.st.Update(func(tx *store.Tx) error {
		s, err := tx.ServiceHandled(h.ServiceID)
		if errors.Is(err, store.ErrNoService) {
			return updateBound(tx, h, token)
		}
		if err == nil {
			err = mayHandle(tx, &s, token)
		}
		if err != nil {
			return err
		}
		s.Data, s.Credentials = h.Configuration, h.Credentials
		return tx.PutService(&s)
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, struct{}{})
}

func updateBound(tx *store.Tx, h api.Handle, token string) error {
	b, err := tx.FindBinding(func(b *store.Binding) bool { return b.Handle == h.ServiceID })
	if err != nil {
		return err
	}
	s, err := tx.Service(b.Service)
	if err == nil {
		err = mayHandle(tx, &s, token)
	}
	if err != nil {
		return err
	}
	b.Configuration, b.Credentials = h.Configuration, h.Credentials
	return tx.PutBinding(&b)
}

func mayHandle(tx *store.Tx, s *store.Service, token string) error {
	o, err := tx.Offering(s.Label, s.Provider)
	if err == nil && !same(o.Token, token) {
		err = errServiceToken
	}
	return err
}
