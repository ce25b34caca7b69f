package envelope

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// The purposes that our own texts to a rendezvous name. A text without a purpose
// comes from an old gateway and counts as a registration or an invite only.
//
// docs/rendezvous.md#signed-texts
const (
	PurposeRegister   = "register"
	PurposeInvite     = "invite"
	PurposeDeregister = "deregister"
	PurposeList       = "list-invites"
	PurposeRevoke     = "revoke-invite"
)

// MaxRecordBytes bounds a signed text to a rendezvous, so that what is kept of
// strangers is bounded.
const MaxRecordBytes = 1024

// Hints is what a gateway tells a rendezvous, for every purpose. The field order
// is the order in the text.
type Hints struct {
	Purpose   string `json:"purpose,omitempty"`
	PubKey    string `json:"pubkey"`
	Port      int    `json:"port,omitzero"`
	PublicURL string `json:"publicUrl,omitempty"`
	Token     string `json:"token,omitempty"`     // to revoke: which invite
	Uses      int    `json:"uses,omitzero"`       // of an invite: how often it may be resolved; 0: without limit
	ExpiresIn int    `json:"expiresIn,omitzero"`  // of an invite: its life in seconds; 0: the server's default
	Timestamp string `json:"timestamp,omitempty"` // ISO 8601 in a signed text
}

// OpenedHints is what a rendezvous was told.
type OpenedHints struct {
	Opened[Hints]
	Record Record // as it came; empty when Unsigned
}

// SealHints writes the body of a call to a rendezvous: the signed envelope and,
// for registrations and invites, beside it the plain fields that servers before
// 0.7 read. h.PubKey is set, and h.Timestamp to at.
func (s *Sealer) SealHints(h Hints, at time.Time) []byte {
	h.PubKey, h.Timestamp = s.Key.Public().String(), core.FormatTime(at)
	text := marshal(h)
	record := Record{string(text), s.Key.Sign(text)}
	if h.Purpose != PurposeRegister && h.Purpose != PurposeInvite {
		return marshal(record)
	}
	return marshal(struct {
		Record    `json:",inline"`
		PubKey    string `json:"pubkey"`
		Port      int    `json:"port"`
		PublicURL string `json:"publicUrl,omitempty"`
		Timestamp int64  `json:"timestamp"` // ms, the same instant
	}{record, h.PubKey, h.Port, h.PublicURL, at.UnixMilli()})
}

// OpenHints opens the body of a call to a rendezvous. Registrations and invites
// may come unsigned, as from gateways before 0.7, where plain allows it, and
// signed without a purpose, as from 0.7; everything else must be signed for just
// its purpose. A member beside the signed text that differs from it is refused.
//
// Errors are of kind Malformed, TooLarge or BadSignature, with the field's texts.
//
// docs/rendezvous.md#signed-texts, docs/threat-model.md#l1
func (o *Opener) OpenHints(body []byte, purpose string, plain bool) (OpenedHints, error) {
	var none OpenedHints
	ms, err := readMembers(body)
	if err != nil {
		return none, err
	}
	old := purpose == PurposeRegister || purpose == PurposeInvite
	if old && plain && !ms.has("payloadStr") && !ms.has("signature") {
		return o.openPlainHints(ms, purpose)
	}
	var r Record
	r.PayloadStr, _ = ms.text("payloadStr")
	r.Signature, _ = ms.text("signature")
	if len(r.PayloadStr) > MaxRecordBytes {
		return none, core.Refuse(core.TooLarge, "payloadStr is too long")
	}
	if !old {
		return o.openOrder(r, purpose)
	}
	reg, err := o.OpenRecord(r, purpose)
	if err != nil {
		return none, err
	}
	inner, err := readMembers(reg.Text)
	if err != nil {
		return none, err
	}
	if err := hintTwins(ms, inner, reg.SentAt); err != nil {
		return none, err
	}
	return hints(inner, reg.Key, reg.Text, reg.SentAt, r)
}

// hints decodes a signed text that was opened.
func hints(inner members, key core.PublicKey, text []byte, sentAt time.Time, r Record) (OpenedHints, error) {
	var none OpenedHints
	var h Hints
	if err := decode(text, &h, "payloadStr"); err != nil {
		return none, err
	}
	if v := inner.raw("publicUrl"); v != nil && v.Kind() != '"' {
		return none, core.Refuse(core.Malformed, "publicUrl must be a string")
	}
	return OpenedHints{opened(h, key, text, sentAt, "", false), r}, nil
}

