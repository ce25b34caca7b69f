package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// The database goes away and comes back: nothing is acknowledged meanwhile, Health says
// so, and all goes on by itself.
func TestConnectionLost(t *testing.T) {
	at := storetest.Postgres(t)
	s := open(t, at)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, storetest.PostgresServer(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for n := range 20 {
		if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ogp' AND pid <> pg_backend_pid()"); err != nil {
			t.Fatal(err)
		}
		key := string(rune('a' + n))
		err := s.Commit(ctx, &core.Change{Meta: map[string]string{key: "kept"}})
		if err != nil && !errors.Is(err, core.Unavailable) {
			t.Errorf("Commit = %v, want nil or Unavailable", err)
		}
		if _, found := s.Meta(ctx, key); err == nil && found != nil {
			if _, found = s.Meta(ctx, key); found != nil { // the first may have met the end of its own connection
				t.Errorf("what was acknowledged is not there: %v", found)
			}
		}
	}
	if err := s.Commit(ctx, &core.Change{Meta: map[string]string{"last": "kept"}}); err != nil {
		t.Errorf("Commit after that = %v, want nil", err)
	}
	if err := s.Health(); err != nil {
		t.Errorf("Health = %v, want nil", err)
	}
}

// A database that says nothing is noticed by what a node says of itself, with no message.
func TestSilentDatabase(t *testing.T) {
	at := storetest.Postgres(t)
	s := open(t, at)
	ctx := context.Background()
	if _, err := s.Beat(ctx, core.PublicKey{1}, "{}"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE nodes, head IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = s.Beat(ctx, core.PublicKey{1}, "{}")
	if took := time.Since(began); !errors.Is(err, core.Unavailable) || took > 15*time.Second {
		t.Errorf("Beat = %v after %v, want Unavailable within a few seconds", err, took)
	}
	if s.Health() == nil {
		t.Error("Health = nil while the database says nothing")
	}
	began = time.Now()
	_, err = s.Since(ctx, 1)
	if took := time.Since(began); !errors.Is(err, core.Unavailable) || took > 15*time.Second {
		t.Errorf("Since = %v after %v, want Unavailable within a few seconds", err, took)
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); s.Health() != nil; time.Sleep(10 * time.Millisecond) { // although nobody writes
		if time.Since(began) > time.Minute {
			t.Fatalf("a minute after the database speaks again: Health = %v", s.Health())
		}
	}
	if err := s.Commit(ctx, &core.Change{Meta: map[string]string{"last": "kept"}}); err != nil {
		t.Errorf("Commit after that = %v, want nil", err)
	}
}

// A database that is no replica any more, as after a failover, is as old as what is in it.
func TestCopyThatIsNone(t *testing.T) {
	at := storetest.Postgres(t)
	s := open(t, at)
	ctx := context.Background()
	c, err := postgres.OpenCopy(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if behind, err := c.Behind(ctx); err != nil || behind < time.Hour {
		t.Errorf("where no gateway ever was: %v, %v, want it far behind", behind, err)
	}
	if _, err := s.Beat(ctx, core.PublicKey{1}, "{}"); err != nil {
		t.Fatal(err)
	}
	if behind, err := c.Behind(ctx); err != nil || behind > 30*time.Second {
		t.Errorf("where one is: %v, %v, want it not behind", behind, err)
	}
	conn, err := pgx.Connect(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "UPDATE nodes SET seen = now() - interval '5 minutes'"); err != nil {
		t.Fatal(err)
	}
	if behind, err := c.Behind(ctx); err != nil || behind < 4*time.Minute {
		t.Errorf("5 minutes later: %v, %v, want it behind", behind, err)
	}
}

// A lease is one node's at a time, until it is given back or its time is over. What was
// made under it is refused from then on, also where its node has not noticed.
func TestFence(t *testing.T) {
	ctx := t.Context()
	at := storetest.Postgres(t)
	first := open(t, at)
	second := open(t, at)
	fence, err := first.Lease(ctx, "work", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Lease(ctx, "work", time.Minute); !errors.Is(err, core.Conflict) {
		t.Fatalf("Lease beside another node = %v, want Conflict", err)
	}
	if _, err := first.Lease(ctx, "work", 0); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(ctx, &core.Change{Meta: map[string]string{"by": "first"}, Fences: []core.Fence{fence}}); err != nil {
		t.Errorf("Commit under a lease whose time is over, and which nobody has taken = %v, want nil", err)
	}
	taken, err := second.Lease(ctx, "work", time.Minute)
	if err != nil || taken.N <= fence.N {
		t.Fatalf("Lease after its time = %v, %v, want a later fence than %v", taken, err, fence)
	}
	if err := first.Commit(ctx, &core.Change{Meta: map[string]string{"by": "nobody"}, Fences: []core.Fence{fence}}); !errors.Is(err, core.Moved) {
		t.Errorf("Commit under a lease that another has = %v, want Moved", err)
	}
	if _, err := first.Lease(ctx, "work", time.Minute); !errors.Is(err, core.Conflict) {
		t.Errorf("Lease of the node that was overtaken = %v, want Conflict", err)
	}
	if by, err := first.Meta(ctx, "by"); err != nil || by != "first" {
		t.Errorf("Meta = %q, %v, want what was kept under the lease", by, err)
	}
}
