package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

func federationCommand(a *app) *cobra.Command {
	return group("federation", "Ask, approve, talk to and part from peers",
		listCommand(a), showCommand(a), requestCommand(a), approveCommand(a), rejectCommand(a), removeCommand(a),
		inviteCommand(a), acceptCommand(a), connectCommand(a), aliasCommand(a), scopesCommand(a), grantCommand(a), levelCommand(a), sendCommand(a), agentCommand(a), pingCommand(a))
}

func listCommand(a *app) *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use: "list", Short: "List the peers", Args: cobra.NoArgs,
		Long: "List the peers. What stands in quotes is what a peer calls itself, which nobody has verified.\n\n  ogp federation list --status pending",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch core.Trust(status) {
			case "", core.Requested, core.Pending, core.Approved, core.Rejected, core.Removed:
			default:
				return usagef("--status %q: want requested, pending, approved, rejected or removed", status)
			}
			peers, err := api.Peers.Call(cmd.Context(), a, api.PeersParams{Status: core.Trust(status)})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(peers)
				return nil
			}
			if len(peers) == 0 {
				fmt.Fprintln(a.err, "No peers yet. Ask one: ogp federation request <their gateway URL>")
				return nil
			}
			rows := make([][]string, len(peers))
			for i, p := range peers {
				rows[i] = []string{dash(p.Alias), p.Fingerprint, string(p.State), dash(p.Health.Word), ago(p.Health.LastContact), p.URL, p.Said()}
			}
			table(a.out, []string{"ALIAS", "FINGERPRINT", "STATE", "HEALTH", "LAST CONTACT", "URL", "SAYS IT IS"}, rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only peers in this state: requested, pending, approved, rejected, removed")
	return cmd
}

func showCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show <peer>", Short: "Show all about a peer", Args: cobra.ExactArgs(1),
		Long: "Show all about a peer, named by alias, fingerprint, id, or the beginning of one.\n\n  ogp federation show ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := api.Peer.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(p)
				return nil
			}
			a.showPeer(p)
			return nil
		},
	}
}

func (a *app) showPeer(p api.PeerView) {
	line := func(k, format string, args ...any) { fmt.Fprintf(a.out, "%-13s %s\n", k, fmt.Sprintf(format, args...)) }
	line("Peer", "%s", dash(p.Alias))
	line("Fingerprint", "%s", p.Fingerprint)
	line("State", "%s since %s%s", p.State, p.Since.Local().Format(time.DateTime), map[string]string{core.Us: ", by us", core.Them: ", by them"}[p.By])
	line("URL", "%s", p.URL)
	line("Says it is", "%s%s%s", dash(p.Said()), optional(", ", p.Unverified.Organization), optional(", ", p.Unverified.Email))
	if p.Warning != "" {
		line("Warning", "%s", p.Warning)
	}
	line("Signs with", "%s", p.Signature)
	line("Last contact", "%s%s", ago(p.Health.LastContact), optional(", ", p.Health.LastError))
	line("Key", "%s", p.PublicKey)
	if len(p.Granted) > 0 {
		fmt.Fprintln(a.out, "\nIt may (granted by us)")
		for _, g := range p.Granted {
			fmt.Fprintf(a.out, "  %s\n", grantLine(g))
		}
	}
	if len(p.Received) > 0 {
		fmt.Fprintln(a.out, "\nWe may (granted by it)")
		for _, g := range p.Received {
			fmt.Fprintf(a.out, "  %s\n", strings.Replace(grantLine(api.GrantView{Grant: g}), "0 of ", "", 1))
		}
	}
	if len(p.Levels) > 0 || p.DefaultLevel != "" {
		fmt.Fprintln(a.out, "\nTopics")
		for t, l := range p.Levels {
			fmt.Fprintf(a.out, "  %s  %s\n", t, l)
		}
		if p.DefaultLevel != "" {
			fmt.Fprintf(a.out, "  (others)  %s\n", p.DefaultLevel)
		}
	}
	if len(p.History) > 0 {
		fmt.Fprintln(a.out, "\nHistory")
		for _, m := range p.History {
			fmt.Fprintf(a.out, "  %s  %s  %s\n", m.At.Local().Format(time.DateTime), m.Event, m.To)
		}
	}
}

