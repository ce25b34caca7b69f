// Package queue is the engine under the two durable queues: to other gateways and to
// the agent. What waits is in lines, one for each peer or notifier. An Engine looks at
// a line when it is due or somebody wakes it, lets one worker at a time at it, and
// keeps the lines apart, so that a slow one holds up nobody else.
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
	First  time.Duration // the wait after a first failure
	Most   time.Duration // the longest wait of our own
	GiveUp time.Duration // how long something is tried at all
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

// Engine works lines off, each named by a K. Make it with New.
// Safe for concurrent use.
type Engine[K comparable] struct {
	work  func(ctx context.Context, line K) time.Duration
	slots chan struct{}

	mu    sync.Mutex // guards the rest
	lines map[K]*line
	ctx   context.Context // while Run runs
	wg    sync.WaitGroup
}

// line is one line with work, or that somebody holds.
type line struct {
	lease   chan struct{} // holds a token while nobody works the line
	users   int           // that hold or want the lease
	timer   *time.Timer   // nil: it is not due at any time
	due     time.Time     // when the timer fires
	running bool          // by the engine
	again   bool          // woken while it ran
}

// New makes an engine. work does what is due in a line and returns after how long to
// look again; zero or less: when it is woken. It is called for one line by one at a
// time, and for up to atOnce lines at the same time.
func New[K comparable](atOnce int, work func(ctx context.Context, line K) time.Duration) *Engine[K] {
	return &Engine[K]{work: work, slots: make(chan struct{}, cmp.Or(max(atOnce, 0), 1)), lines: map[K]*line{}}
}

// Run works until ctx is done, and then waits for what is under way. Lines that were
// woken before are looked at now.
func (e *Engine[K]) Run(ctx context.Context) {
	e.mu.Lock()
	e.ctx = ctx
	for k, l := range e.lines {
		if l.again {
			l.again = false
			e.schedule(k, l, 0)
		}
	}
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	e.ctx = nil
	for _, l := range e.lines {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// Wake makes the engine look at a line now.
func (e *Engine[K]) Wake(k K) { e.In(k, 0) }

// In makes the engine look at a line after a time, or sooner if it was to be.
func (e *Engine[K]) In(k K, after time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.line(k)
	switch {
	case l.running || e.ctx == nil:
		l.again = l.again || after <= 0 || e.ctx == nil
		if due := time.Now().Add(after); l.running && (l.due.IsZero() || due.Before(l.due)) {
			l.due = due // looked at when it has run
		}
	default:
		e.schedule(k, l, max(after, 0))
	}
}

// Lease gives the line to the caller, who works it instead of the engine until it
// gives it back. The error is ctx's.
func (e *Engine[K]) Lease(ctx context.Context, k K) (release func(), err error) {
	e.mu.Lock()
	l := e.line(k)
	l.users++
	e.mu.Unlock()
	select {
	case <-l.lease:
		return func() {
			l.lease <- struct{}{}
			e.leave(k, l)
		}, nil
	case <-ctx.Done():
		e.leave(k, l)
		return nil, ctx.Err()
	}
}

func (e *Engine[K]) leave(k K, l *line) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.users--
	e.tidy(k, l)
}

// line finds or makes a line. Called with mu held.
func (e *Engine[K]) line(k K) *line {
	l := e.lines[k]
	if l == nil {
		l = &line{lease: make(chan struct{}, 1)}
		l.lease <- struct{}{}
		e.lines[k] = l
	}
	return l
}

// tidy forgets a line with nothing to it. Called with mu held.
func (e *Engine[K]) tidy(k K, l *line) {
	if l.users == 0 && !l.running && !l.again && l.timer == nil && e.lines[k] == l {
		delete(e.lines, k)
	}
}

// schedule makes a line due, unless it is sooner. Called with mu held, while Run runs.
func (e *Engine[K]) schedule(k K, l *line, after time.Duration) {
	due := time.Now().Add(after)
	if l.timer != nil {
		if !due.Before(l.due) {
			return
		}
		l.timer.Stop()
	}
	l.due = due
	l.timer = time.AfterFunc(after, func() { e.start(k, l) })
}

// start works a line in a goroutine of its own.
func (e *Engine[K]) start(k K, l *line) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.timer = nil
	ctx := e.ctx
	if ctx == nil || ctx.Err() != nil || l.running {
		l.again = l.again || l.running
		return
	}
	l.running = true
	e.wg.Go(func() { e.run(ctx, k, l) })
}

func (e *Engine[K]) run(ctx context.Context, k K, l *line) {
	wait := time.Duration(0)
	if release, err := e.Lease(ctx, k); err == nil {
		select {
		case e.slots <- struct{}{}:
			e.mu.Lock()
			l.again, l.due = false, time.Time{}
			e.mu.Unlock()
			wait = e.work(ctx, k)
			<-e.slots
		case <-ctx.Done():
		}
		release()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l.running = false
	if ctx.Err() != nil {
		return
	}
	asked := time.Duration(0)
	if !l.due.IsZero() {
		asked = max(time.Until(l.due), time.Nanosecond)
	}
	switch {
	case l.again:
		l.again = false
		e.schedule(k, l, 0)
	case wait > 0 && (asked == 0 || wait < asked):
		e.schedule(k, l, wait)
	case asked > 0:
		e.schedule(k, l, asked)
	default:
		e.tidy(k, l)
	}
}
