package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

func open(t testing.TB, at string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.PostgresServer(t)
	where := map[core.Store]string{}
	storetest.Run(t, func(t *testing.T) core.Store {
		at := storetest.Postgres(t)
		s := open(t, at)
		where[s] = at
		return s
	}, func(t *testing.T, s core.Store) core.Store {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return open(t, where[s])
	})
}

// Three nodes take what comes as fast as they can: exactly as many are let in as the limit
// says, and each node learns what the others have changed.
func TestN5LimitOverNodes(t *testing.T) {
	ctx := t.Context()
	at := storetest.Postgres(t)
	const most, each = 100, 60
	limit := &core.Limit{Rate: core.RateLimit{Requests: most, WindowSeconds: 3600}, Size: core.ByteLimit{Bytes: 1 << 30, WindowSeconds: 3600}}
	var in, out atomic.Int64
	var wg sync.WaitGroup
	for node := range 3 {
		s := open(t, at)
		for i := range each {
			wg.Go(func() {
				r := &core.Receipt{Peer: core.PublicKey{1}, Nonce: core.Nonce(fmt.Sprint(node, "-", i)), At: time.Now(), Intent: "message", Status: 200}
				switch err := s.Commit(ctx, &core.Change{Receipt: r, Limit: limit}); {
				case err == nil:
					in.Add(1)
				case errors.Is(err, core.RateLimited):
					out.Add(1)
				default:
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if in.Load() != most || out.Load() != 3*each-most {
		t.Errorf("3 nodes let %d in and %d not, want %d and %d", in.Load(), out.Load(), most, 3*each-most)
	}
}

// A change of a peer reaches another node at once, and a message none.
func TestNews(t *testing.T) {
	ctx := t.Context()
	at := storetest.Postgres(t)
	first, second := open(t, at), open(t, at)
	seen, err := second.Since(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	heard := func(within time.Duration) bool {
		select {
		case <-second.Changed():
			return true
		case <-time.After(within):
			return false
		}
	}
	for heard(300 * time.Millisecond) { // what other tests have changed, and that it listens now
	}
	if err := first.Commit(ctx, &core.Change{Peers: []*core.Peer{{Key: core.PublicKey{1}, Revision: 1}}}); err != nil {
		t.Fatal(err)
	}
	if !heard(30 * time.Second) {
		t.Error("nothing was heard of a change")
	}
	news, err := second.Since(ctx, seen.Seen)
	if err != nil || len(news.Peers) != 1 || news.Peers[0].Key != (core.PublicKey{1}) {
		t.Errorf("Since = %+v, %v, want the peer", news, err)
	}
}
