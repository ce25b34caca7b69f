package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// pruneChunk is how many rows one turn of Prune deletes, so that commits come
// between.
const pruneChunk = 500

const (
	pruneLog = `WITH gone AS (DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE message = $3 AND at < $1
			AND NOT EXISTS (SELECT FROM deliveries d WHERE d.seq = log.seq AND NOT d.dead) ORDER BY at LIMIT $2) RETURNING seq),
		dead AS (DELETE FROM deliveries WHERE seq IN (SELECT seq FROM gone))
		SELECT count(*) FROM gone`
	pruneOutbox = `WITH gone AS (DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE ended < $1 ORDER BY ended LIMIT $2) RETURNING 1)
		SELECT count(*) FROM gone`
	pruneReplies = `WITH gone AS (DELETE FROM replies WHERE (nonce, peer, ours) IN
			(SELECT nonce, peer, ours FROM replies WHERE expires <> 0 AND expires < $1 ORDER BY expires LIMIT $2) RETURNING 1)
		SELECT count(*) FROM gone`
)

// Prune forgets what is older than the cutoffs, a few rows at a time: when it
// fails half-way, what is gone was allowed to go. A message or event that some
// notifier has yet to be told stays, and so does an outbox item that waits; the
// others of the outbox age from when they were done. With an event go its dead
// deliveries. A reply without an expiry stays. Receipts of one day go together.
func (s *Store) Prune(ctx context.Context, c core.Cutoffs) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	// Without them, receipts go where those go that have no part of their own.
	if err := s.makeDays(ctx, time.Now()); err != nil {
		return s.wrap("prune", err)
	}
	if !c.Receipts.IsZero() {
		if err := s.pruneReceipts(ctx, rows.Nanos(c.Receipts)); err != nil {
			return s.wrap("prune", err)
		}
	}
	for _, kind := range []struct {
		cutoff time.Time
		drop   string
		args   []any
	}{{c.Inbox, pruneLog, []any{true}}, {c.Events, pruneLog, []any{false}}, {c.Outbox, pruneOutbox, nil}, {c.Replies, pruneReplies, nil}} {
		if kind.cutoff.IsZero() {
			continue
		}
		if err := s.pruneAll(ctx, kind.drop, append([]any{rows.Nanos(kind.cutoff), pruneChunk}, kind.args...)...); err != nil {
			return s.wrap("prune", err)
		}
	}
	// By now every node that is heard of has forgotten them.
	if _, err := s.pool.Exec(ctx, `DELETE FROM peers WHERE gone < now() - interval '1 day'`); err != nil {
		return s.wrap("prune", err)
	}
	// Of the leases those to wait for one reply alone are of no use again.
	_, err := s.pool.Exec(ctx, `DELETE FROM leases WHERE name LIKE 'reply/%' AND until < now() - interval '1 day'`)
	return s.wrap("prune", err)
}

// pruneAll deletes one chunk after the other.
func (s *Store) pruneAll(ctx context.Context, drop string, args ...any) error {
	for {
		if n, err := s.prune(ctx, drop, args...); err != nil || n < pruneChunk {
			return err
		}
	}
}

// prune deletes a chunk, between two commits of any node.
func (s *Store) prune(ctx context.Context, drop string, args ...any) (n int64, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT seq FROM head FOR UPDATE"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, drop, args...).Scan(&n)
	})
	return n, err
}
