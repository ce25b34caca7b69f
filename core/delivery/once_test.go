package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/delivery"
)

// keyed is a notifier whose receiver knows repeats.
type keyed struct{ *coretest.Notifier }

func (keyed) Keyed() bool { return true }

// keep keeps events that are owed to a notifier and hands them to the dispatcher, as a
// gateway does.
func (d *desk) keep(notifier string, events int) {
	d.t.Helper()
	for range events {
		d.n++
		e := &core.Event{ID: fmt.Sprintf("%04d", d.n), Type: core.EventWarning, At: time.Now()}
		x := &core.Delivery{EventID: e.ID, Notifier: notifier, Created: e.At, Event: *e}
		if err := d.store.Commit(d.t.Context(), &core.Change{Events: []*core.Event{e}, Deliveries: []*core.Delivery{x}}); err != nil {
			d.t.Fatal(err)
		}
		d.dispatcher.Queued([]*core.Delivery{x})
	}
}

// Fresh events are told from memory, in order and once; what was told is noted lazily,
// and nobody sees it as owed meanwhile.
func TestFreshFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := keyed{coretest.NewNotifier("n", 1)}
		d := newDesk(t, n)
		reads := 0
		d.store.OnDue(func() { reads++ })
		defer d.run()()
		synctest.Wait()
		reads = 0
		d.keep("n", 500)
		synctest.Wait()
		if got := len(n.Notified()); got != 500 || len(n.Calls()) != 500 {
			t.Errorf("%d told in %d calls, want 500, once each", got, len(n.Calls()))
		}
		if reads > 0 {
			t.Errorf("the store was read %d times for what was in memory", reads)
		}
		if x, err := d.dispatcher.Depths(t.Context(), 0); err != nil || x.Deliveries != 0 {
			t.Errorf("%d seem owed, %v, want 0", x.Deliveries, err)
		}
		time.Sleep(time.Second)
		if got := d.depths().Deliveries; got != 0 {
			t.Errorf("%d are left in the store, want 0", got)
		}
	})
}

// What overflows the memory is read from the store, and nothing comes twice or not at all.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := keyed{coretest.NewNotifier("n", 7)}
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			time.Sleep(10 * time.Millisecond)
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		d := newDesk(t, n)
		d.owe("n", 200) // before the start
		defer d.run()()
		for range 30 {
			d.keep("n", 200)
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		seen := map[string]int{}
		for _, x := range n.Notified() {
			seen[x.Event.ID]++
		}
		if len(seen) != 6200 || len(n.Notified()) != 6200 {
			t.Errorf("%d events told %d times, want 6200 once each", len(seen), len(n.Notified()))
		}
		if got := d.depths().Deliveries; got != 0 {
			t.Errorf("%d are left, want 0", got)
		}
	})
}

// What was told in one call is told again as the same call, also after a restart, and
// what has come since is another call.
func TestGroupsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := keyed{coretest.NewNotifier("n", 10)}
		var calls []string
		lost := true
		n.Answer(func(_ context.Context, x []core.Notice) core.Outcome {
			calls = append(calls, ids(x))
			if lost {
				return core.Outcome{Status: core.OutcomeRetry, Detail: "the answer got lost"}
			}
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		d := newDesk(t, n)
		d.owe("n", 3)
		stop := d.run()
		time.Sleep(100 * time.Millisecond)
		d.keep("n", 4)
		time.Sleep(time.Minute)
		stop()
		for range 3 { // restarts
			again := delivery.New(delivery.Options{Store: d.store})
			again.Set(n)
			d.dispatcher = again
			stop := d.run()
			time.Sleep(time.Minute)
			stop()
		}
		lost = false
		again := delivery.New(delivery.Options{Store: d.store})
		again.Set(n)
		d.dispatcher = again
		defer d.run()()
		time.Sleep(time.Hour)
		synctest.Wait()
		with := map[string]string{}
		for _, call := range calls {
			for _, id := range strings.Fields(call) {
				if first, ok := with[id]; ok && first != call {
					t.Fatalf("%s was told in a call of %q and before in one of %q, want always the same call", id, call, first)
				}
				with[id] = call
			}
		}
		if with["1"] != "1 2 3" || len(calls) < 8 {
			t.Errorf("calls %q, want the first three together, again and again", calls)
		}
		if got := len(n.Notified()); got != 7 {
			t.Errorf("%d told, want 7", got)
		}
	})
}

