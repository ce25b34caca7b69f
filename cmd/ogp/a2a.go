package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

func a2aCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "a2a", Short: "Let A2A clients talk to peers", Args: cobra.NoArgs,
		Long: `Programs on this machine can talk to each approved peer as an A2A agent, at
/a2a/<alias> of the address in the setting a2a.listen. A client sends a token, and may
do what your agent may.

  ogp a2a token`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a2aToken(a))
	return cmd
}

func a2aToken(a *cli.App) *cobra.Command {
	var renew bool
	cmd := &cobra.Command{
		Use: "token", Short: "Show the token of A2A clients", Args: cobra.NoArgs,
		Long: `Show the token that A2A clients send as "Authorization: Bearer", creating it if
there is none. --new replaces it, and the old one stops working at once.

  ogp a2a token`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.StateDir()
			if err != nil {
				return err
			}
			token, err := daemon.A2AToken(dir, renew)
			if err != nil {
				return err
			}
			return a.Print(map[string]string{"token": token, "file": filepath.Join(dir, daemon.A2ATokenFile)}, func() {
				fmt.Fprintln(a.Out, token)
			})
		},
	}
	cmd.Flags().BoolVar(&renew, "new", false, "replace the token")
	return cmd
}
