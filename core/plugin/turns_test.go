package plugin_test

import (
	"context"
	"crypto/sha256"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
)

// loopers has twice as many guests as there are cores loop until the function that it gives is called.
func loopers(t testing.TB, h *plugin.Host) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	n := 2 * runtime.GOMAXPROCS(0)
	loop := load(t, h, plugin.Spec{Name: "loop", Bytes: guest(asm.Forever(), 0),
		Limits: plugin.Limits{Timeout: plugin.Duration(time.Minute), Fuel: 1e12, Instances: n}})
	for range n {
		wg.Go(func() { _, _ = loop.Call(ctx, plugin.Message, []byte(`{}`)) })
	}
	return func() { cancel(); wg.Wait() }
}

// TestD9GuestsTakeTurns has an honest plugin answer beside ones that never end and are more than there are cores.
func TestD9GuestsTakeTurns(t *testing.T) {
	h := newHost(t)
	honest := load(t, h, plugin.Spec{Name: "honest", Bytes: read(t, guests+"policy.wasm")})
	end := loopers(t, h)
	defer end()
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	for range 20 {
		call(t, honest, plugin.Message, `{}`)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("20 calls took %v", took)
	}
	p, err := h.Load(t.Context(), plugin.Spec{Name: "late", Bytes: read(t, guests+"policy.wasm")})
	if err != nil {
		t.Fatalf("Load beside them: %v", err)
	}
	p.Close()
}

// TestD9WaitingHoldsNoTurn has guests that wait for an answer keep nobody from running.
func TestD9WaitingHoldsNoTurn(t *testing.T) {
	h := newHost(t)
	n := 2 * runtime.GOMAXPROCS(0)
	sleepers := load(t, h, plugin.Spec{Name: "sleepers", Bytes: guest(poll(0, int64(time.Hour)), 0),
		Limits: plugin.Limits{Timeout: plugin.Duration(time.Minute), Instances: n}})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { _, _ = sleepers.Call(ctx, plugin.Notify, []byte(`{}`)) })
	}
	defer wg.Wait()
	defer cancel()
	time.Sleep(50 * time.Millisecond)
	within, stop := context.WithTimeout(t.Context(), 40*time.Second)
	defer stop()
	honest := load(t, h, plugin.Spec{Name: "honest", Bytes: read(t, guests+"policy.wasm")})
	if _, err := honest.Call(within, plugin.Message, []byte(`{}`)); err != nil {
		t.Errorf("a call beside %d that wait: %v", n, err)
	}
}

// BenchmarkBesideGuests tells how late a goroutine of the gateway comes that has 50 us of work every millisecond,
// alone and beside guests that never end.
func BenchmarkBesideGuests(b *testing.B) {
	for _, beside := range []string{"alone", "loopers"} {
		b.Run(beside, func(b *testing.B) {
			if beside == "loopers" {
				defer loopers(b, newHost(b))()
			}
			var late []time.Duration
			block := make([]byte, 64<<10)
			for b.Loop() {
				began := time.Now()
				time.Sleep(time.Millisecond)
				sha256.Sum256(block)
				late = append(late, time.Since(began)-time.Millisecond)
			}
			slices.Sort(late)
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(late[len(late)*p/100].Microseconds()), "p"+strconv.Itoa(p)+"-us")
			}
		})
	}
}
