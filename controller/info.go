package controller

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

func (c *Controller) info(e echo.Context) error {
	info := api.Info{
		Name: "vcap", Build: 2222, Version: "0.999",
		Support: c.cfg.Support, Description: c.cfg.Description,
		Frameworks: map[string]api.Framework{}, Authorization: c.authorization(e.Request().Host, e.Scheme()),
	}
	for _, f := range c.cfg.Frameworks {
		info.Frameworks[f.Name] = c.describe(f)
	}
	if u := who(e).user; u != nil {
		usage, err := c.usage(u.Email)
		if err != nil {
			return err
		}
		limits := c.account(u)
		if u.Admin && len(c.cfg.Details) > 0 {
			info.Description += ": " + strings.Join(c.cfg.Details, "; ")
		}
		info.User, info.Limits, info.Usage = u.Email, &limits, &usage
	}
	return e.JSON(http.StatusOK, info)
}

// authorization is where the UAA is: beside the API on the way that the client came, so
// that it holds behind a forwarded port as well, else where the operator says.
func (c *Controller) authorization(host, scheme string) string {
	name, port, _ := strings.Cut(host, ":")
	if c.cfg.UAA == "" || !strings.EqualFold(name, "api."+c.cfg.Domain) {
		return c.cfg.UAA
	}
	if port != "" {
		port = ":" + port
	}
	return scheme + "://uaa." + c.cfg.Domain + port
}

// describe lists a framework with those of its runtimes that are installed.
func (c *Controller) describe(f Framework) api.Framework {
	out := api.Framework{Name: f.Name, Runtimes: []api.Runtime{}, Detection: f.Detection}
	if out.Detection == nil {
		out.Detection = []map[string]any{}
	}
	for _, name := range f.Runtimes {
		if r, ok := c.runtime(name); ok && r.Executable != "" {
			out.Runtimes = append(out.Runtimes, api.Runtime{Name: r.Name, Version: r.Version, Description: r.Description})
		}
	}
	return out
}

func (c *Controller) infoRuntimes(e echo.Context) error {
	out := map[string]api.RuntimeInfo{}
	for _, r := range c.cfg.Runtimes {
		if r.Executable != "" {
			out[r.Name] = api.RuntimeInfo{Version: r.Version, Description: r.Description}
		}
	}
	return e.JSON(http.StatusOK, out)
}

func (c *Controller) framework(name string) (Framework, bool) {
	for _, f := range c.cfg.Frameworks {
		if f.Name == name {
			return f, true
		}
	}
	return Framework{}, false
}

func (c *Controller) runtime(name string) (Runtime, bool) {
	for _, r := range c.cfg.Runtimes {
		if r.Name == name {
			return r, true
		}
	}
	return Runtime{}, false
}

// usage is what a user uses: started apps count.
func (c *Controller) usage(email string) (u api.Usage, err error) {
	err = c.st.View(func(tx *store.Tx) error {
		apps, err := tx.AppsOf(email)
		u = usageOf(apps)
		u.Services = tx.CountServices(email)
		return err
	})
	return u, err
}

func usageOf(apps []store.App) (u api.Usage) {
	for _, app := range apps {
		if app.Started {
			u.Apps++
			u.Memory += app.Memory * app.Instances
		}
	}
	return u
}
