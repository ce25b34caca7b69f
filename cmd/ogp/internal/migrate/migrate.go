// Package migrate takes over the identity and the peers of a TypeScript gateway.
package migrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/legacy"
)

// Result is what was taken over.
type Result struct {
	From        string   `json:"from"`
	Fingerprint string   `json:"fingerprint"`
	Key         string   `json:"key"` // imported, or kept
	Peers       int      `json:"peers"`
	Config      string   `json:"config"` // copied, kept, or none
	Warnings    []string `json:"warnings,omitempty"`
}

// Command is "ogp import".
func Command(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "import <directory>", Short: "Import identity and peers from a TypeScript gateway", Args: cobra.ExactArgs(1),
		Long: `Take over the key, the peers and the configuration of a TypeScript gateway's
state directory, which is only read. The daemon must not be running. A sealed key
needs OGP_KEYPAIR_SECRET, unless the directory's own configuration has the secret.

  ogp import ~/.ogp-openclaw`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := From(a, cmd, args[0])
			if err != nil {
				return err
			}
			return a.Print(r, func() {
				for _, w := range r.Warnings {
					fmt.Fprintln(a.Err, "warning:", a.Here(w))
				}
				fmt.Fprintf(a.Out, "Key          %s (%s)\nPeers        %d imported\nConfig       %s\n", r.Fingerprint, r.Key, r.Peers, r.Config)
				fmt.Fprintln(a.Err, "Next:", a.Command("start"))
			})
		},
	}
}

// From takes over a directory, which is only read. cmd has flags for settings.
func From(a *cli.App, cmd *cobra.Command, from string) (Result, error) {
	ctx := cmd.Context()
	r := Result{From: from, Key: "kept", Config: "none"}
	dir, err := a.StateDir()
	if err != nil {
		return r, err
	}
	if _, err := api.Status.Call(ctx, a, api.None{}); !errors.Is(err, control.ErrNoDaemon) {
		return r, core.Refuse(core.Conflict, "the daemon is running").WithHint(`"ogp stop" first: the daemon is the one that writes its state`)
	}
	var secrets []string
	if s := a.Getenv("OGP_KEYPAIR_SECRET"); s != "" {
		secrets = append(secrets, s)
	}
	in, err := legacy.Read(from, secrets)
	if err != nil {
		return r, err
	}
	for _, w := range in.Warnings {
		r.Warnings = append(r.Warnings, fmt.Sprint(w))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, err
	}
	if err := copyConfig(from, dir, &r); err != nil {
		return r, err
	}
	cfg, _, warnings, err := a.Load(nil)
	if err != nil {
		return r, err
	}
	for _, w := range warnings {
		r.Warnings = append(r.Warnings, fmt.Sprint(w))
	}
	if !in.Key.IsZero() && cfg.Signer != "" {
		return r, core.Refuse(core.Conflict, "the signer at "+cfg.Signer+" has the key of this gateway").
			WithHint("take the setting signer out, import, and move the key.json that comes of it to the signer; then set it again")
	}
	if !in.Key.IsZero() {
		err := keys.Save(filepath.Join(dir, daemon.KeyFile), in.Key, daemon.Passphrase(a.Env, cfg))
		switch {
		case errors.Is(err, os.ErrExist):
			r.Warnings = append(r.Warnings, keptKey)
		case err != nil:
			return r, err
		default:
			r.Key = "imported"
			if err := daemon.CheckStore(ctx, dir); err != nil { // the key's other half
				return r, err
			}
		}
	}
	o, err := a.DaemonOptions(cmd)
	if err != nil {
		return r, err
	}
	d, err := daemon.Open(ctx, o)
	if err != nil {
		return r, err
	}
	defer d.Close()
	r.Fingerprint = d.Key().Fingerprint()
	if d.Key() == in.Key.Public() {
		r.Key = "imported"
		r.Warnings = slices.DeleteFunc(r.Warnings, func(w string) bool { return w == keptKey })
	}
	r.Peers, err = d.ImportPeers(ctx, in.Peers)
	return r, err
}

// keptKey warns of another key than the imported one.
const keptKey = "this gateway has a key already, which stays; the imported peers know the other one"

// copyConfig takes the other directory's config.json over, which is read as it
// is, unless this directory has a configuration.
func copyConfig(from, to string, r *Result) error {
	for _, name := range []string{daemon.ConfigFile, daemon.LegacyConfig} {
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			r.Config = "kept"
			return nil
		}
	}
	text, err := files.ReadText(filepath.Join(from, daemon.LegacyConfig), 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.Config = "copied"
	return atomicfile.WriteFile(filepath.Join(to, daemon.LegacyConfig), text)
}
