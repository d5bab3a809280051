package identity

import (
	"net"
	"net/http"
	"strings"
)

// Address is where a request comes from. It believes the last entry of X-Forwarded-For,
// which our router wrote, and only from loopback; entries before it are the client's own
// claims.
func Address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if last := strings.TrimSpace(hops[len(hops)-1]); net.ParseIP(last) != nil {
			return last
		}
	}
	return host
}
