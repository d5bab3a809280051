//go:build unix && !linux

package supervisor

import "syscall"

// relay is not needed where there are no network namespaces.
type relay struct{}

func (l *loop) openRelays() error { return nil }

func (*relay) begin()          {}
func (*relay) deadline() int64 { return 0 }
func (*relay) tick(int64)      {}

func outsideSocket(string) (syscall.Sockaddr, error) { return nil, syscall.ENOTSUP }
