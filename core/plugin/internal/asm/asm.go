// Package asm builds small WebAssembly modules, right and wrong ones, for the tests of the plugin host.
package asm

import (
	"encoding/binary"
	"fmt"
)

// Value types.
const (
	I32 byte = 0x7f
	I64 byte = 0x7e
	F32 byte = 0x7d
	F64 byte = 0x7c
)

// Opcodes without operands, and those that take a block type.
const (
	Unreachable byte = 0x00
	Nop         byte = 0x01
	Block       byte = 0x02
	Loop        byte = 0x03
	If          byte = 0x04
	Else        byte = 0x05
	End         byte = 0x0b
	Return      byte = 0x0f
	Drop        byte = 0x1a
	Void        byte = 0x40 // the empty block type
	I32Eqz      byte = 0x45
	I32Add      byte = 0x6a
	I32Sub      byte = 0x6b
	I32DivS     byte = 0x6d
)

// Module is one being built. Its zero value is ready.
type Module struct {
	types, imports, funcs, codes, tables, mems, globals, exports, elems, datas [][]byte
	customs                                                                    []byte
	start                                                                      []byte
	signatures                                                                 map[string]uint32
	imported, defined                                                          uint32
}

// U gives an unsigned LEB128 number.
func U(v uint64) []byte { return binary.AppendUvarint(nil, v) }

// S gives a signed LEB128 number.
func S(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// Name gives a string with its length.
func Name(s string) []byte { return append(U(uint64(len(s))), s...) }

// Code joins instructions: bytes, byte slices, and ints for i32.const.
func Code(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			b = append(b, p)
		case []byte:
			b = append(b, p...)
		case int:
			b = append(append(b, 0x41), S(int64(p))...)
		default:
			panic(fmt.Sprintf("asm: %T", p))
		}
	}
	return b
}

// Instructions with an operand.
func Br(l int) []byte        { return append([]byte{0x0c}, U(uint64(l))...) }
func BrIf(l int) []byte      { return append([]byte{0x0d}, U(uint64(l))...) }
func Call(f uint32) []byte   { return append([]byte{0x10}, U(uint64(f))...) }
func Get(l int) []byte       { return append([]byte{0x20}, U(uint64(l))...) }
func Set(l int) []byte       { return append([]byte{0x21}, U(uint64(l))...) }
func Tee(l int) []byte       { return append([]byte{0x22}, U(uint64(l))...) }
func GlobalGet(g int) []byte { return append([]byte{0x23}, U(uint64(g))...) }
func GlobalSet(g int) []byte { return append([]byte{0x24}, U(uint64(g))...) }
func Load(off int) []byte    { return append([]byte{0x28, 2}, U(uint64(off))...) }
func Store(off int) []byte   { return append([]byte{0x36, 2}, U(uint64(off))...) }
func I64Const(v int64) []byte {
	return append([]byte{0x42}, S(v)...)
}
func CallIndirect(t uint32) []byte { return append(append([]byte{0x11}, U(uint64(t))...), 0) }

// Grow, Fill, Copy and the table instructions.
var (
	MemorySize = []byte{0x3f, 0}
	MemoryGrow = []byte{0x40, 0}
	MemoryFill = []byte{0xfc, 11, 0}
	MemoryCopy = []byte{0xfc, 10, 0, 0}
	TableGrow  = []byte{0xfc, 15, 0}
	TableFill  = []byte{0xfc, 17, 0}
	TableCopy  = []byte{0xfc, 14, 0, 0}
	RefNull    = []byte{0xd0, 0x70}
)

// Forever repeats a body.
func Forever(body ...any) []byte { return Code(Loop, Void, Code(body...), Br(0), End) }

// Times repeats a body n times, counting in the local given.
func Times(local, n int, body ...any) []byte {
	return Code(n, Set(local), Loop, Void, Code(body...), Get(local), 1, I32Sub, Tee(local), BrIf(0), End)
}

// Type gives the index of a function type.
func (m *Module) Type(params, results []byte) uint32 {
	t := append([]byte{0x60}, append(append(U(uint64(len(params))), params...), append(U(uint64(len(results))), results...)...)...)
	if i, ok := m.signatures[string(t)]; ok {
		return i
	}
	if m.signatures == nil {
		m.signatures = map[string]uint32{}
	}
	i := uint32(len(m.types))
	m.types = append(m.types, t)
	m.signatures[string(t)] = i
	return i
}

