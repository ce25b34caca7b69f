package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// open says whether a method may go on.
func (r *reader) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.queue.Closed() {
		return rows.ErrClosed
	}
	return nil
}

// querier is the pool, or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// list reads one value of every row.
func list[T any](ctx context.Context, q querier, scan func(pgx.Rows) (T, error), query string, args ...any) ([]T, error) {
	found, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	var all []T
	err = each(found, func() error {
		v, err := scan(found)
		all = append(all, v)
		return err
	})
	return all, err
}

// listOf is list from the pool, with the errors of what it reads.
func listOf[T any](ctx context.Context, r *reader, what string, scan func(pgx.Rows) (T, error), query string, args ...any) ([]T, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	all, err := list(limited, r.pool, scan, query, args...)
	if ctx.Err() == nil {
		err = unavailable(err)
	}
	return all, r.wrap("read "+what, err)
}

// one reads the value of the only row, and says what it did not find.
func one[T any](ctx context.Context, r *reader, what string, key any, scan func(pgx.Rows) (T, error), query string, args ...any) (v T, err error) {
	all, err := listOf(ctx, r, what, scan, query, args...)
	if err != nil {
		return v, err
	}
	if len(all) == 0 {
		return v, rows.NotFound("%s %q", what, key)
	}
	return all[0], nil
}

func decoded[T any](row pgx.Rows) (*T, error) {
	var data []byte
	if err := row.Scan(&data); err != nil {
		return nil, err
	}
	return rows.Decode[T](data)
}

// Peers returns all peers, in the order of their keys.
func (r *reader) Peers(ctx context.Context) ([]*core.Peer, error) {
	return listOf(ctx, r, "peers", decoded[core.Peer], `SELECT data FROM peers WHERE gone IS NULL ORDER BY key`)
}

// Receipt finds what we answered to a peer's nonce.
func (r *reader) Receipt(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.Receipt, error) {
	return one(ctx, r, "envelope", nonce, func(row pgx.Rows) (*core.Receipt, error) {
		r := &core.Receipt{Peer: peer, Nonce: nonce}
		var at int64
		var intent, digest []byte
		if err := row.Scan(&at, &intent, &r.Status, &digest, &r.Answer); err != nil {
			return nil, err
		}
		r.At, r.Intent = rows.FromNanos(at), string(intent)
		copy(r.Digest[:], digest)
		return r, nil
	}, `SELECT at, intent, status, digest, answer FROM receipts WHERE peer = $1 AND nonce = $2`, peer[:], []byte(nonce))
}

// EachReceipt calls f for the receipts since a time, of each peer and intent the newest
// ones.
func (r *reader) EachReceipt(ctx context.Context, since time.Time, most int, f func(core.Receipt)) error {
	all, err := listOf(ctx, r, "receipts", func(row pgx.Rows) (core.Receipt, error) {
		var r core.Receipt
		var at int64
		var peer, nonce, intent []byte
		if err := row.Scan(&peer, &nonce, &at, &intent, &r.Bytes); err != nil {
			return r, err
		}
		r.Peer, r.Nonce, r.At, r.Intent = core.PublicKey(peer), core.Nonce(nonce), rows.FromNanos(at), string(intent)
		return r, nil
	}, `SELECT peer, nonce, at, intent, bytes FROM (
			SELECT peer, nonce, at, intent, bytes, row_number() OVER (PARTITION BY peer, intent ORDER BY at DESC) AS nth FROM receipts WHERE at >= $1) newest
		WHERE $2 <= 0 OR nth <= $2 ORDER BY at`, either(since.IsZero(), rows.NoTime, rows.Nanos(since)), most)
	if err != nil {
		return err
	}
	for _, r := range all {
		f(r)
	}
	return nil
}

// EachNonce calls f with the hash of every receipt.
func (r *reader) EachNonce(ctx context.Context, f func(hash uint64)) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	found, err := r.pool.Query(ctx, `SELECT peer, nonce FROM receipts`)
	if err != nil {
		return r.wrap("read receipts", err)
	}
	return r.wrap("read receipts", each(found, func() error {
		var peer, nonce []byte
		err := found.Scan(&peer, &nonce)
		if err == nil {
			f(core.NonceHash(core.PublicKey(peer), core.Nonce(nonce)))
		}
		return err
	}))
}

// place finds where an id stands, or the next lower one: its time and place.
func (r *reader) place(ctx context.Context, id string) (at, seq int64, exact bool, err error) {
	type found struct {
		at, seq int64
		exact   bool
	}
	all, err := list(ctx, r.pool, func(row pgx.Rows) (f found, err error) {
		err = row.Scan(&f.at, &f.seq, &f.exact)
		return f, err
	}, `SELECT at, seq, id = $1 FROM log WHERE id <= $1 ORDER BY id DESC LIMIT 1`, []byte(id))
	if err != nil || len(all) == 0 {
		return rows.NoTime, rows.NoTime, false, err
	}
	return all[0].at, all[0].seq, all[0].exact, nil
}

