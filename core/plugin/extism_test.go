package plugin_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
)

// The functions of Extism's kernel that every module made here imports, by index.
const (
	xAlloc uint32 = iota
	xFree
	xLength
	xLoad8
	xLoad64
	xStore8
	xStore64
	xInputLength
	xInputOffset
	xInput8
	xInput64
	xOutput
	xError
	xConfig
	xVarGet
	xVarSet
	xHTTP
	xStatus
	xHeaders
	xLogInfo
	xRandom
	xImports
)

// The words of a 64-bit guest.
var (
	i64s    = func(n int) []byte { return bytes.Repeat([]byte{asm.I64}, n) }
	long    = asm.I64Const
	wrap    = []byte{0xa7} // i32.wrap_i64
	extend  = []byte{0xad} // i64.extend_i32_u
	load8u  = []byte{0x2d, 0, 0}
	unequal = []byte{0x52} // i64.ne
)

// pdk is a module as an Extism PDK makes one. Its texts are in memory, each behind the other; text(i) leaves the
// address of a block with the i-th.
type pdk struct {
	*asm.Module
	texts []string
	block uint32 // (at, n i32) -> i64: a block with a copy of n bytes of the memory
}

func newPDK(texts ...string) *pdk {
	m := &asm.Module{}
	env := func(name string, params, results []byte) { m.Import("extism:host/env", name, params, results) }
	env("alloc", i64s(1), i64s(1))
	env("free", i64s(1), nil)
	env("length", i64s(1), i64s(1))
	env("load_u8", i64s(1), i32s(1))
	env("load_u64", i64s(1), i64s(1))
	env("store_u8", []byte{asm.I64, asm.I32}, nil)
	env("store_u64", i64s(2), nil)
	env("input_length", nil, i64s(1))
	env("input_offset", nil, i64s(1))
	env("input_load_u8", i64s(1), i32s(1))
	env("input_load_u64", i64s(1), i64s(1))
	env("output_set", i64s(2), nil)
	env("error_set", i64s(1), nil)
	env("config_get", i64s(1), i64s(1))
	env("var_get", i64s(1), i64s(1))
	env("var_set", i64s(2), nil)
	env("http_request", i64s(2), i64s(1))
	env("http_status_code", nil, i32s(1))
	env("http_headers", nil, i64s(1))
	env("log_info", i64s(1), nil)
	m.Import("wasi_snapshot_preview1", "random_get", i32s(2), i32s(1))
	p := &pdk{Module: m, texts: texts}
	m.Memory(2, -1)
	at := 1024
	for _, t := range texts {
		m.Data(at, t)
		at += len(t)
	}
	// Locals: 0 from, 1 how many, 2 the block's address.
	p.block = m.Func(i32s(2), i64s(1), 2,
		asm.Get(1), extend, asm.Call(xAlloc), wrap, asm.Set(2),
		asm.Get(1), asm.If, asm.Void, asm.Loop, asm.Void,
		asm.Get(1), 1, asm.I32Sub, asm.Set(1),
		asm.Get(2), asm.Get(1), asm.I32Add, extend, asm.Get(0), asm.Get(1), asm.I32Add, load8u, asm.Call(xStore8),
		asm.Get(1), asm.BrIf(0), asm.End, asm.End,
		asm.Get(2), extend)
	return p
}

func (p *pdk) text(i int) []byte {
	at := 1024
	for _, t := range p.texts[:i] {
		at += len(t)
	}
	return asm.Code(at, len(p.texts[i]), asm.Call(p.block))
}

// says leaves a block as the output; its address is in the i32 local 0.
func says(b []byte) []byte {
	return asm.Code(b, wrap, asm.Set(0), asm.Get(0), extend, asm.Get(0), extend, asm.Call(xLength), asm.Call(xOutput))
}

// on exports a hook that runs the body, which leaves the status.
func (p *pdk) on(hook string, body ...any) *pdk {
	p.Export("on_"+hook, p.Func(nil, i32s(1), 4, body...))
	return p
}

