package core

// Signer is our key as those who seal see it: it may lie in a file, in the store, or with
// another process. Safe for concurrent use.
type Signer interface {
	// Public is the public key, the same for as long as the Signer lives.
	Public() PublicKey
	// Sign returns the plain Ed25519 signature over text as it crosses the wire: 128
	// lower-case hex characters. It takes no longer than a few seconds. An error is of kind
	// Unavailable: the key cannot be reached now, and the same call may succeed later.
	Sign(text []byte) (string, error)
}
