// Package extism runs plugins that were made with an Extism PDK, as they are. What Extism calls its kernel, the
// blocks of memory that host and guest share, is here in Go. A hook is asked by the export "on_" and its name; the
// input is the question, the output the answer.
//
// The functions are those of extism:host/env: https://extism.org/docs/concepts/pdk
package extism

import (
	"encoding/binary"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
)

const (
	env = "extism:host/env"
	// smallest is what an address begins at: 0 is no block.
	smallest = 8
	// keep is the largest arena that is kept between calls, in bytes.
	keep = 1 << 20
	// maxBlocks bounds the blocks of one call.
	maxBlocks = 100_000
)

// Kind is the kind of these plugins.
var Kind = guest.Kind{
	Name: "extism",
	Is: func(imports []string, _ func(string) bool) bool {
		for _, name := range imports {
			if strings.HasPrefix(name, "extism:host/") {
				return true
			}
		}
		return false
	},
	Hooks: func(exports func(string) bool) (out []core.Hook) {
		for _, r := range core.Hooks {
			if exports(export(r.Hook)) {
				out = append(out, r.Hook)
			}
		}
		return out
	},
	Imports: map[string]map[string]guest.Func{env: imports},
	WASI:    true,
	Blocks:  true,
	Missing: func(module, name string) string {
		if module == "extism:host/user" {
			return "a function of the program that it was made for, which is not this one"
		}
		return "and there is only " + env + " and wasi_snapshot_preview1"
	},
	Exports: func(hooks []core.Hook) (map[string]string, error) {
		out := map[string]string{}
		for _, h := range hooks {
			out[export(h)] = ":i|:"
		}
		return out, nil
	},
	New: start,
}

func export(h core.Hook) string { return "on_" + string(h) }

// plugin is an instance with its kernel.
type plugin struct {
	h      guest.Host
	hooks  map[core.Hook]api.Function
	config map[string]string

	// The blocks of the call: addresses are offsets into arena, lengths by address.
	arena  []byte
	blocks map[uint64]uint64
	input  uint64
	length uint64
	output []byte
	failed string
	status uint64 // of the last HTTP answer
	header uint64 // block with its headers
	stack  [2]uint64
}

// start runs what initialises the language's runtime: the first that there is of Haskell's, a WASI reactor's and
// C's constructors.
func start(h guest.Host) (guest.Guest, error) {
	p := &plugin{h: h, hooks: map[core.Hook]api.Function{}, blocks: map[uint64]uint64{}}
	p.reset()
	h.Becomes(p)
	var err error
	if p.config, err = texts(h.Config()); err != nil {
		return nil, err
	}
	m := h.Module()
	names := []string{"_initialize"}
	switch {
	case m.ExportedFunction("hs_init") != nil:
		names = append(names, "hs_init")
	case m.ExportedFunction("_initialize") == nil:
		names = []string{"__wasm_call_ctors"}
	}
	for _, name := range names {
		f := m.ExportedFunction(name)
		if f == nil {
			continue
		}
		if len(f.Definition().ParamTypes()) > len(p.stack) || len(f.Definition().ResultTypes()) > len(p.stack) {
			return nil, guest.Abortf(guest.BadModule, "exports %s with another type than it should have", name)
		}
		p.stack = [2]uint64{}
		if err := h.Run(f, p.stack[:]); err != nil {
			return nil, err
		}
	}
	for _, r := range core.Hooks {
		p.hooks[r.Hook] = m.ExportedFunction(export(r.Hook))
	}
	return p, nil
}

