// Lets the compiler accept the functions without bodies in signal.go, which
// the runtime provides.
