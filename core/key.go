package core

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
)

// SPKIPrefix is the constant DER header of every Ed25519 public key
// (RFC 8410 §4), in front of the 32 raw bytes. docs/protocol.md#keys
const SPKIPrefix = "302a300506032b6570032100"

var spkiPrefix, _ = hex.DecodeString(SPKIPrefix)

// PublicKey is a gateway's Ed25519 public key, raw. The full key is the identity
// of a gateway; everything shorter is a label. The zero value is no key.
//
// docs/threat-model.md#k3
type PublicKey [32]byte

// SPKI returns the 44-byte DER form that crosses the wire as hex.
func (k PublicKey) SPKI() []byte {
	return append(append(make([]byte, 0, 44), spkiPrefix...), k[:]...)
}

// String returns the wire form: 88 lower-case hex characters of the SPKI.
func (k PublicKey) String() string { return SPKIPrefix + hex.EncodeToString(k[:]) }

// ID returns the 32-character label that gateways since 0.3.2 use. It carries
// only 32 bits of the key: a handle for display and lookup, never identity.
func (k PublicKey) ID() string { return SPKIPrefix + hex.EncodeToString(k[:4]) }

// ShortID returns the 16-character label of 0.2.24 to 0.2.31. It is the same for
// every key there is.
func (k PublicKey) ShortID() string { return SPKIPrefix[:16] }

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// FingerprintGroups is how many groups of four base32 characters (20 bits each)
// a printed fingerprint has. An invite's long form carries the first three.
const FingerprintGroups = 5

var fingerprintEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Fingerprint returns what people compare: the first 100 bits of the SHA-256 of
// the SPKI in base32, as five groups of four.
//
// docs/threat-model.md#k3
func (k PublicKey) Fingerprint() string {
	var text [24]byte // of 15 bytes
	sum := sha256.Sum256(append(append(make([]byte, 0, 44), spkiPrefix...), k[:]...))
	fingerprintEncoding.Encode(text[:], sum[:15])
	out := make([]byte, 0, 5*FingerprintGroups-1)
	for i := range FingerprintGroups {
		if i > 0 {
			out = append(out, '-')
		}
		out = append(out, text[4*i:4*i+4]...)
	}
	return string(out)
}

// NonceHash is the number under which a used nonce of a peer is remembered. That two
// share one is possible, and as good as never.
func NonceHash(peer PublicKey, nonce Nonce) uint64 {
	b := make([]byte, 0, 32+MaxNonceBytes) // on the stack, for a nonce within its bound
	sum := sha256.Sum256(append(append(b, peer[:]...), nonce...))
	return binary.LittleEndian.Uint64(sum[:8])
}

// MarshalText writes the wire form.
func (k PublicKey) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads the exact wire form, as our own store wrote it. Keys from
// outside go through core/keys.Parse, which also refuses unsound ones.
func (k *PublicKey) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = PublicKey{}
		return nil
	}
	if len(text) != 88 || !strings.HasPrefix(string(text), SPKIPrefix) {
		return errors.New("core: public key: want 88 hex characters of an Ed25519 SPKI")
	}
	_, err := hex.Decode(k[:], text[len(SPKIPrefix):])
	return err
}
