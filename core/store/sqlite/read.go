package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// defaultLimit is how many results a query has that names no limit.
const defaultLimit = 100

// queryID names a prepared statement of the readers.
type queryID uint8

const (
	allPeers queryID = iota
	oneReceipt
	receiptsSince
	classesLike
	classesOf
	headsDown
	headsUp
	openStretch
	stretchesDown
	stretchesUp
	inStretch
	theseRows
	oneRowByID
	placeOf
	placeBelow
	classDown
	classUp
	eventsAfter
	cursorOf
	highest
	countDue
	dueByTime
	dueByEvent
	duePending
	nextDelivery
	anyPending
	waitingPeers
	oneOutbox
	outboxByNonce
	allOutbox
	allOutboxDown
	outboxPage
	outboxPageDown
	outboxFailed
	outboxFailedDown
	outboxSome
	outboxSomeDown
	outboxHeads
	outboxHeadsDown
	theseOutbox
	oneReply
	ourReply
	oneMeta
	oneKV
	listKV
	countRows
	countMessages
	countDeliveries
	countPending
	deliveredTo
	cursorNames
	allCursors
	numQueries
)

const (
	// logColumns are those of a message or an event, which scanRow reads.
	logColumns = `l.seq, l.id, l.at, c.peer, c.label, c.status, ifnull(l.nonce, ''), ifnull(l.level, ''), ifnull(l.reason, ''), ifnull(l.sender, ''),
		ifnull(l.recipient, ''), ifnull(l.agent, ''), ifnull(l.sent, ''), ifnull(l.reply_to, ''), ifnull(l.conversation, ''),
		ifnull(l.project, ''), ifnull(l.alias, ''), ifnull(l.hops, ''), l.reply, l.decided, l.data`
	fromLog = ` FROM log l JOIN classes c ON c.id = l.class `

	heads   = `SELECT id, (SELECT at FROM log WHERE class = classes.id AND at >= ?1 AND (at, seq) < (?2, ?3) ORDER BY at `
	headsOf = `status NOT IN ('', 'event') AND (?4 = '' OR status = ?4) AND (?5 = '' OR label = ?5)`

	failed        = `SELECT id, seq FROM outbox WHERE state IN ('refused', 'expired') AND state = ?1 AND id > ?2 AND id < ?3 `
	outboxHeadsOf = `WITH RECURSIVE p (peer) AS (SELECT min(peer) FROM outbox WHERE state = ?1
			UNION ALL SELECT (SELECT min(peer) FROM outbox WHERE state = ?1 AND peer > p.peer) FROM p WHERE p.peer IS NOT NULL)
		SELECT peer, (SELECT id FROM outbox WHERE state = ?1 AND peer = p.peer AND id > ?2 AND id < ?3 `

	deliveryColumns = `d.notifier, d.attempts, d.next, d.dead, d.created, d.error, d.grp, `
	withRows        = ` FROM d JOIN log l ON l.seq = d.event JOIN classes c ON c.id = l.class ORDER BY d.event, d.notifier`

	// hasInSet says that a row of log is for a notifier.
	hasInSet = `tell IN (SELECT id FROM tells WHERE notifier = ?1)`

	// eachWaiting goes from peer to peer through the index, and not from envelope to
	// envelope.
	eachWaiting = `p (peer) AS (SELECT min(peer) FROM outbox WHERE state = 'waiting'
		UNION ALL SELECT (SELECT min(peer) FROM outbox WHERE state = 'waiting' AND peer > p.peer) FROM p WHERE p.peer IS NOT NULL)`

	// manyDue is where DueDeliveries goes another way. Few that are due are found
	// by their time and then sorted; when many are, walking all in the order of
	// their events meets enough of them soon.
	manyDue = 250
)

// eachHash goes through an index alone.
const eachHash = `SELECT hash FROM log INDEXED BY log_hash WHERE hash IS NOT NULL`

