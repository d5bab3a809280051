package vmc

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"cloudlet/controller/api"
)

// Logging out revokes at every target that can, and is silent about those that cannot
// or are away; what lies in a damaged file is dropped as well.
func TestLogoutRevokes(t *testing.T) {
	old, ours, other := newCloud(t), newCloud(t), newCloud(t)
	revoked := map[string]string{}
	for name, c := range map[string]*cloud{"ours": ours, "other": other} {
		c.handlers = map[string]http.HandlerFunc{"DELETE /tokens": func(w http.ResponseWriter, r *http.Request) {
			revoked[name] = r.Header.Get("Authorization") + r.Header.Get("Proxy-User")
			w.WriteHeader(http.StatusNoContent)
		}}
	}
	u := ours.at(t)
	tokens := map[string]string{ours.srv.URL: "0408a", other.srv.URL: "0408b", old.srv.URL: "0408c", "http://127.0.0.1:1": "0408d"}
	data, err := json.Marshal(tokens)
	if err != nil {
		t.Fatal(err)
	}
	u.write(u.home, ".vmc_token", string(data))
	u.wants("Successfully logged out of ["+ours.srv.URL+"]\n\n", "logout", "-u", "somebody@example.com")
	if got := fmt.Sprint(revoked); got != "map[other:0408b ours:0408a]" {
		t.Errorf("revoked %s", got)
	}
	u.write(u.home, ".vmc_token", "damaged")
	u.wants("Successfully logged out of ["+ours.srv.URL+"]\n\n", "logout")
	if _, err := os.Stat(filepath.Join(u.home, ".vmc_token")); !os.IsNotExist(err) {
		t.Errorf("the tokens are still there: %v", err)
	}
}

func TestSetLimits(t *testing.T) {
	t.Parallel()
	five := 5
	for _, tc := range []struct {
		words []string
		want  string
	}{
		{nil, `{"apps":5}`},
		{[]string{"memory=512M"}, `{"memory":512,"apps":5}`},
		{[]string{"mem=1G", "services=0"}, `{"memory":1024,"services":0,"apps":5}`},
		{[]string{"memory=0", "apps=default"}, `{"memory":0}`},
		{[]string{"urls=3", "uris=4"}, `{"app_uris":4,"apps":5}`},
		{[]string{"apps=1G"}, ""},
		{[]string{"apps"}, ""},
		{[]string{"apps=-1"}, ""},
		{[]string{"=1"}, ""},
		{[]string{"disk=1"}, ""},
	} {
		own := api.QuotaRequest{Apps: &five}
		err := setLimits(&own, tc.words)
		data, _ := json.Marshal(own)
		if (err == nil) != (tc.want != "") || err == nil && string(data) != tc.want {
			t.Errorf("%q: %s, %v", tc.words, data, err)
		}
	}
}
