package group

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Leases are the core.Leases of a store that is one process's own: each is granted. The
// zero value is ready. Safe for concurrent use.
type Leases struct {
	mu   sync.Mutex // guards the rest
	n    uint64     // the last fence
	held map[string]uint64
}

// Lease grants the lease.
func (l *Leases) Lease(ctx context.Context, name string, _ time.Duration) (core.Fence, error) {
	if err := ctx.Err(); err != nil {
		return core.Fence{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] == 0 {
		if l.held == nil {
			l.held = map[string]uint64{}
		}
		l.n++
		l.held[name] = l.n
	}
	return core.Fence{Name: name, N: l.held[name]}, nil
}

// Release takes the lease back.
func (l *Leases) Release(_ context.Context, f core.Fence) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[f.Name] == f.N {
		delete(l.held, f.Name)
	}
	return nil
}

// Leased is the fence of a lease that is held.
func (l *Leases) Leased(_ context.Context, name string) (core.Fence, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] == 0 {
		return core.Fence{}, core.Refusef(core.NotFound, "store: no lease %q is held", name)
	}
	return core.Fence{Name: name, N: l.held[name]}, nil
}

// Stand refuses a change of which a lease does not stand.
func (l *Leases) Stand(fences []core.Fence) error {
	if len(fences) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range fences {
		if f.N == 0 || l.held[f.Name] != f.N {
			return Overtaken(f)
		}
	}
	return nil
}

// Overtaken is the refusal of a change whose lease does not stand.
func Overtaken(f core.Fence) error {
	e := core.Refusef(core.Moved, "store: the lease %q is another node's, or was given back", f.Name)
	e.Err = errOvertaken
	return e
}

var errOvertaken = errors.New("overtaken")
