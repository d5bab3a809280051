package router

import (
	"net/netip"
	"strings"
)

// normalHost is the form in which host names are compared: lower case, without port and
// without the dot of the root; IPv6 addresses in their shortest form without brackets.
// What could be no host name is not ok. It applies to Host headers and to registered
// URIs alike.
func normalHost(s string) (host string, ok bool) {
	if s == "" || len(s) > 255 {
		return "", false
	}
	if s[0] == '[' || strings.Count(s, ":") > 1 {
		return normalIPv6(s)
	}
	name, port, _ := strings.Cut(s, ":")
	if !isPort(port) {
		return "", false
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || name[0] == '.' || name[len(name)-1] == '.' {
		return "", false
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && c != '-' && c != '.' && c != '_' {
			return "", false
		}
	}
	return strings.ToLower(name), true
}

func normalIPv6(s string) (host string, ok bool) {
	if inner, bracketed := strings.CutPrefix(s, "["); bracketed {
		literal, rest, closed := strings.Cut(inner, "]")
		port, hasPort := strings.CutPrefix(rest, ":")
		if !closed || !hasPort && rest != "" || !isPort(port) {
			return "", false
		}
		s = literal
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return "", false
	}
	return a.String(), true
}

// isPort accepts no port too: "host:" is a legal way to leave it out.
func isPort(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) <= 5
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
