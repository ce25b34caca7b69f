package sdk

import "testing"

// messageInput is a policy input with a message of 600 bytes, as docs/performance.md measures.
const messageInput = `{"abi":1,"hook":"message","kind":"message","now":"2026-11-21T20:47:35.730Z","gateway":{"id":"302a300506032b6570032100aaaaaaaa"},` +
	`"peer":{"alias":"bob","fingerprint":"K5QX-3ZVA-77MC","id":"302a300506032b65700321009b691d31","state":"approved","gatewayUrl":"https://bob.example",` +
	`"names":{"displayName":"Bob","email":"bob@example.org"},"grants":[{"intent":"message","enabled":true}]},` +
	`"message":{"id":"5f6705e8-5829-4a41-8561-d0a6b75f8014","intent":"message","topic":"","priority":"normal","timestamp":"2026-11-21T20:47:35.700Z","textBytes":120,` +
	`"payload":{"text":"The quick brown fox jumps over the lazy dog. \u00c9t\u00e9, na\u00efve."}}}`

func BenchmarkPolicyNative(b *testing.B) {
	SetMessagePolicy(func(in *Incoming) Decision {
		if in.Message.TextBytes > 4096 {
			return Deny("too_big", "at most 4096 bytes")
		}
		return Allow()
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, status := Run(HookMessage, messageInput); status != 0 {
			b.Fatal(status)
		}
	}
}
