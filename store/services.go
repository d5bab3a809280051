package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Offering is a service of the catalogue, as its gateway registered it. Slices that are
// nil were not given.
type Offering struct {
	ID       int64  // in the order of registration
	Label    string // name and version, joined by the last dash
	Provider string // "" is the core
	URL      string // of the gateway
	Token    string // that the gateway showed, and is shown
	Active   bool
	Timeout  int `json:",omitempty"` // s, of calls to the gateway

	Description       *string           `json:",omitempty"`
	InfoURL           *string           `json:",omitempty"`
	DefaultPlan       *string           `json:",omitempty"`
	Tags              []string          `json:",omitzero"`
	Plans             []string          `json:",omitzero"`
	SupportedVersions []string          `json:",omitzero"`
	VersionAliases    map[string]string `json:",omitzero"`
	PlanIDs           json.RawMessage   `json:",omitempty"`
	PlanOptions       json.RawMessage   `json:",omitempty"`
	BindingOptions    json.RawMessage   `json:",omitempty"`
	ACLs              json.RawMessage   `json:",omitempty"`
}

// Name is the label without its version.
func (o *Offering) Name() string { return o.Label[:o.dash()] }

// Version is what the label says.
func (o *Offering) Version() string { return strings.TrimPrefix(o.Label[o.dash():], "-") }

func (o *Offering) dash() int {
	if i := strings.LastIndexByte(o.Label, '-'); i >= 0 {
		return i
	}
	return len(o.Label)
}

// ServiceID is a service instance's number.
type ServiceID int64

// Service is a service instance: what a gateway provisioned for somebody.
type Service struct {
	ID       ServiceID
	Owner    string // e-mail
	Alias    string // the name that the owner gave
	Label    string // of the offering
	Provider string // likewise
	Handle   string // the gateway's id
	Plan     string

	PlanOption  json.RawMessage `json:",omitempty"`
	Data        json.RawMessage `json:",omitempty"` // the gateway's configuration
	Credentials json.RawMessage `json:",omitempty"`

	Created time.Time
	Updated time.Time
}

// Binding joins a service instance and an app.
type Binding struct {
	Service ServiceID
	App     AppID
	Handle  string // the gateway's id
	Token   string // the binding token's

	Configuration json.RawMessage `json:",omitempty"`
	Credentials   json.RawMessage `json:",omitempty"`
	Options       json.RawMessage `json:",omitempty"`
}

// BindingToken stands for a service instance and options to bind it with.
type BindingToken struct {
	ID      string `json:"-"`
	Service ServiceID
	Options json.RawMessage `json:",omitempty"`
}

// GatewayToken is what the cloud's own service gateways show to the cloud controller, and
// it to them.
func (s *Store) GatewayToken() (string, error) { return s.textSecret("gateway") }

// BrokerToken is the same for gateways of services that live elsewhere.
func (s *Store) BrokerToken() (string, error) { return s.textSecret("broker") }

func (s *Store) textSecret(name string) (string, error) {
	b, err := s.Secret(name, func() []byte { return []byte(rand.Text()) })
	return string(b), err
}

// Offering reads an offering, or fails with ErrNoOffering.
func (tx *Tx) Offering(label, provider string) (Offering, error) {
	o, ok, err := get[Offering](tx.tx.Bucket(bucketOfferings), pair(label, provider))
	if err == nil && !ok {
		err = ErrNoOffering
	}
	return o, err
}

// Offerings reads the whole catalogue, by label.
func (tx *Tx) Offerings() ([]Offering, error) { return all[Offering](tx.tx.Bucket(bucketOfferings)) }

// PutOffering writes an offering; a new one, with id 0, gets its id.
func (tx *Tx) PutOffering(o *Offering) error {
	b := tx.tx.Bucket(bucketOfferings)
	if o.ID == 0 {
		seq, err := b.NextSequence()
		if err != nil {
			return err
		}
		o.ID = int64(seq)
	}
	return put(b, pair(o.Label, o.Provider), o)
}

