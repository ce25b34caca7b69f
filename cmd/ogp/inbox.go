package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// safeText makes a peer's words safe for a terminal: no control characters but
// line ends and tabs.
func safeText(s string) string { return text.Block(s) }

// safeLine is safeText in one line, so that nobody writes lines in our name.
func safeLine(s string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(safeText(s))
}

// safeJSON escapes in a JSON text what a terminal may act on. Outside of strings
// there is none of it but white space.
func safeJSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for _, r := range string(raw) {
		switch {
		case r == '\n' || r == '\t' || !text.Acts(r):
			out = utf8.AppendRune(out, r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// oneLine is a payload in one line of a list.
func oneLine(payload core.Raw) string {
	var p struct {
		Text        string `json:"text"`
		Message     string `json:"message"`
		Description string `json:"description"`
		Status      string `json:"status"`
		Topic       string `json:"topic"`
	}
	text := ""
	if json.Unmarshal(payload, &p) == nil {
		for _, s := range []string{p.Text, p.Message, p.Description, p.Status} {
			if s != "" {
				text = s
				break
			}
		}
		if p.Topic != "" && text != "" {
			text = p.Topic + ": " + text
		}
	}
	if text == "" {
		text = string(payload)
	}
	text = strings.Join(strings.Fields(safeText(text)), " ")
	if r := []rune(text); len(r) > 80 {
		text = string(r[:79]) + "…"
	}
	return text
}

func inboxCommand(a *app) *cobra.Command {
	return group("inbox", "Read and answer the messages that have arrived", inboxListCommand(a), inboxShowCommand(a), inboxReplyCommand(a))
}

func inboxListCommand(a *app) *cobra.Command {
	var p api.InboxParams
	var since string
	var status string
	cmd := &cobra.Command{
		Use: "list", Short: "List messages, the newest first", Args: cobra.NoArgs,
		Long: "List messages, the newest first.\n\n  ogp inbox list --peer ben --since 24h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if since != "" {
				d, err := core.ParseDuration(since)
				if err != nil {
					return usagef("--since %q: want a duration such as 24h or 7d", since)
				}
				p.Since = time.Now().Add(-d)
			}
			switch core.InboxStatus(status) {
			case "", core.InboxNew, core.InboxHeld, core.InboxReplied:
				p.Status = core.InboxStatus(status)
			default:
				return usagef("--status %q: want new, held or replied", status)
			}
			list, err := api.Inbox.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(list)
				return nil
			}
			if len(list) == 0 {
				fmt.Fprintln(a.err, "No messages.")
				return nil
			}
			rows := make([][]string, len(list))
			for i, m := range list {
				rows[i] = []string{m.ID, ago(m.At), m.From, safeLine(m.Message.Intent), string(m.Status), m.Text}
			}
			table(a.out, []string{"ID", "CAME", "FROM", "INTENT", "STATUS", "TEXT"}, rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Peer, "peer", "", "only from this peer")
	cmd.Flags().StringVar(&p.Intent, "intent", "", "only of this intent")
	cmd.Flags().StringVar(&status, "status", "", "only new, held or replied")
	cmd.Flags().StringVar(&since, "since", "", "only from the last 24h, 7d, ...")
	cmd.Flags().IntVar(&p.Limit, "limit", 50, "how many at the most")
	return cmd
}

func inboxShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show <id>", Short: "Show a message", Args: cobra.ExactArgs(1),
		Long: "Show a message, named by its id, the end of it, or \"last\".\n\n  ogp inbox show last",
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := api.InboxMessage.Call(cmd.Context(), a, api.IDParams{ID: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(m)
				return nil
			}
			line := func(k, v string) {
				if v != "" {
					fmt.Fprintf(a.out, "%-13s %s\n", k, safeLine(v))
				}
			}
			line("Id", m.ID)
			line("From", m.From+"  "+m.Fingerprint)
			line("Came", m.At.Local().Format(time.DateTime))
			line("Intent", m.Message.Intent)
			line("Agent", m.Message.ToAgent)
			line("Conversation", m.Message.ConversationID)
			line("Status", string(m.Status)+optional(": ", m.Reason))
			line("Level", m.Level)
			line("Reply wanted", m.Message.ReplyTo)
			payload := jsontext.Value(m.Message.Payload)
			if payload.Indent() == nil {
				fmt.Fprintf(a.out, "\n%s\n", safeText(string(payload)))
			}
			if m.Reply != nil {
				fmt.Fprintf(a.out, "\nAnswered %s\n%s%s\n", m.Reply.Timestamp, m.Reply.Data, m.Reply.Error)
			}
			return nil
		},
	}
}