// allowing answers a message with the text 0, an allow, after the body.
func allowing(body ...any) []byte {
	p := newPDK(allow)
	return p.on("message", asm.Code(body...), says(p.text(0)), 0).Bytes()
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestExtismABI has a module use each function of the kernel.
func TestExtismABI(t *testing.T) {
	if testing.Short() {
		t.Skip("a table of single calls: with the race detector in it, compiling takes ten times as long")
	}
	h := newHost(t)
	server := roundTrip(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		return &http.Response{StatusCode: 201, Header: http.Header{"X-Saw": {r.Method + " " + r.Header.Get("X-A") + " " + string(body)}},
			Body: io.NopCloser(strings.NewReader(`{"answer":"of the server"}`))}, nil
	})
	grants := plugin.Grants{KV: []string{"kv.*"}, HTTP: []plugin.HTTPGrant{{URL: "https://a.example/x/"}}}
	one := func(hook string, build func(p *pdk) []byte, texts ...string) []byte {
		p := newPDK(texts...)
		return p.on(hook, build(p)).Bytes()
	}
	const request = `{"url":"https://a.example/x/y","method":"POST","headers":{"X-A":"1"}}`
	for name, c := range map[string]struct {
		wasm   []byte
		hook   plugin.Hook
		grants plugin.Grants
		want   string // the answer, or a part of the error
	}{
		"output":           {allowing(), plugin.Message, grants, allow},
		"nothing":          {one("notify", func(*pdk) []byte { return asm.Code(0) }), plugin.Notify, grants, "not mine"},
		"config":           {one("notify", func(p *pdk) []byte { return asm.Code(says(asm.Code(p.text(0), asm.Call(xConfig))), 0) }, "greeting"), plugin.Notify, grants, `{"hi":1}`},
		"config, a number": {one("notify", func(p *pdk) []byte { return asm.Code(p.text(0), asm.Call(xConfig), asm.Call(xError), 0) }, "n"), plugin.Notify, grants, "failed: 7"},
		"config, none":     {one("notify", func(p *pdk) []byte { return asm.Code(p.text(0), asm.Call(xConfig), wrap) }, "none"), plugin.Notify, grants, "not mine"},
		"input": {one("notify", func(p *pdk) []byte {
			return asm.Code(asm.Call(xInputOffset), asm.Call(xInputLength), asm.Call(xOutput), 0)
		}), plugin.Notify, grants, `{"in":1}`},
		"input by bytes": {one("notify", func(p *pdk) []byte {
			return asm.Code(asm.Call(xInputLength), asm.Call(xAlloc), wrap, asm.Set(1),
				8, asm.Set(2), asm.Loop, asm.Void, asm.Get(2), 1, asm.I32Sub, asm.Set(2),
				asm.Get(1), asm.Get(2), asm.I32Add, extend, asm.Get(2), extend, asm.Call(xInput8), asm.Call(xStore8), asm.Get(2), asm.BrIf(0), asm.End,
				says(asm.Code(asm.Get(1), extend)), 0)
		}), plugin.Notify, grants, `{"in":1}`},
		"input by words": {one("notify", func(p *pdk) []byte {
			return asm.Code(long(8), asm.Call(xAlloc), wrap, asm.Set(1), asm.Get(1), extend, long(0), asm.Call(xInput64), asm.Call(xStore64),
				asm.Get(1), extend, asm.Call(xLoad64), long(0), asm.Call(xInput64), unequal, asm.If, asm.Void, asm.Unreachable, asm.End,
				says(asm.Code(asm.Get(1), extend)), 0)
		}), plugin.Notify, grants, `{"in":1}`},
		"an error": {one("notify", func(p *pdk) []byte { return asm.Code(p.text(0), asm.Call(xError), 0) }, "the disk is full"), plugin.Notify, grants, "failed: the disk is full"},
		"a status": {one("notify", func(p *pdk) []byte { return asm.Code(-3) }), plugin.Notify, grants, "failed: status 1 without a text"},
		"a var": {one("notify", func(p *pdk) []byte {
			return asm.Code(p.text(0), p.text(1), asm.Call(xVarSet), says(asm.Code(p.text(0), asm.Call(xVarGet))), 0)
		}, "k", `{"v":2}`), plugin.Notify, grants, `{"v":2}`},
		"a var removed": {one("notify", func(p *pdk) []byte {
			return asm.Code(p.text(0), p.text(1), asm.Call(xVarSet), p.text(0), long(0), asm.Call(xVarSet), p.text(0), asm.Call(xVarGet), wrap)
		}, "k", `{}`), plugin.Notify, grants, "not mine"},
		"a var not granted": {one("notify", func(p *pdk) []byte { return asm.Code(p.text(0), p.text(1), asm.Call(xVarSet), 0) }, "k", `{}`), plugin.Notify, plugin.Grants{}, "var_set: not granted"},
		"http":              {one("notify", func(p *pdk) []byte { return asm.Code(says(asm.Code(p.text(0), p.text(1), asm.Call(xHTTP))), 0) }, request, "body"), plugin.Notify, grants, `{"answer":"of the server"}`},
		"http, its status": {one("notify", func(p *pdk) []byte {
			return asm.Code(p.text(0), long(0), asm.Call(xHTTP), wrap, asm.Drop, asm.Call(xStatus), 201, asm.I32Sub)
		}, request), plugin.Notify, grants, "not mine"},
		"http, its headers": {one("notify", func(p *pdk) []byte {
			return asm.Code(p.text(0), p.text(1), asm.Call(xHTTP), wrap, asm.Drop, says(asm.Call(xHeaders)), 0)
		}, request, "body"), plugin.Notify, grants, `{"x-saw":"POST 1 body"}`},
		"http, not granted":  {one("notify", func(p *pdk) []byte { return asm.Code(p.text(0), long(0), asm.Call(xHTTP), wrap) }, `{"url":"https://b.example/"}`), plugin.Notify, grants, "http_request: no grant for https://b.example:443/"},
		"http, too large":    {one("notify", func(p *pdk) []byte { return asm.Code(p.text(0), long(2<<20), asm.Call(xAlloc), asm.Call(xHTTP), wrap) }, request), plugin.Notify, grants, "a body of 2097152, at most 262144 and 1048576"},
		"http, a large head": {one("notify", func(p *pdk) []byte { return asm.Code(long(300<<10), asm.Call(xAlloc), long(0), asm.Call(xHTTP), wrap) }), plugin.Notify, grants, "a request of 307200 bytes"},
		"http, of a policy":  {one("message", func(p *pdk) []byte { return asm.Code(p.text(0), long(0), asm.Call(xHTTP), wrap) }, request), plugin.Message, grants, "a policy decides from its input alone"},
		"a handler's answer": {one("handle", func(p *pdk) []byte { return asm.Code(says(p.text(0)), 0) }, `{"status":"ok","data":1}`), plugin.Handle, grants, `{"status":"ok","data":1}`},
		"a freed block": {one("notify", func(p *pdk) []byte {
			return asm.Code(p.text(0), wrap, asm.Set(0), asm.Get(0), extend, asm.Call(xFree), asm.Get(0), extend, asm.Call(xLogInfo), 0)
		}, "x"), plugin.Notify, grants, "there is no block at"},
		"without its export": {newPDK().on("nothing", 0).Bytes(), plugin.Notify, grants, "it answers no hook"},
		"another's function": {func() []byte {
			m := &asm.Module{}
			m.Import("extism:host/user", "sql", i64s(1), i64s(1))
			m.Memory(1, -1)
			m.Export("on_message", m.Func(nil, i32s(1), 0, 0))
			return m.Bytes()
		}(), plugin.Message, grants, "a function of the program that it was made for"},
		"an export's type": {func() []byte { p := newPDK(); p.Export("on_message", p.Func(i32s(1), i32s(1), 0, 0)); return p.Bytes() }(), plugin.Message, grants, "exports on_message with another type than () -> (i32)"},
		"an export of no status": {func() []byte {
			p := newPDK(allow)
			p.Export("on_message", p.Func(nil, nil, 4, says(p.text(0))))
			return p.Bytes()
		}(), plugin.Message, grants, allow},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := h.Load(context.Background(), plugin.Spec{Bytes: c.wasm, Name: "x", Grants: c.grants, KV: &plugin.MemoryKV{}, RoundTrip: server,
				Config: []byte(`{"greeting":"{\"hi\":1}","n":7,"none":null}`)})
			var r plugin.Result
			if err == nil {
				defer p.Close()
				if p.Info().Kind != "extism" {
					t.Errorf("kind %q", p.Info().Kind)
				}
				r, err = p.Call(t.Context(), c.hook, []byte(`{"in":1}`))
			}
			got := string(r.Output)
			if r.NotMine() {
				got = "not mine"
			}
			if err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got != c.want {
				t.Errorf("%s, %v: want %s", got, err, c.want)
			}
		})
	}
}

