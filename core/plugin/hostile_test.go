package plugin_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
)

// hostile is a module that must cost one load or one call and nothing else.
type hostile struct {
	name string
	wasm []byte
	want []core.Kind // of the load or the call; none: it must answer
}

var (
	timeout  = []core.Kind{plugin.Timeout}
	trap     = []core.Kind{plugin.Trap}
	badMod   = []core.Kind{plugin.BadModule}
	anyTrap  = []core.Kind{plugin.Trap, plugin.Timeout, plugin.Limit}
	overSize = []core.Kind{plugin.Limit, plugin.BadModule}
)

// callType is () -> () in a guest, the first type after those of its imports.
var callType = newGuest().Type(nil, nil)

// treeOfCalls is 2^60 calls without a loop.
func treeOfCalls() []byte {
	m := newGuest()
	m.Memory(1, -1)
	base := uint32(fPathOpen + 1)
	m.Func(nil, nil, 0)
	for i := range uint32(60) {
		m.Func(nil, nil, 0, asm.Call(base+i), asm.Call(base+i))
	}
	return finish(m, m.Func(i32s(1), i32s(1), 0, asm.Call(base+60), 0))
}

// self builds a module with one recursive function.
func self(build func(me uint32) []any) []byte {
	m := newGuest()
	m.Memory(1, -1)
	me := uint32(fPathOpen + 1)
	m.Func(i32s(1), i32s(1), 2, build(me)...)
	return finish(m, me)
}

// with builds a guest after a setup of its module.
func with(setup func(*asm.Module), body ...any) []byte {
	m := newGuest()
	setup(m)
	return finish(m, m.Func(i32s(1), i32s(1), 8, body...))
}

func memory(min, max int) func(*asm.Module) { return func(m *asm.Module) { m.Memory(min, max) } }

// starting is a module whose start function runs the body.
func starting(body ...any) []byte {
	m := newGuest()
	m.Memory(1, -1)
	f := m.Func(i32s(1), i32s(1), 0, 0)
	s := m.Func(nil, nil, 8, body...)
	m.Start(s)
	return finish(m, f)
}

// initial is a module whose export of the given name runs the body.
func initial(name string, params, results []byte, body ...any) []byte {
	m := newGuest()
	m.Memory(1, -1)
	m.Data(1024, allow)
	f := m.Func(i32s(1), i32s(1), 0, 0)
	m.Export(name, m.Func(params, results, 8, body...))
	return finish(m, f)
}

// raw is a module of sections.
func raw(sections ...[]byte) []byte { return append([]byte(asm.Header), bytes.Join(sections, nil)...) }

// poll is a subscription to a clock at 2048, and the wait for it.
func poll(flags int, ns int64) []byte {
	return asm.Code(
		2048, asm.I64Const(0), []byte{0x37, 3, 0}, // user data
		2048, asm.I64Const(0), []byte{0x37, 3, 8}, // a clock
		2048, asm.I64Const(1), []byte{0x37, 3, 16}, // the monotonic one
		2048, asm.I64Const(ns), []byte{0x37, 3, 24},
		2048, asm.I64Const(int64(flags)), []byte{0x37, 3, 40},
		2048, 4096, 1, 8192, asm.Call(fPoll), asm.Drop)
}

