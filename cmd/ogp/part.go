package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// sure shows on a terminal whom a command means that ends something, and asks.
func sure(cmd *cobra.Command, a *cli.App, yes bool, ref, what string) error {
	if yes || a.JSON || !a.Interactive() {
		return nil
	}
	p, err := api.Peer.Call(cmd.Context(), a, api.PeerRef{Peer: ref})
	if err != nil {
		return err
	}
	return a.Confirm(fmt.Sprintf("%s %s, fingerprint %s, %s, %s?", what, p.Handle(), p.Fingerprint, p.Standing, p.URL))
}

func rejectCommand(a *cli.App) *cobra.Command {
	var all, yes bool
	cmd := &cobra.Command{
		Use: "reject <peer>...", Short: "Reject peers that have asked",
		Long: "Reject peers that have asked. They can ask again.\n\n  ogp federation reject K7QF-3MZA",
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return cli.Usagef("name the peers, or give --all-pending")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				peers, err := api.Peers.Call(cmd.Context(), a, api.PeersParams{Status: core.Pending})
				if err != nil {
					return err
				}
				for _, p := range peers {
					args = append(args, p.Fingerprint)
				}
				if len(args) == 0 {
					fmt.Fprintln(a.Err, "Nobody is waiting.")
					return nil
				}
				if !yes && !a.JSON && a.Interactive() {
					if err := a.Confirm(fmt.Sprintf("Reject all %d that wait?", len(args))); err != nil {
						return err
					}
					yes = true
				}
			}
			var failed error
			for _, ref := range args {
				err := sure(cmd, a, yes, ref, "Reject")
				if err == nil {
					var o api.OutgoingView
					if o, err = api.Reject.Call(cmd.Context(), a, api.PeerRef{Peer: ref}); err == nil {
						err = notified(a, o, "Rejected", "rejection")
					}
				}
				failed = errors.Join(failed, err)
				if err != nil && len(args) == 1 {
					return err
				}
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&all, "all-pending", false, "all that wait")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask on a terminal")
	return cmd
}

func removeCommand(a *cli.App) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove <peer>", Short: "End the federation with a peer", Args: cobra.ExactArgs(1),
		Long: "End the federation with a peer. It takes effect here at once, even if the peer cannot be notified.\n\n  ogp federation remove ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sure(cmd, a, yes, args[0], "Remove"); err != nil {
				return err
			}
			r, err := api.Remove.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(r)
				return nil
			}
			saidOfRemoval(a, r)
			fmt.Fprintf(a.Out, "✓ Removed peer: %s (%s)\n", callName(r.Peer), r.Peer.Unverified.DisplayName)
			if r.Error != nil && r.Error.Kind != string(core.Refused) {
				fmt.Fprintf(a.Err, "(%s)\n", r.Error.Message)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask on a terminal")
	return cmd
}

func callName(p api.PeerView) string {
	if p.Alias != "" {
		return p.Alias
	}
	return p.ID
}

// saidOfRemoval says what came of the notice, in the words of the specification.
func saidOfRemoval(a *cli.App, r api.RemoveResult) {
	switch {
	case r.Notified:
		fmt.Fprintln(a.Out, "✓ Notified peer of removal")
	case r.Error.Kind == string(core.Refused):
		fmt.Fprintf(a.Out, "⚠ Peer notification failed: %s\n", r.Error.Message)
	default:
		fmt.Fprintln(a.Out, "⚠ Could not notify peer of removal: fetch failed")
	}
}

func forgetCommand(a *cli.App) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "forget <peer>", Short: "Delete the record of a removed or rejected peer", Args: cobra.ExactArgs(1),
		Long: "Delete the record of a removed or rejected peer, and with it how it has signed: if it asks again, it is a stranger.\n\n  ogp federation forget ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sure(cmd, a, yes, args[0], "Forget"); err != nil {
				return err
			}
			r, err := api.Forget.Call(cmd.Context(), a, api.PeerRef{Peer: args[0]})
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(r)
				return nil
			}
			if r.Error != nil {
				saidOfRemoval(a, r)
			}
			fmt.Fprintf(a.Out, "✓ Forgot peer: %s (%s)\n", callName(r.Peer), r.Peer.Unverified.DisplayName)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask on a terminal")
	return cmd
}

func updateIdentityCommand(a *cli.App) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "update-identity [peer]", Short: "Send our names and gateway URL to peers",
		Long: "Send our names and gateway URL to peers. The daemon does it by itself when they change.\n\n  ogp federation update-identity --all",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || all == (len(args) == 1) {
				return cli.Usagef("name one peer, or give --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := api.PeerRef{}
			if !all {
				ref.Peer = args[0]
			}
			r, err := api.UpdateIdentity.Call(cmd.Context(), a, ref)
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(r)
				return nil
			}
			for _, name := range r.Notified {
				fmt.Fprintf(a.Out, "✓ Notified %s\n", name)
			}
			for _, name := range slices.Sorted(maps.Keys(r.Failed)) {
				fmt.Fprintf(a.Out, "⚠ Could not tell %s: %s\n", name, r.Failed[name].Message)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all approved peers")
	return cmd
}
