package meter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// withoutCustom leaves out the custom sections: Instrument drops them, and fixes a wrong name section, which
// wazero refuses.
func withoutCustom(wasm []byte) []byte {
	out := bytes.Clone(wasm[:8])
	for i := 8; i < len(wasm); {
		n, k := binary.Uvarint(wasm[i+1:])
		end := i + 1 + k + int(n)
		if wasm[i] != 0 {
			out = append(out, wasm[i:end]...)
		}
		i = end
	}
	return out
}

// compiles says whether wazero takes a module whose sections Instrument could read.
func compiles(ctx context.Context, rt wazero.Runtime, wasm []byte) error {
	c, err := rt.CompileModule(ctx, withoutCustom(wasm))
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

func interpreter(tb testing.TB) wazero.Runtime {
	rt := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter())
	tb.Cleanup(func() { rt.Close(context.Background()) })
	return rt
}

// seeds are whole modules: the plugin host's guests and some of the specification's.
func seeds(tb testing.TB) (all [][]byte) {
	for _, pattern := range []string{"../testdata/guests/p*.wasm", "../testdata/guests/operate.wasm", "testdata/corpus/*.wasm"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				tb.Fatal(err)
			}
			all = append(all, b)
		}
	}
	if len(all) < 10 {
		tb.Fatalf("%d seeds", len(all))
	}
	return all
}

// instrument is Rewrite without the estimates.
func instrument(wasm []byte, cfg meter.Config) ([]byte, error) {
	m, err := meter.Rewrite(wasm, cfg)
	if err != nil {
		return nil, err
	}
	return m.Wasm, nil
}

// FuzzInstrument bends modules. What Instrument accepts is valid exactly when the original is: no wrong module
// becomes a right one, and no right one a wrong one.
func FuzzInstrument(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	rt := interpreter(f)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, err := instrument(wasm, meter.Config{MaxMemoryPages: 16, MaxCompile: 1_000_000, MaxNesting: 1000})
		if err != nil {
			return
		}
		plain, metered := compiles(t.Context(), rt, wasm), compiles(t.Context(), rt, out)
		if (plain == nil) != (metered == nil) {
			t.Errorf("plain: %v, metered: %v", plain, metered)
		}
	})
}

// TestInstrumentBends changes every byte of small modules, one at a time, and holds FuzzInstrument's promise.
func TestInstrumentBends(t *testing.T) {
	rt := interpreter(t)
	bent, valid := 0, 0
	for _, wasm := range seeds(t) {
		if len(wasm) > 600 {
			continue
		}
		for i := 8; i < len(wasm); i++ {
			for _, x := range []byte{0x01, 0x02, 0x40, 0x80, 0xff} {
				b := bytes.Clone(wasm)
				b[i] ^= x
				out, err := instrument(b, meter.Config{MaxMemoryPages: 16})
				if err != nil {
					continue
				}
				bent++
				plain, metered := compiles(t.Context(), rt, b), compiles(t.Context(), rt, out)
				if (plain == nil) != (metered == nil) {
					t.Errorf("byte %d ^ %#x of %.40x...: plain: %v, metered: %v", i, x, wasm, plain, metered)
				}
				if plain == nil {
					valid++
				}
			}
		}
	}
	if bent < 1000 || valid < 100 {
		t.Errorf("%d bent modules were accepted and %d of them valid", bent, valid)
	}
}

// importing are modules that import their memory, as those of "opa build" do.
func importing() (all [][]byte) {
	for _, m := range []struct{ min, max int }{{1, -1}, {2, 3}, {0, 1}} {
		for _, exported := range []string{"", "memory", "other"} {
			var a asm.Module
			f := a.Import("env", "log", []byte{asm.I32}, nil)
			a.ImportMemory("env", "memory", m.min, m.max)
			g := a.Func([]byte{asm.I32}, []byte{asm.I32}, 1, asm.Get(0), asm.Call(f), asm.MemorySize)
			a.Export("eval", g)
			if exported != "" {
				a.ExportKind(exported, 2, 0)
			}
			a.Global(3)
			all = append(all, a.Bytes())
		}
	}
	return all
}

