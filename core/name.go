package core

import "regexp"

var pluginName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// PluginNameForm says in words what IsPluginName asks for.
const PluginNameForm = "lower case letters, digits and dashes, at most 64"

// IsPluginName reports whether a plugin can have the name: in its manifest, in the
// settings, as a folder.
func IsPluginName(name string) bool { return pluginName.MatchString(name) }
