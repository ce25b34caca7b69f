// Package meter rewrites a WebAssembly module so that the time it takes is counted and can be stopped.
// The rewritten module computes what the original does, and additionally
//
//   - takes one unit from an added global (exported as [Global]) at every function entry and loop head, and at
//     least once in any [Config.Step] instructions of straight code;
//   - takes one unit for every 64 bytes that a bulk memory instruction moves and for every entry that a bulk
//     table instruction moves, before it moves them;
//   - calls the function [Module].[Yield], which the host provides, when the global has fallen below zero. The
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
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

const (
	// Global is the name of the exported mutable i64 that holds the units left.
	Global = "__ogp_fuel"
	// Module and Yield name the imported function of type () -> () that is called when no units are left.
	Module = "ogp_meter"
	Yield  = "yield"
)

// ErrExceptions says that a module uses WebAssembly exception handling, which the rewriting does not cover.
var ErrExceptions = errors.New("meter: exception handling is not supported: build without it, for example with -fno-exceptions or panic=abort")

// ErrComponent says that the bytes are a WebAssembly component (WASI 0.2), not a core module.
var ErrComponent = errors.New("meter: a component, not a core module: build a core module, for example with the target wasm32-wasip1")

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
	// MaxCompile bounds the time that compiling takes, which nothing can interrupt and which grows with the
	// square of a function's blocks: an estimate in 25 ns over all functions. Zero means 300,000,000, some
	// 7 s; a Go program with net/http and go/types (12 MB) comes to 40,000,000.
	MaxCompile int
	// Step is the most instructions between two looks at the budget. Zero means 256.
	Step int
}

// Bounds that no known compiler comes near: WebAssembly JS API, "Implementation-defined Limits".
const (
	maxParams = 1000
	maxLocals = 50_000
)

func (c Config) withDefaults() Config {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if c.MaxMemoryPages == 0 {
		c.MaxMemoryPages = 1 << 16
	}
	if c.MaxTable == 0 {
		c.MaxTable = 1 << 16
	}
	set(&c.MaxTables, 16)
	set(&c.MaxFunctions, 200_000)
	set(&c.MaxBody, 4<<20)
	set(&c.MaxNesting, 50_000)
	set(&c.MaxCompile, 300_000_000)
	set(&c.Step, 256)
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

// Instrument returns the metered form of a core module. It does not validate types: a module that Instrument
// accepts may still be refused by the engine, and one that the engine would refuse stays refused.
// It returns [ErrComponent] and [ErrExceptions] for what their names say. Safe for concurrent use.
func Instrument(wasm []byte, cfg Config) (out []byte, err error) {
	defer func() {
		if x := recover(); x != nil {
			b, ok := x.(bad)
			if !ok {
				panic(x)
			}
			out, err = nil, b.err
		}
	}()
	m := &module{cfg: cfg.withDefaults()}
	secs, customs := sections(wasm)
	var names []byte
	for _, c := range customs {
		if c.name == "name" {
			names = c.body
		}
	}
	return m.rewrite(wasm, secs, names), nil
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
	cfg      Config
	types    []funcType
	funcs    []uint32 // type of each defined function
	imported uint64   // imported functions, which is also the index of the added import
	globals  uint64   // globals, which is also the index of the added global
	tables   int
}

type funcType struct{ params, results uint32 }

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
	out[secGlobal] = grow(m.globalSection(in[secGlobal]), fuel)
	out[secExport] = grow(m.exportSection(in[secExport]), leb(append(appendName(nil, Global), 3), m.globals))
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
		out[secData] = m.dataSection(in[secData])
	}

	w := make([]byte, 0, len(wasm)*5/4+256)
	w = append(w, wasm[:8]...)
	for _, id := range order {
		if out[id] != nil {
			w = leb(append(w, id), uint64(len(out[id])))
			w = append(w, out[id]...)
		}
	}
	if n := m.nameSection(names); n != nil {
		w = leb(append(w, secCustom), uint64(len(n)))
		w = append(w, n...)
	}
	return w
}

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