// Inbox returns messages by a filter.
func (r *reader) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	w := inboxWhere(f)
	if f.Before != "" {
		at, seq, exact, err := r.place(ctx, f.Before)
		if err != nil {
			return nil, r.wrap("read inbox", err)
		}
		if !exact && seq != rows.NoTime {
			seq++ // the next lower one stands before it, too
		}
		w.add("(at, seq) < ", at, seq)
	}
	return listOf(ctx, r, "inbox", decoded[core.InboxMessage], w.inbox(f), w.args...)
}

func inboxWhere(f core.InboxFilter) *where {
	w := &where{}
	w.add("message")
	if !f.Peer.IsZero() {
		w.add("peer = ", f.Peer[:])
	}
	if f.Status != "" {
		w.add("status = ", string(f.Status))
		if f.Status != core.InboxNew {
			w.add("status <> 'new'") // as the index says it
		}
	}
	if f.Intent != "" {
		w.add("intent = ", []byte(f.Intent))
	}
	if !f.Since.IsZero() {
		w.add("at >= ", rows.Nanos(f.Since))
	}
	return w
}

func (w *where) inbox(f core.InboxFilter) string {
	return `SELECT data FROM log` + w.text() + either(f.Oldest, ` ORDER BY at, seq`, ` ORDER BY at DESC, seq DESC`) + ` LIMIT ` + w.arg(rows.Limited(f.Limit))
}

// InboxMessage finds one message.
func (r *reader) InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	return one(ctx, r, "inbox message", id, decoded[core.InboxMessage], `SELECT data FROM log WHERE id = $1 AND message`, []byte(id))
}

// event reads a row of log.
func event(message bool, data []byte) (*core.Event, error) {
	if !message {
		return rows.Decode[core.Event](data)
	}
	m, err := rows.Decode[core.InboxMessage](data)
	if err != nil {
		return nil, err
	}
	return &core.Event{ID: m.ID, Type: core.EventMessage, At: m.At, Peer: m.Peer, Message: m}, nil
}

// Events returns the events that were kept after the one of an id, oldest first,
// messages included.
func (r *reader) Events(ctx context.Context, after string, limit int) ([]*core.Event, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	from := int64(0)
	if after != "" {
		_, seq, _, err := r.place(ctx, after)
		if err != nil {
			return nil, r.wrap("read events", err)
		}
		from = seq
	}
	return listOf(ctx, r, "events", func(row pgx.Rows) (*core.Event, error) {
		var message bool
		var data []byte
		if err := row.Scan(&message, &data); err != nil {
			return nil, err
		}
		return event(message, data)
	}, `SELECT message, data FROM log WHERE seq > $1 ORDER BY seq LIMIT $2`, from, rows.Limited(limit))
}

// EachEvent calls f with what is counted of events of some types since a time, in the order
// in which they were kept.
func (r *reader) EachEvent(ctx context.Context, since time.Time, types []core.EventType, f func(core.Counted)) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	query, args := countedQuery(since, types)
	found, err := r.pool.Query(ctx, query, args...)
	if err != nil {
		return r.wrap("read events", err)
	}
	return r.wrap("read events", each(found, func() error {
		e, err := countedEvent(found)
		if err == nil && slices.Contains(types, e.Type) {
			f(e)
		}
		return err
	}))
}

// countedQuery finds where the log begins by its index of times, and goes on from there.
func countedQuery(since time.Time, types []core.EventType) (string, []any) {
	at := []any{either(since.IsZero(), rows.NoTime, rows.Nanos(since))}
	const columns = `SELECT message, at, peer, intent, status, data FROM log WHERE `
	if !slices.Contains(types, core.EventMessage) {
		return columns + `NOT message AND at >= $1 ORDER BY seq`, at
	}
	return columns + `at >= $1 AND seq >= (SELECT coalesce(min(seq), 0) FROM (SELECT seq FROM log WHERE message IN (true, false) AND at >= $1 OFFSET 0) young) ORDER BY seq`, at
}

// countedEvent reads what is counted of a row of log.
func countedEvent(row pgx.Rows) (c core.Counted, err error) {
	var message bool
	var at int64
	var peer, intent, data []byte
	if err := row.Scan(&message, &at, &peer, &intent, &c.Status, &data); err != nil {
		return c, err
	}
	if !message {
		e, err := rows.Decode[core.Event](data)
		if err != nil {
			return c, err
		}
		return e.Counted(), nil
	}
	m, err := rows.Decode[struct {
		Message struct {
			ConversationID string   `json:"conversationId"`
			Hops           string   `json:"hops"`
			Payload        core.Raw `json:"payload"`
		} `json:"message"`
		Decided *core.Decided `json:"decided"`
	}](data)
	if err != nil {
		return c, err
	}
	c.Type, c.At, c.Peer, c.Intent = core.EventMessage, rows.FromNanos(at), core.PublicKey(peer), string(intent)
	c.Conversation, c.Hops, c.Bytes = m.Message.ConversationID, m.Message.Hops, len(m.Message.Payload)
	if m.Decided != nil {
		c.Status = core.InboxHeld
	}
	return c, nil
}