// DeleteOffering removes an offering with its instances and their bindings.
func (tx *Tx) DeleteOffering(label, provider string) error {
	services, err := tx.ServicesOffered(label, provider)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := tx.DeleteService(&s); err != nil {
			return err
		}
	}
	return tx.tx.Bucket(bucketOfferings).Delete(pair(label, provider))
}

// Service reads a service instance, or fails with ErrNoService.
func (tx *Tx) Service(id ServiceID) (Service, error) {
	s, ok, err := get[Service](tx.tx.Bucket(bucketServices), idKey(AppID(id)))
	if err == nil && !ok {
		err = ErrNoService
	}
	return s, err
}

// ServiceNamed reads an owner's service instance by alias, or fails with ErrNoService.
func (tx *Tx) ServiceNamed(owner, alias string) (Service, error) {
	id := tx.tx.Bucket(bucketAliases).Get(pair(owner, alias))
	if id == nil {
		return Service{}, ErrNoService
	}
	return tx.Service(ServiceID(binary.BigEndian.Uint64(id)))
}

// ServiceHandled finds a service instance by the gateway's id, or fails with ErrNoService.
func (tx *Tx) ServiceHandled(handle string) (Service, error) {
	services, err := all[Service](tx.tx.Bucket(bucketServices))
	for _, s := range services {
		if s.Handle == handle {
			return s, nil
		}
	}
	if err == nil {
		err = ErrNoService
	}
	return Service{}, err
}

// ServicesOf reads all service instances of an owner, by alias.
func (tx *Tx) ServicesOf(owner string) ([]Service, error) {
	var services []Service
	prefix := pair(owner, "")
	c := tx.tx.Bucket(bucketAliases).Cursor()
	for k, id := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, id = c.Next() {
		s, err := tx.Service(ServiceID(binary.BigEndian.Uint64(id)))
		if err != nil {
			return nil, err
		}
		services = append(services, s)
	}
	return services, nil
}

// CountServices counts an owner's service instances.
func (tx *Tx) CountServices(owner string) int {
	n, prefix := 0, pair(owner, "")
	c := tx.tx.Bucket(bucketAliases).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		n++
	}
	return n
}

// ServicesOffered reads all instances of an offering, in the order in which they were made.
func (tx *Tx) ServicesOffered(label, provider string) ([]Service, error) {
	services, err := all[Service](tx.tx.Bucket(bucketServices))
	var offered []Service
	for _, s := range services {
		if s.Label == label && s.Provider == provider {
			offered = append(offered, s)
		}
	}
	return offered, err
}

// PutService writes a service instance; a new one, with id 0, gets its id. It fails with
// ErrAliasTaken.
func (tx *Tx) PutService(s *Service) error {
	b := tx.tx.Bucket(bucketServices)
	if s.ID == 0 {
		aliases := tx.tx.Bucket(bucketAliases)
		if aliases.Get(pair(s.Owner, s.Alias)) != nil {
			return ErrAliasTaken
		}
		seq, err := b.NextSequence()
		if err != nil {
			return err
		}
		s.ID = ServiceID(seq)
		if err := aliases.Put(pair(s.Owner, s.Alias), idKey(AppID(s.ID))); err != nil {
			return err
		}
	}
	return put(b, idKey(AppID(s.ID)), s)
}

// DeleteService removes a service instance with its bindings and binding tokens.
func (tx *Tx) DeleteService(s *Service) error {
	if err := tx.dropBindings(func(b *Binding) bool { return b.Service == s.ID }); err != nil {
		return err
	}
	tokens, err := tx.tokensOf(s.ID)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if err := tx.DeleteBindingToken(token); err != nil {
			return err
		}
	}
	if err := tx.tx.Bucket(bucketAliases).Delete(pair(s.Owner, s.Alias)); err != nil {
		return err
	}
	return tx.tx.Bucket(bucketServices).Delete(idKey(AppID(s.ID)))
}

func bindingKey(app AppID, service ServiceID) []byte {
	return append(idKey(app), idKey(AppID(service))...)
}

