package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
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
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// RestoreCommand is "ogp restore".
func RestoreCommand(a *cli.App) *cobra.Command {
	var identityFile string
	var pass passphrase
	cmd := &cobra.Command{
		Use: "restore <file>", Short: "Restore a backup into an empty state directory", Args: cobra.ExactArgs(1),
		Long: `Restore a backup into the state directory, which must hold no gateway yet. Never
run the original and the restored one at the same time: they are the same gateway.
On a terminal it asks for the passphrase of a backup that has one.

  ogp --home ~/.ogp-restored restore ogp-backup.tar.gz.age --identity key.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := ageIdentities(a, args[0], identityFile, pass)
			if err != nil {
				return err
			}
			dir, names, err := restore(cmd.Context(), a, args[0], ids)
			if err != nil {
				return err
			}
			return a.Print(map[string]any{"stateDir": dir, "content": names}, func() {
				fmt.Fprintf(a.Out, "Restored %s to %s\n", text.Count(len(names), "file"), dir)
				fmt.Fprintln(a.Err, "Next:", a.Command("start"))
			})
		},
	}
	cmd.Flags().StringVar(&identityFile, "identity", "", "a file with the age identity that opens it")
	pass.flags(cmd)
	return cmd
}

// asksPassphrase reports whether a file is encrypted with a passphrase.
func asksPassphrase(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 128)
	n, _ := io.ReadFull(f, head) // a shorter file is looked at as far as it goes
	return bytes.HasPrefix(head[:n], []byte("age-encryption.org/")) && bytes.Contains(head[:n], []byte("\n-> scrypt "))
}

func ageIdentities(a *cli.App, path, identityFile string, pass passphrase) ([]age.Identity, error) {
	if identityFile == "" && !pass.given() && a.Interactive() && asksPassphrase(path) {
		pass.ask = true
	}
	switch {
	case identityFile != "" && pass.given():
		return nil, cli.Usagef("--identity or a passphrase, not both")
	case identityFile != "":
		f, err := os.Open(identityFile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return age.ParseIdentities(f)
	case pass.given():
		p, err := pass.read(a, false)
		if err != nil {
			return nil, err
		}
		return identity(p)
	}
	return nil, nil
}

// maxWork bounds what a backup may say that its passphrase costs: 2 to this, at 1 KiB of
// memory each. Ours, and those of the program age, say 18.
const maxWork = 20

func identity(passphrase string) ([]age.Identity, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	id.SetMaxWorkFactor(maxWork)
	return []age.Identity{id}, nil
}

// What a backup may unpack to: so many times its own size and as much again as a
// small store takes, since a store shrinks to a tenth and not to a thousandth; and so
// many files. A file of a few MB then fills no disk.
const (
	maxRestoreRatio = 200
	minRestoreBytes = 64 << 20
	maxRestoreBytes = 64 << 30
	maxRestoreFiles = 10_000
)

// maxPadding bounds what may follow the last file: tar fills up to whole records.
const maxPadding = 1 << 20

// restore unpacks into a folder beside the state directory, and puts that in its
// place when all of it is there and the store opens.
func restore(ctx context.Context, a *cli.App, path string, ids []age.Identity) (string, []string, error) {
	dir, err := a.StateDir()
	if err != nil {
		return "", nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	if len(entries) > 0 {
		return "", nil, core.Refusef(core.Conflict, "%s is not empty", dir).WithHint("--home names another state directory")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".ogp-restore-")
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		at.Path = dir // which is what was to be made
	}
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(tmp)
	names, err := unpack(f, tmp, ids)
	if err != nil {
		return "", nil, err
	}
	if err := daemon.CheckStore(ctx, tmp); err != nil {
		return "", nil, fmt.Errorf("the backup's store does not open: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	return dir, names, os.Rename(tmp, dir)
}

// ageHeader is how every age file begins (age-encryption.org/v1).
const ageHeader = "age-encryption.org/"

// decrypted is what a backup holds, which may be encrypted, from its beginning.
func decrypted(r io.ReadSeeker, ids []age.Identity) (io.Reader, error) {
	head := make([]byte, len(ageHeader))
	n, _ := io.ReadFull(r, head)
	if _, err := r.Seek(0, io.SeekStart); err != nil || string(head[:n]) != ageHeader {
		return r, err
	}
	if len(ids) == 0 {
		return nil, core.Refuse(core.Forbidden, "the backup is encrypted").WithHint("--identity, --passphrase or --passphrase-file opens it")
	}
	plain, err := age.Decrypt(r, ids...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, core.Refuse(core.Forbidden, "the backup is encrypted for another passphrase or key").
			WithHint("--identity, --passphrase or --passphrase-file opens it, whichever it was made with")
	}
	if err != nil {
		return nil, fmt.Errorf("open the backup: %w", err)
	}
	return plain, nil
}

func unpack(r io.ReadSeeker, dir string, ids []age.Identity) ([]string, error) {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	most := min(minRestoreBytes+maxRestoreRatio*size, maxRestoreBytes)
	in, err := decrypted(r, ids)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, errNoBackup
	}
	t := tar.NewReader(z)
	var names []string
	left := most
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the backup: %w", err)
		}
		name := filepath.FromSlash(h.Name)
		first, _, _ := strings.Cut(h.Name, "/")
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || first != daemon.StoreFile && !slices.Contains(backedUp, first) {
			return nil, errNoBackup
		}
		if left -= h.Size; left < 0 || len(names) >= maxRestoreFiles {
			return nil, core.Refusef(core.TooLarge, "the backup of %s holds more than %s, or more than %d files: no backup of a gateway does",
				text.Bytes(uint64(size)), text.Bytes(uint64(most)), maxRestoreFiles)
		}
		if err := writeRestored(filepath.Join(dir, name), t); err != nil {
			return nil, err
		}
		names = append(names, h.Name)
	}
	// The checksums stand behind the last file, and nothing behind them.
	padding, err := io.Copy(io.Discard, io.LimitReader(z, maxPadding))
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	if padding == maxPadding {
		return nil, errNoBackup
	}
	if !slices.Contains(names, daemon.StoreFile) || !slices.Contains(names, daemon.KeyFile) && !slices.Contains(names, daemon.ConfigFile) { // a signer may have the key
		return nil, errNoBackup
	}
	return names, nil
}

var errNoBackup = core.Refuse(core.Malformed, "this is not a backup of a gateway")

func writeRestored(path string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}
