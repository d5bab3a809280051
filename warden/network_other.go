//go:build unix && !linux

package warden

import (
	"errors"
	"log/slog"
	"net/netip"
)

// network is not there on systems without network namespaces.
type network struct {
	prefix  netip.Prefix
	numbers numbers
}

func openNetwork(string, *slog.Logger) (*network, error) {
	return nil, errors.New("it needs Linux")
}

func removeNetwork(string) error { return nil }

func (*network) connect(record) error           { return nil }
func (*network) disconnect(record) error        { return nil }
func (*network) limit(record, Bandwidth) error  { return nil }
func (*network) traffic(record) (in, out int64) { return 0, 0 }
func (*network) sweep([]record) error           { return nil }
func (*network) hindrance() string              { return "" }
func (*network) close()                         {}
