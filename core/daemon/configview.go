package daemon

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	editor "github.com/opengatewayprotocol/ogp/core/settings"
)

// configView shows the configuration in force, and where the file says otherwise.
func (d *Daemon) configView(_ context.Context, p api.ConfigParams) (api.ConfigView, error) {
	now := d.current.Load()
	inForce := func(c *config.Config) any { return d.inForce(c, d.port()) }
	cfg, ofStart := config.InForce(d.started.Config, now.Config, inForce)
	origins := maps.Clone(now.origins)
	for _, key := range ofStart {
		delete(origins, key)
		if origin, ok := d.started.origins[key]; ok {
			origins[key] = origin
		}
	}
	v, err := showConfig(cfg, origins, p)
	if err != nil {
		return api.ConfigView{}, err
	}
	v.PID, v.File, v.Overrides = os.Getpid(), configFile(d.o, d.dir), origins.Overrides()
	file, at, _, err := config.Load(config.Options{Home: d.dir, File: d.o.Config.File, Env: withoutSettings(d.o.env())})
	if err != nil {
		v.FileError = new(api.ErrorOf(err))
		return v, nil
	}
	for _, c := range config.Difference(cfg, file, inForce) {
		from := origins.Of(c.Key)
		v.Differs = append(v.Differs, api.ConfigDifference{Key: c.Key, InForce: c.From, From: from.String(), File: c.To, FileAt: at.Of(c.Key).String(),
			Restart: c.Restart && from.Layer != config.LayerFlag && from.Layer != config.LayerEnv})
	}
	return v, nil
}

// Configuration shows what a start with these options would put in force.
func Configuration(o Options, p api.ConfigParams) (api.ConfigView, error) {
	cfg, origins, _, err := config.Load(o.Config)
	if err != nil {
		return api.ConfigView{}, err
	}
	v, err := showConfig(cfg, origins, p)
	v.File, v.Overrides = configFile(o, o.Dir), origins.Overrides()
	return v, err
}

func showConfig(cfg *config.Config, origins config.Origins, p api.ConfigParams) (api.ConfigView, error) {
	v := api.ConfigView{TOML: cfg.Show(origins, p.Origin), Differs: []api.ConfigDifference{}}
	text, err := cfg.JSON(origins, p.Origin)
	if err != nil {
		return v, err
	}
	var parts struct {
		Config  core.Raw          `json:"config"`
		Origins map[string]string `json:"origins"`
	}
	if err := json.Unmarshal(text, &parts); err != nil {
		return v, err
	}
	v.Config, v.Origins = parts.Config, parts.Origins
	if !p.Settings {
		return v, nil
	}
	overrides := origins.Overrides()
	for _, s := range config.Settings() {
		if text, ok := cfg.Text(s); ok {
			v.Settings = append(v.Settings, api.SettingView{Key: s.Key, Value: text, Unit: s.Unit, Doc: s.Doc, From: origins.Of(s.Key).String(), Override: overrides[s.Key]})
		}
	}
	return v, nil
}

// setConfig is the method "config.set": one line of the file changes, is checked, and is
// put in force where that can be done without a restart.
func (d *Daemon) setConfig(ctx context.Context, p api.SettingParams) (r api.SettingResult, err error) {
	change := editor.Setting{Key: p.Key}
	if !p.Unset {
		if change, err = editor.Parse(p.Key, p.Value); err != nil {
			return r, err
		}
	}
	if change.Literal() == `"[redacted]"` {
		return r, core.Refusef(core.Malformed, "%s is a secret: give ${VARIABLE} or file:/path", p.Key)
	}
	r.File = editor.Path(d.o.Config.File, d.dir)
	if err := editor.Write(d.o.env(), d.dir, r.File, []editor.Setting{change}); err != nil {
		return r, err
	}
	if _, err := d.reload(ctx); err != nil {
		return r, err
	}
	v, err := d.configView(ctx, api.ConfigParams{})
	r.Override = v.Overrides[p.Key]
	for _, x := range v.Differs {
		if x.Key == p.Key && x.Restart {
			r.Restart = d.restart()
		}
	}
	return r, err
}

// configFile is the file that settings are read of, or empty where there is none.
func configFile(o Options, dir string) string {
	if o.Config.File != "" {
		return o.Config.File
	}
	for _, name := range []string{ConfigFile, LegacyConfig} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// withoutSettings is the environment without what sets settings.
func withoutSettings(env []string) []string {
	return slices.DeleteFunc(append([]string{}, env...), func(one string) bool { return strings.HasPrefix(one, "OGP_") })
}
