package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// TestCopy fills a store with random changes and copies it from kind to kind and back: Copy
// itself compares what is there, and what it must refuse is refused.
func TestCopy(t *testing.T) {
	kinds := []func(t *testing.T) (kind, dir string){
		func(t *testing.T) (kind, dir string) { return "memory", "" },
		func(t *testing.T) (kind, dir string) { return "sqlite", t.TempDir() },
	}
	if storetest.HasPostgres() {
		kinds = append(kinds, func(t *testing.T) (kind, dir string) { return storetest.Postgres(t), "" })
	}
	empty := func(t *testing.T, n int) core.Store {
		kind, dir := kinds[n%len(kinds)](t)
		s, err := store.Open(t.Context(), kind, dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	from := empty(t, 1)
	filled := rapid.Custom(func(rt *rapid.T) *core.Change { return change(rt) })
	for n := range 400 {
		c := filled.Example(n)
		c.Expect = nil
		_ = from.Commit(t.Context(), c) // some are refused
	}
	long := &core.Change{}
	for n := range 1300 { // more than a page of each
		id, at := fmt.Sprintf("01JP%022d", n), time.Unix(1_770_000_100, int64(n)).UTC()
		long.Inbox = append(long.Inbox, &core.InboxMessage{ID: id, At: at, Status: core.InboxNew, Message: core.Message{Intent: "message"}})
		long.Deliveries = append(long.Deliveries, &core.Delivery{EventID: id, Notifier: "log", Created: at})
		long.Outbox = append(long.Outbox, &core.OutboxItem{ID: id, State: core.OutWaiting, Kind: core.OutMessage, Created: at})
		long.KV = append(long.KV, core.KVPut{Plugin: "p", Key: id, Value: []byte(id)})
		long.Replies = append(long.Replies, &core.StoredReply{Nonce: core.Nonce(id), At: at})
	}
	if err := from.Commit(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	var first store.Copied
	for n := range 2 * len(kinds) {
		to := empty(t, n+2)
		if n == 1 { // cut short, and begun again
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			_, err := store.Copy(ctx, from, to)
			cancel()
			if err == nil {
				t.Log("the copy was too quick to be cut short")
				to = empty(t, n+2)
			}
		}
		got, err := store.Copy(t.Context(), from, to)
		if err != nil {
			t.Fatalf("copy %d: %v", n, err)
		}
		if n == 0 {
			first = got
		}
		if got != first || got.Events < 1300 || got.Receipts < 10 || got.Deliveries < 1300 || got.Outbox < 1300 || got.Replies < 1300 || got.Peers == 0 {
			t.Errorf("copy %d has %+v, want as much as the first, %+v", n, got, first)
		}
		if _, err := store.Copy(t.Context(), from, to); !errors.Is(err, core.Conflict) {
			t.Errorf("a copy over another = %v, want Conflict", err)
		}
		from = to
	}
}
