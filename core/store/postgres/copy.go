package postgres

import (
	"context"
	"time"
)

// Copy is a read replica of a Store's database. It is read, as by core.Store, and never
// written. Safe for concurrent use.
type Copy struct{ reader }

// OpenCopy names a read replica by its connection string. It connects when it is first
// read, so that one that is away keeps nobody from starting. The error is of kind
// Malformed. The caller closes it.
func OpenCopy(ctx context.Context, url string) (*Copy, error) {
	config, err := configOf(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = maxConns / 2
	r, err := connect(ctx, config, nil)
	if err != nil {
		return nil, err
	}
	return &Copy{r}, nil
}

// Behind is how far the replica is behind: the age of the last change that it has. Where
// gateways run there is one every few seconds. A database that is no replica, or none any
// more, is as old as what a gateway has last said of itself there.
func (c *Copy) Behind(ctx context.Context) (time.Duration, error) {
	var seconds float64
	err := c.pool.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery()
		THEN coalesce(greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())), 0)::float8
		ELSE greatest(0, (SELECT coalesce(extract(epoch FROM clock_timestamp() - max(seen)), 86400) FROM nodes))::float8 END`).Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), c.wrap("read", err)
}

// Close ends the connections.
func (c *Copy) Close() { c.pool.Close() }

// Name is the database without a secret.
func (c *Copy) Name() string { return c.name }
