package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how the running gateway does", Args: cobra.NoArgs,
		Long: "Show who this gateway is, its peers by state, what waits, and whether the agent hears of it. Exit status 5 says that no daemon is running.\n\n  ogp status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s statusView
			if err := a.call(cmd.Context(), "status", nil, &s); err != nil {
				return err
			}
			if a.json {
				a.writeJSON(s)
				return nil
			}
			a.showStatus(s)
			return nil
		},
	}
}

func (a *app) showStatus(s statusView) {
	line := func(k, format string, args ...any) { fmt.Fprintf(a.out, "%-12s %s\n", k, fmt.Sprintf(format, args...)) }
	line("Gateway", "%s, running since %s (pid %d)", s.DisplayName, ago(s.Started), s.PID)
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
	line("Inbox", "%d messages, %d held", s.Depths.Inbox, s.Depths.InboxHeld)
	line("Outbox", "%d waiting", s.Depths.Outbox)
	for _, n := range s.Notifiers {
		state := "ok"
		if n.Failures > 0 {
			state = fmt.Sprintf("failing (%d times): %s", n.Failures, n.LastError)
		}
		line("Notifier", "%s: %s, %d waiting, %d given up", n.Name, state, s.Depths.DeliveriesByNotifier[n.Name], s.Depths.DeadByName[n.Name])
	}
	for _, w := range s.Warnings {
		line("Note", "%s", w)
	}
}

func whoamiCommand(a *app) *cobra.Command {
	var fingerprint bool
	cmd := &cobra.Command{
		Use: "whoami", Short: "Show this gateway's name, URL and fingerprint", Args: cobra.NoArgs,
		Long: "Show what others need to know of this gateway. People compare fingerprints before they approve.\n\n  ogp whoami",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v whoamiView
			err := a.call(cmd.Context(), "whoami", nil, &v)
			if errors.Is(err, control.NoDaemon) {
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
func (a *app) whoamiOffline() (whoamiView, error) {
	dir, err := a.stateDir()
	if err != nil {
		return whoamiView{}, err
	}
	cfg, _, _, err := a.load(nil)
	if err != nil {
		return whoamiView{}, err
	}
	key, err := keys.Load(filepath.Join(dir, keyFile), passphrase(a, cfg))
	if errors.Is(err, core.NotFound) {
		return whoamiView{}, control.NoDaemon
	}
	if err != nil {
		return whoamiView{}, err
	}
	return whoami(key.Public(), gateway.Settings{URL: cfg.OwnURL(cfg.DaemonPort), Names: cfg.Names()}), nil
}
