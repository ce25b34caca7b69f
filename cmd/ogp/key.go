package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

func keyCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", Short: "Seal our private key, or take the seal off", Args: cobra.NoArgs,
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

  OGP_KEY_PASSPHRASE='correct horse battery staple' ogp key seal`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, now, err := keyAndPassphrase(a, cmd)
			if err != nil {
				return err
			}
			sealed, err := keys.Sealed(path)
			if err != nil {
				return noKey(err, path)
			}
			next := now
			if newFile != "" {
				next = func() (string, error) {
					text, err := os.ReadFile(newFile)
					return strings.TrimRight(string(text), "\r\n"), err
				}
			}
			switch {
			case next == nil:
				e := core.Refuse(core.Malformed, "there is no passphrase to seal the key with")
				e.Hint = "set OGP_KEY_PASSPHRASE, or key.passphrase_file in config.toml, or give --new-passphrase-file"
				return e
			case sealed && newFile == "":
				e := core.Refuse(core.Conflict, "the key is sealed already")
				e.Hint = "--new-passphrase-file gives it another passphrase"
				return e
			}
			if err := keys.Seal(path, now, next); err != nil {
				return err
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
		Use: "unseal", Short: "Take the passphrase off our private key", Args: cobra.NoArgs,
		Long: `Take the passphrase off our private key. It is then kept as it is, in a file that
only its owner can read.

  ogp key unseal`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, now, err := keyAndPassphrase(a, cmd)
			if err != nil {
				return err
			}
			sealed, err := keys.Sealed(path)
			if err != nil {
				return noKey(err, path)
			}
			if !sealed {
				return core.Refuse(core.Conflict, "the key is not sealed")
			}
			if err := keys.Unseal(path, now); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "Unsealed %s\n", path)
			return nil
		},
	}
}

// keyAndPassphrase is where our key is, and what unseals it: nil for nothing.
func keyAndPassphrase(a *cli.App, cmd *cobra.Command) (string, keys.Passphrase, error) {
	dir, err := a.StateDir()
	if err != nil {
		return "", nil, err
	}
	cfg, _, _, err := a.Load(cmd)
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(dir, daemon.KeyFile), daemon.Passphrase(a.Env, cfg), nil
}

func noKey(err error, path string) error {
	if !errors.Is(err, core.NotFound) {
		return err
	}
	e := core.Refusef(core.NotFound, "there is no key at %s", path)
	e.Hint = `"ogp init" or "ogp start" makes one; --home names another state directory`
	return e
}
