package daemon

import (
	"errors"
	"path/filepath"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

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
	sealed, err = keys.Sealed(path)
	if errors.Is(err, core.NotFound) {
		e := core.Refusef(core.NotFound, "there is no key at %s", path)
		e.Hint = `"ogp init" or "ogp start" makes one; --home names another state directory`
		err = e
	}
	return path, Passphrase(o.env(), d.config()), sealed, err
}
