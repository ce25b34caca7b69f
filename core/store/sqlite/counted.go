package sqlite

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// countedPage is how many rows are read at a time, so that no reader stands in the way of
// the log's being cleared for long.
const countedPage = 1000

// EachEvent calls f with what is counted of events of some types since a time, in the order
// in which they were kept. Messages are found by the stretches of the log, other events by
// their classes. f may use the store.
func (s *Store) EachEvent(ctx context.Context, since time.Time, types []core.EventType, f func(core.Counted)) error {
	err := s.eachEvent(ctx, since, types, func(e core.Counted) {
		if slices.Contains(types, e.Type) && !e.At.Before(since) {
			f(e)
		}
	})
	return s.wrap("read events", err)
}

func (s *Store) eachEvent(ctx context.Context, since time.Time, types []core.EventType, f func(core.Counted)) error {
	seqs, err := s.eventPlaces(ctx, since, types)
	if err != nil {
		return err
	}
	if !slices.Contains(types, core.EventMessage) {
		for page := range slices.Chunk(seqs, countedPage) {
			if _, _, err := s.countedPage(ctx, func(ctx context.Context, scan func(scanner) error) error {
				return s.these(ctx, nil, theseCounted, page, scan)
			}, f); err != nil {
				return err
			}
		}
		return nil
	}
	var from int64
	if err := s.row(ctx, firstStretch, []any{sinceNanos(since)}, &from); err != nil {
		return err
	}
	after, n := slices.Min(append(seqs, from))-1, countedPage
	for err == nil && n == countedPage {
		after, n, err = s.countedPage(ctx, func(ctx context.Context, scan func(scanner) error) error {
			return s.rows(ctx, nil, countedAfter, []any{after, countedPage}, scan)
		}, f)
	}
	return err
}

// eventPlaces are the places of events of some types since a time, in order, without
// messages.
func (s *Store) eventPlaces(ctx context.Context, since time.Time, types []core.EventType) (seqs []int64, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, t := range types {
			classes, err := s.classesLike(ctx, tx, nil, string(t), classEvent, -1)
			if err != nil {
				return err
			}
			for _, k := range classes {
				args := []any{k.id, sinceNanos(since), math.MaxInt64, math.MaxInt64, -1}
				if err := s.rows(ctx, tx, classUp, args, func(row scanner) error {
					var p place
					err := row.Scan(&p.at, &p.seq)
					seqs = append(seqs, p.seq)
					return err
				}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	slices.Sort(seqs)
	return seqs, err
}

// countedPage reads rows of countedColumns, and then calls f with each. It returns the last
// place, and how many there were.
func (s *Store) countedPage(ctx context.Context, read func(context.Context, func(scanner) error) error, f func(core.Counted)) (last int64, n int, err error) {
	if ctx, err = short(ctx); err != nil {
		return 0, 0, err
	}
	page := make([]core.Counted, 0, countedPage)
	var peer, label, status, data sql.RawBytes
	err = read(ctx, func(row scanner) error {
		var e core.Counted
		var at int64
		if err := row.Scan(&last, &at, &peer, &label, &status, &e.Conversation, &e.Hops, &e.Bytes, &data); err != nil {
			return err
		}
		e.At = rows.FromNanos(at)
		copy(e.Peer[:], peer)
		if string(status) == classEvent {
			whole, err := rows.Decode[core.Event](data)
			if err != nil {
				return err
			}
			e = whole.Counted()
		} else {
			e.Type, e.Intent, e.Status = core.EventMessage, string(label), core.InboxStatus(status)
		}
		page = append(page, e)
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	for _, e := range page {
		f(e)
	}
	return last, len(page), nil
}
