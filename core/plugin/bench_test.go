package plugin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// message is a policy's input of some 600 bytes.
var message = []byte(`{"abi":1,"hook":"policy","kind":"message","now":"2026-01-02T03:04:05.000Z","gateway":{"name":"home"},` +
	`"peer":{"alias":"bob","fingerprint":"ABCD-EFGH-IJKL","id":"302a300506032b65","state":"approved","names":{"displayName":"Bob"},` +
	`"grants":["message","agent-comms"]},"message":{"id":"01HXXXXXXXXXXXXXXXXXXXXXXX","intent":"message","topic":"","priority":"normal",` +
	`"conversationId":"c1","toAgent":"main","timestamp":"2026-01-02T03:04:04.000Z","bytes":320,"payload":{"text":"` + strings.Repeat("lorem ipsum ", 20) + `"}}}`)

func BenchmarkCall(b *testing.B) {
	for name, file := range map[string]string{"C": "policy.wasm", "Go": "goguest.wasm"} {
		b.Run(name, func(b *testing.B) {
			h := newHost(b)
			p := load(b, h, plugin.Spec{Bytes: read(b, guests+file)})
			b.ReportAllocs()
			var r plugin.Result
			var err error
			for b.Loop() {
				if r, err = p.Call(context.Background(), plugin.Message, message); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(r.FuelUsed), "fuel/op")
			b.ReportMetric(float64(r.MemoryBytes), "guest-bytes")
		})
	}
	for _, kind := range []string{"once", "lines"} {
		b.Run("stdio-"+kind, func(b *testing.B) {
			h := newHost(b)
			p := load(b, h, plugin.Spec{Bytes: read(b, guests+"program.wasm"), Manifest: &plugin.Manifest{Name: "x", Stdio: kind, Hooks: []plugin.Hook{plugin.Message}}})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Call(context.Background(), plugin.Message, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFreshInstance has every call made by a new instance.
func BenchmarkFreshInstance(b *testing.B) {
	for name, file := range map[string]string{"C": "policy.wasm", "Go": "goguest.wasm"} {
		b.Run(name, func(b *testing.B) {
			h := newHost(b)
			p := load(b, h, plugin.Spec{Bytes: read(b, guests+file), Limits: plugin.Limits{MaxCalls: 1}})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Call(context.Background(), plugin.Message, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoad loads without and with a filled cache.
func BenchmarkLoad(b *testing.B) {
	for name, file := range map[string]string{"C": "policy.wasm", "Go": "goguest.wasm"} {
		for _, cache := range []string{"cold", "warm"} {
			b.Run(name+"/"+cache, func(b *testing.B) {
				o := plugin.Options{}
				if cache == "warm" {
					o.CacheDir = b.TempDir() + "/cache"
				}
				h, err := plugin.NewHost(o)
				if err != nil {
					b.Fatal(err)
				}
				defer h.Close()
				spec := plugin.Spec{Bytes: read(b, guests+file)}
				load(b, h, spec).Close()
				for b.Loop() {
					load(b, h, spec).Close()
				}
			})
		}
	}
}
