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
// docs/protocol.md#L7
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

// openProof checks the v2 signature beside a legacy text. It returns the key
// that signed.
func (o *Opener) openProof(v2 jsontext.Value, shape Shape, text []byte, candidates []core.PublicKey) (proof, core.PublicKey, error) {
	var s signed
	var p proof
	if v2.Kind() != '{' || json.Unmarshal(v2, &s) != nil || s.PayloadStr == "" || s.Signature == "" {
		return p, core.PublicKey{}, core.Refuse(core.Malformed, "Invalid v2 signature block")
	}
	payload := []byte(s.PayloadStr)
	if err := json.Unmarshal(payload, &p); err != nil {
		return p, core.PublicKey{}, core.Refuse(core.Malformed, "Invalid v2 signature block")
	}
	sum := sha256.Sum256(text)
	switch {
	case p.Ctx != ctxPrefix+string(shape):
		return p, core.PublicKey{}, core.Refuse(core.Malformed, "v2 signature is for another purpose")
	case p.Aud != o.Self.String():
		return p, core.PublicKey{}, core.Refuse(core.Malformed, "v2 signature is for another recipient")
	case p.Digest != hex.EncodeToString(sum[:]):
		return p, core.PublicKey{}, core.Refuse(core.Malformed, "v2 signature is for other content")
	case p.Nonce == "" || len(p.Nonce) > core.MaxNonceBytes:
		return p, core.PublicKey{}, core.Refuse(core.Malformed, "v2 signature has no nonce")
	}
	sentAt, err := core.ParseTime(p.Timestamp)
	if err != nil {
		return p, core.PublicKey{}, core.Refuse(core.Malformed, "v2 signature has no timestamp")
	}
	if err := o.near(sentAt); err != nil {
		return p, core.PublicKey{}, err
	}
	for _, k := range candidates {
		if k.String() != p.Iss {
			continue
		}
		if sig, err := keys.ParseSignature(s.Signature); err == nil && keys.Verify(k, payload, sig) {
			return p, k, nil
		}
	}
	return p, core.PublicKey{}, core.Refuse(core.BadSignature, "Invalid signature")
}
