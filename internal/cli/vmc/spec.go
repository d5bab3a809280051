package vmc

import (
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/manifest"
)

// spec is what is asked for an app, by the manifest and the command line; what is empty
// is left to detection and defaults.
type spec struct {
	path, name                  string
	framework, runtime, command string
	mem                         string
	urls                        []string // nil: the default
	instances                   int
	services                    []manifest.Service
	described                   bool // by a manifest, so that there is nothing to ask
}

// override puts the command line over what the manifest says.
func (o options) override(sp spec) spec {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&sp.framework, o.framework}, {&sp.runtime, o.runtime}, {&sp.command, o.command}, {&sp.mem, o.mem},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	if o.instances > 0 {
		sp.instances = o.instances
	}
	if o.url != "" {
		sp.urls = splitURLs(o.url)
	}
	return sp
}

// splitURLs reads "a.localhost, b.localhost"; "none" is no URL at all.
func splitURLs(text string) []string {
	urls := []string{}
	for u := range strings.SplitSeq(text, ",") {
		if u = hostOf(u); u != "" && u != "none" {
			urls = append(urls, u)
		}
	}
	return urls
}

// wantsChange tells that something is asked for that an app can be changed to.
func (sp spec) wantsChange() bool {
	return sp.framework != "" || sp.runtime != "" || sp.command != "" || sp.mem != "" || sp.urls != nil || sp.instances > 0
}

// changes puts into a request what is asked for explicitly.
func (sp spec) changes() (func(*api.AppRequest), error) {
	mb := api.Int(0)
	if sp.mem != "" {
		n, err := parseMem(sp.mem)
		if err != nil {
			return nil, err
		}
		mb = api.Int(n)
	}
	instances := api.Int(sp.instances)
	return func(req *api.AppRequest) {
		if mb > 0 {
			req.Resources.Memory = &mb
		}
		if instances > 0 {
			req.Instances = &instances
		}
		if sp.urls != nil {
			req.URIs = &sp.urls
		}
		if sp.framework != "" {
			req.Staging.Framework, req.Staging.Runtime = &sp.framework, nil
		}
		if sp.runtime != "" {
			req.Staging.Runtime = &sp.runtime
		}
		if sp.command != "" {
			req.Staging.Command = &sp.command
		}
	}, nil
}
