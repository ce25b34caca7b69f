package meter

// What instructions cost, counted against Config.Step, where it is not 1.
const costCall = 64 // a call that may leave for the host, and the growing of memory or a table

func (m *module) codeSection(b []byte) []byte {
	r := &reader{b: b}
	n := 0
	if b != nil {
		n = r.count()
	}
	if n != len(m.funcs) {
		fail("%d functions and %d bodies", len(m.funcs), n)
	}
	out := leb(make([]byte, 0, len(b)*5/4+16), uint64(n))
	var f function
	for i := range n {
		size := r.count()
		if size > m.cfg.MaxBody {
			fail("a function body of %d bytes, at most %d", size, m.cfg.MaxBody)
		}
		body := f.rewrite(m, r.take(size), m.types[m.funcs[i]])
		m.effort(f.effort.work() + costLocal*int(f.locals))
		out = append(leb(out, uint64(len(f.head)+len(body))), f.head...)
		out = append(out, body...)
	}
	if b != nil {
		r.end("code section")
	}
	return out
}

// function rewrites one body after another, keeping its buffers.
//
// It follows the longest path from the last look at the budget to where it is (since), along branches too, so
// that no path of more than Config.Step instructions goes unlooked at: code runs forward except at loop heads
// and calls, and both look.
type function struct {
	m       *module
	head    []byte // the locals
	out     []byte
	blocks  []block
	r       reader
	copied  int // how far r.b is in out
	locals  uint64
	tmp     uint64 // the added local that holds the units left; saved and length follow it
	bulk    bool   // length is used
	calls   bool   // others
	vectors bool   // 16 bytes for a value, not 8
	weights []int  // where out has the frame's weight
	since   int    // instructions since the last look, on the longest path; -1 where no path leads
	effort  effort
}

type block struct {
	loop, isIf bool
	join       int // the longest path that branches to the end; -1 for none
	entry      int // since, at the start
	reads      int // of locals, at the start
	height     int // of operands, below its parameters
	sig        funcType
}

func (f *function) rewrite(m *module, body []byte, t funcType) []byte {
	f.m, f.r, f.copied, f.bulk = m, reader{b: body}, 0, false
	f.calls, f.vectors, f.weights = false, t.vector, f.weights[:0]
	f.head, f.out, f.blocks = f.head[:0], f.out[:0], f.blocks[:0]
	r := &f.r

	groups := r.count()
	start := r.i
	f.locals = uint64(t.params)
	for range groups {
		f.locals += r.leb32()
		f.vectors = f.vectors || r.peek() == v128
		m.valType(r)
		if f.locals > maxLocals {
			fail("more than %d locals", maxLocals)
		}
	}
	locals := body[start:r.i]
	f.effort.begin(f.locals)
	f.tmp = f.locals
	f.copied = r.i

	f.since = 0
	f.effort.block(shapeBlock)
	f.blocks = append(f.blocks, block{join: -1, sig: funcType{results: t.results}})
	for len(f.blocks) > 0 {
		f.instruction()
	}
	r.end("function body")
	f.flush(r.i)

	f.begin(groups, locals, 1+f.locals/64+uint64(t.results)/64)
	return f.out
}

// begin writes what comes before the body, which only its end tells: the locals, the first look, and the frame's
// weight where the function calls others. What does not call cannot recurse.
func (f *function) begin(groups int, locals []byte, units uint64) {
	f.head = append(leb(f.head, uint64(groups)+2), locals...)
	f.head = append(f.head, 2, 0x7e) // tmp, saved
	if f.bulk {
		f.head = append(f.head, 1, 0x7f)
	} else {
		f.head = append(f.head, 0, 0x7f)
	}
	if !f.calls {
		f.head = f.take(f.head, units)
		f.head = leb(append(f.head, 0x20), f.tmp) // local.get tmp
		f.head = f.yield(f.head)
		return
	}
	weight := f.effort.frame()
	if f.vectors {
		weight *= 2
	}
	for _, at := range f.weights {
		putWeight(f.out[at:], weight)
	}
	f.head = leb(append(f.head, 0x23), f.m.stack()) // global.get stack
	f.head = append(f.head, 0x42)
	f.head = append(f.head, sleb(weight)...)            // i64.const weight
	f.head = leb(append(f.head, 0x7d, 0x22), f.saved()) // i64.sub; local.tee saved
	f.head = leb(append(f.head, 0x24), f.m.stack())     // global.set stack
	f.head = f.take(f.head, units)
	f.head = leb(append(f.head, 0x20), f.tmp)     // local.get tmp
	f.head = leb(append(f.head, 0x20), f.saved()) // local.get saved
	f.head = append(f.head, 0x84)                 // i64.or: below zero when either is
	f.head = f.yield(f.head)
}

