// Package keys reads the Ed25519 keys and signatures of other gateways, refuses
// the unsound ones, and holds our own private key, in memory and at rest.
//
// A key that came through Parse is a point of the curve in its one canonical
// encoding and not of low order. That is asked once, when a key first arrives;
// a message from a known peer finds its key by text and pays for no point.
package keys

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"

	"filippo.io/edwards25519"

	"github.com/opengatewayprotocol/ogp/core"
)

// spkiHexChars is the length of a public key on the wire: 44 bytes in hex.
const spkiHexChars = 2 * (len(core.SPKIPrefix)/2 + ed25519.PublicKeySize)

// Parse reads a public key from outside: 88 hex characters of the Ed25519 SPKI
// (upper case is folded), or the 32 raw bytes in hex or in base64 (standard or
// URL alphabet, padded or not). It returns core.Malformed for anything else, for
// a non-canonical encoding and for a point of low order, which would let one
// signature fit many texts. The error never repeats the text.
//
// docs/threat-model.md#k1
func Parse(text string) (core.PublicKey, error) {
	k, err := decode(text)
	if err != nil {
		return core.PublicKey{}, err
	}
	if err := check(k); err != nil {
		return core.PublicKey{}, err
	}
	return k, nil
}

// ParseStored reads the exact wire form as our own files hold it: 88 lower-case
// hex characters of a key that Parse has let in before. It does not look at the
// point again and so costs about a hex decoding. Never for bytes from outside.
func ParseStored(text string) (core.PublicKey, error) {
	var k core.PublicKey
	if len(text) != spkiHexChars || text[:len(core.SPKIPrefix)] != core.SPKIPrefix {
		return k, core.Refuse(core.Malformed, "public key: want 88 lower-case hex characters of an Ed25519 SPKI")
	}
	for _, c := range []byte(text) {
		if 'A' <= c && c <= 'F' {
			return k, core.Refuse(core.Malformed, "public key: want lower-case hex")
		}
	}
	if !unhex(k[:], text[len(core.SPKIPrefix):]) {
		return core.PublicKey{}, core.Refuse(core.Malformed, "public key: not hex")
	}
	return k, nil
}

// ParseSignature reads a signature: exactly 128 hex characters of either case,
// or base64 of 64 bytes (standard or URL alphabet, padded or not). Anything else
// is core.Malformed. Whether it is a good signature is Verify's to say.
//
// docs/threat-model.md#k2
func ParseSignature(text string) ([64]byte, error) {
	var sig [64]byte
	switch len(text) {
	case 2 * len(sig):
		if unhex(sig[:], text) {
			return sig, nil
		}
	case 86, 88:
		if unbase64(sig[:], text) {
			return sig, nil
		}
	}
	return [64]byte{}, core.Refuse(core.Malformed, "signature: want 128 hex characters, or 64 bytes in base64")
}

func decode(text string) (core.PublicKey, error) {
	var k core.PublicKey
	ok := false
	switch len(text) {
	case spkiHexChars:
		var der [spkiHexChars / 2]byte
		if !unhex(der[:], text) {
			return core.PublicKey{}, core.Refuse(core.Malformed, "public key: not hex")
		}
		if ok = hex.EncodeToString(der[:len(core.SPKIPrefix)/2]) == core.SPKIPrefix; !ok {
			return core.PublicKey{}, core.Refuse(core.Malformed, "public key: not an Ed25519 SPKI")
		}
		copy(k[:], der[len(core.SPKIPrefix)/2:])
	case 64:
		ok = unhex(k[:], text)
	case 43, 44:
		ok = unbase64(k[:], text)
	}
	if !ok {
		return core.PublicKey{}, core.Refuse(core.Malformed, "public key: want 88 hex characters of an Ed25519 SPKI")
	}
	return k, nil
}

// check refuses encodings that are not canonical (RFC 8032 §5.1.3: y below
// 2^255-19, and no sign on x = 0) and points that the cofactor kills.
func check(k core.PublicKey) error {
	p, err := new(edwards25519.Point).SetBytes(k[:])
	if err != nil {
		return core.Refuse(core.Malformed, "public key: not a point of the curve")
	}
	if !bytes.Equal(p.Bytes(), k[:]) {
		return core.Refuse(core.Malformed, "public key: not canonical")
	}
	if p.MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return core.Refuse(core.Malformed, "public key: of low order")
	}
	return nil
}

// unhex fills dst from exactly its length in hex, of either case.
func unhex(dst []byte, text string) bool {
	if len(text) != hex.EncodedLen(len(dst)) {
		return false
	}
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}

// unbase64 fills dst from exactly its length in base64. The decoded bytes are
// written back and compared, so that line breaks, stray bits in the last
// character and mixed alphabets, all of which decoders forgive, are refused.
func unbase64(dst []byte, text string) bool {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if len(text) != enc.EncodedLen(len(dst)) {
			continue
		}
		got, err := enc.DecodeString(text)
		if err == nil && len(got) == len(dst) && enc.EncodeToString(got) == text {
			copy(dst, got)
			return true
		}
	}
	return false
}