func hostiles() []hostile {
	call := func(f uint32, args ...int) []byte {
		var b []byte
		for _, a := range args {
			b = append(b, asm.Code(a)...)
		}
		return append(b, asm.Call(f)...)
	}
	dropped := func(f uint32, args ...int) []byte { return append(call(f, args...), asm.Drop) }
	list := []hostile{
		// Time.
		{"empty loop", guest(asm.Forever(), 0), timeout},
		{"loop of nops", guest(asm.Forever(bytes.Repeat([]byte{asm.Nop}, 1000)), 0), timeout},
		{"loop in loops", guest(asm.Forever(asm.Forever(asm.Forever())), 0), timeout},
		{"loop by br_if", guest(asm.Loop, asm.Void, 1, asm.BrIf(0), asm.End, 0), timeout},
		{"loop by br_table", guest(asm.Loop, asm.Void, 0, []byte{0x0e, 1, 0, 0}, asm.End, 0), timeout},
		{"counted loop of 2^31", guest(asm.Times(1, -1, asm.Nop), 0), timeout},
		{"two loops handing over", guest(asm.Loop, asm.Void, asm.Loop, asm.Void, asm.Get(1), asm.I32Eqz, asm.Tee(1), asm.BrIf(0), asm.Br(1), asm.End, asm.End, 0), timeout},
		{"2^60 calls without a loop", treeOfCalls(), timeout},
		{"endless recursion", self(func(me uint32) []any { return []any{asm.Get(0), asm.Call(me)} }), anyTrap},
		{"recursion with many locals", self(func(me uint32) []any {
			return []any{asm.Get(0), asm.Call(me), asm.Get(1), asm.I32Add}
		}), anyTrap},
		{"fibonacci of 60", with(func(m *asm.Module) {
			m.Memory(1, -1)
			me := fPathOpen + 1
			m.Func(i32s(1), i32s(1), 0, asm.Get(0), 2, []byte{0x48}, asm.If, asm.I32, asm.Get(0), asm.Else,
				asm.Get(0), 1, asm.I32Sub, asm.Call(me), asm.Get(0), 2, asm.I32Sub, asm.Call(me), asm.I32Add, asm.End)
		}, 60, asm.Call(fPathOpen+1)), timeout},
		{"mutual recursion through a table", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			m.Table(2, 2)
			a := uint32(fPathOpen + 1)
			t := m.Type(i32s(1), i32s(1))
			m.Func(i32s(1), i32s(1), 0, asm.Get(0), 1, asm.CallIndirect(t))
			m.Func(i32s(1), i32s(1), 0, asm.Get(0), 0, asm.CallIndirect(t))
			m.Elem(0, a, a+1)
			return finish(m, a)
		}(), anyTrap},
		{"long straight code in a loop", guest(asm.Forever(bytes.Repeat(asm.Code(asm.I64Const(-1), asm.I64Const(7), []byte{0x7f}, asm.Drop), 50_000)), 0), timeout},
		{"long straight code behind jumps", guest(asm.Forever(bytes.Repeat(asm.Code(asm.Block, asm.Void, bytes.Repeat([]byte{asm.Nop}, 200), asm.Br(0), bytes.Repeat([]byte{asm.Nop}, 200), asm.End), 200)), 0), timeout},
		{"fills of 48 MiB", with(memory(768, -1), asm.Forever(0, 1, 48<<20, asm.MemoryFill), 0), timeout},
		{"1,000 fills of 48 MiB in straight code", with(memory(768, -1), bytes.Repeat(asm.Code(0, 1, 48<<20, asm.MemoryFill), 1000), 0), timeout},
		{"copies of 24 MiB", with(memory(768, -1), asm.Forever(0, 24<<20, 24<<20, asm.MemoryCopy), 0), timeout},
		{"small fills", guest(asm.Forever(bytes.Repeat(asm.Code(0, 1, 63, asm.MemoryFill), 500)), 0), timeout},
		{"empty fills", guest(asm.Forever(bytes.Repeat(asm.Code(0, 1, 0, asm.MemoryFill), 500)), 0), timeout},
		{"table fills", with(func(m *asm.Module) { m.Memory(1, -1); m.Table(65536, 65536) }, asm.Forever(0, asm.RefNull, 65536, asm.TableFill), 0), timeout},
		{"table copies", with(func(m *asm.Module) { m.Memory(1, -1); m.Table(65536, 65536) }, asm.Forever(0, 1, 65535, asm.TableCopy), 0), timeout},
		{"table grown one by one", with(func(m *asm.Module) { m.Memory(1, -1); m.Table(0, -1) }, asm.Forever(asm.RefNull, 1, asm.TableGrow, asm.Drop), 0), timeout},
		{"table grown by 2^32-1", with(func(m *asm.Module) { m.Memory(1, -1); m.Table(0, -1) }, asm.Forever(asm.RefNull, -1, asm.TableGrow, asm.Drop), 0), timeout},
		{"memory grown page by page", guest(asm.Forever(1, asm.MemoryGrow, asm.Drop), 0), timeout},
		{"memory grown by 65535 pages", guest(asm.Forever(65535, asm.MemoryGrow, asm.Drop), 0), timeout},
		{"memory grown by nothing, in straight code", guest(asm.Forever(bytes.Repeat(asm.Code(0, asm.MemoryGrow, asm.Drop), 4_000)), 0), timeout},
		{"random_get of 48 MB", with(memory(768, -1), asm.Forever(dropped(fRandom, 0, 48_000_000)), 0), timeout},
		{"a sleep of an hour", guest(poll(0, int64(time.Hour)), 0), timeout},
		{"a sleep of 2^63 ns", guest(poll(0, 1<<62), 0), timeout},
		{"a sleep to a far time", guest(poll(1, 1<<61), 0), timeout},
		{"a loop of short sleeps", guest(asm.Forever(poll(0, 1000)), 0), timeout},

		// Loops over the host.
		{"loop over read", guest(asm.Forever(call(fRead, 0)), 0), timeout},
		{"loop over write", with(memory(768, -1), asm.Forever(call(fWrite, 0, 1<<20)), 0), timeout},
		{"loop over get", guest(asm.Forever(dropped(fGet, 1024, 20)), 0), timeout},
		{"loop over call", guest(asm.Forever(dropped(fCall, 1024, 20, 1024, 20)), 0), timeout},
		{"loop over log", guest(asm.Forever(call(fLog, 3, 0, 8192)), 0), timeout},
		{"loop over clock", guest(asm.Forever(0, asm.I64Const(0), 64, asm.Call(fClock), asm.Drop), 0), timeout},
		{"loop over sched_yield", guest(asm.Forever(asm.Call(fYield), asm.Drop), 0), timeout},
		{"loop over args_get", guest(asm.Forever(dropped(fArgs, 64, 128)), 0), timeout},
		{"loop over random_get", guest(asm.Forever(dropped(fRandom, 0, 32)), 0), timeout},
		{"loop over fd_write of 1,000 vectors", with(func(m *asm.Module) {
			m.Memory(64, -1)
			m.Data(0, string(bytes.Repeat([]byte{0, 0, 0, 0, 0, 0, 1, 0}, 1000)))
		}, asm.Forever(dropped(fFdWrite, 2, 0, 1000, 9000)), 0), timeout},
		{"fd_write of 2^28 vectors", guest(dropped(fFdWrite, 1, 0, 1<<28, 64), answering), nil},
		{"loop over fd_read", guest(asm.Forever(dropped(fFdRead, 0, 64, 1, 128)), 0), timeout},
		{"straight code over the host", guest(asm.Forever(bytes.Repeat(asm.Code(asm.Call(fYield), asm.Drop), 4_000)), 0), timeout},
		{"poll of no subscriptions", guest(dropped(fPoll, 0, 64, 0, 128), answering), nil},
		{"poll of 2^31 subscriptions", guest(dropped(fPoll, 0, 64, -1, 128), answering), nil},

		// Pointers.
		{"read to outside", guest(call(fRead, 65530), 0), trap},
		{"read to -1", guest(call(fRead, -1), 0), trap},
		{"write from outside", guest(call(fWrite, 65000, 4096), 0), trap},
		{"write of -1 bytes", guest(call(fWrite, 0, -1), 0), []core.Kind{plugin.Limit}},
		{"write of 2 MiB", with(memory(64, -1), call(fWrite, 0, 2<<20), 0), []core.Kind{plugin.Limit}},
		{"get with a key outside", guest(dropped(fGet, 65530, 100), 0), trap},
		{"get with a key of -1 bytes", guest(dropped(fGet, 0, -1), 0), trap},
		{"get with a key of 60 KiB", guest(dropped(fGet, 0, 60_000), answering), nil},
		{"call with an operation outside", guest(dropped(fCall, -64, 64, 0, 0), 0), trap},
		{"call with a request outside", guest(dropped(fCall, 0, 4, 65000, 65000), 0), trap},
		{"call with lengths of -1", guest(dropped(fCall, 0, -1, 0, -1), 0), trap},
		{"log from outside", guest(call(fLog, 1, -8, 100), 0), trap},
		{"log of -1 bytes", guest(call(fLog, 1, 65535, -1), 0), trap},
		{"log at level -5", guest(call(fLog, -5, 1024, 4), answering), nil},
		{"random_get to outside", guest(dropped(fRandom, 65530, 100), 0), trap},
		{"clock to outside", guest(0, asm.I64Const(0), -1, asm.Call(fClock), asm.Drop, 0), trap},
		{"fd_write with vectors outside", guest(dropped(fFdWrite, 1, -8, 3, 0), 0), trap},
		{"fd_write of a vector that points outside", with(func(m *asm.Module) { m.Memory(1, -1); m.Data(0, "\xff\xff\xff\xff\xff\xff\xff\x7f") }, dropped(fFdWrite, 1, 0, 1, 64), 0), trap},
		{"fd_write to a descriptor that is none", guest(dropped(fFdWrite, 77, 0, 1, 64), answering), nil},
		{"fd_read to outside", guest(dropped(fFdRead, 0, -8, 1, 64), 0), trap},
		{"fd_fdstat_get to outside", guest(dropped(fFdstat, 1, 65530), 0), trap},
		{"poll with subscriptions outside", guest(dropped(fPoll, 65530, 0, 4, 128), 0), trap},
		{"args_get to outside", guest(dropped(fArgs, 65534, 65534), 0), trap},
		{"environ_sizes_get to outside", guest(dropped(fEnviron, 65534, 0), 0), trap},
		{"load from outside", guest(-4, asm.Load(0)), trap},
		{"store to outside with an offset", guest(-4, 7, asm.Store(1<<30), 0), trap},

		// Traps, exits and answers.
		{"unreachable", guest(asm.Unreachable), trap},
		{"division by zero", guest(1, 0, asm.I32DivS), trap},
		{"division overflow", guest(-1<<31, -1, asm.I32DivS), trap},
		{"exit 0", guest(call(fExit, 0), 0), trap},
		{"exit 1", guest(call(fExit, 1), 0), trap},
		{"exit -1", guest(call(fExit, -1), 0), trap},
		{"indirect call of nothing", with(func(m *asm.Module) { m.Memory(1, -1); m.Table(4, 4); m.Type(nil, nil) }, 2, asm.CallIndirect(callType), 0), trap},
		{"no output", guest(0), []core.Kind{plugin.BadAnswer}},
		{"an output that is no JSON", guest(call(fWrite, 0, 16), 0), []core.Kind{plugin.BadAnswer}},
		{"an output that ends early", guest(call(fWrite, 1024, 10), 0), []core.Kind{plugin.BadAnswer}},
		{"an output that is a list", with(func(m *asm.Module) { m.Memory(1, -1); m.Data(0, "[1,2]") }, call(fWrite, 0, 5), 0), []core.Kind{plugin.BadAnswer}},
		{"an output with a name twice", with(func(m *asm.Module) { m.Memory(1, -1); m.Data(0, `{"a":1,"a":2}`) }, call(fWrite, 0, 13), 0), []core.Kind{plugin.BadAnswer}},
		{"an output that is not UTF-8", with(func(m *asm.Module) { m.Memory(1, -1); m.Data(0, "{\"a\":\"\xff\"}") }, call(fWrite, 0, 9), 0), []core.Kind{plugin.BadAnswer}},
		{"an output nested 100,000 deep", with(memory(8, -1), 0, int('['), 100_000, asm.MemoryFill, call(fWrite, 0, 100_000), 0), []core.Kind{plugin.BadAnswer}},
		{"status -2", guest(-2), []core.Kind{plugin.BadAnswer}},
		{"status of the least number", guest(-1 << 31), []core.Kind{plugin.BadAnswer}},
		{"a failure with control characters", with(func(m *asm.Module) { m.Memory(1, -1); m.Data(0, "a\x1b[2J\x00\nb\u202e") }, call(fWrite, 0, 11), 7), []core.Kind{plugin.Failed}},

		// Starts.
		{"a start that loops", starting(asm.Forever()), []core.Kind{plugin.Limit}},
		{"a start that traps", starting(asm.Unreachable), trap},
		{"a start that exits", starting(call(fExit, 3)), trap},
		{"a start that recurses", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			m.Start(m.Func(nil, nil, 0, asm.Call(fPathOpen+1)))
			return finish(m, m.Func(i32s(1), i32s(1), 0, 0))
		}(), anyTrap},
		{"a start that reads to outside", starting(call(fRead, -1)), trap},
		{"a start that grows", starting(asm.Times(0, 100_000, 1, asm.MemoryGrow, asm.Drop), asm.Unreachable), trap},
		{"a start with a parameter", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			f := m.Func(i32s(1), i32s(1), 0, 0)
			m.Start(f)
			return finish(m, f)
		}(), badMod},
		{"a start that is an import", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			m.Start(fExit)
			return finish(m, m.Func(i32s(1), i32s(1), 0, 0))
		}(), badMod},
		{"_initialize that loops", initial("_initialize", nil, nil, asm.Forever()), []core.Kind{plugin.Limit}},
		{"_initialize that traps", initial("_initialize", nil, nil, asm.Unreachable), trap},
		{"_initialize with a result", initial("_initialize", nil, i32s(1), 0), badMod},
		{"ogp_init that loops", initial("ogp_init", i32s(1), i32s(1), asm.Forever(), 0), []core.Kind{plugin.Limit}},
		{"ogp_init that says no", initial("ogp_init", i32s(1), i32s(1), 1024, 8, asm.Call(fWrite), 1), []core.Kind{plugin.Failed}},
		{"ogp_init that says nothing", initial("ogp_init", i32s(1), i32s(1), -1), []core.Kind{plugin.Failed}},
		{"ogp_init without a result", initial("ogp_init", i32s(1), nil), badMod},
		{"an endless sleep in ogp_init", initial("ogp_init", i32s(1), i32s(1), asm.Unreachable, poll(0, 1<<60), 0), trap},

		// Shapes.
		{"a memory of 4 GiB at start", with(memory(65536, -1), 0), badMod},
		{"a memory of 49 MiB at start", with(memory(784, -1), 0), badMod},
		{"a memory of 70,000 pages", with(memory(70_000, -1), 0), badMod},
		{"a memory with less at most than at least", with(memory(10, 5), 0), badMod},
		{"a table of 100 million entries", with(func(m *asm.Module) { m.Memory(1, -1); m.Table(100_000_000, -1) }, 0), badMod},
		{"1,000 tables", with(func(m *asm.Module) {
			m.Memory(1, -1)
			for range 1000 {
				m.Table(60_000, -1)
			}
		}, 0), badMod},
		{"two memories", with(func(m *asm.Module) { m.Memory(1, -1); m.Memory(1, -1) }, 0), badMod},
		{"no memory", with(func(*asm.Module) {}, 0), badMod},
		{"memory is a function", func() []byte {
			m := newGuest()
			f := m.Func(i32s(1), i32s(1), 0, 0)
			m.Export("memory", f)
			return finish(m, f)
		}(), badMod},
		{"a hook of another type", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			return finish(m, m.Func(nil, i32s(1), 0, 0))
		}(), badMod},
		{"a hook of 64 bits", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			return finish(m, m.Func([]byte{asm.I64}, i32s(1), 0, 0))
		}(), badMod},
		{"a hook that is a global", with(func(m *asm.Module) { m.Memory(1, -1); m.Data(1024, allow); m.Global(1); m.ExportKind("ogp_init", 3, 0) }, answering), nil},
		{"an import of files", imports("wasi_snapshot_preview1", "path_chmod", nil, nil), badMod},
		{"an import of a newer host", imports("ogp_v1", "fork", nil, nil), badMod},
		{"an import of the meter", imports("ogp_meter", "yield", nil, nil), badMod},
		{"an import of env", imports("env", "abort", i32s(4), nil), badMod},
		{"read of another type", imports("ogp_v1", "read", []byte{asm.I64}, nil), badMod},
		{"an export of the meter", with(func(m *asm.Module) { m.Memory(1, -1); m.Global(1); m.ExportKind("__ogp_fuel", 3, 0) }, 0), badMod},
		{"an imported memory", raw(asm.Section(2, asm.Code(asm.U(1), asm.Name("env"), asm.Name("memory"), []byte{2, 0, 1})), hookless()), badMod},
		{"the meter's global by its index", with(func(m *asm.Module) { m.Memory(1, -1); m.Global(1) }, asm.I64Const(1<<60), asm.GlobalSet(1), 0), badMod},
		{"the meter's global exported by its index", with(func(m *asm.Module) { m.Memory(1, -1); m.Global(1); m.ExportKind("mine", 3, 1) }, 0), badMod},
		{"the meter's local by its index", guest(asm.I64Const(1<<60), asm.Set(9), 0), badMod},
		{"the meter's type by its index", guest(asm.Block, asm.S(int64(callType)), asm.End, 0), badMod},
		{"the meter's function by its index", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			return finish(m, m.Func(i32s(1), i32s(1), 0, asm.Call(fPathOpen+2), 0))
		}(), badMod},
		{"exception handling", guest([]byte{0x1f, 0x40, 0}, asm.End, 0), badMod},
		{"a throw", guest([]byte{0x08, 0}, 0), badMod},
		{"a tag section", raw(asm.Section(13, []byte{0})), badMod},
		{"threads", guest([]byte{0xfe, 3, 0}, 0), badMod},
		{"a tail call", guest([]byte{0x12, 0}, 0), badMod},
		{"a relaxed vector instruction", guest([]byte{0xfd, 0x80, 0x02}, 0), badMod},
		{"blocks nested 200,000 deep", guest(bytes.Repeat([]byte{asm.Block, asm.Void}, 200_000), bytes.Repeat([]byte{asm.End}, 200_000), 0), badMod},
		{"100,000 loops, which take minutes to compile", guest(bytes.Repeat(asm.Code(asm.Loop, asm.Void, asm.End), 100_000), 0), badMod},
		{"100,000 branches", guest(bytes.Repeat(asm.Code(asm.Get(1), asm.If, asm.Void, asm.End), 100_000), 0), badMod},
		{"1,000 functions of 1,000 merges", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			var reads []byte
			for i := range 1000 {
				reads = append(reads, asm.Code(asm.Get(i+1), 1, asm.I32Add, asm.Set(i+1))...)
			}
			for range 1000 {
				m.Func(i32s(1), i32s(1), 1000, bytes.Repeat([]byte{asm.Loop, asm.Void}, 100), reads, bytes.Repeat(asm.Code(asm.Get(1), asm.BrIf(0), asm.End), 100), 0)
			}
			return finish(m, fPathOpen+1)
		}(), badMod},
		{"a br_table of a million", guest(0, []byte{0x0e}, asm.U(1<<20), bytes.Repeat([]byte{0}, 1<<20+1)), anyOf(plugin.BadModule, plugin.BadAnswer)},
		{"4 billion locals", raw(types0(), asm.Section(3, []byte{1, 0}), hookless(), asm.Section(10, asm.Code(asm.U(1), asm.U(8), asm.U(1), asm.U(1<<32-1), asm.I32, asm.End))), badMod},
		{"a type of a million parameters", raw(asm.Section(1, asm.Code(asm.U(1), byte(0x60), asm.U(1<<20), bytes.Repeat([]byte{asm.I32}, 1<<20), asm.U(0))), hookless()), badMod},
		{"300,000 functions", func() []byte {
			return raw(types0(), asm.Section(3, asm.Code(asm.U(300_000), bytes.Repeat([]byte{0}, 300_000))), hookless(), asm.Section(10, asm.Code(asm.U(300_000), bytes.Repeat([]byte{2, 0, asm.End}, 300_000))))
		}(), badMod},
		{"a module of 30 MiB", func() []byte {
			m := newGuest()
			m.Memory(1, -1)
			m.Custom("padding", string(make([]byte, 30<<20)))
			return finish(m, m.Func(i32s(1), i32s(1), 0, 0))
		}(), overSize},
		{"a component", append([]byte("\x00asm\x0d\x00\x01\x00"), 0), badMod},
		{"version 2", []byte("\x00asm\x02\x00\x00\x00"), badMod},
		{"nothing", []byte{}, badMod},
		{"only a header", []byte(asm.Header), []core.Kind{plugin.BadModule, plugin.BadManifest}},
		{"an ELF file", []byte("\x7fELF\x02\x01\x01\x00 and more of it"), badMod},
		{"sections out of order", raw(asm.Section(3, []byte{0}), asm.Section(1, []byte{0})), badMod},
		{"a section twice", raw(asm.Section(1, []byte{0}), asm.Section(1, []byte{0})), badMod},
		{"a section of an unknown kind", raw(asm.Section(99, nil)), badMod},
		{"a custom section without a name", raw(asm.Section(0, []byte{200, 1, 2})), badMod},
		{"a manifest that is no TOML", withCustom("ogp.plugin", "name = = 1"), []core.Kind{plugin.BadManifest}},
		{"a manifest of nulls", withCustom("ogp.plugin", string(make([]byte, 1000))), []core.Kind{plugin.BadManifest}},
		{"a name section that lies", withCustom("name", "\x01\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f"), nil},
		{"a name section of 4 billion functions", withCustom("name", "\x01\x06\xff\xff\xff\xff\x0f\x00"), nil},
	}
	for id := byte(1); id <= 12; id++ {
		list = append(list,
			hostile{fmt.Sprintf("section %d counts 4 billion", id), raw(asm.Section(id, []byte{0xff, 0xff, 0xff, 0xff, 0x0f})), badMod},
			hostile{fmt.Sprintf("section %d is longer than the file", id), append(raw([]byte{id}), 0xff, 0xff, 0xff, 0x7f), badMod})
	}
	good := guest(answering)
	for i := range 24 {
		cut := len(good) * (i + 1) / 25
		list = append(list, hostile{fmt.Sprintf("cut at %d bytes", cut), good[:cut], []core.Kind{plugin.BadModule, plugin.BadManifest}})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 16 {
		b := make([]byte, r.IntN(4096))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		list = append(list, hostile{fmt.Sprintf("noise %d", i), append([]byte(asm.Header), b...), []core.Kind{plugin.BadModule, plugin.BadManifest}})
	}
	return list
}

