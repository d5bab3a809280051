package controller

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

// bulkApp is an app as the health manager reads it.
type bulkApp struct {
	ID           store.AppID        `json:"id"`
	Name         string             `json:"name"`
	Instances    int                `json:"instances"`
	State        string             `json:"state"`
	Framework    string             `json:"framework"`
	Runtime      string             `json:"runtime"`
	Memory       int                `json:"memory"`
	PackageState store.PackageState `json:"package_state"`
	UpdatedAt    string             `json:"updated_at"`
	Version      string             `json:"version"`
}

// bulkApps pages through all apps: those with ids above the token's.
func (c *Controller) bulkApps(e echo.Context) error {
	size := 200
	if s := e.QueryParam("batch_size"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return api.BadRequest.Because("batch_size is a number above 0")
		}
		size = min(n, 1000)
	}
	after, err := bulkToken(e.QueryParams())
	if err != nil {
		return err
	}
	var apps []store.App
	if err := c.st.View(func(tx *store.Tx) error {
		apps, err = tx.Apps(after, size)
		return err
	}); err != nil {
		return err
	}
	results, token := map[string]bulkApp{}, map[string]store.AppID{}
	for i := range apps {
		app := &apps[i]
		results[strconv.FormatInt(int64(app.ID), 10)] = bulkApp{
			ID: app.ID, Name: app.Name, Instances: app.Instances, State: state(app),
			Framework: app.Framework, Runtime: app.Runtime, Memory: app.Memory, PackageState: app.PackageState,
			UpdatedAt: app.Updated.UTC().Format(time.RFC3339), Version: app.Version(),
		}
		token["id"] = app.ID
	}
	return e.JSON(http.StatusOK, map[string]any{"results": results, "bulk_token": token})
}

var formToken = regexp.MustCompile(`^bulk_token\[(\w+)\]$`)

// bulkToken reads {"id":20} as JSON or as bulk_token[id]=20.
func bulkToken(q url.Values) (after store.AppID, err error) {
	var fields map[string]any
	if s := q.Get("bulk_token"); s != "" {
		if err := json.Unmarshal([]byte(s), &fields); err != nil {
			return 0, api.BadRequest.Because("bulk_token is no JSON object")
		}
	}
	if fields == nil { // no token, or null
		fields = map[string]any{}
	}
	for k, v := range q {
		if m := formToken.FindStringSubmatch(k); m != nil {
			fields[m[1]] = v[0]
		}
	}
	for k, v := range fields {
		n, err := strconv.ParseInt(jsonText(v), 10, 64)
		if k != "id" || err != nil {
			return 0, api.BadRequest.Because("bulk_token holds an id only")
		}
		after = store.AppID(n)
	}
	return after, nil
}

func jsonText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// bulkCounts counts users or apps.
func (c *Controller) bulkCounts(e echo.Context) error {
	model := e.QueryParam("model")
	if model == "" {
		model = "user"
	}
	n := 0
	err := c.st.View(func(tx *store.Tx) error {
		switch model {
		case "app":
			n = tx.CountApps()
		case "user":
			users, err := tx.Users()
			n = len(users)
			return err
		default:
			return api.SystemError.Because("model is app or user")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, map[string]any{"counts": map[string]int{model: n}})
}
