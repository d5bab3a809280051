package warden_test

import (
	"os"
	"testing"

	"cloudlet/warden"
	"cloudlet/warden/wardentest"
)

func TestNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("links and a packet filter need root")
	}
	if wardentest.InOwnHost(t, "^TestNetwork$") {
		wardentest.RunNetwork(t, open(warden.Full))
	}
}
