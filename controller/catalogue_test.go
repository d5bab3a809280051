package controller

import "testing"

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"*@x.com", "a@x.com", true}, {"*@x.com", "a@x.com.de", false}, {"*@x.com", "a@y.com", false}, {"a@x.com", "a@x.com", true},
		{"a@x.com", "aa@x.com", false}, {"*", "a@x.com", true}, {"a*@*.com", "anna@x.com", true}, {"a*@*.com", "anna@x.de", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"**", "", true}, {"*.x.*.com", "a@b.x.com", false}, {"", "", true}, {"", "a", false}, {"(", "(", true},
	} {
		if got := matches(tc.pattern, tc.text); got != tc.want {
			t.Errorf("matches(%q, %q) = %v", tc.pattern, tc.text, got)
		}
	}
}