// An operator who has it tried again now does not make another call of what was told
// together: its receiver may have it.
func TestRetryKeepsGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := keyed{coretest.NewNotifier("n", 10)}
		var calls []string
		n.Answer(func(_ context.Context, x []core.Notice) core.Outcome {
			calls = append(calls, ids(x))
			if len(calls) < 3 {
				return core.Outcome{Status: core.OutcomeRetry, Detail: "the answer got lost"}
			}
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		d := newDesk(t, n)
		d.owe("n", 3)
		defer d.run()()
		synctest.Wait()
		d.keep("n", 2)
		for range 3 {
			if _, err := d.dispatcher.Retry(t.Context(), core.DeliveryFilter{}); err != nil && !errors.Is(err, core.NotFound) {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		for _, call := range calls {
			if call != "1 2 3" && call != "4 5" {
				t.Errorf("told %q in one call, want always the same ones together: %q", call, calls)
			}
		}
	})
}

// What was told alone is told again alone, when its answer got lost and when we were stopped
// in between, however much has come since.
func TestAloneStaysAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := keyed{coretest.NewNotifier("n", 10)}
		var mu sync.Mutex // guards calls
		var calls []string
		n.Answer(func(ctx context.Context, x []core.Notice) core.Outcome {
			mu.Lock()
			calls = append(calls, ids(x))
			enough := len(calls) > 4
			mu.Unlock()
			if enough {
				return core.Outcome{Status: core.OutcomeDelivered}
			}
			select { // it takes long, and then the answer gets lost
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return core.Outcome{Status: core.OutcomeRetry, Detail: "the answer got lost"}
		})
		d := newDesk(t, n)
		for range 3 {
			stop := d.run()
			synctest.Wait()
			d.keep("n", 1)
			time.Sleep(500 * time.Millisecond)
			stop()
			d.dispatcher = delivery.New(delivery.Options{Store: d.store})
			d.dispatcher.Set(n)
		}
		defer d.run()()
		d.keep("n", 4)
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		with := map[string]string{}
		for _, call := range calls {
			for _, id := range strings.Fields(call) {
				if first, ok := with[id]; ok && first != call {
					t.Fatalf("calls %q: %s was told with others", calls, id)
				}
				with[id] = call
			}
		}
		if with["1"] != "1" || len(n.Notified()) != 7 {
			t.Errorf("calls %q and %d told, want the first alone and 7 told", calls, len(n.Notified()))
		}
	})
}

// A set-up error costs no event: all wait, the operator is told once, and a change is
// tried at once.
func TestSetUpWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			return core.Outcome{Status: core.OutcomeSetup, Detail: "set the token"}
		})
		d := newDesk(t, n)
		var told []string
		d.dispatcher = delivery.New(delivery.Options{Store: d.store, SetUp: func(_ context.Context, name, detail string) {
			told = append(told, name+": "+detail)
		}})
		d.dispatcher.Set(n)
		stop := d.run()
		d.keep("n", 20)
		time.Sleep(48 * time.Hour)
		if got := d.depths(); got.DeadDeliveries != 0 || got.Deliveries != 20 {
			t.Errorf("%d dead and %d alive after two days, want 0 and 20", got.DeadDeliveries, got.Deliveries)
		}
		if len(told) != 1 || told[0] != "n: set the token" {
			t.Errorf("the operator was told %q, want once", told)
		}
		if calls := len(n.Calls()); calls > 1000 {
			t.Errorf("%d calls in two days, want long pauses", calls)
		}
		if h := d.dispatcher.Health()[0]; !h.SetUp {
			t.Errorf("health %+v, want a set-up error", h)
		}
		n.Answer(nil)
		d.dispatcher.Changed() // a token was changed
		time.Sleep(time.Second)
		if got := len(n.Notified()); got != 20 {
			t.Errorf("%d told a second after the change, want 20", got)
		}
		stop()
	})
}

// After an outage the first success is a reason to try all that waits.
func TestOutageEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			return core.Outcome{Status: core.OutcomeRetry, Detail: "down"}
		})
		d := newDesk(t, n)
		defer d.run()()
		d.keep("n", 50)
		time.Sleep(12 * time.Hour)
		n.Answer(nil)
		began := time.Now()
		for len(n.Notified()) == 0 {
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		if got := len(n.Notified()); got != 50 {
			t.Errorf("%d told 2 s after the first success, %v after it came back, want 50", got, time.Since(began))
		}
	})
}

