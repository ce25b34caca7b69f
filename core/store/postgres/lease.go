package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	// leaseName is the lease to commit.
	leaseName = "commit"
	// leaseTime is how long a node that no longer answers keeps others waiting.
	leaseTime = 12 * time.Second
	// leaseEvery is how often the lease is renewed.
	leaseEvery = 3 * time.Second
)

// Lease takes a lease, or renews it, by the database's clock. Its holder is this node. It
// waits for the transactions that are under way under the lease.
func (s *Store) Lease(ctx context.Context, name string, ttl time.Duration) (core.Fence, error) {
	f := core.Fence{Name: name}
	if err := s.open(ctx); err != nil {
		return f, err
	}
	var n int64
	err := s.pool.QueryRow(ctx, `INSERT INTO leases (name, holder, fence, until) VALUES ($1, $2, 1, now() + make_interval(secs => $3))
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
			fence = CASE WHEN leases.holder = excluded.holder THEN leases.fence ELSE leases.fence + 1 END
			WHERE leases.holder = excluded.holder OR leases.until < now() RETURNING fence`, name, s.lease.holder, ttl.Seconds()).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		return f, core.Refusef(core.Conflict, "store: another node has the lease %q", name)
	}
	f.N = uint64(n)
	return f, s.wrap("lease", err)
}

// Release gives a lease back. Its fence is of no use from then on, to this node neither.
func (s *Store) Release(ctx context.Context, f core.Fence) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, `UPDATE leases SET until = '-infinity', fence = fence + 1 WHERE name = $1 AND fence = $2`, f.Name, int64(f.N))
	return s.wrap("release a lease", err)
}

// lease is the right of one node to commit. The database's clock counts.
type lease struct {
	holder string
	fence  int64

	stop sync.Once
	end  chan struct{}
	done chan struct{}
}

// take takes the lease. While its holder was not heard of for less than leaseTime, it waits
// for that to pass, or for the holder to renew it: then somebody else is at work, and the
// error is of kind Conflict.
func (l *lease) take(ctx context.Context, s *Store) error {
	l.end, l.done = make(chan struct{}), make(chan struct{})
	var last time.Time
	for {
		err := s.pool.QueryRow(ctx, `INSERT INTO leases (name, holder, fence, until) VALUES ($1, $2, 1, now() + make_interval(secs => $3))
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = leases.fence + 1, until = excluded.until
				WHERE leases.until < now() RETURNING fence`, leaseName, l.holder, leaseTime.Seconds()).Scan(&l.fence)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		var holder string
		var until time.Time
		err = s.pool.QueryRow(ctx, `SELECT holder, until FROM leases WHERE name = $1 AND until >= now()`, leaseName).Scan(&holder, &until)
		switch {
		case errors.Is(err, pgx.ErrNoRows): // it has just ended
			continue
		case err != nil:
			return err
		case !last.IsZero() && until.After(last):
			return &core.Error{Kind: core.Conflict, Public: "store: the database " + s.name + " is in use by another ogp, on " + holder,
				Hint: fmt.Sprintf("this one can take over when that one has ended, or has not been heard of for %v; start it again then", leaseTime)}
		}
		last = until
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(leaseEvery / 6):
		}
	}
}

// keep renews the lease until it is freed. What a node without it wants to keep is
// refused by the transaction itself.
func (l *lease) keep(s *Store) {
	defer close(l.done)
	ticker := time.NewTicker(leaseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.end:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
		tag, err := s.pool.Exec(ctx, `UPDATE leases SET until = now() + make_interval(secs => $3) WHERE name = $1 AND fence = $2`, leaseName, l.fence, leaseTime.Seconds())
		cancel()
		switch {
		case err != nil:
			s.writer.Feel(s.wrap("renew the lease", err))
		case tag.RowsAffected() == 0:
			s.writer.Feel(errOvertaken)
		}
	}
}

// free lets another node have the lease.
func (l *lease) free(s *Store) {
	if l.end == nil {
		return
	}
	l.stop.Do(func() {
		close(l.end)
		<-l.done
		ctx, cancel := context.WithTimeout(context.Background(), leaseEvery)
		defer cancel()
		// Where this fails, the lease ends by itself.
		_, _ = s.pool.Exec(ctx, `UPDATE leases SET until = now() - interval '1 second' WHERE name = $1 AND fence = $2`, leaseName, l.fence)
	})
}

// Shared says that other nodes may be at work on the same store.
func (s *Store) Shared() bool { return true }
