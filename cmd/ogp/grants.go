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
	ends                      string // the name of the flag for expires
}

// allOfThem is what --topics and --personas say for all of them.
const allOfThem = "*"

func (g *grantFlags) register(cmd *cobra.Command) { g.registerAs(cmd, "expires") }

// registerAs registers the flags where --expires is taken.
func (g *grantFlags) registerAs(cmd *cobra.Command, expires string) {
	g.ends = expires
	cmd.Flags().StringSliceVar(&g.intents, "intents", nil, "intents that the peer may use (default: grants.default of the configuration)")
	cmd.Flags().StringVar(&g.rate, "rate", "", "the most messages for each intent, such as 100/1h or 100/3600 (seconds)")
	cmd.Flags().StringVar(&g.bytes, "bytes", "", "the most payload for each intent, such as 64KiB/1h (default: 256KiB/1h)")
	cmd.Flags().StringSliceVar(&g.topics, "topics", nil, "agent-comms topics, each with its subtopics; * for all")
	cmd.Flags().StringSliceVar(&g.personas, "personas", nil, "our agents (personas) that the peer may reach; * for all")
	cmd.Flags().StringVar(&g.expires, expires, "", "when the grants end: a duration such as 30d, a date, or never")
}

// check refuses a flag that is given without a value: of a script's variable that is not
// set, nobody knows what it was to say.
func (g *grantFlags) check(given func(flag string) bool) error {
	for flag, text := range map[string]string{"rate": g.rate, "bytes": g.bytes, g.ends: g.expires} {
		if given(flag) && text == "" {
			return cli.Usagef("--%s wants a value", flag)
		}
	}
	return wantValues(given, map[string][]string{"intents": g.intents, "topics": g.topics, "personas": g.personas})
}

// wantValues refuses lists that are given empty, or with an empty word.
func wantValues(given func(flag string) bool, lists map[string][]string) error {
	for flag, list := range lists {
		if given(flag) && (len(list) == 0 || slices.Contains(list, "")) {
			return cli.Usagef("--%s wants a value", flag)
		}
	}
	return nil
}

// all is a list of topics or personas as a grant has it: empty for all.
func all(list []string) []string {
	if slices.Contains(list, allOfThem) {
		return nil
	}
	return list
}

// grants are the grants that the flags say; none given means none.
func (g *grantFlags) grants(given func(flag string) bool) ([]core.Grant, error) {
	if err := g.check(given); err != nil {
		return nil, err
	}
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
	expires, err := core.ParseExpiry(g.expires, time.Now())
	if err != nil {
		return nil, cli.Usagef("--%s %q: %v", g.ends, g.expires, err)
	}
	var out []core.Grant
	for _, intent := range intents {
		grant := core.Grant{Intent: intent, Enabled: true, RateLimit: rate, ByteLimit: size, Personas: all(g.personas), ExpiresAt: expires}
		if intent == core.IntentAgentComms {
			grant.Topics = all(g.topics)
		}
		out = append(out, grant)
	}
	return out, nil
}

func approveCommand(a *cli.App) *cobra.Command {
	var g grantFlags
	var alias string
	cmd := &cobra.Command{
		Use: "approve <peer>", Short: "Approve a peer that has asked", Args: cobra.ExactArgs(1),
		Long: "Approve a peer that has asked, with these grants or the configured ones. For a peer that\nis approved already, only what you name changes.\n\n  ogp federation approve K7QF-3MZA --alias ben --intents message,agent-comms --rate 50/3600 --topics general",
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			grants, err := g.grants(given)
			if err != nil {
				return err
			}
			if len(grants) > 0 {
				if peer, err := api.Peer.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]}); err == nil && len(peer.Granted) > 0 {
					change := grantChange{grantFlags: g}
					if grants, err = change.apply(peer.Grants(), given); err != nil {
						return err
					}
				}
			}
			o, err := api.Approve.Call(cmd.Context(), a, api.ApproveParams{Peer: args[0], Alias: alias, Grants: grants})
			if err != nil {
				return err
			}
			return notified(a, o, "Approved", "approval")
		},
	}
	g.register(cmd)
	aliasFlag(a, cmd, &alias)
	return cmd
}

// notified says what we did, and whether the peer knows.
func notified(a *cli.App, o api.OutgoingView, done, what string) error {
	return a.Print(o, func() {
		fmt.Fprintf(a.Out, "%s %s, fingerprint %s\n", done, o.Peer.Handle(), o.Peer.Fingerprint)
		told(a, o, what)
	})
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
			fmt.Fprintf(a.Out, "The peer is notified of the %s in a few seconds, once it has stored its request\n", what)
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
			return a.Print(map[string]any{"peer": p.Handle(), "granted": p.Granted, "received": p.Received, "budgets": p.Budgets, "paused": p.Paused}, func() {
				if p.State != core.Approved {
					fmt.Fprintf(a.Out, "%s is %s: these grants are not in effect\n", p.Handle(), p.Standing)
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
					fmt.Fprintf(a.Out, "  %s\n", term.SafeLine(api.GrantLine(g)))
				}
				switch {
				case len(p.Received) > 0:
				case p.State == core.Approved:
					fmt.Fprintln(a.Out, "  unknown: the peer has not told us")
				default:
					fmt.Fprintln(a.Out, "  nothing")
				}
				if len(p.Budgets) > 0 {
					fmt.Fprintln(a.Out, "Used within 24 hours, of the budget for the agent:")
				}
				for _, b := range p.Budgets {
					fmt.Fprintf(a.Out, "  %s\n", spent(b))
				}
				if p.Paused != nil {
					fmt.Fprintf(a.Out, "Paused by the %s: what it sends is held%s\n", p.Paused.By, term.Optional(": ", term.SafeLine(p.Paused.Reason)))
				}
			})
		},
	}
}

func levelCommand(a *cli.App) *cobra.Command {
	var topic string
	var reset bool
	cmd := &cobra.Command{
		Use: "level [peer] [level]", Short: "Show or set how openly our agent answers a peer on a topic", Args: cobra.MaximumNArgs(2),
		Long: "Set how openly the agent answers a peer's agent-comms messages: full, summary, escalate, deny, off, or \"default\" to remove the setting. Without --topic, it applies to all topics without a level of their own. Without a level, show what is set.\n\n  ogp federation level ben full --topic planning",
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
			return cli.Show(cmd.Context(), a, api.Level, api.LevelParams{Peer: args[0], Topic: topic, Level: level}, func(v api.PeerView) {
				fmt.Fprintf(a.Out, "%s, %s: %s\n", v.Handle(), cmp.Or(term.SafeLine(topic), "topics without a level of their own"), cmp.Or(level, "as for everybody"))
			})
		},
	}
	cmd.Flags().StringVar(&topic, "topic", "", "the topic")
	cmd.Flags().BoolVar(&reset, "reset", false, "remove all of the peer's settings")
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
	return a.Done(p, "%s, all topics: as for everybody", p.Handle())
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
	list := []levels{{"", cfg.AgentComms.Topics, cfg.AgentComms.Default}}
	for _, p := range peers {
		list = append(list, levels{p.Handle(), p.Levels, p.DefaultLevel})
	}
	return a.Print(list, func() {
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
	})
}
