package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

const deliveryColumns = `SELECT d.notifier, d.attempts, d.next, d.dead, d.created, d.error, d.grp, l.message, l.data FROM `

func delivery(row pgx.Rows) (*core.Delivery, error) {
	var d core.Delivery
	var notifier, failed, group, data []byte
	var next, created int64
	var message bool
	if err := row.Scan(&notifier, &d.Attempts, &next, &d.Dead, &created, &failed, &group, &message, &data); err != nil {
		return nil, err
	}
	e, err := event(message, data)
	if err != nil {
		return nil, err
	}
	d.Notifier, d.Error, d.Group = string(notifier), string(failed), string(group)
	d.Next, d.Created, d.EventID, d.Event = rows.FromNanos(next), rows.FromNanos(created), e.ID, *e
	return &d, nil
}

// DueDeliveries returns what a notifier is to be told now, in the order in which it
// was kept.
func (r *reader) DueDeliveries(ctx context.Context, notifier string, now time.Time, limit int) ([]*core.Delivery, error) {
	// A fresh one, of which no time is named, is due whatever the clock says.
	return listOf(ctx, r, "deliveries", delivery, deliveryColumns+`deliveries d JOIN log l ON l.seq = d.seq
		WHERE d.notifier = $1 AND NOT d.dead AND (d.next = 0 OR d.next <= $2) ORDER BY d.seq LIMIT $3`, []byte(notifier), rows.Nanos(now), rows.Limited(limit))
}

// NextDelivery returns when the notifier's earliest living delivery is due. One
// without a time is due since the epoch.
func (r *reader) NextDelivery(ctx context.Context, notifier string) (time.Time, error) {
	all, err := listOf(ctx, r, "queue", func(row pgx.Rows) (n int64, err error) {
		err = row.Scan(&n)
		return n, err
	}, `SELECT next FROM deliveries WHERE notifier = $1 AND NOT dead ORDER BY next LIMIT 1`, []byte(notifier))
	if err != nil || len(all) == 0 {
		return time.Time{}, err
	}
	return rows.DueTime(all[0]), nil
}

// Deliveries returns deliveries by a filter, oldest event first.
func (r *reader) Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	var w where
	if f.After != "" {
		_, seq, _, err := r.place(ctx, f.After)
		if err != nil {
			return nil, r.wrap("read deliveries", err)
		}
		w.add("d.seq > ", seq)
	}
	if f.EventID != "" {
		w.add("l.id = ", []byte(f.EventID))
	}
	if f.Notifier != "" {
		w.add("d.notifier = ", []byte(f.Notifier))
	}
	if f.Dead {
		w.add("d.dead")
	}
	return listOf(ctx, r, "deliveries", delivery, deliveryColumns+`deliveries d JOIN log l ON l.seq = d.seq`+
		w.text()+` ORDER BY d.seq, d.notifier LIMIT `+w.arg(rows.Limited(f.Limit)), w.args...)
}

// Depths returns the lengths of the queues, all at one moment.
func (r *reader) Depths(ctx context.Context, most int) (core.Depths, error) {
	d := core.Depths{DeliveriesByNotifier: map[string]int{}, DeadByName: map[string]int{}}
	var limit *int // NULL: none
	if most > 0 {
		limit = &most
	}
	if err := r.open(ctx); err != nil {
		return d, err
	}
	err := pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var outbox *int64
		if err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM (SELECT 1 FROM log WHERE message LIMIT $1) t),
			(SELECT count(*) FROM (SELECT 1 FROM log WHERE message AND status = 'held' LIMIT $1) t),
			(SELECT count(*) FROM (SELECT 1 FROM receipts LIMIT $1) t), (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE state = 'waiting' LIMIT $1) t),
			(SELECT created FROM outbox WHERE state = 'waiting' ORDER BY id LIMIT 1)`, limit).Scan(&d.Inbox, &d.InboxHeld, &d.Receipts, &d.Outbox, &outbox); err != nil {
			return err
		}
		if outbox != nil {
			d.OldestOutbox = rows.FromNanos(*outbox)
		}
		return countDeliveries(ctx, tx, &d, limit)
	})
	if most > 0 {
		d.UpTo(most)
	}
	return d, r.wrap("count", err)
}

func countDeliveries(ctx context.Context, tx pgx.Tx, d *core.Depths, limit *int) error {
	found, err := tx.Query(ctx, `WITH RECURSIVE n (name) AS ((SELECT notifier FROM deliveries ORDER BY notifier LIMIT 1)
		UNION ALL SELECT (SELECT notifier FROM deliveries WHERE notifier > n.name ORDER BY notifier LIMIT 1) FROM n WHERE n.name IS NOT NULL)
		SELECT n.name, t.dead, count(*), min(t.created) FROM n, LATERAL (SELECT dead, created FROM deliveries WHERE notifier = n.name LIMIT $1) t
		WHERE n.name IS NOT NULL GROUP BY n.name, t.dead`, limit)
	if err != nil {
		return err
	}
	return each(found, func() error {
		var notifier []byte
		var dead bool
		var n int
		var created int64
		if err := found.Scan(&notifier, &dead, &n, &created); err != nil {
			return err
		}
		if dead {
			d.DeadDeliveries += n
			d.DeadByName[string(notifier)] = n
			return nil
		}
		if oldest := rows.FromNanos(created); d.Deliveries == 0 || oldest.Before(d.OldestDelivery) {
			d.OldestDelivery = oldest
		}
		d.Deliveries += n
		d.DeliveriesByNotifier[string(notifier)] += n
		return nil
	})
}
