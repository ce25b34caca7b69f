package postgres

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/group"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
	"github.com/opengatewayprotocol/ogp/core/window"
)

// kept is what a batch leaves behind: of each row its last word, so that one statement
// writes all rows of a table, whatever the changes did to one row in turn.
type kept struct {
	// What is looked up, and then what was found.
	noncePeers, nonces, expected, named [][]byte
	leases                              []string
	limits                              map[window.Key]time.Duration // how far back

	seq       int64 // the last place in the log
	changed   int64 // the last change of peers or meta
	place     int64 // the last place of receipts
	taken     map[receiptKey]bool
	revisions map[core.PublicKey]uint64
	places    map[string]int64 // of messages and events, by id
	fences    map[string]uint64
	touched   map[core.PublicKey]int64 // the last changes of peers
	windows   *window.Windows

	receipts   []*receiptRow
	log        map[string]*logRow
	peers      map[core.PublicKey]*peerRow // nil: forgotten
	deliveries map[deliveryKey]*deliveryRow
	outbox     map[string]*outboxRow
	replies    map[replyKey]*replyRow
	meta       map[string]metaRow
	kv         map[kvKey][]byte // nil: deleted
	was        [3]int64         // seq, changed and place before
}

// head is how far all is.
func (k *kept) head() [3]int64 { return [3]int64{k.seq, k.changed, k.place} }

type metaRow struct {
	value   string
	changed int64
}

type kvKey struct{ plugin, key string }

func newKept(batch []*request, windows *window.Windows) *kept {
	k := &kept{windows: windows, limits: map[window.Key]time.Duration{}, touched: map[core.PublicKey]int64{}, taken: map[receiptKey]bool{}, revisions: map[core.PublicKey]uint64{}, places: map[string]int64{}, fences: map[string]uint64{},
		log: map[string]*logRow{}, peers: map[core.PublicKey]*peerRow{}, deliveries: map[deliveryKey]*deliveryRow{},
		outbox: map[string]*outboxRow{}, replies: map[replyKey]*replyRow{}, meta: map[string]metaRow{}, kv: map[kvKey][]byte{}}
	for _, r := range batch {
		if r.receipt != nil {
			k.noncePeers = append(k.noncePeers, r.receipt.key.peer[:])
			k.nonces = append(k.nonces, []byte(r.receipt.key.nonce))
		}
		if limit := r.change.Limit; limit != nil && r.receipt != nil {
			k.counts(window.Key{Peer: r.receipt.key.peer, Intent: r.receipt.intent}, limit)
		}
		for i := range r.change.Uses {
			u := &r.change.Uses[i]
			k.counts(window.Key{Peer: u.Peer, Intent: u.Of}, &u.Most)
		}
		for i := range r.change.Expect {
			k.expected = append(k.expected, r.change.Expect[i].Peer[:])
		}
		for _, f := range r.change.Fences {
			k.leases = append(k.leases, f.Name)
		}
		for i := range r.log {
			k.named = append(k.named, []byte(r.log[i].id))
		}
		for _, d := range r.change.Deliveries {
			k.named = append(k.named, []byte(d.EventID))
		}
		for _, d := range r.change.Delivered {
			k.named = append(k.named, []byte(d.EventID))
		}
	}
	return k
}

// judge says why a change may not be kept, after those before it.
func (k *kept) judge(r *request) error {
	for _, d := range r.change.Deliveries {
		if _, ok := k.places[d.EventID]; !ok && !r.brings(d.EventID) {
			return rows.NotFound("event %q for a delivery", d.EventID)
		}
	}
	for _, e := range r.change.Expect {
		if now := k.revisions[e.Peer]; now != e.Revision {
			return core.Refusef(core.Moved, "store: the peer %s has revision %d and not %d", e.Peer.Fingerprint(), now, e.Revision)
		}
	}
	if seen := int64(r.change.Seen); seen != 0 {
		moved := r.changes() && k.changed > seen
		for _, e := range r.change.Expect {
			moved = moved || k.touched[e.Peer] > seen
		}
		if moved {
			return core.Refuse(core.Moved, "store: another node has changed a peer")
		}
	}
	for _, f := range r.change.Fences {
		if f.N == 0 || k.fences[f.Name] != f.N {
			return group.Overtaken(f)
		}
	}
	if r.receipt != nil && k.taken[r.receipt.key] {
		return rows.ErrTaken
	}
	return k.take(r.change, r.receipt) // the last: it counts
}