var queries = [numQueries]string{
	allPeers: `SELECT data FROM peers ORDER BY key`,
	oneReceipt: `SELECT l.at, c.label, l.answered, l.digest, l.answer FROM log l JOIN classes c ON c.id = l.class
		WHERE l.hash IN (?1, ?1 + 1) AND l.nonce = ?2 AND c.peer = ?3`,
	receiptsSince: `SELECT nonce, at, bytes FROM (SELECT nonce, at, ifnull(length(data), 0) AS bytes FROM log WHERE class = ? AND at >= ? AND hash IS NOT NULL
		ORDER BY at DESC LIMIT ?) ORDER BY at`,

	// Zero-length or NULL values select all.
	classesLike: `SELECT id, peer, label, status, cleared FROM classes
		WHERE (?1 IS NULL OR peer = ?1) AND (?2 = '' OR label = ?2) AND (?3 IS NULL OR status = ?3) ORDER BY id`,
	classesOf: `SELECT id, peer, label, status, cleared FROM classes WHERE peer = ?1 AND (?2 = '' OR label = ?2) AND (?3 IS NULL OR status = ?3)`,
	// What is the first of each class, for a filter that lets many classes through.
	headsDown: heads + `DESC LIMIT 1) FROM classes WHERE ` + headsOf,
	headsUp:   heads + `LIMIT 1) FROM classes WHERE ` + headsOf,

	openStretch:   `SELECT ` + firstOpen,
	stretchesDown: `SELECT first, last, low, high FROM stretches WHERE +low <= ?1 AND high >= ?2 ORDER BY high DESC LIMIT ?3`,
	stretchesUp:   `SELECT first, last, low, high FROM stretches WHERE low <= ?1 AND +high >= ?2 ORDER BY low LIMIT ?3`,
	inStretch: `SELECT l.at, l.seq FROM log l CROSS JOIN classes c ON c.id = l.class WHERE l.seq BETWEEN ?1 AND ?2 AND l.id IS NOT NULL
		AND l.at >= ?3 AND (l.at, l.seq) < (?4, ?5) AND c.status NOT IN ('', 'event') AND (?6 = '' OR c.status = ?6) AND (?7 = '' OR c.label = ?7)`,
	theseRows: `SELECT ` + logColumns + ` FROM json_each(?) j CROSS JOIN log l ON l.seq = j.value CROSS JOIN classes c ON c.id = l.class`,

	oneRowByID: `SELECT ` + logColumns + fromLog + `WHERE l.id = ?`,
	placeOf:    `SELECT at, seq FROM log WHERE id = ?`,
	placeBelow: `SELECT at, seq FROM log WHERE id < ? ORDER BY id DESC LIMIT 1`,
	classDown:  `SELECT at, seq FROM log WHERE class = ?1 AND at >= ?2 AND (at, seq) < (?3, ?4) ORDER BY at DESC, seq DESC LIMIT ?5`,
	classUp:    `SELECT at, seq FROM log WHERE class = ?1 AND at >= ?2 AND (at, seq) < (?3, ?4) ORDER BY at, seq LIMIT ?5`,

	eventsAfter: `SELECT ` + logColumns + fromLog + `WHERE l.seq > ? AND l.id IS NOT NULL ORDER BY l.seq LIMIT ?`,

	cursorOf: `SELECT seq FROM cursors WHERE notifier = ?`,
	highest:  `SELECT ifnull(max(seq), 0) FROM log`,
	countDue: `SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_due
		WHERE notifier = ? AND dead = 0 AND next <= ? LIMIT ?)`,
	dueByTime: `WITH d AS MATERIALIZED (SELECT * FROM deliveries INDEXED BY deliveries_due
		WHERE notifier = ? AND dead = 0 AND next <= ? ORDER BY event LIMIT ?) SELECT ` + deliveryColumns + logColumns + withRows,
	dueByEvent: `WITH d AS MATERIALIZED (SELECT * FROM deliveries
		WHERE notifier = ? AND +dead = 0 AND +next <= ? ORDER BY event LIMIT ?) SELECT ` + deliveryColumns + logColumns + withRows,
	duePending:   `SELECT ` + logColumns + fromLog + `WHERE l.seq > ?2 AND l.` + hasInSet + ` ORDER BY l.seq LIMIT ?3`,
	nextDelivery: `SELECT next FROM deliveries WHERE notifier = ? AND dead = 0 ORDER BY next LIMIT 1`,
	anyPending:   `SELECT EXISTS (SELECT 1 FROM log WHERE seq > ?2 AND ` + hasInSet + `)`,

	waitingPeers:     `WITH RECURSIVE ` + eachWaiting + ` SELECT peer FROM p WHERE peer IS NOT NULL`,
	oneOutbox:        `SELECT body, data FROM outbox WHERE id = ?`,
	outboxByNonce:    `SELECT body, data FROM outbox WHERE nonce = ? AND kind = 'message' ORDER BY id DESC LIMIT 1`,
	allOutbox:        `SELECT id, seq FROM outbox WHERE id > ? AND id < ? ORDER BY id LIMIT ?`,
	allOutboxDown:    `SELECT id, seq FROM outbox WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?`,
	outboxPage:       `SELECT id, seq FROM outbox WHERE state = ? AND peer = ? AND id > ? AND id < ? ORDER BY id LIMIT ?`,
	outboxPageDown:   `SELECT id, seq FROM outbox WHERE state = ? AND peer = ? AND id > ? AND id < ? ORDER BY id DESC LIMIT ?`,
	outboxFailed:     failed + `ORDER BY id LIMIT ?4`,
	outboxFailedDown: failed + `ORDER BY id DESC LIMIT ?4`,
	outboxSome:       `SELECT id, seq, state = ?1 FROM outbox WHERE id > ?2 AND id < ?3 ORDER BY id LIMIT ?4`,
	outboxSomeDown:   `SELECT id, seq, state = ?1 FROM outbox WHERE id > ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4`,
	// What is the first of each peer's queue.
	outboxHeads:     outboxHeadsOf + `ORDER BY id LIMIT 1) FROM p WHERE peer IS NOT NULL`,
	outboxHeadsDown: outboxHeadsOf + `ORDER BY id DESC LIMIT 1) FROM p WHERE peer IS NOT NULL`,
	theseOutbox:     `SELECT o.body, o.data FROM json_each(?) j CROSS JOIN outbox o ON o.seq = j.value`,

	oneReply: `SELECT data FROM replies WHERE nonce = ? AND peer = ? AND ours = 0`,
	ourReply: `SELECT data FROM replies WHERE nonce = ? AND ours = 1 ORDER BY at, peer LIMIT 1`,
	oneMeta:  `SELECT value FROM meta WHERE key = ?`,
	oneKV:    `SELECT value FROM kv WHERE plugin = ? AND key = ifnull(?, x'')`,
	listKV:   `SELECT key, length(value) FROM kv WHERE plugin = ?1 AND key >= ifnull(?2, x'') AND (?3 IS NULL OR key < ?3)`,

	// These count, and so walk an index; doctor and metrics ask.
	countRows: `WITH RECURSIVE ` + eachWaiting + `
		SELECT (SELECT count(*) FROM (SELECT 1 FROM log INDEXED BY log_hash WHERE hash IS NOT NULL LIMIT ?1)),
			(SELECT count(*) FROM (SELECT 1 FROM outbox WHERE state = 'waiting' LIMIT ?1)),
			(SELECT created FROM outbox WHERE id = (
				SELECT min((SELECT min(id) FROM outbox WHERE state = 'waiting' AND peer = p.peer)) FROM p WHERE peer IS NOT NULL))`,
	countMessages: `SELECT count(*) FROM (SELECT 1 FROM classes c CROSS JOIN log l INDEXED BY log_class ON l.class = c.id
		WHERE c.status NOT IN ('', 'event') AND (?1 IS NULL OR c.status = ?1) LIMIT ?2)`,
	deliveredTo: `WITH RECURSIVE n (name) AS (SELECT min(notifier) FROM deliveries
		UNION ALL SELECT (SELECT min(notifier) FROM deliveries WHERE notifier > n.name) FROM n WHERE n.name IS NOT NULL) SELECT name FROM n WHERE name IS NOT NULL`,
	countDeliveries: `SELECT dead, count(*), min(created) FROM (SELECT dead, created FROM deliveries WHERE notifier = ?1 LIMIT ?2) GROUP BY dead`,
	// The rows are bounded, not those among them that are for the notifier: all are read.
	countPending: `SELECT 0, count(*), min(at) FROM (SELECT at, tell FROM log WHERE seq > ?2 LIMIT ?3) WHERE ` + hasInSet,
	cursorNames:  `SELECT notifier FROM cursors`,
	allCursors:   `SELECT notifier, seq FROM cursors`,
}

