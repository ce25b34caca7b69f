// Package opa runs Rego policies: modules that "opa build -t wasm" makes, as they are. The input document is what a
// policy is asked, the data document is the plugin's configuration, and what a rule gives becomes a verdict.
//
// The protocol is OPA's WebAssembly ABI 1.2: https://www.openpolicyagent.org/docs/wasm
package opa

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tetratelabs/wazero/api"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

// Kind is the kind of these modules.
var Kind = guest.Kind{
	Name: "opa",
	Is: func(_ []string, exports func(string) bool) bool {
		return exports("opa_malloc") && exports("opa_json_parse") && exports("entrypoints")
	},
	Hooks:       func(func(string) bool) []core.Hook { return []core.Hook{core.HookMessage} },
	Entrypoints: true,
	Prepare:     meter.OwnMemory,
	Imports:     map[string]map[string]guest.Func{"env": imports()},
	Missing: func(string, string) string {
		return "which a module of \"opa build -t wasm\" does not"
	},
	Exports: func(hooks []core.Hook) (map[string]string, error) {
		for _, h := range hooks {
			if h != core.HookMessage && h != core.HookRequest {
				return nil, fmt.Errorf("the manifest names the hook %q: a Rego module answers %q and %q", h, core.HookRequest, core.HookMessage)
			}
		}
		return map[string]string{
			"opa_eval": "iiiiiii:i", "opa_malloc": "i:i", "opa_free": "i:", "opa_json_parse": "ii:i", "opa_json_dump": "i:i",
			"opa_heap_ptr_get": ":i", "opa_heap_ptr_set": "i:", "opa_heap_blocks_stash": ":", "entrypoints": ":i", "builtins": ":i",
		}, nil
	},
	New: func(h guest.Host) (guest.Guest, error) {
		p := &policy{h: h, functions: map[string]api.Function{}, zones: map[string]*time.Location{}, entries: map[core.Hook]entry{}}
		if err := p.start(); err != nil {
			return nil, err
		}
		return p, nil
	},
}

// policy is an instance.
type policy struct {
	h         guest.Host
	functions map[string]api.Function
	builtins  map[int32]string
	entries   map[core.Hook]entry
	data      uint64
	heap      uint64 // where each call's heap begins
	stack     [7]uint64
	inside    bool // a built-in function is being called
	zones     map[string]*time.Location
}

// entry is an entry point.
type entry struct {
	id   uint64
	path string
}

// imports are what OPA's modules import.
func imports() map[string]guest.Func {
	say := func(h guest.Host, at uint64) string { return (&policy{h: h}).text(at) }
	out := map[string]guest.Func{
		"opa_abort": {Sig: "i:", F: func(h guest.Host, _ api.Module, s []uint64) {
			guest.Stop(guest.Trap, "the Rego module gave up: %s", say(h, s[0]))
		}},
		"opa_println": {Sig: "i:", F: func(h guest.Host, _ api.Module, s []uint64) { h.Log(0, []byte(say(h, s[0]))) }},
	}
	for n := range 5 {
		out[fmt.Sprintf("opa_builtin%d", n)] = guest.Func{Sig: "ii" + strings.Repeat("i", n) + ":i", F: func(h guest.Host, _ api.Module, s []uint64) {
			p, _ := h.Guest().(*policy)
			if p == nil {
				guest.Stop(guest.Trap, "it calls a built-in function at its start")
			}
			s[0] = p.builtin(int32(s[0]), s[2:2+n])
		}}
	}
	return out
}

// start reads what the module says of itself and puts the data document into its heap.
func (p *policy) start() error {
	major := p.h.Module().ExportedGlobal("opa_wasm_abi_version")
	if major == nil || uint32(major.Get()) != 1 {
		return guest.Abortf(guest.BadModule, "not of version 1 of OPA's WebAssembly ABI: build it with a newer opa")
	}
	if err := p.reads(); err != nil {
		return err
	}
	points, err := p.table("entrypoints")
	if err != nil {
		return err
	}
	needs, err := p.table("builtins")
	if err != nil {
		return err
	}
	p.builtins = map[int32]string{}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		if provided[name].f == nil {
			unknown = append(unknown, fmt.Sprintf("%q%s", name, why(name)))
		}
		p.builtins[needs[name]] = name
	}
	if len(unknown) > 0 {
		return guest.Abortf(guest.BadModule, "the policy calls %s, which this host does not have for a policy; it has %s",
			strings.Join(unknown, ", "), strings.Join(slices.Sorted(maps.Keys(provided)), ", "))
	}
	for _, hook := range []core.Hook{core.HookRequest, core.HookMessage} {
		e, err := choose(points, hook, p.h.Entrypoint(hook))
		if err != nil {
			if p.h.Answers(hook) {
				return guest.Abortf(guest.BadModule, "%v", err)
			}
			continue
		}
		p.entries[hook] = e
	}
	if p.data, err = p.parse(p.h.Config()); err != nil {
		return err
	}
	// What is free below the heap's end stays free for no call, so that a call leaves nothing behind.
	if _, err := p.run("opa_heap_blocks_stash"); err != nil {
		return err
	}
	p.heap, err = p.run("opa_heap_ptr_get")
	return err
}

// reads refuses a policy that names a member of the input which its manifest leaves out: it would be undefined, and a
// rule that is to deny would not. What a policy names is among the module's texts, which end with a zero each and stand one
// behind the other, after OPA's own "result".
func (p *policy) reads() error {
	left := p.h.LeftOut()
	if len(left) == 0 {
		return nil
	}
	memory, _ := p.h.Module().Memory().Read(0, p.h.Module().Memory().Size())
	found := map[string]bool{}
	for _, path := range left {
		all := true
		for name := range strings.SplitSeq(path, ".") {
			if _, looked := found[name]; !looked {
				found[name] = bytes.Contains(memory, []byte("\x00"+name+"\x00"))
			}
			all = all && found[name]
		}
		if all {
			return guest.Abortf(guest.BadModule, "the policy names %q, which \"reads\" in plugin.toml leaves out: add %q", last(strings.ReplaceAll(path, ".", "/")), path)
		}
	}
	return nil
}

