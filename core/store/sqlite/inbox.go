package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// logScan reads logColumns.
type logScan struct {
	seq, at              int64
	m                    core.InboxMessage
	peer, reply, decided []byte
	label, status        string
	data                 []byte
}

func (r *logScan) into() []any {
	b := &r.m.Message
	return []any{&r.seq, &r.m.ID, &r.at, &r.peer, &r.label, &r.status, (*string)(&b.Nonce), &r.m.Level, &r.m.Reason, &b.From,
		&b.To, &b.ToAgent, &b.Timestamp, &b.ReplyTo, &b.ConversationID, &b.ProjectID, &r.m.Alias, &b.Hops, &r.reply, &r.decided, &r.data}
}

func (r *logScan) message() (*core.InboxMessage, error) {
	m := r.m
	m.At, m.Status = rows.FromNanos(r.at), core.InboxStatus(r.status)
	copy(m.Peer[:], r.peer)
	m.Message.Intent, m.Message.Payload = r.label, r.data
	var err error
	if r.reply != nil {
		if m.Reply, err = rows.Decode[core.Reply](r.reply); err != nil {
			return nil, err
		}
	}
	if r.decided != nil {
		if m.Decided, err = rows.Decode[core.Decided](r.decided); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

func (r *logScan) event() (*core.Event, error) {
	if r.status == classEvent {
		return rows.Decode[core.Event](r.data)
	}
	m, err := r.message()
	if err != nil {
		return nil, err
	}
	return &core.Event{ID: m.ID, Type: core.EventMessage, At: m.At, Peer: m.Peer, Message: m}, nil
}

// place is where a row stands in the order of time.
type place struct{ at, seq int64 }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.at, q.at), cmp.Compare(p.seq, q.seq))
}

// Inbox returns messages by a filter. It takes the next ones of every class that the
// filter lets through, so that it never looks at one that it does not.
func (s *Store) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	var all []*core.InboxMessage
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		places, err := s.inboxPlaces(ctx, tx, f)
		if err != nil {
			return err
		}
		for _, p := range places {
			err := s.rows(ctx, tx, oneRow, []any{p.seq}, func(row scanner) error {
				var r logScan
				if err := row.Scan(r.into()...); err != nil {
					return err
				}
				m, err := r.message()
				all = append(all, m)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, s.wrap("read inbox", err)
	}
	return all, nil
}

// inboxPlaces finds the places of what a filter selects, in its order.
func (s *Store) inboxPlaces(ctx context.Context, tx *sql.Tx, f core.InboxFilter) ([]place, error) {
	below, err := s.placeBefore(ctx, tx, f.Before)
	if err != nil {
		return nil, err
	}
	var peer, status any
	if !f.Peer.IsZero() {
		peer = f.Peer[:]
	}
	if f.Status != "" {
		status = string(f.Status)
	}
	classes, err := s.classesLike(ctx, tx, peer, f.Intent, status)
	if err != nil {
		return nil, err
	}
	classes = slices.DeleteFunc(classes, func(k classRow) bool { return k.status == classEvent || k.status == classReceipt })
	limit := limited(f.Limit)
	sorted := func(p, q place) int {
		if f.Oldest {
			return p.compare(q)
		}
		return q.compare(p)
	}
	walk := func(k classRow, limit int) (places []place, err error) {
		args := []any{k.id, sinceNanos(f.Since), below.at, below.seq, limit}
		err = s.rows(ctx, tx, either(f.Oldest, classUp, classDown), args, func(row scanner) error {
			var p place
			err := row.Scan(&p.at, &p.seq)
			places = append(places, p)
			return err
		})
		return places, err
	}
	if len(classes) > limit { // only those with the first heads can have a part in it
		heads := make(map[int64]place, len(classes))
		for _, k := range classes {
			first, err := walk(k, 1)
			if err != nil {
				return nil, err
			}
			if len(first) > 0 {
				heads[k.id] = first[0]
			}
		}
		classes = slices.DeleteFunc(classes, func(k classRow) bool { _, ok := heads[k.id]; return !ok })
		slices.SortFunc(classes, func(a, b classRow) int { return sorted(heads[a.id], heads[b.id]) })
		classes = classes[:min(len(classes), limit)]
	}
	var places []place
	for _, k := range classes {
		more, err := walk(k, limit)
		if err != nil {
			return nil, err
		}
		places = append(places, more...)
	}
	slices.SortFunc(places, sorted)
	return places[:min(len(places), limit)], nil
}

// placeBefore is the place of an id, or right above that of the next lower id; no id
// is above all.
func (s *Store) placeBefore(ctx context.Context, tx *sql.Tx, id string) (place, error) {
	if id == "" {
		return place{math.MaxInt64, math.MaxInt64}, nil
	}
	found, p := false, place{rows.NoTime, rows.NoTime}
	scan := func(row scanner) error {
		found = true
		return row.Scan(&p.at, &p.seq)
	}
	if err := s.rows(ctx, tx, placeOf, []any{id}, scan); err != nil || found {
		return p, err
	}
	err := s.rows(ctx, tx, placeBelow, []any{id}, scan)
	if found {
		p.seq++
	}
	return p, err
}

// InboxMessage finds one message.
func (s *Store) InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	var r logScan
	err := s.row(ctx, oneRowByID, []any{id}, r.into()...)
	if err == nil && r.status == classEvent {
		err = sql.ErrNoRows
	}
	if err != nil {
		return nil, s.missing(err, "inbox message", id)
	}
	m, err := r.message()
	return m, s.wrap("read inbox", err)
}

// Events returns the events that were kept after the one of an id, oldest first,
// messages included.
func (s *Store) Events(ctx context.Context, after string, limit int) ([]*core.Event, error) {
	var all []*core.Event
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		p := place{}
		if after != "" {
			var err error
			if p, err = s.placeOf(ctx, tx, after); err != nil {
				return err
			}
		}
		return s.rows(ctx, tx, eventsAfter, []any{p.seq, limited(limit)}, func(row scanner) error {
			var r logScan
			if err := row.Scan(r.into()...); err != nil {
				return err
			}
			e, err := r.event()
			all = append(all, e)
			return err
		})
	})
	if err != nil {
		return nil, s.wrap("read events", err)
	}
	return all, nil
}

// placeOf is the place of an id, or of the next lower one.
func (s *Store) placeOf(ctx context.Context, tx *sql.Tx, id string) (p place, err error) {
	scan := func(row scanner) error { return row.Scan(&p.at, &p.seq) }
	if err := s.rows(ctx, tx, placeOf, []any{id}, scan); err != nil || p.seq != 0 {
		return p, err
	}
	err = s.rows(ctx, tx, placeBelow, []any{id}, scan)
	return p, err
}
