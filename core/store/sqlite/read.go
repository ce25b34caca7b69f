package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// defaultLimit is how many results a query has that names no limit.
const defaultLimit = 100

// queryID names a prepared statement of the readers.
type queryID uint8

const (
	allPeers queryID = iota
	oneReceipt
	receiptsSince
	oneInbox
	inboxAfter
	eventsAfter
	countDue
	dueByTime
	dueByEvent
	nextDelivery
	deadByEvent
	waitingPeers
	oneOutbox
	outboxByNonce
	allOutbox
	allOutboxDown
	outboxPage
	outboxPageDown
	outboxPeers
	nextOutbox
	dueOutbox
	oneReply
	ourReply
	oneMeta
	oneKV
	listKV
	numQueries
)

const (
	inboxColumns = `i.id, i.at, i.peer, i.status, i.intent, i.level, i.reason, i.sender, i.recipient, i.agent,
		i.nonce, i.sent, i.reply_to, i.conversation, i.project, i.alias, i.reply, i.payload, i.decided`

	deliveryColumns = `event, notifier, attempts, next, dead, created, error, grp`
	// withEvents adds to deliveries d the message or the event that each is of.
	withEvents = `SELECT d.*, ifnull(i.id, ''), ifnull(i.at, 0), i.peer, ifnull(i.status, ''), ifnull(i.intent, ''),
		ifnull(i.level, ''), ifnull(i.reason, ''), ifnull(i.sender, ''), ifnull(i.recipient, ''), ifnull(i.agent, ''),
		ifnull(i.nonce, ''), ifnull(i.sent, ''), ifnull(i.reply_to, ''), ifnull(i.conversation, ''), ifnull(i.project, ''),
		ifnull(i.alias, ''), i.reply, i.payload, i.decided, e.data
		FROM d LEFT JOIN inbox i ON i.id = d.event LEFT JOIN events e ON e.id = d.event ORDER BY d.event, d.notifier`

	// eachWaiting goes from peer to peer through the index, and not from envelope to
	// envelope.
	eachWaiting = `p (peer) AS (SELECT min(peer) FROM outbox WHERE state = 'waiting'
		UNION ALL SELECT (SELECT min(peer) FROM outbox WHERE state = 'waiting' AND peer > p.peer) FROM p WHERE p.peer IS NOT NULL)`

	// manyDue is where DueDeliveries goes another way. Few that are due are found
	// by their time and then sorted; when many are, walking all in the order of
	// their events meets enough of them soon.
	manyDue = 250
)

