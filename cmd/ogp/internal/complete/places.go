package complete

import (
	"regexp"
	"slices"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/scope"
	"github.com/opengatewayprotocol/ogp/core/text"
	"github.com/opengatewayprotocol/ogp/sdk/scaffold"
)

// The completers of more than one place.
var (
	nothing    = completer{} // the place is free
	aFile      = completer{files: true}
	anIntent   = completer{words: intentsOf}
	anID       = completer{words: idsOf}
	anEvent    = completer{words: setAside}
	anInvite   = completer{words: openCodes}
	pluginName = completer{words: pluginsOf}
	aPlugin    = completer{words: pluginsOf, files: true}
	logLevels  = fixed("debug", "info", "warn", "error")
)

// settingKey is the key of a setting.
var settingKey = completer{words: func(*cli.App, completing) []string {
	var out []string
	for _, s := range config.Settings() {
		out = append(out, s.Key)
	}
	return out
}}

// placeholders say what completes an argument, by its name in the usage line. A
// command that names its arguments in the same words needs nothing else.
var placeholders = map[string]completer{
	"peer":                 peersIn(),
	"peer or URL":          peersIn(),
	"intent":               anIntent,
	"level":                fixed(append(slices.Clone(scope.LevelNames), "default")...),
	"topic":                nothing,
	"id":                   anID,
	"event":                anEvent,
	"reason":               nothing,
	"code":                 anInvite,
	"code or link":         nothing, // another gateway's
	"message":              nothing,
	"payload":              nothing,
	"text or JSON":         nothing,
	"name":                 nothing, // a new one
	"key":                  nothing,
	"value":                nothing,
	"public key":           nothing,
	"gateway URL":          nothing,
	"file, folder or name": aPlugin,
	"file or folder":       aFile,
	"program":              fixed("openclaw", "claude-code", "codex", "cursor", "hermes"),
	"directory":            aFile,
	"where":                completer{words: fixed("sqlite").words, files: true},
	"folder":               aFile,
	"folder of cases":      aFile,
	"file":                 aFile,
	"peers":                peersIn(),
	"tag":                  nothing,
	"inbox id | case file": completer{words: anID.words, files: true},
}

// argumentsOf are the completers of single commands, where the usage line's words
// do not say it.
var argumentsOf = map[string][]completer{
	"ogp federation approve": {peersIn(core.Pending)},
	"ogp federation reject":  {peersIn(core.Pending)},
	"ogp federation grant":   {peersIn(core.Approved)},
	"ogp federation send":    {peersIn(core.Approved), anIntent, nothing},
	"ogp federation agent":   {peersIn(core.Approved), nothing, nothing},
	"ogp config set":         {settingKey, nothing},
	"ogp config unset":       {settingKey},
	"ogp plugin remove":      {pluginName},
	"ogp plugin reload":      {pluginName},
	"ogp plugin kv":          {pluginName, nothing, nothing},
}

// flagValues complete the values of flags, by name; those of one command come
// first.
var flagValues = map[string]completer{
	"peer":                         peersIn(),
	"intent":                       anIntent,
	"intents":                      anIntent,
	"level":                        logLevels,
	"log-level":                    logLevels,
	"log-format":                   fixed("text", "json"),
	"type":                         fixed(append(slices.Clone(api.EventTypes), "federation")...),
	"since":                        fixed("1h", "24h", "7d"),
	"before":                       {words: idsOf},
	"priority":                     fixed("low", "normal", "high"),
	"lang":                         fixed(scaffold.Langs...),
	"hook":                         fixed(scaffold.Hooks...),
	"ogp federation list --status": fixed(core.Requested, core.Pending, core.Approved, core.Rejected, core.Removed),
	"ogp inbox list --status":      fixed(core.InboxNew, core.InboxHeld, core.InboxReplied),
	"ogp outbox --state":           fixed(core.OutWaiting, core.OutSent, core.OutRefused, core.OutExpired),
}

// peersIn completes peers in some of the states, or in any: by alias, and by
// fingerprint where there is none or it is what is typed. What a peer calls itself
// is not for a shell.
func peersIn(states ...core.Trust) completer {
	return completer{words: func(a *cli.App, c completing) []string {
		list := soon(a, api.Peers, api.PeersParams{})
		var aliases, prints []string
		for _, p := range list {
			if len(states) > 0 && !slices.Contains(states, p.State) {
				continue
			}
			how := string(p.State) + term.Optional(", ", p.Health.Word)
			if p.Alias != "" {
				aliases = append(aliases, term.SafeLine(p.Alias)+"\t"+how)
			}
			if p.Alias == "" || c.typed != "" {
				prints = append(prints, p.Fingerprint+"\t"+how)
			}
		}
		return append(aliases, prints...)
	}}
}

// intentsOf completes what the peer before it lets us send, if it has said, else
// the intents that every gateway knows.
func intentsOf(a *cli.App, c completing) []string {
	if len(c.args) == 0 {
		return core.BuiltinIntents
	}
	p := soon(a, api.Peer, api.PeerRef{Peer: c.args[0]})
	if len(p.Received) == 0 {
		return core.BuiltinIntents
	}
	var out []string
	for _, g := range p.Received {
		if plainName.MatchString(g.Intent) {
			out = append(out, g.Intent)
		}
	}
	return out
}

// plainName is what we let a shell see of a peer's words.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// setAside completes the events that a notifier did not take.
func setAside(a *cli.App, _ completing) []string {
	return each(a, api.Deliveries, api.DeliveryParams{Limit: 20}, func(x api.DeliveryView) string { return x.Event + "\t" + x.Notifier + " " + string(x.Type) })
}

// idsOf completes messages of the outbox or messages of the inbox, the newest
// first.
func idsOf(a *cli.App, c completing) []string {
	last := []string{"last\tthe newest"}
	if c.cmd.Parent().Name() == "outbox" {
		return append(last, each(a, api.Outbox, api.OutboxParams{Limit: 20}, func(m api.OutboxView) string {
			return m.ID + "\t" + term.SafeLine(string(m.Kind)+" to "+m.To+", "+string(m.State))
		})...)
	}
	return append(last, each(a, api.Inbox, api.InboxParams{Limit: 20}, func(m api.InboxView) string {
		return m.ID + "\t" + term.SafeLine("from "+m.From+", "+text.Ago(m.At))
	})...)
}

// openCodes completes our invites.
func openCodes(a *cli.App, _ completing) []string {
	return each(a, api.Invites, api.None{}, func(v api.InviteView) string { return v.Code + "\texpires " + text.Until(v.Expires) })
}

// pluginsOf completes the plugins of the running gateway.
func pluginsOf(a *cli.App, _ completing) []string {
	return each(a, api.Plugins, api.None{}, func(v api.PluginView) string { return v.Name + "\t" + v.State })
}
