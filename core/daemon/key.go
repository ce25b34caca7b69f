package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/signer"
)

// storedKey is where the store has the key, sealed, for a gateway without a key file.
const storedKey = "key"

// signerWithin is how long a start waits for its signer, which may be started with it.
const signerWithin = 10 * time.Second

// openKey finds who signs for us: a signer, the key of the state directory, or the one
// that is sealed in the store. On the first start it makes one. A directory that holds
// another gateway's key is not silently given a second identity.
func (d *Daemon) openKey(ctx context.Context) error {
	if d.config().Signer != "" {
		return d.openSigner(ctx)
	}
	path := filepath.Join(d.dir, KeyFile)
	_, err := os.Stat(path)
	d.first = errors.Is(err, fs.ErrNotExist)
	if d.first {
		if _, err := os.Stat(filepath.Join(d.dir, LegacyKeyFile)); err == nil {
			e := core.Refusef(core.Conflict, "%s holds the identity of a TypeScript gateway, and none of ours", d.dir)
			e.Hint = fmt.Sprintf(`"ogp import %s" takes over its key and its peers; with another --home a new identity is made`, d.dir)
			return e
		}
	}
	key, err := d.ownKey(ctx, path)
	if err != nil {
		return err
	}
	d.key, d.marks = key, key.Derive(signer.HopMarks)
	return nil
}

func (d *Daemon) ownKey(ctx context.Context, path string) (keys.Private, error) {
	if d.first && d.store != nil {
		key, err := d.keyOfStore(ctx)
		if d.first = errors.Is(err, core.NotFound); !d.first {
			return key, err
		}
	}
	return keys.LoadOrCreate(path, Passphrase(d.o.env(), d.config()))
}

// keyOfStore is the key that is sealed in the store; of kind NotFound where the store is
// nobody's yet.
func (d *Daemon) keyOfStore(ctx context.Context) (keys.Private, error) {
	text, err := d.store.Meta(ctx, storedKey)
	if err == nil && text != "" {
		key, err := keys.FromSealedText("the database", text, Passphrase(d.o.env(), d.config()))
		if errors.Is(err, core.Malformed) {
			err = &core.Error{Kind: core.Malformed, Err: err, Hint: `"ogp key store" keeps it anew, where ` + KeyFile + " still is"}
		}
		return key, err
	}
	if err != nil && !errors.Is(err, core.NotFound) {
		return keys.Private{}, err
	}
	owner, err := d.store.Meta(ctx, ownerKey)
	if err != nil {
		return keys.Private{}, err
	}
	var k core.PublicKey
	_ = k.UnmarshalText([]byte(owner)) // a zero key is shown as one
	e := core.Refusef(core.Conflict, "the database holds the store of gateway %s, and %s is not in %s", k.Fingerprint(), KeyFile, d.dir)
	e.Hint = "put a copy of that gateway's " + KeyFile + ` there; or, where it runs, "ogp key store" keeps the key sealed in the database, for all that share it`
	return keys.Private{}, e
}

