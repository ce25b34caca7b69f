package envelope

import (
	"crypto/sha256"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// MaxTries is how many keys one envelope is tried against when the label that it
// is sent under fits several peers. docs/threat-model.md#k3
const MaxTries = 32

// Opener opens envelopes that are addressed to one gateway. Safe for concurrent
// use.
type Opener struct {
	// Self is the key that v2 signatures must name as their recipient.
	Self core.PublicKey
	// Near returns an error for a time too far from now. Where an envelope's order
	// of checks puts freshness before the signature, Open calls it; where it comes
	// after, Open does so, too.
	Near func(time.Time) error
	// Verified, if any, is called when a signature holds; known: it is one of a key that
	// was known, and not of one that the envelope brings along.
	Verified func(known bool)
}

// Opened is the content of an envelope whose signature holds.
type Opened[T any] struct {
	Key    core.PublicKey // who signed
	Value  T              // decoded from Text alone
	Text   []byte         // the signed bytes
	Digest [32]byte       // SHA-256 of Text
	SentAt time.Time      // zero: the form carries no time
	V2     bool           // a v2 signature was there and holds
	Nonce  core.Nonce     // of the v2 signature
	// Unsigned is set only for the plain approvals and registrations of old
	// gateways, which nobody has signed: Key is what they claim.
	Unsigned bool
}

// Find maps what an envelope says of its sender (a full key, an id, a host:port)
// to the keys that it may be from. Its error ends the opening as it is.
type Find func(label string) ([]core.PublicKey, error)

// From is a Find that gives the same keys for every label.
func From(keys ...core.PublicKey) Find {
	return func(string) ([]core.PublicKey, error) { return keys, nil }
}

// Open opens a body of a kind. find is asked for the keys that it may be from; it
// may be nil for the kinds that carry their key.
//
// Errors are find's, or of kind Malformed, BadSignature or Stale.
func Open[T any](o *Opener, k Kind[T], body []byte, find Find) (Opened[T], error) {
	ms, err := readMembers(body)
	if err != nil {
		return Opened[T]{}, err
	}
	opened, err := k.form.open(o, k.Shape, ms, body, find)
	if err == nil && o.Verified != nil {
		o.Verified(find != nil && !opened.Unsigned)
	}
	return opened, err
}

// verifyFailed is the error text of envelopes since 0.7. They are answered like a
// bad signature whatever the reason is.
func verifyFailed(k core.Kind, reason string) error {
	return &core.Error{Kind: k, As: core.BadSignature, Public: "Signature verification failed: " + reason}
}

func stale(err error) error {
	return &core.Error{Kind: core.Stale, Public: "Invalid or stale timestamp", Err: err}
}

// near refuses a time too far from now.
func (o *Opener) near(t time.Time) error {
	if o.Near == nil {
		return nil
	}
	if err := o.Near(t); err != nil {
		return stale(err)
	}
	return nil
}

// timely reads and checks a time that counts after the signature.
func (o *Opener) timely(text string) (time.Time, error) {
	t, err := core.ParseTime(text)
	if err != nil {
		return t, stale(err)
	}
	return t, o.near(t)
}

// sentAt reads the timestamp member of a payload, which counts before the
// signature, with the reasons that gateways give. docs/protocol.md#envelope
func (o *Opener) sentAt(ms members) (time.Time, error) {
	text, ok := ms.text("timestamp")
	if !ok {
		return time.Time{}, verifyFailed(core.BadSignature, "missing-timestamp")
	}
	t, err := core.ParseTime(text)
	if err != nil {
		return time.Time{}, verifyFailed(core.BadSignature, "bad-timestamp")
	}
	if o.near(t) != nil {
		return time.Time{}, verifyFailed(core.Stale, "stale-timestamp")
	}
	return t, nil
}

// signed reports whether a body has a signature of either kind.
func (ms members) signed() bool { return ms.bytes("signature") != nil || ms.has("v2") }

// check verifies text under one of the candidate keys, by the v2 signature where
// there is one, else by the legacy signature.
func (o *Opener) check(shape Shape, body members, text []byte, digest *[32]byte, candidates []core.PublicKey) (key core.PublicKey, p proof, err error) {
	if len(candidates) > MaxTries {
		candidates = candidates[:MaxTries]
	}
	if v2 := body.raw("v2"); v2 != nil {
		p, key, err = o.openProof(v2, shape, digest, candidates)
		return key, p, err
	}
	signature, _ := body.text("signature")
	if key, ok := verifyAny(candidates, text, signature); ok {
		return key, p, nil
	}
	return core.PublicKey{}, p, errSignature
}

func verifyAny(candidates []core.PublicKey, text []byte, signature string) (core.PublicKey, bool) {
	sig, err := keys.ParseSignature(signature)
	if err != nil {
		return core.PublicKey{}, false
	}
	for _, k := range candidates {
		if keys.Verify(k, text, sig) {
			return k, true
		}
	}
	return core.PublicKey{}, false
}

// opened makes an Opened. p is the v2 signature's text; zero without one.
func opened[T any](v T, key core.PublicKey, text []byte, digest [32]byte, sentAt time.Time, p proof) Opened[T] {
	return Opened[T]{Key: key, Value: v, Text: text, Digest: digest, SentAt: sentAt, V2: p.Ctx != "", Nonce: p.Nonce}
}

// unsigned makes an Opened of what nobody has signed.
func unsigned[T any](v T, key core.PublicKey, text []byte, sentAt time.Time) Opened[T] {
	o := opened(v, key, text, sha256.Sum256(text), sentAt, proof{})
	o.Unsigned = true
	return o
}

// twins refuses a body in which a member beside payloadStr contradicts the
// signed text. docs/threat-model.md#l1
func twins(body, payload members, names ...string) error {
	for _, name := range names {
		if v := body.raw(name); v != nil && !equal(v, payload.raw(name)) {
			return core.Refusef(core.Malformed, "%s differs from payloadStr", name)
		}
	}
	return nil
}
