package keys

import (
	"errors"
	"fmt"

	"github.com/opengatewayprotocol/ogp/core"
)

// SealedText is a key under a passphrase, as its file has it, for a place that others can
// read, too. docs/threat-model.md#k4
func SealedText(p Private, passphrase Passphrase) (string, error) {
	if p.IsZero() || passphrase == nil {
		return "", errors.New("keys: seal: no key, or no passphrase")
	}
	data, err := encode(p, passphrase, defaultCost)
	return string(data), err
}

// FromSealedText opens what SealedText gave. where says in errors where it is from. The
// plain form is refused: whoever wrote it there has the key.
func FromSealedText(where, text string, passphrase Passphrase) (Private, error) {
	if len(text) > maxFileBytes {
		return Private{}, fmt.Errorf("keys: %s: %w", where, core.Refuse(core.TooLarge, "longer than any key"))
	}
	f, err := parse(where, []byte(text))
	if err == nil && f.Sealed == nil {
		err = fmt.Errorf("keys: %s: %w", where, core.Refuse(core.Malformed, "the key is not sealed"))
	}
	if err != nil {
		return Private{}, err
	}
	return f.open(where, passphrase)
}