func (m *module) typeSection(b []byte) []byte {
	if b == nil {
		b = []byte{0}
	}
	r := &reader{b: b}
	for n := r.count(); n > 0; n-- {
		if f := r.u8(); f != 0x60 {
			fail("type form %#x: only function types are supported", f)
		}
		var t [2]uint32
		for i := range t {
			c := r.count()
			if c > maxParams {
				fail("a function type of %d values, at most %d", c, maxParams)
			}
			t[i] = uint32(c)
			for ; c > 0; c-- {
				m.valType(r)
			}
		}
		m.types = append(m.types, funcType{t[0], t[1]})
	}
	r.end("type section")
	return grow(b, []byte{0x60, 0, 0})
}

func (m *module) importSection(b []byte) []byte {
	if b == nil {
		b = []byte{0}
	}
	m.eachImport(b, func(module, _ string) {
		if module == Module {
			fail("the import module %q is reserved", Module)
		}
	})
	return b
}

// eachImport reads the imports and shows their names.
func (m *module) eachImport(b []byte, show func(module, name string)) {
	if b == nil {
		return
	}
	r := &reader{b: b}
	for n := r.count(); n > 0; n-- {
		module := string(r.take(r.count()))
		show(module, string(r.take(r.count())))
		switch k := r.u8(); k {
		case 0:
			m.typeIndex(r)
			m.imported++
		case 1:
			m.valType(r)
			r.limits()
			m.tables++
		case 2:
			if min, _, _ := r.limits(); min > uint64(m.cfg.MaxMemoryPages) {
				m.tooMuchMemory(min)
			}
		case 3:
			m.valType(r)
			r.skip(1)
			m.globals++
		case 4:
			panic(bad{ErrExceptions})
		default:
			fail("import kind %d", k)
		}
	}
	r.end("import section")
}

func (m *module) functionSection(b []byte) []byte {
	if b == nil {
		return nil
	}
	r := &reader{b: b}
	n := r.count()
	if int(m.imported)+n > m.cfg.MaxFunctions {
		fail("%d functions, at most %d", int(m.imported)+n, m.cfg.MaxFunctions)
	}
	m.funcs = make([]uint32, 0, n)
	for ; n > 0; n-- {
		m.funcs = append(m.funcs, uint32(m.typeIndex(r)))
	}
	r.end("function section")
	return b
}

func (m *module) tableSection(b []byte) []byte {
	r := &reader{b: b}
	n := r.count()
	if m.tables += n; m.tables > m.cfg.MaxTables {
		fail("%d tables, at most %d", m.tables, m.cfg.MaxTables)
	}
	out := leb(nil, uint64(n))
	for ; n > 0; n-- {
		s, init := r.i, false
		if r.peek() == 0x40 { // 0x40 0x00 tabletype expr
			r.skip(2)
			init = true
		}
		m.valType(r)
		out = append(out, b[s:r.i]...)
		s = r.i
		min, max, flags := r.limits()
		switch bound := uint64(m.cfg.MaxTable); {
		case bound == math.MaxUint32:
			out = append(out, b[s:r.i]...)
		case min > bound:
			fail("a table of %d entries, at most %d", min, bound)
		default:
			if flags&1 == 0 || max > bound {
				max = bound
			}
			out = leb(leb(append(out, flags|1), min), max)
		}
		if init {
			out = m.constExpr(out, r)
		}
	}
	r.end("table section")
	return out
}

func (m *module) tooMuchMemory(pages uint64) {
	fail("a memory of %d KiB at start, at most %d KiB", pages*64, uint64(m.cfg.MaxMemoryPages)*64)
}

func (m *module) memorySection(b []byte) []byte {
	r := &reader{b: b}
	for n := r.count(); n > 0; n-- {
		if min, _, _ := r.limits(); min > uint64(m.cfg.MaxMemoryPages) {
			m.tooMuchMemory(min)
		}
	}
	r.end("memory section")
	return b
}

