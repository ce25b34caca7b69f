package replay

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// Candidate is asked in place of what is in force. The zero value is none.
type Candidate struct {
	Name  string       // what it is called, for mistakes and views
	Rules []byte       // a text with [[rules]], in place of the rules
	Files *hooks.Files // a module, in place of the plugin of its name or beside all
}

// maxRules bounds a text with [[rules]], in bytes, as a configuration file is.
const maxRules = 128 << 10

// ReadCandidate reads a candidate from a file: of .toml the rules, and of all else a
// module. An empty path is none.
func ReadCandidate(path string) (c Candidate, err error) {
	c.Name = path
	switch {
	case path == "":
	case strings.EqualFold(filepath.Ext(path), ".toml"):
		c.Rules, err = files.ReadText(path, maxRules)
	default:
		c.Files, err = hooks.ReadFiles(path)
	}
	return c, err
}

// Of is the candidate that a call carries. Uploads are not its matter.
func Of(c api.Candidate) (Candidate, error) {
	switch {
	case c.Rules != "" && len(c.Module) > 0:
		return Candidate{}, core.Refuse(core.Malformed, "a candidate is rules or a module, not both")
	case len(c.Rules) > maxRules:
		return Candidate{}, core.Refusef(core.TooLarge, "rules of %s, at most %s", core.FormatBytes(int64(len(c.Rules))), core.FormatBytes(maxRules))
	case c.Rules != "":
		return Candidate{Name: "rules", Rules: []byte(c.Rules)}, nil
	case len(c.Module) == 0 && c.Manifest != "":
		return Candidate{}, core.Refuse(core.Malformed, "a plugin.toml came without its module")
	case len(c.Module) == 0:
		return Candidate{}, nil
	}
	f := &hooks.Files{Path: "module.wasm", Wasm: c.Module}
	if c.Manifest != "" {
		f.Manifest = []byte(c.Manifest)
	}
	return Candidate{Name: "module", Files: f}, nil
}

// Gateway is what a panel is made of.
type Gateway struct {
	Wanted   []hooks.Wanted // the plugins in force; Panel changes the list
	Config   *config.Config
	CacheDir string // of compiled modules; empty: none
	Logger   *slog.Logger
}

// Panel loads the policies of a gateway and a candidate into a manager of their own, with
// an empty store and without the power to send anything. instances is how many calls of a
// module may run at once. The caller closes it.
func Panel(ctx context.Context, g Gateway, with Candidate, instances int) (*hooks.Manager, error) {
	rules, wanted := RulesOf(g.Config), g.Wanted
	var err error
	switch {
	case with.Rules != nil:
		rules, err = candidateRules(g.Config, with)
	case with.Files != nil:
		wanted, err = withModule(wanted, with.Files)
	}
	if err != nil {
		return nil, err
	}
	m, err := hooks.New(hooks.Options{Store: memory.New(), CacheDir: g.CacheDir, Logger: g.Logger, AtMost: g.Config.Grants.Default.Scopes})
	if err != nil {
		return nil, err
	}
	m.SetRules(ctx, rules)
	if err := m.Apply(onlyPolicies(wanted, instances)); err != nil {
		m.Close()
		return nil, err
	}
	if err := m.Ready(ctx); err != nil {
		m.Close()
		return nil, err
	}
	for _, v := range m.List() {
		if v.Error != "" {
			m.Close()
			return nil, core.Refusef(core.Malformed, "policy %s does not load: %s", v.Name, v.Error)
		}
	}
	return m, nil
}

// RulesOf are the rules of a configuration, as a policy.
func RulesOf(c *config.Config) hooks.Rules {
	if len(c.Rules) == 0 {
		return hooks.Rules{}
	}
	set, _ := c.RuleSet() // config has checked them
	return hooks.Rules{Set: set, Order: c.Policy.Rules.Order, Approves: c.Policy.Rules.Approves, AtMost: c.Policy.Rules.AtMost.Grants()}
}

// onlyPolicies leaves out notifiers and handlers, and what reaches outside.
func onlyPolicies(wanted []hooks.Wanted, instances int) []hooks.Wanted {
	var out []hooks.Wanted
	for _, w := range wanted {
		module, err := plugin.Inspect(w.Spec)
		if err != nil {
			out = append(out, w) // Apply says so
			continue
		}
		hooksOf := w.Hooks
		if len(hooksOf) == 0 {
			hooksOf = module.Manifest.Hooks
		}
		var keep []plugin.Hook
		for _, h := range hooksOf {
			if h.Rule().Pure { // those that decide
				keep = append(keep, h)
			}
		}
		if len(keep) == 0 {
			continue
		}
		w.Hooks, w.Watch, w.Spec.Grants.HTTP, w.Spec.Limits.Instances = keep, false, nil, max(instances, 1)
		out = append(out, w)
	}
	return out
}

// candidateRules are those of a text. What it does not say of policies beside them is as
// the gateway has it.
func candidateRules(now *config.Config, with Candidate) (hooks.Rules, error) {
	c, err := now.WithRules(with.Name, with.Rules)
	if err != nil {
		return hooks.Rules{}, err
	}
	if len(c.Rules) == 0 {
		return hooks.Rules{}, core.Refusef(core.Malformed, "%s has no [[rules]]", with.Name).WithHint("docs/rules.md shows how rules are written")
	}
	return RulesOf(c), nil
}

func withModule(wanted []hooks.Wanted, files *hooks.Files) ([]hooks.Wanted, error) {
	spec, err := files.Spec()
	if err != nil {
		return nil, err
	}
	module, err := plugin.Inspect(spec)
	if err != nil {
		return nil, err
	}
	asks := module.Manifest.Asks()
	spec.Tried = true
	spec.Name, spec.Grants = module.Manifest.Name, plugin.Grants{KV: asks.KV, Approves: asks.Approves, AtMost: asks.AtMost}
	for i := range wanted {
		if w := &wanted[i]; w.Spec.Name == spec.Name {
			spec.Config, spec.Grants, spec.Limits = w.Spec.Config, w.Spec.Grants, w.Spec.Limits
			w.Spec = spec
			return wanted, nil
		}
	}
	return append(wanted, hooks.Wanted{Source: hooks.FromConfig, Spec: spec}), nil
}
