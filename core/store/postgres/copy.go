package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/group"
)

// Copy is a read replica of a Store's database. It is read and never written. Safe for
// concurrent use.
type Copy struct{ s *Store }

// OpenCopy names a read replica by its connection string. It connects when it is first
// read, so that one that is away keeps nobody from starting. The error is of kind
// Malformed. The caller closes it.
func OpenCopy(ctx context.Context, url string) (*Copy, error) {
	config, err := configOf(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = maxConns / 2
	s := &Store{name: config.ConnConfig.Database + " at " + config.ConnConfig.Host, queue: group.New[*request]()}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, s.wrap("open", err)
	}
	return &Copy{s}, nil
}

// Behind is how far the replica is behind: the age of the last change that it has. Where
// gateways run there is one every few seconds. A database that is no replica, or none any
// more, is as old as what a gateway has last said of itself there.
func (c *Copy) Behind(ctx context.Context) (time.Duration, error) {
	var seconds float64
	err := c.s.pool.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery()
		THEN coalesce(greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())), 0)::float8
		ELSE greatest(0, (SELECT coalesce(extract(epoch FROM clock_timestamp() - max(seen)), 86400) FROM nodes))::float8 END`).Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), c.s.wrap("read", err)
}

// Close ends the connections.
func (c *Copy) Close() { c.s.pool.Close() }

// Name is the database without a secret.
func (c *Copy) Name() string { return c.s.name }

// The methods below are those of core.Store.

func (c *Copy) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	return c.s.Inbox(ctx, f)
}

func (c *Copy) InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	return c.s.InboxMessage(ctx, id)
}

func (c *Copy) Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error) {
	return c.s.Outbox(ctx, f)
}

func (c *Copy) OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error) {
	return c.s.OutboxItem(ctx, id)
}

func (c *Copy) Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error) {
	return c.s.Reply(ctx, peer, nonce)
}

func (c *Copy) Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	return c.s.Deliveries(ctx, f)
}

func (c *Copy) Depths(ctx context.Context, most int) (core.Depths, error) {
	return c.s.Depths(ctx, most)
}

func (c *Copy) Meta(ctx context.Context, key string) (string, error) { return c.s.Meta(ctx, key) }
