package healthmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloudlet/bus"
)

const (
	batchSize = 200
	maxPage   = 16 << 20 // bytes of one answer
	maxApps   = 1 << 20
	patience  = 5 * time.Second // with one answer, of the bus or of the API
)

// desired reads what ought to be from a controller's bulk API. It is used by one
// goroutine at a time.
type desired struct {
	api  string // where the API is when the controller does not say
	conn *bus.Conn
	http *http.Client

	login *bus.BulkLogin // nil: to be asked for
}

func newDesired(api string) *desired {
	return &desired{api: api, http: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
	}}
}

// all reads every app.
func (d *desired) all(ctx context.Context) (map[bus.AppID]App, error) {
	apps := map[bus.AppID]App{}
	for after := bus.AppNumber(0); len(apps) < maxApps; {
		page, next, err := d.page(ctx, after, batchSize)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return apps, nil
		}
		if next <= after {
			return nil, fmt.Errorf("bulk API: the page after %d ends with %d", after, next)
		}
		after = next
		for _, a := range page {
			apps[a.ID.ID()] = a.app()
		}
	}
	return nil, fmt.Errorf("bulk API: more than %d apps", maxApps)
}

// some reads the named apps; those that do not exist are left out.
func (d *desired) some(ctx context.Context, ids map[bus.AppID]bool) (map[bus.AppID]App, error) {
	apps := map[bus.AppID]App{}
	for id := range ids {
		n, ok := id.Number()
		if !ok {
			continue
		}
		page, _, err := d.page(ctx, n-1, 1)
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			if a.ID == n {
				apps[id] = a.app()
			}
		}
	}
	return apps, nil
}

// bulkApp is an app in an answer of the API.
type bulkApp struct {
	ID           bus.AppNumber `json:"id"`
	Instances    int           `json:"instances"`
	State        string        `json:"state"`
	PackageState string        `json:"package_state"`
	UpdatedAt    time.Time     `json:"updated_at"`
	Version      string        `json:"version"`
	Name         string        `json:"name"`
	Framework    string        `json:"framework"`
	Runtime      string        `json:"runtime"`
	Memory       int           `json:"memory"`
}

func (a bulkApp) app() App {
	return App{
		Started:   a.State == "STARTED",
		Staged:    a.PackageState == "STAGED",
		Version:   a.Version,
		Instances: min(max(a.Instances, 0), maxIndex),
		Updated:   a.UpdatedAt.Truncate(time.Second),
		Name:      a.Name,
		Framework: a.Framework,
		Runtime:   a.Runtime,
		Memory:    a.Memory,
	}
}

// page reads up to size apps with ids above after; next is the last of these ids.
// Whatever goes wrong, the login is asked for again: another controller may have come.
func (d *desired) page(ctx context.Context, after bus.AppNumber, size int) (page map[string]bulkApp, next bus.AppNumber, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if err != nil {
			d.login = nil
		}
	}()
	if d.login == nil {
		login, err := bus.BulkCredentials.Ask(ctx, d.conn, bus.Empty{})
		if err != nil {
			return nil, 0, err
		}
		d.login = &login
	}
	var answer struct {
		Results map[string]bulkApp `json:"results"`
		Token   struct {
			ID bus.AppNumber `json:"id"`
		} `json:"bulk_token"`
	}
	err = d.get(ctx, "/bulk/apps", url.Values{
		"batch_size": {strconv.Itoa(size)},
		"bulk_token": {fmt.Sprintf(`{"id":%d}`, after)},
	}, &answer)
	if err == nil && answer.Results == nil {
		err = errors.New("bulk API: the answer has no results")
	}
	return answer.Results, answer.Token.ID, err
}

// users counts the users; -1 where that cannot be had. It follows a page.
func (d *desired) users(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var answer struct {
		Counts map[string]int `json:"counts"`
	}
	err := d.get(ctx, "/bulk/counts", url.Values{"model": {"user"}}, &answer)
	n, ok := answer.Counts["user"]
	if err != nil || !ok {
		return -1
	}
	return n
}

// get reads an answer of the API into v.
func (d *desired) get(ctx context.Context, path string, query url.Values, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base()+path+"?"+query.Encode(), nil)
	if err != nil {
		return fmt.Errorf("bulk API: %w", err)
	}
	req.SetBasicAuth(d.login.User, d.login.Password)
	res, err := d.http.Do(req)
	if err != nil {
		return fmt.Errorf("bulk API: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("bulk API: %s", res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxPage)).Decode(v); err != nil {
		return fmt.Errorf("bulk API: %w", err)
	}
	return nil
}

func (d *desired) base() string {
	if d.login.URL != "" {
		return strings.TrimSuffix(d.login.URL, "/")
	}
	return strings.TrimSuffix(d.api, "/")
}
