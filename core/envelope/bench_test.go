package envelope_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// BenchmarkOpenMessage measures what opening costs beside the one signature
// check in it: run it whole and compare v2 and legacy with verify.
func BenchmarkOpenMessage(b *testing.B) {
	key, self := testKey(1), testKey(2)
	now := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	sealer := envelope.Sealer{Key: key, Now: func() time.Time { return now }}
	opener := envelope.Opener{Self: self.Public(), Near: func(time.Time) error { return nil }}
	m := core.Message{Intent: "message", From: key.Public().ID(), To: self.Public().ID(), Nonce: envelope.NewNonce(),
		Payload: core.Raw(`{"text":"` + strings.Repeat("hello there, ", 25) + `"}`)}
	v2, err := sealer.SealMessage(self.Public(), m)
	if err != nil {
		b.Fatal(err)
	}
	legacy := without(b, v2, "v2")
	find := func(string) ([]core.PublicKey, error) { return []core.PublicKey{key.Public()}, nil }
	open := func(body []byte) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := envelope.Open(&opener, envelope.Message, body, find); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	text := []byte(textOf(b, v2, "messageStr"))
	public := key.Public()
	sig, err := keys.ParseSignature(key.Signature(text))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ed25519.Verify(public[:], text, sig[:]) {
				b.Fatal("does not verify")
			}
		}
	})
	b.Run("v2", open(v2))
	b.Run("legacy", open(legacy))
}
