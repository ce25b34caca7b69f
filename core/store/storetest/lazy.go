package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// slack is what a busy machine may add to a wait.
const slack = 5 * time.Second

func lazy(t *testing.T, s core.Store) {
	commit(t, s, everything())
	// Alone it is kept within its time, and then every reader sees it.
	start := time.Now()
	commit(t, s, &core.Change{Lazy: true, Delivered: []*core.Delivery{delivery(1, "log")}})
	if took := time.Since(start); took > core.LazyWait+slack {
		t.Errorf("a lazy change took %v, want about %v at the most", took, core.LazyWait)
	}
	if due := must(s.DueDeliveries(t.Context(), "log", at(1000), 0))(t); len(due) != 1 || due[0].EventID != id(3) {
		t.Errorf("after the lazy change %d are due, want 1", len(due))
	}
	// A refusal is one as ever.
	refused(t, s.Commit(t.Context(), &core.Change{Lazy: true, Receipt: receipt(1, 1)}), core.Replayed)

	// Many, with others between: each is kept when its Commit has returned.
	var wg sync.WaitGroup
	for n := range 60 {
		wg.Go(func() {
			c := &core.Change{Lazy: n%3 > 0, Receipt: receipt(2, n), Meta: map[string]string{fmt.Sprint(n): "kept"}}
			if err := s.Commit(t.Context(), c); err != nil {
				t.Errorf("Commit %d = %v, want nil", n, err)
			}
			if _, err := s.Meta(t.Context(), fmt.Sprint(n)); err != nil {
				t.Errorf("after Commit %d: %v", n, err)
			}
		})
	}
	wg.Wait()

	// Whoever leaves while it waits gets an error exactly when nothing is kept.
	for n := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*10*time.Millisecond)
		err := s.Commit(ctx, &core.Change{Lazy: true, Receipt: receipt(3, n)})
		cancel()
		_, found := s.Receipt(t.Context(), key(3), receipt(3, n).Nonce)
		if (err == nil) != (found == nil) {
			t.Errorf("Commit = %v, and Receipt = %v", err, found)
		}
	}
}

func lazyClose(t *testing.T, s core.Store) {
	const n = 20
	kept := make(chan error, n)
	for i := range n {
		go func() { kept <- s.Commit(t.Context(), &core.Change{Lazy: true, Receipt: receipt(1, i)}) }()
	}
	time.Sleep(core.LazyWait / 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range n { // each is answered: it was kept, or it came too late
		select {
		case err := <-kept:
			if err != nil && !errors.Is(err, core.Unavailable) {
				t.Errorf("Commit = %v, want nil or Unavailable", err)
			}
		case <-time.After(slack):
			t.Fatal("a lazy change is not answered after Close")
		}
	}
}

// pages reads a queue that is longer than any page, in its order.
func pages(t *testing.T, s core.Store) {
	const n = 2300
	c := &core.Change{}
	for i := range n {
		o := item(i)
		o.Peer = key(i % 2)
		c.Outbox = append(c.Outbox, o)
	}
	commit(t, s, c)
	f := core.OutboxFilter{Peer: key(1), State: core.OutWaiting, Oldest: true, Limit: 500}
	next := 1
	for {
		page := must(s.Outbox(t.Context(), f))(t)
		for _, o := range page {
			if o.ID != id(next) {
				t.Fatalf("envelope %s, want %s", o.ID, id(next))
			}
			next += 2
		}
		if len(page) < f.Limit {
			break
		}
		f.After = page[len(page)-1].ID
	}
	if next != n+1 {
		t.Errorf("the queue ends before %s, want it to end at %s", id(next), id(n-1))
	}
}