// choose finds the entry point for a hook: the one that the manifest names, else the one whose last part is the
// hook's name. A message may also be put to the only one that there is, and a request may not: a rule that was
// written for messages would approve strangers.
func choose(points map[string]int32, hook core.Hook, named string) (entry, error) {
	all := slices.Sorted(maps.Keys(points))
	has := "it has " + strings.Join(all, ", ")
	if named != "" {
		path := strings.Trim(strings.ReplaceAll(strings.TrimPrefix(named, "data."), ".", "/"), "/")
		id, ok := points[path]
		if !ok {
			return entry{}, fmt.Errorf("the manifest names the entry point %q; %s", named, has)
		}
		return entry{uint64(uint32(id)), path}, nil
	}
	var found []string
	for _, path := range all {
		if last(path) == string(hook) {
			found = append(found, path)
		}
	}
	if len(found) == 0 && hook == core.HookMessage && len(all) == 1 {
		found = all
	}
	if len(found) != 1 {
		return entry{}, fmt.Errorf("which entry point answers %q? Name it in [entrypoints] of plugin.toml; %s", hook, has)
	}
	return entry{uint64(uint32(points[found[0]])), found[0]}, nil
}

func last(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Call evaluates the hook's entry point.
func (p *policy) Call(hook core.Hook, input []byte) (int32, error) {
	e := p.entries[hook]
	p.h.Enter(len(input))
	end := p.heap + uint64(len(input))
	if err := p.room(end + 8); err != nil {
		return 0, err
	}
	copy(p.h.View("input", uint32(p.heap), uint32(len(input))), input)
	p.stack = [7]uint64{0, e.id, p.data, p.heap, uint64(len(input)), (end + 7) &^ 7, 0}
	if err := p.h.Run(p.function("opa_eval"), p.stack[:]); err != nil {
		return 0, err
	}
	text := p.bytes(p.stack[0])
	p.h.Enter(len(text))
	answer, err := verdict(hook, e.path, text)
	if err != nil {
		return 0, guest.Abortf(guest.BadAnswer, "%v", err)
	}
	p.h.Answer(answer)
	return 0, nil
}

// room makes the memory reach to end.
func (p *policy) room(end uint64) error {
	memory := p.h.Module().Memory()
	size := uint64(memory.Size())
	if end <= size {
		return nil
	}
	if end > uint64(p.h.MemoryLimit()) {
		return guest.Abortf(guest.Limit, "its input does not fit into its memory of %d MiB", p.h.MemoryLimit()>>20)
	}
	p.h.Spend(int64(end-size) / 64)
	if _, ok := memory.Grow(uint32((end-size)>>16) + 1); !ok {
		return guest.Abortf(guest.Limit, "its input does not fit into its memory")
	}
	return nil
}

func (p *policy) function(name string) api.Function {
	f := p.functions[name]
	if f == nil {
		f = p.h.Module().ExportedFunction(name)
		p.functions[name] = f
	}
	return f
}

// run calls one of the module's own functions.
func (p *policy) run(name string, args ...uint64) (uint64, error) {
	stack := [2]uint64{}
	copy(stack[:], args)
	err := p.h.Run(p.function(name), stack[:])
	return stack[0], err
}

// bytes are those up to the next zero, until the guest runs again.
func (p *policy) bytes(at uint64) []byte {
	size := p.h.Module().Memory().Size()
	if uint32(at) >= size {
		guest.Stop(guest.Trap, "a text at %#x is outside of its memory", uint32(at))
	}
	n := min(size-uint32(at), guest.MaxOutput+1)
	b := p.h.View("text", uint32(at), n)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	guest.Stop(guest.Limit, "a text of more than %d bytes", guest.MaxOutput)
	return nil
}

func (p *policy) text(at uint64) string {
	b := p.bytes(at)
	return strings.ToValidUTF8(string(b[:min(len(b), 512)]), "?")
}

// parse puts a JSON value into the guest's heap.
func (p *policy) parse(b []byte) (uint64, error) {
	p.h.Enter(len(b))
	at, err := p.run("opa_malloc", uint64(len(b)))
	if err != nil {
		return 0, err
	}
	copy(p.h.View("opa_malloc", uint32(at), uint32(len(b))), b)
	v, err := p.run("opa_json_parse", uint64(uint32(at)), uint64(len(b)))
	if err == nil && uint32(v) == 0 {
		err = guest.Abortf(guest.Trap, "opa_json_parse does not read what it was given")
	}
	if err == nil {
		_, err = p.run("opa_free", uint64(uint32(at)))
	}
	return v, err
}

// dump reads a value out of the guest's heap, as JSON.
func (p *policy) dump(at uint64) ([]byte, error) {
	v, err := p.run("opa_json_dump", uint64(uint32(at)))
	if err != nil {
		return nil, err
	}
	b := p.bytes(v)
	p.h.Enter(len(b))
	return b, nil
}

// table reads one of the tables that the module has of itself.
func (p *policy) table(name string) (map[string]int32, error) {
	at, err := p.run(name)
	if err != nil {
		return nil, err
	}
	b, err := p.dump(at)
	if err != nil {
		return nil, err
	}
	var out map[string]int32
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, guest.Abortf(guest.BadModule, "%s: not what a module of opa build says: %v", name, err)
	}
	return out, nil
}
