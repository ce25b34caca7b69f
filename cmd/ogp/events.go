package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// eventText is an event in one line of a list.
func eventText(a *cli.App, v api.EventView) string { return term.SafeLine(api.EventLine(v, a.Here)) }

// defaultSince is how far "ogp events" looks back by itself.
const defaultSince = 24 * time.Hour

func eventsCommand(a *cli.App) *cobra.Command {
	var p api.EventParams
	var follow bool
	var since string
	cmd := &cobra.Command{
		Use: "events", Short: "Show past events, and follow new ones", Args: cobra.NoArgs,
		Long: `Show past events: messages, requests, approvals, removals, replies, warnings, and
notices that were given up. --follow shows new ones as they happen; with --since it
shows earlier ones first. With --json, each is one JSON object on a line of its own,
and none is missing or repeated.

  ogp events --since 7d --type federation
  ogp events --follow --json --peer ben`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.Kept = !follow
			if since != "" || !follow {
				back, err := cli.ParseSince(cmp.Or(since, defaultSince.String()))
				if err != nil {
					return err
				}
				p.Since = back
			}
			for _, t := range p.Types {
				if !slices.ContainsFunc(api.EventTypes, func(known core.EventType) bool { return api.OfTypes(known, []string{t}) }) {
					return cli.Usagef("--type %q: want one of %s", t, cli.Joined(api.EventTypes))
				}
			}
			return showEvents(cmd.Context(), a, p)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep going until interrupted")
	cmd.Flags().StringVar(&since, "since", "", "from the last 24h, 7d, ..., or since a time (default 24h, with --follow only new ones)")
	cmd.Flags().StringSliceVar(&p.Types, "type", nil, "only of these types, such as message or federation")
	cmd.Flags().StringVar(&p.Peer, "peer", "", "only about this peer")
	return cmd
}

func showEvents(ctx context.Context, a *cli.App, p api.EventParams) error {
	d, err := a.Daemon()
	if err != nil {
		return err
	}
	any := false
	err = api.Events.Follow(ctx, d, p, func(v api.EventView) error {
		any = true
		if a.JSON {
			line, err := json.Marshal(v, json.Deterministic(true))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "%s\n", term.SafeJSON(line))
			return err
		}
		return eventLine(a, a.Out, v)
	})
	switch {
	case err != nil:
		return err
	case p.Kept && !any && !a.JSON:
		fmt.Fprintln(a.Err, "No events.")
	case !p.Kept && ctx.Err() == nil:
		fmt.Fprintln(a.Err, "The gateway has stopped.")
		return cli.ErrPrinted(cli.NoDaemon)
	}
	return nil
}

func eventLine(a *cli.App, w io.Writer, v api.EventView) error {
	kind := term.Padded(string(v.Type), 20)
	switch v.Type {
	case core.EventDeliveryFailed, core.EventWarning:
		kind = a.Styled(w, "33", kind)
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s  %s\n", v.At.Local().Format(time.DateTime), kind, term.Padded(term.Dash(term.SafeLine(v.From)), 12), eventText(a, v))
	return err
}
