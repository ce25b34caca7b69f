package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

func inboxCommand(a *cli.App) *cobra.Command {
	return cli.Group("inbox", "Read and answer the messages that have arrived", inboxListCommand(a), inboxShowCommand(a), inboxReplyCommand(a),
		inboxReleaseCommand(a), inboxDenyCommand(a))
}

func inboxListCommand(a *cli.App) *cobra.Command {
	var p api.InboxParams
	var since string
	var status string
	var held bool
	cmd := &cobra.Command{
		Use: "list", Short: "List messages, the newest first", Args: cobra.NoArgs,
		Long: "List messages, the newest first. A search covers a few thousand messages at a time and says how to continue.\n\n  ogp inbox list --peer ben --search \"thursday noon\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if since != "" {
				var err error
				if p.Since, err = cli.ParseSince(since); err != nil {
					return err
				}
			}
			if held {
				status = string(core.InboxHeld)
			}
			switch core.InboxStatus(status) {
			case "", core.InboxNew, core.InboxHeld, core.InboxReplied, core.InboxDenied:
				p.Status = core.InboxStatus(status)
			default:
				return cli.Usagef("--status %q: want new, held, replied or denied", status)
			}
			page, err := api.InboxPage.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			defer more(a, page.Next, page.Looked, p.Search)
			return a.Print(page.Messages, func() {
				cli.Table(a, page.Messages, "No messages.", []string{"ID", "CAME", "FROM", "INTENT", "STATUS", "TEXT"}, func(m api.InboxView) []string {
					return []string{m.ID, text.Ago(m.At), m.From, term.SafeLine(m.Message.Intent), string(m.Status), m.Text}
				})
			})
		},
	}
	cmd.Flags().StringVar(&p.Peer, "peer", "", "only from this peer")
	cmd.Flags().StringVar(&p.Intent, "intent", "", "only of this intent")
	cmd.Flags().StringVar(&status, "status", "", "only new, held, replied or denied")
	cmd.Flags().BoolVar(&held, "held", false, "only those that a policy held back")
	cmd.Flags().StringVar(&since, "since", "", "only from the last 24h, 7d, ...")
	pageFlags(cmd, &p.Before, &p.Search, &p.Limit)
	return cmd
}

// pageFlags choose a page of messages.
func pageFlags(cmd *cobra.Command, before, search *string, limit *int) {
	cmd.Flags().StringVar(before, "before", "", "only those before the message of this id")
	cmd.Flags().StringVar(search, "search", "", "only those with all of these words, in what was said or in names")
	*limit = 50
	cli.CountVar(cmd.Flags(), limit, "limit", "show at most this many")
}

// more says that there is a next page, and how it is shown.
func more(a *cli.App, next string, looked int, search string) {
	if next == "" {
		return
	}
	what := "There are more"
	if search != "" {
		what = "Looked at " + text.Count(looked, "message")
	}
	fmt.Fprintf(a.Err, "%s: add --before %s to continue.\n", what, next)
}

func inboxShowCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "show <id>", Short: "Show a message", Args: cobra.ExactArgs(1),
		Long: "Show a message, named by its id, the end of it, or \"last\".\n\n  ogp inbox show last",
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Show(cmd.Context(), a, api.InboxMessage, api.IDParams{ID: args[0]}, func(m api.InboxView) {
				line := func(k, v string) {
					if v != "" {
						fmt.Fprintf(a.Out, "%-13s %s\n", k, term.SafeLine(v))
					}
				}
				line("Id", m.ID)
				line("From", m.From+"  "+m.Fingerprint)
				line("Came", m.At.Local().Format(time.DateTime))
				line("Intent", m.Message.Intent)
				line("Agent", m.Message.ToAgent)
				line("Conversation", m.Message.ConversationID)
				if m.Status == core.InboxHeld {
					line("Status", string(m.Status)+term.Optional(": ", m.Reason))
				} else {
					line("Status", string(m.Status))
					line("Was held", m.Reason)
				}
				if m.Decided != nil {
					line("Decided", fmt.Sprintf("%s by the %s, %s%s", m.Decided.As, m.Decided.By, m.Decided.At.Local().Format(time.DateTime), term.Optional(": ", m.Decided.Reason)))
				}
				line("Level", m.Level)
				line("Reply wanted", m.Message.ReplyTo)
				payload := jsontext.Value(m.Message.Payload)
				if payload.Indent() == nil {
					fmt.Fprintf(a.Out, "\n%s\n", term.SafeText(string(payload)))
				}
				if m.Reply != nil {
					fmt.Fprintf(a.Out, "\nAnswered %s\n%s\n", m.Reply.Timestamp, replyText(m.Reply, "rejected"))
				}
			})
		},
	}
}

