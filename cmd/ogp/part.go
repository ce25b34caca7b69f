package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// sure shows on a terminal whom a command means that ends something, and asks. What could
// only be refused is refused at once.
func sure(cmd *cobra.Command, a *cli.App, yes bool, ref, what string, check func(p api.EndParams) (api.PeerView, error)) error {
	if yes || a.JSON || !a.Interactive() {
		return nil
	}
	p, err := check(api.EndParams{Peer: ref, Check: true})
	if err != nil {
		return err
	}
	return a.Confirm(fmt.Sprintf("%s %s, fingerprint %s, %s, %s?", what, p.Handle(), p.Fingerprint, p.Standing, p.URL))
}

// several is a command that ends something for peers that are named, or for all in a
// state.
type several struct {
	a    *cli.App
	what string // what is done: Reject
	yes  bool
	all  []*allOf
}

// allOf is a flag that means all peers in a state.
type allOf struct {
	flag   string
	status core.Trust
	given  bool
}

func (s *several) register(cmd *cobra.Command) {
	flags := make([]string, len(s.all))
	for i, x := range s.all {
		flags[i] = "--" + x.flag
		cmd.Flags().BoolVar(&x.given, x.flag, false, map[core.Trust]string{core.Pending: "every peer that waits", core.Rejected: "all rejected peers", core.Removed: "all removed peers"}[x.status])
	}
	cmd.Flags().BoolVarP(&s.yes, "yes", "y", false, "do not ask for confirmation")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if all := slices.ContainsFunc(s.all, func(x *allOf) bool { return x.given }); all == (len(args) > 0) {
			return cli.Usagef("name the peers, or give %s", strings.Join(flags, " or "))
		}
		return nil
	}
}

// refs are the peers that the command means. Those that are meant by their state are
// asked about together.
func (s *several) refs(cmd *cobra.Command, args []string) ([]string, error) {
	for _, x := range s.all {
		if !x.given {
			continue
		}
		for peers, err := range peerPages(cmd.Context(), s.a, api.PeersParams{Status: x.status}) {
			if err != nil {
				return nil, err
			}
			for _, p := range peers {
				if x.status != core.Removed || p.Standing == string(core.Removed) { // one in doubt is named
					args = append(args, p.PublicKey.String())
				}
			}
		}
	}
	if named := !slices.ContainsFunc(s.all, func(x *allOf) bool { return x.given }); named || len(args) == 0 || s.yes || s.a.JSON || !s.a.Interactive() {
		return args, nil
	}
	s.yes = true
	return args, s.a.Confirm(fmt.Sprintf("%s %s?", s.what, text.Count(len(args), "peer")))
}

// each does it for one peer after the other, and prints what came of it: in JSON one
// value.
func (s *several) each(args []string, do func(ref string) (any, error)) error {
	var failed error
	var views []any
	for _, ref := range args {
		v, err := do(ref)
		if len(args) == 1 && err != nil {
			return err
		}
		failed = errors.Join(failed, err)
		if err == nil {
			views = append(views, v)
		}
	}
	switch {
	case !s.a.JSON || failed != nil:
	case len(args) == 1:
		s.a.WriteJSON(views[0])
	default:
		s.a.WriteJSON(views)
	}
	return failed
}

func rejectCommand(a *cli.App) *cobra.Command {
	s := &several{a: a, what: "Reject", all: []*allOf{{flag: "all-pending", status: core.Pending}}}
	cmd := &cobra.Command{
		Use: "reject <peer>...", Short: "Reject peers that have asked",
		Long: "Reject peers that have asked. They can ask again.\n\n  ogp federation reject K7QF-3MZA",
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := s.refs(cmd, args)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				fmt.Fprintln(a.Err, "Nobody is waiting.")
			}
			call := func(p api.EndParams) (api.OutgoingView, error) { return api.Reject.Call(cmd.Context(), a, p) }
			return s.each(args, func(ref string) (any, error) {
				err := sure(cmd, a, s.yes, ref, s.what, func(p api.EndParams) (api.PeerView, error) {
					o, err := call(p)
					return o.Peer, err
				})
				if err != nil {
					return nil, err
				}
				o, err := call(api.EndParams{Peer: ref, Later: len(args) > 1})
				if err == nil && !a.JSON {
					err = notified(a, o, "Rejected", "rejection")
				}
				return o, err
			})
		},
	}
	s.register(cmd)
	return cmd
}

