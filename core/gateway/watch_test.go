package gateway_test

import "testing"

// TestWatchTellsWhoFallsBehind shows that a watcher gets every event after it can
// be read from the store or, if it does not keep up, learns that it has missed
// some, and that no envelope waits for it.
func TestWatchTellsWhoFallsBehind(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	quick, stop := r.Watch()
	defer stop()
	slow, stopSlow := r.Watch()
	defer stopSlow()
	const receipts = 300
	for range receipts {
		_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil))
		want(t, "ReceiveMessage", err, "")
		e, open := <-quick
		if !open {
			t.Fatal("a watcher that keeps up was ended")
		}
		if _, err := r.store.InboxMessage(t.Context(), e.ID); err != nil {
			t.Fatalf("told of %s before it was kept: %v", e.ID, err)
		}
	}
	got := 0
	for range slow {
		got++
	}
	if got == 0 || got >= receipts {
		t.Errorf("a watcher that is behind got %d events of %d and its end, want the first of them", got, receipts)
	}
	stopSlow() // after its end, too
}
