package memory

import (
	"bytes"

	"github.com/opengatewayprotocol/ogp/core"
)

func (s *Store) cloneDelivery(d *core.Delivery) *core.Delivery {
	c := *d
	if e, ok := s.event(d.EventID); ok {
		c.Event = *e
	}
	return &c
}

func cloneReceipt(l *core.Receipt) *core.Receipt {
	c := *l
	c.Answer = bytes.Clone(l.Answer)
	return &c
}

func cloneMessage(m core.Message) core.Message {
	m.Payload = bytes.Clone(m.Payload)
	return m
}

func cloneReply(r *core.Reply) *core.Reply {
	if r == nil {
		return nil
	}
	c := *r
	c.Data = bytes.Clone(r.Data)
	return &c
}

func cloneInbox(m *core.InboxMessage) *core.InboxMessage {
	c := *m
	c.Message = cloneMessage(m.Message)
	c.Reply = cloneReply(m.Reply)
	if m.Decided != nil {
		d := *m.Decided
		c.Decided = &d
	}
	return &c
}

func cloneEvent(e *core.Event) *core.Event {
	c := *e
	if e.Then != nil {
		then := *e.Then
		c.Then = &then
	}
	c.Data = bytes.Clone(e.Data)
	if e.Message != nil {
		c.Message = cloneInbox(e.Message)
	}
	return &c
}

func cloneOutbox(o *core.OutboxItem) *core.OutboxItem {
	c := *o
	if o.Message != nil {
		m := cloneMessage(*o.Message)
		c.Message = &m
	}
	c.Reply = cloneReply(o.Reply)
	c.Body = bytes.Clone(o.Body)
	c.Answer = bytes.Clone(o.Answer)
	return &c
}

func cloneStoredReply(r *core.StoredReply) *core.StoredReply {
	c := *r
	c.Reply = *cloneReply(&r.Reply)
	c.V2 = bytes.Clone(r.V2)
	return &c
}
