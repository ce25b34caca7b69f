package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/scope"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// grantFlags are the flags that say what a peer may do.
type grantFlags struct {
	intents, topics, personas []string
	rate, bytes, expires      string
}

func (g *grantFlags) register(cmd *cobra.Command) { g.registerAs(cmd, "expires") }

// registerAs registers the flags where --expires is taken.
func (g *grantFlags) registerAs(cmd *cobra.Command, expires string) {
	cmd.Flags().StringSliceVar(&g.intents, "intents", nil, "intents that the peer may use (default: grants.default of the configuration)")
	cmd.Flags().StringVar(&g.rate, "rate", "", "requests/seconds for each intent, such as 100/3600 or 100/1h")
	cmd.Flags().StringVar(&g.bytes, "bytes", "", "how much may come for each intent, such as 64KiB/1h (default: 256KiB/1h)")
	cmd.Flags().StringSliceVar(&g.topics, "topics", nil, "agent-comms topics, each with all below it")
	cmd.Flags().StringSliceVar(&g.personas, "personas", nil, "agents of ours that the peer may reach")
	cmd.Flags().StringVar(&g.expires, expires, "", "when the grants end: a duration such as 30d, or a date")
}

// grants are the grants that the flags say; none given means none.
func (g *grantFlags) grants() ([]core.Grant, error) {
	if len(g.intents) == 0 && g.rate == "" && g.bytes == "" && len(g.topics) == 0 && len(g.personas) == 0 && g.expires == "" {
		return nil, nil
	}
	intents := g.intents
	if len(intents) == 0 {
		intents = core.BuiltinIntents
	}
	var rate *core.RateLimit
	if g.rate != "" {
		r, err := core.ParseRate(g.rate)
		if err != nil {
			return nil, cli.Usagef("--rate %q: %v", g.rate, err)
		}
		rate = &r
	}
	var size *core.ByteLimit
	if g.bytes != "" {
		b, err := core.ParseByteLimit(g.bytes)
		if err != nil {
			return nil, cli.Usagef("--bytes %q: %v", g.bytes, err)
		}
		size = &b
	}
	expires, err := parseExpiry(g.expires)
	if err != nil {
		return nil, err
	}
	var out []core.Grant
	for _, intent := range intents {
		grant := core.Grant{Intent: intent, Enabled: true, RateLimit: rate, ByteLimit: size, Personas: g.personas, ExpiresAt: expires}
		if intent == core.IntentAgentComms {
			grant.Topics = g.topics
		}
		out = append(out, grant)
	}
	return out, nil
}

func parseExpiry(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return core.FormatTime(t), nil
		}
	}
	d, err := core.ParseDuration(s)
	if err != nil || d <= 0 {
		return "", cli.Usagef("--expires %q: want a duration such as 12h or 30d, or a date such as 2027-01-31", s)
	}
	return core.FormatTime(time.Now().Add(d)), nil
}

func approveCommand(a *cli.App) *cobra.Command {
	var g grantFlags
	var alias string
	cmd := &cobra.Command{
		Use: "approve <peer>", Short: "Approve a peer that has asked", Args: cobra.ExactArgs(1),
		Long: "Approve a peer that has asked, with these grants or the configured ones.\n\n  ogp federation approve K7QF-3MZA --alias ben --intents message,agent-comms --rate 50/3600 --topics general",
		RunE: func(cmd *cobra.Command, args []string) error {
			grants, err := g.grants()
			if err != nil {
				return err
			}
			o, err := api.Approve.Call(cmd.Context(), a, api.ApproveParams{Peer: args[0], Alias: alias, Grants: grants})
			if err != nil {
				return err
			}
			return notified(a, o, "Approved", "approval")
		},
	}
	g.register(cmd)
	cmd.Flags().StringVarP(&alias, "alias", "a", "", "our name for the peer")
	return cmd
}

// notified says what we did, and whether the peer knows.
func notified(a *cli.App, o api.OutgoingView, done, what string) error {
	if a.JSON {
		a.WriteJSON(o)
		return nil
	}
	fmt.Fprintf(a.Out, "%s %s, fingerprint %s\n", done, o.Peer.Handle(), o.Peer.Fingerprint)
	told(a, o, what)
	return nil
}

// told says whether a peer knows what we did.
func told(a *cli.App, o api.OutgoingView, what string) {
	switch core.OutboxState(o.State) {
	case core.OutSent:
		fmt.Fprintf(a.Out, "✓ Notified peer of %s\n", what)
	case core.OutWaiting:
		if o.Error == nil && what == "rejection" {
			break // as soon as it can be reached
		}
		if o.Error == nil {
			fmt.Fprintf(a.Out, "The peer is told of the %s in a few seconds, when it has written its request down\n", what)
			break
		}
		fmt.Fprintf(a.Err, "⚠ Could not notify peer of %s yet: %s\n  It is tried again %s, until %s.\n", what, o.Error.Message, text.Until(o.Next), o.GiveUp.Local().Format(time.DateTime))
		hint(a, o.Error)
	case core.OutRefused, core.OutExpired:
		fmt.Fprintf(a.Err, "⚠ The peer did not take the %s: %s\n", what, o.Error.Message)
	}
}

func hint(a *cli.App, e *api.ErrorView) {
	if e != nil && e.Hint != "" {
		fmt.Fprintf(a.Err, "hint: %s\n", a.Here(e.Hint))
	}
}

func scopesCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "scopes <peer>", Short: "Show the scopes granted in both directions", Args: cobra.ExactArgs(1),
		Long: "Show the grants both ways, with how much of each rate is used, and what has reached the agent.\n\n  ogp federation scopes ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := api.Peer.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(map[string]any{"peer": p.Handle(), "granted": p.Granted, "received": p.Received, "budgets": p.Budgets, "paused": p.Paused})
				return nil
			}
			fmt.Fprintf(a.Out, "%s may, here:\n", p.Handle())
			for _, g := range p.Granted {
				fmt.Fprintf(a.Out, "  %s\n", term.SafeLine(g.Line()))
			}
			if len(p.Granted) == 0 {
				fmt.Fprintln(a.Out, "  nothing")
			}
			fmt.Fprintf(a.Out, "We may, there:\n")
			for _, g := range p.Received {
				fmt.Fprintf(a.Out, "  %s\n", strings.Replace(term.SafeLine(api.GrantView{Grant: g}.Line()), "  0 of ", "  ", -1))
			}
			if len(p.Received) == 0 {
				fmt.Fprintln(a.Out, "  unknown: it has not said")
			}
			if len(p.Budgets) > 0 {
				fmt.Fprintln(a.Out, "Used within 24 hours, of what may reach the agent:")
			}
			for _, b := range p.Budgets {
				fmt.Fprintf(a.Out, "  %s\n", spent(b))
			}
			if p.Paused != nil {
				fmt.Fprintf(a.Out, "Paused by the %s: what it sends is held%s\n", p.Paused.By, term.Optional(": ", term.SafeLine(p.Paused.Reason)))
			}
			return nil
		},
	}
}

func levelCommand(a *cli.App) *cobra.Command {
	var topic string
	var reset bool
	cmd := &cobra.Command{
		Use: "level [peer] [level]", Short: "Show or set how openly our agent answers a peer on a topic", Args: cobra.MaximumNArgs(2),
		Long: "Set how openly the agent answers a peer's agent-comms messages: full, summary, escalate, deny, off, or \"default\" to take the setting away. Without --topic it is the level of all topics that have none of their own. Without a level, show what is set.\n\n  ogp federation level ben full --topic planning",
		RunE: func(cmd *cobra.Command, args []string) error {
			if reset {
				if len(args) != 1 || topic != "" {
					return cli.Usagef("--reset takes a peer and nothing else")
				}
				return resetLevels(cmd.Context(), a, args[0])
			}
			if len(args) < 2 {
				return showLevels(cmd.Context(), a, args, topic)
			}
			level := args[1]
			if level == "default" {
				level = ""
			} else if !slices.Contains(scope.LevelNames, level) {
				return cli.Usagef("level %q: want one of %s, or default", level, strings.Join(scope.LevelNames, ", "))
			}
			v, err := api.Level.Call(cmd.Context(), a, api.LevelParams{Peer: args[0], Topic: topic, Level: level})
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(v)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&topic, "topic", "", "the topic")
	cmd.Flags().BoolVar(&reset, "reset", false, "take all settings of the peer away")
	return cmd
}

// resetLevels takes all levels of a peer away.
func resetLevels(ctx context.Context, a *cli.App, ref string) error {
	p, err := api.Peer.Call(ctx, a, api.PeerRef{Peer: ref})
	if err != nil {
		return err
	}
	for _, topic := range append(slices.Collect(maps.Keys(p.Levels)), "") {
		if p, err = api.Level.Call(ctx, a, api.LevelParams{Peer: p.PublicKey.String(), Topic: topic}); err != nil {
			return err
		}
	}
	if a.JSON {
		a.WriteJSON(p)
	}
	return nil
}

// showLevels shows the levels that are set for peers, and what counts for the others.
func showLevels(ctx context.Context, a *cli.App, refs []string, topic string) error {
	cfg, _, _, err := a.Load(nil)
	if err != nil {
		return err
	}
	var peers []api.PeerView
	if len(refs) == 0 {
		peers, err = api.Peers.Call(ctx, a, api.PeersParams{Status: core.Approved})
	} else {
		peers = make([]api.PeerView, 1)
		peers[0], err = api.Peer.Call(ctx, a, api.PeerRef{Peer: refs[0]})
	}
	if err != nil {
		return err
	}
	type levels struct {
		Peer    string            `json:"peer,omitempty"` // empty: of those without their own
		Topics  map[string]string `json:"topics,omitempty"`
		Default string            `json:"default,omitempty"`
	}
	list := []levels{{"", cfg.AgentComms.Topics, cfg.AgentComms.DefaultLevel}}
	for _, p := range peers {
		list = append(list, levels{p.Handle(), p.Levels, p.DefaultLevel})
	}
	if a.JSON {
		a.WriteJSON(list)
		return nil
	}
	var rows [][]string
	for _, l := range list {
		for _, t := range slices.Sorted(maps.Keys(l.Topics)) {
			if topic == "" || t == topic {
				rows = append(rows, []string{cmp.Or(l.Peer, "(all)"), t, l.Topics[t]})
			}
		}
		if l.Default != "" {
			rows = append(rows, []string{cmp.Or(l.Peer, "(all)"), "(others)", l.Default})
		}
	}
	term.Table(a.Out, []string{"PEER", "TOPIC", "LEVEL"}, rows)
	return nil
}
