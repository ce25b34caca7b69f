package lease

import (
	"context"
	"sync"

	"github.com/opengatewayprotocol/ogp/core"
)

// Awaits knows what somebody waits for, on whichever node. Make it with a literal that has
// Leases. Safe for concurrent use.
type Awaits struct {
	Leases *Keeper // nil: there is one node alone

	mu sync.Mutex // guards n
	n  map[string]int
}

// Begin notes that somebody waits here for what a name stands for, until end is called. What
// another node keeps because of that is kept when end returns, or refused. A node that may
// have no leases, or finds that another waits as well, is known here alone.
func (a *Awaits) Begin(ctx context.Context, name string) (end func()) {
	a.add(name, 1)
	release := func() {}
	if _, held, err := a.Leases.Hold(ctx, name); err == nil {
		release = held
	}
	return sync.OnceFunc(func() {
		a.add(name, -1)
		release()
		a.Leases.giveBack(context.WithoutCancel(ctx), name)
	})
}

func (a *Awaits) add(name string, by int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == nil {
		a.n = map[string]int{}
	}
	if a.n[name] += by; a.n[name] == 0 {
		delete(a.n, name)
	}
}

// Has reports whether somebody waits. Where that is on another node, a commit that rests on
// it names the fences, and is refused as Moved when nobody does any more.
func (a *Awaits) Has(ctx context.Context, name string) (yes bool, fences []core.Fence) {
	a.mu.Lock()
	here := a.n[name] > 0
	a.mu.Unlock()
	if here || !a.Leases.Shared() {
		return here, nil
	}
	fence, err := a.Leases.leases.Leased(ctx, name)
	if err != nil { // a store that does not answer keeps nothing either
		return false, nil
	}
	return true, []core.Fence{fence}
}
