package api

import "encoding/json"

// Service is a service instance, as GET /services lists it. It has no other members than
// v1's of 2012: one of its clients fails on any that it does not know.
type Service struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Vendor     string          `json:"vendor"`
	Provider   string          `json:"provider"`
	Version    string          `json:"version"`
	Tier       string          `json:"tier"`
	Properties json.RawMessage `json:"properties"`
	Meta       ServiceMeta     `json:"meta"`
}

// ServiceMeta is the part of a service instance that only some clients read.
type ServiceMeta struct {
	Created int64    `json:"created"`
	Updated int64    `json:"updated"`
	Tags    []string `json:"tags"`
	Version int      `json:"version"`
}

// ServiceRequest is POST /services.
type ServiceRequest struct {
	Name     string          `json:"name"`
	Vendor   string          `json:"vendor"`
	Version  string          `json:"version"` // or one of its aliases
	Tier     string          `json:"tier"`
	Type     string          `json:"type,omitempty"`
	Provider string          `json:"provider,omitempty"`
	Options  *ServiceOptions `json:"options,omitempty"`
}

// ServiceOptions refine a plan.
type ServiceOptions struct {
	PlanOption json.RawMessage `json:"plan_option,omitempty"`
}

// SystemService is what GET /info/services says of one version of a service: its innermost
// level, below type, name and version.
type SystemService struct {
	ID          int64           `json:"id"`
	Vendor      string          `json:"vendor"`
	Version     string          `json:"version"`
	Tiers       map[string]Tier `json:"tiers"`
	Type        string          `json:"type"`
	Description string          `json:"description"`
	Provider    *string         `json:"provider"`
	DefaultPlan *string         `json:"default_plan"`
	Alias       string          `json:"alias,omitempty"`
}

// SystemServices is GET /info/services: type → name → version.
type SystemServices map[string]map[string]map[string]SystemService

// Tier is a plan of a SystemService.
type Tier struct {
	Options TierOptions `json:"options"`
	Order   int         `json:"order"` // by name, from 1
}

// TierOptions is empty where the plan has no options.
type TierOptions struct {
	PlanOption *PlanOption `json:"plan_option,omitempty"`
}

// PlanOption is what can be chosen within a plan.
type PlanOption struct {
	Type        string          `json:"type"`
	Description string          `json:"description"`
	Values      json.RawMessage `json:"values"`
}

// Offering is a service as its gateway registers it, and as GET /services/v1/offerings
// shows it: there, what was not given is left out.
type Offering struct {
	Label             string            `json:"label"`
	URL               string            `json:"url"`
	Description       *string           `json:"description,omitempty"`
	InfoURL           *string           `json:"info_url,omitempty"`
	Tags              []string          `json:"tags,omitzero"`
	Plans             []string          `json:"plans,omitzero"`
	PlanIDs           json.RawMessage   `json:"cf_plan_id,omitempty"`
	PlanOptions       json.RawMessage   `json:"plan_options,omitempty"`
	BindingOptions    json.RawMessage   `json:"binding_options,omitempty"`
	ACLs              json.RawMessage   `json:"acls,omitempty"`
	Active            json.RawMessage   `json:"active,omitempty"`
	Timeout           int               `json:"timeout,omitempty"`
	Provider          string            `json:"provider,omitempty"`
	SupportedVersions []string          `json:"supported_versions,omitzero"`
	VersionAliases    map[string]string `json:"version_aliases,omitzero"`
	DefaultPlan       *string           `json:"default_plan,omitempty"`
}

// Handle is a gateway's record of a service instance or of a binding.
type Handle struct {
	ServiceID     string          `json:"service_id"`
	Configuration json.RawMessage `json:"configuration"`
	Credentials   json.RawMessage `json:"credentials"`
}

// Provisioned answers POST /services/v1/configurations.
type Provisioned struct {
	ServiceID   string          `json:"service_id"`
	Data        json.RawMessage `json:"data"`
	Credentials json.RawMessage `json:"credentials"`
}

// GatewayProvision asks a gateway for a service instance.
type GatewayProvision struct {
	Label      string          `json:"label"`
	Name       string          `json:"name"`
	Plan       string          `json:"plan"`
	Email      string          `json:"email"`
	Version    string          `json:"version"`
	PlanOption json.RawMessage `json:"plan_option,omitempty"`
}

// GatewayBind asks a gateway for credentials.
type GatewayBind struct {
	ServiceID      string          `json:"service_id"`
	Label          string          `json:"label"`
	Email          string          `json:"email"`
	BindingOptions json.RawMessage `json:"binding_options"`
}

// GatewayUnbind takes them back.
type GatewayUnbind struct {
	ServiceID      string          `json:"service_id"`
	HandleID       string          `json:"handle_id"`
	BindingOptions json.RawMessage `json:"binding_options"`
}