// TestExtismStarts has what initialises each language's runtime run before the first call, and once.
func TestExtismStarts(t *testing.T) {
	h := newHost(t)
	for name, exports := range map[string][]string{
		"a reactor": {"_initialize", "__wasm_call_ctors"}, "constructors": {"__wasm_call_ctors"}, "Haskell": {"_initialize", "hs_init"},
	} {
		p := newPDK(allow)
		p.Global(0)
		for i, export := range exports {
			if name == "a reactor" && i == 1 {
				p.Export(export, p.Func(nil, nil, 0, asm.Unreachable)) // the reactor has called them
				continue
			}
			var params []byte
			if export == "hs_init" {
				params = i32s(2)
			}
			p.Export(export, p.Func(params, nil, 0, asm.GlobalGet(0), 1, asm.I32Add, asm.GlobalSet(0)))
		}
		want := len(exports)
		if name == "a reactor" {
			want = 1
		}
		wasm := p.on("message", asm.GlobalGet(0), want, asm.I32Sub, asm.If, asm.Void, asm.Unreachable, asm.End, says(p.text(0)), 0).Bytes()
		l := load(t, h, plugin.Spec{Name: "x", Bytes: wasm})
		for range 2 {
			if got := call(t, l, plugin.Message, `{}`); got != allow {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}

// extismHostiles are modules that misuse the kernel.
func extismHostiles() []hostile {
	late := []core.Kind{plugin.Timeout, plugin.Limit}
	mk := func(name string, want []core.Kind, body ...any) hostile {
		p := newPDK(allow, "x")
		return hostile{"extism: " + name, p.on("notify", asm.Code(body...), says(p.text(0)), 0).Bytes(), want}
	}
	drop := asm.Drop
	far := long(1 << 40)
	list := []hostile{
		mk("load far outside", trap, far, asm.Call(xLoad8), drop),
		mk("load at 0", trap, long(0), asm.Call(xLoad8), drop),
		mk("load below 0", trap, long(-1), asm.Call(xLoad64), drop),
		mk("load of 8 over the end", trap, long(16), asm.Call(xLoad64), drop),
		mk("store far outside", trap, far, 1, asm.Call(xStore8)),
		mk("store of 8 far outside", trap, long(-4), long(1), asm.Call(xStore64)),
		mk("input past its end", trap, long(7), asm.Call(xInput8), drop),
		mk("input of 8 past its end", trap, long(1), asm.Call(xInput64), drop),
		mk("input below 0", trap, long(-1), asm.Call(xInput64), drop),
		mk("an output far outside", trap, far, long(8), asm.Call(xOutput)),
		mk("an output that wraps around", []core.Kind{plugin.Trap, plugin.Limit}, long(8), long(-4), asm.Call(xOutput)),
		mk("an output of 2^62 bytes", []core.Kind{plugin.Trap, plugin.Limit}, long(8), long(1<<62), asm.Call(xOutput)),
		mk("an error of no block", trap, long(12345), asm.Call(xError)),
		mk("a configuration of no block", trap, long(3), asm.Call(xConfig), wrap, drop),
		mk("a var of no block", trap, long(3), asm.Call(xVarGet), wrap, drop),
		mk("a var's value of no block", trap, long(3), long(5), asm.Call(xVarSet)),
		mk("a request of no block", trap, long(3), long(0), asm.Call(xHTTP), wrap, drop),
		mk("a line of no block", trap, long(3), asm.Call(xLogInfo)),
		mk("a block in the middle of another", trap, long(64), asm.Call(xAlloc), wrap, 8, asm.I32Add, extend, asm.Call(xLogInfo)),
		mk("free twice, and of nothing", nil, long(64), asm.Call(xAlloc), wrap, asm.Tee(1), extend, asm.Call(xFree), asm.Get(1), extend, asm.Call(xFree), far, asm.Call(xFree)),
		mk("alloc of 2^63", nil, long(-1), asm.Call(xAlloc), wrap, asm.If, asm.Void, asm.Unreachable, asm.End),
		mk("alloc without end", []core.Kind{"", plugin.Timeout}, asm.Times(1, 200_000, long(1<<20), asm.Call(xAlloc), wrap, drop)),
		mk("blocks of nothing without end", late, asm.Forever(long(0), asm.Call(xAlloc), wrap, drop)),
		mk("alloc and free without end", late, asm.Forever(long(4096), asm.Call(xAlloc), asm.Call(xFree))),
		mk("lines without end", append(late, plugin.Trap), asm.Forever(long(8), asm.Call(xAlloc), asm.Call(xLogInfo))),
		mk("loads without end", late, asm.Forever(asm.Call(xInputOffset), asm.Call(xLoad8), drop)),
		mk("lengths without end", late, asm.Forever(far, asm.Call(xLength), wrap, drop)),
		mk("randomness far outside", trap, -1, 1<<20, asm.Call(xRandom), drop),
		mk("an endless loop", timeout, asm.Forever()),
		mk("a crash", trap, asm.Unreachable),
	}
	for i, m := range list {
		if m.name == "extism: blocks of nothing without end" {
			list[i].want = []core.Kind{plugin.Timeout, plugin.Limit, plugin.Trap} // no block is left for its answer
		}
	}
	starts := newPDK(allow)
	starts.Start(starts.Func(nil, nil, 1, long(8), asm.Call(xAlloc), wrap, asm.Drop))
	list = append(list, hostile{"extism: a host call in its start", starts.on("notify", says(starts.text(0)), 0).Bytes(), []core.Kind{plugin.Trap, plugin.BadModule}})
	endless := newPDK(allow)
	endless.Export("_initialize", endless.Func(nil, nil, 0, asm.Forever()))
	list = append(list, hostile{"extism: an initialisation without end", endless.on("notify", 0).Bytes(), late})
	wide := newPDK(allow)
	wide.Export("hs_init", wide.Func(i32s(9), nil, 0))
	list = append(list, hostile{"extism: an initialisation of nine numbers", wide.on("notify", 0).Bytes(), badMod})
	return list
}

// TestExtismBlocksCount has the blocks and the memory of an instance stay below memory_mib together.
func TestExtismBlocksCount(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Name: "x", Bytes: allowing(long(3<<20), asm.Call(xAlloc), wrap, asm.If, asm.Void, asm.Unreachable, asm.End,
		long(1<<20), asm.Call(xAlloc), wrap, asm.I32Eqz, asm.If, asm.Void, asm.Unreachable, asm.End,
		160, asm.MemoryGrow, 1, asm.I32Add, asm.If, asm.Void, asm.Unreachable, asm.End), Limits: plugin.Limits{MemoryMiB: 16}})
	for range 3 {
		if got := call(t, p, plugin.Message, `{}`); got != allow {
			t.Errorf("%s", got)
		}
	}
}