// owns holds OwnMemory's promise: it makes no wrong module right and no right one wrong, the module has a memory of
// its own of the size that it had imported, and everything else that it had.
func owns(t *testing.T, rt wazero.Runtime, wasm []byte) (valid bool) {
	t.Helper()
	out, err := meter.OwnMemory(wasm, 16)
	if err != nil {
		return false
	}
	_, err = instrument(wasm, meter.Config{MaxMemoryPages: 16, MaxCompile: 1_000_000, MaxNesting: 1000})
	_, ownErr := instrument(out, meter.Config{MaxMemoryPages: 16, MaxCompile: 1_000_000, MaxNesting: 1000})
	if err != nil || ownErr != nil { // imported memories pass Instrument, so that only what it bounds may differ
		return false
	}
	before, err := rt.CompileModule(t.Context(), withoutCustom(wasm))
	after, ownErr := rt.CompileModule(t.Context(), withoutCustom(out))
	if (err == nil) != (ownErr == nil) {
		t.Fatalf("as it was: %v, with a memory of its own: %v", err, ownErr)
	}
	if err != nil {
		return false
	}
	defer before.Close(t.Context())
	defer after.Close(t.Context())
	if n := len(after.ImportedMemories()); n != 0 {
		t.Errorf("%d memories are still imported", n)
	}
	if a, b := len(before.ImportedFunctions()), len(after.ImportedFunctions()); a != b {
		t.Errorf("%d imported functions, then %d", a, b)
	}
	for name := range before.ExportedFunctions() {
		if after.ExportedFunctions()[name] == nil {
			t.Errorf("the export %q is gone", name)
		}
	}
	for _, was := range before.ImportedMemories() {
		now := after.ExportedMemories()["memory"]
		if now == nil {
			if shape, err := meter.Read(wasm); err != nil || shape.Exports["memory"] == 0 && before.ExportedFunctions()["memory"] == nil {
				t.Errorf("the memory is not exported, and nothing else has its name: %v", err)
			}
			continue
		}
		most, bounded := was.Max()
		if m, b := now.Max(); now.Min() != was.Min() || b != bounded || m != most {
			t.Errorf("a memory of %d to %d pages, then of %d to %d", was.Min(), most, now.Min(), m)
		}
	}
	return true
}

// FuzzOwnMemory bends modules that import their memory, and some that do not.
func FuzzOwnMemory(f *testing.F) {
	for _, b := range append(importing(), seeds(f)...) {
		f.Add(b)
	}
	rt := interpreter(f)
	f.Fuzz(func(t *testing.T, wasm []byte) { owns(t, rt, wasm) })
}

// TestOwnMemoryBends changes every byte of modules that import their memory, one at a time.
func TestOwnMemoryBends(t *testing.T) {
	rt := interpreter(t)
	valid := 0
	for _, wasm := range importing() {
		for i := 8; i < len(wasm); i++ {
			for _, x := range []byte{0x01, 0x02, 0x03, 0x40, 0x80, 0xff} {
				b := bytes.Clone(wasm)
				b[i] ^= x
				if owns(t, rt, b) {
					valid++
				}
			}
		}
		if !owns(t, rt, wasm) {
			t.Errorf("%x is refused", wasm)
		}
	}
	if valid < 50 {
		t.Errorf("%d bent modules were valid", valid)
	}
}

// program writes a valid program from any bytes: arithmetic, locals, globals, memory, bulk instructions, tables,
// calls, blocks, branches and bounded loops. Everything it computes ends in its result, its memory or its traps.
type program struct {
	in    []byte
	funcs uint32 // defined so far, all (i32) -> i32
	typ   uint32
	loops int // nested
	depth int // of blocks
	size  int
}

func (p *program) next(n int) int {
	if len(p.in) == 0 || n <= 1 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return int(b) % n
}

const localCount = 6 // and those of the loops behind them