var queries = [numQueries]string{
	allPeers:      `SELECT data FROM peers ORDER BY key`,
	oneReceipt:    `SELECT at, intent, status, digest, answer FROM letters WHERE peer = ? AND nonce = ?`,
	receiptsSince: `SELECT peer, nonce, at, intent FROM letters INDEXED BY letters_at WHERE at >= ? ORDER BY at`,

	oneInbox:    `SELECT ` + inboxColumns + ` FROM inbox i WHERE i.id = ?`,
	inboxAfter:  `SELECT ` + inboxColumns + ` FROM inbox i WHERE i.id > ? ORDER BY i.id LIMIT ?`,
	eventsAfter: `SELECT data FROM events WHERE id > ? ORDER BY id LIMIT ?`,

	countDue: `SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_due
		WHERE notifier = ? AND dead = 0 AND next <= ? LIMIT ?)`,
	dueByTime: `WITH d AS MATERIALIZED (SELECT ` + deliveryColumns + ` FROM deliveries INDEXED BY deliveries_due
		WHERE notifier = ? AND dead = 0 AND next <= ? ORDER BY event LIMIT ?) ` + withEvents,
	dueByEvent: `WITH d AS MATERIALIZED (SELECT ` + deliveryColumns + ` FROM deliveries
		WHERE +notifier = ? AND +dead = 0 AND +next <= ? ORDER BY event LIMIT ?) ` + withEvents,
	deadByEvent: `WITH d AS MATERIALIZED (SELECT ` + deliveryColumns + ` FROM deliveries
		WHERE dead = 1 ORDER BY event, notifier LIMIT ?) ` + withEvents,
	nextDelivery: `SELECT next FROM deliveries WHERE notifier = ? AND dead = 0 ORDER BY next LIMIT 1`,

	oneOutbox:      `SELECT body, data FROM outbox WHERE id = ?`,
	outboxByNonce:  `SELECT body, data FROM outbox WHERE nonce = ? AND kind = 'message' ORDER BY id DESC LIMIT 1`,
	allOutbox:      `SELECT id FROM outbox WHERE id > ? AND id < ? ORDER BY id LIMIT ?`,
	allOutboxDown:  `SELECT id FROM outbox WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?`,
	outboxPage:     `SELECT id FROM outbox WHERE state = ? AND peer = ? AND id > ? AND id < ? ORDER BY id LIMIT ?`,
	outboxPageDown: `SELECT id FROM outbox WHERE state = ? AND peer = ? AND id > ? AND id < ? ORDER BY id DESC LIMIT ?`,
	outboxPeers: `WITH RECURSIVE p (peer) AS (SELECT min(peer) FROM outbox WHERE state = ?1
			UNION ALL SELECT (SELECT min(peer) FROM outbox WHERE state = ?1 AND peer > p.peer) FROM p WHERE p.peer IS NOT NULL)
		SELECT peer FROM p WHERE peer IS NOT NULL`,
	waitingPeers: `WITH RECURSIVE ` + eachWaiting + ` SELECT peer FROM p WHERE peer IS NOT NULL`,
	dueOutbox:    `SELECT body, data FROM outbox INDEXED BY outbox_due WHERE state = 'waiting' AND next <= ? ORDER BY id LIMIT ?`,
	nextOutbox:   `SELECT next FROM outbox INDEXED BY outbox_due WHERE state = 'waiting' ORDER BY next LIMIT 1`,

	oneReply: `SELECT data FROM replies WHERE nonce = ? AND peer = ? AND ours = 0`,
	ourReply: `SELECT data FROM replies WHERE nonce = ? AND ours = 1 ORDER BY at, peer LIMIT 1`,
	oneMeta:  `SELECT value FROM meta WHERE key = ?`,
	oneKV:    `SELECT value FROM kv WHERE plugin = ? AND key = ifnull(?, x'')`,
	listKV:   `SELECT key, length(value) FROM kv WHERE plugin = ?1 AND key >= ifnull(?2, x'') AND (?3 IS NULL OR key < ?3)`,
}

// lazyStmt is prepared when it is first needed, so that Open need not.
type lazyStmt struct {
	mu sync.Mutex
	st *sql.Stmt
}

func (s *Store) query(id queryID) (*sql.Stmt, error) {
	if s.isClosed() {
		return nil, errClosed
	}
	q := &s.queries[id]
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.st == nil {
		st, err := s.read.Prepare(queries[id])
		if err != nil {
			return nil, err
		}
		q.st = st
	}
	return q.st, nil
}

// short is a context for a query that ends soon by itself: watching for the end
// of a context would cost more than the query.
func short(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), ctx.Err()
}