func anyOf(k ...core.Kind) []core.Kind { return k }

func types0() []byte { return asm.Section(1, []byte{1, 0x60, 0, 0}) }

// hookless is the rest of a module with a hook's export but little else.
func hookless() []byte {
	return asm.Section(7, asm.Code(asm.U(1), asm.Name("ogp_policy"), []byte{2, 0}))
}

func imports(module, name string, params, results []byte) []byte {
	m := &asm.Module{}
	m.Import(module, name, params, results)
	m.Memory(1, -1)
	return finish(m, m.Func(i32s(1), i32s(1), 0, 0))
}

func withCustom(name, content string) []byte {
	m := newGuest()
	m.Memory(1, -1)
	m.Data(1024, allow)
	m.Custom(name, content)
	return finish(m, m.Func(i32s(1), i32s(1), 0, answering))
}

// TestP2Hostile runs every hostile module beside an honest one: the module costs its own load or call, with the
// kind of error that it should, and the honest one still answers.
func TestP2Hostile(t *testing.T) {
	h := newHost(t)
	honest := load(t, h, plugin.Spec{Name: "honest", Bytes: guest(answering)})
	list := slices.Concat(hostiles(), regoHostiles(), extismHostiles())
	if len(list) < 170 {
		t.Fatalf("%d modules", len(list))
	}
	for i, x := range list {
		if testing.Short() && i%12 != 0 {
			continue // with the race detector in it, compiling takes ten times as long: a few do there
		}
		t.Run(x.name, func(t *testing.T) {
			began := time.Now()
			spec := plugin.Spec{Name: "hostile", Bytes: x.wasm, Limits: plugin.Limits{Timeout: limit100ms, Fuel: 1e12, Instances: 1}}
			p, err := h.Load(t.Context(), spec)
			var r plugin.Result
			if err == nil {
				hook := plugin.Notify
				if !slices.Contains(p.Info().Hooks, hook) {
					hook = p.Info().Hooks[0]
				}
				r, err = p.Call(t.Context(), hook, []byte(`{"a":1}`))
				p.Close()
			}
			switch {
			case len(x.want) == 0 && err != nil:
				t.Errorf("error = %v, want an answer", err)
			case len(x.want) == 0 && string(r.Output) != allow:
				t.Errorf("output = %q", r.Output)
			case err == nil && len(x.want) > 0 && !slices.Contains(x.want, ""):
				t.Errorf("output = %q, want %q", r.Output, x.want)
			case err != nil:
				wantKind(t, err, x.want...)
			}
			if r, err := honest.Call(t.Context(), plugin.Message, []byte(`{}`)); err != nil || string(r.Output) != allow {
				t.Fatalf("the honest plugin: %s, %v", r.Output, err)
			}
			t.Logf("%v after %v (%v with the load), %d units", err, r.Took, time.Since(began), r.FuelUsed)
		})
	}
	t.Logf("%d modules", len(list))
}

