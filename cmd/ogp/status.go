package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

func statusCommand(a *cli.App) *cobra.Command {
	var watch, nodes bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the gateway's status", Args: cobra.NoArgs,
		Long: `Show who this gateway is, its peers by state and health, what waits, whether the
agent is notified, and what went wrong in the last day. --watch redraws it every two
seconds. --nodes shows the gateways that share the database. The exit status is 5 when
no daemon is running.

  ogp status
  ogp status --watch
  ogp status --nodes`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes {
				return cli.Show(cmd.Context(), a, api.Nodes, api.None{}, func(all []api.NodeView) { showNodes(a, all) })
			}
			if watch {
				return watchStatus(cmd.Context(), a)
			}
			return cli.Show(cmd.Context(), a, api.Status, api.None{}, func(s api.StatusView) {
				showStatus(a, a.Out, s)
			})
		},
	}
	cmd.Flags().BoolVar(&nodes, "nodes", false, "show the gateways that share the database")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "redraw it every two seconds, until interrupted")
	return cmd
}

// showNodes shows the gateways that share the database, and what each works on.
func showNodes(a *cli.App, all []api.NodeView) {
	if len(all) == 0 {
		a.Sayf(a.Out, "This is the only node: its state is in a file, not in a database that nodes share.")
		return
	}
	rows := make([][]string, len(all))
	for i, v := range all {
		state := "ready"
		switch {
		case !v.Alive:
			state = "not seen since " + text.Ago(v.Seen)
		case v.Differs != "":
			state = "takes no work: " + v.Differs
		}
		id := v.ID
		if v.Self {
			id += " (this one)"
		}
		rows[i] = []string{term.SafeLine(id), term.SafeLine(v.Version), fmt.Sprintf("%.8s", v.Config), term.Dash(fmt.Sprintf("%.8s", v.Modules)), text.Ago(v.Started),
			(time.Duration(v.LagMs) * time.Millisecond).String(), clock(v), fmt.Sprint(len(v.Leases)), term.SafeLine(state)}
	}
	term.Table(a.Out, []string{"NODE", "VERSION", "CONFIG", "PLUGINS", "STARTED", "LAG", "CLOCK", "LEASES", "STATE"}, rows)
}

// clock is how far a node's clock is ahead of the database's.
func clock(v api.NodeView) string {
	if v.ClockMs == nil {
		return "-"
	}
	by := (time.Duration(*v.ClockMs) * time.Millisecond).Round(time.Second)
	if by < 0 {
		return by.String()
	}
	return "+" + by.String()
}

// The colours of a status, on a terminal that takes them.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
)

var problemColours = map[string]string{api.CheckWarn: yellow, api.CheckFail: red}

