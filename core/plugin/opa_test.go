package plugin_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
)

// The functions that every module made here imports from env, by index.
const (
	fAbort uint32 = iota
	fPrintln
	fBuiltin0
	fBuiltin1
	fBuiltin2
	opaImports
)

// Where the texts are in a module's memory.
const (
	opaEntries  = 64
	opaBuiltins = 512
	opaResult   = 1024
	opaHeap     = 8192
)

// rego is a module that looks as if "opa build" had made it. What is not set is as it should be.
type rego struct {
	entries, builtins, result string
	abi                       int
	bodies                    map[string][]byte // by export, in place of what they do
	without                   string            // this export is not there
	memory                    func(*asm.Module)
	start                     []byte
}

func (r rego) bytes() []byte {
	m := &asm.Module{}
	m.Import("env", "opa_abort", i32s(1), nil)
	m.Import("env", "opa_println", i32s(1), nil)
	for n := range 3 {
		m.Import("env", "opa_builtin"+string(rune('0'+n)), i32s(2+n), i32s(1))
	}
	if r.memory == nil {
		m.ImportMemory("env", "memory", 2, -1)
	} else {
		r.memory(m)
	}
	or := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	m.Data(opaEntries, or(r.entries, `{"ogp/message":0}`)+"\x00")
	m.Data(opaBuiltins, or(r.builtins, `{}`)+"\x00")
	m.Data(opaResult, or(r.result, `[{"result":"allow"}]`)+"\x00")
	if r.abi == 0 {
		r.abi = 1
	}
	m.Global(r.abi)
	m.ExportKind("opa_wasm_abi_version", 3, 0)
	for _, f := range []struct {
		name            string
		params, results int
		body            []byte
	}{
		{"opa_eval", 7, 1, asm.Code(opaResult)}, {"opa_malloc", 1, 1, asm.Code(4096)}, {"opa_free", 1, 0, nil},
		{"opa_json_parse", 2, 1, asm.Get(0)}, {"opa_json_dump", 1, 1, asm.Get(0)},
		{"opa_heap_ptr_get", 0, 1, asm.Code(opaHeap)}, {"opa_heap_ptr_set", 1, 0, nil}, {"opa_heap_blocks_stash", 0, 0, nil},
		{"entrypoints", 0, 1, asm.Code(opaEntries)}, {"builtins", 0, 1, asm.Code(opaBuiltins)},
	} {
		if body, ok := r.bodies[f.name]; ok {
			f.body = body
		}
		i := m.Func(i32s(f.params), i32s(f.results), 4, f.body)
		if f.name != r.without {
			m.Export(f.name, i)
		}
	}
	if r.start != nil {
		m.Start(m.Func(nil, nil, 1, r.start))
	}
	return m.Bytes()
}

func body(name string, parts ...any) map[string][]byte {
	return map[string][]byte{name: asm.Code(parts...)}
}

