// Package group is the queue of a store that keeps many changes with one write: who
// brings a change waits, and one at a time writes all that wait. Where nobody writes, who
// brings a change does it, so that no other goroutine has to be woken for a lone change.
package group

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Change is what every change in a queue has; embed it.
type Change struct {
	// Err is the writer's answer. Only the writer writes it, and only before Answer.
	Err error

	lazy  bool // may wait for another, until due
	due   time.Time
	taken atomic.Bool // by the writer, which then answers; or by its own caller, who has left
	done  chan struct{}
}

func (c *Change) change() *Change { return c }

// Answer wakes who waits for the change.
func (c *Change) Answer() { close(c.done) }

// Leave says that nobody waits for the change any more. It reports whether the writer
// has not taken it yet, and then it never does.
func (c *Change) Leave() bool { return c.taken.CompareAndSwap(false, true) }

// Member is a pointer to a struct that embeds Change.
type Member interface{ change() *Change }

// Queue holds the changes that wait. The zero value is not usable; New makes one. Safe
// for concurrent use.
type Queue[M Member] struct {
	turn  sync.Mutex // held by who writes
	write func([]M)
	most  int

	mu      sync.Mutex // guards the rest
	waiting []M
	eager   int // how many of waiting are not lazy
	closed  bool

	wake chan struct{} // holds a token when waiting or closed has changed, and another is to write
}

// New returns an empty queue. write keeps or refuses each change of a batch of up to most,
// and answers it; it runs once at a time.
func New[M Member](most int, write func([]M)) *Queue[M] {
	return &Queue[M]{write: write, most: most, wake: make(chan struct{}, 1)}
}

// Submit queues a change and waits for its answer, or writes it itself, with all that
// wait, where nobody writes. When ctx ends before it is taken, nothing of it is kept and
// the context's error is returned; from then on Submit waits. closed is returned by a queue
// that is closed. A lazy change waits up to core.LazyWait for another to ride on.
func (q *Queue[M]) Submit(ctx context.Context, m M, lazy bool, closed error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := m.change()
	if lazy {
		c.lazy, c.due = true, time.Now().Add(core.LazyWait)
	}
	mine := !lazy && q.turn.TryLock()
	open := q.put(!mine, m)
	if mine {
		for open && !c.taken.Load() { // there may be more before it than one batch takes
			q.writeMine()
		}
		q.turn.Unlock()
	}
	if !open {
		return closed
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if c.Leave() {
			return ctx.Err()
		}
		<-c.done
	}
	return c.Err
}

// writeMine writes in the goroutine of a caller. The caller may survive a panic, but no store
// does: the process ends with it.
func (q *Queue[M]) writeMine() {
	defer func() {
		if v := recover(); v != nil {
			go panic(fmt.Sprintf("%v\n%s", v, debug.Stack()))
			select {}
		}
	}()
	q.step()
}

// put queues changes that stand together, and reports whether the queue is open. With poke,
// the writer is woken for them.
func (q *Queue[M]) put(poke bool, members ...M) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	for _, m := range members {
		m.change().done = make(chan struct{})
		if !m.change().lazy {
			q.eager++
		}
	}
	q.waiting = append(q.waiting, members...)
	if poke {
		q.Poke()
	}
	return true
}

// Together queues changes that are taken as one batch, if it has room, and waits for
// the answers, which are in their Err. Of those that were left there is none.
func (q *Queue[M]) Together(members ...M) {
	var awaited []*Change
	for _, m := range members {
		if c := m.change(); !c.taken.Load() {
			awaited = append(awaited, c)
		}
	}
	if !q.put(true, members...) {
		return
	}
	for _, c := range awaited {
		<-c.done
	}
}

// Poke wakes the writer, who then looks whether there is anything to do.
func (q *Queue[M]) Poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Wake has a value when there is something for the writer, or after a Poke or a Close.
func (q *Queue[M]) Wake() <-chan struct{} { return q.wake }

// Step writes what waits, and reports whether there was anything. With nothing to write,
// wait is how long a lazy change can still wait, or negative when the queue is closed and
// empty.
func (q *Queue[M]) Step() (some bool, wait time.Duration) {
	q.turn.Lock()
	defer q.turn.Unlock()
	return q.step()
}

// Alone runs do while nobody writes.
func (q *Queue[M]) Alone(do func()) {
	q.turn.Lock()
	defer q.turn.Unlock()
	do()
}

// step is Step, called with turn held.
func (q *Queue[M]) step() (some bool, wait time.Duration) {
	batch, n, wait := q.take()
	if len(batch) > 0 {
		q.write(batch)
	}
	return n > 0, wait
}

// take takes up to most changes, n, off the queue. The batch is those whose callers have
// not left. wait is as Step has it.
func (q *Queue[M]) take() (batch []M, n int, wait time.Duration) {
	q.mu.Lock()
	if wait := q.idle(); wait != 0 {
		q.mu.Unlock()
		return nil, 0, wait
	}
	n = min(len(q.waiting), q.most)
	batch = q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	for _, m := range batch {
		if !m.change().lazy {
			q.eager--
		}
	}
	q.mu.Unlock()
	live := batch[:0]
	for _, m := range batch {
		if m.change().taken.CompareAndSwap(false, true) {
			live = append(live, m)
		}
	}
	return live, n, 0
}

// idle is how long there is nothing to write; negative: never again. Called with mu
// held.
func (q *Queue[M]) idle() time.Duration {
	switch {
	case len(q.waiting) == 0 && q.closed:
		return -1
	case len(q.waiting) == 0:
		return time.Hour
	case q.eager > 0 || q.closed:
		return 0
	}
	return max(0, time.Until(q.waiting[0].change().due)) // those that wait are all lazy, the oldest first
}

// Len is how many changes wait.
func (q *Queue[M]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Close takes no more changes; those that wait are still taken.
func (q *Queue[M]) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.Poke()
}

// Closed reports whether the queue is closed.
func (q *Queue[M]) Closed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
