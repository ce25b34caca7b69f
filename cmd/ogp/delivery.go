package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

func deliveryCommand(a *cli.App) *cobra.Command {
	return cli.Group("delivery", "List, retry or drop notices that could not be delivered", deliveryListCommand(a), deliveryRetryCommand(a), deliveryDropCommand(a))
}

func deliveryListCommand(a *cli.App) *cobra.Command {
	var p api.DeliveryParams
	cmd := &cobra.Command{
		Use: "list", Short: "List notices that were set aside", Args: cobra.NoArgs,
		Long: "List the notices that could not be delivered and are not retried. --all includes those that still wait.\n\n  ogp delivery list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cli.Show(cmd.Context(), a, api.Deliveries, p, func(list []api.DeliveryView) {
				cli.Table(a, list, "Nothing was set aside.", []string{"EVENT", "NOTIFIER", "TYPE", "FROM", "TRIES", "NEXT", "ERROR"}, func(x api.DeliveryView) []string {
					next := "set aside"
					if !x.SetAside {
						next = "now"
						if x.Next.After(time.Now()) {
							next = text.Until(x.Next)
						}
					}
					return []string{x.Event, x.Notifier, string(x.Type), term.Dash(x.From), fmt.Sprint(x.Attempts), next, term.Dash(term.SafeLine(x.Error))}
				})
			})
		},
	}
	cmd.Flags().StringVar(&p.Notifier, "notifier", "", "only of this notifier")
	cmd.Flags().BoolVar(&p.All, "all", false, "also those that still wait")
	p.Limit = 100
	cli.CountVar(cmd.Flags(), &p.Limit, "limit", "show at most this many")
	return cmd
}

func deliveryRetryCommand(a *cli.App) *cobra.Command {
	return deliveryOperation(a, api.RetryDeliveries, "Trying again", &cobra.Command{
		Use: "retry [event]", Short: "Send notices that were set aside again", Args: cobra.MaximumNArgs(1),
		Long: "Send notices again that were set aside: one event, all of a notifier, or all.\n\n  ogp delivery retry --all",
	})
}

func deliveryDropCommand(a *cli.App) *cobra.Command {
	return deliveryOperation(a, api.DropDeliveries, "Dropped", &cobra.Command{
		Use: "drop [event]", Short: "Delete notices that were set aside", Args: cobra.MaximumNArgs(1),
		Long: "Delete notices that were set aside: one event, all of a notifier, or all. The messages themselves stay in the inbox.\n\n  ogp delivery drop --notifier phone",
	})
}

func deliveryOperation(a *cli.App, method control.Method[api.DeliveryWhich, api.CountResult], done string, cmd *cobra.Command) *cobra.Command {
	var p api.DeliveryWhich
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			p.Event = args[0]
		}
		if p.Event == "" && p.Notifier == "" && !p.All {
			return cli.Usagef("name an event by its id, or --notifier, or --all")
		}
		return cli.Show(cmd.Context(), a, method, p, func(r api.CountResult) {
			fmt.Fprintf(a.Out, "%s: %d\n", done, r.Count)
		})
	}
	cmd.Flags().StringVar(&p.Notifier, "notifier", "", "all of this notifier")
	cmd.Flags().BoolVar(&p.All, "all", false, "everything that was set aside")
	return cmd
}