// A reload that changes nothing cuts no call, one that changes the notifier does.
func TestSetKeepsWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		cut := 0
		n.Answer(func(ctx context.Context, _ []core.Notice) core.Outcome {
			select {
			case <-ctx.Done():
				cut++
				return core.Outcome{Status: core.OutcomeRetry}
			case <-time.After(10 * time.Second):
				return core.Outcome{Status: core.OutcomeDelivered}
			}
		})
		d := newDesk(t, n)
		d.owe("n", 1)
		defer d.run()()
		time.Sleep(time.Second)
		d.dispatcher.Set(n)
		time.Sleep(time.Second)
		synctest.Wait()
		if cut != 0 {
			t.Error("a reload that changes nothing cut the call")
		}
		other := coretest.NewNotifier("n", 1)
		d.dispatcher.Set(other)
		time.Sleep(time.Second)
		synctest.Wait()
		if cut != 1 || len(other.Notified()) != 1 {
			t.Errorf("%d calls cut and %d told by the successor, want 1 and 1", cut, len(other.Notified()))
		}
	})
}

// A notice tells of its peer as it was when it happened.
func TestPeerAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		d := newDesk(t, n)
		now := &core.Peer{Key: core.PublicKey{1}, Alias: "new", Trust: core.Removed, Names: core.Names{DisplayName: "renamed"}, URL: "https://moved.example"}
		d.dispatcher = delivery.New(delivery.Options{Store: d.store, Peer: func(core.PublicKey) *core.Peer { return now }})
		d.dispatcher.Set(n)
		at := time.Now()
		m := &core.InboxMessage{ID: "0001", Peer: now.Key, At: at, Status: core.InboxNew, Alias: "old", Message: core.Message{Intent: "message", Nonce: "n", Payload: core.Raw(`{}`)}}
		e := &core.Event{ID: "0002", Type: core.EventRemoved, At: at, Peer: now.Key, Then: &core.PeerThen{Alias: "older", Trust: core.Approved}}
		if err := d.store.Commit(t.Context(), &core.Change{Inbox: []*core.InboxMessage{m}, Events: []*core.Event{e},
			Deliveries: []*core.Delivery{{EventID: "0001", Notifier: "n", Created: at}, {EventID: "0002", Notifier: "n", Created: at}}}); err != nil {
			t.Fatal(err)
		}
		defer d.run()()
		synctest.Wait()
		told := n.Notified()
		if len(told) != 2 || told[0].Peer.Alias != "old" || told[0].Peer.Trust != core.Approved || told[1].Peer.Alias != "older" || told[1].Peer.Trust != core.Approved {
			t.Errorf("told %+v", told)
		}
		for _, n := range told { // the same key carries the same bytes, whatever the peer calls itself by then
			if n.Peer.Names != (core.Names{}) || n.Peer.URL != "" {
				t.Errorf("told of %+v at %q, want nothing that is new since", n.Peer.Names, n.Peer.URL)
			}
		}
		if now.Alias != "new" {
			t.Error("the record was changed")
		}
	})
}

// What was set aside can be listed, tried again and dropped.
func TestSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			return core.Outcome{Status: core.OutcomeFailed, Detail: "too big"}
		})
		d := newDesk(t, n)
		d.owe("n", 3)
		defer d.run()()
		time.Sleep(time.Minute)
		list, err := d.dispatcher.List(t.Context(), core.DeliveryFilter{Dead: true})
		if err != nil || len(list) != 3 || list[0].Error != "too big" {
			t.Fatalf("List = %v, %v, want 3", list, err)
		}
		n.Answer(nil)
		if count, err := d.dispatcher.Retry(t.Context(), core.DeliveryFilter{EventID: "0002"}); err != nil || count != 1 {
			t.Errorf("Retry = %d, %v, want 1", count, err)
		}
		if count, err := d.dispatcher.Drop(t.Context(), core.DeliveryFilter{EventID: "0001"}); err != nil || count != 1 {
			t.Errorf("Drop = %d, %v, want 1", count, err)
		}
		time.Sleep(time.Second)
		if got := ids(n.Notified()); got != "2" {
			t.Errorf("told %q, want the second", got)
		}
		if x := d.depths(); x.DeadDeliveries != 1 || x.Deliveries != 0 {
			t.Errorf("%+v are left, want the third set aside", x)
		}
		if _, err := d.dispatcher.Retry(t.Context(), core.DeliveryFilter{EventID: "nonesuch"}); !errors.Is(err, core.NotFound) || strings.HasSuffix(err.Error(), ":") {
			t.Errorf("Retry of nothing = %v, want NotFound", err)
		}
	})
}