func showStatus(a *cli.App, w io.Writer, s api.StatusView) {
	colour := func(code, text string) string { return a.Styled(a.Out, code, text) }
	line := func(k, format string, args ...any) {
		fmt.Fprintf(w, "%s %s\n", a.Bold(a.Out, fmt.Sprintf("%-12s", k)), fmt.Sprintf(format, args...))
	}
	shown := map[string]bool{} // plugins that are notifiers
	problems := func(list []api.Problem) {
		for _, p := range list {
			line("", "%s", colour(problemColours[p.State], term.SafeLine(p.Text)))
		}
	}
	line("Gateway", "%s, running since %s (pid %d)", term.SafeLine(s.DisplayName), text.Ago(s.Started), s.PID)
	line("Fingerprint", "%s", s.Fingerprint)
	line("Card", "%s", s.CardURL)
	line("Listening", "%s", s.Listen)
	line("State", "%s", s.StateDir)
	var peers []string
	for _, state := range []core.Trust{core.Approved, core.Pending, core.Requested, core.Rejected, core.Removed} {
		if n := s.Peers[string(state)]; n > 0 {
			peers = append(peers, fmt.Sprintf("%d %s", n, state))
		}
	}
	line("Peers", "%s", term.Dash(strings.Join(peers, ", ")))
	var words []string
	for _, word := range slices.Sorted(maps.Keys(s.Health)) {
		words = append(words, fmt.Sprintf("%d %s", s.Health[word], word))
	}
	if len(words) > 0 {
		line("Health", "%s", strings.Join(words, ", "))
	}
	for _, p := range s.Ailing {
		line("", "%s", colour(yellow, fmt.Sprintf("%s is %s, last contact %s%s", term.SafeLine(p.Name), p.Word, text.Ago(p.LastContact), term.Optional(": ", term.SafeLine(p.Error)))))
	}
	line("Inbox", "%s, %s held", core.OrMore(s.Depths.Inbox, text.Count(s.Depths.Inbox, "message")), many(s.Depths.InboxHeld))
	for i, b := range s.Budgets {
		line([]string{"In 24 hours", ""}[min(i, 1)], "%s, %s", term.SafeLine(b.Name), spent(b.BudgetView))
	}
	for _, name := range s.Paused {
		line("Paused", "%s", colour(yellow, fmt.Sprintf(a.HereFormat("%s: what it sends is held; \"ogp federation resume %s\" lets it through again"), term.SafeLine(name), term.SafeLine(name))))
	}
	line("Outbox", "%s waiting%s", many(s.Depths.Outbox), oldest(s.Depths.OldestOutbox))
	for _, n := range s.Notifiers {
		state := colour(green, "ok")
		if !n.Works() {
			state = colour(red, "does not work")
		}
		line("Notifier", "%s: %s, %s waiting, %s set aside", n.Name, state, many(n.Waiting), many(n.GivenUp))
		problems(n.Problems)
		shown[n.Name] = true
	}
	for _, r := range s.Rendezvous {
		state := colour(green, "registered "+text.Ago(r.At))
		switch {
		case r.Elsewhere:
			state = "another node keeps the registration"
		case !r.Registered:
			state = colour(red, "not registered"+term.Optional(": ", term.SafeLine(r.Error)))
		}
		line("Rendezvous", "%s: %s", r.URL, state)
	}
	for _, p := range s.Plugins {
		if !shown[p.Name] {
			line("Plugin", "%s: %s", p.Name, p.State)
			problems(p.Problems)
		}
	}
	for i, e := range s.LastErrors {
		line([]string{"Last errors", ""}[min(i, 1)], "%s", colour(yellow, text.Ago(e.At)+term.Optional(", ", term.SafeLine(e.From))+": "+eventText(a, e)))
	}
	for _, text := range s.Warnings {
		line("Note", "%s", a.Here(text))
	}
}

func many(n int) string { return core.OrMore(n, strconv.Itoa(n)) }

// oldest says since when a queue has not moved, once that is worth a word.
func oldest(t time.Time) string {
	if t.IsZero() || time.Since(t) < time.Minute {
		return ""
	}
	return ", the oldest from " + text.Ago(t)
}

func whoamiCommand(a *cli.App) *cobra.Command {
	var fingerprint bool
	cmd := &cobra.Command{
		Use: "whoami", Short: "Show this gateway's name, URL and fingerprint", Args: cobra.NoArgs,
		Long: "Show what others need to know about this gateway. People compare fingerprints before they approve.\n\n  ogp whoami",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, _, err := cli.OnState(cmd.Context(), a, api.Whoami, api.None{}, false)
			if err != nil {
				return err
			}
			return a.Print(v, func() {
				if fingerprint {
					fmt.Fprintln(a.Out, v.Fingerprint)
					return
				}
				fmt.Fprintf(a.Out, "Name         %s\nCard         %s\nFingerprint  %s\nIn words     %s\nPublic key   %s\n", v.DisplayName, v.CardURL, v.Fingerprint, strings.Join(v.Words, " "), v.PublicKey)
			})
		},
	}
	cmd.Flags().BoolVar(&fingerprint, "fingerprint", false, "print the fingerprint alone")
	return cmd
}
