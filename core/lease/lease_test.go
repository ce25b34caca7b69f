package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease/leasetest"
)

// nodes runs keepers of one table until the test ends.
func nodes(t *testing.T, names ...string) (*leasetest.Table, []*leasetest.Node, []*Keeper) {
	table := &leasetest.Table{}
	keepers, views := make([]*Keeper, len(names)), make([]*leasetest.Node, len(names))
	for i, name := range names {
		views[i] = &leasetest.Node{Table: table, Name: name}
		keepers[i] = New(views[i], slog.New(slog.DiscardHandler))
		go keepers[i].Run(t.Context())
	}
	return table, views, keepers
}

func hold(t *testing.T, k *Keeper, name string) (context.Context, func()) {
	t.Helper()
	under, release, err := k.Hold(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return under, release
}

// A node leaves to others what it does not do now, and that alone.
func TestLeasesByWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, k := nodes(t, "a", "b")
		var ill atomic.Bool
		k[0].Works = func(name string) bool { return name != "signed" || !ill.Load() }
		signed, _, err := k[0].Keep(t.Context(), "signed")
		if err != nil {
			t.Fatal(err)
		}
		other, _ := hold(t, k[0], "other")
		ill.Store(true)
		time.Sleep(time.Second)
		if signed.Err() == nil || other.Err() != nil {
			t.Errorf("the leases have ended with %v and %v, want the one of what it does not do", signed.Err(), other.Err())
		}
		if _, _, err := k[0].Keep(t.Context(), "signed"); err == nil {
			t.Error("it has taken it again")
		}
		if _, _, err := k[1].Keep(t.Context(), "signed"); err != nil {
			t.Errorf("Keep of another node = %v", err)
		}
	})
}

func TestOneNodeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, _, k := nodes(t, "a", "b")
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
		asked := all.Asked()
		_, again := hold(t, k[0], "x")
		if again(); all.Asked() != asked {
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
		all, views, k := nodes(t, "a", "b")
		under, _ := hold(t, k[0], "x")
		views[0].Away(true)
		time.Sleep(life + time.Second)
		if under.Err() == nil || k[0].Holds("x") {
			t.Error("a lease that could not be renewed is held")
		}
		views[0].Away(false)
		_, other := hold(t, k[1], "x")
		defer other()

		// What the store has refused is looked at at once.
		mine, _ := hold(t, k[0], "y")
		all.Give("y", "b")
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
		all := &leasetest.Table{}
		var mu sync.Mutex
		at := ""
		run := func(name string) context.CancelFunc {
			ctx, stop := context.WithCancel(t.Context())
			k := New(&leasetest.Node{Table: all, Name: name}, slog.New(slog.DiscardHandler))
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
		if got := all.Asked(); got > 60+60+120+10 {
			t.Errorf("leases were asked for %d times in two minutes", got)
		}
	})
}

// Alone, a node has every lease for nothing.
func TestAlone(t *testing.T) {
	for _, k := range []*Keeper{nil, New(nil, slog.New(slog.DiscardHandler)), New(struct{}{}, slog.New(slog.DiscardHandler))} {
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