// row reads at most one row. It returns sql.ErrNoRows for none.
func (s *Store) row(ctx context.Context, id queryID, args []any, into ...any) error {
	ctx, err := short(ctx)
	if err != nil {
		return err
	}
	st, err := s.query(id)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

// scanner is a row that can be read: *sql.Row or *sql.Rows.
type scanner interface{ Scan(...any) error }

// each calls f for every row.
func each(rows *sql.Rows, f func(scanner) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// rows runs a query within tx, or alone when tx is nil, and calls f for every row.
func (s *Store) rows(ctx context.Context, tx *sql.Tx, id queryID, args []any, f func(scanner) error) error {
	st, err := s.query(id)
	if err != nil {
		return err
	}
	if tx != nil {
		st = tx.StmtContext(ctx, st)
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return each(rows, f)
}

// view runs f with all its queries seeing one state.
func (s *Store) view(ctx context.Context, f func(context.Context, *sql.Tx) error) (err error) {
	if ctx, err = short(ctx); err != nil {
		return err
	}
	if s.isClosed() {
		return errClosed
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing was written
	return f(ctx, tx)
}

func decodeRow[T any](row scanner) (*T, error) {
	var data sql.RawBytes
	if err := row.Scan(&data); err != nil {
		return nil, err
	}
	return decode[T](data)
}

// one finds a value by its key, and says what it did not find.
func one[T any](ctx context.Context, s *Store, id queryID, what string, args ...any) (*T, error) {
	var data []byte
	if err := s.row(ctx, id, args, &data); err != nil {
		return nil, s.missing(err, what, args[0])
	}
	v, err := decode[T](data)
	return v, s.wrap("read "+what, err)
}

func (s *Store) missing(err error, what string, key any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return notFound("%s %q", what, key)
	}
	return s.wrap("read "+what, err)
}

// list reads all values that a query gives.
func list[T any](ctx context.Context, s *Store, id queryID, what string, args ...any) ([]*T, error) {
	ctx, err := short(ctx)
	if err != nil {
		return nil, err
	}
	var all []*T
	err = s.rows(ctx, nil, id, args, func(row scanner) error {
		v, err := decodeRow[T](row)
		all = append(all, v)
		return err
	})
	if err != nil {
		return nil, s.wrap("read "+what, err)
	}
	return all, nil
}

func limited(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return n
}

// Peers returns all peers, in the order of their keys.
func (s *Store) Peers(ctx context.Context) ([]*core.Peer, error) {
	return list[core.Peer](ctx, s, allPeers, "peers")
}

// Envelope finds what we answered to a peer's nonce.
func (s *Store) Receipt(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.Receipt, error) {
	l := &core.Receipt{Peer: peer, Nonce: nonce}
	var at int64
	var digest []byte
	err := s.row(ctx, oneReceipt, []any{peer[:], string(nonce)}, &at, &l.Intent, &l.Status, &digest, &l.Answer)
	if err != nil {
		return nil, s.missing(err, "envelope", nonce)
	}
	l.At = fromNanos(at)
	copy(l.Digest[:], digest)
	return l, nil
}

// EachReceipt calls f for every envelope since a time, oldest first. f may use the
// store.
func (s *Store) EachReceipt(ctx context.Context, since time.Time, f func(core.Receipt)) error {
	// The same few peers write again and again: an intent's text is made once.
	intents := map[string]string{}
	var peer, intent sql.RawBytes
	err := s.rows(ctx, nil, receiptsSince, []any{sinceNanos(since)}, func(row scanner) error {
		var l core.Receipt
		var at int64
		if err := row.Scan(&peer, (*string)(&l.Nonce), &at, &intent); err != nil {
			return err
		}
		copy(l.Peer[:], peer)
		l.At = fromNanos(at)
		name, ok := intents[string(intent)]
		if !ok && len(intents) < 1000 {
			name = string(intent)
			intents[name] = name
		} else if !ok {
			name = string(intent)
		}
		l.Intent = name
		f(l)
		return nil
	})
	return s.wrap("read envelopes", err)
}

// sinceNanos is nanos for a lower bound: no time lets all through.
func sinceNanos(t time.Time) int64 {
	if t.IsZero() {
		return -1 << 63
	}
	return nanos(t)
}

type inboxRow struct {
	m           core.InboxMessage
	at          int64
	peer, reply []byte
	payload     []byte
	decided     []byte
}

func (r *inboxRow) into() []any {
	b := &r.m.Message
	return []any{&r.m.ID, &r.at, &r.peer, (*string)(&r.m.Status), &b.Intent, &r.m.Level, &r.m.Reason, &b.From, &b.To, &b.ToAgent,
		(*string)(&b.Nonce), &b.Timestamp, &b.ReplyTo, &b.ConversationID, &b.ProjectID, &r.m.Alias, &r.reply, &r.payload, &r.decided}
}

func (r *inboxRow) message() (*core.InboxMessage, error) {
	r.m.At = fromNanos(r.at)
	copy(r.m.Peer[:], r.peer)
	r.m.Message.Payload = r.payload
	if r.reply != nil {
		reply, err := decode[core.Reply](r.reply)
		if err != nil {
			return nil, err
		}
		r.m.Reply = reply
	}
	if r.decided != nil {
		decided, err := decode[core.Decided](r.decided)
		if err != nil {
			return nil, err
		}
		r.m.Decided = decided
	}
	return &r.m, nil
}

func scanInbox(row scanner) (*core.InboxMessage, error) {
	var r inboxRow
	if err := row.Scan(r.into()...); err != nil {
		return nil, err
	}
	return r.message()
}

// Inbox returns messages by a filter.
func (s *Store) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	var where []string
	var args []any
	add := func(cond string, arg any) {
		where = append(where, cond)
		args = append(args, arg)
	}
	if !f.Peer.IsZero() {
		add("i.peer = ?", f.Peer[:])
	}
	switch f.Status {
	case "":
	case core.InboxHeld:
		where = append(where, "i.status = 'held'") // as the index says it
	default:
		add("i.status = ?", string(f.Status))
	}
	if f.Intent != "" {
		add("i.intent = ?", f.Intent)
	}
	if !f.Since.IsZero() {
		add("i.at >= ?", nanos(f.Since))
	}
	if f.Before != "" {
		add("i.id < ?", f.Before)
	}
	q := "SELECT " + inboxColumns + " FROM inbox i" + conditions(where) + " ORDER BY i.id"
	if !f.Oldest {
		q += " DESC"
	}
	var all []*core.InboxMessage
	err := s.search(ctx, q+" LIMIT ?", append(args, limited(f.Limit)), func(row scanner) error {
		m, err := scanInbox(row)
		all = append(all, m)
		return err
	})
	if err != nil {
		return nil, s.wrap("read inbox", err)
	}
	return all, nil
}

func conditions(where []string) string {
	if len(where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(where, " AND ")
}

// search runs a query that was put together. It may take long, so it ends with ctx.
func (s *Store) search(ctx context.Context, q string, args []any, f func(scanner) error) error {
	if s.isClosed() {
		return errClosed
	}
	rows, err := s.read.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	return each(rows, f)
}

// InboxMessage finds one message.
func (s *Store) InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	var r inboxRow
	if err := s.row(ctx, oneInbox, []any{id}, r.into()...); err != nil {
		return nil, s.missing(err, "inbox message", id)
	}
	m, err := r.message()
	return m, s.wrap("read inbox", err)
}

// messageEvent is the event that a kept message is.
func messageEvent(m *core.InboxMessage) core.Event {
	return core.Event{ID: m.ID, Type: core.EventMessage, At: m.At, Peer: m.Peer, Message: m}
}

// Events returns events with ids above after, oldest first, messages included.
func (s *Store) Events(ctx context.Context, after string, limit int) ([]*core.Event, error) {
	limit = limited(limit)
	var all []*core.Event
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		args := []any{after, limit}
		if err := s.rows(ctx, tx, eventsAfter, args, func(row scanner) error {
			e, err := decodeRow[core.Event](row)
			all = append(all, e)
			return err
		}); err != nil {
			return err
		}
		return s.rows(ctx, tx, inboxAfter, args, func(row scanner) error {
			m, err := scanInbox(row)
			if err != nil {
				return err
			}
			e := messageEvent(m)
			all = append(all, &e)
			return nil
		})
	})
	if err != nil {
		return nil, s.wrap("read events", err)
	}
	slices.SortFunc(all, func(a, b *core.Event) int { return strings.Compare(a.ID, b.ID) })
	return all[:min(len(all), limit)], nil
}

