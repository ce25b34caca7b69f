package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// proof is the text of a v2 signature. It binds the legacy text beside it by
// digest to one purpose, one sender, one recipient and one moment.
//
// docs/threat-model.md#l7
type proof struct {
	Ctx       string     `json:"ctx"` // "ogp/v2/" + shape
	Iss       string     `json:"iss"` // the sender's full key
	Aud       string     `json:"aud"` // the recipient's full key
	Nonce     core.Nonce `json:"nonce"`
	Timestamp string     `json:"timestamp"`
	Digest    string     `json:"digest"` // hex SHA-256 of the legacy text
}

// signed is a text with its signature, as `v2` and as a rendezvous record.
type signed struct {
	PayloadStr string `json:"payloadStr"`
	Signature  string `json:"signature"`
}

const ctxPrefix = "ogp/v2/"

// NewNonce returns a fresh UUID v4 (RFC 9562 §5.4).
func NewNonce() core.Nonce {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return core.Nonce(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// sealProof signs the v2 text for a legacy text.
func sealProof(k keys.Private, aud core.PublicKey, shape Shape, text []byte, now time.Time) jsontext.Value {
	sum := sha256.Sum256(text)
	payload, err := json.Marshal(proof{
		Ctx: ctxPrefix + string(shape), Iss: k.Public().String(), Aud: aud.String(),
		Nonce: NewNonce(), Timestamp: core.FormatTime(now), Digest: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		panic(err) // strings alone
	}
	v, err := json.Marshal(signed{string(payload), k.Sign(payload)})
	if err != nil {
		panic(err)
	}
	return v
}

// openProof checks the v2 signature beside a legacy text with that digest. It
// returns the key that signed. v2 is a part of a body that readMembers has read.
func (o *Opener) openProof(v2 jsontext.Value, shape Shape, digest *[32]byte, candidates []core.PublicKey) (proof, core.PublicKey, error) {
	var p proof
	var none core.PublicKey
	if v2.Kind() != '{' {
		return p, none, errProof
	}
	block := cut(v2)
	payload, signature := block.bytes("payloadStr"), block.bytes("signature")
	if payload == nil || signature == nil {
		return p, none, errProof
	}
	ms, err := readMembers(payload)
	if err != nil || !ms.is(ShapeProof) {
		return p, none, errProof
	}
	nonce := ms.bytes("nonce")
	switch {
	case !isContext(ms.bytes("ctx"), shape):
		return p, none, core.Refuse(core.Malformed, "v2 signature is for another purpose")
	case !isKey(ms.bytes("aud"), o.Self):
		return p, none, core.Refuse(core.Malformed, "v2 signature is for another recipient")
	case !isHex(ms.bytes("digest"), digest):
		return p, none, core.Refuse(core.Malformed, "v2 signature is for other content")
	case nonce == nil || len(nonce) > core.MaxNonceBytes:
		return p, none, core.Refuse(core.Malformed, "v2 signature has no nonce")
	}
	p.Nonce = core.Nonce(nonce)
	p.Timestamp, _ = ms.text("timestamp")
	sentAt, err := core.ParseTime(p.Timestamp)
	if err != nil {
		return p, none, core.Refuse(core.Malformed, "v2 signature has no timestamp")
	}
	if err := o.near(sentAt); err != nil {
		return p, none, err
	}
	iss := ms.bytes("iss")
	for _, k := range candidates {
		if !isKey(iss, k) {
			continue
		}
		if sig, err := keys.ParseSignature(string(signature)); err == nil && keys.Verify(k, payload, sig) {
			return p, k, nil
		}
		break
	}
	return p, none, errSignature
}

var (
	errProof     = core.Refuse(core.Malformed, "Invalid v2 signature block")
	errSignature = core.Refuse(core.BadSignature, "Invalid signature")
)

func isContext(ctx []byte, shape Shape) bool {
	return len(ctx) == len(ctxPrefix)+len(shape) && string(ctx[:len(ctxPrefix)]) == ctxPrefix && string(ctx[len(ctxPrefix):]) == string(shape)
}

// isKey reports whether text is the wire form of k.
func isKey(text []byte, k core.PublicKey) bool {
	const prefix = len(core.SPKIPrefix)
	return len(text) > prefix && string(text[:prefix]) == core.SPKIPrefix && isHex(text[prefix:], (*[32]byte)(&k))
}

// isHex reports whether text is b in lower-case hex.
func isHex(text []byte, b *[32]byte) bool {
	var buf [64]byte
	hex.Encode(buf[:], b[:])
	return string(text) == string(buf[:])
}