func (f *function) saved() uint64  { return f.tmp + 1 }
func (f *function) length() uint64 { return f.tmp + 2 }

// restore sets the stack's global back after a call: what the callee took is free again.
func (f *function) restore() {
	f.calls = true
	f.flush(f.r.i)
	f.out = leb(append(f.out, 0x20), f.saved())   // local.get saved
	f.out = leb(append(f.out, 0x24), f.m.stack()) // global.set stack
}

// leave gives the frame's weight back before a tail call, which takes the frame's place.
func (f *function) leave(at int) {
	f.calls = true
	f.flush(at)
	f.out = leb(append(f.out, 0x20), f.saved()) // local.get saved
	f.out = append(f.out, 0x42)                 // i64.const weight, which the end of the body tells
	f.weights = append(f.weights, len(f.out))
	f.out = append(f.out, 0x80, 0x80, 0x80, 0x80, 0x80, 0)
	f.out = leb(append(f.out, 0x7c, 0x24), f.m.stack()) // i64.add; global.set stack
}

// putWeight writes a number in the six bytes that leave keeps for it.
func putWeight(b []byte, n int64) {
	for i := range 6 {
		b[i] = byte(n&0x7f) | 0x80
		n >>= 7
	}
	b[5] &^= 0x80
}

// flush copies what was read, up to here.
func (f *function) flush(to int) {
	f.out = append(f.out, f.r.b[f.copied:to]...)
	f.copied = to
}

// look takes units and calls the host when none are left.
func (f *function) look(units uint64) {
	f.out = f.take(f.out, units)
	f.check()
}

// take writes what takes units, and keeps what is left in tmp.
func (f *function) take(out []byte, units uint64) []byte {
	out = leb(append(out, 0x23), f.m.globals) // global.get fuel
	out = append(out, 0x42)                   // i64.const units
	out = append(out, sleb(int64(units))...)
	out = leb(append(out, 0x7d, 0x22), f.tmp)  // i64.sub; local.tee tmp
	return leb(append(out, 0x24), f.m.globals) // global.set fuel
}

// check calls the host when what is left is below zero.
func (f *function) check() {
	f.out = leb(append(f.out, 0x20), f.tmp) // local.get tmp
	f.out = f.yield(f.out)
	f.since = 0
	f.effort.block(shapeBlock)
}

// yield writes a call of the host for when the value on the stack is below zero.
func (f *function) yield(out []byte) []byte {
	out = append(out, 0x42, 0, 0x53, 0x04, 0x40, 0x10) // i64.const 0; i64.lt_s; if; call yield; end
	return append(leb(out, f.m.imported), 0x0b)
}

// charge takes 1 unit and the length on top of the stack, divided by 2^shift, before a bulk instruction.
func (f *function) charge(at int, shift byte) {
	f.flush(at)
	f.bulk = true
	f.effort.block(shapeBulk)
	f.out = leb(append(f.out, 0x22), f.length())  // local.tee n
	f.out = leb(append(f.out, 0x23), f.m.globals) // global.get fuel
	f.out = leb(append(f.out, 0x20), f.length())  // local.get n
	// i64.extend_i32_u; i64.const shift; i64.shr_u; i64.sub; i64.const 1; i64.sub
	f.out = append(f.out, 0xad, 0x42, shift, 0x88, 0x7d, 0x42, 1, 0x7d)
	f.out = leb(append(f.out, 0x22), f.tmp)       // local.tee tmp
	f.out = leb(append(f.out, 0x24), f.m.globals) // global.set fuel
	f.check()
}

