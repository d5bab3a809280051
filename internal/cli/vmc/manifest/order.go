package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// order puts each application behind those that it depends on, and otherwise leaves the
// order of the file.
func order(apps []App) ([]App, error) {
	byPath := map[string]App{}
	for _, a := range apps {
		byPath[a.Path] = a
	}
	sorted := make([]App, 0, len(apps))
	done := map[string]bool{}
	var visit func(p string, chain []string) error
	visit = func(p string, chain []string) error {
		if done[p] {
			return nil
		}
		chain = append(chain, p)
		if i := slices.Index(chain, p); i < len(chain)-1 {
			return fmt.Errorf("applications depend on one another in a circle: %s", strings.Join(chain[i:], " → "))
		}
		for _, d := range byPath[p].DependsOn {
			if _, ok := byPath[d]; !ok {
				return fmt.Errorf("application %s depends on %s, which is not in the manifest", p, d)
			}
			if err := visit(d, chain); err != nil {
				return err
			}
		}
		done[p] = true
		sorted = append(sorted, byPath[p])
		return nil
	}
	for _, a := range apps {
		if err := visit(a.Path, nil); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}
