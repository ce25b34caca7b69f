package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/migrate"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/settings"
)

// takeOver imports what the plan says.
func (i *initializer) takeOver() error {
	if i.plan.Import == "" {
		if len(i.legacy) > 1 {
			var dirs []string
			for _, f := range i.legacy {
				dirs = append(dirs, f.Dir)
			}
			e := core.Refusef(core.Ambiguous, "there are %d TypeScript gateways here", len(dirs))
			e.Hint, e.Candidates = "--import names the one to take over; --no-import starts with a new identity", dirs
			return e
		}
		return nil
	}
	r, err := migrate.From(i.app, i.cmd, i.plan.Import)
	if err != nil {
		return err
	}
	i.view.Imported = &r
	i.cfg, i.origins, _, err = i.app.Load(nil) // its configuration may have come along
	return err
}

// changes are the settings that differ from what is in force.
func (i *initializer) changes() ([]settings.Setting, error) {
	p, c := i.plan, i.cfg
	for _, s := range []*string{&p.DisplayName, &p.Email, &p.GatewayURL, &p.OpenClawURL, &p.RendezvousURL} {
		*s = strings.TrimSpace(*s)
	}
	p.GatewayURL, p.RendezvousURL = asURL(p.GatewayURL), asURL(p.RendezvousURL)
	if err := checkEmail(p.Email); err != nil && i.given("email") {
		return nil, cli.Usagef("--email %q: want %v", p.Email, err)
	}
	var out []settings.Setting
	text := func(flag, key, want, now string) {
		asked := i.wizard && flag != "openclaw-url"
		if (want != "" || i.given(flag) || asked) && want != now {
			out = append(out, settings.Setting{Key: key, Value: want})
		}
	}
	text("display-name", "display_name", p.DisplayName, c.DisplayName)
	text("email", "email", p.Email, c.Email)
	text("gateway-url", "gateway_url", strings.TrimRight(p.GatewayURL, "/"), c.GatewayURL)
	text("openclaw-url", "openclaw_url", p.OpenClawURL, c.OpenClawURL)
	text("rendezvous-url", "rendezvous.url", p.RendezvousURL, c.Rendezvous.URL)
	if (i.given("rendezvous") || i.given("rendezvous-url") || i.wizard) && p.Rendezvous != c.Rendezvous.Enabled {
		out = append(out, settings.Setting{Key: "rendezvous.enabled", Value: p.Rendezvous})
	}
	if p.Rendezvous && p.RendezvousURL == "" && len(c.Rendezvous.Servers()) == 0 {
		return nil, cli.Usagef("a rendezvous needs its URL: --rendezvous-url https://rendezvous.example.org")
	}
	token, err := changedToken(p.Token, c.OpenClawHooksToken)
	if err != nil {
		return nil, err
	}
	out = slices.Concat(out, token, changedAnswers(p.Answers, c.OpenClawAnswers))
	if port := i.openclaw.File.Gateway.Port; port != 0 && p.OpenClawURL == "" && i.origins.Of("openclaw_url").Layer == config.LayerDefault {
		text("openclaw-url", "openclaw_url", fmt.Sprintf("http://localhost:%d", port), c.OpenClawURL)
	}
	return out, nil
}

// changedToken is the setting of the token for OpenClaw's webhooks, if it differs.
func changedToken(token string, now config.Secret) ([]settings.Setting, error) {
	switch {
	case token == tokenKeep:
		return nil, nil
	case token == tokenAuto:
		token = ""
	case !strings.HasPrefix(token, "${") && !strings.HasPrefix(token, "file:"):
		return nil, cli.Usagef("--openclaw-token: want auto, '${VARIABLE}' or file:/path; a token itself does not belong on a command line")
	}
	if now.Equal(config.NewSecret(token)) {
		return nil, nil
	}
	return []settings.Setting{{Key: "openclaw_hooks_token", Value: token}}, nil
}

// changedAnswers is the setting of the intents that OpenClaw answers, if it differs.
func changedAnswers(said string, now []string) []settings.Setting {
	answers := []any{}
	if said != answersNone {
		for intent := range strings.SplitSeq(strings.ReplaceAll(said, " ", ""), ",") {
			answers = append(answers, intent)
		}
	}
	if said == "" || slices.EqualFunc(answers, now, func(a any, b string) bool { return a == b }) {
		return nil
	}
	return []settings.Setting{{Key: "openclaw_answers", Value: answers}}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// write changes the lines of the settings that differ. The new text is loaded
// before it takes the place of the old one.
func (i *initializer) write() error {
	path := settings.Path(i.app.File, i.dir)
	i.view.ConfigFile = path
	changes, err := i.changes()
	if err != nil {
		return err
	}
	for _, c := range changes { // what the environment says wins over the file
		if o := i.origins.Of(c.Key); o.Layer == config.LayerEnv {
			i.view.Notes = append(i.view.Notes, fmt.Sprintf("%s is set by %s, which overrides the file", c.Key, o.Where))
		}
	}
	for _, c := range changes {
		i.view.Changed = append(i.view.Changed, c.Key)
	}
	var problems config.Problems
	if err := settings.Write(i.app.Env, i.dir, path, changes); errors.As(err, &problems) {
		for n := range problems {
			problems[n].Where = flagOf(problems[n].Key)
		}
		return problems
	} else if err != nil {
		return err
	}
	i.cfg, i.origins, _, err = i.app.Load(nil)
	return err
}

// flagOf is the flag of init that sets a key.
func flagOf(key string) string {
	switch key {
	case "openclaw_hooks_token":
		return "--openclaw-token"
	case "rendezvous.enabled":
		return "--rendezvous"
	}
	return "--" + strings.NewReplacer("_", "-", ".", "-").Replace(key)
}

// key makes the identity, unless there is one.
func (i *initializer) key(ctx context.Context) error {
	if i.fresh && exists(filepath.Join(i.dir, daemon.LegacyKeyFile)) && i.view.Imported == nil {
		return core.Refusef(core.Conflict, "%s holds the identity of a TypeScript gateway, and none of ours", i.dir).WithHint("--import " + i.dir + " takes it over")
	}
	first := !exists(filepath.Join(i.dir, daemon.KeyFile))
	i.view.CardURL = strings.TrimRight(i.cfg.OwnURL(i.cfg.DaemonPort), "/") + federation.PathCard
	if i.cfg.Signer != "" || first && i.cfg.Store.IsSet() { // it may be elsewhere
		me, _, err := cli.OnState(ctx, i.app, api.Whoami, api.None{}, false)
		if err == nil || i.cfg.Signer != "" || !errors.Is(err, control.ErrNoDaemon) {
			i.view.Fingerprint = me.Fingerprint
			return err
		}
	}
	key, err := keys.LoadOrCreate(filepath.Join(i.dir, daemon.KeyFile), daemon.Passphrase(i.app.Env, i.cfg))
	if err != nil {
		return err
	}
	if first && !i.cfg.Store.IsSet() {
		if err := daemon.CheckStore(ctx, i.dir); err != nil { // the key's other half
			return err
		}
	}
	i.view.Fingerprint = key.Public().Fingerprint()
	return nil
}