func optional(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

func requestCommand(a *app) *cobra.Command {
	var p api.RequestParams
	cmd := &cobra.Command{
		Use: "request <gateway URL>", Short: "Ask another gateway for federation", Args: cobra.ExactArgs(1),
		Long: "Ask another gateway for federation. Its key is pinned: nobody else can approve.\n\n  ogp federation request https://ogp.example.org --alias ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			p.URL = args[0]
			r, err := api.Request.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			a.requested(r)
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Alias, "alias", "", "our name for the peer")
	cmd.Flags().StringVar(&p.Key, "key", "", "the public key that it must have")
	cmd.Flags().BoolVar(&p.Again, "again", false, "ask even if the peer is approved, as it has lost us")
	return cmd
}

// requested says what came of asking, and what happens next.
func (a *app) requested(r api.RequestResult) {
	if a.json {
		a.writeJSON(r)
		return
	}
	switch {
	case r.Peer.State == core.Approved:
		fmt.Fprintf(a.out, "Approved: %s had asked already, fingerprint %s\n", r.Peer.Handle(), r.Peer.Fingerprint)
	case r.Status == "already-pending-or-approved":
		fmt.Fprintf(a.out, "Asked again: %s knows us already, fingerprint %s\n", r.Peer.Handle(), r.Peer.Fingerprint)
		fmt.Fprintln(a.err, "It must approve us (again) before we can talk.")
	default:
		fmt.Fprintf(a.out, "Asked %s, fingerprint %s: %s\n", r.Peer.Handle(), r.Peer.Fingerprint, r.Status)
		fmt.Fprintf(a.err, "Next: %s approves with \"ogp federation approve\"; compare the fingerprint with what \"ogp whoami\" shows there.\n", dash(r.Peer.Said()))
	}
}

// grantFlags are the flags that say what a peer may do.
type grantFlags struct {
	intents, topics, personas []string
	rate, expires             string
}

func (g *grantFlags) register(cmd *cobra.Command) { g.registerAs(cmd, "expires") }

// registerAs registers the flags where --expires is taken.
func (g *grantFlags) registerAs(cmd *cobra.Command, expires string) {
	cmd.Flags().StringSliceVar(&g.intents, "intents", nil, "intents that the peer may use (default: grants.default of the configuration)")
	cmd.Flags().StringVar(&g.rate, "rate", "", "requests/seconds for each intent, such as 100/3600 or 100/1h")
	cmd.Flags().StringSliceVar(&g.topics, "topics", nil, "agent-comms topics, each with all below it")
	cmd.Flags().StringSliceVar(&g.personas, "personas", nil, "agents of ours that the peer may reach")
	cmd.Flags().StringVar(&g.expires, expires, "", "when the grants end: a duration such as 30d, or a date")
}

// grants are the grants that the flags say; none given means none.
func (g *grantFlags) grants() ([]core.Grant, error) {
	if len(g.intents) == 0 && g.rate == "" && len(g.topics) == 0 && len(g.personas) == 0 && g.expires == "" {
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
			return nil, usagef("--rate %q: %v", g.rate, err)
		}
		rate = &r
	}
	expires, err := parseExpiry(g.expires)
	if err != nil {
		return nil, err
	}
	var out []core.Grant
	for _, intent := range intents {
		grant := core.Grant{Intent: intent, Enabled: true, RateLimit: rate, Personas: g.personas, ExpiresAt: expires}
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
		return "", usagef("--expires %q: want a duration such as 12h or 30d, or a date such as 2027-01-31", s)
	}
	return core.FormatTime(time.Now().Add(d)), nil
}

func approveCommand(a *app) *cobra.Command {
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
			return a.told(o, "Approved", "approval")
		},
	}
	g.register(cmd)
	cmd.Flags().StringVar(&alias, "alias", "", "our name for the peer")
	return cmd
}

