// Package ownkey finds our own key where a gateway's configuration has it: with a signer, in
// the state directory, or sealed in the database; and seals it there.
package ownkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/signer"
)

// File is the key's file in a state directory, LegacyFile that of a TypeScript gateway.
const (
	File       = keys.FileName
	LegacyFile = "keypair.json"
)

// OwnerKey is where a store says whose it is.
const OwnerKey = "owner"

// Place is where a gateway may have its key.
type Place struct {
	Dir    string // the state directory
	Config *config.Config
	Env    []string
	Store  core.Store   // the database, which may have the key; nil: the state is in the directory
	Logger *slog.Logger // of a signer's health; nil: none
}

// Own is our key.
type Own struct {
	core.Signer
	Marks  [32]byte       // what signs the marks of messages
	Remote *signer.Remote // who has the key; nil: we have
	First  bool           // it was made now
	Unused bool           // there is a key file that is not used
}

// Run looks how the signer does until ctx is done.
func (o Own) Run(ctx context.Context) error {
	if o.Remote == nil {
		return nil
	}
	defer o.Remote.Close()
	return o.Remote.Run(ctx)
}

// Health is nil while we can sign, and otherwise why we cannot.
func (o Own) Health() error {
	if o.Remote == nil {
		return nil
	}
	return o.Remote.Health()
}

// Passphrase is how a key is unsealed, or nil for one without a passphrase.
func Passphrase(env []string, c *config.Config) keys.Passphrase {
	if c.Key.PassphraseFile == "" && config.Getenv(env, "OGP_KEY_PASSPHRASE") == "" {
		return nil
	}
	return func() (string, error) {
		if c.Key.PassphraseFile == "" {
			return config.Getenv(env, "OGP_KEY_PASSPHRASE"), nil
		}
		text, err := readPassphrase(c.Key.PassphraseFile)
		if err != nil {
			return "", fmt.Errorf("key.passphrase_file: %w", err)
		}
		return text, nil
	}
}

// maxPassphrase bounds a passphrase's file, in bytes.
const maxPassphrase = 64 << 10

// readPassphrase reads a file that holds a passphrase and, perhaps, a line end.
func readPassphrase(path string) (string, error) {
	text, err := files.ReadText(path, maxPassphrase)
	return strings.TrimRight(string(text), "\r\n"), err
}

func (p Place) passphrase() keys.Passphrase { return Passphrase(p.Env, p.Config) }

func (p Place) file() string { return filepath.Join(p.Dir, File) }

// storedKey is where the store has the key, sealed, for a gateway without a key file.
const storedKey = "key"

// signerWithin is how long a start waits for its signer, which may be started with it.
const signerWithin = 10 * time.Second

// Open finds who signs for us: a signer, the key of the state directory, or the one that is
// sealed in the store. On the first start it makes one. A directory that holds another
// gateway's key is not silently given a second identity.
func (p Place) Open(ctx context.Context) (own Own, err error) {
	if p.Config.Signer != "" {
		return p.openSigner(ctx)
	}
	_, err = os.Stat(p.file())
	own.First = errors.Is(err, fs.ErrNotExist)
	if own.First {
		if _, err := os.Stat(filepath.Join(p.Dir, LegacyFile)); err == nil {
			return own, core.Refusef(core.Conflict, "%s holds the identity of a TypeScript gateway, and none of ours", p.Dir).
				WithHint(fmt.Sprintf(`"ogp import %s" takes over its key and its peers; with another --home a new identity is made`, p.Dir))
		}
	}
	key, err := p.keyOrNew(ctx, &own)
	if err != nil {
		return own, err
	}
	own.Signer, own.Marks = key, key.Derive(signer.HopMarks)
	return own, nil
}

func (p Place) keyOrNew(ctx context.Context, own *Own) (keys.Private, error) {
	if own.First && p.Store != nil {
		key, err := p.keyOfStore(ctx)
		if own.First = errors.Is(err, core.NotFound); !own.First {
			return key, err
		}
	}
	return keys.LoadOrCreate(p.file(), p.passphrase())
}

// keyOfStore is the key that is sealed in the store; of kind NotFound where the store is
// nobody's yet.
func (p Place) keyOfStore(ctx context.Context) (keys.Private, error) {
	text, err := p.Store.Meta(ctx, storedKey)
	if err == nil && text != "" {
		key, err := keys.FromSealedText("the database", text, p.passphrase())
		if errors.Is(err, core.Malformed) {
			err = &core.Error{Kind: core.Malformed, Err: err, Hint: `"ogp key store" stores it again, on a machine that still has ` + File}
		}
		return key, err
	}
	if err != nil && !errors.Is(err, core.NotFound) {
		return keys.Private{}, err
	}
	owner, err := p.Store.Meta(ctx, OwnerKey)
	if err != nil {
		return keys.Private{}, err
	}
	var k core.PublicKey
	_ = k.UnmarshalText([]byte(owner)) // a zero key is shown as one
	return keys.Private{}, core.Refusef(core.Conflict, "the database holds the store of gateway %s, and %s is not in %s", k.Fingerprint(), File, p.Dir).
		WithHint("put a copy of that gateway's " + File + ` there; or, where it runs, "ogp key store" keeps the key sealed in the database, for all that share it`)
}