// Call asks the hook's export. A status that is not 0, or an error that was set, is an orderly failure; no output is
// "not mine".
func (p *plugin) Call(hook core.Hook, input []byte) (int32, error) {
	p.reset()
	p.length = uint64(len(input))
	if p.input = p.put(input); p.input == 0 {
		return 0, guest.Abortf(guest.Limit, "its input does not fit into its %d KiB of blocks: memory_mib in [limits] gives it more", p.h.BlockLimit()>>10)
	}
	p.stack = [2]uint64{}
	f := p.hooks[hook]
	if err := p.h.Run(f, p.stack[:]); err != nil {
		return 0, err
	}
	status := int32(0)
	if len(f.Definition().ResultTypes()) > 0 {
		status = int32(p.stack[0])
	}
	switch {
	case p.failed != "":
		p.h.Answer([]byte(p.failed))
		return 1, nil
	case status != 0:
		p.h.Answer(p.output)
		return max(status, 1), nil
	case len(p.output) == 0:
		return -1, nil
	}
	p.h.Answer(p.output)
	return 0, nil
}

func (p *plugin) reset() {
	if cap(p.arena) > keep {
		p.arena = nil
	}
	p.arena = append(p.arena[:0], make([]byte, smallest)...)
	clear(p.blocks)
	p.output, p.failed, p.status, p.header, p.input, p.length = nil, "", 0, 0, 0, 0
}

// alloc gives a block of zeros, or 0 where there is no room.
func (p *plugin) alloc(n uint64) uint64 {
	at := (uint64(len(p.arena)) + 7) &^ 7
	limit := uint64(p.h.BlockLimit())
	if n > limit || at+n > limit || len(p.blocks) >= maxBlocks {
		return 0
	}
	p.h.Spend(int64(n) / 64)
	end := at + n
	if end > uint64(cap(p.arena)) {
		bigger := make([]byte, len(p.arena), min(2*end+4096, limit))
		copy(bigger, p.arena)
		p.arena = bigger
	}
	was := len(p.arena)
	p.arena = p.arena[:end]
	clear(p.arena[was:])
	p.blocks[at] = n
	return at
}

// put gives a block with a copy of b, or 0 where there is no room.
func (p *plugin) put(b []byte) uint64 {
	at := p.alloc(uint64(len(b)))
	if at != 0 {
		copy(p.arena[at:], b)
	}
	return at
}

// block gives the bytes of a block; anything else than a block's address ends the call.
func (p *plugin) block(what string, at uint64) []byte {
	n, ok := p.blocks[at]
	if !ok {
		guest.Stop(guest.Trap, "%s: there is no block at %#x", what, at)
	}
	p.h.Spend(int64(n) / 64)
	return p.arena[at : at+n]
}

// span gives n bytes within the blocks.
func (p *plugin) span(what string, at, n uint64) []byte {
	if at < smallest || at > uint64(len(p.arena)) || n > uint64(len(p.arena))-at {
		guest.Stop(guest.Trap, "%s: %d bytes at %#x are outside of its blocks", what, n, at)
	}
	return p.arena[at : at+n]
}

// asked gives n bytes of the input.
func (p *plugin) asked(what string, at, n uint64) []byte {
	if at > p.length || n > p.length-at {
		guest.Stop(guest.Trap, "%s: %d bytes at %d of an input of %d", what, n, at, p.length)
	}
	return p.arena[p.input+at : p.input+at+n]
}

