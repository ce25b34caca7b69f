package sqlite

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// perStretch is how many places of log a stretch has. The order of time is all but that of
// the places, so that a page is in one stretch or two; and a message costs the writer
// nothing, while an index by time would cost it as much as the one by id does.
const perStretch = 1024

// stretch says between which times the messages from a place of log on are.
type stretch struct{ first, last, low, high int64 }

func emptyFrom(seq int64) stretch {
	return stretch{first: seq, low: math.MaxInt64, high: math.MinInt64}
}

func (x *stretch) stretch(at int64) { x.low, x.high = min(x.low, at), max(x.high, at) }

func (k classKey) ofMessages() bool { return k.status != classEvent && k.status != classReceipt }

// nextSeq gives a row of log its place, and ends the open stretch where it is long enough.
func (s *Store) nextSeq() (int64, error) {
	if open := s.index.open; s.index.seq-open.first >= perStretch-1 {
		if _, err := s.exec(putStretch, open.first, s.index.seq, open.low, open.high); err != nil {
			return 0, err
		}
		s.index.open = emptyFrom(s.index.seq + 1)
	}
	s.index.seq++
	return s.index.seq, nil
}

// restretch notes that a message that has its place already is at this time.
func (s *Store) restretch(seq, at int64) error {
	if seq >= s.index.open.first {
		s.index.open.stretch(at)
		return nil
	}
	n, err := s.exec(setStretch, seq, at)
	if err == nil && n == 0 { // nothing there was a message
		_, err = s.exec(putStretch, seq, seq, at, at)
	}
	return err
}

// pruneStretches forgets the stretches before a time that have no message any more, a few at
// a time.
func (s *Store) pruneStretches(ctx context.Context, cutoff int64) error {
	for after, n := int64(math.MinInt64), 32; n == 32; {
		r := &request{}
		n = 0
		err := s.search(ctx, oldStretches, []any{cutoff, after, 32}, func(row scanner) error {
			n++
			err := row.Scan(&after)
			r.add(dropStretch, after)
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

// oldStretches finds stretches from before a time, by their places.
const oldStretches = `SELECT first FROM stretches WHERE high < ?1 AND first > ?2 ORDER BY first LIMIT ?3`

// inStretches looks for messages from stretch to stretch, in the order of a filter. It stops
// when it has found enough, or, where most is not 0, has looked through so many stretches;
// done is false then.
func (s *Store) inStretches(ctx context.Context, tx *sql.Tx, f core.InboxFilter, below place, most int) (found []place, done bool, err error) {
	limit, since, sorted := rows.Limited(f.Limit), sinceNanos(f.Since), byTime(f.Oldest)
	look := func(first, last int64) error {
		args := []any{first, last, since, below.at, below.seq, string(f.Status), f.Intent}
		was := len(found)
		err := s.rows(ctx, tx, inStretch, args, func(row scanner) error {
			var p place
			err := row.Scan(&p.at, &p.seq)
			found = append(found, p)
			return err
		})
		slices.SortFunc(found[was:], sorted)
		if was > 0 && was < len(found) && sorted(found[was-1], found[was]) > 0 {
			slices.SortFunc(found, sorted)
		}
		found = found[:min(len(found), limit)]
		return err
	}
	var open int64
	if err := s.rows(ctx, tx, openStretch, nil, func(row scanner) error { return row.Scan(&open) }); err != nil {
		return nil, false, err
	}
	if err := look(open, math.MaxInt64); err != nil {
		return nil, false, err
	}
	var all []stretch
	err = s.rows(ctx, tx, either(f.Oldest, stretchesUp, stretchesDown), []any{below.at, since, either(most > 0, most+1, -1)}, func(row scanner) error {
		var x stretch
		err := row.Scan(&x.first, &x.last, &x.low, &x.high)
		all = append(all, x)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	for n, x := range all {
		if len(found) == limit {
			if last := found[limit-1].at; f.Oldest && last < x.low || !f.Oldest && last > x.high {
				return found, true, nil
			}
		}
		if most > 0 && n == most {
			return nil, false, nil
		}
		if err := look(x.first, x.last); err != nil {
			return nil, false, err
		}
	}
	return found, true, nil
}

// readOpen reads the open stretch from the file. Where the log cannot be read, its messages
// are at any time.
func (s *Store) readOpen(ctx context.Context) (stretch, error) {
	open := emptyFrom(0)
	if err := s.conn.QueryRowContext(ctx, `SELECT `+firstOpen).Scan(&open.first); err != nil {
		return open, err
	}
	var low, high sql.NullInt64
	err := s.conn.QueryRowContext(ctx, `SELECT min(l.at), max(l.at) FROM log l CROSS JOIN classes c ON c.id = l.class
		WHERE l.seq >= ? AND l.id IS NOT NULL AND c.status NOT IN ('', 'event')`, open.first).Scan(&low, &high)
	switch {
	case err != nil:
		open.low, open.high = math.MinInt64, math.MaxInt64
	case low.Valid:
		open.low, open.high = low.Int64, high.Int64
	}
	return open, nil
}

// firstOpen is where the open stretch begins.
const firstOpen = `(SELECT ifnull((SELECT last + 1 FROM stretches ORDER BY first DESC LIMIT 1), 1))`
