package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// outboxCommand lists what waits, unless a command below it is named.
func outboxCommand(a *cli.App) *cobra.Command {
	cmd := outboxListCommand(a)
	cmd.Use = "outbox"
	cmd.Long = "List the messages that wait to be sent; --all also shows those that were sent or failed.\n\n  ogp outbox"
	cmd.AddCommand(outboxListCommand(a), outboxShowCommand(a), outboxRetryCommand(a), outboxCancelCommand(a))
	return cmd
}

func outboxListCommand(a *cli.App) *cobra.Command {
	var p api.OutboxParams
	var state string
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List outgoing messages", Args: cobra.NoArgs,
		Long: "List the messages that wait to be sent; --all also shows those that were sent or failed.\n\n  ogp outbox list --all --peer ben",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.State = core.OutboxState(state)
			switch p.State {
			case "", core.OutWaiting, core.OutSent, core.OutRefused, core.OutExpired:
			default:
				return cli.Usagef("--state %q: want waiting, sent, refused or expired", state)
			}
			if state == "" && !all {
				p.State = core.OutWaiting
			}
			page, err := api.OutboxPage.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			defer more(a, page.Next, page.Looked, p.Search)
			return a.Print(page.Messages, func() {
				none := map[bool]string{true: "No such messages.", false: "Nothing waits."}[all || p.Search != ""]
				cli.Table(a, page.Messages, none, []string{"ID", "TO", "KIND", "STATE", "TRIES", "NEXT", "ERROR"}, func(m api.OutboxView) []string {
					next := "-"
					if m.State == core.OutWaiting {
						next = nextTry(m.Next)
					}
					return []string{m.ID, m.To, string(m.Kind), string(m.State), fmt.Sprint(m.Attempts), next, term.Dash(m.Error)}
				})
			})
		},
	}
	cmd.Flags().StringVar(&p.Peer, "peer", "", "only to this peer")
	cmd.Flags().StringVar(&state, "state", "", "only waiting, sent, refused or expired")
	cmd.Flags().BoolVar(&all, "all", false, "show messages in any state")
	pageFlags(cmd, &p.Before, &p.Search, &p.Limit)
	return cmd
}

func outboxShowCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "show <id>", Short: "Show an outgoing message and its reply", Args: cobra.ExactArgs(1),
		Long: "Show a message of ours, what the peer answered, and its reply.\n\n  ogp outbox show last",
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Show(cmd.Context(), a, api.OutboxItem, api.IDParams{ID: args[0]}, func(m api.OutboxView) {
				fmt.Fprintf(a.Out, "%s  %s to %s: %s after %s%s\n", m.ID, m.Kind, m.To, m.State, text.Count(m.Attempts, "try", "tries"), term.Optional(", ", m.Error))
				if m.Hint != "" {
					fmt.Fprintf(a.Out, "hint: %s\n", a.Here(m.Hint))
				}
				if m.Message != nil {
					fmt.Fprintf(a.Out, "%s  %s\n", term.SafeLine(m.Message.Intent), term.SafeLine(api.OneLine(m.Message.Payload)))
				}
				if m.Reply != nil {
					fmt.Fprintf(a.Out, "reply: %s\n", replyText(&m.Reply.Reply, theyRejected))
				}
			})
		},
	}
}

func outboxRetryCommand(a *cli.App) *cobra.Command {
	return outboxOperation(a, api.OutboxRetry, triedAgain, &cobra.Command{
		Use: "retry [id]", Short: "Try messages again now", Args: cobra.MaximumNArgs(1),
		Long: "Try a message again now, even one that was refused or given up; or all that wait, for one peer or for all.\n\n  ogp outbox retry --peer ben",
	})
}

// triedAgain says what is tried now. The messages to one peer leave in their order.
func triedAgain(r api.CountResult) string {
	turn := text.Count(r.Behind, "message waits for its turn", "messages wait for their turn") + " behind earlier ones"
	switch now := "Trying " + text.Count(r.Count-r.Behind, "message") + " again now"; {
	case r.Behind == 0:
		return now
	case r.Behind == r.Count:
		return turn
	default:
		return now + "; " + turn
	}
}

func outboxCancelCommand(a *cli.App) *cobra.Command {
	return outboxOperation(a, api.OutboxCancel, func(r api.CountResult) string { return "Cancelled " + text.Count(r.Count, "message") }, &cobra.Command{
		Use: "cancel [id]", Short: "Cancel waiting messages", Args: cobra.MaximumNArgs(1),
		Long: "Cancel a waiting message; or all that wait, for one peer or for all. A message that was sent cannot be recalled.\n\n  ogp outbox cancel --peer ben",
	})
}

func outboxOperation(a *cli.App, method control.Method[api.OutboxWhich, api.CountResult], done func(api.CountResult) string, cmd *cobra.Command) *cobra.Command {
	var p api.OutboxWhich
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			p.ID = args[0]
		}
		if named := len(args) == 1; named == (p.Peer != "" || p.All) || p.Peer != "" && p.All {
			return cli.Usagef("name a message by its id, or --peer, or --all")
		}
		return cli.Show(cmd.Context(), a, method, p, func(r api.CountResult) {
			fmt.Fprintln(a.Out, done(r))
		})
	}
	cmd.Flags().StringVar(&p.Peer, "peer", "", "every message waiting for this peer")
	cmd.Flags().BoolVar(&p.All, "all", false, "every waiting message")
	return cmd
}
