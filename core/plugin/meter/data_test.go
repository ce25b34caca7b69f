package meter_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

// started gives the memory of a module after its start, and the error of one that does not start.
func started(t *testing.T, rt wazero.Runtime, wasm []byte) ([]byte, error) {
	t.Helper()
	mod, err := rt.InstantiateWithConfig(t.Context(), wasm, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return nil, err
	}
	defer mod.Close(t.Context())
	b, _ := mod.Memory().Read(0, mod.Memory().Size())
	return bytes.Clone(b), nil
}

// Data segments that follow each other closely become one, and the memory is what it was: in whatever order they come, over
// each other, across the memory's end.
func TestDataSegments(t *testing.T) {
	rt := interpreter(t)
	if _, err := rt.NewHostModuleBuilder(meter.Module).NewFunctionBuilder().WithFunc(func() {}).Export(meter.Yield).Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 400 {
		m := &asm.Module{}
		m.Memory(1, -1)
		at := random.IntN(200)
		n := 1 + random.IntN(30)
		if round%50 == 0 {
			n = 900 // more pieces than are remembered
		}
		for range n {
			data := bytes.Repeat([]byte{byte(1 + random.IntN(255))}, random.IntN(12))
			m.Data(at, string(data))
			switch at += len(data) + random.IntN(50); random.IntN(8) {
			case 0:
				at = random.IntN(1000 + 20*n)
			case 1:
				at = max(0, at-60)
			case 2:
				if round%4 == 0 {
					at = 1<<16 - random.IntN(8)
				}
			}
		}
		out, err := meter.Rewrite(m.Bytes(), meter.Config{})
		if err != nil {
			t.Fatal(err)
		}
		want, refused := started(t, rt, m.Bytes())
		got, err := started(t, rt, out.Wasm)
		if (err == nil) != (refused == nil) || !bytes.Equal(got, want) {
			t.Fatalf("round %d: the memory is another one, or %v was %v", round, err, refused)
		}
	}
	m := &asm.Module{}
	m.Memory(2, -1)
	m.Data(120_000, "Go's linker writes one of the last first")
	for i := range 5000 {
		m.Data(20*i, "twelve bytes")
	}
	out, err := meter.Rewrite(m.Bytes(), meter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Wasm, []byte("twelve bytes\x00\x00\x00\x00\x00\x00\x00\x00twelve bytes")); n != 2500 {
		t.Errorf("%d pairs are in one segment, want all", n)
	}
	if len(out.Wasm) > len(m.Bytes())+5000*8 {
		t.Errorf("%d bytes became %d", len(m.Bytes()), len(out.Wasm))
	}
}

// Where a segment goes whose place is known at the start only, zeros would cover it.
func TestDataSegmentsOfUnknownPlace(t *testing.T) {
	const both = "first\x00\x00\x00\x00\x00second"
	for _, unknown := range []bool{false, true} {
		m := &asm.Module{}
		m.Memory(1, -1)
		m.Global(12)
		if unknown {
			m.DataAt(asm.Code([]byte{0x23, 0}, asm.End), "x") // global.get 0
		}
		m.Data(5, "first")
		m.Data(15, "second")
		out, err := meter.Rewrite(m.Bytes(), meter.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out.Wasm, []byte(both)) == unknown {
			t.Errorf("unknown %v: %q", unknown, out.Wasm)
		}
	}
}

// What a memory from elsewhere holds between two segments stays.
func TestDataSegmentsOfAnImportedMemory(t *testing.T) {
	rt := interpreter(t)
	if _, err := rt.NewHostModuleBuilder(meter.Module).NewFunctionBuilder().WithFunc(func() {}).Export(meter.Yield).Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
	env := &asm.Module{}
	env.Memory(1, -1)
	env.Data(0, string(bytes.Repeat([]byte{7}, 100)))
	own, err := rt.InstantiateWithConfig(t.Context(), env.Bytes(), wazero.NewModuleConfig().WithName("env"))
	if err != nil {
		t.Fatal(err)
	}
	m := &asm.Module{}
	m.ImportMemory("env", "memory", 1, -1)
	m.Data(0, "a")
	m.Data(10, "b")
	out, err := meter.Rewrite(m.Bytes(), meter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.InstantiateWithConfig(t.Context(), out.Wasm, wazero.NewModuleConfig().WithName("")); err != nil {
		t.Fatal(err)
	}
	if b, _ := own.Memory().Read(0, 12); string(b) != "a\x07\x07\x07\x07\x07\x07\x07\x07\x07b\x07" {
		t.Errorf("the memory is %q", b)
	}
}
