package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// proof is the text of a v2 signature. It binds the text beside it by digest to
// one purpose, one sender, one recipient and one moment. A status answer has
// nothing beside it and says what it says itself.
//
// docs/threat-model.md#l7
type proof struct {
	Ctx       string     `json:"ctx"` // "ogp/v2/" + shape
	Iss       string     `json:"iss"` // the sender's full key
	Aud       string     `json:"aud"` // the recipient's full key
	Nonce     core.Nonce `json:"nonce"`
	Timestamp string     `json:"timestamp"`
	Digest    string     `json:"digest,omitempty"` // hex SHA-256 of the text beside it
	Approved  *bool      `json:"approved,omitzero"`

	at time.Time // Timestamp, read
}

// signed is a text with its signature, as `v2` and as a rendezvous record.
type signed struct {
	PayloadStr string `json:"payloadStr"`
	Signature  string `json:"signature"`
}

const ctxPrefix = "ogp/v2/"

// signedBytes are what a v2 signature lies over: 0xFF, the purpose, 0x00, the
// text. 0xFF stands in no UTF-8, so that the signature holds over nothing that a
// gateway before v2 could be shown. docs/threat-model.md#t11
func signedBytes(ctx string, text []byte) []byte {
	b := make([]byte, 0, len(ctx)+len(text)+2)
	b = append(b, 0xff)
	b = append(b, ctx...)
	b = append(b, 0)
	return append(b, text...)
}

// sign makes the v2 form of a text, whose ctx is the purpose.
func sign(k core.Signer, ctx string, text []byte) (signed, error) {
	signature, err := k.Sign(signedBytes(ctx, text))
	return signed{string(text), signature}, err
}

// NewNonce returns a fresh UUID v4 (RFC 9562 §5.4).
func NewNonce() core.Nonce {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return core.Nonce(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// sealProof signs the v2 text for a text.
func sealProof(k core.Signer, aud core.PublicKey, shape Shape, text []byte, now time.Time) (jsontext.Value, error) {
	sum := sha256.Sum256(text)
	return sealBlock(k, aud, shape, proof{Nonce: NewNonce(), Timestamp: core.FormatTime(now), Digest: hex.EncodeToString(sum[:])})
}

func sealBlock(k core.Signer, aud core.PublicKey, shape Shape, p proof) (jsontext.Value, error) {
	p.Ctx, p.Iss, p.Aud = ctxPrefix+string(shape), k.Public().String(), aud.String()
	block, err := sign(k, p.Ctx, marshal(p))
	if err != nil {
		return nil, err
	}
	return marshal(block), nil
}

// openProof checks the v2 signature beside a text with that digest. It returns
// the key that signed. v2 is a part of a body that readMembers has read.
func (o *Opener) openProof(v2 jsontext.Value, shape Shape, digest *[32]byte, candidates []core.PublicKey) (proof, core.PublicKey, error) {
	p, key, ms, err := o.openBlock(v2, shape, candidates)
	if err == nil && !isHex(ms.bytes("digest"), digest) {
		err = core.Refuse(core.Malformed, "v2 signature is for other content")
	}
	return p, key, err
}

// openBlock checks a v2 signature and what it says of its purpose, sender,
// recipient and time. It returns the key that signed, and the text's members.
func (o *Opener) openBlock(v2 jsontext.Value, shape Shape, candidates []core.PublicKey) (p proof, key core.PublicKey, ms members, err error) {
	text, signature := blockParts(v2)
	if text == nil || signature == nil {
		return p, key, nil, errProof
	}
	if ms, err = readMembers(text); err != nil || !ms.is(ShapeProof) {
		return p, key, nil, errProof
	}
	nonce, ok := ms.text("nonce")
	switch {
	case !isContext(ms.bytes("ctx"), shape):
		return p, key, nil, core.Refuse(core.Malformed, "v2 signature is for another purpose")
	case !isKey(ms.bytes("aud"), o.Self):
		return p, key, nil, core.Refuse(core.Malformed, "v2 signature is for another recipient")
	case !ok || !core.Nonce(nonce).Sound():
		return p, key, nil, core.Refuse(core.Malformed, "v2 signature has no nonce")
	}
	p.Ctx, p.Nonce = ctxPrefix+string(shape), core.Nonce(nonce)
	p.Timestamp, _ = ms.text("timestamp")
	if p.at, err = core.ParseTime(p.Timestamp); err != nil {
		return p, key, nil, core.Refuse(core.Malformed, "v2 signature has no timestamp")
	}
	if err := o.near(p.at); err != nil {
		return p, key, nil, err
	}
	iss := ms.bytes("iss")
	for _, k := range candidates {
		if !isKey(iss, k) {
			continue
		}
		if sig, err := keys.ParseSignature(string(signature)); err == nil && keys.Verify(k, signedBytes(p.Ctx, text), sig) {
			return p, k, ms, nil
		}
		break
	}
	return p, key, nil, errSignature
}

// blockParts gives the text and the signature of a v2 block; nil where there are
// none.
func blockParts(v2 jsontext.Value) (text, signature []byte) {
	if v2.Kind() != '{' {
		return nil, nil
	}
	var room [4]member
	block := cutInto(room[:0], v2)
	return block.bytes("payloadStr"), block.bytes("signature")
}

// block is the form that has nothing but a v2 signature, whose text says all.
type block struct{}

func (block) open(o *Opener, shape Shape, body members, _ []byte, find Find) (Opened[StatusAnswer], error) {
	var none Opened[StatusAnswer]
	candidates, err := find("")
	if err != nil {
		return none, err
	}
	p, key, ms, err := o.openBlock(body.raw("v2"), shape, candidates)
	if err != nil {
		return none, err
	}
	var v StatusAnswer
	switch string(ms.raw("approved")) {
	case "true":
		v.Approved = true
	case "false":
	default:
		return none, core.Refuse(core.Malformed, "Invalid status")
	}
	text, _ := blockParts(body.raw("v2"))
	return opened(v, key, text, sha256.Sum256(text), p.at, p), nil
}

// Issuer says whose v2 signature a body claims to carry; ok is false for none.
// Nothing of it is verified: Open with From(key) does that.
func Issuer(body []byte) (key core.PublicKey, ok bool) {
	ms, err := readMembers(body)
	if err != nil || !ms.has("v2") {
		return key, false
	}
	text, _ := blockParts(ms.raw("v2"))
	inner, err := readMembers(text)
	if text == nil || err != nil {
		return key, false
	}
	iss, _ := inner.text("iss")
	if !strings.HasPrefix(iss, core.SPKIPrefix) {
		return key, false
	}
	key, err = keys.Parse(iss)
	return key, err == nil
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