type deliveryRow struct {
	d             core.Delivery
	next, created int64
}

func (r *deliveryRow) into() []any {
	return []any{&r.d.EventID, &r.d.Notifier, &r.d.Attempts, &r.next, &r.d.Dead, &r.created, &r.d.Error, &r.d.Group}
}

// deliveries runs one of the queries that end in withEvents.
func (s *Store) deliveries(ctx context.Context, id queryID, args ...any) ([]*core.Delivery, error) {
	return s.readDeliveries(func(f func(scanner) error) error { return s.rows(ctx, nil, id, args, f) })
}

// Deliveries returns deliveries by a filter, oldest event first.
func (s *Store) Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	q, args := deliveriesQuery(f)
	return s.readDeliveries(func(each func(scanner) error) error { return s.search(ctx, q, args, each) })
}

func deliveriesQuery(f core.DeliveryFilter) (string, []any) {
	where, args := []string{"event > ?"}, []any{f.After}
	if f.EventID != "" {
		where, args = append(where, "event = ?"), append(args, f.EventID)
	}
	if f.Notifier != "" {
		where, args = append(where, "notifier = ?"), append(args, f.Notifier)
	}
	if f.Dead {
		where = append(where, "dead = 1") // as the index says it
	}
	return "WITH d AS MATERIALIZED (SELECT " + deliveryColumns + " FROM deliveries" + conditions(where) +
		" ORDER BY event, notifier LIMIT ?) " + withEvents, append(args, limited(f.Limit))
}

