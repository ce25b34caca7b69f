package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// queued is a delivery as it is read, with the place of its event.
type queued struct {
	*core.Delivery
	seq int64
}

func byEvent(a, b queued) int {
	return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.Notifier, b.Notifier))
}

func bare(all []queued) []*core.Delivery {
	out := make([]*core.Delivery, len(all))
	for i, d := range all {
		out[i] = d.Delivery
	}
	return out
}

// scanDelivery reads deliveryColumns and logColumns.
func scanDelivery(row scanner) (queued, error) {
	var d core.Delivery
	var next, created int64
	var r logScan
	err := row.Scan(append([]any{&d.Notifier, &d.Attempts, &next, &d.Dead, &created, &d.Error, &d.Group}, r.into()...)...)
	if err != nil {
		return queued{}, err
	}
	d.Next, d.Created = rows.FromNanos(next), rows.FromNanos(created)
	return withEvent(&d, &r)
}

// scanPending reads whether an event that a notifier is yet to be told goes alone, and its
// logColumns.
func scanPending(row scanner, notifier string) (queued, error) {
	var r logScan
	var alone bool
	if err := row.Scan(append([]any{&alone}, r.into()...)...); err != nil {
		return queued{}, err
	}
	d, err := withEvent(&core.Delivery{Notifier: notifier, Created: rows.FromNanos(r.at)}, &r)
	if err == nil && alone {
		d.Group = d.EventID
	}
	return d, err
}

func withEvent(d *core.Delivery, r *logScan) (queued, error) {
	e, err := r.event()
	if err != nil {
		return queued{}, err
	}
	d.EventID, d.Event = e.ID, *e
	return queued{d, r.seq}, nil
}

// floor is from where to look for what a notifier is yet to be told: its cursor, or
// where a look has found nothing since. There is none for a notifier that no event
// was ever for.
func (s *Store) floor(ctx context.Context, tx *sql.Tx, notifier string) (seq int64, ok bool, err error) {
	err = s.rows(ctx, tx, cursorOf, []any{notifier}, func(row scanner) error {
		ok = true
		return row.Scan(&seq)
	})
	if v, found := s.floors.Load(notifier); found {
		seq = max(seq, v.(int64))
	}
	return seq, ok, err
}

// raiseFloor notes that all rows that a reader sees say nothing to a notifier: what
// comes later has a higher place.
func (s *Store) raiseFloor(ctx context.Context, tx *sql.Tx, notifier string) error {
	return s.rows(ctx, tx, highest, nil, func(row scanner) error {
		var seq int64
		err := row.Scan(&seq)
		s.floors.Store(notifier, seq)
		return err
	})
}

// pendingFor reads what a notifier is yet to be told by the rows of log.
func (s *Store) pendingFor(ctx context.Context, tx *sql.Tx, notifier string, above int64, limit int) (all []queued, err error) {
	from, ok, err := s.floor(ctx, tx, notifier)
	if err != nil || !ok {
		return nil, err
	}
	err = s.rows(ctx, tx, duePending, []any{notifier, max(from, above), limit}, func(row scanner) error {
		d, err := scanPending(row, notifier)
		all = append(all, d)
		return err
	})
	if err == nil && len(all) == 0 && above <= from {
		err = s.raiseFloor(ctx, tx, notifier)
	}
	return all, err
}

// DueDeliveries returns what a notifier is to be told now, in the order in which it
// was kept.
func (s *Store) DueDeliveries(ctx context.Context, notifier string, now time.Time, limit int) ([]*core.Delivery, error) {
	limit = rows.Limited(limit)
	var all []queued
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if all, err = s.dueRows(ctx, tx, notifier, now, limit); err != nil {
			return err
		}
		more, err := s.pendingFor(ctx, tx, notifier, rows.NoTime, limit)
		all = append(all, more...)
		return err
	})
	if err != nil {
		return nil, s.wrap("read deliveries", err)
	}
	slices.SortFunc(all, byEvent)
	return bare(all[:min(len(all), limit)]), nil
}

// dueRows reads the rows of deliveries that are due.
func (s *Store) dueRows(ctx context.Context, tx *sql.Tx, notifier string, now time.Time, limit int) (all []queued, err error) {
	many, n := max(manyDue, 2*limit), 0
	err = s.rows(ctx, tx, countDue, []any{notifier, rows.Nanos(now), many}, func(row scanner) error { return row.Scan(&n) })
	if err != nil || n == 0 {
		return nil, err
	}
	err = s.rows(ctx, tx, either(n < many, dueByTime, dueByEvent), []any{notifier, rows.Nanos(now), limit}, func(row scanner) error {
		d, err := scanDelivery(row)
		all = append(all, d)
		return err
	})
	return all, err
}

// NextDelivery returns when the notifier's earliest living delivery is due. One
// without a time is due since the epoch.
func (s *Store) NextDelivery(ctx context.Context, notifier string) (next time.Time, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		from, ok, err := s.floor(ctx, tx, notifier)
		if err != nil {
			return err
		}
		pending := false
		if ok {
			err = s.rows(ctx, tx, anyPending, []any{notifier, from}, func(row scanner) error { return row.Scan(&pending) })
			if err == nil && !pending {
				err = s.raiseFloor(ctx, tx, notifier)
			}
		}
		if err != nil || pending {
			next = rows.DueTime(0)
			return err
		}
		return s.rows(ctx, tx, nextDelivery, []any{notifier}, func(row scanner) error {
			var n int64
			err := row.Scan(&n)
			next = rows.DueTime(n)
			return err
		})
	})
	if err != nil {
		return time.Time{}, s.wrap("read queue", err)
	}
	return next, nil
}