// imports are the functions of extism:host/env.
var imports = map[string]guest.Func{
	"alloc": of("I:I", func(p *plugin, s []uint64) { s[0] = p.alloc(s[0]) }),
	"free":  of("I:", func(p *plugin, s []uint64) { delete(p.blocks, s[0]) }),
	"length": of("I:I", func(p *plugin, s []uint64) {
		s[0] = p.blocks[s[0]] // 0 for what is none, as in Extism
	}),
	"length_unsafe":  of("I:I", func(p *plugin, s []uint64) { s[0] = p.blocks[s[0]] }),
	"load_u8":        of("I:i", func(p *plugin, s []uint64) { s[0] = uint64(p.span("load_u8", s[0], 1)[0]) }),
	"load_u64":       of("I:I", func(p *plugin, s []uint64) { s[0] = binary.LittleEndian.Uint64(p.span("load_u64", s[0], 8)) }),
	"store_u8":       of("Ii:", func(p *plugin, s []uint64) { p.span("store_u8", s[0], 1)[0] = byte(s[1]) }),
	"store_u64":      of("II:", func(p *plugin, s []uint64) { binary.LittleEndian.PutUint64(p.span("store_u64", s[0], 8), s[1]) }),
	"input_length":   of(":I", func(p *plugin, s []uint64) { s[0] = p.length }),
	"input_offset":   of(":I", func(p *plugin, s []uint64) { s[0] = p.input }),
	"input_load_u8":  of("I:i", func(p *plugin, s []uint64) { s[0] = uint64(p.asked("input_load_u8", s[0], 1)[0]) }),
	"input_load_u64": of("I:I", func(p *plugin, s []uint64) { s[0] = binary.LittleEndian.Uint64(p.asked("input_load_u64", s[0], 8)) }),
	"output_set": of("II:", func(p *plugin, s []uint64) {
		if s[1] == 0 {
			p.output = nil
			return
		}
		if s[1] > guest.MaxOutput {
			guest.Stop(guest.Limit, "output_set: an output of %d bytes, at most %d", s[1], guest.MaxOutput)
		}
		p.output = append(p.output[:0:0], p.span("output_set", s[0], s[1])...)
		p.h.Spend(int64(s[1]) / 64)
	}),
	"error_set": of("I:", func(p *plugin, s []uint64) {
		if p.failed = ""; s[0] != 0 {
			b := p.block("error_set", s[0])
			if p.failed = string(b[:min(len(b), 4096)]); p.failed == "" {
				p.failed = "an error without a text"
			}
		}
	}),
	"config_get": of("I:I", func(p *plugin, s []uint64) {
		v, ok := p.config[string(p.block("config_get", s[0]))]
		if s[0] = 0; ok {
			s[0] = p.give("config_get", []byte(v))
		}
	}),
	"var_get": of("I:I", func(p *plugin, s []uint64) {
		v, ok, why := p.h.Var(string(p.block("var_get", s[0])))
		if why != "" {
			guest.Stop(guest.Failed, "var_get: %s", why)
		}
		if s[0] = 0; ok {
			s[0] = p.give("var_get", v)
		}
	}),
	"var_set": of("II:", func(p *plugin, s []uint64) {
		var v []byte // nil removes it
		if s[1] != 0 {
			v = append([]byte{}, p.block("var_set", s[1])...)
		}
		if why := p.h.SetVar(string(p.block("var_set", s[0])), v); why != "" {
			guest.Stop(guest.Failed, "var_set: %s", why)
		}
	}),
	"http_request":     of("II:I", httpRequest),
	"http_status_code": of(":i", func(p *plugin, s []uint64) { s[0] = p.status }),
	"http_headers":     of(":I", func(p *plugin, s []uint64) { s[0] = p.header }),
	"get_log_level":    of(":i", func(_ *plugin, s []uint64) { s[0] = 1 }), // the host's log has its own
	"log_trace":        logs(0),
	"log_debug":        logs(0),
	"log_info":         logs(1),
	"log_warn":         logs(2),
	"log_error":        logs(3),
}

// of is a function of the kernel.
func of(sig string, f func(p *plugin, s []uint64)) guest.Func {
	return guest.Func{Sig: sig, F: func(h guest.Host, _ api.Module, s []uint64) {
		p, ok := h.Guest().(*plugin)
		if !ok {
			guest.Stop(guest.Trap, "it calls its host in its start function, before it is initialised")
		}
		h.Enter(0)
		f(p, s)
	}}
}

func logs(level int32) guest.Func {
	return of("I:", func(p *plugin, s []uint64) {
		b := p.block("log", s[0])
		p.h.Log(level, b[:min(len(b), 8<<10)])
	})
}

// give is put for what the guest has asked for.
func (p *plugin) give(what string, b []byte) uint64 {
	at := p.put(b)
	if at == 0 {
		guest.Stop(guest.Limit, "%s: %d bytes do not fit into its %d KiB of blocks", what, len(b), p.h.BlockLimit()>>10)
	}
	return at
}