// branch notes that the end of a block can be reached from here.
func (f *function) branch() {
	l := f.r.leb32()
	if l >= uint64(len(f.blocks)) {
		fail("branch to label %d of %d", l, len(f.blocks))
	}
	b := &f.blocks[uint64(len(f.blocks))-1-l]
	if b.loop {
		f.effort.moved += int(b.sig.params)
		return
	}
	f.effort.moved += int(b.sig.results)
	b.join = max(b.join, f.since)
}

func (f *function) open(b block) {
	if len(f.blocks) > f.m.cfg.MaxNesting {
		fail("blocks nested deeper than %d", f.m.cfg.MaxNesting)
	}
	switch v := f.r.sleb(5); {
	case v >= int64(len(f.m.types)):
		fail("type %d of %d", v, len(f.m.types))
	case v >= 0:
		b.sig = f.m.types[v]
	case v == -0x1d, v == -0x1c: // (ref null? heaptype)
		f.m.heapType(&f.r)
		b.sig.results = 1
	case v != -0x40: // not the empty type
		b.sig.results = 1
	}
	b.join, b.entry, b.reads = -1, f.since, f.effort.reads
	b.height = f.effort.open(b)
	f.blocks = append(f.blocks, b)
}

// moved writes an instruction whose one operand is a function index.
func (f *function) moved(at int, op byte) {
	f.flush(at)
	i := f.r.leb32()
	f.out = leb(append(f.out, op), f.m.shift(i))
	f.copied = f.r.i
	if op == 0x10 {
		f.called(f.m.funcType(i), 0)
		if i >= f.m.imported { // the host's functions take nothing
			f.restore()
		}
	}
}

func (f *function) called(t funcType, more int) {
	f.vectors = f.vectors || t.vector
	f.effort.call(t, more)
}

// indirect reads the type of a call through a table or a reference.
func (f *function) indirect() funcType { return f.m.types[f.m.typeIndex(&f.r)] }

func (f *function) local() {
	i := f.r.leb32()
	if i >= f.locals {
		fail("local %d of %d", i, f.locals)
	}
	f.effort.local(i)
}

func (f *function) memarg() { f.r.leb32(); f.r.leb32() }

// spend counts an instruction that starts at the given place, with a look before it where one is due.
func (f *function) spend(at, cost int) {
	if f.since < 0 { // nothing leads here
		return
	}
	if f.since += cost; f.since > f.m.cfg.Step {
		f.flush(at)
		f.look(1)
	}
}

// instruction reads one instruction and writes what is due before or after it.
// Opcodes: core specification 2.0, §5.4, and the proposals named.
func (f *function) instruction() {
	r := &f.r
	at := r.i
	op := r.u8()
	cost := 1
	switch op {
	case 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x40:
		cost = costCall
	}
	f.spend(at, cost)
	f.effort.operands(op)
	switch {
	case op >= 0x45 && op <= 0xc4, op == 0x01, op == 0x1a, op == 0x1b, op == 0xd1, op == 0xd4:
		// numeric, nop, drop, select, ref.is_null, ref.as_non_null
	case op >= 0x28 && op <= 0x3e: // load, store
		f.memarg()
	case op >= 0x20 && op <= 0x22:
		f.local()
	case op == 0x23, op == 0x24:
		f.m.globalIndex(r)
	case op == 0x41:
		r.sleb(5)
	case op == 0x42:
		r.sleb(10)
	case op == 0x43:
		r.skip(4)
	case op == 0x44:
		r.skip(8)
	case op == 0x1c: // select with types
		for n := r.count(); n > 0; n-- {
			f.m.valType(r)
		}
	case op == 0x25, op == 0x26, op == 0x3f, op == 0x40: // table.get/set, memory.size/grow
		r.leb32()
	case op == 0xd0: // ref.null
		f.m.heapType(r)
	case op == 0xfc:
		f.misc(at)
	case op == 0xfd:
		f.vector()
	case op == 0xfe: // threads
		if r.leb32() == 3 {
			r.skip(1)
		} else {
			f.memarg()
		}
	case op >= 0x06 && op <= 0x0a, op == 0x18, op == 0x19, op == 0x1f:
		panic(bad{ErrExceptions})
	default:
		f.control(at, op)
	}
}

