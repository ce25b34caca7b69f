package storetest

import (
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func fenced(t *testing.T, s core.Store) {
	ctx := t.Context()
	change := func(n int, fences ...core.Fence) *core.Change {
		return &core.Change{Receipt: receipt(1, n), Fences: fences}
	}
	one := must(s.Lease(ctx, "one", time.Minute))(t)
	two := must(s.Lease(ctx, "two", time.Minute))(t)
	commit(t, s, change(1, one), change(2, one, two))
	equal(t, must(s.Lease(ctx, "one", time.Minute))(t), one) // renewed

	equal(t, must(s.Leased(ctx, "one"))(t), one)
	_, err := s.Leased(ctx, "three")
	refused(t, err, core.NotFound)

	refused(t, s.Commit(ctx, change(3, core.Fence{Name: "one", N: one.N + 1000})), core.Moved)
	refused(t, s.Commit(ctx, change(3, core.Fence{Name: "three", N: 1})), core.Moved) // nobody's
	refused(t, s.Commit(ctx, change(3, core.Fence{Name: "three"})), core.Moved)
	if err := s.Release(ctx, one); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Commit(ctx, change(3, two, one)), core.Moved)
	_, err = s.Leased(ctx, "one")
	refused(t, err, core.NotFound)
	again := must(s.Lease(ctx, "one", time.Minute))(t)
	if again == one {
		t.Errorf("the lease that is taken again has the fence %d, which was given back", one.N)
	}
	refused(t, s.Commit(ctx, change(3, one)), core.Moved)
	if err := s.Release(ctx, one); err != nil { // takes nothing from the one in force
		t.Fatal(err)
	}
	commit(t, s, change(3, two, again))
}
