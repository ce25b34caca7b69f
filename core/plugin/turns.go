package plugin

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"
)

// turns bounds how many guests run at the same time, in all plugins of a host, to one less than there are cores:
// machine code gives its thread up only where it looks at its budget, and the gateway's own work must not wait for
// that. A guest that waits for the host, for an answer or a store, holds no turn, and those who wait for one
// replace those who run at every look. Safe for concurrent use. docs/threat-model.md#d9
type turns struct {
	taken   chan struct{}
	waiting atomic.Int64
}

func newTurns(cores int) *turns { return &turns{taken: make(chan struct{}, max(1, cores-1))} }

// enter waits for a turn, first come, first served.
func (t *turns) enter(ctx context.Context, deadline time.Time) error {
	select {
	case t.taken <- struct{}{}:
		return nil
	default:
	}
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-timer.C:
		return &Error{Kind: Busy, Text: "other plugins took every core until its deadline"}
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &Error{Kind: Busy, Text: "other plugins took every core until its caller's deadline"}
		}
		return &Error{Kind: Canceled, Text: "its caller is gone"}
	}
}

func (t *turns) leave() { <-t.taken }

// again comes back after leave, within a call. It does not wait for long: whoever runs comes to a look.
func (t *turns) again() {
	t.waiting.Add(1)
	t.taken <- struct{}{}
	t.waiting.Add(-1)
}

// yield lets everything else that is ready run first: other guests that wait for their turn, and the gateway.
func (t *turns) yield() {
	if t.waiting.Load() > 0 {
		t.leave()
		t.again()
		return
	}
	runtime.Gosched()
}
