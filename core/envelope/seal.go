package envelope

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// Sealer writes and signs our envelopes, each in the body that every gateway
// version in the field accepts (docs/protocol.md#bilingual). Safe for concurrent
// use. Its methods return the Signer's error, of kind Unavailable, when nothing could be
// signed.
type Sealer struct {
	Key core.Signer
	Now func() time.Time // nil: time.Now
	// V2Only leaves the legacy signature out, for a peer that has shown v2. A text
	// that we have signed passes for a message of any content at every gateway
	// before v2. docs/threat-model.md#t11
	V2Only bool
}

// For is the Sealer for a peer that has, or has not, shown v2.
func (s *Sealer) For(v2 bool) *Sealer {
	to := *s
	to.V2Only = v2
	return &to
}

func (s *Sealer) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// legacy is the signature that gateways before v2 read; empty where it is left out.
func (s *Sealer) legacy(text []byte) (string, error) {
	if s.V2Only {
		return "", nil
	}
	return s.Key.Sign(text)
}

func quote(text string) []byte {
	q, _ := jsontext.AppendQuote(nil, text) // invalid UTF-8 becomes U+FFFD, which no signature holds over
	return q
}

func marshal(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err) // our own types, which always encode
	}
	return b
}

// signatures stand beside a signed text.
type signatures struct {
	Signature string         `json:"signature,omitempty"`
	V2        jsontext.Value `json:"v2"`
}

func (s *Sealer) sign(aud core.PublicKey, shape Shape, text []byte, now time.Time) (signatures, error) {
	legacy, err := s.legacy(text)
	if err != nil {
		return signatures{}, err
	}
	v2, err := sealProof(s.Key, aud, shape, text, now)
	return signatures{legacy, v2}, err
}

// sealed writes a body once its signatures are there.
func (s *Sealer) sealed(aud core.PublicKey, shape Shape, text []byte, now time.Time, body func(signatures) any) ([]byte, error) {
	signed, err := s.sign(aud, shape, text, now)
	if err != nil {
		return nil, err
	}
	return marshal(body(signed)), nil
}

// SealRequest writes the body of a federation request; r.Timestamp is set.
func (s *Sealer) SealRequest(aud core.PublicKey, r core.Request) ([]byte, error) {
	now := s.now()
	r.Timestamp = core.FormatTime(now)
	text := marshal(r)
	return s.sealed(aud, ShapeRequest, text, now, func(signed signatures) any {
		return struct {
			PayloadStr     string         `json:"payloadStr"`
			Signature      string         `json:"signature,omitempty"`
			Peer           core.PeerCard  `json:"peer"`
			OfferedIntents []string       `json:"offeredIntents,omitempty"`
			Invite         *core.Invited  `json:"invite,omitempty"`
			V2             jsontext.Value `json:"v2"`
		}{string(text), signed.Signature, r.Peer, r.OfferedIntents, r.Invite, signed.V2}
	})
}

// SealApproval writes the body of an approval, a grant or a rejection;
// a.Timestamp is set. A rejection is not bilingual: old gateways read anything
// plain on this endpoint as an approval.
func (s *Sealer) SealApproval(aud core.PublicKey, a core.Approval) ([]byte, error) {
	now := s.now()
	a.Timestamp = core.FormatTime(now)
	text := marshal(a)
	return s.sealed(aud, ShapeApproval, text, now, func(signed signatures) any {
		if a.Rejects() {
			return struct {
				PayloadStr string `json:"payloadStr"`
				signatures `json:",inline"`
			}{string(text), signed}
		}
		return struct {
			core.Approval `json:",inline"`
			PayloadStr    string `json:"payloadStr"`
			signatures    `json:",inline"`
		}{a, string(text), signed}
	})
}

// SealRemoval writes the body of a removal notice. Its legacy text is that of a
// heartbeat of 0.7, so that nothing but an operator's order may ask for it.
func (s *Sealer) SealRemoval(aud core.PublicKey) ([]byte, error) {
	now := s.now()
	id, timestamp := s.Key.Public().ID(), core.FormatTime(now)
	return s.sealed(aud, ShapeRemoval, pairText(id, timestamp), now, func(signed signatures) any {
		return struct {
			PeerID     string `json:"peerId"`
			Timestamp  string `json:"timestamp"`
			signatures `json:",inline"`
		}{id, timestamp, signed}
	})
}

// SealMessage writes the body of a message; m.Timestamp is set. The nonce stays
// as it is, so that an envelope that is sealed again is the same envelope. It returns
// an error of kind Malformed when the payload is no JSON.
func (s *Sealer) SealMessage(aud core.PublicKey, m core.Message) ([]byte, error) {
	now := s.now()
	m.Timestamp = core.FormatTime(now)
	text, err := json.Marshal(m)
	if err != nil {
		return nil, &core.Error{Kind: core.Malformed, Public: "payload is not valid JSON", Err: err}
	}
	return s.sealed(aud, ShapeMessage, text, now, func(signed signatures) any {
		return struct {
			Message    jsontext.Value `json:"message"`
			MessageStr string         `json:"messageStr"`
			signatures `json:",inline"`
		}{text, string(text), signed}
	})
}

// SealReply writes the body of a reply; r.Timestamp is set. It returns an error of
// kind Malformed when the data is no JSON.
func (s *Sealer) SealReply(aud core.PublicKey, r core.Reply) ([]byte, error) {
	now := s.now()
	r.Timestamp = core.FormatTime(now)
	text, err := json.Marshal(r)
	if err != nil {
		return nil, &core.Error{Kind: core.Malformed, Public: "data is not valid JSON", Err: err}
	}
	return s.sealed(aud, ShapeReply, text, now, func(signed signatures) any {
		return struct {
			Reply      jsontext.Value `json:"reply"`
			ReplyStr   string         `json:"replyStr"`
			signatures `json:",inline"`
		}{text, string(text), signed}
	})
}

// SealIdentity writes the body of an update-identity envelope.
func (s *Sealer) SealIdentity(aud core.PublicKey, id core.Identity) ([]byte, error) {
	text := marshal(id)
	return s.sealed(aud, ShapeIdentity, text, s.now(), func(signed signatures) any {
		return struct {
			Identity   jsontext.Value `json:"identity"`
			signatures `json:",inline"`
		}{text, signed}
	})
}

// SealStatus writes the `v2` member of the answer to a message of the intent
// federation.status with that nonce, by which the asker opens it as a Status.
func (s *Sealer) SealStatus(aud core.PublicKey, asked core.Nonce, approved bool) (jsontext.Value, error) {
	return sealBlock(s.Key, aud, ShapeStatus, proof{Nonce: asked, Timestamp: core.FormatTime(s.now()), Approved: &approved})
}