// Import adds an imported function and gives its index. Imports come before functions.
func (m *Module) Import(module, name string, params, results []byte) uint32 {
	if m.defined > 0 {
		panic("asm: an import after a function")
	}
	t := m.Type(params, results)
	m.imports = append(m.imports, append(append(append(Name(module), Name(name)...), 0), U(uint64(t))...))
	m.imported++
	return m.imported - 1
}

// ImportMemory adds an imported memory of min pages. A negative max is none.
func (m *Module) ImportMemory(module, name string, min, max int) {
	m.imports = append(m.imports, append(append(append(Name(module), Name(name)...), 2), limits(min, max)...))
}

// Func adds a function with so many i32 locals and gives its index. The body gets its end.
func (m *Module) Func(params, results []byte, locals int, body ...any) uint32 {
	m.funcs = append(m.funcs, U(uint64(m.Type(params, results))))
	code := append(append(U(1), U(uint64(locals))...), I32)
	m.Body(append(append(code, Code(body...)...), End))
	m.defined++
	return m.imported + m.defined - 1
}

// Body adds a raw function body.
func (m *Module) Body(code []byte) { m.codes = append(m.codes, append(U(uint64(len(code))), code...)) }

// Export exports a function.
func (m *Module) Export(name string, f uint32) { m.ExportKind(name, 0, f) }

// ExportKind exports anything: 0 function, 1 table, 2 memory, 3 global.
func (m *Module) ExportKind(name string, kind byte, i uint32) {
	m.exports = append(m.exports, append(append(Name(name), kind), U(uint64(i))...))
}

// Memory adds a memory of min pages, exported as "memory". A negative max is none.
func (m *Module) Memory(min, max int) {
	m.mems = append(m.mems, limits(min, max))
	m.ExportKind("memory", 2, 0)
}

// Table adds a table of functions.
func (m *Module) Table(min, max int) {
	m.tables = append(m.tables, append([]byte{0x70}, limits(min, max)...))
}

func limits(min, max int) []byte {
	if max < 0 {
		return append([]byte{0}, U(uint64(min))...)
	}
	return append(append([]byte{1}, U(uint64(min))...), U(uint64(max))...)
}

// Global adds a mutable i32.
func (m *Module) Global(v int) {
	m.globals = append(m.globals, append([]byte{I32, 1}, Code(v, End)...))
}

// Elem puts functions into table 0.
func (m *Module) Elem(at int, funcs ...uint32) {
	b := append([]byte{0}, Code(at, End)...)
	b = append(b, U(uint64(len(funcs)))...)
	for _, f := range funcs {
		b = append(b, U(uint64(f))...)
	}
	m.elems = append(m.elems, b)
}

// Data puts bytes into memory.
func (m *Module) Data(at int, data string) { m.DataAt(Code(at, End), data) }

// DataAt puts bytes into memory where a constant expression says.
func (m *Module) DataAt(at []byte, data string) {
	m.datas = append(m.datas, append(append([]byte{0}, at...), Name(data)...))
}

// Start names the start function.
func (m *Module) Start(f uint32) { m.start = U(uint64(f)) }

// Custom adds a custom section at the end.
func (m *Module) Custom(name, content string) {
	m.customs = append(m.customs, Section(0, append(Name(name), content...))...)
}

// Header is how a core module begins.
const Header = "\x00asm\x01\x00\x00\x00"

// Section gives a section with its id and length.
func Section(id byte, body []byte) []byte {
	return append(append([]byte{id}, U(uint64(len(body)))...), body...)
}

// Bytes gives the module.
func (m *Module) Bytes() []byte {
	b := []byte(Header)
	vec := func(id byte, v [][]byte) {
		if len(v) == 0 {
			return
		}
		body := U(uint64(len(v)))
		for _, x := range v {
			body = append(body, x...)
		}
		b = append(b, Section(id, body)...)
	}
	vec(1, m.types)
	vec(2, m.imports)
	vec(3, m.funcs)
	vec(4, m.tables)
	vec(5, m.mems)
	vec(6, m.globals)
	vec(7, m.exports)
	if m.start != nil {
		b = append(b, Section(8, m.start)...)
	}
	vec(9, m.elems)
	vec(10, m.codes)
	vec(11, m.datas)
	return append(b, m.customs...)
}
