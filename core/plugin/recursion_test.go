package plugin_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
)

// recursions are modules that call themselves without end, each with frames that are large in another way.
func recursions() map[string][]byte {
	many := func(n int, f func(i int) []byte) (b []byte) {
		for i := range n {
			b = append(b, f(i)...)
		}
		return b
	}
	wide := func(params, results int) []byte {
		m := newGuest()
		m.Memory(1, -1)
		me := uint32(fPathOpen + 1)
		args := many(params, func(i int) []byte { return asm.Get(i) })
		m.Func(bytes.Repeat([]byte{asm.I64}, params), bytes.Repeat([]byte{asm.I64}, results), 0, args, asm.Call(me))
		return finish(m, m.Func(i32s(1), i32s(1), 0, many(params, func(i int) []byte { return asm.I64Const(int64(i)) }), asm.Call(me),
			bytes.Repeat([]byte{asm.Drop}, results), 0))
	}
	return map[string][]byte{
		"nothing":      self(func(me uint32) []any { return []any{asm.Get(0), asm.Call(me)} }),
		"one value":    self(func(me uint32) []any { return []any{asm.Get(0), asm.Call(me), asm.Get(0), asm.I32Add} }),
		"parameters":   wide(800, 1),
		"many results": wide(1, 800),
		"both":         wide(900, 900),
		"operands": self(func(me uint32) []any {
			return []any{many(500, func(i int) []byte { return asm.Code(asm.Get(0), i, asm.I32Add, asm.Load(0)) }), asm.Get(0), asm.Call(me), bytes.Repeat([]byte{asm.I32Add}, 500)}
		}),
		"values between calls": self(func(me uint32) []any {
			return []any{many(500, func(i int) []byte {
				return asm.Code(asm.Get(0), asm.Load(4*i), asm.Get(0), asm.If, asm.I32, asm.Get(0), asm.Call(me), asm.Else, 1, asm.End, asm.I32Add, asm.Set(1))
			}), asm.Get(1)}
		}),
		"locals set again": with(func(m *asm.Module) {
			m.Memory(1, -1)
			me := fPathOpen + 1
			m.Func(i32s(1), i32s(1), 60, many(60, func(i int) []byte { return asm.Code(asm.Get(0), asm.Load(4*i), asm.Set(1+i)) }),
				many(400, func(i int) []byte {
					return asm.Code(asm.Get(1+i%60), asm.Get(1+(i*7)%60), asm.I32Add, asm.Set(1+(i*13)%60))
				}),
				asm.Get(0), asm.Call(me), many(60, func(i int) []byte { return asm.Code(asm.Get(1+i), asm.I32Add) }))
		}, 7, asm.Call(fPathOpen+1), asm.Drop, 0),
	}
}

// TestD5Recursion has endless recursion end at the bound of its stack, whatever its frames hold, and take no more
// memory than some times that: wazero's own bound is 400 MB.
func TestD5Recursion(t *testing.T) {
	h := newHost(t)
	for name, wasm := range recursions() {
		t.Run(name, func(t *testing.T) {
			p := load(t, h, plugin.Spec{Bytes: wasm, Limits: plugin.Limits{Fuel: 1e12, Timeout: plugin.Duration(60e9)}})
			defer p.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := p.Call(t.Context(), plugin.Message, []byte(`{}`))
			runtime.ReadMemStats(&after)
			wantKind(t, err, plugin.Limit)
			if err != nil && !strings.Contains(err.Error(), "recurses too deep") {
				t.Errorf("error = %v, want that it recurses too deep", err)
			}
			// The stack is doubled as it grows, so that all of them come to less than four times the last use.
			used := (after.TotalAlloc - before.TotalAlloc) >> 20
			t.Logf("allocated %d MiB", used)
			if used > 100 {
				t.Errorf("allocated %d MiB for a stack of 16 MiB", used)
			}
		})
	}
}

// TestD5StackComesBack has calls that return give their frames back: deep ones again and again, and many one after
// the other.
func TestD5StackComesBack(t *testing.T) {
	me := uint32(fPathOpen + 1)
	deep := with(func(m *asm.Module) { // f(n) = n == 0 ? 0 : f(n-1) + 1
		m.Memory(1, -1)
		m.Data(1024, allow)
		m.Func(i32s(1), i32s(1), 0, asm.Get(0), asm.I32Eqz, asm.If, asm.I32, 0, asm.Else, asm.Get(0), 1, asm.I32Sub, asm.Call(me), 1, asm.I32Add, asm.End)
	}, asm.Times(1, 50, 20_000, asm.Call(me), asm.Drop), asm.Times(1, 200_000, 1, asm.Call(me), asm.Drop), answering)
	p := load(t, newHost(t), plugin.Spec{Bytes: deep})
	for range 20 {
		call(t, p, plugin.Message, `{}`)
	}
}
