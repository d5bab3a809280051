package warden

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cloudlet/warden/supervisor"
)

// pasta (of the package passt) is the way outward that needs no root: one process for each
// container carries what the container sends, over sockets that any user may have. It
// forwards no port, and does not lead to the host's loopback.
//
// It outlives Cloudlet, and nobody has to know its number: it watches the name by which it
// was shown the container's network, and ends when that is removed. The supervisor does so
// at its end, or else Cloudlet.
const (
	pastaTime = 10 * time.Second
	// pastaDNS leads to the host's own server of names where containers reach none. It is
	// an address that nobody has (RFC 7600).
	pastaDNS = "192.0.0.8"
)

var pastaFlags = []string{
	"--config-net", "-4", "-I", "eth0", "--no-map-gw", "--dns-forward", pastaDNS,
	"-t", "none", "-u", "none", "-T", "none", "-U", "none",
	"--no-dhcp", "--no-dhcpv6", "--no-ra", "--no-ndp", "-q",
}

// findPasta finds out if pasta works here, by a container.
func (p *Pool) findPasta(ctx context.Context) (err error) {
	if p.pasta, err = exec.LookPath("pasta"); err != nil {
		return errors.New("pasta is not installed (Debian: apt-get install passt)")
	}
	if err := p.probe(ctx, Rootless); err != nil {
		p.pasta = ""
		return err
	}
	return nil
}

// startPasta connects a container whose supervisor has been started.
func (m *making) startPasta(ctx context.Context) error {
	name := filepath.Join(m.dir, supervisor.NetworkName)
	if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if err := os.Symlink(fmt.Sprintf("/proc/%d/ns/net", m.rec.PID), name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pastaTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.p.pasta, append(slices.Clone(pastaFlags),
		"--userns", fmt.Sprintf("/proc/%d/ns/user", m.rec.PID), "--netns", name)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{}, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if m.p.groups != nil {
		joinGroup(cmd.SysProcAttr, m.p.groups.supervisors())
	}
	// It goes to the background when the network is there.
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("pasta: %w%s", either(context.Cause(ctx), err), complaint(out))
	}
	return nil
}

// complaint is the line that says why pasta ended, and not that it cannot log.
func complaint(out []byte) string {
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, "to syslog") {
			return fmt.Sprintf(": %.300s", line)
		}
	}
	return ""
}

// unreachable are steps that keep a container from the addresses that the host has now, as
// far as they are not its own as well, and from where clouds tell secrets.
func unreachable() (steps []supervisor.Step) {
	for _, p := range append(ownAddresses(), metadata...) {
		if p = p.Masked(); p.Addr().Is4() && !p.Addr().IsLoopback() {
			mask := net.CIDRMask(p.Bits(), 32)
			steps = append(steps, supervisor.Step{Op: supervisor.OpUnreachable, Target: p.String(), Data: string(p.Addr().AsSlice()) + string(mask)})
		}
	}
	return steps
}

// ownAddresses are those of this machine.
func ownAddresses() (l []netip.Prefix) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				ip = ip.Unmap()
				l = append(l, netip.PrefixFrom(ip, ip.BitLen()))
			}
		}
	}
	return l
}
