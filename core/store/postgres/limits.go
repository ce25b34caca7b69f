package postgres

import (
	"context"
	"crypto/rand"
	"strings"
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

// counts has a batch judged by what was counted under a key.
func (k *kept) counts(key window.Key, limit *core.Limit) {
	k.limits[key] = max(k.limits[key], min(max(limit.Rate.Window(), limit.Size.Window()), core.MaxRateWindow))
}

// take counts a change, if nothing of that is too much.
func (k *kept) take(c *core.Change, r *receiptRow) (err error) {
	tokens := make([]window.Token, 0, 2)
	if c.Limit != nil && r != nil {
		var t window.Token
		t, err = k.windows.Take(window.Key{Peer: r.key.peer, Intent: r.intent}, *c.Limit, rows.FromNanos(r.at), int(r.bytes))
		tokens = append(tokens, t)
	}
	for i := 0; i < len(c.Uses) && err == nil; i++ {
		var t window.Token
		t, err = k.windows.Use(c.Uses[i])
		tokens = append(tokens, t)
	}
	if err != nil {
		for _, t := range tokens {
			t.Return()
		}
	}
	return err
}

// used makes the rows of uses: one is on the receipt of the message that the agent was notified of, each
// other has a row of its own among the receipts, under a nonce that nobody else can have.
func (p *prepared) used(uses []core.Use) {
	for _, u := range uses {
		switch {
		case u.Only:
		case p.receipt != nil && u.Peer == p.receipt.key.peer && u.Of == core.UseNotified+p.receipt.intent:
			p.receipt.notified = true
		default:
			p.uses = append(p.uses, &receiptRow{key: receiptKey{u.Peer, u.Of + "/" + rand.Text()}, at: rows.Nanos(u.At), intent: u.Of, bytes: int64(u.Bytes), answer: []byte{}})
		}
	}
}

// kindOf is where a key is counted in receipts: by intent, and whether those alone that the agent was notified of.
func kindOf(of string) (intent []byte, notified bool) {
	intent0, notified := strings.CutPrefix(of, core.UseNotified)
	return []byte(intent0), notified
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
		intent, notified := kindOf(key.Intent)
		c.add(key.Peer[:], intent, was.place, rows.Nanos(time.Now().Add(-was.back-core.ClockMargin)), notified, []byte(key.Intent))
	}
	args := make([]any, len(c))
	for i, list := range c {
		args[i] = list
	}
	b.Queue(`SELECT r.peer, w.name, r.at, r.bytes FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::boolean[], $6::bytea[]) w (peer, intent, place, since, notified, name),
		LATERAL (SELECT * FROM receipts WHERE peer = w.peer AND intent = w.intent AND place > w.place AND at > w.since AND (notified OR NOT w.notified)) r ORDER BY r.at`, args...).Query(func(found pgx.Rows) error {
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

// Uses counts what a peer was let send of an intent since a time, or uses of a name.
func (s *Store) Uses(ctx context.Context, peer core.PublicKey, intent string, since time.Time) (n int, bytes int64, err error) {
	type sum struct {
		n     int
		bytes int64
	}
	name, notified := kindOf(intent)
	all, err := listOf(ctx, &s.reader, "receipts", func(row pgx.Rows) (u sum, err error) {
		err = row.Scan(&u.n, &u.bytes)
		return u, err
	}, `SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM receipts WHERE peer = $1 AND intent = $2 AND at > $3 AND (notified OR NOT $4)`, peer[:], name, rows.Nanos(since), notified)
	if err != nil {
		return 0, 0, err
	}
	return all[0].n, all[0].bytes, nil
}