// TestP2Fuel has the same kinds of work ended by the budget, far from any deadline.
func TestP2Fuel(t *testing.T) {
	h := newHost(t)
	for name, wasm := range map[string][]byte{
		"loop":      guest(asm.Forever(), 0),
		"calls":     treeOfCalls(),
		"fills":     with(memory(64, -1), asm.Forever(0, 1, 1<<20, asm.MemoryFill), 0),
		"straight":  guest(bytes.Repeat(asm.Code(0, asm.MemoryGrow, asm.Drop), 8_000), 0),
		"host":      guest(asm.Forever(asm.Call(fYield), asm.Drop), 0),
		"random":    with(memory(768, -1), asm.Forever(0, 48_000_000, asm.Call(fRandom), asm.Drop), 0),
		"one fill":  with(memory(768, -1), 0, 1, 48<<20, asm.MemoryFill, answering),
		"recursion": self(func(me uint32) []any { return []any{asm.Get(0), asm.Call(me)} }),
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, h, plugin.Spec{Bytes: wasm, Limits: plugin.Limits{Timeout: plugin.Duration(time.Minute), Fuel: 1_500}})
			r, err := p.Call(t.Context(), plugin.Notify, []byte(`{}`))
			wantKind(t, err, plugin.Limit)
			if r.FuelUsed < 1_500 {
				t.Errorf("used %d units, want at least 1,500", r.FuelUsed)
			}
		})
	}
}