// value writes code that leaves one i32.
func (p *program) value() []byte {
	p.size++
	if p.size > 400 || p.depth > 12 || len(p.in) == 0 {
		return asm.Code(p.next(256) - 128)
	}
	p.depth++
	defer func() { p.depth-- }()
	switch p.next(14) {
	case 0:
		return asm.Code(p.next(256) - 128)
	case 1:
		return asm.Code(1 << p.next(31))
	case 2, 3:
		return asm.Get(p.next(localCount))
	case 4, 5:
		ops := []byte{0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x71, 0x72, 0x73, 0x74, 0x46, 0x48, 0x4d}
		return asm.Code(p.value(), p.value(), ops[p.next(len(ops))])
	case 6:
		return asm.Code(p.value(), 0xffff, byte(0x71), asm.Load(p.next(200)))
	case 7:
		return asm.GlobalGet(0)
	case 8:
		return asm.Code(p.value(), asm.If, asm.I32, p.value(), asm.Else, p.value(), asm.End)
	case 9:
		return asm.Code(p.value(), asm.Tee(p.next(localCount)))
	case 10:
		if p.funcs > 0 {
			return asm.Code(p.value(), asm.Call(uint32(p.next(int(p.funcs)))))
		}
	case 11:
		return asm.Code(p.value(), p.value(), 3, byte(0x71), asm.CallIndirect(p.typ))
	case 12:
		return asm.Code(1, asm.MemoryGrow)
	case 13:
		return asm.Code(asm.Block, asm.I32, p.statements(), p.value(), p.value(), asm.BrIf(0), asm.End)
	}
	return asm.MemorySize
}

// statements writes code that leaves nothing.
func (p *program) statements() (b []byte) {
	for range 1 + p.next(4) {
		p.size++
		if p.size > 400 || p.depth > 12 {
			return b
		}
		p.depth++
		switch p.next(12) {
		case 0, 1:
			b = append(b, asm.Code(p.value(), asm.Set(p.next(localCount)))...)
		case 2:
			b = append(b, asm.Code(p.value(), 0xfffc, byte(0x71), p.value(), asm.Store(0))...)
		case 3:
			b = append(b, asm.Code(p.value(), asm.GlobalSet(0))...)
		case 4:
			b = append(b, asm.Code(p.value(), 0x3fff, byte(0x71), p.value(), p.value(), 0x7fff, byte(0x71), asm.MemoryFill)...)
		case 5:
			b = append(b, asm.Code(p.value(), 0x3fff, byte(0x71), p.value(), 0x3fff, byte(0x71), p.value(), 0x7fff, byte(0x71), asm.MemoryCopy)...)
		case 6:
			b = append(b, asm.Code(asm.Block, asm.Void, p.statements(), p.value(), asm.BrIf(0), p.statements(), asm.End)...)
		case 7:
			if p.loops < 3 {
				l := localCount + p.loops
				p.loops++
				b = append(b, asm.Times(l, 1+p.next(9), p.statements())...)
				p.loops--
			}
		case 8:
			b = append(b, asm.Code(asm.Block, asm.Void, asm.Block, asm.Void, p.value(), []byte{0x0e, 2, 0, 1, 0}, asm.End, p.statements(), asm.End)...)
		case 9:
			b = append(b, asm.Code(p.value(), 3, byte(0x71), asm.RefNull, p.value(), 1, byte(0x71), asm.TableFill)...)
		case 10:
			b = append(b, asm.Code(p.value(), 3, byte(0x71), p.value(), 3, byte(0x71), 1, asm.TableCopy)...)
		case 11:
			b = append(b, asm.Code(asm.Block, asm.Void, p.value(), asm.If, asm.Void, asm.Br(1), asm.Else, p.statements(), asm.End, bytes.Repeat([]byte{asm.Nop}, 40*p.next(8)), p.statements(), asm.End)...)
		}
		p.depth--
	}
	return b
}

func (p *program) module() []byte {
	m := &asm.Module{}
	p.typ = m.Type([]byte{asm.I32}, []byte{asm.I32})
	m.Memory(1, 3)
	m.Table(8, 8)
	m.Global(7)
	m.ExportKind("g", 3, 0)
	for range 3 {
		p.size, p.depth, p.loops = 0, 0, 0
		m.Func([]byte{asm.I32}, []byte{asm.I32}, localCount+3, p.statements(), p.value())
		p.funcs++
	}
	m.Elem(0, 0, 1)
	m.Data(100, "some bytes to begin with")
	m.Export("f", 2)
	return m.Bytes()
}