// told says what we did, and whether the peer knows.
func (a *app) told(o api.OutgoingView, done, letter string) error {
	if a.json {
		a.writeJSON(o)
		return nil
	}
	fmt.Fprintf(a.out, "%s %s, fingerprint %s\n", done, o.Peer.Handle(), o.Peer.Fingerprint)
	switch core.OutboxState(o.State) {
	case core.OutSent:
		fmt.Fprintf(a.out, "✓ Notified peer of %s\n", letter)
	case core.OutWaiting:
		fmt.Fprintf(a.err, "⚠ Could not notify peer of %s yet: %s\n  It is tried again %s, until %s.\n", letter, o.Error.Message, until(o.Next), o.GiveUp.Local().Format(time.DateTime))
		hint(a, o.Error)
	case core.OutRefused, core.OutExpired:
		fmt.Fprintf(a.err, "⚠ The peer did not take the %s: %s\n", letter, o.Error.Message)
	}
	return nil
}

func hint(a *app, e *api.ErrorView) {
	if e != nil && e.Hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", e.Hint)
	}
}

func grantCommand(a *app) *cobra.Command {
	var g grantFlags
	cmd := &cobra.Command{
		Use: "grant <peer>", Short: "Change what an approved peer may do", Args: cobra.ExactArgs(1),
		Long: "Change what an approved peer may do: the new grants replace the old ones, and the peer is told.\n\n  ogp federation grant ben --intents message,agent-comms --rate 10/60",
		RunE: func(cmd *cobra.Command, args []string) error {
			grants, err := g.grants()
			if err != nil {
				return err
			}
			if grants == nil {
				return usagef("no grants given; see --intents, --rate, --topics")
			}
			o, err := api.Grant.Call(cmd.Context(), a, api.ApproveParams{Peer: args[0], Grants: grants})
			if err != nil {
				return err
			}
			return a.told(o, "Changed the grants of", "grants")
		},
	}
	g.register(cmd)
	return cmd
}

func scopesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "scopes <peer>", Short: "Show what a peer may do, and what we may do there", Args: cobra.ExactArgs(1),
		Long: "Show the grants both ways, with how much of each rate is used.\n\n  ogp federation scopes ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := api.Peer.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]any{"peer": p.Handle(), "granted": p.Granted, "received": p.Received})
				return nil
			}
			fmt.Fprintf(a.out, "%s may, here:\n", p.Handle())
			for _, g := range p.Granted {
				fmt.Fprintf(a.out, "  %s\n", grantLine(g))
			}
			if len(p.Granted) == 0 {
				fmt.Fprintln(a.out, "  nothing")
			}
			fmt.Fprintf(a.out, "We may, there:\n")
			for _, g := range p.Received {
				fmt.Fprintf(a.out, "  %s\n", strings.Replace(grantLine(api.GrantView{Grant: g}), "0 of ", "", 1))
			}
			if len(p.Received) == 0 {
				fmt.Fprintln(a.out, "  unknown: it has not said")
			}
			return nil
		},
	}
}

func rejectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "reject <peer>", Short: "Reject a peer that has asked", Args: cobra.ExactArgs(1),
		Long: "Reject a peer that has asked. It can ask again.\n\n  ogp federation reject K7QF-3MZA",
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := api.Reject.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			return a.told(o, "Rejected", "rejection")
		},
	}
}

func removeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove <peer>", Short: "End the federation with a peer", Args: cobra.ExactArgs(1),
		Long: "End the federation with a peer. It takes effect here at once, whether the peer can be told or not.\n\n  ogp federation remove ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := api.Remove.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(r)
				return nil
			}
			switch {
			case r.Notified:
				fmt.Fprintln(a.out, "✓ Notified peer of removal")
			case r.Error.Kind == string(core.Refused):
				fmt.Fprintf(a.out, "⚠ Peer notification failed: %s\n", r.Error.Message)
			default:
				fmt.Fprintln(a.out, "⚠ Could not notify peer of removal: fetch failed")
			}
			id := r.Peer.Alias
			if id == "" {
				id = r.Peer.ID
			}
			fmt.Fprintf(a.out, "✓ Removed peer: %s (%s)\n", id, r.Peer.Unverified.DisplayName)
			if r.Error != nil && r.Error.Kind != string(core.Refused) {
				fmt.Fprintf(a.err, "(%s)\n", r.Error.Message)
			}
			return nil
		},
	}
}

func aliasCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "alias <peer> [name]", Short: "Give a peer a name of ours", Args: cobra.RangeArgs(1, 2),
		Long: "Give a peer a name of ours; without a name, take it away.\n\n  ogp federation alias K7QF-3MZA ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			p := api.AliasParams{Peer: args[0]}
			if len(args) == 2 {
				p.Alias = args[1]
			}
			v, err := api.Alias.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(v)
				return nil
			}
			fmt.Fprintf(a.out, "%s is %s\n", v.Fingerprint, v.Handle())
			return nil
		},
	}
}

func levelCommand(a *app) *cobra.Command {
	var topic string
	cmd := &cobra.Command{
		Use: "level <peer> <level>", Short: "Set how openly the agent answers a peer on a topic", Args: cobra.ExactArgs(2),
		Long: "Set how openly the agent answers a peer's agent-comms messages: full, summary, escalate, deny, off, or \"default\" to take the setting away. Without --topic it is the level of all topics that have none of their own.\n\n  ogp federation level ben full --topic planning",
		RunE: func(cmd *cobra.Command, args []string) error {
			level := args[1]
			if level == "default" {
				level = ""
			} else if !contains(scope.LevelNames, level) {
				return usagef("level %q: want one of %s, or default", level, strings.Join(scope.LevelNames, ", "))
			}
			v, err := api.Level.Call(cmd.Context(), a, api.LevelParams{Peer: args[0], Topic: topic, Level: level})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(v)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&topic, "topic", "", "the topic")
	return cmd
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func sendCommand(a *app) *cobra.Command {
	var p api.SendParams
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "send <peer> <intent> [payload]", Short: "Send a message to a peer", Args: cobra.RangeArgs(2, 3),
		Long: `Send a message. The payload is JSON; for the intents message, task-request and
status-update plain text does as well. A peer out of reach gets it later, unless
--now is given.

  ogp federation send ben message '{"text":"hello"}'
  ogp federation send ben message "hello"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Peer, p.Intent = args[0], args[1]
			text := ""
			if len(args) == 3 {
				text = args[2]
			}
			payload, err := payloadOf(p.Intent, text, len(args) == 3)
			if err != nil {
				return err
			}
			p.Payload = payload
			return a.send(cmd, p, wait, timeout)
		},
	}
	sendFlags(cmd, &p, &wait, &timeout)
	return cmd
}

func sendFlags(cmd *cobra.Command, p *api.SendParams, wait *bool, timeout *time.Duration) {
	cmd.Flags().StringVar(&p.ToAgent, "to-agent", "", "the peer's agent (persona) that it is for")
	cmd.Flags().StringVarP(&p.ConversationID, "conversation", "c", "", "the conversation that it belongs to")
	cmd.Flags().BoolVar(&p.Now, "now", false, "try once and give up if that fails")
	cmd.Flags().BoolVar(wait, "wait", false, "wait for the reply and print it")
	*timeout = 30 * time.Second
	durationVar(cmd.Flags(), timeout, "timeout", "how long to wait for the reply")
}

// payloadOf reads a payload from the command line.
func payloadOf(intent, text string, given bool) (core.Raw, error) {
	if !given {
		return core.Raw("{}"), nil
	}
	if v := jsontext.Value(text); v.IsValid() && (v.Kind() == '{' || intent != core.IntentMessage) {
		return core.Raw(text), nil
	}
	var v any
	switch intent {
	case core.IntentMessage:
		v = map[string]string{"text": text}
	case core.IntentTaskRequest:
		v = struct {
			TaskType    string `json:"taskType"`
			Description string `json:"description"`
		}{"general", text}
	case core.IntentStatusUpdate:
		v = map[string]string{"status": text}
	case core.IntentAgentComms:
		v = core.AgentComms{Topic: "general", Message: text, Priority: "normal"}
	default:
		return nil, usagef("the payload is not JSON; write it like '{\"key\":\"value\"}'")
	}
	return json.Marshal(v)
}

func (a *app) send(cmd *cobra.Command, p api.SendParams, wait bool, timeout time.Duration) error {
	if wait {
		p.WantReply, p.WaitMillis = true, timeout.Milliseconds()
	}
	o, err := api.Send.Call(cmd.Context(), a, p)
	if err != nil {
		return err
	}
	failed := core.OutboxState(o.State) == core.OutRefused || core.OutboxState(o.State) == core.OutExpired
	if a.json {
		a.writeJSON(o)
	} else if !failed {
		a.sent(o, wait, timeout)
	}
	switch {
	case failed:
		if !a.json {
			fmt.Fprintf(a.err, "%s: %s\n", cmd.CommandPath(), o.Error.Message)
			hint(a, o.Error)
		}
		code := exitFailed
		switch o.Error.Kind {
		case string(core.Refused):
			code = exitRefused
		case string(core.Unreachable):
			code = exitUnreachable
		}
		return errPrinted(code)
	case wait && o.Reply == nil:
		if !a.json {
			fmt.Fprintf(a.err, "%s: no reply within %v\nhint: \"ogp outbox show %s\" shows it when it has come\n", cmd.CommandPath(), timeout, o.ID)
		}
		return errPrinted(exitFailed)
	}
	return nil
}

func (a *app) sent(o api.OutgoingView, wait bool, timeout time.Duration) {
	if core.OutboxState(o.State) == core.OutWaiting {
		message := ""
		if o.Error != nil {
			message = ": " + o.Error.Message
		}
		fmt.Fprintf(a.err, "⚠ %s could not be reached%s\n", o.Peer.Handle(), message)
		hint(a, o.Error)
		fmt.Fprintf(a.out, "Queued for %s (%s); tried again %s, until %s\n", o.Peer.Handle(), o.ID, until(o.Next), o.GiveUp.Local().Format(time.DateTime))
	} else if o.Reply == nil {
		fmt.Fprintf(a.out, "Delivered to %s (nonce %s)\n", o.Peer.Handle(), o.Nonce)
	}
	if o.Reply != nil {
		a.printReply(o.Reply)
	}
}

// printReply prints what the peer answered: text as text, anything else as JSON.
func (a *app) printReply(r *core.StoredReply) {
	if !r.Reply.Success {
		fmt.Fprintf(a.out, "error: %s\n", safeLine(r.Reply.Error))
		return
	}
	var text string
	if json.Unmarshal(r.Reply.Data, &text) == nil {
		fmt.Fprintln(a.out, safeText(text))
		return
	}
	var object struct {
		Text *string `json:"text"`
	}
	if json.Unmarshal(r.Reply.Data, &object, json.RejectUnknownMembers(true)) == nil && object.Text != nil {
		fmt.Fprintln(a.out, safeText(*object.Text))
		return
	}
	fmt.Fprintf(a.out, "%s\n", safeJSON(r.Reply.Data))
}

func agentCommand(a *app) *cobra.Command {
	var p api.SendParams
	var wait bool
	var timeout time.Duration
	var priority string
	cmd := &cobra.Command{
		Use: "agent <peer> <topic> <message>", Short: "Talk to a peer's agent", Args: cobra.ExactArgs(3),
		Long: "Send an agent-comms message on a topic, and with --wait print the answer.\n\n  ogp federation agent ben planning \"When is your human free?\" --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !contains([]string{"low", "normal", "high"}, priority) {
				return usagef("--priority %q: want low, normal or high", priority)
			}
			payload, err := json.Marshal(core.AgentComms{Topic: args[1], Message: args[2], Priority: priority})
			if err != nil {
				return err
			}
			p.Peer, p.Intent, p.Payload = args[0], core.IntentAgentComms, payload
			return a.send(cmd, p, wait, timeout)
		},
	}
	sendFlags(cmd, &p, &wait, &timeout)
	cmd.Flags().StringVarP(&priority, "priority", "p", "normal", "low, normal or high")
	return cmd
}

func pingCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ping <peer or URL>", Short: "Ask a gateway whether it is there", Args: cobra.ExactArgs(1),
		Long: "Ask a gateway whether it is there. Exit status 4 says that it is not.\n\n  ogp federation ping ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := api.Ping.Call(cmd.Context(), a, api.PingParams{Target: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(r)
				return nil
			}
			fmt.Fprintf(a.out, "%s answers as %q in %.1f ms\n", r.URL, safeText(r.DisplayName), r.TookMillis)
			return nil
		},
	}
}
