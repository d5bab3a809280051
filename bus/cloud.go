package bus

// Subjects of the cloud controller towards tools, and of all components.
const (
	// BulkCredentials asks a controller how to read the bulk API.
	BulkCredentials Request[Empty, BulkLogin] = "cloudcontroller.bulk.credentials." + DefaultPartition
	// BulkCredentialsOld is the same subject before partitions.
	BulkCredentialsOld Request[Empty, BulkLogin] = "cloudcontroller.bulk.credentials"
	// CloudEvents is the audit trail: one array per API request.
	CloudEvents Subject[CloudEvent] = "vcap.cc.events"
	// ComponentAnnounce is published once by each component.
	ComponentAnnounce Subject[Component] = "vcap.component.announce"
	// ComponentDiscover is answered by every component.
	ComponentDiscover Request[Empty, Component] = "vcap.component.discover"
)

// BulkLogin is the HTTP Basic login of the bulk API.
type BulkLogin struct {
	User     string `json:"user"`
	Password string `json:"password"`
	// URL is where the answering controller serves it; ours alone. Without it, the API
	// is found through the router.
	URL string `json:"url,omitempty"`
}

// CloudEvent is an entry of the audit trail: time, "USER" or "SYSTEM", who, what, upon
// what, and "SUCCEEDED", or "FAILED" and why. Some senders leave nil in an empty place.
type CloudEvent []any

// Component introduces a component and its status server.
type Component struct {
	Type        string   `json:"type"`
	Index       *int     `json:"index"`
	UUID        string   `json:"uuid"`
	Host        string   `json:"host"`        // host:port of /varz and /healthz
	Credentials []string `json:"credentials"` // user and password of these
	Start       string   `json:"start"`
	Uptime      string   `json:"uptime,omitempty"`
}
