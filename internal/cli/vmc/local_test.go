package vmc

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"cloudlet/internal/operator"
	"cloudlet/internal/testkit"
)

// own makes the cloud one of this machine, whose operator the user is.
func (c *cloud) own(t *testing.T, u *user) {
	t.Helper()
	data := t.TempDir()
	testkit.Run(t, operator.NewServer(data, operator.Handlers{
		Status: func() operator.Status { return operator.Status{API: c.srv.URL} },
		Login: func(context.Context) (operator.Login, error) {
			return operator.Login{Target: c.srv.URL, Email: adminEmail, Token: token}, nil
		},
	}, testkit.Log(t)))
	u.env["CLOUDLET_DATA"] = data
}

// Who runs a cloud need not know a password, nor where it is.
func TestLocalCloud(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	c.own(t, u)
	status, out, errs := u.vmc("apps")
	want := "Logged in to [" + c.srv.URL + "] as [admin@example.com] through this machine's own cloud\n"
	if status != 0 || out != "No Applications\n\n" || errs != want {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
	u.wants("No Applications\n\n", "apps") // silently from now on

	u.write(u.home, ".vmc_token", `{"`+c.srv.URL+`":"0408expired","http://other":"x"}`)
	if status, _, errs := u.vmc("apps"); status != 0 || errs != want {
		t.Errorf("status %d, %q", status, errs)
	}
	data, err := os.ReadFile(filepath.Join(u.home, ".vmc_token"))
	if err != nil || string(data) != `{"`+c.srv.URL+`":"`+token+`","http://other":"x"}`+"\n" {
		t.Errorf("token file %s, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(u.home, ".vmc_target")); err == nil {
		t.Error("a target was stored that nobody chose")
	}
}

// The token of one cloud is no business of another.
func TestLocalCloudIsNotTheTarget(t *testing.T) {
	mine, other := newCloud(t), newCloud(t)
	u := stranger(t)
	mine.own(t, u)
	u.write(u.home, ".vmc_target", other.srv.URL)
	u.fails([]string{"Login Required"}, "apps")
	for _, call := range other.calls {
		if call != "GET /info" {
			t.Errorf("the other cloud saw %s", call)
		}
	}
}

// The owner registers others as administrator and stays who they are.
func TestLocalCloudAddUser(t *testing.T) {
	c := newCloud(t)
	u := stranger(t)
	c.own(t, u)
	status, out, _ := u.vmc("add-user", "foo@bar.com", "--passwd", "x")
	if status != 0 || out != "Creating New User: OK\n\n" {
		t.Errorf("status %d, %q", status, out)
	}
	u.wants("\n[admin@example.com]\n\n", "user")
}
