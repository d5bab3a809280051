package warden

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Where systemd runs, control groups are its own, except those that it has delegated: we
// work in the group that we were started in, if it is such a one, or else ask for one.

// scopeTime is how long systemd may take to make a scope.
const scopeTime = 10 * time.Second

// withSystemd says if systemd runs here, as sd_booted(3) does.
func withSystemd() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir()
}

// isDelegated says if systemd has delegated a group to whoever runs in it.
func isDelegated(group string) bool {
	value := make([]byte, 8)
	for _, name := range []string{"user.delegate", "trusted.delegate"} { // the second is for root's eyes
		if n, err := unix.Getxattr(group, name, value); err == nil && string(value[:n]) == "1" {
			return writable(group)
		}
	}
	return false
}

// enterScope has systemd make a scope around this process, whose group is delegated to
// us: by the system's manager for root, by the user's own for others. The scope lives as
// long as a process is in it, which may be longer than this one.
func enterScope(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), scopeTime)
	defer cancel()
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) { return dialSystemd(ctx) })
	if err != nil {
		return err
	}
	defer conn.Close()
	name := fmt.Sprintf("cloudlet-%s-%d.scope", id, os.Getpid())
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, name, "fail", []dbus.Property{
		dbus.PropDescription("Cloudlet and its containers"),
		dbus.PropPids(uint32(os.Getpid())),
		{Name: "Delegate", Value: godbus.MakeVariant(true)},
	}, done)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%s: %s", name, result)
		}
		return nil
	case <-ctx.Done():
		return errors.New("no answer")
	}
}

// dialSystemd connects with a manager by its own socket, which needs no bus.
func dialSystemd(ctx context.Context) (*godbus.Conn, error) {
	dir := "/run"
	if uid := os.Geteuid(); uid != 0 {
		dir = cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", uid))
	}
	socket := filepath.Join(dir, "systemd/private")
	if _, err := os.Stat(socket); err != nil {
		return nil, fmt.Errorf("its manager for this user does not run (loginctl enable-linger starts it): %w", err)
	}
	conn, err := godbus.Dial("unix:path="+godbus.EscapeBusAddressValue(socket), godbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
