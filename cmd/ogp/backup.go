package main

import (
	"archive/tar"
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

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// storeFileName is the store in the state directory and in a backup.
const storeFileName = "ogp.db"

// backedUp are the files and folders that a backup holds beside the store. What
// can be made again (compiled plugins, the log, the socket) is left out.
var backedUp = []string{keyFile, configFile, legacyConfig, "plugins", certificates}

// backupStore is the method "backup": it writes a copy of the store as it is at
// one moment.
func (d *daemon) backupStore(ctx context.Context, p api.BackupParams) (api.None, error) {
	return api.None{}, backupStore(ctx, d.store, p.Path)
}

func backupStore(ctx context.Context, s core.Store, path string) error {
	db, ok := s.(*sqlite.Store)
	if !ok {
		return core.Refuse(core.Unsupported, "this store cannot be backed up")
	}
	return db.Backup(ctx, path)
}

func backupCommand(a *app) *cobra.Command {
	var recipients []string
	var passphraseFile string
	cmd := &cobra.Command{
		Use: "backup <file>", Short: "Back up key, configuration, peers and messages", Args: cobra.ExactArgs(1),
		Long: `Write all that makes this gateway into one file (tar.gz): the key, the
configuration, the store as it is at one moment, and installed plugins. The daemon
may go on running. Whoever has the file is this gateway: encrypt it for an age
recipient or with a passphrase.

  ogp backup ogp-backup.tar.gz.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := ageRecipients(recipients, passphraseFile)
			if err != nil {
				return err
			}
			names, err := a.backup(cmd.Context(), args[0], to)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]any{"file": args[0], "encrypted": len(to) > 0, "content": names})
				return nil
			}
			fmt.Fprintf(a.out, "Backed up %s to %s\n", strings.Join(names, ", "), args[0])
			if len(to) == 0 {
				fmt.Fprintln(a.err, "The file holds the private key as it is in the state directory: keep it as safe. --recipient encrypts it.")
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&recipients, "recipient", nil, "age recipients (age1...) that can open it")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "a file with the passphrase that opens it")
	return cmd
}

func readPassphrase(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	p := strings.TrimRight(string(text), "\r\n")
	if p == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return p, nil
}

func ageRecipients(recipients []string, passphraseFile string) ([]age.Recipient, error) {
	if len(recipients) > 0 && passphraseFile != "" {
		return nil, usagef("--recipient or --passphrase-file, not both")
	}
	var out []age.Recipient
	for _, text := range recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, usagef("--recipient %q: %w", text, err)
		}
		out = append(out, r)
	}
	if passphraseFile != "" {
		p, err := readPassphrase(passphraseFile)
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
func (a *app) backup(ctx context.Context, path string, to []age.Recipient) ([]string, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, keyFile)); err != nil {
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
	db, err := filepath.Abs(filepath.Join(tmp, storeFileName))
	if err != nil {
		return nil, err
	}
	_, err = api.Backup.Call(ctx, a, api.BackupParams{Path: db})
	if errors.Is(err, control.ErrNoDaemon) {
		err = a.backupOffline(ctx, dir, db)
	}
	if err != nil {
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

func (a *app) backupOffline(ctx context.Context, dir, to string) error {
	s, err := store.Open(ctx, store.Default, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	return backupStore(ctx, s, to)
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
	if err := add(db, storeFileName); err != nil {
		return nil, err
	}
	names = append(names, storeFileName)
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

func restoreCommand(a *app) *cobra.Command {
	var identityFile, passphraseFile string
	cmd := &cobra.Command{
		Use: "restore <file>", Short: "Restore a backup into an empty state directory", Args: cobra.ExactArgs(1),
		Long: `Restore a backup into the state directory, which must hold no gateway yet. Never
run the original and the restored one at the same time: they are the same gateway.

  ogp --home ~/.ogp-restored restore ogp-backup.tar.gz.age --identity key.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := ageIdentities(identityFile, passphraseFile)
			if err != nil {
				return err
			}
			dir, names, err := a.restore(args[0], ids)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]any{"stateDir": dir, "content": names})
				return nil
			}
			fmt.Fprintf(a.out, "Restored %d files to %s\n", len(names), dir)
			fmt.Fprintln(a.err, "Next: ogp start")
			return nil
		},
	}
	cmd.Flags().StringVar(&identityFile, "identity", "", "a file with the age identity that opens it")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "a file with the passphrase that opens it")
	return cmd
}

func ageIdentities(identityFile, passphraseFile string) ([]age.Identity, error) {
	switch {
	case identityFile != "" && passphraseFile != "":
		return nil, usagef("--identity or --passphrase-file, not both")
	case identityFile != "":
		f, err := os.Open(identityFile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return age.ParseIdentities(f)
	case passphraseFile != "":
		p, err := readPassphrase(passphraseFile)
		if err != nil {
			return nil, err
		}
		id, err := age.NewScryptIdentity(p)
		return []age.Identity{id}, err
	}
	return nil, nil
}

// maxRestoreBytes bounds what a backup may unpack to.
const maxRestoreBytes = 64 << 30

// maxPadding bounds what may follow the last file: tar fills up to whole records.
const maxPadding = 1 << 20

// restore unpacks into a folder beside the state directory, and puts that in its
// place when all of it is there and the store opens.
func (a *app) restore(path string, ids []age.Identity) (string, []string, error) {
	dir, err := a.stateDir()
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
		e := core.Refusef(core.Conflict, "%s is not empty", dir)
		e.Hint = "--home names another state directory"
		return "", nil, e
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
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(tmp)
	names, err := unpack(f, tmp, ids)
	if err != nil {
		return "", nil, err
	}
	s, err := store.Open(context.Background(), store.Default, tmp)
	if err != nil {
		return "", nil, fmt.Errorf("the backup's store does not open: %w", err)
	}
	if err := s.Close(); err != nil {
		return "", nil, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	return dir, names, os.Rename(tmp, dir)
}

// ageHeader is how every age file begins (age-encryption.org/v1).
const ageHeader = "age-encryption.org/"

func unpack(r io.ReadSeeker, dir string, ids []age.Identity) ([]string, error) {
	head := make([]byte, len(ageHeader))
	n, _ := io.ReadFull(r, head)
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var in io.Reader = r
	if string(head[:n]) == ageHeader {
		if len(ids) == 0 {
			e := core.Refuse(core.Forbidden, "the backup is encrypted")
			e.Hint = "--identity or --passphrase-file opens it"
			return nil, e
		}
		plain, err := age.Decrypt(r, ids...)
		if err != nil {
			return nil, fmt.Errorf("open the backup: %w", err)
		}
		in = plain
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, errNoBackup
	}
	t := tar.NewReader(z)
	var names []string
	left := int64(maxRestoreBytes)
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
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || first != storeFileName && !slices.Contains(backedUp, first) {
			return nil, errNoBackup
		}
		if left -= h.Size; left < 0 {
			return nil, fmt.Errorf("the backup holds more than %d bytes", int64(maxRestoreBytes))
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
	if !slices.Contains(names, storeFileName) || !slices.Contains(names, keyFile) {
		return nil, errNoBackup
	}
	return names, nil
}

var errNoBackup = core.Refuse(core.Malformed, "this is no backup of a gateway")

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