// TestRegoABI goes over what the host wants of a Rego module and what it makes of it.
func TestRegoABI(t *testing.T) {
	if testing.Short() {
		t.Skip("a table of single calls: with the race detector in it, compiling takes ten times as long")
	}
	h := newHost(t)
	const both = `{"ogp/message":0,"ogp/request":1}`
	for name, c := range map[string]struct {
		module   rego
		manifest plugin.Manifest
		hooks    string
		want     string // the answer, or a part of the error
	}{
		"as it is":            {module: rego{}, hooks: "message", want: `{"decision":"allow"}`},
		"its own memory":      {module: rego{memory: memory(2, -1)}, hooks: "message", want: `{"decision":"allow"}`},
		"undefined":           {module: rego{result: `[]`}, hooks: "message", want: `{"decision":"deny","reason":"ogp/message is undefined"}`},
		"by the hook's name":  {module: rego{entries: both}, hooks: "message", want: `{"decision":"allow"}`},
		"the only one":        {module: rego{entries: `{"a/b":0}`}, hooks: "message", want: `{"decision":"allow"}`},
		"named with dots":     {module: rego{entries: `{"a/deny":0,"b":1}`, result: `[{"result":["x"]}]`}, manifest: plugin.Manifest{Entrypoints: map[plugin.Hook]string{"policy": "data.a.deny"}}, hooks: "message", want: `{"decision":"deny","reason":"x"}`},
		"both hooks":          {module: rego{entries: both}, manifest: plugin.Manifest{Hooks: []plugin.Hook{"request", "message"}}, hooks: "request message", want: `{"decision":"allow"}`},
		"both by entrypoints": {module: rego{entries: both}, manifest: plugin.Manifest{Entrypoints: map[plugin.Hook]string{"request": "ogp/request", "message": "ogp/message"}}, hooks: "request message", want: `{"decision":"allow"}`},
		"which of two":        {module: rego{entries: `{"a":0,"b":1}`}, want: `which entry point answers "message"?`},
		"one is not for both": {module: rego{entries: `{"a":0}`}, manifest: plugin.Manifest{Hooks: []plugin.Hook{"request"}}, want: `which entry point answers "request"?`},
		"not there":           {module: rego{}, manifest: plugin.Manifest{Entrypoints: map[plugin.Hook]string{"message": "x"}}, want: `names the entry point "x"; it has ogp/message`},
		"no notifier":         {module: rego{}, manifest: plugin.Manifest{Hooks: []plugin.Hook{"notify"}}, want: `a Rego module answers "request" and "message"`},
		"http.send":           {module: rego{builtins: `{"http.send":0}`}, want: `"http.send" (a policy decides from its input alone)`},
		"rand.intn":           {module: rego{builtins: `{"rand.intn":0}`}, want: `"rand.intn" (a policy decides the same when it is asked again)`},
		"old ABI":             {module: rego{abi: 2}, want: `not of version 1`},
		"no opa_eval":         {module: rego{without: "opa_eval"}, want: `does not export opa_eval`},
		"abi ogp_v1":          {module: rego{}, manifest: plugin.Manifest{ABI: "ogp_v1"}, want: `the manifest says ogp_v1, but`},
		"gives up":            {module: rego{bodies: body("opa_eval", opaResult, asm.Call(fAbort), 0)}, want: `gave up: [{"result"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.manifest
			m.Name = "x"
			p, err := h.Load(context.Background(), plugin.Spec{Bytes: c.module.bytes(), Manifest: &m})
			if err == nil {
				defer p.Close()
				if p.Info().Kind != "opa" {
					t.Errorf("kind %q", p.Info().Kind)
				}
				var hooks []string
				for _, hook := range p.Info().Hooks {
					hooks = append(hooks, string(hook))
				}
				if got := strings.Join(hooks, " "); c.hooks != "" && got != c.hooks {
					t.Errorf("hooks %s, want %s", got, c.hooks)
				}
				var r plugin.Result
				if r, err = p.Call(t.Context(), plugin.Message, []byte(`{"now":"2026-11-28T00:00:00Z"}`)); err == nil {
					if string(r.Output) != c.want || r.FuelUsed < 1 || r.MemoryBytes < 2<<16 {
						t.Errorf("%s: %+v, want %s", r.Output, r, c.want)
					}
					return
				}
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// regoHostiles are modules that look like Rego and are not.
func regoHostiles() []hostile {
	forever := asm.Forever()
	far := asm.Code(-8)
	bad := []core.Kind{plugin.Trap, plugin.Limit, plugin.BadModule, plugin.BadAnswer}
	late := []core.Kind{plugin.Timeout, plugin.Limit}
	mk := func(name string, want []core.Kind, r rego) hostile { return hostile{"rego: " + name, r.bytes(), want} }
	list := []hostile{
		mk("eval that recurses", anyTrap, rego{bodies: body("opa_eval", asm.Get(0), asm.Get(0), asm.Get(0), asm.Get(0), asm.Get(0), asm.Get(0), asm.Get(0), asm.Call(opaImports))}),
		mk("eval far outside", bad, rego{bodies: body("opa_eval", far)}),
		mk("a result without an end", bad, rego{bodies: body("opa_eval", 16384, 7, 131072-16384, asm.MemoryFill, 16384)}),
		mk("a result of 3 MiB", bad, rego{bodies: body("opa_eval", 64, asm.MemoryGrow, asm.Drop, 131072, 32, 3<<20, asm.MemoryFill, 131072)}),
		mk("a result that is no JSON", bad, rego{result: "nope"}),
		mk("a deep result", bad, rego{result: strings.Repeat("[", 6000)}),
		mk("a result with two members", bad, rego{result: `[{"result":true,"result":false}]`}),
		mk("entry points that are no JSON", badMod, rego{entries: "{"}),
		mk("entry points with texts", badMod, rego{entries: `{"a":"b"}`}),
		mk("no entry points", badMod, rego{entries: `{}`}),
		mk("a million levels of built-ins", badMod, rego{builtins: strings.Repeat(`[`, 400)}),
		mk("an unknown built-in", badMod, rego{builtins: `{"opa.runtime":1}`}),
		mk("heap outside", bad, rego{bodies: body("opa_heap_ptr_get", far)}),
		mk("heap over its code's data", nil, rego{bodies: body("opa_heap_ptr_get", 0)}),
		mk("malloc outside", bad, rego{bodies: body("opa_malloc", far)}),
		mk("parse gives nothing", bad, rego{bodies: body("opa_json_parse", 0)}),
		mk("abort far outside", bad, rego{bodies: body("opa_eval", far, asm.Call(fAbort), 0)}),
		mk("println far outside", bad, rego{bodies: body("opa_eval", far, asm.Call(fPrintln), 0)}),
		mk("println without end", late, rego{bodies: body("opa_eval", asm.Forever(opaResult, asm.Call(fPrintln)), 0)}),
		mk("a built-in that it has not named", trap, rego{bodies: body("opa_eval", 9, 0, asm.Call(fBuiltin0))}),
		mk("a built-in with another number of arguments", trap, rego{builtins: `{"sprintf":0}`, bodies: body("opa_eval", 0, 0, asm.Call(fBuiltin0))}),
		mk("a built-in of nonsense", bad, rego{builtins: `{"sprintf":0}`, bodies: body("opa_eval", 0, 0, opaResult, 0, asm.Call(fBuiltin2))}),
		mk("a built-in's argument far outside", bad, rego{builtins: `{"trace":0}`, bodies: body("opa_eval", 0, 0, far, asm.Call(fBuiltin1))}),
		mk("built-ins without end", late, rego{builtins: `{"time.now_ns":0}`, bodies: body("opa_eval", asm.Forever(0, 0, asm.Call(fBuiltin0), asm.Drop), 0)}),
		mk("a built-in within a built-in", trap, rego{builtins: `{"trace":0,"time.now_ns":1}`, bodies: map[string][]byte{
			"opa_eval": asm.Code(0, 0, opaResult, asm.Call(fBuiltin1)), "opa_json_dump": asm.Code(asm.Get(0), opaResult, []byte{0x46}, asm.If, asm.Void, 1, 0, asm.Call(fBuiltin0), asm.Drop, asm.End, asm.Get(0))}}),
		mk("a built-in in its start", bad, rego{start: asm.Code(0, 0, asm.Call(fBuiltin0), asm.Drop)}),
		mk("a start without end", []core.Kind{plugin.Limit, plugin.Timeout, plugin.BadModule}, rego{start: forever}),
		mk("a memory of 4 GiB", badMod, rego{memory: func(m *asm.Module) { m.ImportMemory("env", "memory", 65536, -1) }}),
		mk("two memories", badMod, rego{memory: func(m *asm.Module) {
			m.ImportMemory("env", "memory", 2, -1)
			m.ImportMemory("env", "memory2", 2, -1)
		}}),
		mk("an imported memory and its own", badMod, rego{memory: func(m *asm.Module) {
			m.ImportMemory("env", "memory", 2, -1)
			m.Memory(1, -1)
		}}),
		mk("an import that there is not", badMod, rego{memory: func(m *asm.Module) {
			m.Import("env", "system", i32s(1), nil)
			m.ImportMemory("env", "memory", 2, -1)
		}}),
		mk("WASI", badMod, rego{memory: func(m *asm.Module) {
			m.Import("wasi_snapshot_preview1", "proc_exit", i32s(1), nil)
			m.ImportMemory("env", "memory", 2, -1)
		}}),
		mk("eval grows without end", nil, rego{bodies: body("opa_eval", asm.Times(7, 100_000, 1, asm.MemoryGrow, asm.Drop), opaResult)}),
	}
	for _, name := range []string{"opa_eval", "opa_malloc", "entrypoints"} {
		m := rego{bodies: map[string][]byte{name: asm.Code(forever, asm.Unreachable)}}
		list = append(list, mk(name+" without end", []core.Kind{plugin.Timeout, plugin.Limit}, m))
	}
	return list
}

// TestRegoInputIsBounded grows the memory for a large input, and no further than it may.
func TestRegoInputIsBounded(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: rego{}.bytes(), Limits: plugin.Limits{MemoryMiB: 1}})
	if _, err := p.Call(t.Context(), plugin.Message, []byte(`{"x":"`+strings.Repeat("x", 2<<20)+`"}`)); !errors.Is(err, plugin.Limit) {
		t.Errorf("an input larger than the memory: %v, want Limit", err)
	}
	if got := call(t, p, plugin.Message, `{"x":"`+strings.Repeat("x", 600<<10)+`"}`); got != allow {
		t.Errorf("the next: %s", got)
	}
}
