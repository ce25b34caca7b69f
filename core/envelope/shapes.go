package envelope

import (
	"bytes"
)

// Shape names a kind of signed text.
type Shape string

// The shapes. docs/protocol.md#shapes
const (
	ShapeRequest      Shape = "request"      // {peer, offeredIntents?, timestamp}
	ShapePeer         Shape = "peer"         // the plain request's peer object
	ShapeApproval     Shape = "approve"      // {fromPublicKey, timestamp, ...}
	ShapeRemoval      Shape = "removed"      // {peerId, timestamp}
	ShapeCardRequest  Shape = "card"         // {peerId, timestamp}
	ShapeMessage      Shape = "message"      // {intent, from, to, nonce, timestamp, ...}
	ShapeReply        Shape = "reply"        // {nonce, success, timestamp, ...}
	ShapeIdentity     Shape = "identity"     // the update-identity object
	ShapeRegistration Shape = "registration" // {pubkey, port, timestamp, ...}, also for invites
	ShapeStatus       Shape = "status"       // {ctx, iss, aud, nonce, timestamp, approved}, in the v2 form alone
	ShapeProof        Shape = "v2"           // {ctx, iss, aud, nonce, timestamp, digest}
)

// markers holds, for each marking member, the shapes whose texts have it. A text
// has exactly one marker, or, for removals and card requests, none.
var markers = []struct {
	member string
	shapes []Shape
}{
	{"peer", []Shape{ShapeRequest}},
	{"publicKey", []Shape{ShapePeer, ShapeIdentity}},
	{"fromPublicKey", []Shape{ShapeApproval}},
	{"intent", []Shape{ShapeMessage}},
	{"success", []Shape{ShapeReply}},
	{"pubkey", []Shape{ShapeRegistration}},
	{"ctx", []Shape{ShapeProof}},
}

// is reports whether a signed text, read as ms, is of the shape.
func (ms members) is(shape Shape) bool {
	marker := -1
	for i := range markers {
		if ms.has(markers[i].member) {
			if marker >= 0 {
				return false
			}
			marker = i
		}
	}
	if marker < 0 {
		return (shape == ShapeRemoval || shape == ShapeCardRequest) &&
			len(ms) == 2 && string(ms[0].name) == "peerId" && string(ms[1].name) == "timestamp"
	}
	for _, s := range markers[marker].shapes {
		if s == shape {
			switch s {
			case ShapePeer:
				return !ms.isIdentity() || !ms.named()
			case ShapeIdentity:
				return ms.isIdentity()
			}
			return true
		}
	}
	return false
}

// isIdentity tells the two texts around publicKey apart. Gateways write an
// identity with the key last, and either with a name that a request's peer has only
// after the key, or under a 32-character id, where a request's peer has a shorter
// one. A text of the latter kind passes for both: neither has a time, so that the
// gateway takes both for hints at most.
func (ms members) isIdentity() bool {
	if len(ms) == 0 || string(ms[len(ms)-1].name) != "publicKey" {
		return false
	}
	key := ms.bytes("publicKey")
	return ms.named() || len(key) > 32 && string(ms.bytes("id")) == string(key[:32])
}

// named reports whether a text has one of the names that came with 0.5.
func (ms members) named() bool {
	return ms.has("humanName") || ms.has("agentName") || ms.has("organization")
}

// pairText is JSON.stringify({peerId, timestamp}).
func pairText(peerID, timestamp string) []byte {
	var b bytes.Buffer
	b.WriteString(`{"peerId":`)
	b.Write(quote(peerID))
	b.WriteString(`,"timestamp":`)
	b.Write(quote(timestamp))
	b.WriteByte('}')
	return b.Bytes()
}
