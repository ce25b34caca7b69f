package delivery_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/lease/leasetest"
)

// told is what all nodes have told one notifier, in order.
type told struct {
	mu  sync.Mutex
	ids []string
}

func (x *told) add(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ids = append(x.ids, id)
}

func (x *told) list() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.ids)
}

// beside runs one more node over the store of a desk.
func (d *desk) beside(table *leasetest.Table, name string, n core.Notifier) (c *delivery.Dispatcher, stop func()) {
	view := &leasetest.Node{Store: d.store, Table: table, Name: name}
	leases := lease.New(view, slog.New(slog.DiscardHandler))
	c = delivery.New(delivery.Options{Store: view, Leases: leases})
	c.Set(n)
	ctx, cancel := context.WithCancel(context.Background())
	holding, end := context.WithCancel(context.Background())
	var running, keeping sync.WaitGroup
	keeping.Go(func() { _ = leases.Run(holding) })
	running.Go(func() { _ = c.Run(ctx) })
	return c, sync.OnceFunc(func() { cancel(); running.Wait(); end(); keeping.Wait() })
}

// Of two nodes one tells a notifier, whichever keeps the event, in order. When it stops,
// the other goes on.
func TestOneNodeTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		var all told
		nodes := make([]*coretest.Notifier, 2)
		table := &leasetest.Table{}
		stops := make([]func(), 2)
		dispatchers := make([]*delivery.Dispatcher, 2)
		for i, name := range []string{"a", "b"} {
			nodes[i] = coretest.NewNotifier("n", 1)
			nodes[i].Answer(func(_ context.Context, x []core.Notice) core.Outcome {
				all.add(x[0].Event.ID)
				return core.Outcome{Status: core.OutcomeDelivered}
			})
			dispatchers[i], stops[i] = d.beside(table, name, nodes[i])
			defer stops[i]()
			time.Sleep(time.Second)
		}
		keep := func(node int) { // an event that a node keeps, as the gateway does
			d.n++
			e := &core.Event{ID: string(rune('a'+d.n/10)) + string(rune('0'+d.n%10)), Type: core.EventWarning, At: time.Now()}
			x := &core.Delivery{EventID: e.ID, Notifier: "n", Created: e.At, Event: *e}
			if err := d.store.Commit(t.Context(), &core.Change{Events: []*core.Event{e}, Deliveries: []*core.Delivery{x}}); err != nil {
				t.Fatal(err)
			}
			dispatchers[node].Queued([]*core.Delivery{x})
		}
		for i := range 40 {
			keep(i % 2)
			time.Sleep(17 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if got := all.list(); len(got) != 40 || !slices.IsSorted(got) || len(nodes[1].Notified()) > 0 {
			t.Fatalf("told %v, %d of them by the second node; want all 40 in order, by the first", got, len(nodes[1].Notified()))
		}
		stops[0]()
		keep(1)
		time.Sleep(3 * time.Second)
		if got := all.list(); len(got) != 41 || len(nodes[1].Notified()) != 1 {
			t.Fatalf("%d told after the first node has stopped, %d by the second, want 41 and 1", len(got), len(nodes[1].Notified()))
		}
		if got := d.depths().Deliveries; got != 0 {
			t.Errorf("%d are left, want 0", got)
		}
	})
}

// A node whose lease was taken while it told something writes nothing down, by which it
// finds out, and stops; the other tells it again, as the same event.
func TestOvertakenNodeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		table := &leasetest.Table{}
		first, second := coretest.NewNotifier("n", 1), coretest.NewNotifier("n", 1)
		first.Answer(func(_ context.Context, x []core.Notice) core.Outcome { // it takes no notice of its context
			time.Sleep(time.Second)
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		_, stop := d.beside(table, "a", first)
		defer stop()
		d.owe("n", 9)
		time.Sleep(700 * time.Millisecond)
		table.Give("notifier/n", "b")
		_, stopSecond := d.beside(table, "b", second)
		defer stopSecond()
		time.Sleep(10 * time.Second)
		if got := len(first.Calls()); got > 2 {
			t.Errorf("the node that was overtaken made %d calls, want the one that was under way and, at the most, the next", got)
		}
		if got := ids(second.Notified()); got != "1 2 3 4 5 6 7 8 9" {
			t.Errorf("the other told %q, want all, and the one under way again", got)
		}
		if got := d.depths().Deliveries; got != 0 {
			t.Errorf("%d are left, want 0", got)
		}
	})
}

// What an operator asks of one node ends the pause at the one that has the notifier in hand:
// that what was set aside is told again, or that the notifier works again.
func TestAskedElsewhere(t *testing.T) {
	for _, ask := range []struct {
		name string
		f    func(*testing.T, *delivery.Dispatcher)
	}{
		{"retry", func(t *testing.T, c *delivery.Dispatcher) {
			if n, err := c.Retry(t.Context(), core.DeliveryFilter{Notifier: "n", Dead: true}); n != 1 || err != nil {
				t.Errorf("Retry = %d, %v, want 1", n, err)
			}
		}},
		{"changed", func(_ *testing.T, c *delivery.Dispatcher) { c.Changed() }},
	} {
		t.Run(ask.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				table := &leasetest.Table{}
				works := make(chan struct{})
				notifiers := []*coretest.Notifier{coretest.NewNotifier("n", 1), coretest.NewNotifier("n", 1)}
				nodes := make([]*delivery.Dispatcher, 2)
				for i, name := range []string{"a", "b"} {
					notifiers[i].Answer(func(_ context.Context, x []core.Notice) core.Outcome {
						select {
						case <-works:
							return core.Outcome{Status: core.OutcomeDelivered}
						default:
						}
						if x[0].Event.ID == "0001" {
							return core.Outcome{Status: core.OutcomeFailed, Detail: "not this one"}
						}
						return core.Outcome{Status: core.OutcomeRetry, RetryAfter: time.Hour, Detail: "not now"}
					})
					var stop func()
					nodes[i], stop = d.beside(table, name, notifiers[i])
					defer stop()
					time.Sleep(time.Second)
				}
				d.owe("n", 3)
				time.Sleep(5 * time.Second)
				close(works)
				time.Sleep(5 * time.Second)
				if got := d.depths(); got.Deliveries != 2 || got.DeadDeliveries != 1 {
					t.Fatalf("%d wait and %d are set aside, want 2 and 1", got.Deliveries, got.DeadDeliveries)
				}
				ask.f(t, nodes[1])
				time.Sleep(2 * time.Second)
				if got := d.depths().Deliveries; got != 0 {
					t.Errorf("%d still wait at the node that has the notifier in hand, want none", got)
				}
				if n := len(notifiers[1].Calls()); n != 0 {
					t.Errorf("the other node made %d calls, want none", n)
				}
			})
		})
	}
}
