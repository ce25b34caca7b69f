package compile

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

// one is a module of n functions with the same body, which leaves one i32.
func one(n, locals int, parts ...any) []byte {
	m := &asm.Module{}
	m.Memory(1, -1)
	m.Table(16, 16)
	body := asm.Code(parts...)
	for range n {
		m.Func([]byte{asm.I32}, []byte{asm.I32}, locals, body)
	}
	return m.Bytes()
}

// each repeats code for i in turn.
func each(n int, f func(i int) []byte) (b []byte) {
	for i := range n {
		b = append(b, f(i)...)
	}
	return b
}

// live gives n locals a value, and uses them all at the end, so that they are live in between.
func live(n int, between ...any) []byte {
	b := each(n, func(i int) []byte { return asm.Code(asm.Get(0), i, asm.I32Add, asm.Set(i+1)) })
	b = append(b, asm.Code(between...)...)
	return append(b, asm.Code(0, each(n, func(i int) []byte { return asm.Code(asm.Get(i+1), asm.I32Add) }))...)
}

// families are modules that take much to compile, by what they have much of; n grows with its bytes.
var families = map[string]func(n int) []byte{
	"locals of functions": func(n int) []byte { return one(n, 49_000, 0) },
	"ifs over locals": func(n int) []byte {
		return one(1, 1500, live(1500, each(n, func(i int) []byte {
			return asm.Code(asm.Get(0), asm.If, asm.Void, i, asm.Set(1+i%1500), asm.End)
		})))
	},
	"br_tables over locals": func(n int) []byte {
		return one(1, 1500, live(1500, each(n, func(i int) []byte {
			return asm.Code(asm.Block, asm.Void, asm.Block, asm.Void, asm.Get(0), []byte{0x0e, 3, 0, 1, 0, 1}, asm.End, i, asm.Set(1+i%1500), asm.End)
		})))
	},
	"wide br_tables": func(n int) []byte {
		return one(1, 1500, live(1500, bytes.Repeat(asm.Code(asm.Block, asm.Void, asm.Block, asm.Void), 20), asm.Get(0), []byte{0x0e}, asm.U(uint64(n)), each(n+1, func(i int) []byte { return asm.U(uint64(i % 40)) }),
			each(40, func(i int) []byte { return asm.Code(asm.End, i, asm.Set(1+i)) })))
	},
	"calls over locals": func(n int) []byte {
		return one(2, 2000, live(2000, each(n, func(i int) []byte { return asm.Code(asm.Get(0), asm.Call(0), asm.Set(1+i%2000)) })))
	},
	"indirect calls over locals": func(n int) []byte {
		return one(2, 2000, live(2000, each(n, func(i int) []byte { return asm.Code(asm.Get(0), 1, asm.CallIndirect(0), asm.Set(1+i%2000)) })))
	},
	"loads over locals": func(n int) []byte {
		return one(1, 2000, live(2000, each(n, func(i int) []byte { return asm.Code(asm.Get(1+i%2000), asm.Load(0), asm.Set(1+(i*7)%2000)) })))
	},
	"adds over locals": func(n int) []byte {
		return one(1, 2000, live(2000, each(n, func(i int) []byte {
			return asm.Code(asm.Get(1+i%2000), asm.Get(1+(i*13)%2000), asm.I32Add, asm.Set(1+(i*7)%2000))
		})))
	},
	"loops over locals": func(n int) []byte {
		return one(1, 1500, live(1500, each(n, func(i int) []byte {
			return asm.Code(asm.Loop, asm.Void, asm.Get(1+i%1500), 1, asm.I32Sub, asm.Tee(1+i%1500), asm.BrIf(0), asm.End)
		})))
	},
	"nested loops": func(n int) []byte {
		return one(1, 100, live(100, bytes.Repeat([]byte{asm.Loop, asm.Void}, n), each(n, func(i int) []byte {
			return asm.Code(asm.Get(1+i%100), 1, asm.I32Sub, asm.Tee(1+i%100), asm.BrIf(0), asm.End)
		})))
	},
	"empty loops":  func(n int) []byte { return one(1, 1, bytes.Repeat(asm.Code(asm.Loop, asm.Void, asm.End), n), 0) },
	"empty blocks": func(n int) []byte { return one(1, 1, bytes.Repeat(asm.Code(asm.Block, asm.Void, asm.End), n), 0) },
	"ifs": func(n int) []byte {
		return one(1, 1, bytes.Repeat(asm.Code(asm.Get(1), asm.If, asm.Void, asm.End), n), 0)
	},
	"operands": func(n int) []byte {
		return one(1, 1, each(n, func(i int) []byte { return asm.Code(asm.Get(0), i, asm.I32Add) }), bytes.Repeat([]byte{asm.Drop}, n-1))
	},
	"operands over calls": func(n int) []byte {
		return one(2, 1, each(1000, func(i int) []byte { return asm.Code(asm.Get(0), i, asm.I32Add) }), bytes.Repeat(asm.Code(0, asm.Call(0), asm.Drop), n), bytes.Repeat([]byte{asm.Drop}, 999))
	},
	"operands over ifs": func(n int) []byte {
		return one(1, 1, each(1000, func(i int) []byte { return asm.Code(asm.Get(0), i, asm.I32Add) }), bytes.Repeat(asm.Code(asm.Get(0), asm.If, asm.Void, asm.End), n), bytes.Repeat([]byte{asm.Drop}, 999))
	},
	"small functions": func(n int) []byte { return one(n, 1, asm.Get(0)) },
	"functions": func(n int) []byte {
		return one(n, 8, live(8, asm.Get(0), asm.If, asm.Void, asm.Get(0), asm.Call(0), asm.Set(1), asm.End))
	},
	"wide types": func(n int) []byte {
		m := &asm.Module{}
		m.Memory(1, -1)
		for i := range n {
			m.Type(bytes.Repeat([]byte{asm.I32}, 900-i/1000), bytes.Repeat([]byte{asm.I32}, i%1000))
		}
		m.Func([]byte{asm.I32}, []byte{asm.I32}, 1, 0)
		return m.Bytes()
	},
	"wide calls": func(n int) []byte {
		m := &asm.Module{}
		m.Memory(1, -1)
		wide := bytes.Repeat([]byte{asm.I32}, 1000)
		m.Func(wide, wide, 0, each(1000, func(i int) []byte { return asm.Get(i) }))
		m.Func([]byte{asm.I32}, []byte{asm.I32}, 0, each(1000, func(i int) []byte { return asm.Code(i) }), bytes.Repeat(asm.Call(0), n), bytes.Repeat([]byte{asm.Drop}, 999))
		return m.Bytes()
	},
	"wide blocks": func(n int) []byte {
		m := &asm.Module{}
		m.Memory(1, -1)
		wide := bytes.Repeat([]byte{asm.I32}, 1000)
		t := m.Type(wide, wide)
		m.Func([]byte{asm.I32}, []byte{asm.I32}, 0, each(1000, func(i int) []byte { return asm.Code(i) }), bytes.Repeat(asm.Code(asm.Block, asm.S(int64(t)), asm.End), n), bytes.Repeat([]byte{asm.Drop}, 999))
		return m.Bytes()
	},
	"wide branches": func(n int) []byte {
		m := &asm.Module{}
		m.Memory(1, -1)
		wide := bytes.Repeat([]byte{asm.I32}, 1000)
		t := m.Type(nil, wide)
		m.Func([]byte{asm.I32}, []byte{asm.I32}, 0, asm.Block, asm.S(int64(t)), each(1000, func(i int) []byte { return asm.Code(i) }), asm.Get(0), []byte{0x0e}, asm.U(uint64(n)), make([]byte, n+1), asm.End,
			bytes.Repeat([]byte{asm.Drop}, 999))
		return m.Bytes()
	},
	"straight code": func(n int) []byte {
		return one(1, 8, bytes.Repeat(asm.Code(asm.Get(0), 7, asm.I32Add, asm.Set(0)), n), 0)
	},
	"stores": func(n int) []byte {
		return one(1, 8, bytes.Repeat(asm.Code(asm.Get(0), asm.Get(0), asm.Store(8)), n), 0)
	},
	"fills": func(n int) []byte { return one(1, 8, bytes.Repeat(asm.Code(0, 1, 63, asm.MemoryFill), n), 0) },
	"grows": func(n int) []byte { return one(1, 8, bytes.Repeat(asm.Code(0, asm.MemoryGrow, asm.Drop), n), 0) },
}