// Deliveries returns deliveries by a filter, oldest event first.
func (s *Store) Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	f.Limit = rows.Limited(f.Limit)
	var all []queued
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		above, below := int64(rows.NoTime), int64(0)
		if f.After != "" {
			p, err := s.placeOf(ctx, tx, f.After)
			if err != nil {
				return err
			}
			above = p.seq
		}
		if f.EventID != "" {
			if err := s.rows(ctx, tx, placeOf, []any{f.EventID}, func(row scanner) error { return row.Scan(new(int64), &below) }); err != nil || below == 0 {
				return err
			}
			above, below = max(above, below-1), below+1
		}
		q, args := deliveriesQuery(f, above, below)
		if err := s.searchIn(ctx, tx, q, args, func(row scanner) error {
			d, err := scanDelivery(row)
			all = append(all, d)
			return err
		}); err != nil || f.Dead {
			return err
		}
		return s.allPending(ctx, tx, f, above, below, &all)
	})
	if err != nil {
		return nil, s.wrap("read deliveries", err)
	}
	slices.SortFunc(all, byEvent)
	return bare(all[:min(len(all), f.Limit)]), nil
}

// deliveriesQuery finds the rows of deliveries of a filter, above one place and, if
// below is not 0, below another.
func deliveriesQuery(f core.DeliveryFilter, above, below int64) (string, []any) {
	where, args := []string{"event > ?"}, []any{above}
	add := func(cond string, arg any) { where, args = append(where, cond), append(args, arg) }
	if below != 0 {
		add("event < ?", below)
	}
	if f.Notifier != "" {
		add("notifier = ?", f.Notifier)
	}
	index := either(f.Notifier != "", "", "deliveries_event")
	if f.Dead {
		where = append(where, "dead = 1") // as the index says it
		index = "deliveries_dead"
	}
	from := "deliveries"
	if index != "" {
		from += " INDEXED BY " + index
	}
	return "WITH d AS MATERIALIZED (SELECT * FROM " + from + conditions(where) + " ORDER BY event, notifier LIMIT ?) SELECT " +
		deliveryColumns + logColumns + withRows, append(args, f.Limit)
}

// allPending adds what notifiers are yet to be told by the rows of log.
func (s *Store) allPending(ctx context.Context, tx *sql.Tx, f core.DeliveryFilter, above, below int64, all *[]queued) error {
	names := []string{f.Notifier}
	if f.Notifier == "" {
		names = nil
		if err := s.rows(ctx, tx, allCursors, nil, func(row scanner) error {
			var name string
			var seq int64
			err := row.Scan(&name, &seq)
			names = append(names, name)
			return err
		}); err != nil {
			return err
		}
	}
	for _, name := range names {
		pending, err := s.pendingFor(ctx, tx, name, above, either(below != 0, 1, f.Limit))
		if err != nil {
			return err
		}
		for _, d := range pending {
			if below == 0 || d.seq < below {
				*all = append(*all, d)
			}
		}
	}
	return nil
}

// Depths returns the lengths of the queues.
func (s *Store) Depths(ctx context.Context, most int) (core.Depths, error) {
	d := core.Depths{DeliveriesByNotifier: map[string]int{}, DeadByName: map[string]int{}}
	limit := either(most > 0, most, -1) // negative: none
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := s.countInbox(ctx, tx, &d, limit); err != nil {
			return err
		}
		return s.countDeliveries(ctx, tx, &d, limit)
	})
	if most > 0 {
		d.UpTo(most)
	}
	return d, s.wrap("count", err)
}

func (s *Store) countInbox(ctx context.Context, tx *sql.Tx, d *core.Depths, limit int) error {
	err := s.rows(ctx, tx, countRows, []any{limit}, func(row scanner) error {
		var oldest sql.NullInt64
		err := row.Scan(&d.Receipts, &d.Outbox, &oldest)
		d.OldestOutbox = rows.FromNanos(oldest.Int64)
		return err
	})
	if err != nil {
		return err
	}
	for status, n := range map[any]*int{nil: &d.Inbox, string(core.InboxHeld): &d.InboxHeld} {
		if err := s.rows(ctx, tx, countMessages, []any{status, limit}, func(row scanner) error { return row.Scan(n) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) countDeliveries(ctx context.Context, tx *sql.Tx, d *core.Depths, limit int) error {
	var oldest int64
	living := func(notifier string, n int, created int64) {
		if n == 0 {
			return
		}
		if d.Deliveries == 0 || created < oldest {
			oldest = created
		}
		d.Deliveries += n
		d.DeliveriesByNotifier[notifier] += n
	}
	for _, list := range []queryID{deliveredTo, cursorNames} {
		var names []string
		if err := s.rows(ctx, tx, list, nil, func(row scanner) error {
			names = append(names, "")
			return row.Scan(&names[len(names)-1])
		}); err != nil {
			return err
		}
		for _, name := range names {
			query, args := countDeliveries, []any{name, limit}
			if list == cursorNames {
				from, _, err := s.floor(ctx, tx, name)
				if err != nil {
					return err
				}
				query, args = countPending, []any{name, from, limit}
			}
			if err := s.rows(ctx, tx, query, args, func(row scanner) error {
				var isDead bool
				var n int
				var created sql.NullInt64
				err := row.Scan(&isDead, &n, &created)
				if isDead {
					d.DeadDeliveries += n
					d.DeadByName[name] = n
				} else {
					living(name, n, created.Int64)
				}
				return err
			}); err != nil {
				return err
			}
		}
	}
	d.OldestDelivery = rows.FromNanos(oldest)
	return nil
}