func removeCommand(a *cli.App) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove <peer>", Short: "End the federation with a peer", Args: cobra.ExactArgs(1),
		Long: "End the federation with a peer. It takes effect here at once, even if the peer cannot be notified.\n\n  ogp federation remove ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			err := sure(cmd, a, yes, args[0], "Remove", func(p api.EndParams) (api.PeerView, error) {
				r, err := api.Remove.Call(cmd.Context(), a, p)
				return r.Peer, err
			})
			if err != nil {
				return err
			}
			return cli.Show(cmd.Context(), a, api.Remove, api.EndParams{Peer: args[0]}, func(r api.RemoveResult) {
				saidOfRemoval(a, r)
				fmt.Fprintf(a.Out, "✓ Removed peer: %s (%s)\n", r.Peer.Handle(), r.Peer.Unverified.DisplayName)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

// saidOfRemoval says what came of the notice, in the words of the specification, and on
// stderr why.
func saidOfRemoval(a *cli.App, r api.RemoveResult) {
	switch {
	case r.Notified:
		fmt.Fprintln(a.Out, "✓ Notified peer of removal")
	case r.Error.Kind == string(core.Refused):
		fmt.Fprintf(a.Out, "⚠ Peer notification failed: %s\n", r.Error.Message)
		fmt.Fprintf(a.Err, "(%s)\n", a.Here(r.Error.Hint))
	default:
		fmt.Fprintln(a.Out, "⚠ Could not notify peer of removal: fetch failed")
		fmt.Fprintf(a.Err, "(%s)\n", r.Error.Message)
	}
}

func forgetCommand(a *cli.App) *cobra.Command {
	s := &several{a: a, what: "Forget", all: []*allOf{{flag: "all-rejected", status: core.Rejected}, {flag: "all-removed", status: core.Removed}}}
	cmd := &cobra.Command{
		Use: "forget <peer>...", Short: "Delete the records of removed or rejected peers",
		Long: "Delete the record of a removed or rejected peer. If it asks again, it is a stranger, from whom the old form of signature is accepted again.\n\n  ogp federation forget ben",
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := s.refs(cmd, args)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				fmt.Fprintln(a.Err, "There are none.")
			}
			call := func(p api.EndParams) (api.RemoveResult, error) { return api.Forget.Call(cmd.Context(), a, p) }
			return s.each(args, func(ref string) (any, error) {
				err := sure(cmd, a, s.yes, ref, s.what, func(p api.EndParams) (api.PeerView, error) {
					r, err := call(p)
					return r.Peer, err
				})
				if err != nil {
					return nil, err
				}
				r, err := call(api.EndParams{Peer: ref})
				if err != nil || a.JSON {
					return r, err
				}
				if r.Error != nil {
					saidOfRemoval(a, r)
				}
				fmt.Fprintf(a.Out, "✓ Forgot peer: %s (%s)\n", r.Peer.Handle(), r.Peer.Unverified.DisplayName)
				return r, nil
			})
		},
	}
	s.register(cmd)
	return cmd
}

func updateIdentityCommand(a *cli.App) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "update-identity [peer]", Short: "Send our names and gateway URL to peers",
		Long: "Send our names and gateway URL to peers. The daemon does this by itself when they change.\n\n  ogp federation update-identity --all",
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
			return cli.Show(cmd.Context(), a, api.UpdateIdentity, ref, func(r api.UpdateResult) {
				for _, name := range r.Notified {
					fmt.Fprintf(a.Out, "✓ Notified %s\n", name)
				}
				for _, name := range slices.Sorted(maps.Keys(r.Failed)) {
					fmt.Fprintf(a.Out, "⚠ Could not notify %s: %s\n", name, r.Failed[name].Message)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all approved peers")
	return cmd
}
