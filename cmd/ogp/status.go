package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

func statusCommand(a *app) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show how the running gateway does", Args: cobra.NoArgs,
		Long: `Show who this gateway is, its peers by state and health, what waits, whether the
agent hears of it, and what went wrong in the last day. Exit status 5 says that no
daemon is running. With --watch it is drawn anew every two seconds.

  ogp status
  ogp status --watch`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchStatus(cmd.Context())
			}
			s, err := api.Status.Call(cmd.Context(), a, api.None{})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(s)
				return nil
			}
			a.showStatus(a.out, s)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "draw it anew every two seconds, until interrupted")
	return cmd
}

// The colours of a status, on a terminal that takes them.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
)

func (a *app) showStatus(w io.Writer, s api.StatusView) {
	colour := func(code, text string) string { return a.styled(a.out, code, text) }
	line := func(k, format string, args ...any) {
		fmt.Fprintf(w, "%s %s\n", a.bold(a.out, fmt.Sprintf("%-12s", k)), fmt.Sprintf(format, args...))
	}
	line("Gateway", "%s, running since %s (pid %d)", safeLine(s.DisplayName), ago(s.Started), s.PID)
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
	line("Peers", "%s", dash(strings.Join(peers, ", ")))
	var words []string
	for _, word := range slices.Sorted(maps.Keys(s.Health)) {
		words = append(words, fmt.Sprintf("%d %s", s.Health[word], word))
	}
	if len(words) > 0 {
		line("Health", "%s", strings.Join(words, ", "))
	}
	for _, p := range s.Ailing {
		line("", "%s", colour(yellow, fmt.Sprintf("%s is %s, last contact %s%s", safeLine(p.Name), p.Word, ago(p.LastContact), optional(": ", safeLine(p.Error)))))
	}
	line("Inbox", "%d messages, %d held", s.Depths.Inbox, s.Depths.InboxHeld)
	line("Outbox", "%d waiting%s", s.Depths.Outbox, oldest(s.Depths.OldestOutbox))
	for _, n := range s.Notifiers {
		state := colour(green, "ok")
		if n.Failures > 0 {
			state = colour(red, fmt.Sprintf("failing (%d times): %s", n.Failures, safeLine(n.LastError)))
		}
		line("Notifier", "%s: %s, %d waiting, %d given up", n.Name, state, s.Depths.DeliveriesByNotifier[n.Name], s.Depths.DeadByName[n.Name])
	}
	for _, r := range s.Rendezvous {
		state := colour(green, "registered "+ago(r.At))
		if !r.Registered {
			state = colour(red, "not registered"+optional(": ", safeLine(r.Error)))
		}
		line("Rendezvous", "%s: %s", r.URL, state)
	}
	for _, p := range s.NotReady {
		line("Plugin", "%s: %s", p.Name, colour(red, p.State+optional(": ", safeLine(p.Error))))
	}
	for i, e := range s.LastErrors {
		line([]string{"Last errors", ""}[min(i, 1)], "%s", colour(yellow, ago(e.At)+optional(", ", safeLine(e.From))+": "+eventText(e)))
	}
	for _, text := range s.Warnings {
		line("Note", "%s", text)
	}
}

// oldest says since when a queue has not moved, once that is worth a word.
func oldest(t time.Time) string {
	if t.IsZero() || time.Since(t) < time.Minute {
		return ""
	}
	return ", the oldest from " + ago(t)
}

func whoamiCommand(a *app) *cobra.Command {
	var fingerprint bool
	cmd := &cobra.Command{
		Use: "whoami", Short: "Show this gateway's name, URL and fingerprint", Args: cobra.NoArgs,
		Long: "Show what others need to know of this gateway. People compare fingerprints before they approve.\n\n  ogp whoami",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := api.Whoami.Call(cmd.Context(), a, api.None{})
			if errors.Is(err, control.ErrNoDaemon) {
				v, err = a.whoamiOffline()
			}
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(v)
				return nil
			}
			if fingerprint {
				fmt.Fprintln(a.out, v.Fingerprint)
				return nil
			}
			fmt.Fprintf(a.out, "Name         %s\nCard         %s\nFingerprint  %s\nPublic key   %s\n", v.DisplayName, v.CardURL, v.Fingerprint, v.PublicKey)
			return nil
		},
	}
	cmd.Flags().BoolVar(&fingerprint, "fingerprint", false, "print the fingerprint alone")
	return cmd
}

// whoamiOffline reads the key and the configuration where no daemon runs.
func (a *app) whoamiOffline() (api.WhoamiView, error) {
	dir, err := a.stateDir()
	if err != nil {
		return api.WhoamiView{}, err
	}
	cfg, _, _, err := a.load(nil)
	if err != nil {
		return api.WhoamiView{}, err
	}
	key, err := keys.Load(filepath.Join(dir, keyFile), passphrase(a, cfg))
	if errors.Is(err, core.NotFound) {
		return api.WhoamiView{}, control.ErrNoDaemon
	}
	if err != nil {
		return api.WhoamiView{}, err
	}
	return whoami(key.Public(), gateway.Settings{URL: cfg.OwnURL(cfg.DaemonPort), Names: cfg.Names()}), nil
}
