package vmc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cloudlet/controller/api"
	"cloudlet/internal/cli/vmc/appdir"
	"cloudlet/internal/cli/vmc/manifest"
)

// asks tells that a push asks about the app: somebody is there, and no manifest describes it.
func (s *session) asks(sp spec) bool { return s.mayAsk() && !sp.described }

// askFolder asks where the app is, before its manifest is looked for there.
func (s *session) askFolder(ctx context.Context) error {
	if s.opts.path != "" || !s.mayAsk() {
		return nil
	}
	here, err := s.confirm(ctx, "Would you like to deploy from the current directory?", true)
	if err == nil && !here {
		s.opts.path, err = s.ask(ctx, "Deployment path", "")
	}
	return err
}

// interview asks for what the command line does not say; what is in sp is the default.
// Where nobody can be asked it all stays at the default.
func (s *session) interview(ctx context.Context, c *api.Client, sp spec, kind appdir.Kind) (spec, error) {
	if s.opts.url == "" {
		if err := s.askURL(ctx, c.Target, &sp, kind); err != nil {
			return sp, err
		}
	}
	if s.opts.mem == "" {
		if err := s.askMemory(ctx, &sp, kind); err != nil {
			return sp, err
		}
	}
	if s.opts.instances == 0 {
		if err := s.askInstances(ctx, &sp); err != nil {
			return sp, err
		}
	}
	if !s.mayAsk() {
		return sp, nil
	}
	err := s.askServices(ctx, c, &sp)
	return sp, err
}

// askURL takes yes for the default, as people answered it.
func (s *session) askURL(ctx context.Context, target string, sp *spec, kind appdir.Kind) error {
	urls := sp.urls
	if urls == nil && kind.Web {
		urls = []string{defaultURL(sp.name, target)}
	}
	preset := cmp.Or(strings.Join(urls, ", "), "None")
	answer, err := s.ask(ctx, "Application Deployed URL", preset)
	if lower := strings.ToLower(answer); lower == "y" || lower == "yes" {
		answer = preset
	}
	sp.urls = splitURLs(answer)
	return err
}

func (s *session) askMemory(ctx context.Context, sp *spec, kind appdir.Kind) error {
	question := "Memory reservation"
	var choices []string
	for _, choice := range s.memChoices(0) {
		if mb, err := parseMem(choice); err == nil && mb >= kind.Memory {
			choices = append(choices, choice)
		}
	}
	if len(choices) > 0 {
		question += " (" + strings.Join(choices, ", ") + ")"
	}
	return s.askUntil(ctx, question, cmp.Or(sp.mem, formatMem(kind.Memory)), func(answer string) error {
		mb, err := parseMem(answer)
		sp.mem = formatMem(mb)
		return err
	})
}

func (s *session) askInstances(ctx context.Context, sp *spec) error {
	return s.askUntil(ctx, "How many instances?", strconv.Itoa(max(1, sp.instances)), func(answer string) (err error) {
		sp.instances, err = scale(0, answer)
		return err
	})
}

// askUntil asks until the answer can be taken.
func (s *session) askUntil(ctx context.Context, question, preset string, take func(answer string) error) error {
	for {
		answer, err := s.ask(ctx, question, preset)
		if err != nil {
			return err
		}
		if err = take(answer); err == nil || !s.mayAsk() {
			return err
		}
		fmt.Fprintln(s.err, "Unknown answer, please try again!")
	}
}

// askServices offers the services that there are, and those that can be made.
func (s *session) askServices(ctx context.Context, c *api.Client, sp *spec) error {
	mine, err := provisioned(ctx, c)
	if err != nil {
		return err
	}
	if err := s.askExisting(ctx, sp, mine); err != nil {
		return err
	}
	offered, err := systemServices(ctx, c)
	if err != nil {
		return err
	}
	return s.askNew(ctx, sp, serviceNames(offered))
}

func (s *session) askExisting(ctx context.Context, sp *spec, mine []api.Service) error {
	question := fmt.Sprintf("Bind existing services to '%s'?", sp.name)
	for {
		mine = slices.DeleteFunc(mine, func(m api.Service) bool {
			return slices.ContainsFunc(sp.services, func(w manifest.Service) bool { return w.Name == m.Name })
		})
		if len(mine) == 0 {
			return nil
		}
		if more, err := s.confirm(ctx, question, false); err != nil || !more {
			return err
		}
		names := make([]string, len(mine))
		for i, m := range mine {
			names[i] = m.Name
		}
		name, err := s.choose(ctx, "Which one?", names)
		if err != nil {
			return err
		}
		sp.services = append(sp.services, manifest.Service{Name: name, Type: mine[slices.Index(names, name)].Vendor})
		question = "Bind another?"
	}
}

func (s *session) askNew(ctx context.Context, sp *spec, kinds []string) error {
	if len(kinds) == 0 {
		return nil
	}
	question := fmt.Sprintf("Create services to bind to '%s'?", sp.name)
	for {
		if more, err := s.confirm(ctx, question, false); err != nil || !more {
			return err
		}
		kind, err := s.choose(ctx, "What kind of service?", kinds)
		if err != nil {
			return err
		}
		name, err := s.ask(ctx, "Specify the name of the service", randomName(kind))
		if err != nil {
			return err
		}
		sp.services = append(sp.services, manifest.Service{Name: name, Type: kind})
		question = "Create another?"
	}
}
