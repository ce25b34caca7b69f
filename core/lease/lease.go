// Package lease holds the leases of one node: the right to do what one node alone may do
// at a time. Whoever works under a lease gets a context that ends when the lease does, and
// whose Fences go into each commit: the store judges them, whatever this node believes.
//
// A Keeper without leases, as of a store that only one gateway can open, holds every name
// at no cost. Every method of a nil Keeper works like that.
//
// docs/scaling.md#what-runs-where
package lease

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/locks"
)

const (
	// life is how long a lease stays with a node that is not heard of.
	life = 6 * time.Second
	// renewEvery is how often a lease that is in use is renewed.
	renewEvery = 2 * time.Second
	// linger is how long a lease that nobody uses any more is kept, as it may be wanted again
	// at once.
	linger = 200 * time.Millisecond
	// AskEvery is how often to ask again for a lease that another node has.
	AskEvery = time.Second
)

// errElsewhere says that another node has the lease.
var errElsewhere = core.Refuse(core.Conflict, "another node is at work on it")

// Keeper holds leases. Make it with New. Safe for concurrent use.
type Keeper struct {
	// Works says whether this node may have a lease; nil: it may have all. Set it before use.
	Works func(name string) bool

	leases core.Leases // nil: there is one node alone
	log    *slog.Logger
	asking locks.Set[string]

	mu    sync.Mutex // guards the rest
	held  map[string]*held
	asked map[string]time.Time // when Keep found a name with another node
	over  bool                 // Run has ended
	lost  uint64               // leases that ended against our will
}

// held is a lease that we have.
type held struct {
	fence core.Fence
	until time.Time // when it ends, unless it is renewed; by the monotonic clock
	users int
	kept  bool      // also while nobody uses it
	doubt bool      // a commit under it was refused
	idle  time.Time // since when nobody does
	ctx   context.Context
	end   context.CancelFunc
}

// New makes a keeper of the leases of a store. One that does not say that it is Shared has
// one node alone. Run keeps the leases.
func New(store any, log *slog.Logger) *Keeper {
	k := &Keeper{log: log, held: map[string]*held{}, asked: map[string]time.Time{}}
	shared, ok := store.(interface {
		core.Leases
		Shared() bool
	})
	if ok && shared.Shared() {
		k.leases = shared
	}
	return k
}

// Shared reports whether other nodes may be at work on the same store.
func (k *Keeper) Shared() bool { return k != nil && k.leases != nil }

type fencesKey struct{}

// Fences are those of the leases that ctx is under. They go into each commit that is made
// under it.
func Fences(ctx context.Context) []core.Fence {
	fences, _ := ctx.Value(fencesKey{}).([]core.Fence)
	return fences
}

// Lost reports whether a commit was refused as one of its fences, perhaps, does not stand any
// more. Those that do not end at once.
func (k *Keeper) Lost(err error, fences ...core.Fence) bool {
	if len(fences) == 0 || !k.Shared() || !errors.Is(err, core.Moved) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range fences {
		if h := k.held[f.Name]; h != nil && h.fence == f {
			h.doubt = true
		}
	}
	return true
}

// Fenced is a store whose commits are fenced by the leases that their context is under.
type Fenced struct{ core.Store }

// Commit keeps a change while those leases stand.
func (f Fenced) Commit(ctx context.Context, c *core.Change) error {
	c.Fences = append(c.Fences, Fences(ctx)...)
	return f.Store.Commit(ctx, c)
}

// Hold takes a lease, or has it already, until release is called. under ends when the lease
// is lost. The error is of kind Conflict while another node has it.
func (k *Keeper) Hold(ctx context.Context, name string) (under context.Context, release func(), err error) {
	return k.hold(ctx, name, false)
}

// Keep is Hold for a lease that stays with this node, also when nobody uses it. While
// another node has it, that costs nothing more than to ask once each AskEvery.
func (k *Keeper) Keep(ctx context.Context, name string) (under context.Context, release func(), err error) {
	if k.Shared() {
		k.mu.Lock()
		elsewhere := time.Since(k.asked[name]) < AskEvery
		k.mu.Unlock()
		if elsewhere {
			return nil, nil, errElsewhere
		}
	}
	return k.hold(ctx, name, true)
}

// Wait is Hold, and waits up to patience while another node has the lease.
func (k *Keeper) Wait(ctx context.Context, name string, patience time.Duration) (under context.Context, release func(), err error) {
	over := time.Now().Add(patience)
	for wait := linger / 4; ; wait = min(2*wait, AskEvery) {
		under, release, err = k.Hold(ctx, name)
		if !errors.Is(err, core.Conflict) || time.Now().After(over) {
			return under, release, err
		}
		if core.Sleep(ctx, wait); ctx.Err() != nil {
			return nil, nil, err
		}
	}
}

// Under makes of work that goes on until its context ends one that goes on while this node
// has the lease, again and again.
func (k *Keeper) Under(name string, work func(context.Context)) func(context.Context) {
	if !k.Shared() {
		return work
	}
	return func(ctx context.Context) {
		for ctx.Err() == nil {
			under, release, err := k.Keep(ctx, name)
			if err == nil {
				work(under)
				release()
			}
			core.Sleep(ctx, AskEvery)
		}
	}
}

