package vmc

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"cloudlet/controller/api"
)

func appsCommand(ctx context.Context, s *session, _ []string) error {
	c, err := s.login(ctx)
	if err != nil {
		return err
	}
	apps, err := c.Apps(ctx)
	if err != nil {
		return err
	}
	sort.Slice(apps, func(i, j int) bool { return apps[i].Name < apps[j].Name })
	if s.opts.json {
		return s.printJSON(apps)
	}
	s.show("No Applications", appRows(apps))
	return nil
}

func appRows(apps []api.App) [][]string {
	rows := [][]string{{"Application", "# ", "Health", "URLS", "Services"}}
	for _, a := range apps {
		rows = append(rows, []string{
			a.Name, strconv.Itoa(a.Instances), health(a), strings.Join(a.URIs, ", "), strings.Join(a.Services, ", "),
		})
	}
	return rows
}

// health is the share of the wanted instances that run.
func health(a api.App) string {
	switch {
	case a.State == api.Stopped:
		return "STOPPED"
	case a.RunningInstances == nil || a.Instances == 0:
		return "N/A"
	case *a.RunningInstances == a.Instances:
		return "RUNNING"
	default:
		return fmt.Sprintf("%.0f%%", math.Round(100*float64(*a.RunningInstances)/float64(a.Instances)))
	}
}

// names are the apps that a command with an optional argument is about: without one,
// all of the manifest.
func (s *session) names(ctx context.Context, args []string) ([]string, error) {
	switch {
	case len(args) > 0:
		return args[:1], nil
	case s.opts.name != "":
		return []string{s.opts.name}, nil
	}
	folder := s.workingFolder()
	p, err := s.project(ctx, folder, "")
	if err != nil {
		return nil, err
	}
	if p == nil || len(p.apps) == 0 {
		return nil, fail("`vmc apps` lists the applications there are.", "Which application? Give its name")
	}
	list, err := p.choose(folder, "")
	var names []string
	for _, sp := range list {
		if sp.name == "" {
			sp.name = folderName(sp.path) // as push calls it
		}
		names = append(names, sp.name)
	}
	return names, err
}

// forEach runs a command for all of its apps.
func (s *session) forEach(ctx context.Context, args []string, do func(name string) error) error {
	names, err := s.names(ctx, args)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := do(name); err != nil {
			return err
		}
	}
	return nil
}

// hostOf is the host name in what a user writes as a URL.
func hostOf(u string) string {
	u = strings.ToLower(strings.TrimSpace(u))
	u = strings.TrimPrefix(strings.TrimPrefix(u, "http://"), "https://")
	u = strings.TrimRight(u, "/")
	if host, port, ok := strings.Cut(u, ":"); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return host
		}
	}
	return u
}

// domainOf is what follows the first label of the target: the domain of its apps.
func domainOf(target string) string {
	_, domain, _ := strings.Cut(hostOf(target), ".")
	return domain
}

// address is where a browser finds a URI of an app: at the scheme and port of the target.
func address(target, uri string) string {
	t, err := url.Parse(target)
	if err != nil {
		return "http://" + uri
	}
	if port := t.Port(); port != "" {
		uri += ":" + port
	}
	return t.Scheme + "://" + uri
}