// openSigner finds the signer, whose key is ours from then on.
func (p Place) openSigner(ctx context.Context) (own Own, err error) {
	path, err := signer.Path(p.Config.Signer)
	if err != nil {
		return own, err
	}
	for began := time.Now(); ; {
		if own.Remote, err = signer.Open(path, p.Logger); err == nil {
			own.Marks, err = own.Remote.Derive(signer.HopMarks)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, core.Unavailable) || time.Since(began) > signerWithin {
			return own, err
		}
		select {
		case <-ctx.Done():
			return own, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
	own.Signer = own.Remote
	_, err = os.Stat(p.file())
	own.Unused = err == nil
	return own, nil
}

// Find is the public key that a start would find, and where; nothing is made. The error
// is of kind NotFound where there is none yet.
func (p Place) Find(ctx context.Context) (k core.PublicKey, where string, err error) {
	if address := p.Config.Signer; address != "" {
		where = "the signer at " + address
		path, err := signer.Path(address)
		if err != nil {
			return k, where, err
		}
		r, err := signer.Open(path, slog.New(slog.DiscardHandler))
		if err != nil {
			return k, where, err
		}
		defer r.Close()
		return r.Public(), where, r.Check()
	}
	where = p.file()
	key, err := keys.Load(where, p.passphrase())
	if errors.Is(err, fs.ErrNotExist) && p.Store != nil {
		key, err = p.keyOfStore(ctx)
		where = "the database"
	}
	return key.Public(), where, err
}

// StoreKey seals our key in the store, for all gateways that share it, under the passphrase
// of a file or, with none, under the configured one. It returns what is there then.
//
// docs/threat-model.md#k4
func (p Place) StoreKey(ctx context.Context, newFile string) (sealed string, err error) {
	if p.Store == nil {
		return "", core.Refuse(core.Malformed, "the state of this gateway is in its directory, and the key is there, too").
			WithHint(`"ogp key seal" seals it there; only a database is shared: the setting store`)
	}
	if p.Config.Signer != "" {
		return "", p.withSigner()
	}
	now := p.passphrase()
	next := now
	if newFile != "" {
		next = func() (string, error) { return readPassphrase(newFile) }
	}
	if next == nil {
		return "", errNoPassphrase
	}
	key, err := keys.Load(p.file(), now)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = p.keyOfStore(ctx)
	}
	if err != nil {
		return "", err
	}
	switch owner, err := p.Store.Meta(ctx, OwnerKey); {
	case err == nil && owner != key.Public().String():
		return "", core.Refuse(core.Conflict, "the database is another gateway's")
	case err != nil && !errors.Is(err, core.NotFound):
		return "", err
	}
	if sealed, err = keys.SealedText(key, next); err != nil {
		return "", err
	}
	return sealed, p.Store.Commit(ctx, &core.Change{Meta: map[string]string{storedKey: sealed}})
}

// withSigner says that a key cannot be changed here.
func (p Place) withSigner() error {
	return core.Refuse(core.Conflict, "the signer at "+p.Config.Signer+" has the key").WithHint("seal or unseal it there, with the --home of the signer; its next start counts")
}

// Seal puts the key of a state directory under the passphrase of a file or, with no file,
// under the configured one, and returns where the key is. A daemon that runs goes on: it
// has the key already. Errors are of kind NotFound without a key, Conflict when it is
// sealed and no file gives another passphrase, and Malformed without any passphrase.
//
// docs/threat-model.md#k4
func (p Place) Seal(newFile string) (path string, err error) {
	sealed, err := p.sealed()
	if err != nil {
		return p.file(), err
	}
	now := p.passphrase()
	next := now
	if newFile != "" {
		next = func() (string, error) { return readPassphrase(newFile) }
	}
	switch {
	case next == nil:
		return p.file(), errNoPassphrase
	case sealed && newFile == "":
		return p.file(), core.Refuse(core.Conflict, "the key is sealed already").WithHint("--new-passphrase-file gives it another passphrase")
	}
	return p.file(), keys.Seal(p.file(), now, next)
}

var errNoPassphrase = &core.Error{Kind: core.Malformed, Public: "there is no passphrase to seal the key with",
	Hint: "set OGP_KEY_PASSPHRASE, or key.passphrase_file in config.toml, or give --new-passphrase-file"}

// Unseal takes the passphrase off the key of a state directory, and returns where the key
// is. Errors are of kind NotFound without a key and Conflict when it is not sealed.
func (p Place) Unseal() (path string, err error) {
	sealed, err := p.sealed()
	if err != nil {
		return p.file(), err
	}
	if !sealed {
		return p.file(), core.Refuse(core.Conflict, "the key is not sealed")
	}
	return p.file(), keys.Unseal(p.file(), p.passphrase())
}

// sealed reports whether the key of a state directory is sealed.
func (p Place) sealed() (bool, error) {
	if p.Config.Signer != "" {
		return false, p.withSigner()
	}
	sealed, err := keys.Sealed(p.file())
	if errors.Is(err, core.NotFound) {
		e := core.Refusef(core.NotFound, "there is no key at %s", p.file())
		e.Hint = `"ogp init" or "ogp start" makes one; --home names another state directory`
		if p.Config.Store.IsSet() {
			e.Hint = `"ogp key store --new-passphrase-file" seals the one in the database with another passphrase; --home names another state directory`
		}
		err = e
	}
	return sealed, err
}

// IsPlain reports whether a passphrase is given for a key file that is not sealed.
func (p Place) IsPlain() bool {
	if p.Config.Signer != "" || p.passphrase() == nil {
		return false
	}
	sealed, err := keys.Sealed(p.file())
	return err == nil && !sealed
}

// OfSigner is the key of a signer's own state directory, made on the first start.
func (p Place) OfSigner() (k keys.Private, made bool, err error) {
	if p.Config.Signer != "" {
		return k, false, core.Refusef(core.Conflict, "%s is of a gateway whose key is with a signer: a signer needs a --home of its own", p.Dir)
	}
	_, err = os.Stat(p.file())
	made = errors.Is(err, fs.ErrNotExist)
	k, err = keys.LoadOrCreate(p.file(), p.passphrase())
	return k, made, err
}
