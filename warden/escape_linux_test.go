package warden_test

import (
	"os"
	"testing"

	"cloudlet/warden"
	"cloudlet/warden/wardentest"
)

func TestEscapeFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("level full needs root")
	}
	wardentest.RunEscape(t, open(warden.Full))
}

func TestEscapeRootless(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("level rootless is for ordinary users")
	}
	wardentest.RunEscape(t, open(warden.Rootless))
}

func TestEscapeProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("containers have users of their own only as root")
	}
	wardentest.RunEscape(t, open(warden.Process))
}