// TestP2StraightCode has code without loops and calls pay for its length, also where jumps leap over the places at
// which it would.
func TestP2StraightCode(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine after the other: the race detector makes it slow and sees nothing")
	}
	nops := func(n int) []byte { return bytes.Repeat([]byte{asm.Nop}, n) }
	h := newHost(t)
	for name, c := range map[string]struct {
		body  []byte
		least int64 // instructions that run
	}{
		"straight":        {nops(100_000), 100_000},
		"behind jumps":    {bytes.Repeat(asm.Code(asm.Block, asm.Void, nops(200), asm.Br(0), nops(200), asm.End), 500), 100_000},
		"behind branches": {bytes.Repeat(asm.Code(asm.Block, asm.Void, nops(200), 1, asm.BrIf(0), nops(300), asm.End), 500), 100_000},
		"in one arm":      {bytes.Repeat(asm.Code(1, asm.If, asm.Void, nops(200), asm.Else, asm.End), 500), 100_000},
		"in the other":    {bytes.Repeat(asm.Code(0, asm.If, asm.Void, asm.Else, nops(200), asm.End), 500), 100_000},
		"out of nests":    {bytes.Repeat(asm.Code(asm.Block, asm.Void, asm.Block, asm.Void, nops(200), 1, []byte{0x0e, 1, 0, 1}, asm.End, nops(300), asm.End), 500), 100_000},
	} {
		p := load(t, h, plugin.Spec{Bytes: guest(c.body, answering)})
		r, err := p.Call(t.Context(), plugin.Message, []byte(`{}`))
		if err != nil || r.FuelUsed < c.least/256 || r.FuelUsed > c.least/50 {
			t.Errorf("%s: %d units (%v), want at least %d", name, r.FuelUsed, err, c.least/256)
		}
	}
}

