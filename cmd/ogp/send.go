package main

import (
	"errors"
	"fmt"
	"slices"
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

func sendCommand(a *cli.App) *cobra.Command {
	var p api.SendParams
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "send <peer> <intent> [payload]", Short: "Send a message to a peer", Args: cobra.RangeArgs(2, 3),
		Long: `Send a message. The payload is JSON; for the intents message, task-request and
status-update plain text works as well. "-" reads it from standard input; put "--"
before a text that begins with a dash. If the peer is out of reach, the message
waits and is sent later, unless --now is given.

  ogp federation send ben message '{"text":"hello"}'
  ogp federation send ben message "hello"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Peer, p.Intent = args[0], args[1]
			text := ""
			if len(args) == 3 {
				var err error
				if text, err = a.Argument(args[2]); err != nil {
					return err
				}
			}
			payload, err := payloadOf(p.Intent, text, len(args) == 3)
			if err != nil {
				return err
			}
			p.Payload = payload
			return send(a, cmd, p, wait, timeout)
		},
	}
	sendFlags(cmd, &p, &wait, &timeout)
	return cmd
}

func sendFlags(cmd *cobra.Command, p *api.SendParams, wait *bool, timeout *time.Duration) {
	cmd.Flags().StringVar(&p.ToAgent, "to-agent", "", "the peer's agent (persona) to address")
	cmd.Flags().StringVarP(&p.ConversationID, "conversation", "c", "", "the conversation it belongs to")
	cmd.Flags().BoolVar(&p.Now, "now", false, "try once and give up if that fails")
	cmd.Flags().BoolVarP(wait, "wait", "w", false, "wait for the reply and print it")
	*timeout = 30 * time.Second
	cli.DurationVarP(cmd.Flags(), timeout, "timeout", "t", "how long to wait for the reply; a bare number is milliseconds")
}

// payloadOf reads a payload from the command line.
func payloadOf(intent, text string, given bool) (core.Raw, error) {
	if !given && intent != core.IntentMessage {
		return core.Raw("{}"), nil
	}
	if strings.TrimSpace(text) == "" {
		return nil, cli.Usagef("the message is empty")
	}
	if v := jsontext.Value(text); v.IsValid() && (v.Kind() == '{' || intent != core.IntentMessage) {
		return core.Raw(text), nil
	}
	if begin := strings.TrimSpace(text)[0]; begin == '{' || intent != core.IntentMessage && begin == '[' {
		return nil, cli.Usagef("the payload looks like JSON, but is not valid: is a quote or a brace missing? To send it as plain text, write {\"text\":\"...\"}")
	}
	v := core.Plain(intent, "", text)
	if v == nil {
		return nil, cli.Usagef("the payload is not JSON; write it like '{\"key\":\"value\"}'")
	}
	return json.Marshal(v, json.Deterministic(true))
}

func send(a *cli.App, cmd *cobra.Command, p api.SendParams, wait bool, timeout time.Duration) error {
	if wait {
		p.WantReply, p.WaitMillis = true, timeout.Milliseconds()
	}
	o, err := api.Send.Call(cmd.Context(), a, p)
	if err != nil {
		return err
	}
	failed := core.OutboxState(o.State) == core.OutRefused || core.OutboxState(o.State) == core.OutExpired
	if wait && o.Reply == nil && !failed && o.Error == nil {
		o.Error = &api.ErrorView{Kind: "timeout", Message: fmt.Sprintf("no reply within %v", timeout), Hint: fmt.Sprintf("\"ogp outbox show %s\" shows it when it has arrived", o.ID)}
	}
	if a.JSON {
		a.WriteJSON(o)
	} else if !failed {
		sent(a, o, wait, timeout)
	}
	switch {
	case failed:
		if !a.JSON {
			fmt.Fprintf(a.Err, "%s: %s\n", cmd.CommandPath(), o.Error.Message)
			hint(a, o.Error)
		}
		code := cli.Failed
		switch o.Error.Kind {
		case string(core.Refused):
			code = cli.Refused
		case string(core.Unreachable):
			code = cli.Unreachable
		}
		return cli.ErrPrinted(code)
	case wait && o.Reply == nil:
		if !a.JSON {
			a.Sayf(a.Err, "%s: no reply within %v\nhint: \"ogp outbox show %s\" shows it when it has arrived\n", cmd.CommandPath(), timeout, o.ID)
		}
		return cli.ErrPrinted(cli.Failed)
	}
	return nil
}

func sent(a *cli.App, o api.OutgoingView, wait bool, timeout time.Duration) {
	if core.OutboxState(o.State) == core.OutWaiting {
		fmt.Fprintln(a.Err, notYet(o))
		hint(a, o.Error)
		fmt.Fprintf(a.Out, "Queued for %s (%s); tried again %s, until %s\n", o.Peer.Handle(), o.ID, nextTry(o.Next), o.GiveUp.Local().Format(time.DateTime))
	} else if o.Reply == nil {
		fmt.Fprintf(a.Out, "Delivered to %s (nonce %s)\n", o.Peer.Handle(), o.Nonce)
	}
	if o.Reply != nil {
		fmt.Fprintln(a.Out, replyText(&o.Reply.Reply, theyRejected))
	}
}

// nextTry is when an envelope is tried again. One that is due waits for the earlier ones.
func nextTry(at time.Time) string {
	if !at.After(time.Now()) {
		return "in its turn"
	}
	return text.Until(at)
}

// notYet says why an envelope waits: its peer is out of reach, or has answered something
// else than yes or no, or others go first.
func notYet(o api.OutgoingView) string {
	name := "⚠ " + o.Peer.Handle()
	switch {
	case o.Error == nil:
		return name + " does not have it yet"
	case o.Error.Kind == string(core.Unavailable):
		return name + " does not have it yet: it " + o.Error.Message
	case o.Error.Kind == string(core.Unreachable) && !strings.HasPrefix(o.Error.Message, "the peer answered"):
		return name + " could not be reached: " + o.Error.Message
	}
	return name + " has not taken it yet: " + o.Error.Message
}

// theyRejected says that a message of ours was held by its peer's policy, and then denied.
const theyRejected = "the peer's operator rejected it"

// replyText is an answer for people: text as text, anything else as JSON. rejected is how
// to say that it turned a held message down.
func replyText(r *core.Reply, rejected string) string {
	if !r.Success {
		var data struct {
			Status string `json:"status"`
		}
		if json.Unmarshal(r.Data, &data) == nil && data.Status == "rejected" {
			return rejected + term.Optional(": ", term.SafeLine(r.Error))
		}
		return "error: " + term.SafeLine(r.Error)
	}
	var text string
	if json.Unmarshal(r.Data, &text) == nil {
		return term.SafeText(text)
	}
	var object struct {
		Text *string `json:"text"`
	}
	if json.Unmarshal(r.Data, &object, json.RejectUnknownMembers(true)) == nil && object.Text != nil {
		return term.SafeText(*object.Text)
	}
	return string(term.SafeJSON(r.Data))
}

func agentCommand(a *cli.App) *cobra.Command {
	var p api.SendParams
	var wait bool
	var timeout time.Duration
	var priority string
	cmd := &cobra.Command{
		Use: "agent <peer> <topic> <message>", Short: "Talk to a peer's agent", Args: cobra.ExactArgs(3),
		Long: "Send an agent-comms message on a topic, and with --wait print the answer.\n\n  ogp federation agent ben planning \"When is your human free?\" --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"low", "normal", "high"}, priority) {
				return cli.Usagef("--priority %q: want low, normal or high", priority)
			}
			message, err := a.Argument(args[2])
			if err != nil {
				return err
			}
			if strings.TrimSpace(message) == "" {
				return cli.Usagef("the message is empty")
			}
			payload, err := json.Marshal(core.AgentComms{Topic: args[1], Message: message, Priority: priority})
			if err != nil {
				return err
			}
			p.Peer, p.Intent, p.Payload = args[0], core.IntentAgentComms, payload
			return send(a, cmd, p, wait, timeout)
		},
	}
	sendFlags(cmd, &p, &wait, &timeout)
	cmd.Flags().StringVarP(&priority, "priority", "p", "normal", "low, normal or high")
	return cmd
}

func pingCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "ping <peer or URL>", Short: "Check whether a gateway answers", Args: cobra.ExactArgs(1),
		Long: "Check whether a gateway answers. Exit status 4 means that it does not.\n\n  ogp federation ping ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			show := func(target string) error {
				return cli.Show(cmd.Context(), a, api.Ping, api.PingParams{Target: target}, func(r api.PingResult) {
					fmt.Fprintf(a.Out, "%s answers as %q in %.1f ms\n", r.URL, term.SafeText(r.DisplayName), r.TookMillis)
				})
			}
			pasted, noURL := cli.GatewayURL(args[0])
			if noURL == nil && strings.Contains(args[0], "://") {
				return show(pasted)
			}
			err := show(args[0])
			if noURL == nil && errors.Is(err, core.NotFound) { // a host that is no peer's name
				return show(pasted)
			}
			return err
		},
	}
}
