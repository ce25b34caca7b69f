package storetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func once(t *testing.T, s core.Store) {
	first := receipt(1, 1)
	commit(t, s, &core.Change{Receipt: first})
	second := receipt(1, 1)
	second.Status, second.Answer, second.Digest, second.At = 403, []byte("no"), [32]byte{1}, at(5)
	refused(t, s.Commit(t.Context(), &core.Change{Receipt: second}), core.Replayed)
	equal(t, must(s.Receipt(t.Context(), key(1), "nonce-1"))(t), first)

	other := receipt(2, 1)
	other.Answer = nil
	commit(t, s, &core.Change{Receipt: other}, &core.Change{Receipt: receipt(1, 2)})
	equal(t, must(s.Receipt(t.Context(), key(2), "nonce-1"))(t), other)
	_, err := s.Receipt(t.Context(), key(3), "nonce-1")
	refused(t, err, core.NotFound)
}

func onceConcurrent(t *testing.T, s core.Store) {
	const senders, nonces = 16, 20
	var wg sync.WaitGroup
	for n := range nonces {
		results := make(chan error, senders)
		for sender := range senders {
			wg.Go(func() {
				m := message(n*senders + sender)
				results <- s.Commit(t.Context(), &core.Change{Receipt: receipt(1, n), Inbox: []*core.InboxMessage{m}})
			})
		}
		kept := 0
		for range senders {
			if err := <-results; err == nil {
				kept++
			} else {
				refused(t, err, core.Replayed)
			}
		}
		if kept != 1 {
			t.Errorf("nonce %d was taken %d times, want once", n, kept)
		}
	}
	wg.Wait()
	if d := must(s.Depths(t.Context(), 0))(t); d.Inbox != nonces || d.Receipts != nonces {
		t.Errorf("%d messages and %d envelopes are kept, want %d of each", d.Inbox, d.Receipts, nonces)
	}
}

func receipts(t *testing.T, s core.Store) {
	for _, n := range []int{5, 1, 4, 2, 3} {
		l := receipt(n%2, n)
		if n == 4 {
			l.Intent = ""
		}
		commit(t, s, &core.Change{Receipt: l})
	}
	var got []core.Receipt
	byTime := func(a, b core.Receipt) int { return a.At.Compare(b.At) }
	each := func(since time.Time) []core.Receipt {
		got = nil
		if err := s.EachReceipt(t.Context(), since, 0, func(l core.Receipt) {
			got = append(got, l)
			if _, err := s.Receipt(t.Context(), l.Peer, l.Nonce); err != nil {
				t.Errorf("Receipt within EachReceipt = %v, want nil", err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, byTime)
		return got
	}
	bare := func(n int) core.Receipt {
		l := receipt(n%2, n)
		if n == 4 {
			l.Intent = ""
		}
		return core.Receipt{Peer: l.Peer, Nonce: l.Nonce, At: l.At, Intent: l.Intent}
	}
	equal(t, each(time.Time{}), []core.Receipt{bare(1), bare(2), bare(3), bare(4), bare(5)})
	equal(t, each(at(3)), []core.Receipt{bare(3), bare(4), bare(5)})
	equal(t, each(at(3).Add(1)), []core.Receipt{bare(4), bare(5)})
	equal(t, each(at(6)), []core.Receipt{})
	// The newest of each peer and intent, and perhaps more.
	got = nil
	if err := s.EachReceipt(t.Context(), time.Time{}, 1, func(l core.Receipt) { got = append(got, l) }); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 4, 5} {
		if !slices.ContainsFunc(got, func(l core.Receipt) bool { return l.Peer == bare(n).Peer && l.Nonce == bare(n).Nonce }) {
			t.Errorf("the newest receipt %d is not among %v", n, got)
		}
	}
	hashes := map[uint64]bool{}
	if err := s.EachNonce(t.Context(), func(h uint64) { hashes[h] = true }); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		if !hashes[core.NonceHash(key(n%2), receipt(n%2, n).Nonce)] || len(hashes) != 5 {
			t.Errorf("EachNonce gives %v, without receipt %d", hashes, n)
		}
	}
}
