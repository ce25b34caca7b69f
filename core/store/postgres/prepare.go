package postgres

import (
	"fmt"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// prepared are the rows of a change, made in its caller's goroutine.
type prepared struct {
	receipt *receiptRow
	uses    []*receiptRow
	log     []logRow
	peers   []peerRow
	outbox  []outboxRow
	replies []replyRow
}

type receiptKey struct {
	peer  core.PublicKey
	nonce string
}

type receiptRow struct {
	key      receiptKey
	at       int64
	intent   string
	bytes    int64
	status   int32
	digest   [32]byte
	answer   []byte
	notified bool // it reached the agent, and counts as that
}

type logRow struct {
	id      string
	at      int64
	message bool
	peer    core.PublicKey
	intent  string
	status  string
	data    string
}

type peerRow struct {
	key      core.PublicKey
	revision int64
	data     string
	changed  int64 // set by the writer
}

type deliveryKey struct {
	notifier string
	seq      int64
}

type deliveryRow struct {
	attempts      int32
	next, created int64
	dead          bool
	err, group    string
}

type outboxRow struct {
	id                 string
	peer               core.PublicKey
	kind, state, nonce string
	created            int64
	ended              *int64
	body               []byte
	data               string
}

type replyKey struct {
	nonce string
	peer  core.PublicKey
	ours  bool
}

type replyRow struct {
	key         replyKey
	at, expires int64
	data        string
}

func prepare(c *core.Change) (*prepared, error) {
	p := &prepared{}
	for _, m := range c.Inbox {
		data, err := rows.Encode(m)
		if err != nil {
			return nil, rows.Malformed("inbox message", m.ID, err)
		}
		p.log = append(p.log, logRow{m.ID, rows.Nanos(m.At), true, m.Peer, m.Message.Intent, string(m.Status), data})
	}
	for _, e := range c.Events {
		if e.Type == core.EventMessage {
			return nil, rows.Malformed("event", e.ID, fmt.Errorf("a message is its own event"))
		}
		data, err := rows.Encode(e)
		if err != nil {
			return nil, rows.Malformed("event", e.ID, err)
		}
		p.log = append(p.log, logRow{e.ID, rows.Nanos(e.At), false, e.Peer, "", "", data})
	}
	if r := c.Receipt; r != nil {
		p.receipt = newReceipt(r, c.Inbox)
	}
	p.used(c.Uses)
	for _, v := range c.Peers {
		data, err := rows.Encode(v)
		if err != nil {
			return nil, rows.Malformed("peer", v.Key.String(), err)
		}
		p.peers = append(p.peers, peerRow{v.Key, int64(v.Revision), data, 0})
	}
	for _, o := range c.Outbox {
		row, err := newOutbox(o)
		if err != nil {
			return nil, rows.Malformed("outbox item", o.ID, err)
		}
		p.outbox = append(p.outbox, row)
	}
	for _, y := range c.Replies {
		data, err := rows.Encode(y)
		if err != nil {
			return nil, rows.Malformed("reply", string(y.Nonce), err)
		}
		p.replies = append(p.replies, replyRow{replyKey{string(y.Nonce), y.Peer, y.Ours}, rows.Nanos(y.At), rows.Nanos(y.Expires), data})
	}
	return p, nil
}

// newReceipt takes the size of what was let in from the message that came with it.
func newReceipt(r *core.Receipt, inbox []*core.InboxMessage) *receiptRow {
	row := &receiptRow{receiptKey{r.Peer, string(r.Nonce)}, rows.Nanos(r.At), r.Intent, int64(r.Bytes), int32(r.Status), r.Digest, r.Answer, false}
	if row.answer == nil {
		row.answer = []byte{}
	}
	if len(inbox) == 1 && inbox[0].Peer == r.Peer && inbox[0].Message.Nonce == r.Nonce {
		row.bytes = int64(len(inbox[0].Message.Payload))
	}
	return row
}

func newOutbox(o *core.OutboxItem) (outboxRow, error) {
	rest := *o
	rest.Body = nil
	data, err := rows.Encode(&rest)
	row := outboxRow{o.ID, o.Peer, string(o.Kind), string(o.State), string(o.Nonce), rows.Nanos(o.Created), nil, o.Body, data}
	if o.State != core.OutWaiting {
		ended := rows.Nanos(o.Done)
		if o.Done.IsZero() {
			ended = row.created
		}
		row.ended = &ended
	}
	return row, err
}

func newDelivery(d *core.Delivery) *deliveryRow {
	return &deliveryRow{int32(d.Attempts), rows.Nanos(d.Next), rows.Nanos(d.Created), d.Dead, d.Error, d.Group}
}
