package vmc

import (
	"context"
	"slices"
	"time"

	"cloudlet/controller/api"
)

// Suggestion is the one of the words that was probably meant, as a sentence; empty where
// none is near.
func Suggestion(typed string, words []string) string {
	best, least := "", len(typed)
	for _, w := range words {
		if d := distance(typed, w); d < least && d <= max(1, max(len(typed), len(w))/3) {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return "Did you mean " + best + "?"
}

// distance is the number of letters to insert, drop, change or swap with the next one
// that make b of a.
func distance(a, b string) int {
	var before []int // the row before last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := []int{i + 1}
		for j := range len(b) {
			d := last[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row = append(row, d)
		}
		before, last = last, row
	}
	return last[len(b)]
}

// commandNames are the names of all commands, without those that nobody types.
func commandNames() (names []string) {
	for _, c := range commandTable {
		if !c.hidden {
			names = append(names, c.names...)
		}
	}
	return names
}

func optionNames() (names []string) {
	for _, o := range optionTable {
		for _, n := range o.names {
			if o.about != "" {
				names = append(names, "--"+n)
			}
		}
	}
	return names
}

// withSuggestion puts a suggestion before a hint.
func withSuggestion(suggestion, hint string) string {
	if suggestion == "" {
		return hint
	}
	return suggestion + "\n" + hint
}

// suggestApp asks for the names of the user's apps, but not for long.
func suggestApp(ctx context.Context, c *api.Client, typed string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	apps, err := c.Apps(ctx)
	if err != nil {
		return ""
	}
	return Suggestion(typed, appNames(apps))
}

func appNames(apps []api.App) (names []string) {
	for _, a := range apps {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return names
}
