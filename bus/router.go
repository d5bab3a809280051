package bus

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	// RouterActiveApps tells which apps had requests since the last time; only routers
	// that are configured to do so publish it.
	RouterActiveApps Subject[ActiveApps] = "router.active_apps"
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

// ActiveApps are apps that are in use. They travel as a JSON array in a zlib stream.
type ActiveApps []AppID

// maxActiveApps bounds what the stream may grow to: 4 MiB are some 300,000 apps.
const maxActiveApps = 4 << 20

// MarshalBinary deflates the list.
func (a ActiveApps) MarshalBinary() ([]byte, error) {
	list, err := json.Marshal(append([]AppID{}, a...))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	_, err = z.Write(list)
	err = errors.Join(err, z.Close())
	return out.Bytes(), err
}

// UnmarshalBinary inflates and reads a list.
func (a *ActiveApps) UnmarshalBinary(data []byte) error {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	list, err := io.ReadAll(io.LimitReader(z, maxActiveApps+1))
	if err != nil {
		return err
	}
	if len(list) > maxActiveApps {
		return fmt.Errorf("the list inflates to more than %d bytes", maxActiveApps)
	}
	return json.Unmarshal(list, (*[]AppID)(a))
}

// Validate refuses a list with an app that has no id.
func (a ActiveApps) Validate() error {
	for _, id := range a {
		if id == "" {
			return errors.New("an id is missing")
		}
	}
	return nil
}
