//go:build unix && !linux

package supervisor

// HandleSpace is how long the second argument of a supervisor is.
const HandleSpace = 64

func rename(string) {}
