package sqlite

import (
	"database/sql/driver"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// settling is what becomes of one event for one notifier: it is put, or nil: told.
type settling struct {
	notifier, event string
	put             *delivery
}

// delivery are the columns of a core.Delivery from attempts on.
type delivery struct {
	attempts, next int64
	dead           bool
	created        int64
	err, group     string
}

func newDelivery(d *core.Delivery) *delivery {
	return &delivery{int64(d.Attempts), rows.Nanos(d.Next), d.Dead, rows.Nanos(d.Created), d.Error, d.Group}
}

// fresh reports whether a delivery says no more than that its event is to be told, and
// perhaps in a call of its own: the event's own row then says it.
func (d *delivery) fresh(at int64, event string) bool {
	return *d == delivery{created: at} || *d == delivery{created: at, group: event}
}

// aloneMark is behind the name of a notifier, in the set of a row, that is told of the row's
// event in a call of its own.
const aloneMark = "\x01"

// untoldBy is what the row of an event says of a notifier that is yet to be told.
func untoldBy(name, event string, at int64) settling {
	d := &delivery{created: at}
	notifier, alone := strings.CutSuffix(name, aloneMark)
	if alone {
		d.group = event
	}
	return settling{notifier, event, d}
}

// compileDeliveries sorts a change's deliveries into those that rows say, and those
// that are settled by the writer.
func (r *request) compileDeliveries(c *core.Change) {
	if len(c.Deliveries)+len(c.Delivered) == 0 {
		return
	}
	type key struct{ notifier, event string }
	place := make(map[key]int, len(c.Deliveries)+len(c.Delivered))
	set := func(x settling) {
		k := key{x.notifier, x.event}
		if i, ok := place[k]; ok { // the last word counts
			r.settle[i] = x
			return
		}
		place[k] = len(r.settle)
		r.settle = append(r.settle, x)
	}
	for _, d := range c.Deliveries {
		set(settling{d.Notifier, d.EventID, newDelivery(d)})
	}
	for _, d := range c.Delivered {
		set(settling{d.Notifier, d.EventID, nil})
	}
	rows := make(map[string]*logRow, len(r.rows))
	for i := range r.rows {
		rows[r.rows[i].id] = &r.rows[i]
	}
	for _, d := range c.Deliveries {
		if rows[d.EventID] == nil && !slices.Contains(r.needs, d.EventID) {
			r.needs = append(r.needs, d.EventID)
		}
	}
	r.settle = slices.DeleteFunc(r.settle, func(x settling) bool {
		row := rows[x.event]
		if row == nil || x.put == nil || !x.put.fresh(row.at, row.id) {
			return false
		}
		row.tell = append(row.tell, x.notifier+either(x.put.group != "", aloneMark, ""))
		return true
	})
}

// settleAll settles deliveries, notifier by notifier.
func (s *Store) settleAll(all []settling) error {
	for len(all) > 0 {
		notifier, n := all[0].notifier, 1
		for n < len(all) && all[n].notifier == notifier {
			n++
		}
		if err := s.settle(notifier, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// settle writes down what became of events for one notifier. Its cursor moves up to
// the last of them; those in between that are yet to be told get rows in
// deliveries, so that none is above the cursor that has one there as well.
func (s *Store) settle(notifier string, all []settling) error {
	cursor := s.index.cursors[notifier] // 0: it has none, and no event has it in its set
	seqs, last, skipped, err := s.pending(notifier, cursor, all)
	if err != nil {
		return err
	}
	implicit := len(seqs)
	for _, x := range all {
		if _, ok := seqs[x.event]; ok {
			continue
		}
		// Notified before, or far behind others that are yet to be told.
		err := s.ask(seqByID, 2, func(row []driver.Value) error {
			seq, _ := row[0].(int64)
			seqs[x.event] = seq
			if seq > cursor && row[1] == int64(1) {
				last, skipped = max(last, seq), true
			}
			return nil
		}, x.event, notifier)
		if err != nil {
			return err
		}
	}
	if last > cursor {
		if skipped {
			if _, err := s.exec(spellOut, notifier, cursor, last); err != nil {
				return err
			}
		}
		if err := s.moveCursor(notifier, last); err != nil {
			return err
		}
	}
	for _, x := range all {
		seq, ok := seqs[x.event]
		var err error
		switch {
		case x.put != nil:
			d := x.put
			_, err = s.exec(putDelivery, notifier, seq, d.attempts, d.next, d.dead, d.created, d.err, d.group)
		case ok && (skipped || implicit < len(seqs)):
			_, err = s.exec(delDelivery, notifier, seq)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pending finds, from the cursor on, which of some events are yet to be told. last
// is the highest found; skipped says that others lie below it.
func (s *Store) pending(notifier string, cursor int64, all []settling) (seqs map[string]int64, last int64, skipped bool, err error) {
	seqs = make(map[string]int64, len(all))
	wanted := make(map[string]bool, len(all))
	for _, x := range all {
		wanted[x.event] = true
	}
	if _, known := s.index.cursors[notifier]; !known {
		return seqs, cursor, false, nil
	}
	others := 0
	look := func(seq int64, id string) error {
		if !wanted[id] {
			others++
			return nil
		}
		last, seqs[id] = seq, seq
		skipped = others > 0
		if len(seqs) == len(wanted) {
			return errEnough
		}
		return nil
	}
	if rows, ok := s.index.after(notifier, cursor); ok {
		for _, row := range rows {
			if look(row.seq, row.id) == errEnough {
				break
			}
		}
		return seqs, max(last, cursor), skipped, nil
	}
	err = s.ask(pendingFrom, 2, func(row []driver.Value) error {
		seq, _ := row[0].(int64)
		return look(seq, textOf(row[1]))
	}, notifier, max(cursor, s.index.floors[notifier]), int64(len(all)+64))
	if err == nil && len(seqs)+others == 0 {
		s.index.floors[notifier] = s.index.seq // what comes later is above
	}
	return seqs, max(last, cursor), skipped, err
}
