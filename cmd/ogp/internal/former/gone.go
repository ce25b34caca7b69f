package former

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
)

// instead says what to do in the place of commands of before that nothing here does, by the
// command that they stand under.
var instead = map[string]map[string]string{
	"ogp": {
		"setup":       `"ogp init" asks what it asked; "ogp import" takes over the old state, with its key`,
		"expose":      `run the tunnel by its own program ("cloudflared tunnel --url http://localhost:18790", "ngrok http 18790"), then "ogp config set gateway_url <its URL>"`,
		"expose-stop": "the tunnel is a program of its own: stop it where you started it",
		"keychain":    `"ogp key seal" seals the key with a passphrase; the macOS keychain is not used`,
		"project":     `projects are not kept here: a handler plugin can answer the intents project.* ("ogp plugin new project"), and "ogp federation agent <peer> <topic> <text>" talks about one`,
	},
	"ogp agent-comms": {
		"interview": `"ogp federation level" sets how openly our agent answers a peer, "ogp config set agent_comms.default_level <level>" all others, and "ogp notify use" who is notified`,
		"logging":   `messages are kept for the setting "inbox.keep": "ogp inbox list --intent agent-comms" shows them`,
	},
	"ogp config": {
		"list":          oneEach,
		"frameworks":    oneEach,
		"set-default":   oneEach,
		"enable":        oneEach,
		"disable":       oneEach,
		"show-identity": `"ogp whoami" and "ogp config show" show it`,
		"set-identity":  "ogp config set human_name <name>; agent_name, organization, display_name and email the same way",
		"set-tags":      noTags,
		"add-tag":       noTags,
		"remove-tag":    noTags,
		"health-check":  "ogp config set health.interval <time>; health.timeout and health.failures the same way",
	},
}

const (
	oneEach = `a gateway here serves one framework: "--home <directory>" or OGP_HOME names its state, "ogp config show" its settings`
	noTags  = `our card has no tags; "ogp federation tag <peer> <tag>" tags a peer`
)

// flags say what to do in the place of flags of before.
var flags = map[string]string{
	"for": `"--home <directory>" or OGP_HOME names the state of another gateway`,
}

// FlagHint is what to do in the place of a flag of before, or empty.
func FlagHint(name string) string { return flags[name] }

// gone are the commands of before under a command that nothing here does: each says what to
// do instead.
func gone(parent string) (out []*cobra.Command) {
	for _, name := range slices.Sorted(maps.Keys(instead[parent])) {
		what := strings.TrimPrefix(parent+" "+name, "ogp ")
		cmd := &cobra.Command{Use: name, Short: "Not here: " + instead[parent][name], DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error {
			e := core.Refusef(core.Malformed, "there is no %q here", what)
			e.Hint = instead[parent][name]
			return cli.UsageError{Err: e}
		}}
		hide(cmd)
		out = append(out, cmd)
	}
	return out
}

// AddGone adds to the commands of ours what stood beside them before.
func AddGone(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if !Is(cmd) {
			cmd.AddCommand(gone(cmd.CommandPath())...)
		}
	}
}
