package keys

import (
	"crypto/ed25519"

	"github.com/opengatewayprotocol/ogp/core"
)

// Verify reports whether sig is k's plain Ed25519 signature (no pre-hash, no
// context) over text. Its verdicts are those of crypto/ed25519: S below the
// group's order, R compared as bytes, no cofactor. Safe for concurrent use.
//
// On amd64 a key that comes again is kept decoded, and verified by curve25519-voi in
// half of the time; the build tag ogp_stdverify leaves all to the standard library.
// docs/performance.md#verification
func Verify(k core.PublicKey, text []byte, sig [64]byte) bool {
	if holds, known := verifyKnown(k, text, &sig); known {
		return holds
	}
	return ed25519.Verify(k[:], text, sig[:])
}
