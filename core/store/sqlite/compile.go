package sqlite

import (
	"database/sql/driver"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// writeID names a prepared statement of the writer.
type writeID uint8

const (
	eventExists writeID = iota
	revisionOf
	sameReceipt
	rowByID
	seqByID
	pendingFrom
	putClass
	putTell
	putCursor
	setCleared
	putLog
	replaceLog
	copyReceipt
	clearReceipt
	setHash
	putPeer
	delPeer
	putDelivery
	spellOut
	delDelivery
	putOutbox
	putReply
	putMeta
	putKV
	delKV
	putTally
	putStretch
	setStretch
	dropStretch
	pruneReceipt
	clearOld
	firstReceipt
	hasReceipt
	pruneRow
	pruneToReceipt
	pruneDead
	pruneClasses
	pruneOutbox
	pruneReply
	numWrites
)

// untold says that some notifier is yet to be told of a row of log.
const untold = `(EXISTS (SELECT 1 FROM deliveries d WHERE d.event = log.seq AND d.dead = 0)
	OR EXISTS (SELECT 1 FROM tells t JOIN cursors c ON c.notifier = t.notifier WHERE t.id = log.tell AND c.seq < log.seq))`

// A bare parameter as a LIMIT has SQLite prepare the statement anew each time that one is
// bound, to plan for its value: hence LIMIT +?.
var writes = [numWrites]string{
	eventExists: `SELECT EXISTS (SELECT 1 FROM log WHERE id = ?1)`,
	revisionOf:  `SELECT ifnull((SELECT revision FROM peers WHERE key = ?1), 0)`,
	sameReceipt: `SELECT EXISTS (SELECT 1 FROM log l JOIN classes c ON c.id = l.class WHERE l.hash = ?1 AND l.nonce = ?2 AND c.peer = ?3)`,
	rowByID:     `SELECT l.seq, l.at, l.hash, l.nonce, c.peer, c.label, c.status, l.tell FROM log l JOIN classes c ON c.id = l.class WHERE l.id = ?`,
	seqByID:     `SELECT seq, EXISTS (SELECT 1 FROM tells WHERE id = log.tell AND notifier = ?2) FROM log WHERE id = ?1`,
	pendingFrom: `SELECT seq, id FROM log WHERE seq > ?2 AND tell IN (SELECT id FROM tells WHERE notifier = ?1) ORDER BY seq LIMIT +?3`,

	putClass:   `INSERT INTO classes (peer, label, status, cleared) VALUES (?, ?, ?, -9223372036854775808)`,
	putTell:    `INSERT INTO tells (id, notifier, alone) VALUES (?, ?, ?)`,
	putCursor:  `INSERT INTO cursors (notifier, seq) VALUES (?, ?) ON CONFLICT (notifier) DO UPDATE SET seq = excluded.seq`,
	setCleared: `UPDATE classes SET cleared = ?1 WHERE id = ?2`,

	putLog: `INSERT INTO log (seq, id, at, class, hash, tell, nonce, answered, digest, answer, level, reason, sender, recipient,
			agent, sent, reply_to, conversation, project, alias, hops, reply, decided, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hash) WHERE hash IS NOT NULL DO NOTHING`,
	replaceLog: `UPDATE log SET at = ?2, class = ?3, nonce = ?4, level = ?5, reason = ?6, sender = ?7, recipient = ?8, agent = ?9,
			sent = ?10, reply_to = ?11, conversation = ?12, project = ?13, alias = ?14, hops = ?15, reply = ?16, decided = ?17, data = ?18
		WHERE seq = ?1`,
	copyReceipt: `INSERT INTO log (seq, at, class, nonce, answered, digest, answer)
		SELECT ?1, at, ?2, nonce, answered, digest, answer FROM log WHERE seq = ?3`,
	clearReceipt: `UPDATE log SET hash = NULL, answered = NULL, digest = NULL, answer = NULL WHERE seq = ?`,
	setHash:      `UPDATE log SET hash = ?1 WHERE seq = ?2`,

	putPeer: `INSERT INTO peers (key, revision, data) VALUES (?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, data = excluded.data`,
	delPeer: `DELETE FROM peers WHERE key = ?`,

	putDelivery: `INSERT INTO deliveries (notifier, event, attempts, next, dead, created, error, grp) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (notifier, event) DO UPDATE SET attempts = excluded.attempts, next = excluded.next,
			dead = excluded.dead, created = excluded.created, error = excluded.error, grp = excluded.grp`,
	spellOut: `INSERT INTO deliveries (notifier, event, attempts, next, dead, created, error, grp)
		SELECT ?1, seq, 0, 0, 0, at, '', iif((SELECT alone FROM tells WHERE id = log.tell AND notifier = ?1), id, '') FROM log
			WHERE seq > ?2 AND seq <= ?3 AND tell IN (SELECT id FROM tells WHERE notifier = ?1)
		ON CONFLICT DO NOTHING`,
	delDelivery: `DELETE FROM deliveries WHERE notifier = ? AND event = ?`,

	putOutbox: `INSERT INTO outbox (id, peer, kind, state, nonce, created, ended, body, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET peer = excluded.peer, kind = excluded.kind, state = excluded.state,
			nonce = excluded.nonce, created = excluded.created, ended = excluded.ended,
			body = excluded.body, data = excluded.data`,

	putReply: `INSERT INTO replies (nonce, peer, ours, at, expires, data) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (nonce, peer, ours) DO UPDATE SET at = excluded.at, expires = excluded.expires, data = excluded.data`,

	putTally: `UPDATE tally SET n = ?, hash = ?`,

	putStretch: `INSERT INTO stretches (first, last, low, high) VALUES (?, ?, ?, ?)`,
	setStretch: `UPDATE stretches SET low = min(low, ?2), high = max(high, ?2) WHERE first = (SELECT max(first) FROM stretches WHERE first <= ?1) AND last >= ?1`,
	dropStretch: `DELETE FROM stretches WHERE first = ?1 AND NOT EXISTS (SELECT 1 FROM log l JOIN classes c ON c.id = l.class
		WHERE l.seq BETWEEN stretches.first AND stretches.last AND l.id IS NOT NULL AND c.status NOT IN ('', 'event'))`,

	putMeta: `INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,

	putKV: `INSERT INTO kv (plugin, key, value) VALUES (?, ifnull(?, x''), ifnull(?, x''))
		ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value`,
	delKV: `DELETE FROM kv WHERE plugin = ? AND key = ifnull(?, x'')`,

	// Each looks again at what the reader saw, as a change may have come between.
	pruneReceipt: `DELETE FROM log WHERE seq = ?1 AND id IS NULL AND at < ?2`,
	clearOld:     `UPDATE log SET hash = NULL, answered = NULL, digest = NULL, answer = NULL WHERE seq = ?1 AND at < ?2`,
	firstReceipt: `SELECT at FROM log WHERE class = ?1 AND at >= ?2 AND at < ?3 AND hash IS NOT NULL ORDER BY at LIMIT 1`,
	hasReceipt:   `SELECT hash IS NOT NULL FROM log WHERE seq = ?`,
	pruneRow:     `DELETE FROM log WHERE seq = ?1 AND at < ?2 AND hash IS NULL AND NOT ` + untold,
	pruneToReceipt: `UPDATE log SET id = NULL, class = ?3, tell = NULL, level = NULL, reason = NULL, sender = NULL, recipient = NULL,
			agent = NULL, sent = NULL, reply_to = NULL, conversation = NULL, project = NULL, alias = NULL, hops = NULL, reply = NULL,
			decided = NULL, data = NULL
		WHERE seq = ?1 AND at < ?2 AND hash IS NOT NULL AND NOT ` + untold,
	pruneDead:    `DELETE FROM deliveries WHERE event = ?1 AND dead = 1 AND NOT EXISTS (SELECT 1 FROM log WHERE seq = ?1 AND id IS NOT NULL)`,
	pruneClasses: `DELETE FROM classes WHERE NOT EXISTS (SELECT 1 FROM log WHERE class = classes.id)`,
	pruneOutbox:  `DELETE FROM outbox WHERE seq = ?1 AND ended < ?2`,
	pruneReply:   `DELETE FROM replies WHERE seq = ?1 AND expires <> 0 AND expires < ?2`,
}

// op is one statement of a change with its arguments.
type op struct {
	id   writeID
	args []driver.Value
}

func (r *request) add(id writeID, values ...driver.Value) { r.ops = append(r.ops, op{id, values}) }

// compile makes of a change what the writer writes, in the caller's goroutine.
func (r *request) compile(c *core.Change) error {
	r.expect, r.fences = c.Expect, c.Fences
	for _, m := range c.Inbox {
		row, err := newMessage(m)
		if err != nil {
			return rows.Malformed("inbox message", m.ID, err)
		}
		r.rows = append(r.rows, row)
	}
	for _, e := range c.Events {
		row, err := newEvent(e)
		if err != nil {
			return rows.Malformed("event", e.ID, err)
		}
		r.rows = append(r.rows, row)
	}
	if c.Receipt != nil {
		r.receipt = newReceipt(c.Receipt)
		r.merged = len(c.Inbox) == 1 && r.rows[0].isOf(r.receipt)
	}
	r.compileDeliveries(c)
	for _, p := range c.Peers {
		data, err := rows.Encode(p)
		if err != nil {
			return rows.Malformed("peer", p.Key.String(), err)
		}
		r.add(putPeer, p.Key[:], int64(p.Revision), data)
	}
	for _, key := range c.Forget {
		r.add(delPeer, key[:])
	}
	for _, o := range c.Outbox {
		if err := r.putOutbox(o); err != nil {
			return rows.Malformed("outbox item", o.ID, err)
		}
	}
	for _, y := range c.Replies {
		data, err := rows.Encode(y)
		if err != nil {
			return rows.Malformed("reply", string(y.Nonce), err)
		}
		r.add(putReply, string(y.Nonce), y.Peer[:], y.Ours, rows.Nanos(y.At), rows.Nanos(y.Expires), data)
	}
	for key, value := range c.Meta {
		r.add(putMeta, key, value)
	}
	for _, kv := range c.KV {
		if kv.Value == nil {
			r.add(delKV, kv.Plugin, []byte(kv.Key))
		} else {
			r.add(putKV, kv.Plugin, []byte(kv.Key), kv.Value)
		}
	}
	return nil
}

func (r *request) putOutbox(o *core.OutboxItem) error {
	rest := *o
	rest.Body = nil
	data, err := rows.Encode(&rest)
	if err != nil {
		return err
	}
	var ended, body driver.Value
	if o.State != core.OutWaiting {
		ended = rows.Nanos(o.Done)
		if o.Done.IsZero() {
			ended = rows.Nanos(o.Created)
		}
	}
	if o.Body != nil {
		body = o.Body
	}
	r.add(putOutbox, o.ID, o.Peer[:], string(o.Kind), string(o.State), string(o.Nonce),
		rows.Nanos(o.Created), ended, body, data)
	return nil
}

// apply runs one change. A refusal leaves no trace that anybody sees; after an
// error the transaction is to be rolled back.
func (s *Store) apply(r *request) (refusal, err error) {
	if refusal, err := s.judge(r); refusal != nil || err != nil {
		return refusal, err
	}
	if r.receipt != nil && !r.merged {
		if err := s.putReceipt(r.receipt); err == error(rows.ErrTaken) {
			return err, nil
		} else if err != nil {
			return nil, err
		}
	}
	settle := r.settle
	for i := range r.rows {
		row := &r.rows[i]
		var with *receipt
		if i == 0 && r.merged {
			with = r.receipt
		}
		was, err := s.putRow(row, with)
		if err == error(rows.ErrTaken) {
			return err, nil
		}
		if err != nil {
			return nil, err
		}
		if was {
			for _, name := range row.tell {
				settle = append(settle[:len(settle):len(settle)], untoldBy(name, row.id, row.at))
			}
		}
	}
	if err := s.settleAll(settle); err != nil {
		return nil, err
	}
	for _, o := range r.ops {
		if o.id == putPeer || o.id == delPeer {
			delete(s.index.revisions, keyOf(o.args[0]))
		}
		if _, err := s.exec(o.id, o.args...); err != nil {
			return nil, err
		}
	}
	if r.then != nil {
		return nil, r.then()
	}
	return nil, nil
}

// revision is that of a peer's record.
func (s *Store) revision(k core.PublicKey) (n int64, err error) {
	if n, ok := s.index.revisions[k]; ok {
		return n, nil
	}
	err = s.ask(revisionOf, 1, func(row []driver.Value) error {
		n, _ = row[0].(int64)
		return nil
	}, k[:])
	if err == nil {
		s.index.revisions[k] = n
	}
	return n, err
}

// judge says why a change may not be kept, other than for its nonce.
func (s *Store) judge(r *request) (refusal, err error) {
	for _, id := range r.needs {
		if found, err := s.holds(eventExists, id); err != nil {
			return nil, err
		} else if !found {
			return rows.NotFound("event %q for a delivery", id), nil
		}
	}
	for _, e := range r.expect {
		if revision, err := s.revision(e.Peer); err != nil {
			return nil, err
		} else if revision != int64(e.Revision) {
			return core.Refusef(core.Moved, "store: the peer %s no longer has revision %d", e.Peer.Fingerprint(), e.Revision), nil
		}
	}
	return s.Stand(r.fences), nil
}
