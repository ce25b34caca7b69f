package compile

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

func metered(t testing.TB, file string) func() (*meter.Metered, error) {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("..", "testdata", "guests", file))
	if err != nil {
		t.Fatal(err)
	}
	m, err := meter.Rewrite(wasm, meter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return func() (*meter.Metered, error) { return m, nil }
}

func testCompiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := New("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestD3ChildIsBounded has a child ended that uses more memory or time than it may, or whose caller is gone. A
// module that says less than it takes must not matter: here the bounds are lowered instead.
func TestD3ChildIsBounded(t *testing.T) {
	m := metered(t, "goguest.wasm")
	c := testCompiler(t)
	c.memory = 24 << 20
	if _, err := c.Get(t.Context(), "x", "key", m); !errors.Is(err, guest.Limit) || !strings.Contains(err.Error(), "24 MiB") {
		t.Errorf("memory: %v, want that it takes more than 24 MiB", err)
	}
	c = testCompiler(t)
	c.time = time.Millisecond
	if _, err := c.Get(t.Context(), "x", "key", m); !errors.Is(err, guest.Limit) || !strings.Contains(err.Error(), "not compiled within") {
		t.Errorf("time: %v, want that it takes too long", err)
	}
	c = testCompiler(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := c.Get(ctx, "x", "key", m); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("caller gone: %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("ended after %v", took)
	}
	e, err := testCompiler(t).Get(t.Context(), "x", "key", m)
	if err != nil {
		t.Fatal(err)
	}
	e.Release()
	if _, err := os.Stat(e.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the hand-over stays: %v", err)
	}
}

// TestD3NeverHere has the engine read a module that no child has compiled, which must not compile it.
func TestD3NeverHere(t *testing.T) {
	m := metered(t, "goguest.wasm")
	dir := t.TempDir()
	whole, _ := m()
	if _, err := (&Entry{Dir: dir, outline: meter.Outline(whole.Wasm)}).Open(1024); !errors.Is(err, context.Canceled) {
		t.Errorf("open = %v, want that it is not there", err)
	}
	if _, _, err := only(dir); err == nil {
		t.Error("it was compiled")
	}
}

// TestD3Replaced has a child of another build refuse to compile, as for another version.
func TestD3Replaced(t *testing.T) {
	o := childOrder{Dir: t.TempDir(), Build: "another"}
	if a := o.answer(strings.NewReader("")); a.Outcome != childOther {
		t.Errorf("answer = %+v", a)
	}
}

// TestD3NoPlace has a load that finds no place to write fail as something that passes.
func TestD3NoPlace(t *testing.T) {
	c := testCompiler(t)
	c.elsewhere = []string{filepath.Join(t.TempDir(), "gone")}
	if _, err := c.Get(t.Context(), "x", "key", metered(t, "policy.wasm")); !errors.Is(err, core.Unavailable) {
		t.Errorf("get = %v, want Unavailable", err)
	}
}

// TestD3Turns has a load wait for others no longer than their patience.
func TestD3Turns(t *testing.T) {
	c := testCompiler(t)
	c.patience = 50 * time.Millisecond
	var leaves []func()
	var wg sync.WaitGroup
	defer wg.Wait()
	for range cap(c.places) {
		leave, err := c.turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave) // and stays
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	leave, err := c.turn(ctx)
	if err != nil {
		t.Fatalf("turn = %v: it waits for those before it", err)
	}
	leave()
	for _, l := range leaves {
		l()
	}
	if n := len(c.places); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

// TestD3Key has the entry of a module depend on its bytes.
func TestD3Key(t *testing.T) {
	c := &cache{dir: "x"}
	a, again, b := c.place("a"), c.place("a"), c.place("b")
	if a == b || a != again {
		t.Error("place does not tell modules apart")
	}
	if !strings.Contains(machine, runtime.GOARCH) {
		t.Errorf("machine = %.60s..., want the architecture", machine)
	}
}
