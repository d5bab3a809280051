package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// UserSummary is an entry of GET /users.
type UserSummary struct {
	Email string `json:"email"`
	Admin bool   `json:"admin"`
	Apps  []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	} `json:"apps"`
}

// Info asks what the cloud is, and who the caller is to it.
func (c *Client) Info(ctx context.Context) (info Info, err error) {
	return info, c.get(ctx, "/info", &info)
}

// Runtimes lists all runtimes by name.
func (c *Client) Runtimes(ctx context.Context) (runtimes map[string]RuntimeInfo, err error) {
	return runtimes, c.get(ctx, "/info/runtimes", &runtimes)
}

// Login asks for a token. The wrong password is Forbidden.
func (c *Client) Login(ctx context.Context, email, password string) (string, error) {
	var t Token
	path := route("users", email, "tokens")
	err := c.call(ctx, quick, http.MethodPost, path, Credentials{Password: password}, &t)
	if err == nil && t.Token == "" {
		err = request{method: http.MethodPost, path: path}.notV1("there is no token in it")
	}
	return t.Token, err
}

// Users lists everybody; for admins.
func (c *Client) Users(ctx context.Context) (users []UserSummary, err error) {
	return users, c.get(ctx, "/users", &users)
}

// User is the account of that e-mail address.
func (c *Client) User(ctx context.Context, email string) (user User, err error) {
	return user, c.get(ctx, route("users", email), &user)
}

// CreateUser registers somebody.
func (c *Client) CreateUser(ctx context.Context, email, password string) error {
	return c.Register(ctx, Credentials{Email: email, Password: password})
}

// Register registers somebody, by an invitation where there is one.
func (c *Client) Register(ctx context.Context, who Credentials) error {
	return c.call(ctx, quick, http.MethodPost, "/users", who, nil)
}

// Logout makes the client's token worthless. Only Cloudlet can do it.
func (c *Client) Logout(ctx context.Context) error {
	return c.call(ctx, quick, http.MethodDelete, "/tokens", nil, nil)
}

// Invite makes an invitation; for admins. Only Cloudlet has them.
func (c *Client) Invite(ctx context.Context, email string) (i Invitation, err error) {
	return i, c.call(ctx, quick, http.MethodPost, "/invitations", InvitationRequest{Email: email}, &i)
}

// Quota is what somebody may use, and uses. Only Cloudlet has it.
func (c *Client) Quota(ctx context.Context, email string) (q Quota, err error) {
	return q, c.get(ctx, route("quotas", email), &q)
}

// SetQuota replaces somebody's own limits; for admins.
func (c *Client) SetQuota(ctx context.Context, email string, own QuotaRequest) (q Quota, err error) {
	return q, c.call(ctx, quick, http.MethodPut, route("quotas", email), own, &q)
}

// SetPassword changes the password of the caller, or of the user acted as; v1 ignores
// the address in the path.
func (c *Client) SetPassword(ctx context.Context, email, password string) error {
	return c.call(ctx, quick, http.MethodPut, route("users", email), Credentials{Email: email, Password: password}, nil)
}

// DeleteUser removes a user with all apps; for admins.
func (c *Client) DeleteUser(ctx context.Context, email string) error {
	return c.call(ctx, slow, http.MethodDelete, route("users", email), nil, nil)
}

// Apps lists the caller's apps.
func (c *Client) Apps(ctx context.Context) (apps []App, err error) {
	return apps, c.get(ctx, "/apps", &apps)
}

// App is one of the caller's apps, or AppNotFound.
func (c *Client) App(ctx context.Context, name string) (app App, err error) {
	return app, c.get(ctx, route("apps", name), &app)
}

// CreateApp makes an app that has no bits yet.
func (c *Client) CreateApp(ctx context.Context, app AppRequest) (created Created, err error) {
	return created, c.call(ctx, slow, http.MethodPost, "/apps", app, &created)
}

// UpdateApp changes an app, and stages it if it has bits that are not staged: then it
// returns when staging has ended.
func (c *Client) UpdateApp(ctx context.Context, name string, app AppRequest) error {
	return c.call(ctx, slow, http.MethodPut, route("apps", name), app, nil)
}

// DeleteApp stops and removes an app.
func (c *Client) DeleteApp(ctx context.Context, name string) error {
	return c.call(ctx, slow, http.MethodDelete, route("apps", name), nil, nil)
}

// Instances lists the instances that should run, in the order of their index.
func (c *Client) Instances(ctx context.Context, name string) ([]Instance, error) {
	var raw json.RawMessage
	if err := c.get(ctx, route("apps", name, "instances"), &raw); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) { // as very old servers have it
		var list []Instance
		err := json.Unmarshal(raw, &list)
		return list, err
	}
	var in Instances
	err := json.Unmarshal(raw, &in)
	return in.Instances, err
}

// UnmarshalJSON reads what MarshalJSON writes.
func (i *Instance) UnmarshalJSON(data []byte) error {
	type plain Instance
	var p plain
	var ports DebugTTY
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &ports); err != nil {
		return err
	}
	*i = Instance(p)
	if ports != (DebugTTY{}) {
		i.Ports = &ports
	}
	return nil
}

// Stats is what each instance uses, by index.
func (c *Client) Stats(ctx context.Context, name string) (stats map[int]InstanceStats, err error) {
	return stats, c.get(ctx, route("apps", name, "stats"), &stats)
}

