package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// Nodes that start at once in an empty database all get its tables, one of them makes them, and
// each keeps what it is given, also behind a pooler of transactions (OGP_POSTGRES_POOLER=1
// .ci/postgres).
func TestStartAtOnce(t *testing.T) {
	at := storetest.Postgres(t)
	var wg sync.WaitGroup
	for node := range 3 {
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), at)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for i := range 20 {
				r := &core.Receipt{Peer: core.PublicKey{1}, Nonce: core.Nonce(fmt.Sprint(node, "-", i)), At: time.Now(), Intent: "message", Status: 200}
				if err := s.Commit(t.Context(), &core.Change{Receipt: r}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, _, err := open(t, at).Uses(t.Context(), core.PublicKey{1}, "message", time.Time{}); n != 60 || err != nil {
		t.Errorf("Uses = %d, %v, want all 60", n, err)
	}
}

// A replica is read through whatever lets its statements through.
func TestReadThroughPooler(t *testing.T) {
	at := storetest.Postgres(t)
	s := open(t, at)
	if err := s.Commit(t.Context(), &core.Change{Meta: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	c, err := postgres.OpenCopy(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := c.Meta(t.Context(), "a"); got != "b" || err != nil {
		t.Errorf("Meta = %q, %v, want b", got, err)
	}
}

// A change of a peer reaches another node at once, and a message none.
func TestNews(t *testing.T) {
	ctx := t.Context()
	at := storetest.Postgres(t)
	if os.Getenv("OGP_TEST_POOLER") != "" {
		t.Skip("NOT RUN: a pooler loses what is notified of")
	}
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
