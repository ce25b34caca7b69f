package envelope

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/jsjson"
)

// payload is the form {payloadStr, signature}, perhaps with the plain members of
// old gateways beside it. Its time is checked before its signature.
type payload[T any] struct {
	what  string                           // for errors: "request"
	claim string                           // the member of the text that Find is asked with; empty: key says whose it is
	key   func(*T) (core.PublicKey, error) // reads the key that the envelope carries
	twins []string                         // what may stand beside payloadStr and must say the same
	wrong func(text members) error         // the error for a text of another shape
	// plain opens the form of old gateways, without payloadStr.
	plain func(o *Opener, body members, raw []byte, candidates []core.PublicKey) (Opened[T], error)
}

func (f payload[T]) open(o *Opener, shape Shape, body members, raw []byte, find Find) (Opened[T], error) {
	var none Opened[T]
	text, inner, notJSON := body.bytes("payloadStr"), body, error(nil)
	if text != nil {
		inner, notJSON = readMembers(text)
	}
	var candidates []core.PublicKey
	if f.claim != "" { // what cannot be read claims nothing, and the answer to that is find's
		claim, _ := inner.text(f.claim)
		var err error
		if candidates, err = find(claim); err != nil {
			return none, err
		}
	}
	switch {
	case !body.has("payloadStr"):
		return f.plain(o, body, raw, candidates)
	case text == nil || !body.signed():
		return none, errNoPayload
	case notJSON != nil:
		return none, core.Refuse(core.Malformed, "payloadStr is not valid JSON")
	}
	if err := f.wrong(inner); err != nil {
		return none, err
	}
	var v T
	if err := decode(text, &v, f.what); err != nil {
		return none, err
	}
	if f.key != nil {
		key, err := f.key(&v)
		if err != nil {
			return none, err
		}
		candidates = []core.PublicKey{key}
	}
	if err := twins(body, inner, f.twins...); err != nil {
		return none, err
	}
	sentAt, err := o.sentAt(inner)
	if err != nil {
		return none, err
	}
	digest := sha256.Sum256(text)
	key, p, err := o.check(shape, body, text, &digest, candidates)
	if err != nil {
		return none, payloadError(err)
	}
	return opened(v, key, text, digest, sentAt, p), nil
}

var errNoPayload = core.Refuse(core.Malformed, "Missing payloadStr or signature")

// payloadError gives a bad signature the text of envelopes.
func payloadError(err error) error {
	if errors.Is(err, core.BadSignature) {
		return verifyFailed(core.BadSignature, "bad-signature")
	}
	return err
}

// openPlainRequest opens {peer, signature, offeredIntents}.
func openPlainRequest(o *Opener, body members, raw []byte, _ []core.PublicKey) (Opened[core.Request], error) {
	var none Opened[core.Request]
	switch {
	case body.object("peer") == nil:
		return none, errNoPayload
	case body.bytes("signature") == nil:
		return none, core.Refuse(core.Malformed, "Missing peer or signature")
	case !cut(body.object("peer")).has("publicKey"):
		return none, core.Refuse(core.Malformed, "Missing peer.publicKey in payload")
	case body.has("v2"): // no envelope has both
		return none, errProof
	}
	peer, err := plainPeer.open(o, ShapePeer, body, raw, nil)
	if err != nil {
		return none, payloadError(err)
	}
	return Opened[core.Request]{Key: peer.Key, Value: core.Request{Peer: peer.Value}, Text: peer.Text, Digest: peer.Digest}, nil
}

// plainPeer is the plain request's peer object, signed without its text beside it.
var plainPeer = twin[core.PeerCard]{
	object: "peer",
	decode: func(text []byte, _ members) (p core.PeerCard, err error) { return p, decode(text, &p, "peer") },
	wrong:  core.Refusef(core.Malformed, "Not a signed %s", ShapePeer),
	key:    func(p *core.PeerCard) (core.PublicKey, error) { return peerKey(p.PublicKey) },
}

// openPlainApproval opens what gateways before 0.7 send, which nobody has signed.
func openPlainApproval(_ *Opener, body members, raw []byte, candidates []core.PublicKey) (Opened[core.Approval], error) {
	var none Opened[core.Approval]
	if body.has("signature") || body.has("v2") {
		return none, errNoPayload
	}
	var a core.Approval
	if err := decode(raw, &a, "approval"); err != nil {
		return none, err
	}
	if len(candidates) != 1 {
		return none, core.Refuse(core.NotFound, "No pending peer found")
	}
	return unsigned(a, candidates[0], raw, time.Time{}), nil
}

// pair is the form {peerId, timestamp, signature}, whose text is written anew from
// the two. The order of checks is the specification's: fields, peer, signature,
// time.
type pair struct{ missing string }

