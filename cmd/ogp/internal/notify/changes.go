package notify

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/settings"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// changesFor are the settings to write for a notifier.
func changesFor(ctx context.Context, name string, m *plugin.Manifest, u using) (out []settings.Setting, private bool, err error) {
	table := "plugins." + name
	rest, err := u.apart(name)
	if err != nil {
		return nil, false, err
	}
	if u.url != "" {
		if out, private, err = urlChanges(ctx, name, m, u); err != nil {
			return nil, false, err
		}
	}
	if u.shipped != "" {
		out = append(out, settings.Setting{Key: table + ".shipped", Value: u.shipped})
	}
	if m.Replies && u.ships(name) { // one's own has what it was installed with
		out = append(out, settings.Setting{Key: table + ".grants.replies", Value: true})
	}
	if u.topic != "" {
		rest = append(rest, "topic="+u.topic)
	}
	for _, set := range rest {
		key, value, _ := strings.Cut(set, "=")
		c, err := setting(m, table+".config.", key, value)
		if err != nil {
			return nil, false, err
		}
		out = append(out, c)
	}
	secret, err := secretChange(name, m, u)
	return append(out, secret...), private, err
}

// ships reports whether a notifier ships with ogp, perhaps under another name.
func (u *using) ships(name string) bool {
	_, ships := plugins.Get(cmp.Or(u.shipped, name))
	return ships
}

// apart takes the URL out of the other settings, which --set may name, too, and checks
// their form.
func (u *using) apart(name string) (rest []string, err error) {
	for _, set := range u.set {
		key, value, ok := strings.Cut(set, "=")
		if !ok || key == "" || strings.ContainsAny(key, ". \"'\\\t\n") {
			return nil, cli.Usagef("--set %q: want name=value", set)
		}
		switch {
		case key != "url" && (key != "openclaw_url" || name != openclaw):
			rest = append(rest, set)
		case u.url != "" && u.url != value:
			return nil, cli.Usagef("--set %q and --url %q: want one of them", set, u.url)
		case value == "":
			return nil, cli.Usagef("--set %q: want a URL", set)
		default:
			u.url = value
		}
	}
	return rest, nil
}

// urlChanges are those for the URL that a notifier posts to.
func urlChanges(ctx context.Context, name string, m *plugin.Manifest, u using) (out []settings.Setting, private bool, err error) {
	raw := u.url
	put := func(key string, value any) { out = append(out, settings.Setting{Key: key, Value: value}) }
	host, err := checkURL(name, m, raw)
	if err != nil {
		return nil, false, err
	}
	private = isPrivate(ctx, host)
	if name == openclaw {
		put("openclaw_url", strings.TrimRight(raw, "/"))
		return out, private, nil
	}
	if err := m.CheckSetting("url"); err != nil {
		return nil, false, usage("--url", err)
	}
	table := "plugins." + name
	put(table+".config.url", raw)
	if !u.ships(name) { // one's own has what it was installed with
		put(table+".grants.http", []any{plugin.PrefixOf(raw)})
	}
	if private {
		put(table+".grants.private", true)
	}
	return out, private, nil
}

// setting is one of a notifier's own, written as its default is.
func setting(m *plugin.Manifest, prefix, key, value string) (settings.Setting, error) {
	if err := m.CheckSetting(key); err != nil {
		return settings.Setting{}, usage("--set "+cli.Quoted(key+"="+value), err)
	}
	wrong := func(want string) (settings.Setting, error) {
		return settings.Setting{}, cli.Usagef("--set %s: want %s", cli.Quoted(key+"="+value), want)
	}
	switch m.Config[key].(type) {
	case string:
		return settings.Setting{Key: prefix + key, Value: value}, nil
	case bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return wrong("true or false")
		}
		return settings.Setting{Key: prefix + key, Value: b}, nil
	case int64:
		n, err := strconv.ParseInt(strings.ReplaceAll(value, "_", ""), 10, 64)
		if err != nil {
			return wrong("a whole number")
		}
		return settings.Setting{Key: prefix + key, Value: n}, nil
	}
	return settings.Parse(prefix+key, value)
}

// usage is a mistake on the command line, with the hint of its cause.
func usage(flag string, err error) error {
	u := cli.UsageError{Err: errors.New(flag + ": " + err.Error())}
	if e, ok := errors.AsType[*core.Error](err); ok {
		u.Err, u.Hint = errors.New(flag+": "+e.Public), e.Hint
	}
	return u
}

// secretChange is the setting that says where the secret is.
func secretChange(name string, m *plugin.Manifest, u using) ([]settings.Setting, error) {
	secret, err := u.secret()
	if err != nil {
		return nil, err
	}
	if secret == "" {
		return nil, nil
	}
	key := ""
	if name == openclaw {
		key = "openclaw_hooks_token"
	}
	for _, ask := range m.HTTP {
		if key == "" && len(ask.Secrets) > 0 {
			key = "plugins." + name + ".secrets." + ask.Secrets[0]
		}
	}
	if key == "" {
		return nil, cli.Usagef("%s asks for no secret", name)
	}
	return []settings.Setting{{Key: key, Value: secret}}, nil
}

// secret is what the configuration says of the secret: where it is, never itself.
func (u using) secret() (string, error) {
	switch {
	case u.secretEnv != "" && u.secretFile != "":
		return "", cli.Usagef("--secret-env and --secret-file: want one of them")
	case u.secretFile != "":
		path, err := filepath.Abs(u.secretFile)
		return "file:" + path, err
	case u.secretEnv == "":
		return "", nil
	case !config.IsVariable(u.secretEnv):
		return "", cli.Usagef("--secret-env: want the name of a variable; the secret itself does not belong on a command line")
	}
	return "${" + u.secretEnv + "}", nil
}

// checkURL looks at a URL that a notifier is to post to, and gives its host.
func checkURL(name string, m *plugin.Manifest, raw string) (host string, err error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") || rest == "" {
		return "", cli.Usagef("--url %q: want an http or https URL, such as https://hooks.example.org/ogp", raw)
	}
	if err := plugin.CheckURL(raw); err != nil {
		if strings.Contains(rest, "@") { // it may hold a password
			return "", cli.Usagef("--url: %v", err)
		}
		return "", cli.Usagef("--url %q: %v", raw, err)
	}
	if m.URLBase && strings.Contains(raw, "?") {
		return "", cli.Usagef("--url %q: it has a query, and %s adds a path of its own", raw, name)
	}
	return plugin.HostOf(raw), nil
}
