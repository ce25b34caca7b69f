package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

func keyCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", Short: "Seal or unseal our private key", Args: cobra.NoArgs,
		Long: `Seal our private key under a passphrase, or take the seal off. A running gateway
goes on: it has the key already. The next start needs the passphrase.

  ogp key seal`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(keySeal(a), keyUnseal(a))
	return cmd
}

func keySeal(a *cli.App) *cobra.Command {
	var newFile string
	cmd := &cobra.Command{
		Use: "seal", Short: "Seal our private key under a passphrase", Args: cobra.NoArgs,
		Long: `Seal our private key under the passphrase of OGP_KEY_PASSPHRASE or of the setting
key.passphrase_file. With --new-passphrase-file a sealed key gets another one.

  ogp key seal`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.DaemonOptions(cmd)
			if err != nil {
				return err
			}
			path, err := daemon.SealKey(o, newFile)
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(map[string]string{"sealed": path})
				return nil
			}
			fmt.Fprintf(a.Out, "Sealed %s\n", path)
			fmt.Fprintln(a.Err, "The next start needs the passphrase: OGP_KEY_PASSPHRASE, or key.passphrase_file in config.toml.")
			return nil
		},
	}
	cmd.Flags().StringVar(&newFile, "new-passphrase-file", "", "a file with the passphrase to seal it with")
	return cmd
}

func keyUnseal(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "unseal", Short: "Remove the passphrase from our private key", Args: cobra.NoArgs,
		Long: `Remove the passphrase from our private key. It is then kept as it is, in a file that
only its owner can read.

  ogp key unseal`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.DaemonOptions(cmd)
			if err != nil {
				return err
			}
			path, err := daemon.UnsealKey(o)
			if err != nil {
				return err
			}
			return a.Done(map[string]string{"unsealed": path}, "Unsealed %s", path)
		},
	}
}
