package bus

import (
	"fmt"
	"strings"
)

// Subjects of the router.
const (
	// RouterStart is published by a router at its start and every 30 s; everybody who
	// owns routes registers them again.
	RouterStart Subject[RouterHello] = "router.start"
	// RouterGreet asks a router for its RouterHello.
	RouterGreet Request[Empty, RouterHello] = "router.greet"
	// RouterRegister adds or refreshes a route.
	RouterRegister Subject[Route] = "router.register"
	// RouterUnregister removes a route.
	RouterUnregister Subject[Route] = "router.unregister"
)

// RouterHello introduces a router.
type RouterHello struct {
	ID       string   `json:"id"`
	Version  float64  `json:"version"` // 0.98
	Hosts    []string `json:"hosts"`
	Interval int      `json:"minimumRegisterIntervalInSeconds"`
}

// Route says which host names lead to one host and port.
type Route struct {
	DEA               string            `json:"dea,omitempty"`
	App               AppID             `json:"app,omitempty"` // a number would be dropped by some routers
	Host              string            `json:"host"`
	Port              int               `json:"port"`
	URIs              []string          `json:"uris"`
	Tags              map[string]string `json:"tags,omitempty"`
	PrivateInstanceID string            `json:"private_instance_id,omitempty"`
}

// Validate refuses what cannot be dialled or is no host name.
func (r Route) Validate() error {
	switch {
	case r.Host == "" || len(r.Host) > 255 || strings.ContainsAny(r.Host, "/ \t\r\n"):
		return fmt.Errorf("host %.80q cannot be dialled", r.Host)
	case r.Port < 1 || r.Port > 65535:
		return fmt.Errorf("port %d is out of range", r.Port)
	case len(r.URIs) > 1024:
		return fmt.Errorf("%d uris are too many", len(r.URIs))
	}
	for _, u := range r.URIs {
		if u == "" || len(u) > 255 || strings.ContainsAny(u, "/ \t\r\n") {
			return fmt.Errorf("uri %.80q is no host name", u)
		}
	}
	return nil
}
