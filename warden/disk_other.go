//go:build unix && !linux

package warden

// disks are file systems of containers' own; only Linux has them.
type disks struct{}

func (*disks) make(string, int64) error { return nil }

func mountDisk(string) error { return nil }

func unmountDisk(string) error { return nil }

func removeDisk(string) error { return nil }

func diskUse(string) int64 { return 0 }
