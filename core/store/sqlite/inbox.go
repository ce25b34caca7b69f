package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"strconv"

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

// byTime compares places in the order of a filter.
func byTime(oldest bool) func(p, q place) int {
	if oldest {
		return place.compare
	}
	return func(p, q place) int { return q.compare(p) }
}

// Inbox returns messages by a filter.
func (s *Store) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	var all []*core.InboxMessage
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		places, err := s.inboxPlaces(ctx, tx, f)
		if err != nil {
			return err
		}
		seqs := make([]int64, len(places))
		for i, p := range places {
			seqs[i] = p.seq
		}
		all = make([]*core.InboxMessage, 0, len(places))
		return s.these(ctx, tx, theseRows, seqs, func(row scanner) error {
			var r logScan
			if err := row.Scan(r.into()...); err != nil {
				return err
			}
			m, err := r.message()
			all = append(all, m)
			return err
		})
	})
	if err != nil {
		return nil, s.wrap("read inbox", err)
	}
	return all, nil
}

// these reads rows by their places, in the order of the list.
func (s *Store) these(ctx context.Context, tx *sql.Tx, id queryID, seqs []int64, f func(scanner) error) error {
	list := []byte("[")
	for i, seq := range seqs {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendInt(list, seq, 10)
	}
	return s.rows(ctx, tx, id, []any{string(append(list, ']'))}, f)
}

const (
	// fewClasses are asked each for what they have.
	fewClasses = 64
	// someStretches is how far back is looked before it is asked which of many classes has
	// anything.
	someStretches = 4
)

// inboxPlaces finds the places of what a filter selects, in its order: by time, or by the
// classes that the filter lets through, whichever looks at less.
func (s *Store) inboxPlaces(ctx context.Context, tx *sql.Tx, f core.InboxFilter) ([]place, error) {
	below, err := s.placeBefore(ctx, tx, f.Before)
	if err != nil {
		return nil, err
	}
	if f.Peer.IsZero() && f.Status == "" && f.Intent == "" {
		places, _, err := s.inStretches(ctx, tx, f, below, 0)
		return places, err
	}
	var peer, status any
	most := fewClasses + 1
	if !f.Peer.IsZero() {
		peer, most = f.Peer[:], -1
	}
	if f.Status != "" {
		status = string(f.Status)
	}
	classes, err := s.classesLike(ctx, tx, peer, f.Intent, status, most)
	if err != nil {
		return nil, err
	}
	many := len(classes) == most // there may be more
	classes = slices.DeleteFunc(classes, func(k classRow) bool { return !k.ofMessages() })
	if many {
		places, done, err := s.inStretches(ctx, tx, f, below, someStretches)
		if err != nil || done {
			return places, err
		}
		if classes, err = s.firstClasses(ctx, tx, f, below); err != nil {
			return nil, err
		}
	}
	limit := rows.Limited(f.Limit)
	var places []place
	for _, k := range classes {
		args := []any{k.id, sinceNanos(f.Since), below.at, below.seq, limit}
		err := s.rows(ctx, tx, either(f.Oldest, classUp, classDown), args, func(row scanner) error {
			var p place
			err := row.Scan(&p.at, &p.seq)
			places = append(places, p)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(places, byTime(f.Oldest))
	return places[:min(len(places), limit)], nil
}

// firstClasses are the classes that can have a part in a page of a filter: those whose first
// messages are the first of all.
func (s *Store) firstClasses(ctx context.Context, tx *sql.Tx, f core.InboxFilter, below place) ([]classRow, error) {
	type head struct{ id, at int64 }
	var heads []head
	args := []any{sinceNanos(f.Since), below.at, below.seq, string(f.Status), f.Intent}
	err := s.rows(ctx, tx, either(f.Oldest, headsUp, headsDown), args, func(row scanner) error {
		var id int64
		var at sql.NullInt64
		err := row.Scan(&id, &at)
		if at.Valid {
			heads = append(heads, head{id, at.Int64})
		}
		return err
	})
	slices.SortFunc(heads, func(a, b head) int { return either(f.Oldest, 1, -1) * cmp.Compare(a.at, b.at) })
	limit, classes := rows.Limited(f.Limit), []classRow(nil)
	for i, h := range heads {
		if i >= limit && h.at != heads[i-1].at {
			break
		}
		classes = append(classes, classRow{id: h.id})
	}
	return classes, err
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
		return s.rows(ctx, tx, eventsAfter, []any{p.seq, rows.Limited(limit)}, func(row scanner) error {
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
