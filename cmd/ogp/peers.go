package main

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

func peersCommand(a *cli.App) *cobra.Command {
	return cli.Group("peers", "Export the peers", peersExportCommand(a))
}

func peersExportCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Print the peers in the TypeScript gateway's format", Args: cobra.NoArgs,
		Long: "Print the peers in the TypeScript gateway's format. It is read from the running daemon or, if none runs, from the store.\n\n  ogp peers export > peers.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, _, err := cli.OnState(cmd.Context(), a, api.ExportPeers, api.None{}, false)
			if err != nil {
				return err
			}
			pretty := jsontext.Value(text)
			if err := pretty.Indent(jsontext.WithIndent("  ")); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "%s\n", term.SafeJSON(pretty))
			return nil
		},
	}
}