func inboxReplyCommand(a *app) *cobra.Command {
	var failure bool
	cmd := &cobra.Command{
		Use: "reply <id> <text or JSON>", Short: "Answer a message", Args: cobra.ExactArgs(2),
		Long: "Answer a message: the reply is signed and sent to where the sender wants it, or left to be polled.\n\n  ogp inbox reply last \"Thursday suits us\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			p := api.ReplyParams{ID: args[0]}
			switch v := jsontext.Value(args[1]); {
			case failure:
				p.Error = args[1]
			case v.IsValid() && (v.Kind() == '{' || v.Kind() == '[' || v.Kind() == '"'):
				p.Data = core.Raw(args[1])
			default:
				data, err := json.Marshal(map[string]string{"text": args[1]})
				if err != nil {
					return err
				}
				p.Data = data
			}
			o, err := api.InboxReply.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(o)
				return nil
			}
			switch core.OutboxState(o.State) {
			case core.OutSent:
				fmt.Fprintf(a.out, "Replied to %s\n", o.Peer.Handle())
			case core.OutWaiting:
				fmt.Fprintf(a.out, "Reply queued for %s (%s)\n", o.Peer.Handle(), o.ID)
				if o.Error != nil {
					fmt.Fprintf(a.err, "⚠ %s could not be reached: %s\n", o.Peer.Handle(), o.Error.Message)
				}
			case "none":
				fmt.Fprintf(a.out, "Reply is ready for %s to fetch\n", o.Peer.Handle())
			default:
				fmt.Fprintf(a.out, "Reply is ready for %s to fetch\n", o.Peer.Handle())
				fmt.Fprintf(a.err, "⚠ It did not take it at its reply address: %s\n", o.Error.Message)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&failure, "error", false, "answer with an error of this text")
	return cmd
}

func outboxCommand(a *app) *cobra.Command {
	var p api.OutboxParams
	var state string
	var all bool
	cmd := &cobra.Command{
		Use: "outbox", Short: "List the messages that wait to be sent", Args: cobra.NoArgs,
		Long: "List the messages that wait to be sent; --all shows the sent and the failed ones, too.\n\n  ogp outbox",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.State = core.OutboxState(state)
			switch p.State {
			case "", core.OutWaiting, core.OutSent, core.OutRefused, core.OutExpired:
			default:
				return usagef("--state %q: want waiting, sent, refused or expired", state)
			}
			if state == "" && !all {
				p.State = core.OutWaiting
			}
			list, err := api.Outbox.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(list)
				return nil
			}
			if len(list) == 0 {
				fmt.Fprintln(a.err, "Nothing waits.")
				return nil
			}
			rows := make([][]string, len(list))
			for i, m := range list {
				next := "-"
				if m.State == core.OutWaiting {
					next = until(m.Next)
				}
				rows[i] = []string{m.ID, m.To, string(m.Kind), string(m.State), fmt.Sprint(m.Attempts), next, dash(m.Error)}
			}
			table(a.out, []string{"ID", "TO", "KIND", "STATE", "TRIES", "NEXT", "ERROR"}, rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Peer, "peer", "", "only to this peer")
	cmd.Flags().StringVar(&state, "state", "", "only waiting, sent, refused or expired")
	cmd.Flags().BoolVar(&all, "all", false, "in any state")
	cmd.Flags().IntVar(&p.Limit, "limit", 50, "how many at the most")
	cmd.AddCommand(outboxShowCommand(a))
	return cmd
}

func outboxShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show <id>", Short: "Show a message of ours and its reply", Args: cobra.ExactArgs(1),
		Long: "Show a message of ours, what the peer answered, and its reply.\n\n  ogp outbox show last",
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := api.OutboxItem.Call(cmd.Context(), a, api.IDParams{ID: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(m)
				return nil
			}
			fmt.Fprintf(a.out, "%s  %s to %s: %s after %d tries%s\n", m.ID, m.Kind, m.To, m.State, m.Attempts, optional(", ", m.Error))
			if m.Message != nil {
				fmt.Fprintf(a.out, "%s  %s\n", m.Message.Intent, oneLine(m.Message.Payload))
			}
			if m.Reply != nil {
				fmt.Fprint(a.out, "reply: ")
				a.printReply(m.Reply)
			}
			return nil
		},
	}
}
