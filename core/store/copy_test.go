package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
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
			_, err := store.Copy(ctx, from, to, nil)
			cancel()
			if err == nil {
				t.Log("the copy was too quick to be cut short")
				to = empty(t, n+2)
			}
		}
		told := map[string]int{}
		var mu sync.Mutex // guards told
		got, err := store.Copy(t.Context(), from, to, func(step string, rows int) {
			mu.Lock()
			defer mu.Unlock()
			told[step] = max(told[step], rows)
		})
		if err != nil {
			t.Fatalf("copy %d: %v", n, err)
		}
		if n == 0 {
			first = got
		}
		if got != first || got.Events < 1300 || got.Receipts < 10 || got.Deliveries < 1300 || got.Outbox < 1300 || got.Replies < 1300 || got.Peers == 0 {
			t.Errorf("copy %d has %+v, want as much as the first, %+v", n, got, first)
		}
		if told["copied: receipts"] != got.Receipts || told["copied: messages and events"] != got.Events || told["compared: read from the copy"] < got.Receipts+got.Events+got.Replies {
			t.Errorf("copy %d of %+v has told %v", n, got, told)
		}
		again := first
		again.Before = true
		if got, err := store.Copy(t.Context(), from, to, nil); err != nil || got != again {
			t.Errorf("copy %d once more = %+v, %v, want that both are equal", n, got, err)
		}
		if n == len(kinds) { // somebody has used it
			if err := to.Commit(t.Context(), &core.Change{Meta: map[string]string{"used": "since"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Copy(t.Context(), from, to, nil); !errors.Is(err, core.Conflict) {
				t.Errorf("a copy over one that was used since = %v, want Conflict", err)
			}
		}
		from = to
	}
}

// cutShort is a store whose process is killed at one of its commits.
type cutShort struct {
	core.Store
	left *atomic.Int64 // commits until then
}

var errCut = errors.New("killed")

func (s cutShort) Commit(ctx context.Context, c *core.Change) error {
	if s.left.Add(-1) < 0 {
		return errCut
	}
	return s.Store.Commit(ctx, c)
}

// However far a copy was when it was cut short, what is there is known for half a copy until
// the same copy has come to its end.
func TestCopyCutShort(t *testing.T) {
	fill := func(s core.Store) core.Store {
		t.Cleanup(func() { s.Close() })
		return s
	}
	from := fill(memory.New())
	for page := range 4 {
		c := &core.Change{Meta: map[string]string{"copy.into": "", fmt.Sprint(page): "x"}} // as one has that was copied itself
		for n := page * 400; n < (page+1)*400; n++ {
			id, at := fmt.Sprintf("01JP%022d", n), time.Unix(1_770_000_100, int64(n)).UTC()
			c.Inbox = append(c.Inbox, &core.InboxMessage{ID: id, At: at, Status: core.InboxNew, Message: core.Message{Intent: "message"}})
			c.Deliveries = append(c.Deliveries, &core.Delivery{EventID: id, Notifier: "log", Created: at})
			c.Outbox = append(c.Outbox, &core.OutboxItem{ID: id, State: core.OutWaiting, Kind: core.OutMessage, Created: at})
			c.KV = append(c.KV, core.KVPut{Plugin: "p", Key: id, Value: []byte(id)})
			c.Replies = append(c.Replies, &core.StoredReply{Nonce: core.Nonce(id), At: at})
		}
		c.Receipt = &core.Receipt{Nonce: core.Nonce(fmt.Sprint(page)), At: time.Unix(1_770_000_100, 0).UTC(), Answer: []byte{}}
		if err := from.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	var left atomic.Int64
	left.Store(1 << 20)
	want, err := store.Copy(t.Context(), from, cutShort{fill(memory.New()), &left}, nil)
	if err != nil {
		t.Fatal(err)
	}
	commits := 1<<20 - left.Load()
	if commits < 10 {
		t.Fatalf("the copy took %d commits, too few to be cut short", commits)
	}
	for at := int64(1); at < commits; at++ { // the last says that both are the same
		to := fill(memory.New())
		left.Store(at)
		if _, err := store.Copy(t.Context(), from, cutShort{to, &left}, nil); !errors.Is(err, errCut) {
			t.Fatalf("cut short at commit %d of %d: %v, want %v", at, commits, err, errCut)
		}
		if err := store.Whole(t.Context(), to); !errors.Is(err, core.Conflict) {
			t.Fatalf("half a copy, cut at commit %d of %d: Whole = %v, want Conflict", at, commits, err)
		}
		if _, err := store.Copy(t.Context(), to, fill(memory.New()), nil); !errors.Is(err, core.Conflict) {
			t.Errorf("a copy of half a copy = %v, want Conflict", err)
		}
		got, err := store.Copy(t.Context(), from, to, nil)
		if err != nil || got != want {
			t.Errorf("cut at commit %d of %d, and begun again: %+v, %v, want %+v", at, commits, got, err, want)
		}
		if err := store.Whole(t.Context(), to); err != nil {
			t.Errorf("a copy that has ended: Whole = %v", err)
		}
	}
}