// prepare prepares all queries. One that were prepared when it is first needed would
// want a connection while its caller holds one, and so could wait for ever.
func (s *Store) prepare(ctx context.Context) error {
	for id, text := range queries {
		var err error
		if s.queries[id], err = s.read.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) query(id queryID) (*sql.Stmt, error) {
	if s.isClosed() {
		return nil, errClosed
	}
	return s.queries[id], nil
}

// short is a context for a query that ends soon by itself: watching for the end
// of a context would cost more than the query.
func short(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), ctx.Err()
}

func conditions(where []string) string { return " WHERE " + strings.Join(where, " AND ") }

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

// searchIn is search within tx.
func (s *Store) searchIn(ctx context.Context, tx *sql.Tx, q string, args []any, f func(scanner) error) error {
	rows, err := tx.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	return each(rows, f)
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
	return rows.Decode[T](data)
}

// one finds a value by its key, and says what it did not find.
func one[T any](ctx context.Context, s *Store, id queryID, what string, args ...any) (*T, error) {
	var data []byte
	if err := s.row(ctx, id, args, &data); err != nil {
		return nil, s.missing(err, what, args[0])
	}
	v, err := rows.Decode[T](data)
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

// Receipt finds what we answered to a peer's nonce.
func (s *Store) Receipt(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.Receipt, error) {
	l := &core.Receipt{Peer: peer, Nonce: nonce}
	var at int64
	var digest []byte
	err := s.row(ctx, oneReceipt, []any{hashOf(peer, nonce), string(nonce), peer[:]}, &at, &l.Intent, &l.Status, &digest, &l.Answer)
	if err != nil {
		return nil, s.missing(err, "receipt", nonce)
	}
	l.At = rows.FromNanos(at)
	copy(l.Digest[:], digest)
	return l, nil
}

// EachNonce calls f with the hash of every receipt.
func (s *Store) EachNonce(ctx context.Context, f func(hash uint64)) error {
	err := s.search(ctx, eachHash, nil, func(row scanner) error {
		var hash int64
		err := row.Scan(&hash)
		f(uint64(hash))
		return err
	})
	return s.wrap("read nonces", err)
}

// EachReceipt calls f for receipts since a time, those of one peer and intent
// together. f may use the store.
func (s *Store) EachReceipt(ctx context.Context, since time.Time, most int, f func(core.Receipt)) error {
	if most <= 0 {
		most = math.MaxInt64
	}
	classes, err := s.classes(ctx)
	if err != nil {
		return s.wrap("read receipts", err)
	}
	// A message that is answered meanwhile goes from class to class, so that its
	// receipt may come twice, but is not left out: see classes.
	for _, k := range classes {
		if k.status == classEvent {
			continue
		}
		l := core.Receipt{Peer: k.peer, Intent: k.label}
		err := s.rows(ctx, nil, receiptsSince, []any{k.id, sinceNanos(since), most}, func(row scanner) error {
			var at int64
			if err := row.Scan((*string)(&l.Nonce), &at, &l.Bytes); err != nil {
				return err
			}
			l.At = rows.FromNanos(at)
			f(l)
			return nil
		})
		if err != nil {
			return s.wrap("read receipts", err)
		}
	}
	return nil
}

// classRow is a row of classes.
type classRow struct {
	classKey
	id, cleared int64
}

// classes lists all classes, by age. Those of receipts alone come last, so that a
// receipt that a message leaves behind is met there.
func (s *Store) classes(ctx context.Context) ([]classRow, error) {
	all, err := s.classesLike(ctx, nil, nil, "", nil)
	slices.SortStableFunc(all, func(a, b classRow) int { return cmp.Compare(order(a.status), order(b.status)) })
	return all, err
}

// order is that in which a row can go from class to class.
func order(status string) int {
	return slices.Index([]string{string(core.InboxHeld), string(core.InboxNew), string(core.InboxReplied), classEvent, classReceipt}, status)
}

func (s *Store) classesLike(ctx context.Context, tx *sql.Tx, peer any, label string, status any) (all []classRow, err error) {
	err = s.rows(ctx, tx, either(peer == nil, classesLike, classesOf), []any{peer, label, status}, func(row scanner) error {
		var k classRow
		var key []byte
		err := row.Scan(&k.id, &key, &k.label, &k.status, &k.cleared)
		copy(k.peer[:], key)
		all = append(all, k)
		return err
	})
	return all, err
}

// sinceNanos is nanos for a lower bound: no time lets all through.
func sinceNanos(t time.Time) int64 {
	if t.IsZero() {
		return rows.NoTime
	}
	return rows.Nanos(t)
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
