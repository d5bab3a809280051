package warden_test

import (
	"os"
	"runtime"
	"testing"

	"cloudlet/warden"
	"cloudlet/warden/wardentest"
)

// open gives an opened pool of a level, or skips where that level does not work.
func open(level warden.Level) wardentest.Open {
	return func(t *testing.T, cfg warden.Config) *warden.Pool {
		t.Helper()
		cfg.Level = level
		p := warden.New(cfg, testLog(t))
		if err := p.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.Isolation(); got.Level != level {
			p.Close()
			if os.Getenv("CLOUDLET_TEST_VM") != "" {
				t.Fatalf("level is %s: %v", got.Level, got.Reasons) // all that it needs is there
			}
			t.Skipf("level is %s: %v", got.Level, got.Reasons)
		}
		return p
	}
}

func TestFull(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("level full needs root on Linux")
	}
	wardentest.Run(t, open(warden.Full))
}

func TestRootless(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() == 0 {
		t.Skip("level rootless is for ordinary users on Linux")
	}
	wardentest.Run(t, open(warden.Rootless))
}

func TestProcess(t *testing.T) {
	wardentest.Run(t, open(warden.Process))
}