// Binding reads the binding of an app and a service instance, or fails with ErrNoBinding.
func (tx *Tx) Binding(app AppID, service ServiceID) (Binding, error) {
	b, ok, err := get[Binding](tx.tx.Bucket(bucketBindings), bindingKey(app, service))
	if err == nil && !ok {
		err = ErrNoBinding
	}
	return b, err
}

// FindBinding reads the first binding for which match holds, or fails with ErrNoBinding.
func (tx *Tx) FindBinding(match func(*Binding) bool) (Binding, error) {
	bindings, err := all[Binding](tx.tx.Bucket(bucketBindings))
	for _, b := range bindings {
		if match(&b) {
			return b, nil
		}
	}
	if err == nil {
		err = ErrNoBinding
	}
	return Binding{}, err
}

// BindingsOf reads an app's bindings, those of older service instances first.
func (tx *Tx) BindingsOf(app AppID) ([]Binding, error) {
	var bindings []Binding
	prefix := idKey(app)
	c := tx.tx.Bucket(bucketBindings).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		var b Binding
		if err := json.Unmarshal(v, &b); err != nil {
			return nil, err
		}
		bindings = append(bindings, b)
	}
	return bindings, nil
}

// BindingsTo reads the bindings of a service instance.
func (tx *Tx) BindingsTo(service ServiceID) ([]Binding, error) {
	bindings, err := all[Binding](tx.tx.Bucket(bucketBindings))
	var to []Binding
	for _, b := range bindings {
		if b.Service == service {
			to = append(to, b)
		}
	}
	return to, err
}

// PutBinding writes a binding.
func (tx *Tx) PutBinding(b *Binding) error {
	return put(tx.tx.Bucket(bucketBindings), bindingKey(b.App, b.Service), b)
}

// DeleteBinding removes a binding and its token.
func (tx *Tx) DeleteBinding(b *Binding) error {
	if err := tx.DeleteBindingToken(b.Token); err != nil {
		return err
	}
	return tx.tx.Bucket(bucketBindings).Delete(bindingKey(b.App, b.Service))
}

// dropBindings removes all bindings for which match holds.
func (tx *Tx) dropBindings(match func(*Binding) bool) error {
	bindings, err := all[Binding](tx.tx.Bucket(bucketBindings))
	if err != nil {
		return err
	}
	for _, b := range bindings {
		if match(&b) {
			if err := tx.DeleteBinding(&b); err != nil {
				return err
			}
		}
	}
	return nil
}

// BindingToken reads a binding token, or fails with ErrNoToken.
func (tx *Tx) BindingToken(id string) (BindingToken, error) {
	t, ok, err := get[BindingToken](tx.tx.Bucket(bucketTokens), []byte(id))
	if err == nil && !ok {
		err = ErrNoToken
	}
	t.ID = id
	return t, err
}

// PutBindingToken writes a binding token.
func (tx *Tx) PutBindingToken(t *BindingToken) error {
	return put(tx.tx.Bucket(bucketTokens), []byte(t.ID), t)
}

// DeleteBindingToken removes a binding token.
func (tx *Tx) DeleteBindingToken(id string) error {
	return tx.tx.Bucket(bucketTokens).Delete([]byte(id))
}

// DropBindingToken removes a binding token, and what was bound with it.
func (tx *Tx) DropBindingToken(id string) error {
	if err := tx.dropBindings(func(b *Binding) bool { return b.Token == id }); err != nil {
		return err
	}
	return tx.DeleteBindingToken(id)
}

// tokensOf are the ids of a service instance's binding tokens.
func (tx *Tx) tokensOf(service ServiceID) ([]string, error) {
	var ids []string
	err := tx.tx.Bucket(bucketTokens).ForEach(func(k, v []byte) error {
		var t BindingToken
		if err := json.Unmarshal(v, &t); err != nil {
			return err
		}
		if t.Service == service {
			ids = append(ids, string(k))
		}
		return nil
	})
	return ids, err
}

// all reads a whole bucket in the order of its keys.
func all[T any](b *bbolt.Bucket) ([]T, error) {
	var vs []T
	err := b.ForEach(func(_, data []byte) error {
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return err
		}
		vs = append(vs, v)
		return nil
	})
	return vs, err
}