// measured compiles a module in a child and gives what that took.
func measured(t testing.TB, wasm []byte) (a childAnswer, cpu time.Duration, rss int64) {
	t.Helper()
	order, err := json.Marshal(childOrder{t.TempDir(), buildID(), 4 << 30, 60})
	if err != nil {
		t.Fatal(err)
	}
	program, err := self()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = []string{childVariable + "=" + string(order), "GOMAXPROCS=2"}
	cmd.Stdin = bytes.NewReader(wasm)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), maxRSS(cmd.ProcessState)
}

// TestD3Model compares the meter's estimate with what compiling takes: no family takes more than the estimate
// allows for, so that what is refused for its estimate is what takes too much.
// docs/performance.md#compiling
func TestD3Model(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 s")
	}
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			m, err := meter.Rewrite(f(100), meter.Config{})
			if err != nil {
				t.Fatal(err)
			}
			a, cpu, rss := measured(t, m.Wasm)
			estimate := time.Duration(m.Work) * 25
			if a.Outcome != childDone {
				t.Fatalf("%+v", a)
			}
			t.Logf("estimate %v, took %v and %d MiB", estimate, cpu, rss>>20)
			if most := 200*time.Millisecond + 3*estimate; cpu > most {
				t.Errorf("took %v of CPU, estimated are %v", cpu, estimate)
			}
			if most := int64(64<<20 + 4*m.Work); rss > most {
				t.Errorf("took %d MiB, at most %d are to be expected of its work", rss>>20, most>>20)
			}
		})
	}
}

// TestD3ModelRefuses has what takes long or much refused from its bytes, and at once.
func TestD3ModelRefuses(t *testing.T) {
	for name, n := range map[string]int{
		"locals of functions": 20_000, "ifs over locals": 15_000, "br_tables over locals": 15_000, "loops over locals": 15_000,
		"calls over locals": 60_000, "indirect calls over locals": 60_000, "wide br_tables": 200_000, "nested loops": 20_000,
		"wide calls": 10_000, "wide blocks": 10_000, "wide types": 2_000, "wide branches": 100_000, "empty loops": 60_000, "fills": 60_000,
		"operands over ifs": 20_000,
	} {
		wasm := families[name](n)
		began := time.Now()
		_, err := meter.Rewrite(wasm, meter.Config{})
		if err == nil || !strings.Contains(err.Error(), "too much to compile") && !strings.Contains(err.Error(), "bytes, at most") {
			t.Errorf("%s: %v, want that it is too much to compile", name, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: refused after %v", name, took)
		}
	}
}
