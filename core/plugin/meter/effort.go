package meter

// effort estimates what wazero's compiler (1.12) makes of a function, in 25 ns of time; memory goes with it, some
// 150 bytes for 100 units. What costs is measured by core/plugin/compile's TestD3Model and listed in docs/performance.md:
//
//   - the square of the number of blocks, for passes that are repeated for each;
//   - every value that may live where a block begins, as each block lists them: the locals that are used anywhere
//     in the function and the operands below, for blocks, loops (whose heads merge them), and calls (around which
//     they are kept);
//   - operands and results of calls, blocks and branches, and targets of br_table.
//
// The height of the operand stack is exact for valid code but for vectors, where it may be too high.
type effort struct {
	used   []uint32 // by local: the function that has used it last
	now    uint32   // counts functions
	locals int      // used in this one
	reads  int      // instructions so far that name a local
	height int      // operands
	most   int      // of them, so far
	width  int      // parameters and results of the widest call
	shape  int      // fifths of blocks: a call counts 1, a block 5, a loop 20
	starts int      // in fifths, where blocks begin and the values in them are listed
	depth  int      // the sum of heights there, in fifths
	moved  int      // operands and results of calls, blocks and branches
	merges int      // of locals at loop heads, at most

	// For the frame.
	all    int // declared locals
	sets   int // of locals, since the last call
	pushes int // of operands, since the last call
	slots  int // values that are kept over some call, at most, each in a place of its own
	tight  int // values made while there are more than registers
}

// Fifths of blocks.
const (
	shapeCall  = 1
	shapeBlock = 5
	shapeBulk  = 10 // a bulk instruction becomes a loop
	shapeLoop  = 20
)

// begin starts a function.
func (e *effort) begin(locals uint64) {
	*e = effort{used: e.used, now: e.now + 1, all: int(locals)}
	if n := int(locals); n > len(e.used) {
		e.used = append(e.used, make([]uint32, n-len(e.used))...)
	}
}

// work is the estimate for the function that was read.
func (e *effort) work() int {
	blocks := e.shape / shapeBlock
	return blocks*blocks + costPair*(e.starts*e.locals+e.depth)/shapeBlock + costOperand*e.moved + costMerge*e.merges
}

// In units of 25 ns, rounded up from the dearest of what was measured.
const (
	costPair    = 100
	costOperand = 250
	costMerge   = 800
	costLocal   = 10   // a declared local, used or not; the reader of modules has a byte for each, too
	costType    = 1000 // a parameter or result of a type: the code that enters functions is made at every load
)

func (e *effort) local(i uint64) {
	e.reads++
	if e.used[i] != e.now {
		e.used[i] = e.now
		e.locals++
	}
}

// block counts what begins a block.
func (e *effort) block(shape int) {
	e.shape += shape
	e.starts += shape
	e.depth += shape * e.height
}

// open counts a block and gives the height below its parameters.
func (e *effort) open(b block) int {
	shape := shapeBlock
	if b.loop {
		shape = shapeLoop
	}
	e.block(shape)
	e.moved += int(b.sig.params + b.sig.results)
	return max(e.height-int(b.sig.params), 0)
}

func (e *effort) end(b block) {
	if b.loop {
		e.merges += min(e.reads-b.reads, e.locals)
	}
	e.height = b.height
	e.move(int(b.sig.results))
}

// call counts a call of a function of the type, with some operands more.
func (e *effort) call(t funcType, more int) {
	e.shape += shapeCall
	e.starts += shapeCall
	e.depth += shapeCall * e.height
	e.moved += int(t.params + t.results)
	e.width = max(e.width, int(t.params+t.results))
	e.move(-int(t.params) - more)
	e.slots += min(e.pushes, e.height) + min(2*e.sets, e.locals)
	e.move(int(t.results))
	e.pushes, e.sets = int(t.results), 0
}

// frame estimates the bytes of the function's frame in machine code, where every value that is kept over a call,
// or for which there is no register, has a place of its own.
func (e *effort) frame() int64 {
	const fixed, value = 96, 8
	return fixed + value*int64(e.all+e.most+e.width+e.slots+e.tight/4)
}

// target counts a target of a br_table.
func (e *effort) target() {
	e.starts += shapeCall
	e.depth += shapeCall * e.height
}

func (e *effort) move(n int) {
	e.height = max(e.height+n, 0)
	e.most = max(e.most, e.height)
}

// operands follows the operand stack over an instruction, but for calls and blocks.
func (e *effort) operands(op byte) {
	if op == 0x21 || op == 0x22 { // local.set, local.tee
		e.sets++
	}
	e.pushes++
	if e.locals+e.height > registers {
		e.tight++
	}
	e.move(int(stackEffect[op]))
}

// registers is how many values an amd64 has registers for, about.
const registers = 12

// stackEffect is by how many operands an instruction changes the stack.
var stackEffect = func() (t [256]int8) {
	set := func(n int8, from, to int) {
		for op := from; op <= to; op++ {
			t[op] = n
		}
	}
	for _, op := range []int{0x04, 0x0d, 0x0e, 0x1a, 0x21, 0x24, 0xd6} { // if, br_if, br_table, drop, local.set, global.set
		t[op] = -1
	}
	set(-2, 0x1b, 0x1c)                                                              // select
	for _, op := range []int{0x20, 0x23, 0x3f, 0x41, 0x42, 0x43, 0x44, 0xd0, 0xd2} { // gets, sizes, constants
		t[op] = 1
	}
	t[0x26] = -2        // table.set
	set(-2, 0x36, 0x3e) // stores
	set(-1, 0x46, 0x4f) // i32 comparisons
	set(-1, 0x51, 0x66) // i64, f32, f64 comparisons
	set(-1, 0x6a, 0x78) // i32 arithmetic
	set(-1, 0x7c, 0x8a) // i64
	set(-1, 0x92, 0x98) // f32
	set(-1, 0xa0, 0xa6) // f64
	return t
}()

// misc is operands for the instructions behind 0xfc.
func (e *effort) misc(sub uint64) {
	switch sub {
	case 8, 10, 11, 12, 14, 17:
		e.move(-3)
	case 15:
		e.move(-1)
	case 16:
		e.move(1)
	}
}

// vector is operands for those behind 0xfd, as far as they matter: others count as if they changed nothing.
func (e *effort) vector(sub uint64) {
	switch {
	case sub == 11, sub >= 88 && sub <= 91: // stores
		e.move(-2)
	case sub == 12: // v128.const
		e.move(1)
	case sub == 13, sub >= 84 && sub <= 87, sub >= 35 && sub <= 76:
		e.move(-1)
	}
}