// changes reports whether a change is one of what each node holds in memory.
func (r *request) changes() bool { return len(r.peers)+len(r.change.Forget)+len(r.change.Meta) > 0 }

func (r *request) brings(id string) bool {
	for i := range r.log {
		if r.log[i].id == id {
			return true
		}
	}
	return false
}

// fold adds a change.
func (k *kept) fold(r *request) {
	if r.changes() {
		k.changed++
	}
	if r.receipt != nil {
		k.taken[r.receipt.key] = true
		k.receipts = append(k.receipts, r.receipt)
	}
	k.receipts = append(k.receipts, r.uses...)
	if len(k.receipts) > 0 {
		k.place = k.was[2] + 1
	}
	for i := range r.log {
		row := &r.log[i]
		if _, ok := k.places[row.id]; !ok {
			k.seq++
			k.places[row.id] = k.seq
		}
		k.log[row.id] = row
	}
	for i := range r.peers {
		r.peers[i].changed = k.changed
		k.peers[r.peers[i].key] = &r.peers[i]
		k.touched[r.peers[i].key] = k.changed
		k.revisions[r.peers[i].key] = uint64(r.peers[i].revision)
	}
	for _, key := range r.change.Forget {
		k.peers[key] = nil
		k.revisions[key] = 0
		k.touched[key] = k.changed
	}
	for _, d := range r.change.Deliveries {
		k.deliveries[deliveryKey{d.Notifier, k.places[d.EventID]}] = newDelivery(d)
	}
	for _, d := range r.change.Delivered {
		if seq, ok := k.places[d.EventID]; ok {
			k.deliveries[deliveryKey{d.Notifier, seq}] = nil
		}
	}
	for i := range r.outbox {
		k.outbox[r.outbox[i].id] = &r.outbox[i]
	}
	for i := range r.replies {
		k.replies[r.replies[i].key] = &r.replies[i]
	}
	for key, value := range r.change.Meta {
		k.meta[key] = metaRow{value, k.changed}
	}
	for _, kv := range r.change.KV {
		k.kv[kvKey{kv.Plugin, kv.Key}] = kv.Value
	}
}

// write queues a statement for each table that the batch changes.
func (k *kept) write(b *pgx.Batch) {
	if now := k.head(); now != k.was {
		b.Queue("UPDATE head SET seq = $1, changed = $2, place = $3", now[0], now[1], now[2])
	}
	if k.changed != k.was[1] {
		b.Queue("SELECT pg_notify($1, '')", channel)
	}
	k.writeReceipts(b)
	k.writeLog(b)
	k.writePeers(b)
	k.writeDeliveries(b)
	k.writeOutbox(b)
	k.writeReplies(b)
	k.writeValues(b)
}

func (k *kept) writeReceipts(b *pgx.Batch) {
	if len(k.receipts) == 0 {
		return
	}
	var c columns
	for _, r := range k.receipts {
		c.add(r.key.peer[:], []byte(r.key.nonce), r.at, []byte(r.intent), r.bytes, r.status, r.digest[:], r.answer, k.place, r.notified)
	}
	c.queue(b, `INSERT INTO receipts (peer, nonce, at, intent, bytes, status, digest, answer, place, notified)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bigint[], $6::integer[], $7::bytea[], $8::bytea[], $9::bigint[], $10::boolean[])`)
}

func (k *kept) writeLog(b *pgx.Batch) {
	if len(k.log) == 0 {
		return
	}
	var c columns
	for id, r := range k.log {
		c.add(k.places[id], []byte(id), r.at, r.message, r.peer[:], []byte(r.intent), r.status, r.data)
	}
	c.queue(b, `INSERT INTO log (seq, id, at, message, peer, intent, status, data)
		SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::boolean[], $5::bytea[], $6::bytea[], $7::text[], $8::text[])
		ON CONFLICT (id) DO UPDATE SET at = excluded.at, message = excluded.message, peer = excluded.peer, intent = excluded.intent,
			status = excluded.status, data = excluded.data`)
}