// Crashes lists the instances that crashed and whose files are still there.
func (c *Client) Crashes(ctx context.Context, name string) ([]Crash, error) {
	var crashes Crashes
	err := c.get(ctx, route("apps", name, "crashes"), &crashes)
	return crashes.Crashes, err
}

// File is a file of an instance, or the listing of a folder; instance is an index or
// an id. The path is sent as one segment, as vmc does: its leading slash counts, since
// "logs/staging.log" is the last staging's log and "/logs/staging.log" the instance's.
func (c *Client) File(ctx context.Context, name, instance, path string) (io.ReadCloser, error) {
	return c.stream(ctx, route("apps", name, "instances", instance, "files", path))
}

// FileFrom is File from an offset on or, where that is negative, the last so many bytes;
// at is where what it gives begins. Servers that give whole files are read up to there.
func (c *Client) FileFrom(ctx context.Context, name, instance, path string, from int64) (rc io.ReadCloser, at int64, err error) {
	r := request{method: http.MethodGet, path: route("apps", name, "instances", instance, "files", path), ctype: "application/json"}
	r.ranged = fmt.Sprintf("bytes=%d-", from)
	if from < 0 {
		r.ranged = fmt.Sprintf("bytes=%d", from)
	}
	resp, err := c.send(ctx, r)
	var f *Fault
	if errors.As(err, &f) && f.Status == http.StatusRequestedRangeNotSatisfiable {
		return http.NoBody, max(from, 0), nil // nothing is there
	}
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusPartialContent {
		_, err = fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &at)
	} else if at = from; from < 0 {
		at = max(0, resp.ContentLength+from)
	}
	if err == nil && resp.StatusCode != http.StatusPartialContent {
		_, err = io.CopyN(io.Discard, resp.Body, at)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, errors.Join(err, resp.Body.Close())
	}
	return resp.Body, at, nil
}

// UpdateState tells how far the last update of the app is.
func (c *Client) UpdateState(ctx context.Context, name string) (state UpdateState, err error) {
	return state, c.get(ctx, route("apps", name, "update"), &state)
}

// Update stages what waits and restarts all instances.
func (c *Client) Update(ctx context.Context, name string) error {
	return c.call(ctx, slow, http.MethodPut, route("apps", name, "update"), nil, nil)
}

// StagingLog streams what the running staging says, line by line, and ends with it.
// Only Cloudlet has it.
func (c *Client) StagingLog(ctx context.Context, name string) (io.ReadCloser, error) {
	return c.stream(ctx, route("apps", name, "staging_log"))
}

// Events are up to limit events of an app, newest first, and of everything that the
// caller may see where name is empty; only those before the given one unless that is 0.
// Only Cloudlet has them.
func (c *Client) Events(ctx context.Context, name string, before uint64, limit int) (events []Event, err error) {
	path := "/events"
	if name != "" {
		path = route("apps", name, "events")
	}
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before > 0 {
		q.Set("before", strconv.FormatUint(before, 10))
	}
	return events, c.get(ctx, path+"?"+q.Encode(), &events)
}

// Bits is the app as it was uploaded, a zip.
func (c *Client) Bits(ctx context.Context, name string) (io.ReadCloser, error) {
	return c.stream(ctx, route("apps", name, "application"))
}

// Known returns those of the resources that need no upload.
func (c *Client) Known(ctx context.Context, resources []Resource) (known []Resource, err error) {
	return known, c.call(ctx, slow, http.MethodPost, "/resources", resources, &known)
}

// Request is the request that leaves the app as it is. Clients change what they mean
// to and send all of it, since v1 takes what is absent for empty in some places.
func (a App) Request() AppRequest {
	instances, memory, env := Int(a.Instances), Int(a.Resources.Memory), a.Env
	uris, state, version := a.URIs, a.State, a.Meta.Version
	if uris == nil {
		uris = []string{}
	}
	if env == nil {
		env = []string{}
	}
	return AppRequest{
		Name:      a.Name,
		Staging:   &StagingRequest{Framework: &a.Staging.Model, Runtime: &a.Staging.Stack},
		URIs:      &uris,
		Instances: &instances,
		Resources: &ResourcesRequest{Memory: &memory},
		State:     &state,
		Services:  a.Services,
		Env:       &env,
		Debug:     a.Meta.Debug,
		Console:   a.Meta.Console,
		Meta:      &MetaRequest{Version: &version},
	}
}

// SystemServices are what the cloud offers: by type, name and version.
func (c *Client) SystemServices(ctx context.Context) (offered SystemServices, err error) {
	return offered, c.get(ctx, "/info/services", &offered)
}

// Services are the caller's service instances.
func (c *Client) Services(ctx context.Context) (services []Service, err error) {
	return services, c.get(ctx, "/services", &services)
}

// CreateService has an instance of a service made.
func (c *Client) CreateService(ctx context.Context, service ServiceRequest) error {
	return c.call(ctx, slow, http.MethodPost, "/services", service, nil)
}

// DeleteService removes a service instance with all its data, or is ServiceNotFound.
func (c *Client) DeleteService(ctx context.Context, name string) error {
	return c.call(ctx, slow, http.MethodDelete, route("services", name), nil, nil)
}
