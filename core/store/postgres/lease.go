package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
)

// Shared says that other nodes may be at work on the same store.
func (s *Store) Shared() bool { return true }

// Node is what this node is called among those that share the database.
func (s *Store) Node() string { return s.node }

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
			WHERE leases.holder = excluded.holder OR leases.until < now() RETURNING fence`, name, s.node, ttl.Seconds()).Scan(&n)
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

// Leased is the fence under which a node has a lease now.
func (s *Store) Leased(ctx context.Context, name string) (core.Fence, error) {
	return one(ctx, &s.reader, "lease", name, func(row pgx.Rows) (core.Fence, error) {
		var n int64
		err := row.Scan(&n)
		return core.Fence{Name: name, N: uint64(n)}, err
	}, `SELECT fence FROM leases WHERE name = $1 AND until >= now()`, name)
}
