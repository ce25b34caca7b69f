package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

func inviteCommand(a *cli.App) *cobra.Command {
	var p api.InviteParams
	var g grantFlags
	var expires time.Duration
	var qr bool
	cmd := &cobra.Command{
		Use: "invite", Short: "Make a short-lived invite code", Args: cobra.NoArgs,
		Long: `Make an invite code through the rendezvous. The long form also pins our key, so that
nobody in between can put another in its place. With --approve, whoever holds the
long form or the link is approved at once, with these grants.

  ogp federation invite --approve --intents message,agent-comms --uses 1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			grants, err := g.grants(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			if grants != nil && !p.Approve {
				return cli.Usagef("grants are for --approve; without it, you choose them when you approve")
			}
			p.Grants, p.ExpiresMillis = grants, expires.Milliseconds()
			if cmd.Flags().Changed("expires") && expires < 10*time.Second {
				return cli.Usagef("--expires %v: want at least 10s", expires)
			}
			return cli.Show(cmd.Context(), a, api.Invite, p, func(v api.InviteView) {
				fmt.Fprintf(a.Out, "Your invite code: %s (expires in %s)\n", v.Code, text.InWords(time.Duration(v.ExpiresIn)*time.Second))
				fmt.Fprintf(a.Out, "Share this with your peer — they run: ogp federation accept %s\n", v.Code)
				fmt.Fprintf(a.Out, "\nLong form, which pins your key: %s\n", v.Long)
				if v.Approves {
					fmt.Fprintln(a.Out, "Whoever accepts the long form or the link is approved at once; the short code alone never is.")
				}
				if qr {
					fmt.Fprintf(a.Out, "\n%s\n", v.Link)
					qrterminal.GenerateHalfBlock(v.Link, qrterminal.L, a.Out)
				}
			})
		},
	}
	f := cmd.Flags()
	cli.CountVar(f, &p.Uses, "uses", "how often it can be used (default: no limit)")
	cli.DurationVar(f, &expires, "expires", "how long it is valid, such as 1h or 1d (default "+core.FormatDuration(core.DefaultInviteLife)+")")
	f.BoolVar(&p.Approve, "approve", false, "approve whoever accepts the long form or the link")
	f.BoolVar(&qr, "qr", false, "print the link, which carries key and URL, and its QR code")
	g.registerAs(cmd, "grants-expire")
	cmd.AddCommand(inviteListCommand(a), inviteRevokeCommand(a))
	return cmd
}

func inviteListCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List our open invites", Args: cobra.NoArgs,
		Long: "List our open invites.\n\n  ogp federation invite list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cli.Show(cmd.Context(), a, api.Invites, api.None{}, func(list []api.InviteView) {
				cli.Table(a, list, "No open invites.", []string{"CODE", "EXPIRES", "USED"}, func(v api.InviteView) []string {
					uses := fmt.Sprint(v.Used)
					if v.Uses > 0 {
						uses += fmt.Sprintf(" of %d", v.Uses)
					}
					return []string{v.Code, text.Until(v.Expires), uses}
				})
			})
		},
	}
}

func inviteRevokeCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "revoke <code>", Short: "Revoke an invite", Args: cobra.ExactArgs(1),
		Long: "Revoke an invite before it expires.\n\n  ogp federation invite revoke a3f7k2",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := api.RevokeInvite.Call(cmd.Context(), a, api.CodeParams{Code: args[0]}); err != nil {
				return err
			}
			return a.Done(map[string]string{"revoked": args[0]}, "Revoked %s", args[0])
		},
	}
}

func acceptCommand(a *cli.App) *cobra.Command {
	var p api.AcceptParams
	cmd := &cobra.Command{
		Use: "accept <code or link>", Short: "Accept an invite and ask its gateway for federation", Args: cobra.MinimumNArgs(1),
		Long: "Accept an invite: find its gateway, check its key, and ask it for federation.\n\n  ogp federation accept a3f7k2",
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Ref = cli.Invite(args)
			return cli.Show(cmd.Context(), a, api.Accept, p, func(r api.AcceptResult) { connected(a, r, r.Code) })
		},
	}
	aliasFlag(a, cmd, &p.Alias)
	return cmd
}

func connectCommand(a *cli.App) *cobra.Command {
	var p api.AcceptParams
	cmd := &cobra.Command{
		Use: "connect <public key>", Short: "Find a gateway by its key and ask it for federation", Args: cobra.ExactArgs(1),
		Long: "Look a gateway up by its public key at the rendezvous, and ask it for federation.\n\n  ogp federation connect 302a300506032b6570032100a7febe3bfff449857fca220157f8115574986746555596592ba800bde8d098d4",
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := cli.PublicKey(args[0])
			if err != nil {
				return err
			}
			p.Ref = key
			return cli.Show(cmd.Context(), a, api.Connect, p, func(r api.AcceptResult) { connected(a, r, key[:16]) })
		},
	}
	aliasFlag(a, cmd, &p.Alias)
	return cmd
}

// connected prints the line of the specification, and what happens next.
func connected(a *cli.App, r api.AcceptResult, what string) {
	fmt.Fprintf(a.Out, "Connected to %s... via rendezvous ✅\n", what)
	name := cmp.Or(r.Peer.Alias, r.Peer.Said(), r.Peer.Fingerprint)
	if r.Confirmed || r.Approval != nil {
		fmt.Fprintf(a.Out, "approved: %s %s, fingerprint %s\n", name, map[bool]string{true: "says that it has approved us", false: "had asked already"}[r.Confirmed], r.Peer.Fingerprint)
		if r.Approval != nil {
			told(a, *r.Approval, "approval")
		}
		return
	}
	if r.Approves {
		fmt.Fprintf(a.Out, "the invite approves by itself: %s answers in a moment, fingerprint %s\n", name, r.Peer.Fingerprint)
		return
	}
	fmt.Fprintf(a.Out, "pending: waiting for %s to approve, fingerprint %s\n", name, r.Peer.Fingerprint)
	theirTurn(a, r.RequestResult)
}