func (k *kept) writePeers(b *pgx.Batch) {
	var put columns
	var gone columns
	for key, p := range k.peers {
		if p == nil {
			gone.add(key[:], k.touched[key])
			continue
		}
		put.add(key[:], p.revision, p.data, p.changed)
	}
	if len(put) > 0 {
		put.queue(b, `INSERT INTO peers (key, revision, data, changed) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::bigint[])
			ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, data = excluded.data, changed = excluded.changed, gone = NULL`)
	}
	if len(gone) > 0 {
		gone.queue(b, `UPDATE peers SET revision = 0, data = '', changed = g.changed, gone = now()
			FROM unnest($1::bytea[], $2::bigint[]) g (key, changed) WHERE peers.key = g.key`)
	}
}

func (k *kept) writeDeliveries(b *pgx.Batch) {
	var put, gone columns
	for key, d := range k.deliveries {
		if d == nil {
			gone.add([]byte(key.notifier), key.seq)
			continue
		}
		put.add([]byte(key.notifier), key.seq, d.attempts, d.next, d.dead, d.created, []byte(d.err), []byte(d.group))
	}
	if len(put) > 0 {
		put.queue(b, `INSERT INTO deliveries (notifier, seq, attempts, next, dead, created, error, grp)
			SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::integer[], $4::bigint[], $5::boolean[], $6::bigint[], $7::bytea[], $8::bytea[])
			ON CONFLICT (notifier, seq) DO UPDATE SET attempts = excluded.attempts, next = excluded.next, dead = excluded.dead,
				created = excluded.created, error = excluded.error, grp = excluded.grp`)
	}
	if len(gone) > 0 {
		gone.queue(b, `DELETE FROM deliveries WHERE (notifier, seq) IN (SELECT * FROM unnest($1::bytea[], $2::bigint[]))`)
	}
}

func (k *kept) writeOutbox(b *pgx.Batch) {
	if len(k.outbox) == 0 {
		return
	}
	var c columns
	for id, o := range k.outbox {
		c.add([]byte(id), o.peer[:], o.kind, o.state, []byte(o.nonce), o.created, o.ended, o.body, o.data)
	}
	c.queue(b, `INSERT INTO outbox (id, peer, kind, state, nonce, created, ended, body, data)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[], $8::bytea[], $9::text[])
		ON CONFLICT (id) DO UPDATE SET peer = excluded.peer, kind = excluded.kind, state = excluded.state, nonce = excluded.nonce,
			created = excluded.created, ended = excluded.ended, body = excluded.body, data = excluded.data`)
}

func (k *kept) writeReplies(b *pgx.Batch) {
	if len(k.replies) == 0 {
		return
	}
	var c columns
	for key, r := range k.replies {
		c.add([]byte(key.nonce), key.peer[:], key.ours, r.at, r.expires, r.data)
	}
	c.queue(b, `INSERT INTO replies (nonce, peer, ours, at, expires, data)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::boolean[], $4::bigint[], $5::bigint[], $6::text[])
		ON CONFLICT (nonce, peer, ours) DO UPDATE SET at = excluded.at, expires = excluded.expires, data = excluded.data`)
}

func (k *kept) writeValues(b *pgx.Batch) {
	var meta, put, gone columns
	for key, value := range k.meta {
		meta.add([]byte(key), []byte(value.value), value.changed)
	}
	for key, value := range k.kv {
		if value == nil {
			gone.add([]byte(key.plugin), []byte(key.key))
			continue
		}
		put.add([]byte(key.plugin), []byte(key.key), value)
	}
	if len(meta) > 0 {
		meta.queue(b, `INSERT INTO meta (key, value, changed) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[])
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, changed = excluded.changed`)
	}
	if len(put) > 0 {
		put.queue(b, `INSERT INTO kv (plugin, key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[])
			ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value`)
	}
	if len(gone) > 0 {
		gone.queue(b, `DELETE FROM kv WHERE (plugin, key) IN (SELECT * FROM unnest($1::bytea[], $2::bytea[]))`)
	}
}

// columns are the arguments of a statement that takes a list for each column.
type columns [][]any

// add adds a row.
func (c *columns) add(values ...any) {
	if *c == nil {
		*c = make(columns, len(values))
	}
	for i, v := range values {
		(*c)[i] = append((*c)[i], v)
	}
}

func (c columns) queue(b *pgx.Batch, statement string) {
	args := make([]any, len(c))
	for i, list := range c {
		args[i] = list
	}
	b.Queue(statement, args...)
}