// openOrder opens a text that must name its purpose, so that no registration,
// which everybody can look up, passes for it.
func (o *Opener) openOrder(r Record, purpose string) (OpenedHints, error) {
	var none OpenedHints
	if r.PayloadStr == "" || r.Signature == "" {
		return none, core.Refuse(core.Malformed, "Missing payloadStr or signature")
	}
	text := []byte(r.PayloadStr)
	inner, err := readMembers(text)
	if err != nil || inner == nil {
		return none, core.Refuse(core.Malformed, "payloadStr is not valid JSON")
	}
	if got, _ := inner.text("purpose"); got != purpose || !inner.is(ShapeRegistration) {
		return none, core.Refuse(core.Malformed, "payloadStr is signed for another purpose")
	}
	sentAt, err := o.sentAt(inner)
	if err != nil {
		return none, err
	}
	pubkey, _ := inner.text("pubkey")
	key, err := keys.Parse(pubkey)
	if err != nil {
		return none, &core.Error{Kind: core.Malformed, Public: "pubkey is not an Ed25519 public key", Err: err}
	}
	if _, ok := verifyAny([]core.PublicKey{key}, text, r.Signature); !ok {
		return none, verifyFailed(core.BadSignature, "bad-signature")
	}
	return hints(inner, key, text, sentAt, r)
}

// hintTwins compares the plain fields of a bilingual body with the signed text.
// The time beside it is a number of milliseconds and must be the same instant.
func hintTwins(body, inner members, sentAt time.Time) error {
	if err := twins(body, inner, "purpose", "pubkey", "port", "publicUrl", "token", "uses", "expiresIn"); err != nil {
		return err
	}
	v := body.raw("timestamp")
	if v == nil || equal(v, inner.raw("timestamp")) {
		return nil
	}
	if at, ok := millis(v); !ok || at != sentAt.UnixMilli() {
		return core.Refuse(core.Malformed, "timestamp differs from payloadStr")
	}
	return nil
}

func millis(v jsontext.Value) (int64, bool) {
	var at float64
	if v.Kind() != '0' || json.Unmarshal(v, &at) != nil {
		return 0, false
	}
	const most = 1 << 53 // beyond it a JavaScript number skips integers
	return int64(at), at == float64(int64(at)) && at > 0 && at < most
}

// openPlainHints opens what nobody has signed: {pubkey, port, timestamp}, where
// invites go without the time. The order of checks is the field's.
func (o *Opener) openPlainHints(ms members, purpose string) (OpenedHints, error) {
	var none OpenedHints
	var h Hints
	var ok bool
	if h.PubKey, ok = ms.text("pubkey"); !ok {
		return none, core.Refuse(core.Malformed, "pubkey is required and must be a string")
	}
	if h.Port, ok = portOf(ms.raw("port")); !ok {
		return none, core.Refuse(core.Malformed, "port is required and must be a number (1-65535)")
	}
	var sentAt time.Time
	if purpose == PurposeRegister || ms.has("timestamp") {
		at, ok := millis(ms.raw("timestamp"))
		if !ok {
			return none, core.Refuse(core.Malformed, "timestamp is required and must be a number")
		}
		sentAt = time.UnixMilli(at)
		if err := o.near(sentAt); err != nil {
			return none, &core.Error{Kind: core.Stale, Public: "Invalid or stale timestamp", Err: err}
		}
	}
	key, err := keys.Parse(h.PubKey)
	if err != nil {
		return none, &core.Error{Kind: core.Malformed, Public: "pubkey is not an Ed25519 public key", Err: err}
	}
	if v := ms.raw("publicUrl"); v != nil && v.Kind() != '"' {
		return none, core.Refuse(core.Malformed, "publicUrl must be a string")
	}
	h.PublicURL, _ = ms.text("publicUrl")
	for name, into := range map[string]*int{"uses": &h.Uses, "expiresIn": &h.ExpiresIn} {
		if v := ms.raw(name); v != nil && decode(v, into, name) != nil {
			return none, core.Refusef(core.Malformed, "%s must be a number", name)
		}
	}
	out := OpenedHints{Opened: opened(h, key, nil, sentAt, "", false)}
	out.Unsigned = true
	return out, nil
}
