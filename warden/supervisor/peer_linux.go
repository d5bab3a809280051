package supervisor

import "syscall"

// FromContainer says if who has connected to a unix socket is a process of a container: one
// that is bound to more filters of system calls than this process, which cannot be got rid
// of and are inherited. At level process it may be of Cloudlet's own user, and nothing keeps
// it from sockets; at the others it sees none. Who is gone already is taken for one.
func FromContainer(fd int) bool {
	peer, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return true
	}
	if peer.Pid == 0 {
		return false // it is outside of the namespace that this process is in
	}
	own, ok := filters("self")
	if !ok {
		return false // kernels before 5.9 do not count
	}
	theirs, ok := filters(itoa(int64(peer.Pid)))
	return !ok || theirs > own
}

// filters counts those of a process.
func filters(pid string) (n int, ok bool) {
	fd, err := syscall.Open("/proc/"+pid+"/status", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer syscall.Close(fd)
	var b [4096]byte
	size, err := syscall.Read(fd, b[:])
	if err != nil {
		return 0, false
	}
	const name = "Seccomp_filters:\t"
	for _, line := range split(string(b[:size]), '\n') {
		if len(line) > len(name) && line[:len(name)] == name {
			return atoi(line[len(name):])
		}
	}
	return 0, false
}
