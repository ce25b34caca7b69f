package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

func pauseCommand(a *cli.App) *cobra.Command {
	var p api.PauseParams
	cmd := &cobra.Command{
		Use: "pause <peer>", Short: "Hold a peer's messages back from the agent", Args: cobra.ExactArgs(1),
		Long: `Hold a peer's messages back from the agent. They are accepted and kept, and nobody is
notified, until "ogp federation resume".

  ogp federation pause ben --reason "their agent repeats itself"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Peer = args[0]
			return cli.Show(cmd.Context(), a, api.Pause, p, func(v api.PeerView) {
				a.Sayf(a.Out, "Messages from %s are held; \"ogp federation resume %s\" lets them through again\n", v.Handle(), v.Handle())
			})
		},
	}
	cmd.Flags().StringVar(&p.Reason, "reason", "", "why, for the record")
	return cmd
}

func resumeCommand(a *cli.App) *cobra.Command {
	var p api.ResumeParams
	cmd := &cobra.Command{
		Use: "resume <peer>", Short: "Let a paused peer's messages through again", Args: cobra.ExactArgs(1),
		Long: `Let a peer's messages reach the agent again, after "pause" or an automatic pause.
--release also delivers what was held meanwhile, and what was held because the peer
was over a limit.

  ogp federation resume ben --release`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Peer = args[0]
			return cli.Show(cmd.Context(), a, api.Resume, p, func(v api.ResumeResult) {
				fmt.Fprintf(a.Out, "Messages from %s reach the agent again\n", v.Peer.Handle())
				if v.Released > 0 {
					fmt.Fprintf(a.Out, "Released what was held: %d\n", v.Released)
				}
				if v.Held > 0 {
					a.Sayf(a.Out, "Still held: %d. --release lets them through, \"ogp inbox list --held\" shows them\n", v.Held)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&p.Release, "release", false, "also deliver what was held meanwhile")
	return cmd
}

// spent is what a peer's messages have cost, and may cost, in one line.
func spent(b api.BudgetView) string {
	of := func(n, most int64, what string) string {
		switch {
		case n == 0:
			return ""
		case most == 0:
			return fmt.Sprintf("%d %s", n, what)
		}
		return fmt.Sprintf("%d of %d %s", n, most, what)
	}
	var parts []string
	for _, p := range []string{of(int64(b.Used.Messages), int64(b.Most.Messages), "messages"), size(b.Used, b.Most),
		of(int64(b.Used.Runs), int64(b.Most.Runs), "runs"), of(b.Used.Tokens, b.Most.Tokens, "tokens")} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return term.SafeLine(b.Intent) + "  " + strings.Join(parts, ", ")
}

func size(used, most brake.Use) string {
	const worthAWord = 1 << 10
	switch {
	case used.Bytes < worthAWord:
		return ""
	case most.Bytes == 0:
		return core.FormatBytes(used.Bytes)
	}
	return core.FormatBytes(used.Bytes) + " of " + core.FormatBytes(most.Bytes)
}
