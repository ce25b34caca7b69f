package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

func federationCommand(a *cli.App) *cobra.Command {
	return cli.Group("federation", "Connect to peers, message them, disconnect",
		listCommand(a), showCommand(a), requestCommand(a), approveCommand(a), rejectCommand(a), removeCommand(a), forgetCommand(a), updateIdentityCommand(a),
		inviteCommand(a), acceptCommand(a), connectCommand(a), aliasCommand(a), tagCommand(a), untagCommand(a), scopesCommand(a), pauseCommand(a), resumeCommand(a), grantCommand(a), levelCommand(a), sendCommand(a), agentCommand(a), pingCommand(a))
}

func listCommand(a *cli.App) *cobra.Command {
	var status string
	var p api.PeersParams
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"status"}, Short: "List the peers", Args: cobra.NoArgs,
		Long: "List the peers. Names in quotes are what a peer calls itself; nobody has verified them.\n\n  ogp federation list --status pending",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch core.Trust(status) {
			case "", core.Requested, core.Pending, core.Approved, core.Rejected, core.Removed:
			default:
				return cli.Usagef("--status %q: want requested, pending, approved, rejected or removed", status)
			}
			p.Status = core.Trust(status)
			none := "No peers yet. Ask one: " + a.Here("ogp federation request <their gateway URL>")
			if p != (api.PeersParams{}) {
				none = "No such peers."
			}
			return cli.Pages(a, peerPages(cmd.Context(), a, p), none, []string{"ALIAS", "FINGERPRINT", "STATE", "HEALTH", "LAST CONTACT", "URL", "SAYS IT IS"}, func(p api.PeerView) []string {
				return []string{term.Dash(p.Alias), p.Fingerprint, p.Standing, term.Dash(p.Health.Word), text.Ago(p.Health.LastContact), p.URL, p.Said()}
			})
		},
	}
	cmd.Flags().StringVarP(&status, "status", "s", "", "only peers in this state: requested, pending, approved, rejected, removed")
	cmd.Flags().StringVarP(&p.Tag, "tag", "t", "", "only peers with this tag")
	cmd.Flags().StringVar(&p.Search, "search", "", "only peers with all of these words in their names, tags, fingerprint or URL")
	cmd.Flags().BoolVar(&p.Trouble, "trouble", false, "only peers that are hard to reach, paused, or have a warning")
	return cmd
}

// peerPages are the pages of a list of peers.
func peerPages(ctx context.Context, c control.Caller, p api.PeersParams) iter.Seq2[[]api.PeerView, error] {
	p.Limit = 1000
	return func(yield func([]api.PeerView, error) bool) {
		for {
			page, err := api.PeersPage.Call(ctx, c, p)
			if !yield(page.Peers, err) || err != nil || page.Next == "" {
				return
			}
			p.After = page.Next
		}
	}
}

func showCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "show <peer>", Short: "Show everything about a peer", Args: cobra.ExactArgs(1),
		Long: "Show everything about a peer. Name it by alias, fingerprint or id, or the beginning of one.\n\n  ogp federation show ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Show(cmd.Context(), a, api.Peer, api.PeerRef{Peer: args[0]}, func(p api.PeerView) {
				showPeer(a, p)
			})
		},
	}
}

