package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// start runs an engine until the test ends.
func start[K comparable](e *Engine[K]) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	return func() { cancel(); <-done }
}

// TestEngineLooksWhenDue: a queue is looked at when it is woken, and again after the
// wait that its work asked for.
func TestEngineLooksWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Duration // guarded by mu
		began := time.Now()
		e := New(1, func(context.Context, string) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(began))
			if len(at) < 3 {
				return time.Minute
			}
			return 0
		})
		e.Wake("a") // before it runs
		defer start(e)()
		time.Sleep(time.Hour)
		e.In("a", time.Minute)
		e.In("a", time.Hour) // later than what is planned: nothing
		time.Sleep(30 * time.Second)
		e.Wake("a") // sooner
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []time.Duration{0, time.Minute, 2 * time.Minute, time.Hour + 30*time.Second}
		if len(at) != len(want) {
			t.Fatalf("looked at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("look %d after %v, want %v", i, at[i], want[i])
			}
		}
		if len(e.queues) != 0 {
			t.Errorf("%d queues are kept without work", len(e.queues))
		}
	})
}

// TestEngineOneWorkerEach: a queue has one worker at a time, whoever that is, and queues
// do not wait for one another beyond the number at once.
func TestEngineOneWorkerEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		busy, most, runs := map[int]int{}, 0, 0
		enter := func(k int) {
			mu.Lock()
			busy[k]++
			runs++
			if busy[k] > 1 {
				t.Errorf("queue %d has %d workers", k, busy[k])
			}
			n := 0
			for _, b := range busy {
				n += b
			}
			most = max(most, n)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			busy[k]--
			mu.Unlock()
		}
		e := New(4, func(_ context.Context, k int) time.Duration { enter(k); return 0 })
		defer start(e)()
		for range 3 {
			for k := range 10 {
				e.Wake(k)
				go func() {
					release, err := e.Lease(t.Context(), k)
					if err != nil {
						t.Error(err)
						return
					}
					defer release()
					time.Sleep(10 * time.Millisecond)
				}()
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != 4 || runs != 14 {
			t.Errorf("%d at once in %d runs, want 4 in 14: each queue, and those again that were woken while they ran", most, runs)
		}
	})
}

// TestEngineWakeIsNotLost: what wakes a queue while it is worked is seen after.
func TestEngineWakeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		e := New(1, func(context.Context, string) time.Duration {
			runs.Add(1)
			time.Sleep(time.Second)
			return 0
		})
		defer start(e)()
		e.Wake("a")
		time.Sleep(500 * time.Millisecond)
		e.Wake("a")
		e.In("a", 10*time.Second)
		time.Sleep(5 * time.Second)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d runs, want 2", n)
		}
		if _, err := e.Lease(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := e.Lease(ctx, "a"); err == nil {
			t.Error("a second lease of one queue")
		}
	})
}

func TestUntil(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct{ next, want time.Duration }{{-time.Hour, 0}, {time.Minute, time.Minute}, {1000 * time.Hour, time.Hour}} {
		if got := Until(now.Add(tt.next), now, time.Hour); got != tt.want {
			t.Errorf("Until(%v) = %v, want %v", tt.next, got, tt.want)
		}
	}
}
