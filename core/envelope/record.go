package envelope

import (
	"crypto/sha256"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// The purposes that our own texts to a rendezvous are signed for. The signature
// lies over the purpose, too, so that a text passes for nothing else.
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

// Record is a signed text to a rendezvous in the v2 form, as it crosses the wire
// and is handed on.
type Record = signed

// Hints is what a gateway tells a rendezvous, for every purpose. The field order
// is the order in the text.
type Hints struct {
	Purpose   string `json:"-"` // empty in an opened text of 0.7, which names none
	PubKey    string `json:"pubkey"`
	Port      int    `json:"port,omitzero"`
	PublicURL string `json:"publicUrl,omitempty"`
	Token     string `json:"token,omitempty"`     // to revoke: which invite
	Uses      int    `json:"uses,omitzero"`       // of an invite: how often it may be resolved; 0: without limit
	ExpiresIn int    `json:"expiresIn,omitzero"`  // of an invite: its life in seconds; 0: the server's default
	MaxAge    int    `json:"maxAge,omitzero"`     // of a registration: the life it asks for in seconds; 0: the server's
	Timestamp string `json:"timestamp,omitempty"` // ISO 8601 in a signed text

	// Legacy signs a registration or an invite as 0.7 does, too: for a server that
	// has answered that it wants that. docs/threat-model.md#t11
	Legacy bool `json:"-"`
}

// OpenedHints is what a rendezvous was told. V2 says that it may be handed on:
// Record, as it came, is set then alone.
type OpenedHints struct {
	Opened[Hints]
	Record Record
}

// RecordCtx is the ctx member of a signed text for a purpose, its first one.
func RecordCtx(purpose string) string { return ctxPrefix + purpose }

func isOpen(purpose string) bool { return purpose == PurposeRegister || purpose == PurposeInvite }

// SealHints writes the body of a call to a rendezvous: the v2 form and, for
// registrations and invites, beside it the plain fields that servers before 0.7
// read. h.PubKey is set, and h.Timestamp to at.
func (s *Sealer) SealHints(h Hints, at time.Time) ([]byte, error) {
	h.PubKey, h.Timestamp = s.Key.Public().String(), core.FormatTime(at)
	ctx := RecordCtx(h.Purpose)
	record, err := sign(s.Key, ctx, marshal(struct {
		Ctx   string `json:"ctx"`
		Hints `json:",inline"`
	}{ctx, h}))
	if err != nil {
		return nil, err
	}
	if !isOpen(h.Purpose) {
		return marshal(struct {
			V2 Record `json:"v2"`
		}{record}), nil
	}
	var legacy Record
	if h.Legacy {
		h := h
		h.MaxAge = 0 // 0.7 knows no such member
		text := marshal(h)
		signature, err := s.Key.Sign(text)
		if err != nil {
			return nil, err
		}
		legacy = Record{string(text), signature}
	}
	return marshal(struct {
		V2         Record `json:"v2"`
		PayloadStr string `json:"payloadStr,omitempty"`
		Signature  string `json:"signature,omitempty"`
		PubKey     string `json:"pubkey"`
		Port       int    `json:"port"`
		PublicURL  string `json:"publicUrl,omitempty"`
		Timestamp  int64  `json:"timestamp"` // ms, the same instant
	}{record, legacy.PayloadStr, legacy.Signature, h.PubKey, h.Port, h.PublicURL, at.UnixMilli()}), nil
}

// OpenHints opens the body of a call to a rendezvous. Registrations and invites
// may come unsigned, as from gateways before 0.7, where plain allows it, and
// signed as from 0.7; everything else must have a v2 signature for just its
// purpose, and where there is one, it alone counts. A plain member beside the
// signed text that differs from it is refused.
//
// Errors are of kind Malformed, TooLarge, BadSignature or Stale, with the field's
// texts.
//
// docs/rendezvous.md#signed-texts, docs/threat-model.md#l1
func (o *Opener) OpenHints(body []byte, purpose string, plain bool) (OpenedHints, error) {
	var none OpenedHints
	ms, err := readMembers(body)
	if err != nil {
		return none, err
	}
	var out OpenedHints
	switch {
	case ms.has("v2"):
		text, signature := blockParts(ms.raw("v2"))
		if text == nil || signature == nil {
			return none, errProof
		}
		out.Record = Record{string(text), string(signature)}
		out.Opened, err = o.OpenRecord(out.Record, purpose)
	case !isOpen(purpose):
		return none, core.Refuse(core.Malformed, "Missing v2 signature")
	case plain && !ms.has("payloadStr") && !ms.has("signature"):
		return o.openPlainHints(ms, purpose)
	default:
		text, _ := ms.text("payloadStr")
		signature, _ := ms.text("signature")
		out.Opened, err = o.openText(text, signature, "")
	}
	if err != nil {
		return none, err
	}
	return out, hintTwins(ms, cut(out.Text), out.SentAt)
}

// OpenRecord opens a signed text in the v2 form: what a rendezvous receives, and
// what a client gets back and checks for itself.
//
// Errors are of kind Malformed, TooLarge, BadSignature or Stale, with the field's
// texts.
func (o *Opener) OpenRecord(r Record, purpose string) (Opened[Hints], error) {
	return o.openText(r.PayloadStr, r.Signature, purpose)
}

// openText opens the text of a registration, an invite or an order under the key
// that it names. An empty purpose means the form of 0.7, which has no ctx.
func (o *Opener) openText(payload, signature, purpose string) (Opened[Hints], error) {
	var none Opened[Hints]
	if payload == "" || signature == "" {
		return none, errNoPayload
	}
	if len(payload) > MaxRecordBytes {
		return none, core.Refuse(core.TooLarge, "payloadStr is too long")
	}
	text := []byte(payload)
	inner, err := readMembers(text)
	if err != nil || inner == nil {
		return none, core.Refuse(core.Malformed, "payloadStr is not valid JSON")
	}
	pubkey, err := inner.claim(purpose)
	if err != nil {
		return none, err
	}
	sentAt, err := o.sentAt(inner)
	if err != nil {
		return none, err
	}
	key, err := keys.Parse(pubkey)
	if err != nil {
		return none, &core.Error{Kind: core.Malformed, Public: "pubkey is not an Ed25519 public key", Err: err}
	}
	over, p := text, proof{}
	if purpose != "" {
		p.Ctx = RecordCtx(purpose)
		over = signedBytes(p.Ctx, text)
	}
	if _, ok := verifyAny([]core.PublicKey{key}, over, signature); !ok {
		return none, verifyFailed(core.BadSignature, "bad-signature")
	}
	var h Hints
	if err := decode(text, &h, "payloadStr"); err != nil {
		return none, err
	}
	if v := inner.raw("publicUrl"); v != nil && v.Kind() != '"' {
		return none, core.Refuse(core.Malformed, "publicUrl must be a string")
	}
	h.Purpose = purpose
	return opened(h, key, text, sha256.Sum256(text), sentAt, p), nil
}

func portOf(v jsontext.Value) (int, bool) {
	var port float64
	if v.Kind() != '0' || json.Unmarshal(v, &port) != nil {
		return 0, false
	}
	return int(port), port == float64(int(port)) && port >= 1 && port <= 65535
}

// hintTwins compares the plain fields of a bilingual body with the signed text.
// The time beside it is a number of milliseconds and must be the same instant.
func hintTwins(body, inner members, sentAt time.Time) error {
	if err := twins(body, inner, "pubkey", "port", "publicUrl", "token", "uses", "expiresIn", "maxAge"); err != nil {
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
			return none, err
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
	return OpenedHints{Opened: unsigned(h, key, nil, sentAt)}, nil
}

// claim is the key that a record names, of a record that is meant for a purpose.
func (ms members) claim(purpose string) (pubkey string, err error) {
	pubkey, ok := ms.text("pubkey")
	switch ctx, _ := ms.text("ctx"); {
	case !ok:
		return "", core.Refuse(core.Malformed, "pubkey is required and must be a string")
	case purpose != "" && ctx != RecordCtx(purpose):
		return "", core.Refuse(core.Malformed, "v2 signature is for another purpose")
	case purpose == "" && !ms.is(ShapeRegistration):
		return "", core.Refuse(core.Malformed, "Not a signed registration")
	}
	if ms.has("port") || purpose == "" || isOpen(purpose) {
		if _, ok := portOf(ms.raw("port")); !ok {
			return "", core.Refuse(core.Malformed, "port is required and must be a number (1-65535)")
		}
	}
	return pubkey, nil
}
