package dea

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What is accepted can be run, and is accepted again.
func FuzzExecRequest(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"args":["sh","-c","true"],"env":{"A":"b"},"tty":true,"rows":24,"cols":80}`, `{"args":[""]}`, `{"args":["a\u0000"]}`,
		`{"env":{"A=B":"x"}}`, `{"env":{"":""}}`, `[]`, `{"rows":-1,"cols":1e9}`, `{"args":null}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := parseExec(data)
		if err != nil {
			return
		}
		if s := size(req.Rows, req.Cols); s.Rows == 0 || s.Columns == 0 {
			t.Errorf("%s: a terminal of %+v", data, s)
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := parseExec(again)
		if err != nil || !cmp.Equal(req, twice, cmpopts.EquateEmpty()) {
			t.Errorf("%s became %s: %v", data, again, err)
		}
	})
}