func (s *Store) readDeliveries(run func(func(scanner) error) error) ([]*core.Delivery, error) {
	var all []*core.Delivery
	err := run(func(row scanner) error {
		var d deliveryRow
		var m inboxRow
		var data sql.RawBytes
		if err := row.Scan(append(append(d.into(), m.into()...), &data)...); err != nil {
			return err
		}
		d.d.Next, d.d.Created = fromNanos(d.next), fromNanos(d.created)
		if data != nil {
			e, err := decode[core.Event](data)
			if err != nil {
				return err
			}
			d.d.Event = *e
		} else {
			message, err := m.message()
			if err != nil {
				return err
			}
			d.d.Event = messageEvent(message)
		}
		all = append(all, &d.d)
		return nil
	})
	if err != nil {
		return nil, s.wrap("read deliveries", err)
	}
	return all, nil
}

// DueDeliveries returns what a notifier is to be told now, oldest event first.
func (s *Store) DueDeliveries(ctx context.Context, notifier string, now time.Time, limit int) ([]*core.Delivery, error) {
	limit = limited(limit)
	many := max(manyDue, 2*limit)
	var n int
	if err := s.row(ctx, countDue, []any{notifier, nanos(now), many}, &n); err != nil {
		return nil, s.wrap("read deliveries", err)
	}
	switch {
	case n == 0:
		return nil, nil
	case n < many:
		return s.deliveries(context.WithoutCancel(ctx), dueByTime, notifier, nanos(now), limit)
	}
	return s.deliveries(context.WithoutCancel(ctx), dueByEvent, notifier, nanos(now), limit)
}

// NextDelivery returns when the notifier's earliest living delivery is due. One
// without a time is due since the epoch.
func (s *Store) NextDelivery(ctx context.Context, notifier string) (time.Time, error) {
	return s.next(ctx, nextDelivery, notifier)
}

// next reads the earliest time of a queue; no row is no time.
func (s *Store) next(ctx context.Context, id queryID, args ...any) (time.Time, error) {
	var n int64
	switch err := s.row(ctx, id, args, &n); {
	case errors.Is(err, sql.ErrNoRows):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, s.wrap("read queue", err)
	}
	return dueTime(n), nil
}

