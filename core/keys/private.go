package keys

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/opengatewayprotocol/ogp/core"
)

// pkcs8Prefix is the constant DER header of every Ed25519 private key (RFC 8410
// §7, without the optional parts), in front of the 32-byte seed.
const pkcs8Prefix = "302e020100300506032b657004220420"

const redacted = "[private key]"

// Private is our Ed25519 private key. Nothing prints it: every formatter, logger
// and encoder gets a placeholder, also when it is a field of something else. The
// zero Private is no key, and signing with it panics. Safe for concurrent use.
//
// docs/threat-model.md#k4
type Private struct {
	// A function, because fmt looks into unexported fields without asking their
	// methods, and follows a pointer for a verb that does not fit. A function is
	// an address to every printer.
	open func() *secret
}

type secret struct {
	key    ed25519.PrivateKey
	public core.PublicKey
}

// Generate makes a new key from the system's randomness.
func Generate() Private {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:]) // never fails: crypto/rand
	return fromSeed(seed[:])
}

// FromSeed makes the key of a 32-byte seed (RFC 8032 §5.1.5).
func FromSeed(seed []byte) (Private, error) {
	if len(seed) != ed25519.SeedSize {
		return Private{}, fmt.Errorf("keys: private key: seed of %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	return fromSeed(seed), nil
}

// FromPKCS8Hex reads the hex of the 48-byte PKCS#8 form that the TypeScript
// gateways keep. The error never repeats the text.
func FromPKCS8Hex(text string) (Private, error) {
	der, err := hex.DecodeString(text)
	if err != nil || len(der) != len(pkcs8Prefix)/2+ed25519.SeedSize || hex.EncodeToString(der[:len(pkcs8Prefix)/2]) != pkcs8Prefix {
		return Private{}, errors.New("keys: private key: want 96 hex characters of an Ed25519 PKCS#8")
	}
	return fromSeed(der[len(pkcs8Prefix)/2:]), nil
}

func fromSeed(seed []byte) Private {
	key := ed25519.NewKeyFromSeed(seed)
	s := &secret{key, core.PublicKey(key.Public().(ed25519.PublicKey))}
	return Private{func() *secret { return s }}
}

// IsZero reports whether p is no key.
func (p Private) IsZero() bool { return p.open == nil }

// Equal reports whether both are the same key, in constant time.
func (p Private) Equal(q Private) bool {
	if p.IsZero() || q.IsZero() {
		return p.IsZero() == q.IsZero()
	}
	return subtle.ConstantTimeCompare(p.open().key, q.open().key) == 1
}

// Public returns the public key; of the zero Private, the zero key.
func (p Private) Public() core.PublicKey {
	if p.IsZero() {
		return core.PublicKey{}
	}
	return p.open().public
}

var _ core.Signer = Private{}

// Sign is Signature as core.Signer has it. It never fails.
func (p Private) Sign(text []byte) (string, error) { return p.Signature(text), nil }

// Signature returns the plain Ed25519 signature over text as it crosses the wire: 128
// lower-case hex characters.
func (p Private) Signature(text []byte) string {
	if p.IsZero() {
		panic("keys: sign without a key")
	}
	return hex.EncodeToString(ed25519.Sign(p.open().key, text))
}

// Derive gives a secret of ours for a purpose that is no signature: always the same, and of
// no use for finding the key.
func (p Private) Derive(purpose string) (secret [32]byte) {
	if p.IsZero() {
		panic("keys: derive without a key")
	}
	h := hmac.New(sha256.New, p.open().key.Seed())
	h.Write([]byte("ogp derive " + purpose))
	return [32]byte(h.Sum(nil))
}

// pkcs8Hex is the key itself, for the file alone.
func (p Private) pkcs8Hex() string { return pkcs8Prefix + hex.EncodeToString(p.open().key.Seed()) }

// String returns a placeholder.
func (p Private) String() string { return redacted }

// GoString returns a placeholder.
func (p Private) GoString() string { return redacted }

// Format writes a placeholder for every verb.
func (p Private) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue logs a placeholder.
func (p Private) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes a placeholder: the one way to keep the key is Create.
func (p Private) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON writes a placeholder: the one way to keep the key is Create.
func (p Private) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// UnmarshalText refuses: a key is read by Load alone.
func (p *Private) UnmarshalText([]byte) error {
	return errors.New("keys: a private key is not read from text")
}