func inboxReplyCommand(a *cli.App) *cobra.Command {
	var failure bool
	cmd := &cobra.Command{
		Use: "reply <id> <text or JSON>", Short: "Answer a message", Args: cobra.ExactArgs(2),
		Long: "Answer a message: the reply is signed, and sent to the address that the sender gave, or kept until the sender polls.\n\n  ogp inbox reply last \"Thursday suits us\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			p := api.ReplyParams{ID: args[0]}
			answer, err := a.Argument(args[1])
			if err != nil {
				return err
			}
			if strings.TrimSpace(answer) == "" {
				return cli.Usagef("the answer is empty")
			}
			switch v := jsontext.Value(answer); {
			case failure:
				p.Error = answer
			case v.IsValid() && (v.Kind() == '{' || v.Kind() == '[' || v.Kind() == '"'):
				p.Data = core.Raw(answer)
			default:
				data, err := json.Marshal(map[string]string{"text": answer})
				if err != nil {
					return err
				}
				p.Data = data
			}
			return cli.Show(cmd.Context(), a, api.InboxReply, p, func(o api.OutgoingView) {
				switch core.OutboxState(o.State) {
				case core.OutSent:
					fmt.Fprintf(a.Out, "Replied to %s%s\n", o.Peer.Handle(), answered(o, "'s"))
				case core.OutWaiting:
					fmt.Fprintf(a.Out, "Reply queued for %s%s (%s)\n", o.Peer.Handle(), answered(o, "'s"), o.ID)
					fmt.Fprintln(a.Err, notYet(o))
				case "none":
					fmt.Fprintf(a.Out, "Reply%s is ready for %s to fetch\n", answered(o, " to"), o.Peer.Handle())
				default:
					fmt.Fprintf(a.Out, "Reply%s is ready for %s to fetch\n", answered(o, " to"), o.Peer.Handle())
					fmt.Fprintf(a.Err, "⚠ It did not take it at its reply address: %s\n", o.Error.Message)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&failure, "error", false, "answer with this text as an error")
	return cmd
}

// answered names the message that a reply answers, behind some words; empty: it is not known.
func answered(o api.OutgoingView, before string) string {
	if o.Answered == nil {
		return ""
	}
	return fmt.Sprintf("%s %q", before, term.SafeLine(o.Answered.Text))
}

func inboxReleaseCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "release <id>", Short: "Let a held message through", Args: cobra.ExactArgs(1),
		Long: "Deliver a message that a policy held back, if the sender's grants still allow it: to the notifiers, once, or to the plugin that handles such messages.\n\n  ogp inbox release last",
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Show(cmd.Context(), a, api.InboxRelease, api.IDParams{ID: args[0]}, func(m api.InboxView) {
				if m.Reply != nil {
					fmt.Fprintf(a.Out, "Released %s from %s; a plugin has answered it\n", m.ID, m.From)
					return
				}
				fmt.Fprintf(a.Out, "Released %s from %s\n", m.ID, m.From)
			})
		},
	}
}

func inboxDenyCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "deny <id> [reason]", Short: "Reject a held message", Args: cobra.RangeArgs(1, 2),
		Long: "Reject a message that a policy held back. The sender gets a signed reply with the reason, if it takes replies.\n\n  ogp inbox deny last \"not in this quarter\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			p := api.DenyParams{ID: args[0]}
			if len(args) == 2 {
				p.Reason = args[1]
			}
			return cli.Show(cmd.Context(), a, api.InboxDeny, p, func(o api.OutgoingView) {
				switch core.OutboxState(o.State) {
				case core.OutSent:
					fmt.Fprintf(a.Out, "Denied; %s has the reply\n", o.Peer.Handle())
				case core.OutWaiting:
					fmt.Fprintf(a.Out, "Denied; the reply is queued for %s (%s)\n", o.Peer.Handle(), o.ID)
				case "none":
					if o.Peer.State == core.Approved {
						fmt.Fprintf(a.Out, "Denied; the reply is ready for %s to fetch\n", o.Peer.Handle())
						return
					}
					fmt.Fprintln(a.Out, "Denied; its sender is not an approved peer, and is not notified")
				default:
					fmt.Fprintf(a.Out, "Denied; the reply is ready for %s to fetch\n", o.Peer.Handle())
					fmt.Fprintf(a.Err, "⚠ It did not take it at its reply address: %s\n", o.Error.Message)
				}
			})
		},
	}
}
