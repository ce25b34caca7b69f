package agent

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/reader"
)

// How many entries a list has, and how much of a peer's words one of them shows. One
// that is read by itself shows all that a message can hold.
const (
	usualShown = 20
	maxShown   = 100
	listBytes  = 2 << 10
	readBytes  = 64 << 10
)

func shown(limit int) int {
	if limit <= 0 {
		return usualShown
	}
	return min(limit, maxShown)
}

// visible reports whether the agent may see a message: it is from an approved peer, and
// no policy has kept it for the human.
func (r *Role) visible(m *core.InboxMessage) *core.Peer {
	p := r.o.Gateway.Peer(m.Peer)
	if p == nil || p.Trust != core.Approved || m.Status == core.InboxHeld || m.Status == core.InboxDenied {
		return nil
	}
	return p
}

// messages finds up to so many that the agent may see, the newest first.
func (r *Role) messages(ctx context.Context, f core.InboxFilter, limit int) ([]*core.InboxMessage, error) {
	f.Limit = limit
	out, _, err := reader.Received(ctx, r.o.Store, f, func(m *core.InboxMessage) bool { return r.visible(m) != nil }, farBack)
	return out, err
}

// maxPages bounds how far back a list looks.
const maxPages = 20

// farBack is how far a list looks.
var farBack = reader.Look{Rows: maxPages * maxShown, Bytes: 64 << 20}

func (r *Role) inbox(ctx context.Context, p api.AgentInboxParams) ([]api.AgentMessage, error) {
	f := core.InboxFilter{Since: p.Since}
	if p.Unanswered {
		f.Status = core.InboxNew
	}
	if p.Peer != "" {
		peer, err := r.find(p.Peer)
		if err != nil {
			return nil, err
		}
		f.Peer = peer.Key
	}
	list, err := r.messages(ctx, f, shown(p.Limit))
	if err != nil {
		return nil, err
	}
	out := []api.AgentMessage{}
	for _, m := range list {
		v, err := r.message(m, listBytes)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// findMessage finds a message that the agent may see by its id, or "last".
func (r *Role) findMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	none := core.Refuse(core.NotFound, "there is no message with this id; the tool inbox lists them")
	id = strings.ToUpper(strings.TrimSpace(id))
	if id == "LAST" {
		list, err := r.messages(ctx, core.InboxFilter{}, 1)
		if err != nil || len(list) == 0 {
			return nil, errors.Join(err, none)
		}
		return list[0], nil
	}
	m, err := r.o.Store.InboxMessage(ctx, id)
	switch {
	case errors.Is(err, core.NotFound) || err == nil && r.visible(m) == nil:
		return nil, none
	case err != nil:
		return nil, err
	}
	return m, nil
}

func (r *Role) read(ctx context.Context, p api.IDParams) (api.AgentMessage, error) {
	m, err := r.findMessage(ctx, p.ID)
	if err != nil {
		return api.AgentMessage{}, err
	}
	return r.message(m, readBytes)
}

// items finds up to so many messages and answers of ours to approved peers, the newest
// first.
func (r *Role) items(ctx context.Context, f core.OutboxFilter, wanted func(*core.OutboxItem) bool, limit int) ([]*core.OutboxItem, error) {
	f.Limit = limit
	out, _, err := reader.Sent(ctx, r.o.Store, f, func(item *core.OutboxItem) bool {
		p := r.o.Gateway.Peer(item.Peer)
		return (item.Kind == core.OutMessage || item.Kind == core.OutReply) && p != nil && p.Trust == core.Approved && wanted(item)
	}, farBack)
	return out, err
}

func (r *Role) outbox(ctx context.Context, p api.AgentOutboxParams) ([]api.AgentSent, error) {
	var f core.OutboxFilter
	if p.Waiting {
		f.State = core.OutWaiting
	}
	if p.Peer != "" {
		peer, err := r.find(p.Peer)
		if err != nil {
			return nil, err
		}
		f.Peer = peer.Key
	}
	list, err := r.items(ctx, f, func(*core.OutboxItem) bool { return true }, shown(p.Limit))
	if err != nil {
		return nil, err
	}
	return r.allSent(ctx, list)
}

// allSent shows messages and answers of ours in a list.
func (r *Role) allSent(ctx context.Context, list []*core.OutboxItem) ([]api.AgentSent, error) {
	out := make([]api.AgentSent, len(list))
	for i, item := range list {
		var err error
		if out[i], err = r.sent(ctx, item, listBytes); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// conversation is what passed between us and a peer, the oldest first.
func (r *Role) conversation(ctx context.Context, p api.AgentConversationParams) ([]api.AgentEntry, error) {
	peer, err := r.find(p.Peer)
	if err != nil {
		return nil, err
	}
	of := func(m *core.Message) bool {
		return p.Conversation == "" || m != nil && (m.ConversationID == p.Conversation || word(m.ConversationID) == p.Conversation)
	}
	limit := shown(p.Limit)
	list, _, err := reader.Thread{Peer: peer.Key, Limit: maxShown, Look: farBack,
		In:  func(m *core.InboxMessage) bool { return r.visible(m) != nil && of(&m.Message) },
		Out: func(item *core.OutboxItem) bool { return item.Kind == core.OutMessage && of(item.Message) },
	}.Of(ctx, r.o.Store)
	if err != nil {
		return nil, err
	}
	out := []api.AgentEntry{}
	for _, e := range slices.Backward(list) {
		if e.Out != nil {
			v, err := r.sent(ctx, e.Out, listBytes)
			if err != nil {
				return nil, err
			}
			out = append(out, api.AgentEntry{At: e.At, Sent: &v})
			continue
		}
		v, err := r.message(e.In, listBytes)
		if err != nil {
			return nil, err
		}
		out = append(out, api.AgentEntry{At: e.At, Received: &v})
		if e.In.Reply != nil {
			out = append(out, api.AgentEntry{At: timeOf(e.In.Reply.Timestamp, e.At), Sent: r.replied(peer, e.In)})
		}
	}
	slices.SortStableFunc(out, func(a, b api.AgentEntry) int { return a.At.Compare(b.At) })
	if len(out) > limit {
		out = out[len(out)-limit:]
	}
	return out, nil
}