func (m *module) globalSection(b []byte) []byte {
	if b == nil {
		return []byte{0}
	}
	r := &reader{b: b}
	n := r.count()
	out := leb(nil, uint64(n))
	for ; n > 0; n-- {
		s := r.i
		m.valType(r)
		r.skip(1)
		out = append(out, b[s:r.i]...)
		out = m.constExpr(out, r)
	}
	r.end("global section")
	return out
}

func (m *module) exportSection(b []byte) []byte {
	if b == nil {
		return []byte{0}
	}
	r := &reader{b: b}
	n := r.count()
	out := leb(nil, uint64(n))
	for ; n > 0; n-- {
		s := r.i
		if string(r.take(r.count())) == Global {
			fail("the export %q is reserved", Global)
		}
		kind := r.u8()
		out = append(out, b[s:r.i]...)
		switch kind {
		case 0:
			out = leb(out, m.shift(r.leb32()))
		case 3:
			out = leb(out, m.globalIndex(r))
		default:
			out = leb(out, r.leb32())
		}
	}
	r.end("export section")
	return out
}

// elementSection rewrites the function indices of element segments: core specification 2.0, §5.5.12.
func (m *module) elementSection(b []byte) []byte {
	r := &reader{b: b}
	n := r.count()
	out := leb(nil, uint64(n))
	for ; n > 0; n-- {
		flags := r.leb32()
		if flags > 7 {
			fail("element segment of kind %d", flags)
		}
		out = leb(out, flags)
		if flags&1 == 0 { // active: [table] offset
			if flags&2 != 0 {
				out = leb(out, r.leb32())
			}
			out = m.constExpr(out, r)
		}
		exprs := flags&4 != 0
		if flags&3 != 0 { // element kind or reference type
			s := r.i
			if exprs {
				m.valType(r)
			} else {
				r.skip(1)
			}
			out = append(out, b[s:r.i]...)
		}
		c := r.count()
		out = leb(out, uint64(c))
		for ; c > 0; c-- {
			if exprs {
				out = m.constExpr(out, r)
			} else {
				out = leb(out, m.shift(r.leb32()))
			}
		}
	}
	r.end("element section")
	return out
}

func (m *module) dataSection(b []byte) []byte {
	r := &reader{b: b}
	n := r.count()
	out := leb(make([]byte, 0, len(b)+16), uint64(n))
	for ; n > 0; n-- {
		flags := r.leb32()
		out = leb(out, flags)
		switch flags {
		case 1:
		case 2:
			out = leb(out, r.leb32())
			fallthrough
		case 0:
			out = m.constExpr(out, r)
		default:
			fail("data segment of kind %d", flags)
		}
		data := r.take(r.count())
		out = append(leb(out, uint64(len(data))), data...)
	}
	r.end("data section")
	return out
}

// constExpr copies a constant expression, moving function indices.
func (m *module) constExpr(out []byte, r *reader) []byte {
	for {
		s := r.i
		switch op := r.u8(); op {
		case 0x0b: // end
			return append(out, op)
		case 0xd2: // ref.func
			out = leb(append(out, op), m.shift(r.leb32()))
			continue
		case 0x23: // global.get
			m.globalIndex(r)
		case 0xd0: // ref.null
			m.heapType(r)
		case 0x41:
			r.sleb(5)
		case 0x42:
			r.sleb(10)
		case 0x43:
			r.skip(4)
		case 0x44:
			r.skip(8)
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // extended constant expressions
		case 0xfd:
			if r.leb32() != 12 {
				fail("a vector instruction in a constant expression")
			}
			r.skip(16)
		default:
			fail("instruction %#x in a constant expression", op)
		}
		out = append(out, r.b[s:r.i]...)
	}
}