// DeadDeliveries returns what was given up, oldest event first.
func (s *Store) DeadDeliveries(ctx context.Context, limit int) ([]*core.Delivery, error) {
	ctx, err := short(ctx)
	if err != nil {
		return nil, err
	}
	return s.deliveries(ctx, deadByEvent, limited(limit))
}

// Meta finds a value by its key.
func (s *Store) Meta(ctx context.Context, key string) (string, error) {
	var value string
	if err := s.row(ctx, oneMeta, []any{key}, &value); err != nil {
		return "", s.missing(err, "meta", key)
	}
	return value, nil
}

// KV finds a value of a plugin's memory.
func (s *Store) KV(ctx context.Context, plugin, key string) ([]byte, error) {
	var value []byte
	if err := s.row(ctx, oneKV, []any{plugin, []byte(key)}, &value); err != nil {
		return nil, s.missing(err, "value", key)
	}
	if value == nil {
		value = []byte{}
	}
	return value, nil
}

// KVList returns the sizes of a plugin's values whose keys begin with prefix.
func (s *Store) KVList(ctx context.Context, plugin, prefix string) (map[string]int, error) {
	sizes := map[string]int{}
	err := s.rows(ctx, nil, listKV, []any{plugin, []byte(prefix), after(prefix)}, func(row scanner) error {
		var key string
		var size int
		if err := row.Scan(&key, &size); err != nil {
			return err
		}
		sizes[key] = size
		return nil
	})
	if err != nil {
		return nil, s.wrap("read values", err)
	}
	return sizes, nil
}

// after is the first key behind all that begin with prefix; nil: there is none.
func after(prefix string) []byte {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return b[:i+1]
		}
	}
	return nil
}

// Depths returns the lengths of the queues. It counts, so it is for people and
// metrics, not for every message.
func (s *Store) Depths(ctx context.Context) (core.Depths, error) {
	d := core.Depths{DeliveriesByNotifier: map[string]int{}, DeadByName: map[string]int{}}
	if s.isClosed() {
		return d, errClosed
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return d, s.wrap("count", err)
	}
	defer tx.Rollback() // nothing was written
	var oldestOutbox sql.NullInt64
	err = tx.QueryRowContext(ctx, `WITH RECURSIVE `+eachWaiting+`
		SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM inbox WHERE status = 'held'),
		(SELECT count(*) FROM letters), (SELECT count(*) FROM outbox WHERE state = 'waiting'),
		(SELECT created FROM outbox WHERE id = (
			SELECT min((SELECT min(id) FROM outbox WHERE state = 'waiting' AND peer = p.peer)) FROM p WHERE peer IS NOT NULL))`).
		Scan(&d.Inbox, &d.InboxHeld, &d.Receipts, &d.Outbox, &oldestOutbox)
	if err != nil {
		return d, s.wrap("count", err)
	}
	d.OldestOutbox = fromNanos(oldestOutbox.Int64)
	rows, err := tx.QueryContext(ctx, `SELECT notifier, dead, count(*), min(created) FROM deliveries GROUP BY notifier, dead`)
	if err != nil {
		return d, s.wrap("count", err)
	}
	oldest := int64(0)
	err = each(rows, func(row scanner) error {
		var notifier string
		var isDead bool
		var n int
		var created int64
		if err := row.Scan(&notifier, &isDead, &n, &created); err != nil {
			return err
		}
		if isDead {
			d.DeadDeliveries += n
			d.DeadByName[notifier] = n
			return nil
		}
		if d.Deliveries == 0 || created < oldest {
			oldest = created
		}
		d.Deliveries += n
		d.DeliveriesByNotifier[notifier] = n
		return nil
	})
	d.OldestDelivery = fromNanos(oldest)
	return d, s.wrap("count", err)
}
