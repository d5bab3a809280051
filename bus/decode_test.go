package bus

import "testing"

// What senders of all years write, and what none of them may.
func TestDecodeLeniently(t *testing.T) {
	for _, c := range []struct {
		body string
		want Exited
		ok   bool
	}{
		{`{"droplet":"42","crash_timestamp":1351934102}`, Exited{Droplet: "42", CrashTimestamp: 1351934102}, true},
		{`{"droplet":42,"crash_timestamp":1351934102.75}`, Exited{Droplet: "42", CrashTimestamp: 1351934102}, true},
		{`{"droplet":null,"crash_timestamp":null,"new":"key"}`, Exited{}, true},
		{``, Exited{}, true},
		{`{"droplet":""}`, Exited{}, false},
		{`{"droplet":"a/b"}`, Exited{}, false},
		{`{"crash_timestamp":"soon"}`, Exited{}, false},
		{`{"crash_timestamp":1e300}`, Exited{}, false},
	} {
		got, err := Decode[Exited]([]byte(c.body))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.body, err)
		}
		if c.ok && got != c.want {
			t.Errorf("%s gives %+v", c.body, got)
		}
	}
}

func TestEmptyTakesAnything(t *testing.T) {
	for _, body := range []string{"", "{}", "[]", "no JSON"} {
		if _, err := Decode[Empty]([]byte(body)); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
}
