package envelope

import (
	"bytes"
	"crypto/sha256"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/jsjson"
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
	// Near returns an error of kind Stale for a time too far from now. Where an
	// envelope's order of checks puts freshness before the signature, Open calls
	// it; where it comes after, Open does so, too.
	Near func(time.Time) error
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
	// Unsigned is set only by OpenApproval, for the plain form of old gateways,
	// which nobody has signed: Key is what it claims.
	Unsigned bool
}

// Find maps what an envelope says of its sender (a full key, an id, a host:port)
// to the keys that it may be from. Its error ends the opening as it is.
type Find func(label string) ([]core.PublicKey, error)

func (o *Opener) near(t time.Time) error {
	if o.Near == nil {
		return nil
	}
	return o.Near(t)
}

// verifyFailed is the error text of envelopes since 0.7.
func verifyFailed(k core.Kind, reason string) error {
	return core.Refuse(k, "Signature verification failed: "+reason)
}

// sentAt reads an envelope's timestamp member with the reasons that gateways
// give. docs/protocol.md#envelope
func (o *Opener) sentAt(ms members) (time.Time, error) {
	text, ok := ms.text("timestamp")
	if !ok {
		return time.Time{}, verifyFailed(core.BadSignature, "missing-timestamp")
	}
	t, err := core.ParseTime(text)
	if err != nil {
		return time.Time{}, verifyFailed(core.BadSignature, "bad-timestamp")
	}
	if err := o.near(t); err != nil {
		return time.Time{}, verifyFailed(core.BadSignature, "stale-timestamp")
	}
	return t, nil
}