// runs tells all that a module's function does: its result or trap, its memory and its global. quantum is how
// many units the host gives at a time.
func runs(ctx context.Context, wasm []byte, quantum uint64) (string, error) {
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(16))
	defer rt.Close(ctx)
	given := 0
	yield := api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		if given++; given > 1_000+2_000_000/int(quantum+1) {
			panic(errTooLong)
		}
		if int64(m.ExportedGlobal(meter.Stack).Get()) < 0 {
			panic(errTooLong)
		}
		m.ExportedGlobal(meter.Global).(api.MutableGlobal).Set(quantum)
	})
	if _, err := rt.NewHostModuleBuilder(meter.Module).NewFunctionBuilder().WithGoModuleFunction(yield, nil, nil).Export(meter.Yield).Instantiate(ctx); err != nil {
		return "", err
	}
	m, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig())
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, x := range []uint64{0, 5} {
		if stack := m.ExportedGlobal(meter.Stack); stack != nil {
			stack.(api.MutableGlobal).Set(meter.DefaultStack)
		}
		res, err := m.ExportedFunction("f").Call(ctx, x)
		if errors.Is(err, errTooLong) {
			return "", err
		}
		text, _, _ := strings.Cut(fmt.Sprint(err), "\n")
		fmt.Fprintln(&out, res, text)
	}
	all, _ := m.Memory().Read(0, m.Memory().Size())
	sum := uint64(14695981039346656037)
	for _, c := range all {
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	fmt.Fprintln(&out, len(all), sum, m.ExportedGlobal("g").Get())
	return out.String(), nil
}

var errTooLong = errors.New("takes too long")

