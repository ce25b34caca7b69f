// Package backup puts a gateway into one file, and takes it out again.
package backup

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// backedUp are the files and folders that a backup holds beside the store. What
// can be made again (compiled plugins, the log, the socket) is left out.
var backedUp = []string{daemon.KeyFile, daemon.ConfigFile, daemon.LegacyConfig, "plugins", daemon.Certificates}

// Command is "ogp backup".
func Command(a *cli.App) *cobra.Command {
	var recipients []string
	var pass passphrase
	cmd := &cobra.Command{
		Use: "backup <file>", Short: "Back up key, configuration, peers and messages", Args: cobra.ExactArgs(1),
		Long: `Write everything that this gateway consists of into one file (tar.gz): the key, the
configuration, a consistent copy of the store, and installed plugins. The daemon can
keep running. Whoever has the file can act as this gateway: encrypt it for an age
recipient or with a passphrase. --passphrase asks for one on a terminal; otherwise
it reads the first line of standard input.

  ogp backup ogp-backup.tar.gz.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := ageRecipients(a, recipients, pass)
			if err != nil {
				return err
			}
			names, err := backup(cmd.Context(), a, args[0], to)
			if err != nil {
				return err
			}
			return a.Print(map[string]any{"file": args[0], "encrypted": len(to) > 0, "content": names}, func() {
				fmt.Fprintf(a.Out, "Backed up %s to %s\n", strings.Join(names, ", "), args[0])
				switch {
				case !slices.Contains(names, daemon.KeyFile):
					fmt.Fprintln(a.Err, "The key is not in it: the signer has it, and its state directory needs a backup of its own.")
				case len(to) == 0:
					fmt.Fprintln(a.Err, "The file holds the private key as it is in the state directory: keep it as safe. --recipient or --passphrase encrypts it.")
				}
			})
		},
	}
	cmd.Flags().StringSliceVar(&recipients, "recipient", nil, "age recipients (age1...) that can open it")
	pass.flags(cmd)
	return cmd
}

// passphrase are the flags that say where a passphrase comes from.
type passphrase struct {
	file string
	ask  bool
}

func (p *passphrase) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.file, "passphrase-file", "", "a file with the passphrase that opens it")
	cmd.Flags().BoolVar(&p.ask, "passphrase", false, "ask for the passphrase that opens it")
}

func (p passphrase) given() bool { return p.file != "" || p.ask }

func (p passphrase) read(a *cli.App, isNew bool) (string, error) {
	switch {
	case p.file != "" && p.ask:
		return "", cli.Usagef("--passphrase or --passphrase-file, not both")
	case p.ask:
		return a.Passphrase(isNew)
	}
	return readPassphrase(p.file)
}

// maxPassphrase bounds a passphrase's file, in bytes.
const maxPassphrase = 64 << 10

func readPassphrase(path string) (string, error) {
	text, err := files.ReadText(path, maxPassphrase)
	if err != nil {
		return "", err
	}
	p := strings.TrimRight(string(text), "\r\n")
	if p == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return p, nil
}

func ageRecipients(a *cli.App, recipients []string, pass passphrase) ([]age.Recipient, error) {
	if len(recipients) > 0 && pass.given() {
		return nil, cli.Usagef("--recipient or a passphrase, not both")
	}
	var out []age.Recipient
	for _, text := range recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, cli.Usagef("--recipient %q: %w", text, err)
		}
		out = append(out, r)
	}
	if pass.given() {
		p, err := pass.read(a, true)
		if err != nil {
			return nil, err
		}
		r, err := age.NewScryptRecipient(p)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// backup writes the file at once or not at all, and says what is in it.
func backup(ctx context.Context, a *cli.App, path string, to []age.Recipient) ([]string, error) {
	dir, err := a.StateDir()
	if err != nil {
		return nil, err
	}
	cfg, _, _, err := a.Load(nil)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, daemon.KeyFile)); err != nil && cfg.Signer == "" && !cfg.Store.IsSet() {
		return nil, core.Refusef(core.NotFound, "%s holds no gateway", dir)
	}
	if _, err := os.Stat(path); err == nil {
		return nil, core.Refusef(core.Conflict, "%s is there already", path)
	}
	tmp, err := os.MkdirTemp(dir, ".backup-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	db, err := filepath.Abs(filepath.Join(tmp, daemon.StoreFile))
	if err != nil {
		return nil, err
	}
	if _, _, err := cli.OnState(ctx, a, api.Backup, api.BackupParams{Path: db}, false); err != nil {
		return nil, err
	}
	f, err := atomicfile.New(path)
	if err != nil {
		return nil, err
	}
	defer f.Cleanup()
	names, err := pack(f, dir, db, to)
	if err != nil {
		return nil, err
	}
	return names, f.Replace()
}

// pack writes the archive.
func pack(w io.Writer, dir, db string, to []age.Recipient) (names []string, err error) {
	closers := []io.Closer{}
	if len(to) > 0 {
		sealed, err := age.Encrypt(w, to...)
		if err != nil {
			return nil, err
		}
		closers = append(closers, sealed)
		w = sealed
	}
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	closers = append([]io.Closer{t, z}, closers...)
	add := func(path, name string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: info.Size(), ModTime: info.ModTime(), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = io.Copy(t, f)
		return err
	}
	if err := add(db, daemon.StoreFile); err != nil {
		return nil, err
	}
	names = append(names, daemon.StoreFile)
	for _, name := range backedUp {
		root := filepath.Join(dir, name)
		if _, err := os.Stat(root); err != nil {
			continue
		}
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			return add(path, rel)
		})
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	for _, c := range closers {
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
	return names, nil
}