// openSigner finds the signer, whose key is ours from then on.
func (d *Daemon) openSigner(ctx context.Context) error {
	path, err := signer.Path(d.config().Signer)
	if err != nil {
		return err
	}
	for began := time.Now(); ; {
		if d.remote, err = signer.Open(path, d.log); err == nil {
			d.marks, err = d.remote.Derive(signer.HopMarks)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, core.Unavailable) || time.Since(began) > signerWithin {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
	d.key = d.remote
	if _, err := os.Stat(filepath.Join(d.dir, KeyFile)); err == nil {
		d.notes = append(d.notes, KeyFile+" is not used, as the signer has our key; move it to where nobody reads it")
	}
	return nil
}

// runSigner looks how the signer does until ctx is done.
func (d *Daemon) runSigner(ctx context.Context) error {
	if d.remote == nil {
		return nil
	}
	defer d.remote.Close()
	return d.remote.Run(ctx)
}

// signing is nil while we can sign, and otherwise why we cannot.
func (d *Daemon) signing() error {
	if d.remote == nil {
		return nil
	}
	return d.remote.Health()
}

// findKey is the public key that a start would find, and where; nothing is made. The error
// is of kind NotFound where there is none yet.
func (d *Daemon) findKey(ctx context.Context) (k core.PublicKey, where string, err error) {
	if address := d.config().Signer; address != "" {
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
	where = filepath.Join(d.dir, KeyFile)
	key, err := keys.Load(where, Passphrase(d.o.env(), d.config()))
	if errors.Is(err, fs.ErrNotExist) && d.config().Store.IsSet() && d.store != nil {
		key, err = d.keyOfStore(ctx)
		where = "the database"
	}
	return key.Public(), where, err
}

// storeKey is the method "key.store": it seals our key in the store, for all gateways that
// share it.
//
// docs/threat-model.md#k4
func (d *Daemon) storeKey(ctx context.Context, p api.StoreKeyParams) (api.None, error) {
	if !d.config().Store.IsSet() {
		e := core.Refuse(core.Malformed, "the state of this gateway is in its directory, and the key is there, too")
		e.Hint = `"ogp key seal" seals it there; only a database is shared: the setting store`
		return api.None{}, e
	}
	if d.config().Signer != "" {
		return api.None{}, d.withSigner()
	}
	now := Passphrase(d.o.env(), d.config())
	next := now
	if p.PassphraseFile != "" {
		next = func() (string, error) { return readPassphrase(p.PassphraseFile) }
	}
	if next == nil {
		e := core.Refuse(core.Malformed, "there is no passphrase to seal the key with")
		e.Hint = "set OGP_KEY_PASSPHRASE, or key.passphrase_file in config.toml, or give --new-passphrase-file"
		return api.None{}, e
	}
	key, err := keys.Load(filepath.Join(d.dir, KeyFile), now)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = d.keyOfStore(ctx)
	}
	if err != nil {
		return api.None{}, err
	}
	switch owner, err := d.store.Meta(ctx, ownerKey); {
	case err == nil && owner != key.Public().String():
		return api.None{}, core.Refuse(core.Conflict, "the database is another gateway's")
	case err != nil && !errors.Is(err, core.NotFound):
		return api.None{}, err
	}
	text, err := keys.SealedText(key, next)
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, d.store.Commit(ctx, &core.Change{Meta: map[string]string{storedKey: text}})
}

// withSigner says that a key cannot be changed here.
func (d *Daemon) withSigner() error {
	e := core.Refuse(core.Conflict, "the signer at "+d.config().Signer+" has the key")
	e.Hint = "seal or unseal it there, with the --home of the signer; its next start counts"
	return e
}

// SealKey puts the key of a state directory under the passphrase of a file or, with
// no file, under the configured one, and returns where the key is. A daemon that
// runs goes on: it has the key already. Errors are of kind NotFound without a key,
// Conflict when it is sealed and no file gives another passphrase, and Malformed
// without any passphrase.
//
// docs/threat-model.md#k4
func SealKey(o Options, newFile string) (path string, err error) {
	path, now, sealed, err := keyOf(o)
	if err != nil {
		return path, err
	}
	next := now
	if newFile != "" {
		next = func() (string, error) {
			return readPassphrase(newFile)
		}
	}
	switch {
	case next == nil:
		e := core.Refuse(core.Malformed, "there is no passphrase to seal the key with")
		e.Hint = "set OGP_KEY_PASSPHRASE, or key.passphrase_file in config.toml, or give --new-passphrase-file"
		return path, e
	case sealed && newFile == "":
		e := core.Refuse(core.Conflict, "the key is sealed already")
		e.Hint = "--new-passphrase-file gives it another passphrase"
		return path, e
	}
	return path, keys.Seal(path, now, next)
}

// UnsealKey takes the passphrase off the key of a state directory, and returns where
// the key is. Errors are of kind NotFound without a key and Conflict when it is not
// sealed.
func UnsealKey(o Options) (path string, err error) {
	path, now, sealed, err := keyOf(o)
	if err != nil {
		return path, err
	}
	if !sealed {
		return path, core.Refuse(core.Conflict, "the key is not sealed")
	}
	return path, keys.Unseal(path, now)
}

// keyOf is where a key is, whether it is sealed, and what unseals it: nil for
// nothing.
func keyOf(o Options) (path string, now keys.Passphrase, sealed bool, err error) {
	d, err := configured(o)
	if err != nil {
		return "", nil, false, err
	}
	path = filepath.Join(d.dir, KeyFile)
	if d.config().Signer != "" {
		return path, nil, false, d.withSigner()
	}
	sealed, err = keys.Sealed(path)
	if errors.Is(err, core.NotFound) {
		e := core.Refusef(core.NotFound, "there is no key at %s", path)
		e.Hint = `"ogp init" or "ogp start" makes one; --home names another state directory`
		if d.config().Store.IsSet() {
			e.Hint = `"ogp key store --new-passphrase-file" seals the one in the database with another passphrase; --home names another state directory`
		}
		err = e
	}
	return path, Passphrase(o.env(), d.config()), sealed, err
}

// SignerKey is the key of a signer's own state directory, made on the first start.
func SignerKey(o Options) (k keys.Private, made bool, err error) {
	d, err := configured(o)
	if err != nil {
		return k, false, err
	}
	if d.config().Signer != "" {
		return k, false, core.Refusef(core.Conflict, "%s is of a gateway whose key is with a signer: a signer needs a --home of its own", d.dir)
	}
	path := filepath.Join(d.dir, KeyFile)
	_, err = os.Stat(path)
	made = errors.Is(err, fs.ErrNotExist)
	k, err = keys.LoadOrCreate(path, Passphrase(o.env(), d.config()))
	return k, made, err
}
