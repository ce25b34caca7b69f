package plugin

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// CheckURL says whether a plugin can make a request to a URL, if that is granted: an absolute http or https URL
// that can be read in one way only, in whose path a {secret:name} may stand. Its error is for people, and says the
// fact alone.
func CheckURL(raw string) error {
	masked, names, err := maskSecrets(raw)
	if err != nil {
		return err
	}
	u, _, err := parseURL(masked)
	if err == nil && strings.Count(u.Path, secretMark) != len(names) {
		err = errors.New("a {secret:name} may stand in the path alone")
	}
	return err
}

// HostOf is the host of a URL that CheckURL takes, without its port.
func HostOf(raw string) string {
	masked, _, err := maskSecrets(raw)
	if err != nil {
		return ""
	}
	u, _, err := parseURL(masked)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// PrefixOf is what a grant for a URL says: without its query, and without what follows a secret in its path.
func PrefixOf(raw string) string {
	raw, _, _ = strings.Cut(raw, "?")
	if before, _, ok := strings.Cut(raw, "{secret:"); ok {
		return before[:strings.LastIndexByte(before, '/')+1]
	}
	return raw
}

// CheckSetting returns an error of kind NotFound for a setting that the plugin does not know: its [config] names
// those that it has, with their defaults. One that names none may have any.
func (m *Manifest) CheckSetting(name string) error {
	if _, ok := m.Config[name]; ok || len(m.Config) == 0 {
		return nil
	}
	known := slices.Sorted(maps.Keys(m.Config))
	e := core.Refusef(core.NotFound, "%s has no setting %q", m.Name, name)
	e.Hint = "it has " + strings.Join(known, ", ")
	if near, _ := text.Nearest(name, known); near != "" {
		e.Hint = "did you mean " + near + "? It has " + strings.Join(known, ", ")
	}
	return e
}