func outboxItem(row pgx.Rows) (*core.OutboxItem, error) {
	var data, body []byte
	if err := row.Scan(&data, &body); err != nil {
		return nil, err
	}
	o, err := rows.Decode[core.OutboxItem](data)
	if err == nil {
		o.Body = body
	}
	return o, err
}

// Outbox returns envelopes of ours by a filter.
func (r *reader) Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error) {
	w, query := outboxQuery(f)
	return listOf(ctx, r, "outbox", outboxItem, query, w.args...)
}

func outboxQuery(f core.OutboxFilter) (w where, query string) {
	if f.State != "" {
		w.add("state = ", string(f.State))
	}
	if !f.Peer.IsZero() {
		w.add("peer = ", f.Peer[:])
	}
	if f.Before != "" {
		w.add("id < ", []byte(f.Before))
	}
	if f.After != "" {
		w.add("id > ", []byte(f.After))
	}
	query = `SELECT data, body FROM outbox` + w.text() + either(f.Oldest, ` ORDER BY id`, ` ORDER BY id DESC`) + ` LIMIT ` + w.arg(rows.Limited(f.Limit))
	return w, query
}

// WaitingPeers returns the peers that an envelope waits for, by key. It goes from peer to
// peer through the index, and not from envelope to envelope.
func (r *reader) WaitingPeers(ctx context.Context) ([]core.PublicKey, error) {
	return listOf(ctx, r, "outbox", func(row pgx.Rows) (core.PublicKey, error) {
		var key []byte
		if err := row.Scan(&key); err != nil {
			return core.PublicKey{}, err
		}
		return core.PublicKey(key), nil
	}, `WITH RECURSIVE p AS ((SELECT peer FROM outbox WHERE state = 'waiting' ORDER BY peer LIMIT 1)
			UNION ALL SELECT (SELECT peer FROM outbox WHERE state = 'waiting' AND peer > p.peer ORDER BY peer LIMIT 1) FROM p WHERE p.peer IS NOT NULL)
		SELECT peer FROM p WHERE peer IS NOT NULL`)
}

// OutboxItem finds one envelope of ours.
func (r *reader) OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error) {
	return one(ctx, r, "outbox item", id, outboxItem, `SELECT data, body FROM outbox WHERE id = $1`, []byte(id))
}

// OutboxByNonce finds a message of ours by its nonce.
func (r *reader) OutboxByNonce(ctx context.Context, nonce core.Nonce) (*core.OutboxItem, error) {
	return one(ctx, r, "message sent with nonce", nonce, outboxItem,
		`SELECT data, body FROM outbox WHERE nonce = $1 AND kind = 'message' ORDER BY id DESC LIMIT 1`, []byte(nonce))
}

// Reply finds the reply that came from a peer.
func (r *reader) Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error) {
	return one(ctx, r, "reply", nonce, decoded[core.StoredReply], `SELECT data FROM replies WHERE nonce = $1 AND peer = $2 AND NOT ours`, []byte(nonce), peer[:])
}

// OurReply finds what we have answered under a nonce, the first that was given.
func (r *reader) OurReply(ctx context.Context, nonce core.Nonce) (*core.StoredReply, error) {
	return one(ctx, r, "reply of ours to", nonce, decoded[core.StoredReply],
		`SELECT data FROM replies WHERE nonce = $1 AND ours ORDER BY at, peer LIMIT 1`, []byte(nonce))
}

// Meta finds a value by its key.
func (r *reader) Meta(ctx context.Context, key string) (string, error) {
	value, err := one(ctx, r, "meta", key, bytesOf, `SELECT value FROM meta WHERE key = $1`, []byte(key))
	return string(value), err
}

// KV finds a value of a plugin's memory.
func (r *reader) KV(ctx context.Context, plugin, key string) ([]byte, error) {
	return one(ctx, r, "value", key, bytesOf, `SELECT value FROM kv WHERE plugin = $1 AND key = $2`, []byte(plugin), []byte(key))
}

func bytesOf(row pgx.Rows) ([]byte, error) {
	value := []byte{}
	err := row.Scan(&value)
	return value, err
}

// KVList returns the sizes of a plugin's values whose keys begin with prefix.
func (r *reader) KVList(ctx context.Context, plugin, prefix string) (map[string]int, error) {
	sizes := map[string]int{}
	_, err := listOf(ctx, r, "values", func(row pgx.Rows) (struct{}, error) {
		var key []byte
		var size int
		err := row.Scan(&key, &size)
		sizes[string(key)] = size
		return struct{}{}, err
	}, `SELECT key, length(value) FROM kv WHERE plugin = $1 AND key >= $2 AND substr(key, 1, length($2::bytea)) = $2`, []byte(plugin), []byte(prefix))
	return sizes, err
}
