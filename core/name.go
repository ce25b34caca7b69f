package core

import (
	"net/netip"
	"regexp"
	"strings"
)

var pluginName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// PluginNameForm says in words what IsPluginName asks for.
const PluginNameForm = "lower case letters, digits and dashes, at most 64"

// IsPluginName reports whether a plugin can have the name: in its manifest, in the
// settings, as a folder.
func IsPluginName(name string) bool { return pluginName.MatchString(name) }

// IsThisMachine reports whether a host, as a URL has it, is the machine itself for
// whoever asks: localhost, or an address of loopback or of nowhere.
func IsThisMachine(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback() || ip.IsUnspecified()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
