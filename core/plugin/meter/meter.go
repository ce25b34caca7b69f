// Package meter rewrites a WebAssembly module so that the time it takes is counted and can be stopped.
// The rewritten module computes what the original does, and additionally
//
//   - takes one unit from an added global (exported as [Global]) at every function entry and loop head, and at
//     least once in any [Config.Step] instructions of straight code;
//   - takes one unit for every 64 bytes that a bulk memory instruction moves and for every entry that a bulk
//     table instruction moves, before it moves them;
//   - takes an estimate of its frame's bytes from a second global (exported as [Stack]) at the entry of every
//     function that calls others; the caller sets the global back after the call;
//   - calls the function [Module].[Yield], which the host provides, when a global has fallen below zero. The
//     host lets Go's scheduler in, looks at the clock and the budget, and either sets the global anew or panics.
//
// Machine code made by wazero cannot be preempted, so a guest that never calls the host would also stop Go's
// garbage collector: counting inside the guest is what bounds both.
//
// The rewriting is also the gate: sizes that an engine would believe and allocate (locals, tables, memory,
// vectors that lie about their length) are bounded here, before any engine sees the module.
//
// What it changes visibly: the name section keeps module and function names (renumbered, since every function
// index moves by one for the added import) and loses the rest; every other custom section is dropped, because
// offsets into code (DWARF, source maps) no longer hold and nothing at run time reads them.
package meter

import (
	"cmp"
	"encoding/binary"
	"errors"
)

const (
	// Global is the name of the exported mutable i64 that holds the units left.
	Global = "__ogp_fuel"
	// Stack is the name of the exported mutable i64 that holds the bytes left for frames, by estimate. The host
	// sets it before each call; it is below zero when a call is too deep.
	Stack = "__ogp_stack"
	// Module and Yield name the imported function of type () -> () that is called when no units are left.
	Module = "ogp_meter"
	Yield  = "yield"
)

// ErrExceptions says that a module uses WebAssembly exception handling, which the rewriting does not cover.
var ErrExceptions = errors.New("exception handling is not supported: build without it, for example with -fno-exceptions or panic=abort")

// ErrComponent says that the bytes are a WebAssembly component (WASI 0.2), not a core module.
var ErrComponent = errors.New("a component, not a core module: build a core module, for example with the target wasm32-wasip1")

// DefaultStack is the default of Config.MaxStack.
const DefaultStack = 16 << 20

// Config bounds what a module may declare. The zero value means the defaults below.
type Config struct {
	// MaxMemoryPages is the most pages of 64 KiB the memory may start with. Zero means 65536 (4 GiB).
	MaxMemoryPages uint32
	// MaxTable is the most entries a table may ever hold; a larger or absent maximum is lowered to it. Zero
	// means 65536. math.MaxUint32 leaves tables alone.
	MaxTable uint32
	// MaxTables is the most tables. Zero means 16.
	MaxTables int
	// MaxFunctions is the most functions, imported and defined. Zero means 200,000.
	MaxFunctions int
	// MaxBody is the largest function body in bytes. Zero means 4 MiB.
	MaxBody int
	// MaxNesting is how deep blocks may be nested. Zero means 50,000 (Go's compiler nests one block for each
	// place that a function can be resumed at).
	MaxNesting int
	// MaxCompile bounds what compiling takes: an estimate in 25 ns over all functions, see effort. Zero means
	// 600,000,000, some 15 s and less than 1 GiB; a Go program with net/http and go/types (14 MB) comes to
	// 400,000,000 and takes 8 s and 270 MiB.
	MaxCompile int
	// MaxStack is how many bytes of frames a call may have at its start, by estimate. Zero means 16 MiB.
	MaxStack int64
	// Step is the most instructions between two looks at the budget. Zero means 256.
	Step int
}

// Bounds that no known compiler comes near: WebAssembly JS API, "Implementation-defined Limits".
const (
	maxParams = 1000
	maxLocals = 50_000
)

func (c Config) withDefaults() Config {
	c.MaxMemoryPages = cmp.Or(c.MaxMemoryPages, 1<<16)
	c.MaxTable = cmp.Or(c.MaxTable, 1<<16)
	c.MaxStack = cmp.Or(c.MaxStack, DefaultStack)
	c.MaxTables = cmp.Or(c.MaxTables, 16)
	c.MaxFunctions = cmp.Or(c.MaxFunctions, 200_000)
	c.MaxBody = cmp.Or(c.MaxBody, 4<<20)
	c.MaxNesting = cmp.Or(c.MaxNesting, 50_000)
	c.MaxCompile = cmp.Or(c.MaxCompile, 600_000_000)
	c.Step = cmp.Or(c.Step, 256)
	return c
}

// Section ids: WebAssembly core specification 2.0, §5.5.2.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag
)

// order is the order in which sections must come.
var order = [...]byte{secType, secImport, secFunction, secTable, secMemory, secTag, secGlobal, secExport, secStart, secElement, secDataCount, secCode, secData}

// Metered is a metered module and what compiling it takes, as far as its bytes tell.
type Metered struct {
	Wasm []byte
	// Work is the estimate that Config.MaxCompile bounds.
	Work int
}

// Rewrite returns the metered form of a core module. It does not validate types: a module that it accepts may
// still be refused by the engine, and one that the engine would refuse stays refused.
// It returns [ErrComponent] and [ErrExceptions] for what their names say. Safe for concurrent use.
func Rewrite(wasm []byte, cfg Config) (_ *Metered, err error) {
	defer caught(&err)
	m := &module{cfg: cfg.withDefaults()}
	secs, customs := sections(wasm)
	var names []byte
	for _, c := range customs {
		if c.name == "name" {
			names = c.body
		}
	}
	return &Metered{Wasm: m.rewrite(wasm, secs, names), Work: m.work}, nil
}

