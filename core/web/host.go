package web

import (
	"net"
	"net/netip"
	"os"
	"strings"
)

// OwnHost makes a judge of Host headers for what is not meant for the world: it
// takes addresses, localhost, this machine's name and the name in listen, a host:port.
// Another name is one that somebody made to point here, so that a web page of theirs
// may read what is ours.
//
// docs/threat-model.md#n6
func OwnHost(listen string) func(host string) bool {
	names := map[string]bool{"localhost": true}
	if name, err := os.Hostname(); err == nil {
		names[strings.ToLower(name)] = true
	}
	if name, _, err := net.SplitHostPort(listen); err == nil && name != "" {
		names[strings.ToLower(name)] = true
	}
	return func(host string) bool {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		_, err := netip.ParseAddr(host)
		return err == nil || names[host]
	}
}
