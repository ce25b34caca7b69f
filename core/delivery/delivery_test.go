package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

func TestMain(m *testing.M) { coretest.Main(m) }

// desk is a dispatcher over a store, in a bubble of time.
type desk struct {
	store      *coretest.Store
	dispatcher *delivery.Dispatcher
	n          int
	failed     []string
	t          *testing.T
	mu         sync.Mutex // guards failed
}

func newDesk(t *testing.T, notifiers ...core.Notifier) *desk {
	d := &desk{store: &coretest.Store{Store: memory.New()}, t: t}
	d.dispatcher = delivery.New(delivery.Options{Store: d.store, Failed: func(_ context.Context, x *core.Delivery, detail string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failed = append(d.failed, x.EventID+" "+detail)
	}})
	d.dispatcher.Set(notifiers...)
	return d
}

// owe keeps events that are owed to a notifier.
func (d *desk) owe(notifier string, events int) {
	d.t.Helper()
	change := &core.Change{}
	for range events {
		d.n++
		e := &core.Event{ID: fmt.Sprintf("%04d", d.n), Type: core.EventWarning, At: time.Now()}
		change.Events = append(change.Events, e)
		change.Deliveries = append(change.Deliveries, &core.Delivery{EventID: e.ID, Notifier: notifier, Next: e.At, Created: e.At})
	}
	if err := d.store.Commit(d.t.Context(), change); err != nil {
		d.t.Fatal(err)
	}
	d.dispatcher.Wake()
}

func (d *desk) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.dispatcher.Run(ctx) }()
	return func() { cancel(); <-done }
}

func (d *desk) depths() core.Depths {
	d.t.Helper()
	x, err := d.store.Depths(d.t.Context(), 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return x
}

func ids(notices []core.Notice) (out string) {
	for _, n := range notices {
		out += strings.TrimLeft(n.Event.ID, "0") + " "
	}
	return strings.TrimSpace(out)
}

func TestDeliversInOrderAndBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, many := coretest.NewNotifier("one", 1), coretest.NewNotifier("many", 3)
		d := newDesk(t, one, many)
		d.owe("one", 4)
		d.owe("many", 7)
		defer d.run()()
		synctest.Wait()
		if got := ids(one.Notified()); got != "1 2 3 4" || len(one.Calls()) != 4 {
			t.Errorf("one: %q in %d calls, want all in order, one each", got, len(one.Calls()))
		}
		if got := ids(many.Notified()); got != "5 6 7 8 9 10 11" || len(many.Calls()) != 3 {
			t.Errorf("many: %q in %d calls, want all in order in 3", got, len(many.Calls()))
		}
		d.owe("one", 1) // and what comes later, at once
		synctest.Wait()
		if got := len(one.Notified()); got != 5 {
			t.Errorf("%d told, want 5", got)
		}
		if got := d.depths().Deliveries; got != 0 {
			t.Errorf("%d are left, want 0", got)
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		var at []time.Time
		n.Answer(func(_ context.Context, x []core.Notice) core.Outcome {
			at = append(at, time.Now())
			if len(at) < 6 {
				return core.Outcome{Status: core.OutcomeRetry, Detail: "connection refused"}
			}
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		d.owe("n", 1)
		defer d.run()()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(at) != 6 || len(n.Notified()) != 1 {
			t.Fatalf("%d calls and %d told, want 6 and 1", len(at), len(n.Notified()))
		}
		for i := range 5 {
			least := time.Second << i / 2
			if wait := at[i+1].Sub(at[i]); wait < least || wait > 2*least+10*time.Millisecond {
				t.Errorf("wait %d is %v, want %v to %v", i, wait, least, 2*least)
			}
		}
		for i, call := range n.Calls() {
			if call[0].Attempt != i+1 {
				t.Errorf("call %d says attempt %d", i, call[0].Attempt)
			}
		}
		h := d.dispatcher.Health()[0]
		if h.Failures != 0 || h.Delivered != 1 || h.LastFailure.IsZero() {
			t.Errorf("health %+v, want one delivered and a failure in the past", h)
		}
	})
}

// A notifier that is down is not called for each notice that waits.
func TestDownIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		n.Answer(func(context.Context, []core.Notice) core.Outcome { return core.Outcome{Status: core.OutcomeRetry} })
		d.owe("n", 300)
		stop := d.run()
		for range 100 {
			time.Sleep(time.Second)
			d.dispatcher.Wake()
		}
		if calls := len(n.Calls()); calls < 4 || calls > 40 {
			t.Errorf("%d calls in 100 s, want no more than the backoff makes", calls)
		}
		n.Answer(nil)
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if got := len(n.Notified()); got != 300 {
			t.Errorf("%d told after it came back, want 300", got)
		}
		stop()
	})
}

