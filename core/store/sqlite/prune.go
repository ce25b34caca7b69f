package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// pruneChunk is how many rows one turn of Prune deletes, so that commits come
// between.
const pruneChunk = 500

// The queries of Prune go by a time of their own, from where the last chunk ended.
const (
	oldReceipts = `SELECT at, seq FROM log WHERE class = ?1 AND at < ?2 AND (at, seq) > (?3, ?4) AND hash IS NOT NULL ORDER BY at, seq LIMIT ?5`
	oldRows     = `SELECT at, seq FROM log WHERE class = ?1 AND at < ?2 AND (at, seq) > (?3, ?4) AND NOT ` + untold + ` ORDER BY at, seq LIMIT ?5`
	oldOutbox   = `SELECT ended, seq FROM outbox WHERE ended < ?2 AND (ended, seq) > (?3, ?4) AND ?1 = 0 ORDER BY ended, seq LIMIT ?5`
	oldReplies  = `SELECT expires, seq FROM replies WHERE expires <> 0 AND expires < ?2 AND (expires, seq) > (?3, ?4) AND ?1 = 0 ORDER BY expires, seq LIMIT ?5`
)

// Prune forgets what is older than the cutoffs, a few rows at a time: when it
// fails half-way, what is gone was allowed to go. A message or event that some
// notifier has yet to be told stays, and so does an outbox item that waits; the
// others of the outbox age from when they were done. With an event go its dead
// deliveries. A reply without an expiry stays.
func (s *Store) Prune(ctx context.Context, c core.Cutoffs) error {
	classes, err := s.classes(ctx)
	if err != nil {
		return s.wrap("prune", err)
	}
	for _, k := range classes {
		cutoff := c.Inbox
		if k.status == classEvent {
			cutoff = c.Events
		}
		if k.status != classEvent {
			err = s.pruneReceipts(ctx, k, c.Receipts)
		}
		if err == nil && k.status != classReceipt {
			err = s.pruneRows(ctx, k, cutoff)
		}
		if err != nil {
			return s.wrap("prune", err)
		}
	}
	for _, kind := range []struct {
		cutoff time.Time
		find   string
		drop   writeID
	}{{c.Outbox, oldOutbox, pruneOutbox}, {c.Replies, oldReplies, pruneReply}} {
		err := s.pruneEach(ctx, kind.find, 0, rows.NoTime, kind.cutoff, func(r *request, seq, cutoff int64) {
			r.add(kind.drop, seq, cutoff)
		})
		if err != nil {
			return s.wrap("prune", err)
		}
	}
	if !c.Inbox.IsZero() {
		if err := s.pruneStretches(ctx, rows.Nanos(c.Inbox)); err != nil {
			return s.wrap("prune", err)
		}
	}
	return s.wrap("prune", s.pruneClasses(ctx, len(classes)))
}

// pruneEach runs a query in chunks and has f fill the request of each row.
func (s *Store) pruneEach(ctx context.Context, find string, class, from int64, cutoff time.Time, f func(r *request, seq, cutoff int64)) error {
	if cutoff.IsZero() {
		return nil
	}
	at, seq := from, int64(rows.NoTime)
	for n := pruneChunk; n == pruneChunk; {
		r := &request{}
		n = 0
		err := s.search(ctx, find, []any{class, rows.Nanos(cutoff), at, seq, pruneChunk}, func(row scanner) error {
			n++
			err := row.Scan(&at, &seq)
			f(r, seq, rows.Nanos(cutoff))
			return err
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

// pruneReceipts forgets the old receipts of a class: rows of their own go, and those
// of messages lose them. What has been cleared is not looked at again.
func (s *Store) pruneReceipts(ctx context.Context, k classRow, cutoff time.Time) error {
	if cutoff.IsZero() || rows.Nanos(cutoff) <= k.cleared {
		return nil
	}
	found := false
	err := s.pruneEach(ctx, oldReceipts, k.id, k.cleared, cutoff, func(r *request, seq, cutoff int64) {
		found = true
		if k.status == classReceipt {
			r.add(pruneReceipt, seq, cutoff)
		} else {
			r.add(clearOld, seq, cutoff)
		}
	})
	if err != nil || k.status == classReceipt || !found {
		return err
	}
	// A change that came between may have brought one from before the cutoff.
	r := &request{}
	r.then = func() error {
		c := s.index.classes[k.classKey]
		if c == nil || c.id != k.id || c.cleared < k.cleared {
			return nil
		}
		left := rows.Nanos(cutoff)
		err := s.ask(firstReceipt, 1, func(row []driver.Value) error {
			left, _ = row[0].(int64)
			return nil
		}, k.id, k.cleared, left)
		if err != nil {
			return err
		}
		c.cleared = left
		_, err = s.exec(setCleared, left, k.id)
		return err
	}
	return s.submit(ctx, r)
}

// pruneRows forgets the old messages or events of a class. One whose receipt is
// still needed becomes that receipt.
func (s *Store) pruneRows(ctx context.Context, k classRow, cutoff time.Time) error {
	return s.pruneEach(ctx, oldRows, k.id, rows.NoTime, cutoff, func(r *request, seq, cutoff int64) {
		r.add(pruneRow, seq, cutoff)
		r.keepReceipt = append(r.keepReceipt, seq)
		r.add(pruneDead, seq)
		if r.then != nil {
			return
		}
		r.then = func() error {
			for _, seq := range r.keepReceipt {
				if err := s.keepReceipt(k, seq, cutoff); err != nil {
					return err
				}
			}
			return nil
		}
	})
}

func (s *Store) keepReceipt(k classRow, seq, cutoff int64) error {
	if k.status == classEvent {
		return nil
	}
	with, err := s.holds(hasReceipt, seq)
	if err != nil || !with {
		return err
	}
	c, err := s.class(classKey{k.peer, k.label, classReceipt})
	if err != nil {
		return err
	}
	if _, err := s.exec(pruneToReceipt, seq, cutoff, c.id); err != nil {
		return err
	}
	_, err = s.exec(pruneDead, seq)
	return err
}

// pruneClasses forgets classes without rows.
func (s *Store) pruneClasses(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	r := &request{}
	r.then = func() error {
		if n, err := s.exec(pruneClasses); err != nil || n == 0 {
			return err
		}
		return s.readIndex(context.Background())
	}
	return s.submit(ctx, r)
}
