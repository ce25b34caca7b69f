package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// grantChange is what "ogp federation grant" names. What it does not name stays.
type grantChange struct {
	grantFlags
	add, drop []string
}

func grantCommand(a *cli.App) *cobra.Command {
	var g grantChange
	var yes bool
	cmd := &cobra.Command{
		Use: "grant <peer>", Short: "Change what an approved peer may do", Args: cobra.ExactArgs(1),
		Long: `Change what an approved peer may do, and tell it. Only what you name changes:
--topics alone keeps the rates, --add and --drop keep the other intents, and
--intents replaces them all. It asks before it grants an intent that this gateway
does not know.

  ogp federation grant ben --add calendar.freebusy --rate 10/60`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !anyChanged(cmd, "intents", "rate", "bytes", "topics", "personas", "expires", "add", "drop") {
				return cli.Usagef("no change given; see --add, --drop, --intents, --rate, --bytes, --topics, --personas and --expires")
			}
			said, err := g.said(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			peer, err := api.Peer.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			if peer.State != core.Approved { // the daemon says what leads on
				_, err := api.Grant.Call(cmd.Context(), a, api.ApproveParams{Peer: args[0], Grants: said})
				return err
			}
			current := peer.Grants()
			grants, err := g.apply(current, cmd.Flags().Changed)
			if err != nil {
				return err
			}
			if unknown := unknownIntents(cmd.Context(), a, grants, current); len(unknown) > 0 && !yes {
				fmt.Fprintf(a.Err, "This gateway knows no intent %s.\n", term.SafeLine(strings.Join(unknown, ", ")))
				if err := a.Confirm("Grant it all the same?"); err != nil {
					return err
				}
			}
			o, err := api.Grant.Call(cmd.Context(), a, api.ApproveParams{Peer: args[0], Grants: grants})
			if err != nil {
				return err
			}
			if err := notified(a, o, "Changed the grants of", "grants"); err != nil || a.JSON {
				return err
			}
			for _, x := range grants {
				fmt.Fprintf(a.Out, "  %s\n", term.SafeLine(api.GrantLine(x)))
			}
			return nil
		},
	}
	g.register(cmd)
	cmd.Flags().StringSliceVar(&g.add, "add", nil, "intents to grant as well")
	cmd.Flags().StringSliceVar(&g.drop, "drop", nil, "intents to take away")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "grant intents that this gateway does not know, without asking")
	cmd.MarkFlagsMutuallyExclusive("intents", "add")
	cmd.MarkFlagsMutuallyExclusive("intents", "drop")
	return cmd
}

func anyChanged(cmd *cobra.Command, flags ...string) bool {
	return slices.ContainsFunc(flags, func(name string) bool { return cmd.Flags().Changed(name) })
}

// said is what the flags say, once they are checked.
func (g *grantChange) said(given func(flag string) bool) ([]core.Grant, error) {
	if err := wantValues(given, map[string][]string{"add": g.add, "drop": g.drop}); err != nil {
		return nil, err
	}
	return g.grants(given)
}

// apply changes grants by what the flags name.
func (g *grantChange) apply(current []core.Grant, given func(flag string) bool) ([]core.Grant, error) {
	said, err := g.said(given)
	if err != nil {
		return nil, err
	}
	has := func(intent string) bool {
		return slices.ContainsFunc(current, func(x core.Grant) bool { return x.Intent == intent })
	}
	for _, intent := range g.drop {
		if !has(intent) {
			return nil, cli.Usagef("--drop %s: it is not granted", intent)
		}
	}
	out := slices.Clone(current)
	wanted := append(slices.Clone(g.intents), g.add...)
	for _, intent := range wanted {
		if !has(intent) {
			out = append(out, core.Grant{Intent: intent, Enabled: true})
		}
	}
	out = slices.DeleteFunc(out, func(x core.Grant) bool {
		return slices.Contains(g.drop, x.Intent) || len(g.intents) > 0 && !slices.Contains(g.intents, x.Intent)
	})
	if len(out) == 0 {
		return nil, cli.UsageHint("\"ogp federation remove <peer>\" ends the federation", "nothing would be granted any more")
	}
	topics := false
	for i := range out {
		if out[i].Intent == core.IntentAgentComms && given("topics") {
			out[i].Topics, topics = all(g.topics), true
		}
		if len(wanted) > 0 && !slices.Contains(wanted, out[i].Intent) {
			continue
		}
		g.limit(&out[i], said, given)
	}
	if given("topics") && !topics {
		return nil, cli.Usagef("topics are of %s, which is not granted: --add %s", core.IntentAgentComms, core.IntentAgentComms)
	}
	return out, nil
}

// limit puts onto a grant the limits that the flags name.
func (g *grantChange) limit(x *core.Grant, said []core.Grant, given func(flag string) bool) {
	if given("rate") {
		x.RateLimit = said[0].RateLimit
	}
	if given("bytes") {
		x.ByteLimit = said[0].ByteLimit
	}
	if given("personas") {
		x.Personas = all(g.personas)
	}
	if given("expires") {
		x.ExpiresAt = said[0].ExpiresAt
	}
}

// unknownIntents are those that are granted anew, and that neither the protocol, the
// configuration here nor a plugin has.
func unknownIntents(ctx context.Context, a *cli.App, grants, current []core.Grant) []string {
	known := slices.Clone(core.BuiltinIntents)
	if cfg, _, _, err := a.Load(nil); err == nil {
		known = append(known, cfg.Intents...)
	}
	if plugins, err := api.Plugins.Call(ctx, a, api.None{}); err == nil {
		for _, p := range plugins {
			known = append(known, p.Intents...)
		}
	}
	for _, x := range current {
		known = append(known, x.Intent)
	}
	var out []string
	for _, x := range grants {
		if !slices.Contains(known, x.Intent) {
			out = append(out, x.Intent)
		}
	}
	return out
}