// control is instruction for blocks, branches and calls.
func (f *function) control(at int, op byte) {
	r := &f.r
	switch {
	case op == 0x02:
		f.open(block{})
	case op == 0x03:
		f.open(block{loop: true})
		if f.since >= 0 {
			f.flush(r.i)
			f.look(1)
		}
	case op == 0x04:
		f.open(block{isIf: true})
	case op == 0x05: // else
		b := &f.blocks[len(f.blocks)-1]
		if !b.isIf {
			fail("else without if")
		}
		b.isIf = false
		b.join = max(b.join, f.since)
		f.since = b.entry
		f.effort.height = b.height + int(b.sig.params)
		f.effort.block(shapeBlock)
	case op == 0x0b: // end
		b := f.blocks[len(f.blocks)-1]
		f.blocks = f.blocks[:len(f.blocks)-1]
		f.effort.end(b)
		f.since = max(f.since, b.join)
		if b.isIf {
			f.since = max(f.since, b.entry)
		}
	case op == 0x0c: // br
		f.branch()
		f.since = -1
	case op == 0x0d, op == 0xd5, op == 0xd6: // br_if, br_on_null, br_on_non_null
		f.branch()
	case op == 0x0e: // br_table
		for n := r.count() + 1; n > 0; n-- {
			f.branch()
			f.effort.target()
		}
		f.since = -1
	case op == 0x00: // unreachable
		f.since = -1
	case op == 0x0f: // return
		f.effort.moved += int(f.blocks[0].sig.results)
		f.since = -1
	case op == 0x10, op == 0xd2: // call, ref.func
		f.moved(at, op)
	case op == 0x12: // return_call
		f.leave(at)
		f.moved(at, op)
		f.since = -1
	case op == 0x11: // call_indirect
		f.called(f.indirect(), 1)
		r.leb32()
		f.restore()
	case op == 0x13: // return_call_indirect
		f.leave(at)
		f.m.typeIndex(r)
		r.leb32()
		f.since = -1
	case op == 0x14: // call_ref
		f.called(f.indirect(), 1)
		f.restore()
	case op == 0x15: // return_call_ref
		f.leave(at)
		f.m.typeIndex(r)
		f.since = -1
	default:
		fail("unknown instruction %#x", op)
	}
}

func (f *function) misc(at int) {
	r := &f.r
	sub := r.leb32()
	f.effort.misc(sub)
	switch sub {
	case 8, 10, 11: // memory.init, copy, fill: per 64 bytes
		f.charge(at, 6)
	case 12, 14, 17: // table.init, copy, fill: per entry
		f.charge(at, 0)
	case 15: // table.grow: bounded by MaxTable
		f.spend(at, costCall)
	}
	switch sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncation
	case 9, 11, 13, 15, 16, 17:
		r.leb32()
	case 8, 10, 12, 14:
		r.leb32()
		r.leb32()
	default:
		fail("unknown instruction 0xfc %d", sub)
	}
}

func (f *function) vector() {
	r := &f.r
	sub := r.leb32()
	f.vectors = true
	f.effort.vector(sub)
	switch {
	case sub <= 11, sub == 92, sub == 93:
		f.memarg()
	case sub == 12, sub == 13:
		r.skip(16)
	case sub >= 21 && sub <= 34:
		r.skip(1)
	case sub >= 84 && sub <= 91:
		f.memarg()
		r.skip(1)
	case sub > 255:
		fail("unknown instruction 0xfd %d", sub)
	}
}