// One notice that a notifier never takes does not hold up the others.
func TestPoison(t *testing.T) {
	for _, retryAfter := range []time.Duration{0, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			n := coretest.NewNotifier("n", 1)
			d := newDesk(t, n)
			n.Answer(func(_ context.Context, x []core.Notice) core.Outcome {
				if x[0].Event.ID == "0001" {
					return core.Outcome{Status: core.OutcomeRetry, RetryAfter: retryAfter}
				}
				return core.Outcome{Status: core.OutcomeDelivered}
			})
			d.owe("n", 50)
			defer d.run()()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if got := len(n.Notified()); got != 49 {
				t.Errorf("%d told, want the other 49", got)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			return core.Outcome{Status: core.OutcomeRetry, RetryAfter: time.Minute}
		})
		d.owe("n", 1)
		defer d.run()()
		time.Sleep(59 * time.Second)
		if calls := len(n.Calls()); calls != 1 {
			t.Errorf("%d calls in the first 59 s, want 1", calls)
		}
		time.Sleep(4 * time.Second)
		if calls := len(n.Calls()); calls != 2 {
			t.Errorf("%d calls after 63 s, want 2", calls)
		}
	})
}

// A batch that cannot be delivered costs the one that is to blame alone, which
// is dead at once and told of once.
func TestGivenUpDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 10)
		d := newDesk(t, n)
		n.Answer(func(_ context.Context, x []core.Notice) core.Outcome {
			for _, y := range x {
				if y.Event.ID == "0003" {
					return core.Outcome{Status: core.OutcomeFailed, Detail: "too long"}
				}
			}
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		d.owe("n", 5)
		defer d.run()()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := ids(n.Notified()); got != "1 2 4 5" {
			t.Errorf("told %q, want all but the third", got)
		}
		dead, err := d.store.Deliveries(t.Context(), core.DeliveryFilter{Dead: true})
		if err != nil || len(dead) != 1 || dead[0].EventID != "0003" || dead[0].Error != "too long" {
			t.Errorf("dead %v, %v, want the third with its reason", dead, err)
		}
		if len(d.failed) != 1 || d.failed[0] != "0003 too long" {
			t.Errorf("failures told: %q, want one", d.failed)
		}
	})
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 10)
		d := newDesk(t, n)
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			return core.Outcome{Status: core.OutcomeRetry, Detail: "down"}
		})
		d.owe("n", 3)
		// What tells of a failure does not tell of its own.
		d.n++
		e := &core.Event{ID: "0004", Type: core.EventDeliveryFailed, At: time.Now()}
		if err := d.store.Commit(t.Context(), &core.Change{Events: []*core.Event{e},
			Deliveries: []*core.Delivery{{EventID: e.ID, Notifier: "n", Next: e.At, Created: e.At}}}); err != nil {
			t.Fatal(err)
		}
		defer d.run()()
		time.Sleep(71 * time.Hour)
		if got := d.depths().DeadDeliveries; got != 0 {
			t.Errorf("%d are dead after 71 hours, want 0", got)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := d.depths(); got.DeadDeliveries != 4 || got.Deliveries != 0 {
			t.Errorf("after 74 hours: %d dead, %d alive, want 4 and 0", got.DeadDeliveries, got.Deliveries)
		}
		if len(d.failed) != 3 {
			t.Errorf("failures told: %q, want 3", d.failed)
		}
	})
}

// A stop in the middle of a call loses nothing and counts no failure.
func TestRestartLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		n.Answer(func(ctx context.Context, _ []core.Notice) core.Outcome {
			<-ctx.Done()
			return core.Outcome{Status: core.OutcomeRetry, Detail: ctx.Err().Error()}
		})
		d.owe("n", 3)
		stop := d.run()
		time.Sleep(time.Second)
		stop()
		if got := d.depths().Deliveries; got != 3 {
			t.Errorf("%d are left, want 3", got)
		}
		again := newDesk(t, n)
		again.store = d.store
		again.dispatcher = delivery.New(delivery.Options{Store: d.store})
		n.Answer(nil)
		again.dispatcher.Set(n)
		defer again.run()()
		synctest.Wait()
		if got := ids(n.Notified()); got != "1 2 3" || n.Calls()[len(n.Calls())-1][0].Attempt != 1 {
			t.Errorf("told %q, want all, none of them as a retry", got)
		}
	})
}

// What was told is written down even when the dispatcher stops just then.
func TestNotifiedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		n.Answer(func(ctx context.Context, _ []core.Notice) core.Outcome {
			<-ctx.Done()
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		d.owe("n", 2)
		stop := d.run()
		time.Sleep(time.Second)
		stop()
		if got := d.depths().Deliveries; got != 1 {
			t.Errorf("%d are left, want 1: the first was told", got)
		}
	})
}