// TestP2FuelIsDeterministic has a policy use the same units each time.
func TestP2FuelIsDeterministic(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: guest(asm.Times(1, 12345, asm.Nop), answering)})
	first, err := p.Call(t.Context(), plugin.Message, []byte(`{}`))
	if err != nil || first.FuelUsed < 12345 {
		t.Fatalf("%+v, %v", first, err)
	}
	for range 10 {
		if r, err := p.Call(t.Context(), plugin.Message, []byte(`{}`)); err != nil || r.FuelUsed != first.FuelUsed {
			t.Errorf("used %d units (%v), before %d", r.FuelUsed, err, first.FuelUsed)
		}
	}
}

// TestP2GarbageCollection collects garbage while a guest computes: machine code cannot be preempted, so without
// the meter's calls into Go the collector would wait until the guest is done, and the program with it.
func TestP2GarbageCollection(t *testing.T) {
	h := newHost(t)
	for name, wasm := range map[string][]byte{
		"loop":  guest(asm.Forever(), 0),
		"calls": treeOfCalls(),
		"fills": with(memory(768, -1), asm.Forever(0, 1, 48<<20, asm.MemoryFill), 0),
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, h, plugin.Spec{Bytes: wasm, Limits: plugin.Limits{Timeout: plugin.Duration(20 * time.Second), Fuel: 1e12}})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			var running atomic.Bool
			running.Store(true)
			go func() {
				_, err := p.Call(ctx, plugin.Notify, []byte(`{}`))
				running.Store(false)
				done <- err
			}()
			for range 5 {
				runtime.GC()
			}
			if !running.Load() {
				t.Error("the guest was done before the collections were")
			}
			cancel()
			wantKind(t, <-done, plugin.Canceled)
		})
	}
}

// TestP2Memory bounds what hostile guests take from the program.
func TestP2Memory(t *testing.T) {
	h := newHost(t)
	p := load(t, h, plugin.Spec{Bytes: guest(
		asm.Loop, asm.Void, 1, asm.MemoryGrow, -1, []byte{0x47}, asm.BrIf(0), asm.End, answering),
		Limits: plugin.Limits{MemoryMiB: 8, Instances: 1}})
	for range 20 {
		r, err := p.Call(t.Context(), plugin.Notify, []byte(`{}`))
		if err != nil || r.MemoryBytes != 6<<20 { // a quarter is for the stack
			t.Fatalf("memory = %d (%v), want 6 MiB", r.MemoryBytes, err)
		}
		if n := p.Info().Instances; n != 0 { // above three quarters: dropped
			t.Fatalf("%d instances alive, want 0", n)
		}
	}
	p.Close()
	debug.FreeOSMemory()
}