func showPeer(a *cli.App, p api.PeerView) {
	line := func(k, format string, args ...any) { fmt.Fprintf(a.Out, "%-13s %s\n", k, fmt.Sprintf(format, args...)) }
	line("Peer", "%s", term.Dash(p.Alias))
	line("Fingerprint", "%s", p.Fingerprint)
	if len(p.Tags) > 0 {
		line("Tags", "%s", strings.Join(p.Tags, ", "))
	}
	line("State", "%s since %s%s", p.Standing, p.Since.Local().Format(time.DateTime), map[string]string{core.Us: ", by us", core.Them: ", by them"}[p.By])
	line("URL", "%s", p.URL)
	line("Says it is", "%s%s%s", term.Dash(p.Said()), text.Marked(term.Optional(", ", p.Unverified.Organization)), text.Marked(term.Optional(", ", p.Unverified.Email)))
	if p.Warning != "" {
		line("Warning", "%s", p.Warning)
	}
	line("Signs with", "%s", p.Signature)
	line("Last contact", "%s%s", text.Ago(p.Health.LastContact), term.Optional(", ", p.Health.LastError))
	line("Key", "%s", p.PublicKey)
	if len(p.Granted) > 0 {
		fmt.Fprintln(a.Out, "\nIt may (granted by us)")
		for _, g := range p.Granted {
			fmt.Fprintf(a.Out, "  %s\n", term.SafeLine(g.Line()))
		}
	}
	if len(p.Received) > 0 {
		fmt.Fprintln(a.Out, "\nWe may (granted by it)")
		for _, g := range p.Received {
			fmt.Fprintf(a.Out, "  %s\n", term.SafeLine(api.GrantLine(g)))
		}
	}
	if len(p.Levels) > 0 || p.DefaultLevel != "" {
		fmt.Fprintln(a.Out, "\nTopics")
		for t, l := range p.Levels {
			fmt.Fprintf(a.Out, "  %s  %s\n", t, l)
		}
		if p.DefaultLevel != "" {
			fmt.Fprintf(a.Out, "  (others)  %s\n", p.DefaultLevel)
		}
	}
	if len(p.History) > 0 {
		fmt.Fprintln(a.Out, "\nHistory")
		for _, m := range p.History {
			fmt.Fprintf(a.Out, "  %s  %s  %s\n", m.At.Local().Format(time.DateTime), m.Event, m.To)
		}
	}
}

func requestCommand(a *cli.App) *cobra.Command {
	var p api.RequestParams
	cmd := &cobra.Command{
		Use: "request <gateway URL> [key]", Short: "Ask another gateway for federation", Args: cobra.RangeArgs(1, 2),
		Long: "Ask another gateway for federation. Its key is pinned: nobody else can approve.\n\n  ogp federation request https://ogp.example.org --alias ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if p.URL, err = cli.GatewayURL(args[0]); err != nil {
				return err
			}
			if cmd.Flags().Changed("key") && p.Key == "" || slices.Contains(args[1:], "") {
				return cli.Usagef("the key is empty: name the public key that it must have, or none")
			}
			given := append([]string{p.Key}, args[1:]...)
			for i, text := range given {
				if text == "" {
					continue
				}
				if given[i], err = cli.PublicKey(text); err != nil {
					return err
				}
				if p.Key = given[i]; i > 0 && given[0] != "" && given[0] != p.Key {
					return cli.Usagef("two keys are given: name one")
				}
			}
			return cli.Show(cmd.Context(), a, api.Request, p, func(r api.RequestResult) { requested(a, r) })
		},
	}
	aliasFlag(a, cmd, &p.Alias)
	cmd.Flags().StringVar(&p.Key, "key", "", "the public key that it must have")
	cmd.Flags().BoolVar(&p.Again, "again", false, "ask even if the peer is approved here, because it has lost our record")
	return cmd
}

// aliasFlag takes our name for a peer, also by the flag of old command lines.
func aliasFlag(a *cli.App, cmd *cobra.Command, alias *string) {
	cmd.Flags().StringVarP(alias, "alias", "a", "", "our name for the peer")
	former := cmd.Flags().String("petname", "", "")
	_ = cmd.Flags().MarkHidden("petname") // the flag is there
	cmd.PreRunE = func(*cobra.Command, []string) error {
		for name, text := range map[string]string{"alias": *alias, "petname": *former} {
			if cmd.Flags().Changed(name) && text == "" {
				return cli.Usagef("--%s wants a name", name)
			}
		}
		if *former == "" {
			return nil
		}
		fmt.Fprintln(a.Err, "note: --petname is --alias")
		if *alias == "" {
			*alias = *former
		}
		return nil
	}
}