// A call that takes too long is cut short and counts as a failure.
func TestCallLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		n.Answer(func(ctx context.Context, _ []core.Notice) core.Outcome {
			<-ctx.Done()
			return core.Outcome{Status: core.OutcomeRetry, Detail: "timeout"}
		})
		d.owe("n", 1)
		defer d.run()()
		time.Sleep(61 * time.Second)
		if h := d.dispatcher.Health()[0]; h.Failures != 1 || h.LastError != "timeout" {
			t.Errorf("health %+v, want one failure", h)
		}
	})
}

// Notifiers can be replaced while they are called; each gets one call at a time.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		calls, most := 0, 0
		slow := func(ctx context.Context, _ []core.Notice) core.Outcome {
			mu.Lock()
			calls++
			most = max(most, calls)
			mu.Unlock()
			time.Sleep(time.Second) // whatever ctx says
			mu.Lock()
			calls--
			mu.Unlock()
			return core.Outcome{Status: core.OutcomeDelivered}
		}
		n := coretest.NewNotifier("n", 1)
		n.Answer(slow)
		d := newDesk(t, n)
		d.owe("n", 10)
		stop := d.run()
		for range 5 {
			time.Sleep(300 * time.Millisecond)
			d.dispatcher.Set(n)
		}
		time.Sleep(time.Minute)
		stop()
		if most != 1 {
			t.Errorf("%d calls at the same time, want 1", most)
		}
		if got := len(n.Notified()); got != 10 {
			t.Errorf("%d told, want 10: none twice", got)
		}
		d.dispatcher.Set() // after the end it starts nobody
		if got := d.dispatcher.Names(); len(got) != 0 {
			t.Errorf("names %v, want none", got)
		}
	})
}

// What is owed to a notifier that was taken out of the configuration is kept for
// it for a while, and then given up.
func TestOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, coretest.NewNotifier("n", 1))
		d.owe("gone", 3)
		defer d.run()()
		time.Sleep(71 * time.Hour)
		if got := d.depths().Deliveries; got != 3 {
			t.Errorf("%d are alive after 71 hours, want 3", got)
		}
		time.Sleep(3 * time.Hour)
		if got := d.depths(); got.Deliveries != 0 || got.DeadDeliveries != 3 {
			t.Errorf("after 74 hours: %d alive, %d dead, want 0 and 3", got.Deliveries, got.DeadDeliveries)
		}
	})
}

// illStore says of itself that it keeps nothing.
type illStore struct{ core.Store }

func (illStore) Health() error { return errors.New("disk full") }

// A store that keeps nothing is said once, by who watches it: not with each try.
func TestIllStoreIsNotSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		d.owe("n", 2)
		d.store.FailCommits(errors.New("disk full"))
		for ill, want := range map[core.Store]bool{core.Store(d.store): true, illStore{d.store}: false} {
			var log bytes.Buffer
			c := delivery.New(delivery.Options{Store: ill, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			c.Set(n)
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			_ = c.Run(ctx) // what cannot be written down at the end is told again
			stop()
			if said := strings.Contains(log.String(), "level=ERROR"); said != want {
				t.Errorf("with %T the log says %q", ill, log.String())
			}
		}
	})
}

// A store that fails for a while delays, and loses nothing.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		d.owe("n", 2)
		d.store.FailCommits(errors.New("disk full"))
		defer d.run()()
		time.Sleep(time.Minute)
		if calls := len(n.Calls()); calls < 1 || calls > 20 {
			t.Errorf("%d calls in a minute of failing writes, want a few", calls)
		}
		d.store.FailCommits(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := d.depths().Deliveries; got != 0 {
			t.Errorf("%d are left, want 0", got)
		}
	})
}

func TestLogNotifier(t *testing.T) {
	var text bytes.Buffer
	n := delivery.LogNotifier{Logger: slog.New(slog.NewTextHandler(&text, nil))}
	m := &core.InboxMessage{Message: core.Message{Intent: "message", Nonce: "n1", Payload: core.Raw(`"secret words"`)}}
	o := n.Notify(t.Context(), []core.Notice{
		{Event: core.Event{ID: "1", Type: core.EventMessage, By: core.Them, Message: m, Data: core.Raw(`"secret words"`)}, Peer: &core.Peer{Alias: "bob"}},
		{Event: core.Event{ID: "2", Type: core.EventRemoved}},
	})
	if o.Status != core.OutcomeDelivered {
		t.Errorf("outcome %v, want delivered", o)
	}
	out := text.String()
	for _, s := range []string{"type=message", "peer=bob", "intent=message", "nonce=n1", "by=them", "type=federation.removed"} {
		if !strings.Contains(out, s) {
			t.Errorf("the log lacks %q:\n%s", s, out)
		}
	}
	if strings.Contains(out, "secret words") || strings.Count(out, "\n") != 2 {
		t.Errorf("want two lines without what the peer said:\n%s", out)
	}
}
