package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
	"github.com/opengatewayprotocol/ogp/core/window"
)

// counted says what the windows in memory have of one key: all since a time, up to a place.
// Nodes commit one after the other, and what others have let in has a later place: it is
// read in the transaction itself, so that each message is judged by all before it.
type counted struct {
	back  time.Duration // how far it went back when it was first read
	place int64
}

// uncount has a key read again from the beginning.
func (s *Store) uncount(key window.Key) {
	s.windows.Forget(key)
	delete(s.counted, key)
}

// count queues what brings the windows up to date that a batch is judged by.
func (s *Store) count(b *pgx.Batch, k *kept) {
	var c columns
	for key, back := range k.limits {
		was, ok := s.counted[key]
		if !ok || was.back < back {
			s.uncount(key)
			was = counted{back, 0}
		}
		s.counted[key] = was
		c.add(key.Peer[:], []byte(key.Intent), was.place, rows.Nanos(time.Now().Add(-was.back-clockMargin)))
	}
	args := make([]any, len(c))
	for i, list := range c {
		args[i] = list
	}
	b.Queue(`SELECT r.peer, r.intent, r.at, r.bytes FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[]) w (peer, intent, place, since),
		LATERAL (SELECT * FROM receipts WHERE peer = w.peer AND intent = w.intent AND place > w.place AND at > w.since) r ORDER BY r.at`, args...).Query(func(found pgx.Rows) error {
		return each(found, func() error {
			var peer, intent []byte
			var at, bytes int64
			err := found.Scan(&peer, &intent, &at, &bytes)
			if err == nil {
				s.windows.Count(window.Key{Peer: core.PublicKey(peer), Intent: string(intent)}, rows.FromNanos(at), int(bytes))
			}
			return err
		})
	})
}

// clockMargin is more than the clocks of nodes differ.
const clockMargin = time.Minute

// Uses counts what a peer was let send of an intent since a time.
func (s *Store) Uses(ctx context.Context, peer core.PublicKey, intent string, since time.Time) (n int, bytes int64, err error) {
	type sum struct {
		n     int
		bytes int64
	}
	all, err := listOf(ctx, s, "receipts", func(row pgx.Rows) (u sum, err error) {
		err = row.Scan(&u.n, &u.bytes)
		return u, err
	}, `SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM receipts WHERE peer = $1 AND intent = $2 AND at > $3`, peer[:], []byte(intent), rows.Nanos(since))
	if err != nil {
		return 0, 0, err
	}
	return all[0].n, all[0].bytes, nil
}
