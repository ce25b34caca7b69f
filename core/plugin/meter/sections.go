package meter

import (
	"math"
)

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
		vector := false
		for i := range t {
			c := r.count()
			if c > maxParams {
				fail("a function type of %d values, at most %d", c, maxParams)
			}
			t[i] = uint32(c)
			m.effort(costType * c)
			for ; c > 0; c-- {
				vector = vector || r.peek() == v128
				m.valType(r)
			}
		}
		m.types = append(m.types, funcType{t[0], t[1], vector})
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
			m.importTypes = append(m.importTypes, uint32(m.typeIndex(r)))
			m.imported++
		case 1:
			m.valType(r)
			r.limits()
			m.tables++
		case 2:
			m.memory(r)
			m.memories++
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

// memory reads a memory's limits.
func (m *module) memory(r *reader) {
	if min, _, _ := r.limits(); min > uint64(m.cfg.MaxMemoryPages) {
		fail("a memory of %d KiB at start, at most %d KiB", min*64, uint64(m.cfg.MaxMemoryPages)*64)
	}
}

func (m *module) memorySection(b []byte) []byte {
	r := &reader{b: b}
	for n := r.count(); n > 0; n-- {
		m.memory(r)
	}
	r.end("memory section")
	return b
}

// rewritten copies a section that is a vector, none being an empty one. one reads an entry, and appends what comes in
// its place.
func rewritten(b []byte, what string, one func(r *reader, out []byte) []byte) []byte {
	if b == nil {
		return []byte{0}
	}
	r := &reader{b: b}
	n := r.count()
	out := leb(nil, uint64(n))
	for ; n > 0; n-- {
		out = one(r, out)
	}
	r.end(what)
	return out
}

func (m *module) globalSection(b []byte) []byte {
	return rewritten(b, "global section", func(r *reader, out []byte) []byte {
		s := r.i
		m.valType(r)
		r.skip(1)
		return m.constExpr(append(out, b[s:r.i]...), r)
	})
}

func (m *module) exportSection(b []byte) []byte {
	return rewritten(b, "export section", func(r *reader, out []byte) []byte {
		s := r.i
		if name := string(r.take(r.count())); name == Global || name == Stack {
			fail("the export %q is reserved", name)
		}
		kind := r.u8()
		out = append(out, b[s:r.i]...)
		switch kind {
		case 0:
			return leb(out, m.shift(r.leb32()))
		case 3:
			return leb(out, m.globalIndex(r))
		}
		return leb(out, r.leb32())
	})
}

// elementSection rewrites the function indices of element segments: core specification 2.0, §5.5.12.
func (m *module) elementSection(b []byte) []byte {
	return rewritten(b, "element section", func(r *reader, out []byte) []byte {
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
		return out
	})
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
