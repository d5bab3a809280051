package vmc

import (
	"context"
	"net/url"
	"sort"
	"strings"

	"cloudlet/controller/api"
)

// targetCommand shows the target or chooses another.
func targetCommand(ctx context.Context, s *session, args []string) error {
	if len(args) == 1 {
		return s.setTarget(ctx, api.NormalTarget(args[0]))
	}
	target, err := s.target(ctx)
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(map[string]string{"target": target})
	}
	s.say("\n[%s]", target)
	return nil
}

// isTarget tells that a target, as NormalTarget writes it, may be asked.
func isTarget(target string) bool {
	u, err := url.Parse(target)
	return err == nil && u.Hostname() != "" && !strings.Contains(u.Path, "//")
}

// setTarget stores a target that answers as a Cloud Foundry v1 does.
func (s *session) setTarget(ctx context.Context, target string) error {
	if !isTarget(target) {
		return fail("Write it as api.example.com or https://api.example.com.", "'%s' is not the URL of a cloud", target)
	}
	s.cloud = s.clientFor(target)
	info, err := s.cloud.Info(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && info.Name != "" && info.Build != 0 && info.Version != "" && info.Support != "" {
		if err := s.files.writeTarget(target); err != nil {
			return err
		}
		s.good("Successfully targeted to [%s]", target)
		return nil
	}
	p := &problem{
		text:  "Host is not available or is not valid: '" + target + "'",
		hint:  "It answers, but not as the API of a Cloud Foundry v1 does.\n" + notV1Hint,
		cause: err,
	}
	if err == nil {
		return p
	}
	detail, hint := s.explain(ctx, err)
	if hint != "" {
		detail += "\n" + hint
	}
	p.hint = detail
	if s.mayAsk() {
		see, err := s.confirm(ctx, p.text+"\nWould you like see the response?", false)
		if err != nil {
			return err
		}
		p.text = "The target stays as it was."
		if !see {
			p.hint = ""
		}
	}
	return p
}

// targetsCommand lists the targets that a token is kept for.
func targetsCommand(_ context.Context, s *session, _ []string) error {
	tokens, err := s.files.readTokens()
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(tokens)
	}
	s.show("None specified", sortedRows([]string{"Target", "Authorization"}, tokens))
	return nil
}

// sortedRows makes table rows of a map, in the order of its keys.
func sortedRows(headings []string, m map[string]string) [][]string {
	rows := [][]string{headings}
	for k, v := range m {
		rows = append(rows, []string{k, v})
	}
	sort.Slice(rows[1:], func(i, j int) bool { return rows[i+1][0] < rows[j+1][0] })
	return rows
}
