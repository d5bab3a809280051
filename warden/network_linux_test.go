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

// TestUserNetwork runs what an ordinary user does in surroundings that root has made.
func TestUserNetwork(t *testing.T) {
	const own = "^TestUserNetwork$"
	switch {
	case os.Getenv(wardentest.UserEnv) != "":
		wardentest.RunUserNetwork(t, open(warden.Rootless))
	case os.Geteuid() != 0:
		t.Skip("it needs root to make the surroundings")
	case wardentest.InOwnHost(t, own):
		wardentest.AsUser(t, own)
	}
}