// check verifies text under one of the candidate keys, by the v2 signature where
// there is one, else by the legacy signature.
func (o *Opener) check(shape Shape, ms members, text []byte, digest *[32]byte, candidates []core.PublicKey) (key core.PublicKey, nonce core.Nonce, v2 bool, err error) {
	if len(candidates) > MaxTries {
		candidates = candidates[:MaxTries]
	}
	if block := ms.raw("v2"); block != nil {
		p, key, err := o.openProof(block, shape, digest, candidates)
		return key, p.Nonce, err == nil, err
	}
	signature, _ := ms.text("signature")
	if key, ok := verifyAny(candidates, text, signature); ok {
		return key, "", false, nil
	}
	return core.PublicKey{}, "", false, errSignature
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

// opened makes an Opened, with the digest of its text.
func opened[T any](v T, key core.PublicKey, text []byte, sentAt time.Time, nonce core.Nonce, v2 bool) Opened[T] {
	return openedAs(v, key, text, sha256.Sum256(text), sentAt, nonce, v2)
}

func openedAs[T any](v T, key core.PublicKey, text []byte, digest [32]byte, sentAt time.Time, nonce core.Nonce, v2 bool) Opened[T] {
	return Opened[T]{Key: key, Value: v, Text: text, Digest: digest, SentAt: sentAt, V2: v2, Nonce: nonce}
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

// OpenRequest opens the body of POST /federation/request in both forms: the
// envelope, and the plain {peer, signature, offeredIntents}. Both are opened
// with the key they carry, which proves that the sender holds it. In the plain
// form only Peer is signed: OfferedIntents is left out, and SentAt is zero.
//
// Errors are of kind Malformed, BadSignature or Stale.
func (o *Opener) OpenRequest(body []byte) (Opened[core.Request], error) {
	var none Opened[core.Request]
	ms, err := readMembers(body)
	if err != nil {
		return none, err
	}
	if !ms.has("payloadStr") {
		return o.openPlainRequest(ms)
	}
	text := ms.bytes("payloadStr")
	if text == nil || ms.bytes("signature") == nil {
		return none, core.Refuse(core.Malformed, "Missing payloadStr or signature")
	}
	inner, err := readMembers(text)
	if err != nil {
		return none, core.Refuse(core.Malformed, "payloadStr is not valid JSON")
	}
	var r core.Request
	if inner.object("peer") == nil || !inner.is(ShapeRequest) {
		return none, core.Refuse(core.Malformed, "Missing peer.publicKey in payload")
	}
	if err := decode(text, &r, "request"); err != nil {
		return none, err
	}
	key, err := peerKey(r.Peer.PublicKey)
	if err != nil {
		return none, err
	}
	if err := twins(ms, inner, "peer", "offeredIntents", "invite"); err != nil {
		return none, err
	}
	sentAt, err := o.sentAt(inner)
	if err != nil {
		return none, err
	}
	digest := sha256.Sum256(text)
	_, nonce, v2, err := o.check(ShapeRequest, ms, text, &digest, []core.PublicKey{key})
	if err != nil {
		return none, envelopeError(err)
	}
	return openedAs(r, key, text, digest, sentAt, nonce, v2), nil
}

func peerKey(text string) (core.PublicKey, error) {
	if text == "" {
		return core.PublicKey{}, core.Refuse(core.Malformed, "Missing peer.publicKey in payload")
	}
	key, err := keys.Parse(text)
	if err != nil {
		return key, &core.Error{Kind: core.Malformed, Public: "Invalid peer.publicKey", Err: err}
	}
	return key, nil
}

// envelopeError gives a bad signature the text of envelopes.
func envelopeError(err error) error {
	if e, ok := err.(*core.Error); ok && e.Kind == core.BadSignature {
		return verifyFailed(core.BadSignature, "bad-signature")
	}
	return err
}

func (o *Opener) openPlainRequest(ms members) (Opened[core.Request], error) {
	var none Opened[core.Request]
	peer := ms.object("peer")
	signature, signed := ms.text("signature")
	switch {
	case peer == nil:
		return none, core.Refuse(core.Malformed, "Missing payloadStr or signature")
	case !signed:
		return none, core.Refuse(core.Malformed, "Missing peer or signature")
	}
	if _, err := shaped(peer, ShapePeer, "Malformed JSON"); err != nil {
		if cut(peer).raw("publicKey") == nil {
			return none, core.Refuse(core.Malformed, "Missing peer.publicKey in payload")
		}
		return none, err
	}
	var r core.Request
	if err := decode(peer, &r.Peer, "peer"); err != nil {
		return none, err
	}
	key, err := peerKey(r.Peer.PublicKey)
	if err != nil {
		return none, err
	}
	if ms.has("v2") { // no envelope has both
		return none, errProof
	}
	text, _, ok := verifyRaw([]core.PublicKey{key}, peer, signature)
	if !ok {
		return none, verifyFailed(core.BadSignature, "bad-signature")
	}
	r = core.Request{}
	if err := reread(text, ShapePeer, &r.Peer, "peer"); err != nil {
		return none, err
	}
	return opened(r, key, text, time.Time{}, "", false), nil
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

// reread decodes the bytes that verifyRaw gave, which need not say the same as
// the bytes that came: JavaScript knows no integers beyond 2^53, for one.
func reread(text []byte, shape Shape, v any, what string) error {
	if _, err := shaped(text, shape, "Malformed JSON"); err != nil {
		return err
	}
	return decode(text, v, what)
}

var approvalFields = []string{"peerId", "approved", "fromGatewayId", "fromDisplayName", "fromGatewayUrl",
	"fromPublicKey", "fromEmail", "timestamp", "nonce", "protocolVersion", "scopeGrants"}

// OpenApproval opens the body of POST /federation/approve. find is asked with the
// full key that the envelope claims, or with "" when it claims none.
//
// A plain body, which nobody has signed, is opened only with unsigned, and then
// marked Unsigned. Errors are find's, or of kind Malformed, BadSignature, Stale.
func (o *Opener) OpenApproval(body []byte, unsigned bool, find Find) (Opened[core.Approval], error) {
	var none Opened[core.Approval]
	ms, err := readMembers(body)
	if err != nil {
		return none, err
	}
	text, inner := ms.bytes("payloadStr"), ms
	enveloped := ms.has("payloadStr")
	if text != nil {
		if inner, err = readMembers(text); err != nil {
			inner = nil // the answer for a claim that cannot be read is find's
		}
	}
	claim, _ := inner.text("fromPublicKey")
	candidates, err := find(claim)
	if err != nil {
		return none, err
	}
	if text == nil || ms.bytes("signature") == nil {
		if !unsigned || enveloped || ms.has("signature") || ms.has("v2") {
			return none, core.Refuse(core.Malformed, "Missing payloadStr or signature")
		}
		return o.openUnsignedApproval(body, candidates)
	}
	if !inner.is(ShapeApproval) {
		return none, core.Refuse(core.Malformed, "Not a signed approve")
	}
	var a core.Approval
	if err := decode(text, &a, "approval"); err != nil {
		return none, err
	}
	if err := twins(ms, inner, approvalFields...); err != nil {
		return none, err
	}
	sentAt, err := o.sentAt(inner)
	if err != nil {
		return none, err
	}
	digest := sha256.Sum256(text)
	key, nonce, v2, err := o.check(ShapeApproval, ms, text, &digest, candidates)
	if err != nil {
		return none, envelopeError(err)
	}
	return openedAs(a, key, text, digest, sentAt, nonce, v2), nil
}

func (o *Opener) openUnsignedApproval(body []byte, candidates []core.PublicKey) (Opened[core.Approval], error) {
	var a core.Approval
	if err := decode(body, &a, "approval"); err != nil {
		return Opened[core.Approval]{}, err
	}
	if len(candidates) != 1 {
		return Opened[core.Approval]{}, core.Refuse(core.NotFound, "No pending peer found")
	}
	out := opened(a, candidates[0], body, time.Time{}, "", false)
	out.Unsigned = true
	return out, nil
}

// OpenRemoval opens the body of POST /federation/removed in the order of checks
// of the specification: fields, peer (find), signature, time.
//
// Errors are find's, or of kind Malformed, BadSignature, Stale.
func (o *Opener) OpenRemoval(body []byte, find Find) (Opened[core.Removal], error) {
	var none Opened[core.Removal]
	ms, err := readMembers(body)
	if err != nil {
		return none, err
	}
	peerID, ok1 := ms.text("peerId")
	timestamp, ok2 := ms.text("timestamp")
	_, ok3 := ms.text("signature")
	if !ok1 || !ok2 || !ok3 {
		return none, core.Refuse(core.Malformed, "Missing required fields: peerId, timestamp, signature")
	}
	candidates, err := find(peerID)
	if err != nil {
		return none, err
	}
	text := pairText(peerID, timestamp)
	digest := sha256.Sum256(text)
	key, nonce, v2, err := o.check(ShapeRemoval, ms, text, &digest, candidates)
	if err != nil {
		return none, err
	}
	sentAt, err := core.ParseTime(timestamp)
	if err != nil {
		return none, core.Refuse(core.Stale, "Invalid or stale timestamp")
	}
	if err := o.near(sentAt); err != nil {
		return none, core.Refuse(core.Stale, "Invalid or stale timestamp")
	}
	return openedAs(core.Removal{PeerID: peerID, Timestamp: timestamp}, key, text, digest, sentAt, nonce, v2), nil
}

// OpenMessage opens the body of POST /federation/message, with messageStr or
// without. find is asked with the message's `from`.
//
// Errors are find's, or of kind Malformed, BadSignature, Stale.
func (o *Opener) OpenMessage(body []byte, find Find) (Opened[core.Message], error) {
	return openTwin(o, body, messageTwin, func(m *core.Message) ([]core.PublicKey, error) { return find(m.From) })
}

// OpenReply opens the body of POST /federation/reply/:nonce, with replyStr or
// without. candidates are the keys that may answer.
//
// Errors are of kind Malformed, BadSignature, Stale.
func (o *Opener) OpenReply(body []byte, candidates ...core.PublicKey) (Opened[core.Reply], error) {
	return openTwin(o, body, replyTwin, func(*core.Reply) ([]core.PublicKey, error) { return candidates, nil })
}

// twin is an envelope {name, nameStr?, signature}.
type twin[T any] struct {
	shape         Shape
	name, nameStr string
	missing       string // the error for a body without the two
	decode        func(text []byte, ms members) (T, error)
	timestamp     func(*T) string
}

var messageTwin = twin[core.Message]{ShapeMessage, "message", "messageStr", "Missing message or signature",
	func(_ []byte, ms members) (core.Message, error) { return decodeMessage(ms) },
	func(m *core.Message) string { return m.Timestamp }}

var replyTwin = twin[core.Reply]{ShapeReply, "reply", "replyStr", "Missing reply or signature",
	func(text []byte, _ members) (r core.Reply, err error) { return r, decode(text, &r, "reply") },
	func(r *core.Reply) string { return r.Timestamp }}

// read gives the value of a text that is of the twin's shape. The text is valid
// JSON.
func (t *twin[T]) read(text []byte) (v T, err error) {
	ms := cut(text)
	if !ms.is(t.shape) {
		if t.shape == ShapeReply { // of another shape, it is no reply that somebody has signed
			return v, errSignature
		}
		return v, core.Refusef(core.Malformed, "Not a signed %s", t.shape)
	}
	return t.decode(text, ms)
}

func openTwin[T any](o *Opener, body []byte, t twin[T], find func(*T) ([]core.PublicKey, error)) (Opened[T], error) {
	var none Opened[T]
	ms, err := readMembers(body)
	if err != nil {
		return none, err
	}
	raw := ms.object(t.name)
	signature, ok := ms.text("signature")
	if raw == nil || !ok {
		return none, core.Refuse(core.Malformed, t.missing)
	}
	text, given := []byte(raw), ms.has(t.nameStr)
	if given {
		if text = ms.bytes(t.nameStr); text == nil {
			return none, core.Refusef(core.Malformed, "Invalid %s", t.nameStr)
		}
		if err := t.same(raw, text); err != nil {
			return none, err
		}
	}
	v, err := t.read(text)
	if err != nil {
		return none, err
	}
	candidates, err := find(&v)
	if err != nil {
		return none, err
	}
	var key core.PublicKey
	var nonce core.Nonce
	var v2 bool
	digest := sha256.Sum256(text)
	if given || ms.has("v2") {
		if key, nonce, v2, err = o.check(t.shape, ms, text, &digest, candidates); err != nil {
			return none, err
		}
	} else {
		if text, key, ok = verifyRaw(candidates, raw, signature); !ok {
			return none, errSignature
		}
		if v, err = t.read(text); err != nil {
			return none, err
		}
		digest = sha256.Sum256(text)
	}
	sentAt, err := core.ParseTime(t.timestamp(&v))
	if err != nil {
		return none, core.Refuse(core.Stale, "Invalid or stale timestamp")
	}
	if err := o.near(sentAt); err != nil {
		return none, core.Refuse(core.Stale, "Invalid or stale timestamp")
	}
	return openedAs(v, key, text, digest, sentAt, nonce, v2), nil
}

// same refuses a text that is no strict JSON, or that says anything else than
// the object beside it. Bytes that are the same were read with the body.
// docs/threat-model.md#l1
func (t *twin[T]) same(raw, text []byte) error {
	if bytes.Equal(raw, text) {
		return nil
	}
	if _, err := readMembers(text); err != nil {
		if t.shape == ShapeReply {
			return errSignature
		}
		return core.Refusef(core.Malformed, "%s is not valid JSON", t.nameStr)
	}
	if !equal(raw, text) {
		return core.Refusef(core.Malformed, "%s differs from %s", t.name, t.nameStr)
	}
	return nil
}

// OpenIdentity opens the body of POST /federation/update-identity with the key
// that it carries. Without a v2 signature SentAt is zero.
//
// Errors are of kind Malformed, BadSignature or Stale.
func (o *Opener) OpenIdentity(body []byte) (Opened[core.Identity], error) {
	var none Opened[core.Identity]
	ms, err := readMembers(body)
	if err != nil {
		return none, err
	}
	raw := ms.object("identity")
	signature, ok := ms.text("signature")
	if raw == nil || !ok {
		return none, core.Refuse(core.Malformed, "Missing identity or signature")
	}
	inner := cut(raw)
	// A text around publicKey that is no identity is a request's peer, signed
	// for something else.
	if !inner.is(ShapeIdentity) && !ms.has("v2") {
		return none, core.Refuse(core.BadSignature, "Invalid signature")
	}
	var id core.Identity
	if err := decode(raw, &id, "identity"); err != nil {
		return none, err
	}
	key, err := keys.Parse(id.PublicKey)
	if err != nil {
		return none, core.Refuse(core.BadSignature, "Invalid signature")
	}
	if ms.has("v2") {
		digest := sha256.Sum256(raw)
		p, key, err := o.openProof(ms.raw("v2"), ShapeIdentity, &digest, []core.PublicKey{key})
		if err != nil {
			return none, err
		}
		sentAt, _ := core.ParseTime(p.Timestamp)
		return openedAs(id, key, raw, digest, sentAt, p.Nonce, true), nil
	}
	text, _, ok := verifyRaw([]core.PublicKey{key}, raw, signature)
	if !ok {
		return none, errSignature
	}
	id = core.Identity{}
	if err := reread(text, ShapeIdentity, &id, "identity"); err != nil {
		return none, errSignature
	}
	return opened(id, key, text, time.Time{}, "", false), nil
}

// OpenCardRequest opens the three X-OGP headers of a signed card request.
//
// Errors are find's, or of kind Malformed, BadSignature, Stale.
func (o *Opener) OpenCardRequest(peerID, timestamp, signature string, find Find) (Opened[struct{}], error) {
	var none Opened[struct{}]
	if peerID == "" || timestamp == "" || signature == "" {
		return none, core.Refuse(core.Malformed, "Missing X-OGP headers")
	}
	candidates, err := find(peerID)
	if err != nil {
		return none, err
	}
	text := pairText(peerID, timestamp)
	if len(candidates) > MaxTries {
		candidates = candidates[:MaxTries]
	}
	key, ok := verifyAny(candidates, text, signature)
	if !ok {
		return none, core.Refuse(core.BadSignature, "Invalid signature")
	}
	sentAt, err := core.ParseTime(timestamp)
	if err != nil {
		return none, core.Refuse(core.Stale, "Invalid or stale timestamp")
	}
	if err := o.near(sentAt); err != nil {
		return none, err
	}
	return opened(struct{}{}, key, text, sentAt, "", false), nil
}

// Record is a signed registration as it crosses the wire and is handed on.
type Record = signed

// OpenRecord opens a signed registration or a text of that family ({pubkey, ...,
// timestamp} under the key it names): what a rendezvous receives, and what a
// client gets back and checks for itself. purpose must equal the text's
// `purpose` member, which only our own texts have; "" accepts a text without.
//
// Errors are of kind Malformed or BadSignature, with the field's texts, or Stale
// in the guise of BadSignature, as the field has it.
func (o *Opener) OpenRecord(r Record, purpose string) (Opened[core.Registration], error) {
	var none Opened[core.Registration]
	if r.PayloadStr == "" || r.Signature == "" {
		return none, core.Refuse(core.Malformed, "Missing payloadStr or signature")
	}
	text := []byte(r.PayloadStr)
	inner, err := readMembers(text)
	if err != nil || inner == nil {
		return none, core.Refuse(core.Malformed, "payloadStr is not valid JSON")
	}
	pubkey, ok := inner.text("pubkey")
	if !ok {
		return none, core.Refuse(core.Malformed, "pubkey is required and must be a string")
	}
	if !inner.is(ShapeRegistration) {
		return none, core.Refuse(core.Malformed, "Not a signed registration")
	}
	var reg core.Registration
	if inner.has("port") || purpose != "deregister" {
		if reg.Port, ok = portOf(inner.raw("port")); !ok {
			return none, core.Refuse(core.Malformed, "port is required and must be a number (1-65535)")
		}
	}
	if got, _ := inner.text("purpose"); inner.has("purpose") && got != purpose {
		return none, core.Refuse(core.Malformed, "payloadStr is signed for another purpose")
	}
	sentAt, err := o.sentAt(inner)
	if err != nil {
		return none, err
	}
	reg.PubKey = pubkey
	reg.PublicURL, _ = inner.text("publicUrl")
	reg.Timestamp, _ = inner.text("timestamp")
	key, err := keys.Parse(pubkey)
	if err != nil {
		return none, &core.Error{Kind: core.Malformed, Public: "pubkey is not an Ed25519 public key", Err: err}
	}
	if _, ok := verifyAny([]core.PublicKey{key}, text, r.Signature); !ok {
		return none, verifyFailed(core.BadSignature, "bad-signature")
	}
	return opened(reg, key, text, sentAt, "", false), nil
}

func portOf(v jsontext.Value) (int, bool) {
	var port float64
	if v.Kind() != '0' || json.Unmarshal(v, &port) != nil {
		return 0, false
	}
	return int(port), port == float64(int(port)) && port >= 1 && port <= 65535
}