func (k *Keeper) hold(ctx context.Context, name string, kept bool) (context.Context, func(), error) {
	if !k.Shared() {
		return ctx, func() {}, nil
	}
	unlock, err := k.asking.Lock(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	k.mu.Lock()
	h, over := k.held[name], k.over
	if h != nil && time.Now().Before(h.until) {
		h.users++
		h.kept = h.kept || kept
		k.mu.Unlock()
		return k.use(ctx, h)
	}
	k.mu.Unlock()
	switch {
	case over:
		return nil, nil, core.Refuse(core.Unavailable, "this node is stopping")
	case k.Works != nil && !k.Works(name):
		return nil, nil, errElsewhere
	}
	asked := time.Now()
	fence, err := k.leases.Lease(ctx, name, life)
	k.mu.Lock()
	if err != nil {
		if kept && errors.Is(err, core.Conflict) {
			k.asked[name] = asked
		}
		k.mu.Unlock()
		return nil, nil, err
	}
	delete(k.asked, name)
	if h != nil {
		h.end()
	}
	h = &held{fence: fence, until: asked.Add(life), users: 1, kept: kept}
	h.ctx, h.end = context.WithCancel(context.Background())
	k.held[name] = h
	k.mu.Unlock()
	return k.use(ctx, h)
}

// use gives a user of a lease its context.
func (k *Keeper) use(ctx context.Context, h *held) (context.Context, func(), error) {
	under, cancel := context.WithCancel(context.WithValue(ctx, fencesKey{}, append(slices.Clone(Fences(ctx)), h.fence)))
	stop := context.AfterFunc(h.ctx, cancel)
	return under, sync.OnceFunc(func() {
		stop()
		cancel()
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			h.idle = time.Now()
		}
	}), nil
}

// Holds reports whether this node has a lease.
func (k *Keeper) Holds(name string) bool {
	if !k.Shared() {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[name]
	return h != nil && time.Now().Before(h.until)
}

// Held are the names that this node has the lease of, sorted.
func (k *Keeper) Held() []string {
	if !k.Shared() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	names := make([]string, 0, len(k.held))
	for name := range k.held {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Losses is how many leases have ended against our will.
func (k *Keeper) Losses() uint64 {
	if !k.Shared() {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

// Run renews what is held, and lets go of what nobody uses, until ctx is done; then it lets
// go of all. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	if !k.Shared() {
		return nil
	}
	_ = core.Every(ctx, linger, k.tidy)
	k.mu.Lock()
	k.over = true
	all := k.held
	k.held = map[string]*held{}
	k.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewEvery)
	defer cancel()
	for _, h := range all {
		h.end()
		k.release(last, h)
	}
	return nil
}

// tidy renews the leases that are to be renewed, and lets go of those that nobody uses.
func (k *Keeper) tidy(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, h := range k.held {
		switch {
		case k.Works != nil && !k.Works(name):
			k.drop(name, h, "this node does no such work now")
			wg.Go(func() { k.release(ctx, h) })
		case now.After(h.until):
			k.drop(name, h, "it could not be renewed in time")
		case h.unused(now, linger):
			wg.Go(func() { k.letGo(ctx, h, linger) })
		case h.doubt, h.until.Sub(now) < life-renewEvery:
			wg.Go(func() { k.renew(ctx, h) })
		}
	}
}

// unused reports whether nobody has wanted a lease for a time. Called with mu held.
func (h *held) unused(now time.Time, since time.Duration) bool {
	return h.users == 0 && !h.kept && now.Sub(h.idle) >= since
}

// giveBack gives a lease back at once that nobody uses.
func (k *Keeper) giveBack(ctx context.Context, name string) {
	if !k.Shared() {
		return
	}
	k.mu.Lock()
	h := k.held[name]
	k.mu.Unlock()
	if h != nil {
		ctx, cancel := context.WithTimeout(ctx, renewEvery)
		defer cancel()
		k.letGo(ctx, h, 0)
	}
}

// letGo gives a lease back that nobody has used for a time.
func (k *Keeper) letGo(ctx context.Context, h *held, since time.Duration) {
	unlock, err := k.asking.Lock(ctx, h.fence.Name) // nobody takes it meanwhile
	if err != nil {
		return
	}
	defer unlock()
	k.mu.Lock()
	unused := k.held[h.fence.Name] == h && h.unused(time.Now(), since)
	if unused {
		delete(k.held, h.fence.Name)
	}
	k.mu.Unlock()
	if unused {
		h.end()
		k.release(ctx, h)
	}
}

func (k *Keeper) release(ctx context.Context, h *held) {
	if err := k.leases.Release(ctx, h.fence); err != nil && ctx.Err() == nil {
		k.log.Debug("lease not given back: it ends by itself", "lease", h.fence.Name, "err", err)
	}
}

func (k *Keeper) renew(ctx context.Context, h *held) {
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	unlock, err := k.asking.Lock(ctx, h.fence.Name)
	if err != nil {
		return
	}
	defer unlock()
	asked := time.Now()
	fence, err := k.leases.Lease(ctx, h.fence.Name, life)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case errors.Is(err, core.Conflict), err == nil && fence != h.fence: // somebody else has, or had it
		k.drop(h.fence.Name, h, "another node has taken it")
	case err == nil:
		h.until, h.doubt = asked.Add(life), false
	}
}

// drop takes note that a lease is lost. Called with mu held.
func (k *Keeper) drop(name string, h *held, why string) {
	if k.held[name] == h {
		delete(k.held, name)
	}
	h.end()
	k.lost++
	k.log.Warn("lease lost", "lease", name, "why", why)
}