// What was notified of in a call that went wrong for the others does not come again, also
// when they are tried one by one; and the others stay one call.
func TestNotifiedInPart(t *testing.T) {
	for status, want := range map[core.OutcomeStatus]string{core.OutcomeRetry: "1 2 3 4|2 4|2 4", core.OutcomeSetup: "1 2 3 4|2 4|2 4", core.OutcomeFailed: "1 2 3 4|2|4"} {
		synctest.Test(t, func(t *testing.T) {
			n := keyed{coretest.NewNotifier("n", 10)}
			var calls []string
			n.Answer(func(_ context.Context, x []core.Notice) core.Outcome {
				calls = append(calls, ids(x))
				if len(calls) == 3 {
					return core.Outcome{Status: core.OutcomeDelivered}
				}
				return core.Outcome{Status: status, Detail: "not all", Notified: []string{"0001", "0003"}}
			})
			d := newDesk(t, n)
			d.owe("n", 4)
			defer d.run()()
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := strings.Join(calls, "|"); got != want {
				t.Errorf("%s: calls %q, want %q", status, got, want)
			}
			if x := d.depths(); x.Deliveries != 0 || x.DeadDeliveries != map[bool]int{true: 1}[status == core.OutcomeFailed] {
				t.Errorf("%s: %+v are left", status, x)
			}
			if h := d.dispatcher.Health()[0]; h.Delivered != 4-uint64(d.depths().DeadDeliveries) {
				t.Errorf("%s: %d delivered", status, h.Delivered)
			}
		})
	}
}

// The first success after a start is a reason to try all that waits: of an outage before
// it nobody knows how long it was.
func TestOutageBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			return core.Outcome{Status: core.OutcomeSetup, Detail: "down"}
		})
		d := newDesk(t, n)
		stop := d.run()
		d.keep("n", 5)
		time.Sleep(12 * time.Hour)
		stop()
		d.dispatcher = delivery.New(delivery.Options{Store: d.store})
		d.dispatcher.Set(n)
		defer d.run()()
		synctest.Wait() // one failure after the start
		n.Answer(nil)
		time.Sleep(10 * time.Second)
		d.keep("n", 1)
		time.Sleep(time.Second)
		if got := len(n.Notified()); got != 6 {
			t.Errorf("%d told a second after the first success, want all 6", got)
		}
	})
}

// An event that nothing waits beside is kept as one that goes alone, and is told without
// another commit, also after a crash; what comes together is told together, and so is what
// has gathered while a slow notifier was at work.
func TestAloneFromTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := keyed{coretest.NewNotifier("n", 10)}
		d := newDesk(t, n)
		defer d.run()()
		synctest.Wait()
		keep := func(events int) {
			t.Helper()
			var all []*core.Delivery
			change := &core.Change{}
			for range events {
				d.n++
				e := &core.Event{ID: fmt.Sprintf("%04d", d.n), Type: core.EventWarning, At: time.Now()}
				x := &core.Delivery{EventID: e.ID, Notifier: "n", Created: e.At, Event: *e}
				if d.dispatcher.Alone("n") {
					x.Group = e.ID
				}
				change.Events, change.Deliveries, all = append(change.Events, e), append(change.Deliveries, x), append(all, x)
			}
			if err := d.store.Commit(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			d.dispatcher.Queued(all)
		}
		calls := func() (got []int) {
			for _, call := range n.Calls() {
				got = append(got, len(call))
			}
			return got
		}
		commits := func() (n int) {
			d.store.OnCommit(func(c *core.Change) error {
				if !c.Lazy {
					n++
				}
				return nil
			})
			for range 5 {
				keep(1)
				synctest.Wait() // told, and its note waits to be written down
			}
			d.store.OnCommit(nil)
			return n
		}()
		if got := calls(); len(got) != 5 || commits != 5 {
			t.Errorf("calls of %v after %d commits beside the notes, want five of one and five", got, commits)
		}
		n.Answer(func(context.Context, []core.Notice) core.Outcome {
			time.Sleep(time.Second)
			return core.Outcome{Status: core.OutcomeDelivered}
		})
		keep(4)
		time.Sleep(time.Minute)
		if got := calls()[5:]; len(got) != 2 || got[0] != 1 || got[1] != 3 {
			t.Errorf("four at once were told in calls of %v, want one and three", got)
		}
		keep(1)
		time.Sleep(100 * time.Millisecond)
		keep(1)
		keep(1)
		time.Sleep(time.Minute)
		if got := calls()[7:]; len(got) != 2 || got[1] != 2 {
			t.Errorf("what gathered was told in calls of %v, want one and two", got)
		}
	})
}
