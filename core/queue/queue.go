// Package queue is the engine under the two durable queues: to other gateways and to
// the agent. What waits is in queues, one for each peer or notifier. An Engine looks at
// a queue when it is due or somebody wakes it, lets one worker at a time at it, and
// keeps the queues apart, so that a slow one holds up nobody else.
//
// Pauses are told by a monotonic clock; a clock that is set changes none of them.
package queue

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Times are how a queue waits. The zero value waits for nothing.
type Times struct {
	GiveUp time.Duration // how long something is tried at all
	First  time.Duration // the wait after a first failure
	Most   time.Duration // the longest wait of our own
}

// Wait is how long to wait after a failed try, counted from 1: our own growing wait,
// or what the other side asked for, if that is longer.
func (t Times) Wait(attempt int, asked time.Duration) time.Duration {
	return max(core.Backoff(attempt, t.First, t.Most), asked)
}

// Over reports whether something that was made at a time is not tried any more.
func (t Times) Over(made, now time.Time) bool { return now.Sub(made) > t.GiveUp }

// Until is how long a wait that was written down still takes by the wall clock. No
// clock that was set back makes it longer than most.
func Until(next, now time.Time, most time.Duration) time.Duration {
	return min(max(next.Sub(now), 0), most)
}

// Engine works queues off, each named by a K. Make it with New.
// Safe for concurrent use.
type Engine[K comparable] struct {
	work  func(ctx context.Context, queue K) time.Duration
	slots chan struct{}

	mu     sync.Mutex // guards the rest
	queues map[K]*queue
	ctx    context.Context // while Run runs
	wg     sync.WaitGroup
}

// queue is one queue with work, or that somebody holds.
type queue struct {
	lease   chan struct{} // holds a token while nobody works the queue
	users   int           // that hold or want the lease
	timer   *time.Timer   // nil: it is not due at any time
	due     time.Time     // when the timer fires
	running bool          // by the engine
	again   bool          // woken while it ran
}

// New makes an engine. work does what is due in a queue and returns after how long to
// look again; zero or less: when it is woken. It is called for one queue by one at a
// time, and for up to atOnce queues at the same time.
func New[K comparable](atOnce int, work func(ctx context.Context, queue K) time.Duration) *Engine[K] {
	return &Engine[K]{work: work, slots: make(chan struct{}, cmp.Or(max(atOnce, 0), 1)), queues: map[K]*queue{}}
}

// Run works until ctx is done, and then waits for what is under way. Queues that were
// woken before are looked at now.
func (e *Engine[K]) Run(ctx context.Context) {
	e.mu.Lock()
	e.ctx = ctx
	for k, q := range e.queues {
		if q.again {
			q.again = false
			e.schedule(k, q, 0)
		}
	}
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	e.ctx = nil
	for _, q := range e.queues {
		if q.timer != nil { // looked at when Run runs again
			q.timer.Stop()
			q.timer, q.again = nil, true
		}
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// Wake makes the engine look at a queue now.
func (e *Engine[K]) Wake(k K) { e.In(k, 0) }

// In makes the engine look at a queue after a time, or sooner if it was to be.
func (e *Engine[K]) In(k K, after time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q := e.queue(k)
	switch {
	case q.running || e.ctx == nil:
		q.again = q.again || after <= 0 || e.ctx == nil
		if due := time.Now().Add(after); q.running && (q.due.IsZero() || due.Before(q.due)) {
			q.due = due // looked at when it has run
		}
	default:
		e.schedule(k, q, max(after, 0))
	}
}

// Lease gives the queue to the caller, who works it instead of the engine until it
// gives it back. The error is ctx's.
func (e *Engine[K]) Lease(ctx context.Context, k K) (release func(), err error) {
	e.mu.Lock()
	q := e.queue(k)
	q.users++
	e.mu.Unlock()
	select {
	case <-q.lease:
		return func() {
			q.lease <- struct{}{}
			e.leave(k, q)
		}, nil
	case <-ctx.Done():
		e.leave(k, q)
		return nil, ctx.Err()
	}
}

func (e *Engine[K]) leave(k K, q *queue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q.users--
	e.tidy(k, q)
}

// queue finds or makes a queue. Called with mu held.
func (e *Engine[K]) queue(k K) *queue {
	q := e.queues[k]
	if q == nil {
		q = &queue{lease: make(chan struct{}, 1)}
		q.lease <- struct{}{}
		e.queues[k] = q
	}
	return q
}

// tidy forgets a queue with nothing to it. Called with mu held.
func (e *Engine[K]) tidy(k K, q *queue) {
	if q.users == 0 && !q.running && !q.again && q.timer == nil && e.queues[k] == q {
		delete(e.queues, k)
	}
}

// schedule makes a queue due, unless it is sooner. Called with mu held, while Run runs.
func (e *Engine[K]) schedule(k K, q *queue, after time.Duration) {
	due := time.Now().Add(after)
	if q.timer != nil {
		if !due.Before(q.due) {
			return
		}
		q.timer.Stop()
	}
	q.due = due
	q.timer = time.AfterFunc(after, func() { e.start(k, q) })
}

// start works a queue in a goroutine of its own.
func (e *Engine[K]) start(k K, q *queue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q.timer = nil
	ctx := e.ctx
	if ctx == nil || ctx.Err() != nil || q.running {
		q.again = q.again || q.running
		return
	}
	q.running = true
	e.wg.Go(func() { e.run(ctx, k, q) })
}

func (e *Engine[K]) run(ctx context.Context, k K, q *queue) {
	wait := time.Duration(0)
	if release, err := e.Lease(ctx, k); err == nil {
		select {
		case e.slots <- struct{}{}:
			e.mu.Lock()
			q.again, q.due = false, time.Time{}
			e.mu.Unlock()
			wait = e.work(ctx, k)
			<-e.slots
		case <-ctx.Done():
		}
		release()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	q.running = false
	if ctx.Err() != nil {
		return
	}
	asked := time.Duration(0)
	if !q.due.IsZero() {
		asked = max(time.Until(q.due), time.Nanosecond)
	}
	switch {
	case q.again:
		q.again = false
		e.schedule(k, q, 0)
	case wait > 0 && (asked == 0 || wait < asked):
		e.schedule(k, q, wait)
	case asked > 0:
		e.schedule(k, q, asked)
	default:
		e.tidy(k, q)
	}
}
