package supervisor

import (
	"reflect"
	"testing"
)

func TestParseStat(t *testing.T) {
	for line, want := range map[string]entry{
		"12 (sh) S 1 12 12 0 -1":           {12, 1, 12, 12},
		"13 (a) b (c)) R 12 11 10 0":       {13, 12, 11, 10},
		"14 () Z 1 2 3 0":                  {14, 1, 2, 3},
		"15 (x\n1 (y) S 9 9 9) S 5 6 7 0 ": {15, 5, 6, 7},
	} {
		if got, ok := parseStat(line); got != want || !ok {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "12", "12 (sh", "12 (sh)", "12 (sh) S 1", "(sh) S 1 2 3", "x (sh) S 1 2 3 4"} {
		if got, ok := parseStat(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestDescendants(t *testing.T) {
	tab := []entry{{5, 4, 0, 0}, {4, 2, 0, 0}, {2, 1, 0, 0}, {3, 1, 0, 0}, {6, 9, 0, 0}}
	if got := descendants(tab, 2); !reflect.DeepEqual(got, map[int]bool{2: true, 4: true, 5: true}) {
		t.Errorf("descendants of 2: %v", got)
	}
}

func TestProcesses(t *testing.T) {
	l := &loop{buf: make([]byte, scratch)}
	if tab := l.processes(); len(tab) < 2 {
		t.Errorf("process table has %d lines", len(tab))
	}
}
