//go:build unix && !linux

package supervisor

// relay is not needed where there are no network namespaces.
type relay struct{}

func newRelay(*loop, int, int) *relay { return nil }
func (*relay) begin()                 {}
func (*relay) deadline() int64        { return 0 }
func (*relay) tick(int64)             {}
