package envelope

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// Sealer writes and signs our envelopes, each in the body that every gateway
// version in the field accepts (docs/protocol.md#bilingual). Safe for concurrent
// use.
type Sealer struct {
	Key keys.Private
	Now func() time.Time // nil: time.Now
}

func (s *Sealer) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func quote(text string) []byte {
	q, _ := jsontext.AppendQuote(nil, text) // invalid UTF-8 becomes U+FFFD, which no signature holds over
	return q
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types, which always encode
	}
	return b
}

// SealRequest writes the body of a federation request; r.Timestamp is set.
func (s *Sealer) SealRequest(aud core.PublicKey, r core.Request) []byte {
	now := s.now()
	r.Timestamp = core.FormatTime(now)
	text := marshal(r)
	return marshal(struct {
		PayloadStr     string         `json:"payloadStr"`
		Signature      string         `json:"signature"`
		Peer           core.PeerCard  `json:"peer"`
		OfferedIntents []string       `json:"offeredIntents,omitempty"`
		Invite         *core.Invited  `json:"invite,omitempty"`
		V2             jsontext.Value `json:"v2"`
	}{string(text), s.Key.Sign(text), r.Peer, r.OfferedIntents, r.Invite, sealProof(s.Key, aud, ShapeRequest, text, now)})
}

// SealApproval writes the body of an approval, a grant or a rejection;
// a.Timestamp is set. A rejection is not bilingual: old gateways read anything
// plain on this endpoint as an approval.
func (s *Sealer) SealApproval(aud core.PublicKey, a core.Approval) []byte {
	now := s.now()
	a.Timestamp = core.FormatTime(now)
	text := marshal(a)
	v2 := sealProof(s.Key, aud, ShapeApproval, text, now)
	if a.Rejects() {
		return marshal(struct {
			PayloadStr string         `json:"payloadStr"`
			Signature  string         `json:"signature"`
			V2         jsontext.Value `json:"v2"`
		}{string(text), s.Key.Sign(text), v2})
	}
	return marshal(struct {
		core.Approval `json:",inline"`
		PayloadStr    string         `json:"payloadStr"`
		Signature     string         `json:"signature"`
		V2            jsontext.Value `json:"v2"`
	}{a, string(text), s.Key.Sign(text), v2})
}

// SealRemoval writes the body of a removal notice.
func (s *Sealer) SealRemoval(aud core.PublicKey) []byte {
	now := s.now()
	id, timestamp := s.Key.Public().ID(), core.FormatTime(now)
	text := pairText(id, timestamp)
	return marshal(struct {
		PeerID    string         `json:"peerId"`
		Timestamp string         `json:"timestamp"`
		Signature string         `json:"signature"`
		V2        jsontext.Value `json:"v2"`
	}{id, timestamp, s.Key.Sign(text), sealProof(s.Key, aud, ShapeRemoval, text, now)})
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
	return marshal(struct {
		Message    jsontext.Value `json:"message"`
		MessageStr string         `json:"messageStr"`
		Signature  string         `json:"signature"`
		V2         jsontext.Value `json:"v2"`
	}{text, string(text), s.Key.Sign(text), sealProof(s.Key, aud, ShapeMessage, text, now)}), nil
}

// SealReply writes the body of a reply; r.Timestamp is set if it is empty. It
// returns an error of kind Malformed when the data is no JSON.
func (s *Sealer) SealReply(aud core.PublicKey, r core.Reply) ([]byte, error) {
	now := s.now()
	r.Timestamp = core.FormatTime(now)
	text, err := json.Marshal(r)
	if err != nil {
		return nil, &core.Error{Kind: core.Malformed, Public: "data is not valid JSON", Err: err}
	}
	return marshal(struct {
		Reply     jsontext.Value `json:"reply"`
		ReplyStr  string         `json:"replyStr"`
		Signature string         `json:"signature"`
		V2        jsontext.Value `json:"v2"`
	}{text, string(text), s.Key.Sign(text), sealProof(s.Key, aud, ShapeReply, text, now)}), nil
}

// SealIdentity writes the body of an update-identity envelope.
func (s *Sealer) SealIdentity(aud core.PublicKey, id core.Identity) []byte {
	text := marshal(id)
	return marshal(struct {
		Identity  jsontext.Value `json:"identity"`
		Signature string         `json:"signature"`
		V2        jsontext.Value `json:"v2"`
	}{text, s.Key.Sign(text), sealProof(s.Key, aud, ShapeIdentity, text, s.now())})
}

// CardHeaders are the three headers of a signed card request.
func (s *Sealer) CardHeaders() map[string]string {
	id, timestamp := s.Key.Public().ID(), core.FormatTime(s.now())
	return map[string]string{
		"X-OGP-Peer-ID":   id,
		"X-OGP-Timestamp": timestamp,
		"X-OGP-Signature": s.Key.Sign(pairText(id, timestamp)),
	}
}

// Sign signs a text that is already JSON.
func (s *Sealer) Sign(text []byte) string { return s.Key.Sign(text) }