// requested says what came of asking, and what happens next.
func requested(a *cli.App, r api.RequestResult) {
	switch {
	case r.Confirmed:
		fmt.Fprintf(a.Out, "Approved: %s says that it has approved us, fingerprint %s\n", r.Peer.Handle(), r.Peer.Fingerprint)
	case r.Approval != nil:
		fmt.Fprintf(a.Out, "Approved: %s had asked already, fingerprint %s\n", r.Peer.Handle(), r.Peer.Fingerprint)
	case r.Status == "already-pending-or-approved":
		text := "Asked again: %s has a request of ours already or has approved us, and could not be asked which, fingerprint %s\n"
		if r.Waits {
			text = "Asked again: our request waits at %s already, fingerprint %s\n"
		}
		fmt.Fprintf(a.Out, text, r.Peer.Handle(), r.Peer.Fingerprint)
		theirTurn(a, r)
	case r.Peer.State == core.Approved:
		fmt.Fprintf(a.Out, "Asked %s again, fingerprint %s: %s\n", r.Peer.Handle(), r.Peer.Fingerprint, r.Status)
		fmt.Fprintln(a.Err, "It has lost our record and must approve us again; it stays approved here.")
		theirTurn(a, r)
	default:
		fmt.Fprintf(a.Out, "Asked %s, fingerprint %s: %s\n", r.Peer.Handle(), r.Peer.Fingerprint, r.Status)
		theirTurn(a, r)
	}
	if r.Approval != nil {
		told(a, *r.Approval, "approval")
	}
}

// theirTurn says what the peer's operator types.
func theirTurn(a *cli.App, r api.RequestResult) {
	fmt.Fprintf(a.Err, "Next: %s approves with \"ogp federation approve %s\", which names us; compare the fingerprint above with what \"ogp whoami\" shows there.\n",
		cmp.Or(r.Peer.Said(), r.Peer.Handle()), r.Approve)
}

func aliasCommand(a *cli.App) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "alias <peer> [name]", Short: "Name a peer", Args: cobra.RangeArgs(1, 2),
		Long: "Set the name that the other commands use for a peer. Without a name, show it.\n\n  ogp federation alias K7QF-3MZA ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			var v api.PeerView
			var err error
			switch {
			case len(args) == 2 && (remove || args[1] == ""):
				return cli.Usagef("give a name, or --remove")
			case len(args) == 1 && !remove:
				v, err = api.Peer.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			default:
				v, err = api.Alias.Call(cmd.Context(), a, api.AliasParams{Peer: args[0], Alias: strings.Join(args[1:], "")})
			}
			if err != nil {
				return err
			}
			return a.Print(v, func() {
				if v.Alias == "" {
					fmt.Fprintf(a.Out, "%s has no alias\n", v.Fingerprint)
					return
				}
				fmt.Fprintf(a.Out, "%s is %s\n", v.Fingerprint, v.Alias)
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the name")
	return cmd
}

func tagCommand(a *cli.App) *cobra.Command {
	return tagging(a, &cobra.Command{
		Use: "tag <peer> <tag>...", Short: "Add tags to a peer", Args: cobra.MinimumNArgs(2),
		Long: "Add tags to a peer; \"list --tag\" selects peers by tag.\n\n  ogp federation tag ben work",
	}, func(p *api.TagParams, tags []string) { p.Add = tags })
}

func untagCommand(a *cli.App) *cobra.Command {
	return tagging(a, &cobra.Command{
		Use: "untag <peer> <tag>...", Short: "Remove tags from a peer", Args: cobra.MinimumNArgs(2),
		Long: "Remove tags from a peer.\n\n  ogp federation untag ben work",
	}, func(p *api.TagParams, tags []string) { p.Drop = tags })
}

func tagging(a *cli.App, cmd *cobra.Command, f func(p *api.TagParams, tags []string)) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p := api.TagParams{Peer: args[0]}
		f(&p, args[1:])
		return cli.Show(cmd.Context(), a, api.Tag, p, func(v api.PeerView) {
			fmt.Fprintf(a.Out, "%s has %s\n", v.Handle(), cmp.Or(strings.Join(v.Tags, ", "), "no tags"))
		})
	}
	return cmd
}
