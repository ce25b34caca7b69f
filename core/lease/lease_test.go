package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// table is the leases of a store, for several nodes.
type table struct {
	mu    sync.Mutex
	away  bool
	rows  map[string]*row
	asked int
}

type row struct {
	holder string
	n      uint64
	until  time.Time
}

// node is one node's view of a table.
type node struct {
	*table
	name string
}

func (n node) Shared() bool { return true }

func (n node) Lease(_ context.Context, name string, ttl time.Duration) (core.Fence, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.away {
		return core.Fence{}, core.Unavailable
	}
	r := n.rows[name]
	switch {
	case r == nil:
		r = &row{n: 1}
		n.rows[name] = r
	case r.holder != n.name && time.Now().Before(r.until):
		return core.Fence{}, core.Conflict
	case r.holder != n.name:
		r.n++
	}
	r.holder, r.until = n.name, time.Now().Add(ttl)
	return core.Fence{Name: name, N: r.n}, nil
}

func (n node) Release(_ context.Context, f core.Fence) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.rows[f.Name]; r != nil && r.n == f.N {
		r.n, r.until = r.n+1, time.Time{}
	}
	return nil
}

// nodes runs keepers of one table until the test ends.
func nodes(t *testing.T, names ...string) (*table, []*Keeper) {
	all := &table{rows: map[string]*row{}}
	out := make([]*Keeper, len(names))
	for i, name := range names {
		out[i] = New(node{all, name}, slog.New(slog.DiscardHandler))
		go out[i].Run(t.Context())
	}
	return all, out
}

func hold(t *testing.T, k *Keeper, name string) (context.Context, func()) {
	t.Helper()
	under, release, err := k.Hold(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return under, release
}

func TestOneNodeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, k := nodes(t, "a", "b")
		under, release := hold(t, k[0], "x")
		if f := Fences(under); len(f) != 1 || f[0] != (core.Fence{Name: "x", N: 1}) {
			t.Errorf("Fences = %v", f)
		}
		time.Sleep(time.Minute) // it is renewed
		if _, _, err := k[1].Hold(t.Context(), "x"); !errors.Is(err, core.Conflict) {
			t.Errorf("Hold of what another node has = %v, want Conflict", err)
		}
		if under.Err() != nil || !k[0].Holds("x") {
			t.Error("a lease that is in use was not kept")
		}
		release()
		release()
		asked := all.asked
		_, again := hold(t, k[0], "x")
		if again(); all.asked != asked {
			t.Error("a lease was asked for that was there still")
		}
		start := time.Now()
		taken, _, err := k[1].Wait(t.Context(), "x", time.Minute)
		if err != nil || time.Since(start) > time.Second {
			t.Fatalf("Wait = %v after %v, want the lease within a second", err, time.Since(start))
		}
		if Fences(taken)[0].N < 2 {
			t.Errorf("the second holder's fence is %v", Fences(taken))
		}
	})
}

// A node that the store was away for, or that was stopped, knows that its leases are over
// before another node can have them.
func TestLostLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, k := nodes(t, "a", "b")
		under, _ := hold(t, k[0], "x")
		all.mu.Lock()
		all.away = true
		all.mu.Unlock()
		time.Sleep(life + time.Second)
		if under.Err() == nil || k[0].Holds("x") {
			t.Error("a lease that could not be renewed is held")
		}
		all.mu.Lock()
		all.away = false
		all.mu.Unlock()
		_, other := hold(t, k[1], "x")
		defer other()

		// What the store has refused is looked at at once.
		mine, _ := hold(t, k[0], "y")
		all.mu.Lock()
		all.rows["y"].holder = "b"
		all.mu.Unlock()
		if k[0].Lost(core.Moved) || k[0].Lost(nil, Fences(mine)...) || !k[0].Lost(core.Moved, Fences(mine)...) {
			t.Error("Lost does not tell a commit whose lease may be lost")
		}
		time.Sleep(2 * linger)
		if mine.Err() == nil {
			t.Error("work goes on whose commits are refused")
		}
	})
}

// Work under a lease moves to another node when its own ends, within the life of the lease.
func TestUnder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &table{rows: map[string]*row{}}
		var mu sync.Mutex
		at := ""
		run := func(name string) context.CancelFunc {
			ctx, stop := context.WithCancel(t.Context())
			k := New(node{all, name}, slog.New(slog.DiscardHandler))
			leases, end := context.WithCancel(t.Context())
			go k.Run(leases)
			go func() {
				k.Under("x", func(ctx context.Context) {
					mu.Lock()
					at += name
					mu.Unlock()
					<-ctx.Done()
				})(ctx)
				end()
			}()
			return stop
		}
		stop := run("a")
		time.Sleep(time.Minute)
		run("b")
		time.Sleep(time.Minute)
		stop()
		time.Sleep(2 * AskEvery)
		mu.Lock()
		defer mu.Unlock()
		if at != "ab" {
			t.Errorf("work was begun by %q, want first a and then b", at)
		}
		if got := all.asked; got > 60+60+120+10 {
			t.Errorf("leases were asked for %d times in two minutes", got)
		}
	})
}

// Alone, a node has every lease for nothing.
func TestAlone(t *testing.T) {
	for _, k := range []*Keeper{nil, New(nil, slog.New(slog.DiscardHandler)), New(&table{}, slog.New(slog.DiscardHandler))} {
		ctx := t.Context()
		under, release, err := k.Keep(ctx, "x")
		if err != nil || under != ctx || k.Shared() || !k.Holds("x") || len(Fences(under)) > 0 {
			t.Errorf("Keep = %v, %v, want the context itself", under, err)
		}
		release()
		if n := testing.AllocsPerRun(100, func() { _, release, _ := k.Hold(ctx, "x"); release() }); n > 0 {
			t.Errorf("Hold costs %v allocations", n)
		}
	}
}