func (f pair) open(o *Opener, shape Shape, body members, _ []byte, find Find) (Opened[core.Removal], error) {
	var none Opened[core.Removal]
	peerID, ok1 := body.text("peerId")
	timestamp, ok2 := body.text("timestamp")
	if !ok1 || !ok2 || !body.signed() {
		return none, core.Refuse(core.Malformed, f.missing)
	}
	candidates, err := find(peerID)
	if err != nil {
		return none, err
	}
	text := pairText(peerID, timestamp)
	digest := sha256.Sum256(text)
	key, p, err := o.check(shape, body, text, &digest, candidates)
	if err != nil {
		return none, err
	}
	sentAt, err := o.timely(timestamp)
	if err != nil {
		return none, err
	}
	return opened(core.Removal{PeerID: peerID, Timestamp: timestamp}, key, text, digest, sentAt, p), nil
}

// twin is the form {object, text?, signature}: the text, where there is one, is
// what was signed, and says what the object says. Its time is checked after its
// signature.
type twin[T any] struct {
	object, text string // the members' names; text is empty for a kind that has none
	missing      string // the answer to a body without them
	decode       func(text []byte, ms members) (T, error)
	wrong        error                            // for a text of another shape
	label        func(*T) string                  // what Find is asked with; nil: key says whose it is
	key          func(*T) (core.PublicKey, error) // reads the key that the envelope carries
	time         func(*T) string                  // nil: the text has none, and SentAt is the v2 signature's
}

func (f twin[T]) open(o *Opener, shape Shape, body members, _ []byte, find Find) (Opened[T], error) {
	var none Opened[T]
	raw := body.object(f.object)
	if raw == nil || !body.signed() {
		return none, core.Refuse(core.Malformed, f.missing)
	}
	text, given := []byte(raw), f.text != "" && body.has(f.text)
	if given {
		if text = body.bytes(f.text); text == nil {
			return none, core.Refusef(core.Malformed, "Invalid %s", f.text)
		}
		if err := f.same(raw, text); err != nil {
			return none, err
		}
	}
	proven := body.has("v2")
	v, err := f.read(shape, text, proven)
	if err != nil {
		return none, err
	}
	candidates, err := f.candidates(&v, find)
	if err != nil {
		return none, err
	}
	var key core.PublicKey
	var p proof
	digest := sha256.Sum256(text)
	if given || proven {
		if key, p, err = o.check(shape, body, text, &digest, candidates); err != nil {
			return none, err
		}
	} else {
		// What was signed need not say the same as the bytes that came: JavaScript
		// knows no integers beyond 2^53, for one.
		signature, _ := body.text("signature")
		var ok bool
		if text, key, ok = verifyRaw(candidates, raw, signature); !ok {
			return none, errSignature
		}
		if v, err = f.read(shape, text, false); err != nil {
			return none, err
		}
		digest = sha256.Sum256(text)
	}
	sentAt := p.at
	if f.time != nil {
		if sentAt, err = o.timely(f.time(&v)); err != nil {
			return none, err
		}
	}
	return opened(v, key, text, digest, sentAt, p), nil
}

// read gives the value of a text, which is valid JSON and must be of the shape;
// an object that carries its key need not be, where a v2 signature names what it
// is for.
func (f *twin[T]) read(shape Shape, text []byte, proven bool) (v T, err error) {
	ms := cut(text)
	if !ms.is(shape) && (f.key == nil || !proven) {
		return v, f.wrong
	}
	return f.decode(text, ms)
}

func (f *twin[T]) candidates(v *T, find Find) ([]core.PublicKey, error) {
	if f.key == nil {
		return find(f.label(v))
	}
	key, err := f.key(v)
	return []core.PublicKey{key}, err
}

// same refuses a text that is no strict JSON, or that says anything else than
// the object beside it. Bytes that are the same were read with the body.
// docs/threat-model.md#l1
func (f *twin[T]) same(raw, text []byte) error {
	if bytes.Equal(raw, text) {
		return nil
	}
	if _, err := readMembers(text); err != nil {
		if f.wrong == error(errSignature) {
			return errSignature
		}
		return core.Refusef(core.Malformed, "%s is not valid JSON", f.text)
	}
	if !equal(raw, text) {
		return core.Refusef(core.Malformed, "%s differs from %s", f.object, f.text)
	}
	return nil
}

// verifyRaw verifies a signature over a member that has no signed text beside
// it: over the bytes as they came, then over what JavaScript would write for
// them. It returns the bytes that were signed, which alone count, and the key.
// The tries of both together are at most MaxTries.
func verifyRaw(candidates []core.PublicKey, raw jsontext.Value, signature string) ([]byte, core.PublicKey, bool) {
	if len(candidates) > MaxTries {
		candidates = candidates[:MaxTries]
	}
	if key, ok := verifyAny(candidates, raw, signature); ok {
		return raw, key, true
	}
	again, err := jsjson.Stringify(raw)
	if err != nil || string(again) == string(raw) {
		return nil, core.PublicKey{}, false
	}
	if left := MaxTries - len(candidates); len(candidates) > max(left, 1) {
		candidates = candidates[:max(left, 1)]
	}
	key, ok := verifyAny(candidates, again, signature)
	return again, key, ok
}
