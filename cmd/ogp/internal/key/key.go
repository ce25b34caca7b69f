// Package key is "ogp key", what may be done with our private key, and "ogp signer", a
// process that holds one.
package key

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

// Command is "ogp key".
func Command(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", Short: "Seal, unseal or share our private key", Args: cobra.NoArgs,
		Long: `Seal our private key under a passphrase, unseal it, or keep it sealed in the
database that several machines share. A running gateway is not affected: it has the
key in memory. The next start needs the passphrase.

  ogp key seal`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(keySeal(a), keyUnseal(a), keyStore(a))
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
			at, err := daemon.KeyPlace(o)
			if err != nil {
				return err
			}
			path, err := at.Seal(newFile)
			if err != nil {
				return err
			}
			return a.Print(map[string]string{"sealed": path}, func() {
				fmt.Fprintf(a.Out, "Sealed %s\n", path)
				fmt.Fprintln(a.Err, "The next start needs the passphrase: OGP_KEY_PASSPHRASE, or key.passphrase_file in config.toml.")
			})
		},
	}
	cmd.Flags().StringVar(&newFile, "new-passphrase-file", "", "a file with the passphrase to seal it with")
	return cmd
}

func keyStore(a *cli.App) *cobra.Command {
	var newFile string
	var copied bool
	cmd := &cobra.Command{
		Use: "store", Short: "Keep our private key in the database, sealed", Args: cobra.NoArgs,
		Long: `Keep our private key in the PostgreSQL database of the setting store, sealed under
the passphrase of --new-passphrase-file, of OGP_KEY_PASSPHRASE or of the setting
key.passphrase_file. A gateway on that database whose state directory has no
key.json uses it, if it is given the passphrase. key.json stays as it is. Run it
again to seal the key under another passphrase. --copy prints what the database then
has, as a key.json to keep elsewhere.

  ogp key store --new-passphrase-file /etc/ogp/passphrase`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if newFile != "" {
				if newFile, err = filepath.Abs(newFile); err != nil {
					return err
				}
			}
			kept, _, err := cli.OnState(cmd.Context(), a, api.StoreKey, api.StoreKeyParams{PassphraseFile: newFile}, false)
			switch {
			case err != nil:
				return err
			case copied:
				fmt.Fprintln(a.Out, strings.TrimSpace(kept.Sealed)) // with --json, too, which it is
				return nil
			case a.JSON:
				a.WriteJSON(map[string]bool{"stored": true})
				return nil
			}
			fmt.Fprintln(a.Out, "The key is in the database, sealed.")
			fmt.Fprintln(a.Err, "Other gateways on it need the same config.toml and the passphrase, and no key.json. Keep a copy of key.json in a safe place.")
			return nil
		},
	}
	cmd.Flags().StringVar(&newFile, "new-passphrase-file", "", "a file with the passphrase to seal it with")
	cmd.Flags().BoolVar(&copied, "copy", false, "print the sealed key, as a key.json has it")
	return cmd
}

func keyUnseal(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "unseal", Short: "Remove the passphrase from our private key", Args: cobra.NoArgs,
		Long: `Remove the passphrase from our private key. It is then stored unencrypted, in a file
that only its owner can read.

  ogp key unseal`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.DaemonOptions(cmd)
			if err != nil {
				return err
			}
			at, err := daemon.KeyPlace(o)
			if err != nil {
				return err
			}
			path, err := at.Unseal()
			if err != nil {
				return err
			}
			return a.Done(map[string]string{"unsealed": path}, "Unsealed %s", path)
		},
	}
}
