package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/legacy"
)

func peersCommand(a *app) *cobra.Command {
	return group("peers", "Export the peers", peersExportCommand(a))
}

func peersExportCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Print the peers as the TypeScript gateway's peers.json", Args: cobra.NoArgs,
		Long: "Print the peers as the TypeScript gateway's peers.json. It is read from the running daemon or, if none runs, from the store.\n\n  ogp peers export > peers.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := api.ExportPeers.Call(cmd.Context(), a, api.None{})
			if errors.Is(err, control.ErrNoDaemon) {
				text, err = a.exportOffline(cmd)
			}
			if err != nil {
				return err
			}
			pretty := jsontext.Value(text)
			if err := pretty.Indent(jsontext.WithIndent("  ")); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s\n", safeJSON(pretty))
			return nil
		},
	}
}

func (a *app) exportOffline(cmd *cobra.Command) (core.Raw, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, keyFile)); err != nil {
		return nil, control.ErrNoDaemon
	}
	d, err := a.open(cmd)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return legacy.ExportPeers(d.gateway.Peers())
}

type importResult struct {
	From        string   `json:"from"`
	Fingerprint string   `json:"fingerprint"`
	Key         string   `json:"key"` // imported, or kept
	Peers       int      `json:"peers"`
	Config      string   `json:"config"` // copied, kept, or none
	Warnings    []string `json:"warnings,omitempty"`
}

func importCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "import <directory>", Short: "Take over identity and peers of a TypeScript gateway", Args: cobra.ExactArgs(1),
		Long: `Take over the key, the peers and the configuration of a TypeScript gateway's
state directory, which is only read. The daemon must not be running. A sealed key
needs OGP_KEYPAIR_SECRET, unless the directory's own configuration has the secret.

  ogp import ~/.ogp-openclaw`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.importFrom(cmd, args[0])
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(r)
				return nil
			}
			for _, w := range r.Warnings {
				fmt.Fprintln(a.err, "warning:", w)
			}
			fmt.Fprintf(a.out, "Key          %s (%s)\nPeers        %d imported\nConfig       %s\n", r.Fingerprint, r.Key, r.Peers, r.Config)
			fmt.Fprintln(a.err, "Next: ogp start")
			return nil
		},
	}
}

func (a *app) importFrom(cmd *cobra.Command, from string) (importResult, error) {
	ctx := cmd.Context()
	r := importResult{From: from, Key: "kept", Config: "none"}
	dir, err := a.stateDir()
	if err != nil {
		return r, err
	}
	if _, err := api.Status.Call(ctx, a, api.None{}); !errors.Is(err, control.ErrNoDaemon) {
		e := core.Refuse(core.Conflict, "the daemon is running")
		e.Hint = `"ogp stop" first: the daemon is the one that writes its state`
		return r, e
	}
	var secrets []string
	if s := a.getenv("OGP_KEYPAIR_SECRET"); s != "" {
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
	cfg, _, warnings, err := a.load(nil)
	if err != nil {
		return r, err
	}
	for _, w := range warnings {
		r.Warnings = append(r.Warnings, fmt.Sprint(w))
	}
	if !in.Key.IsZero() {
		err := keys.Save(filepath.Join(dir, keyFile), in.Key, passphrase(a, cfg))
		switch {
		case errors.Is(err, os.ErrExist):
			r.Warnings = append(r.Warnings, "this gateway has a key already, which stays; the imported peers know the other one")
		case err != nil:
			return r, err
		default:
			r.Key = "imported"
		}
	}
	d, err := a.open(cmd)
	if err != nil {
		return r, err
	}
	defer d.close()
	r.Fingerprint = d.key.Public().Fingerprint()
	if d.key.Public() == in.Key.Public() {
		r.Key = "imported"
		r.Warnings = withoutKept(r.Warnings)
	}
	r.Peers, err = d.gateway.ImportPeers(ctx, in.Peers)
	return r, err
}

// withoutKept drops the warning about another key where it is the same one.
func withoutKept(in []string) []string {
	out := in[:0]
	for _, w := range in {
		if len(w) < 12 || w[:12] != "this gateway" {
			out = append(out, w)
		}
	}
	return out
}

// copyConfig takes the other directory's config.json over, which is read as it
// is, unless this directory has a configuration.
func copyConfig(from, to string, r *importResult) error {
	for _, name := range []string{configFile, legacyConfig} {
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			r.Config = "kept"
			return nil
		}
	}
	text, err := os.ReadFile(filepath.Join(from, legacyConfig))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.Config = "copied"
	return atomicfile.WriteFile(filepath.Join(to, legacyConfig), text)
}