type custom struct {
	name string
	body []byte
}

// sections splits a module into the bodies by id and the custom sections.
func sections(wasm []byte) (secs [secTag + 1][]byte, customs []custom) {
	if len(wasm) < 8 || string(wasm[:4]) != "\x00asm" {
		fail("not a WebAssembly module")
	}
	switch v := binary.LittleEndian.Uint32(wasm[4:]); {
	case v == 1:
	case v>>16 == 1: // the upper half is the layer: 1 is a component
		panic(bad{ErrComponent})
	default:
		fail("WebAssembly version %d, want 1", v)
	}
	rank := map[byte]int{}
	for i, id := range order {
		rank[id] = i
	}
	last := -1
	r := &reader{b: wasm, i: 8}
	for r.i < len(wasm) {
		id := r.u8()
		body := r.take(r.count())
		if id == secCustom {
			c := &reader{b: body} // its name must be UTF-8, its content is its own
			name := c.text()
			customs = append(customs, custom{name, body[c.i:]})
			continue
		}
		k, ok := rank[id]
		if !ok {
			fail("unknown section %d", id)
		}
		if k <= last {
			fail("section %d out of order", id)
		}
		last = k
		if id == secTag {
			panic(bad{ErrExceptions})
		}
		if body == nil {
			body = []byte{}
		}
		secs[id] = body
	}
	return secs, customs
}

// module is what the rewriting must know of a module.
type module struct {
	cfg         Config
	types       []funcType
	funcs       []uint32 // type of each defined function
	importTypes []uint32 // type of each imported function
	imported    uint64   // imported functions, which is also the index of the added import
	globals     uint64   // globals, which is also the index of the first added global
	tables      int
	memories    int // imported
	work        int // to compile it, so far
}

type funcType struct {
	params, results uint32
	vector          bool // one of them is a v128
}

const v128 = 0x7b

func (m *module) rewrite(wasm []byte, in [secTag + 1][]byte, names []byte) []byte {
	var out [secTag + 1][]byte
	out[secType] = m.typeSection(in[secType])
	imports := m.importSection(in[secImport]) // the import needs the types, so it is written below
	yield := appendName(appendName(nil, Module), Yield)
	yield = leb(append(yield, 0), uint64(len(m.types)))
	out[secImport] = grow(imports, yield)
	out[secFunction] = m.functionSection(in[secFunction])
	if in[secGlobal] != nil {
		r := &reader{b: in[secGlobal]}
		m.globals += r.leb32()
	}
	if in[secTable] != nil {
		out[secTable] = m.tableSection(in[secTable])
	}
	if in[secMemory] != nil {
		out[secMemory] = m.memorySection(in[secMemory])
	}
	fuel := []byte{0x7e, 0x01, 0x42, 0x00, 0x0b} // (global (mut i64) (i64.const 0)): the first look calls the host
	stack := append(append([]byte{0x7e, 0x01, 0x42}, sleb(m.cfg.MaxStack)...), 0x0b)
	out[secGlobal] = grow(grow(m.globalSection(in[secGlobal]), fuel), stack)
	out[secExport] = grow(grow(m.exportSection(in[secExport]), leb(append(appendName(nil, Global), 3), m.globals)),
		leb(append(appendName(nil, Stack), 3), m.stack()))
	if in[secStart] != nil {
		r := &reader{b: in[secStart]}
		out[secStart] = leb(nil, m.shift(r.leb32()))
		r.end("start section")
	}
	if in[secElement] != nil {
		out[secElement] = m.elementSection(in[secElement])
	}
	if in[secDataCount] != nil {
		r := &reader{b: in[secDataCount]}
		r.leb32()
		r.end("data count section")
		out[secDataCount] = in[secDataCount]
	}
	if in[secCode] != nil || len(m.funcs) > 0 {
		out[secCode] = m.codeSection(in[secCode])
	}
	if in[secData] != nil {
		out[secData] = m.dataSection(in[secData], in[secMemory] != nil && m.memories == 0 && in[secDataCount] == nil)
	}

	w := make([]byte, 0, len(wasm)*5/4+256)
	w = append(w, wasm[:8]...)
	for _, id := range order {
		if out[id] != nil {
			w = appendSection(w, id, out[id])
		}
	}
	if n, err := m.nameSection(names); n != nil && err == nil {
		w = appendSection(w, secCustom, n)
	}
	return w
}

// funcType gives the type of a function; the engine refuses one that is not there.
func (m *module) funcType(i uint64) funcType {
	switch n := uint64(len(m.importTypes)); {
	case i < n:
		return m.types[m.importTypes[i]]
	case i-n < uint64(len(m.funcs)):
		return m.types[m.funcs[i-n]]
	}
	return funcType{}
}

// effort counts work for the compiler, and refuses a module that makes too much.
func (m *module) effort(work int) {
	if m.work += work; m.work > m.cfg.MaxCompile {
		fail("too much to compile: some %d s of work (blocks, and values that live across them)", m.work/40e6)
	}
}

// stack is the index of the added global that counts bytes of frames.
func (m *module) stack() uint64 { return m.globals + 1 }

// shift gives the new index of a function.
func (m *module) shift(i uint64) uint64 {
	if i >= m.imported {
		i++
	}
	return i
}

// typeIndex reads a type index, which must not reach the added type.
func (m *module) typeIndex(r *reader) uint64 {
	i := r.leb32()
	if i >= uint64(len(m.types)) {
		fail("type %d of %d", i, len(m.types))
	}
	return i
}

// globalIndex reads a global's index, which must not reach the added global.
func (m *module) globalIndex(r *reader) uint64 {
	i := r.leb32()
	if i >= m.globals {
		fail("global %d of %d", i, m.globals)
	}
	return i
}
