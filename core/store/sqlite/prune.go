package sqlite

import (
	"context"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// pruneChunk is how many rows one turn of Prune deletes, so that commits come
// between.
const pruneChunk = 500

// aging are the kinds of row that Prune forgets. find gives the rowid and the key
// of those that may go, behind a rowid; drop forgets one.
var aging = []struct {
	cutoff func(core.Cutoffs) time.Time
	find   string
	drop   writeID
	tell   bool // rows of this kind have deliveries
}{
	{func(c core.Cutoffs) time.Time { return c.Inbox },
		`SELECT rowid, id FROM inbox WHERE at < ?1 AND rowid > ?2
			AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = inbox.id AND dead = 0) ORDER BY rowid LIMIT ?3`,
		pruneInbox, true},
	{func(c core.Cutoffs) time.Time { return c.Events },
		`SELECT rowid, id FROM events WHERE at < ?1 AND rowid > ?2
			AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = events.id AND dead = 0) ORDER BY rowid LIMIT ?3`,
		pruneEvent, true},
	{func(c core.Cutoffs) time.Time { return c.Outbox },
		`SELECT seq, seq FROM outbox WHERE ended < ?1 AND seq > ?2 ORDER BY ended LIMIT ?3`,
		pruneOutbox, false},
	{func(c core.Cutoffs) time.Time { return c.Replies },
		`SELECT seq, seq FROM replies WHERE expires <> 0 AND expires < ?1 AND ?2 IS NOT NULL ORDER BY expires LIMIT ?3`,
		pruneReply, false},
}

// Prune forgets what is older than the cutoffs, a few rows at a time: when it
// fails half-way, what is gone was allowed to go. A message or event that some
// notifier has yet to be told stays, and so does an outbox item that waits; the
// others of the outbox age from when they were done. With an event go its dead
// deliveries. A reply without an expiry stays.
func (s *Store) Prune(ctx context.Context, c core.Cutoffs) error {
	if err := s.pruneReceipts(ctx, c.Receipts); err != nil {
		return s.wrap("prune", err)
	}
	for _, kind := range aging {
		cutoff := kind.cutoff(c)
		if cutoff.IsZero() {
			continue
		}
		for last, n := int64(-1<<63), pruneChunk; n == pruneChunk; {
			r := &request{answer: make(chan struct{})}
			n = 0
			err := s.search(ctx, kind.find, []any{nanos(cutoff), last, pruneChunk}, func(row scanner) error {
				var key string
				n++
				if err := row.Scan(&last, &key); err != nil {
					return err
				}
				r.add(kind.drop, key, nanos(cutoff))
				if kind.tell {
					r.add(pruneDead, key)
				}
				return nil
			})
			if err == nil && n > 0 {
				err = s.submit(ctx, r)
			}
			if err != nil {
				return s.wrap("prune", err)
			}
		}
	}
	return nil
}

func (s *Store) pruneReceipts(ctx context.Context, cutoff time.Time) error {
	if cutoff.IsZero() {
		return nil
	}
	for n := pruneChunk; n == pruneChunk; {
		r := &request{answer: make(chan struct{})}
		n = 0
		err := s.search(ctx, `SELECT peer, nonce FROM letters INDEXED BY letters_at WHERE at < ? LIMIT ?`,
			[]any{nanos(cutoff), pruneChunk}, func(row scanner) error {
				var peer []byte
				var nonce string
				n++
				if err := row.Scan(&peer, &nonce); err != nil {
					return err
				}
				r.add(pruneReceipts, peer, nonce, nanos(cutoff))
				return nil
			})
		if err == nil && n > 0 {
			err = s.submit(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