// FuzzRun has a metered program compute what the plain one does, whatever number of units it gets at a time.
func FuzzRun(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte("a program of some length, which comes to a few dozen instructions"), uint16(1))
	for i := range byte(60) {
		var b []byte
		x := uint32(i) * 2654435761
		for range 600 {
			x = x*1664525 + 1013904223
			b = append(b, byte(x>>24))
		}
		f.Add(b, uint16(i)*37)
	}
	f.Fuzz(func(t *testing.T, in []byte, quantum uint16) {
		wasm := (&program{in: in}).module()
		metered, err := instrument(wasm, meter.Config{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := runs(t.Context(), metered, uint64(quantum))
		if errors.Is(err, errTooLong) {
			return // recursion through the table, which the plain module would not end either
		}
		if err != nil {
			t.Fatal(err)
		}
		a, err := runs(t.Context(), wasm, 0)
		if err != nil {
			t.Fatal(err)
		}
		if a != b {
			t.Errorf("plain:\n%smetered:\n%s", a, b)
		}
	})
}

// TestNames has function names keep to their functions in stack traces.
func TestNames(t *testing.T) {
	m := &asm.Module{}
	m.Memory(1, -1)
	inner := m.Func(nil, nil, 0, asm.Unreachable)
	m.Export("run", m.Func(nil, nil, 0, asm.Call(inner)))
	m.Custom("name", "\x01"+"\x0f"+"\x02"+"\x00\x05inner"+"\x01\x05outer")
	m.Custom("producers", "x")
	out, err := instrument(m.Bytes(), meter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("producers")) {
		t.Error("a custom section was kept")
	}
	w := newWorld(t, api.CoreFeaturesV2, m.Bytes(), func(b []byte) ([]byte, error) { return instrument(b, meter.Config{}) })
	mod, err := w.instantiate(t.Context(), m.Bytes(), "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = mod.ExportedFunction("run").Call(t.Context())
	if err == nil || !strings.Contains(err.Error(), ".inner()\n\t.outer()") {
		t.Errorf("trace = %v, want inner and outer", err)
	}
}

// TestRead has the shape of a module read without compiling it.
func TestRead(t *testing.T) {
	m := &asm.Module{}
	m.Import("env", "f", nil, nil)
	m.Import("env", "g", nil, nil)
	m.Memory(1, -1)
	m.Custom("a", "first")
	m.Custom("a", "second")
	s, err := meter.Read(m.Bytes())
	if err != nil || strings.Join(s.Imports, " ") != "env.f env.g" || len(s.Exports) != 1 || s.Exports["memory"] != 2 || string(s.Custom["a"]) != "first" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, b := range seeds(t) {
		for i := range b {
			if i > 2000 {
				break
			}
			_, _ = meter.Read(b[:i]) // no panic
			_, _ = instrument(b[:i], meter.Config{})
		}
	}
}

// TestTables has tables bounded: the maximum is lowered where there is none or a larger one.
func TestTables(t *testing.T) {
	for _, c := range []struct{ min, max, grown int }{{0, -1, 100}, {0, 1 << 20, 100}, {10, 50, 40}, {100, -1, 0}} {
		m := &asm.Module{}
		m.Memory(1, -1)
		m.Table(c.min, c.max)
		m.Export("f", m.Func(nil, []byte{asm.I32}, 1, asm.Loop, asm.Void,
			asm.Get(0), 1, asm.I32Add, asm.Set(0), asm.RefNull, 1, asm.TableGrow, -1, byte(0x47), asm.BrIf(0), asm.End, asm.Get(0), 1, asm.I32Sub))
		w := newWorld(t, api.CoreFeaturesV2, m.Bytes(), func(b []byte) ([]byte, error) { return instrument(b, meter.Config{MaxTable: 100}) })
		mod, err := w.instantiate(t.Context(), m.Bytes(), "")
		if err != nil {
			t.Fatal(err)
		}
		res, err := mod.ExportedFunction("f").Call(t.Context())
		if err != nil || res[0] != uint64(c.grown) {
			t.Errorf("min %d max %d: grew by %d (%v), want %d", c.min, c.max, res, err, c.grown)
		}
	}
	m := &asm.Module{}
	m.Table(101, -1)
	if _, err := instrument(m.Bytes(), meter.Config{MaxTable: 100}); err == nil {
		t.Error("a table of 101 entries, with at most 100, was accepted")
	}
	if _, err := instrument(m.Bytes(), meter.Config{MaxTable: math.MaxUint32}); err != nil {
		t.Error(err)
	}
}

func BenchmarkInstrument(b *testing.B) {
	wasm, err := os.ReadFile("../testdata/guests/goguest.wasm")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		if _, err := instrument(wasm, meter.Config{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMetered compares the same work plain and metered.
func BenchmarkMetered(b *testing.B) {
	fib := &asm.Module{}
	fib.Memory(1, -1)
	fib.Export("f", fib.Func([]byte{asm.I32}, []byte{asm.I32}, 0, asm.Get(0), 2, byte(0x48), asm.If, asm.I32, asm.Get(0), asm.Else,
		asm.Get(0), 1, asm.I32Sub, asm.Call(0), asm.Get(0), 2, asm.I32Sub, asm.Call(0), asm.I32Add, asm.End))
	loop := &asm.Module{}
	loop.Memory(1, -1)
	loop.Export("f", loop.Func([]byte{asm.I32}, []byte{asm.I32}, 2, asm.Times(1, 100_000,
		asm.Get(1), 1020, byte(0x71), asm.Load(0), asm.Get(2), asm.I32Add, asm.Set(2)), asm.Get(2)))
	for _, c := range []struct {
		name string
		wasm []byte
	}{{"fib20", fib.Bytes()}, {"loop100k", loop.Bytes()}} {
		for _, kind := range []string{"plain", "metered"} {
			b.Run(c.name+"/"+kind, func(b *testing.B) {
				wasm := c.wasm
				if kind == "metered" {
					wasm, _ = instrument(wasm, meter.Config{})
				}
				ctx := b.Context()
				rt := wazero.NewRuntime(ctx)
				defer rt.Close(context.Background())
				yield := api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
					m.ExportedGlobal(meter.Global).(api.MutableGlobal).Set(10_000)
				})
				if _, err := rt.NewHostModuleBuilder(meter.Module).NewFunctionBuilder().WithGoModuleFunction(yield, nil, nil).Export(meter.Yield).Instantiate(ctx); err != nil {
					b.Fatal(err)
				}
				m, err := rt.Instantiate(ctx, wasm)
				if err != nil {
					b.Fatal(err)
				}
				f := m.ExportedFunction("f")
				for b.Loop() {
					if _, err := f.Call(ctx, 20); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
