package sqlite

import (
	"database/sql/driver"
	"fmt"

	"github.com/opengatewayprotocol/ogp/core"
)

// writeID names a prepared statement of the writer.
type writeID uint8

const (
	eventExists writeID = iota
	revisionIs
	putReceipt
	putPeer
	delPeer
	putInbox
	putEvent
	putDelivery
	delDelivery
	putOutbox
	putReply
	putMeta
	putKV
	delKV
	pruneReceipts
	pruneDead
	pruneInbox
	pruneEvent
	pruneOutbox
	pruneReply
	numWrites
)

var writes = [numWrites]string{
	eventExists: `SELECT EXISTS (SELECT 1 FROM inbox WHERE id = ?1) OR EXISTS (SELECT 1 FROM events WHERE id = ?1)`,
	revisionIs:  `SELECT ifnull((SELECT ifnull(json_extract(data, '$.revision'), 0) FROM peers WHERE key = ?1), 0) = ?2`,

	putReceipt: `INSERT INTO letters (peer, nonce, at, intent, status, digest, answer)
		VALUES (?, ?, ?, ?, ?, ?, ifnull(?, x'')) ON CONFLICT DO NOTHING`,

	putPeer: `INSERT INTO peers (key, data) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET data = excluded.data`,
	delPeer: `DELETE FROM peers WHERE key = ?`,

	putInbox: `INSERT INTO inbox (id, at, peer, status, intent, level, reason, sender, recipient, agent,
			nonce, sent, reply_to, conversation, project, alias, reply, payload, decided)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET at = excluded.at, peer = excluded.peer, status = excluded.status,
			intent = excluded.intent, level = excluded.level, reason = excluded.reason, sender = excluded.sender,
			recipient = excluded.recipient, agent = excluded.agent, nonce = excluded.nonce, sent = excluded.sent,
			reply_to = excluded.reply_to, conversation = excluded.conversation, project = excluded.project,
			alias = excluded.alias, reply = excluded.reply, payload = excluded.payload, decided = excluded.decided`,

	putEvent: `INSERT INTO events (id, at, data) VALUES (?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET at = excluded.at, data = excluded.data`,

	putDelivery: `INSERT INTO deliveries (event, notifier, attempts, next, dead, created, error, grp) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (event, notifier) DO UPDATE SET attempts = excluded.attempts, next = excluded.next,
			dead = excluded.dead, created = excluded.created, error = excluded.error, grp = excluded.grp`,
	delDelivery: `DELETE FROM deliveries WHERE event = ? AND notifier = ?`,

	putOutbox: `INSERT INTO outbox (id, peer, kind, state, nonce, created, next, ended, body, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET peer = excluded.peer, kind = excluded.kind, state = excluded.state,
			nonce = excluded.nonce, created = excluded.created, next = excluded.next, ended = excluded.ended, body = excluded.body, data = excluded.data`,

	putReply: `INSERT INTO replies (nonce, peer, ours, at, expires, data) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (nonce, peer, ours) DO UPDATE SET at = excluded.at, expires = excluded.expires, data = excluded.data`,

	putMeta: `INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,

	putKV: `INSERT INTO kv (plugin, key, value) VALUES (?, ifnull(?, x''), ifnull(?, x''))
		ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value`,
	delKV: `DELETE FROM kv WHERE plugin = ? AND key = ifnull(?, x'')`,

	// Each looks again at what the reader saw, as a change may have come between.
	pruneReceipts: `DELETE FROM letters WHERE peer = ?1 AND nonce = ?2 AND at < ?3`,
	pruneInbox: `DELETE FROM inbox WHERE id = ?1 AND at < ?2
		AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = ?1 AND dead = 0)`,
	pruneEvent: `DELETE FROM events WHERE id = ?1 AND at < ?2
		AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = ?1 AND dead = 0)`,
	pruneDead: `DELETE FROM deliveries WHERE event = ?1 AND dead = 1
		AND NOT EXISTS (SELECT 1 FROM inbox WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM events WHERE id = ?1)`,
	pruneOutbox: `DELETE FROM outbox WHERE seq = ?1 AND ended < ?2`,
	pruneReply:  `DELETE FROM replies WHERE seq = ?1 AND expires <> 0 AND expires < ?2`,
}

// op is one statement of a change with its arguments.
type op struct {
	id   writeID
	args []driver.NamedValue
}

func (r *request) add(id writeID, values ...driver.Value) {
	if r.ops == nil { // room for what accepting a message takes
		r.ops = make([]op, 0, 5)
		r.args = make([]driver.NamedValue, 0, 8+19+2*8)
	}
	from := len(r.args)
	for i, v := range values {
		r.args = append(r.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	r.ops = append(r.ops, op{id, r.args[from:len(r.args):len(r.args)]})
}

// compile turns a change into statements, in the caller's goroutine, so that the
// writer only runs them. What may refuse the change comes before all that writes.
func (r *request) compile(c *core.Change) error {
	for _, d := range c.Deliveries {
		if !brings(c, d.EventID) {
			r.add(eventExists, d.EventID)
		}
	}
	for _, e := range c.Expect {
		r.add(revisionIs, e.Peer[:], int64(e.Revision))
	}
	if l := c.Receipt; l != nil {
		r.add(putReceipt, l.Peer[:], string(l.Nonce), nanos(l.At), l.Intent, int64(l.Status), l.Digest[:], l.Answer)
	}
	for _, p := range c.Peers {
		data, err := encode(p)
		if err != nil {
			return malformed("peer", p.Key.String(), err)
		}
		r.add(putPeer, p.Key[:], data)
	}
	for _, key := range c.Forget {
		r.add(delPeer, key[:])
	}
	for _, m := range c.Inbox {
		if err := r.putInbox(m); err != nil {
			return malformed("inbox message", m.ID, err)
		}
	}
	for _, e := range c.Events {
		if e.Type == core.EventMessage {
			return malformed("event", e.ID, fmt.Errorf("a message is its own event"))
		}
		data, err := encode(e)
		if err != nil {
			return malformed("event", e.ID, err)
		}
		r.add(putEvent, e.ID, nanos(e.At), data)
	}
	for _, d := range c.Deliveries {
		r.add(putDelivery, d.EventID, d.Notifier, int64(d.Attempts), nanos(d.Next), d.Dead, nanos(d.Created), d.Error, d.Group)
	}
	for _, d := range c.Delivered {
		r.add(delDelivery, d.EventID, d.Notifier)
	}
	for _, o := range c.Outbox {
		if err := r.putOutbox(o); err != nil {
			return malformed("outbox item", o.ID, err)
		}
	}
	for _, y := range c.Replies {
		data, err := encode(y)
		if err != nil {
			return malformed("reply", string(y.Nonce), err)
		}
		r.add(putReply, string(y.Nonce), y.Peer[:], y.Ours, nanos(y.At), nanos(y.Expires), data)
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
	data, err := encode(&rest)
	if err != nil {
		return err
	}
	var ended driver.Value
	if o.State != core.OutWaiting {
		ended = nanos(o.Done)
		if o.Done.IsZero() {
			ended = nanos(o.Created)
		}
	}
	var body driver.Value
	if o.Body != nil {
		body = o.Body
	}
	r.add(putOutbox, o.ID, o.Peer[:], string(o.Kind), string(o.State), string(o.Nonce),
		nanos(o.Created), nanos(o.Next), ended, body, data)
	return nil
}

func (r *request) putInbox(m *core.InboxMessage) error {
	var reply driver.Value
	if m.Reply != nil {
		data, err := encode(m.Reply)
		if err != nil {
			return err
		}
		reply = data
	}
	var decided driver.Value
	if m.Decided != nil {
		data, err := encode(m.Decided)
		if err != nil {
			return err
		}
		decided = data
	}
	b := &m.Message
	r.add(putInbox, m.ID, nanos(m.At), m.Peer[:], string(m.Status), b.Intent, m.Level, m.Reason, b.From, b.To, b.ToAgent,
		string(b.Nonce), b.Timestamp, b.ReplyTo, b.ConversationID, b.ProjectID, m.Alias, reply, []byte(b.Payload), decided)
	return nil
}

// brings reports whether the change itself holds the event.
func brings(c *core.Change, id string) bool {
	for _, m := range c.Inbox {
		if m.ID == id {
			return true
		}
	}
	for _, e := range c.Events {
		if e.ID == id {
			return true
		}
	}
	return false
}

func malformed(what, id string, err error) error {
	return &core.Error{Kind: core.Internal, Public: fmt.Sprintf("store: cannot keep %s %q", what, id), Err: err}
}