// nameSection writes the module's and the functions' names with their new indices, or nil where there are none.
// A malformed name section is dropped: it is for people.
func (m *module) nameSection(b []byte) (out []byte) {
	if b == nil {
		return nil
	}
	defer func() {
		if x := recover(); x != nil {
			if _, ok := x.(bad); !ok {
				panic(x)
			}
			out = nil
		}
	}()
	out = appendName(nil, "name")
	r := &reader{b: b}
	for r.i < len(b) {
		id := r.u8()
		sub := r.take(r.count())
		s := &reader{b: sub}
		switch id {
		case 0:
			s.text()
			s.end("module name")
			out = leb(append(out, 0), uint64(len(sub)))
			out = append(out, sub...)
		case 1:
			n := s.count()
			w := leb(nil, uint64(n))
			for ; n > 0; n-- {
				w = leb(w, m.shift(s.leb32()))
				w = appendName(w, s.text())
			}
			s.end("function names")
			out = leb(append(out, 1), uint64(len(w)))
			out = append(out, w...)
		}
	}
	return out
}

// grow appends one entry to a vector.
func grow(vec, entry []byte) []byte {
	r := &reader{b: vec}
	n := r.leb32()
	out := leb(make([]byte, 0, len(vec)+len(entry)+5), n+1)
	out = append(out, vec[r.i:]...)
	return append(out, entry...)
}

func appendName(b []byte, s string) []byte { return append(leb(b, uint64(len(s))), s...) }

func leb(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// bad carries an error out of the parser.
type bad struct{ err error }

func fail(format string, a ...any) { panic(bad{fmt.Errorf("meter: "+format, a...)}) }

// reader reads a module's bytes. It fails (see bad) where they end early or a number is too long.
type reader struct {
	b []byte
	i int
}

func (r *reader) peek() byte {
	if r.i >= len(r.b) {
		fail("unexpected end")
	}
	return r.b[r.i]
}

func (r *reader) u8() byte {
	c := r.peek()
	r.i++
	return c
}

// leb32 reads an unsigned number of 32 bits, at most 5 bytes long.
func (r *reader) leb32() uint64 {
	var v uint64
	for s := 0; s < 35; s += 7 {
		c := r.u8()
		v |= uint64(c&0x7f) << s
		if c&0x80 == 0 {
			if v > math.MaxUint32 {
				break
			}
			return v
		}
	}
	fail("a number of more than 32 bits")
	return 0
}

// count reads a length or a count, which cannot exceed the bytes that are left.
func (r *reader) count() int {
	n := r.leb32()
	if n > uint64(len(r.b)-r.i) {
		fail("a length of %d where %d bytes are left", n, len(r.b)-r.i)
	}
	return int(n)
}

// sleb reads a signed number of at most max bytes.
func (r *reader) sleb(max int) int64 {
	var v int64
	for s, n := 0, 0; n < max; n++ {
		c := r.u8()
		v |= int64(c&0x7f) << s
		s += 7
		if c&0x80 == 0 {
			if s < 64 && c&0x40 != 0 {
				v |= -1 << s
			}
			return v
		}
	}
	fail("a number of more than %d bytes", max)
	return 0
}

func (r *reader) skip(n int) {
	if n < 0 || n > len(r.b)-r.i {
		fail("unexpected end")
	}
	r.i += n
}

func (r *reader) take(n int) []byte {
	s := r.i
	r.skip(n)
	return r.b[s:r.i]
}

// text reads a name, which must be UTF-8.
func (r *reader) text() string {
	b := r.take(r.count())
	if !utf8.Valid(b) {
		fail("a name that is not UTF-8")
	}
	return string(b)
}

// valType skips a value type, which must not name the added type.
func (m *module) valType(r *reader) {
	if c := r.u8(); c == 0x63 || c == 0x64 { // (ref null? heaptype)
		m.heapType(r)
	}
}

func (m *module) heapType(r *reader) {
	if v := r.sleb(5); v >= int64(len(m.types)) {
		fail("type %d of %d", v, len(m.types))
	}
}

func (r *reader) limits() (min, max uint64, flags byte) {
	flags = r.u8()
	if flags > 3 {
		fail("limits of kind %#x", flags)
	}
	min = r.leb32()
	if flags&1 != 0 {
		max = r.leb32()
	}
	return min, max, flags
}

func (r *reader) end(what string) {
	if r.i != len(r.b) {
		fail("%d bytes left over in the %s", len(r.b)-r.i, what)
	}
}
