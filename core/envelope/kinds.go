package envelope

import (
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"strings"
)

// Kind is a kind of envelope between gateways: a row of the table below, which
// says what its signed text looks like and where in a body it lies.
type Kind[T any] struct {
	Shape Shape // of the signed text
	form  form[T]
}

// form is where in a body the signed text lies, and in which order its parts are
// checked: payload, twin, pair or block.
type form[T any] interface {
	open(o *Opener, shape Shape, body members, raw []byte, find Find) (Opened[T], error)
}

// The kinds. docs/protocol.md#shapes
var (
	// Request is the body of POST /federation/request in both forms: the envelope,
	// and the plain {peer, signature, offeredIntents}. Both are opened with the key
	// they carry, which proves that the sender holds it; Find is not asked. In the
	// plain form only Peer is signed: OfferedIntents is left out, and SentAt is zero.
	Request = Kind[core.Request]{ShapeRequest, payload[core.Request]{
		what: "request", twins: []string{"peer", "offeredIntents", "invite"},
		key: func(r *core.Request) (core.PublicKey, error) { return peerKey(r.Peer.PublicKey) },
		wrong: func(ms members) error {
			if ms.object("peer") == nil || !ms.is(ShapeRequest) {
				return core.Refuse(core.Malformed, "Missing peer.publicKey in payload")
			}
			return nil
		},
		plain: openPlainRequest,
	}}

	// Approval is the body of POST /federation/approve. Find is asked first of all,
	// with the full key that the envelope claims, or with "" when it claims none. A
	// plain body, which nobody has signed, is opened when Find gives one key, and is
	// marked Unsigned.
	Approval = Kind[core.Approval]{ShapeApproval, payload[core.Approval]{
		what: "approval", claim: "fromPublicKey",
		twins: []string{"peerId", "approved", "fromGatewayId", "fromDisplayName", "fromGatewayUrl",
			"fromPublicKey", "fromEmail", "timestamp", "nonce", "protocolVersion", "scopeGrants"},
		wrong: func(ms members) error {
			if !ms.is(ShapeApproval) {
				return core.Refuse(core.Malformed, "Not a signed approve")
			}
			return nil
		},
		plain: openPlainApproval,
	}}

	// Removal is the body of POST /federation/removed. Find is asked with the peerId.
	Removal = Kind[core.Removal]{ShapeRemoval, pair{"Missing required fields: peerId, timestamp, signature"}}

	// CardRequest is what the X-OGP headers of a card request say, put into a body
	// by CardRequestBody. Gateways of 0.7 send them with each heartbeat; we do not,
	// as their text is a removal notice's. Find is asked with the peer id.
	CardRequest = Kind[core.Removal]{ShapeCardRequest, pair{"Missing X-OGP headers"}}

	// Message is the body of POST /federation/message, with messageStr or without.
	// Find is asked with the message's `from`.
	Message = Kind[core.Message]{ShapeMessage, twin[core.Message]{
		object: "message", text: "messageStr", missing: "Missing message or signature",
		decode: func(_ []byte, ms members) (core.Message, error) { return decodeMessage(ms) },
		wrong:  core.Refusef(core.Malformed, "Not a signed %s", ShapeMessage),
		label:  func(m *core.Message) string { return m.From },
		time:   func(m *core.Message) string { return m.Timestamp },
	}}

	// Reply is the body of POST /federation/reply/:nonce, with replyStr or without.
	// Find gives the keys that may answer. What is of another shape is no reply that
	// somebody has signed.
	Reply = Kind[core.Reply]{ShapeReply, twin[core.Reply]{
		object: "reply", text: "replyStr", missing: "Missing reply or signature",
		decode: func(text []byte, _ members) (r core.Reply, err error) { return r, decode(text, &r, "reply") },
		wrong:  errSignature,
		label:  func(*core.Reply) string { return "" },
		time:   func(r *core.Reply) string { return r.Timestamp },
	}}

	// Identity is the body of POST /federation/update-identity. It is opened with
	// the key that it carries. Without a v2 signature SentAt is zero. A text around
	// publicKey that is no identity is a request's peer, signed for something else.
	Identity = Kind[core.Identity]{ShapeIdentity, twin[core.Identity]{
		object: "identity", missing: "Missing identity or signature",
		decode: func(text []byte, _ members) (id core.Identity, err error) { return id, decode(text, &id, "identity") },
		wrong:  errSignature,
		key: func(id *core.Identity) (core.PublicKey, error) {
			key, err := keys.Parse(id.PublicKey)
			if err != nil {
				return key, errSignature
			}
			return key, nil
		},
	}}

	// Status is what the answer to a message of the intent federation.status says of
	// the asker. Only the v2 form of it is signed. Find gives the key of the peer
	// that was asked; Opened.Nonce is the confirmation's.
	Status = Kind[StatusAnswer]{ShapeStatus, block{}}
)

// StatusAnswer says where the asker stands with whoever answers.
//
// docs/protocol.md#v2-signatures
type StatusAnswer struct {
	Approved bool
}

// CardRequestBody writes the values of the three X-OGP headers as CardRequest
// reads them. A header may hold any bytes: what is no UTF-8 becomes U+FFFD, which
// names nobody and is no time.
func CardRequestBody(peerID, timestamp, signature string) []byte {
	valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	return marshal(struct {
		PeerID    string `json:"peerId"`
		Timestamp string `json:"timestamp"`
		Signature string `json:"signature"`
	}{valid(peerID), valid(timestamp), valid(signature)})
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
