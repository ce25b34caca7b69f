// Package reader answers what an operator reads: messages in and out by page, searched
// for words, as threads; and peers by page. A page costs what it shows, however much is
// kept: a search looks at so many at the most, and says where it stopped.
package reader

import (
	"context"
	"errors"
	"iter"
	"math"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// Gateway is what a Reader sees of the gateway.
type Gateway interface {
	Resolve(ref string) (*core.Peer, error)
	Peer(k core.PublicKey) *core.Peer
	PeersFrom(after peers.Place, state core.Trust) iter.Seq[*core.Peer] // as peers.Index.From
	PeerStates() map[core.Trust]int
}

// Reader answers from a store and a gateway. Safe for concurrent use.
type Reader struct {
	Store   core.Store
	Gateway Gateway
	View    func(p *core.Peer) api.PeerView // as a list shows a peer
	Trouble func(p *core.Peer) bool         // View(p).InTrouble(), without the rest of it
}

// Handlers answer the methods that read.
func (r *Reader) Handlers() []control.Handler {
	return []control.Handler{
		api.Inbox.Handle(func(ctx context.Context, p api.InboxParams) ([]api.InboxView, error) {
			page, err := r.inbox(ctx, p)
			return page.Messages, err
		}),
		api.InboxPage.Handle(r.inbox),
		api.InboxMessage.Handle(r.inboxMessage),
		api.Outbox.Handle(func(ctx context.Context, p api.OutboxParams) ([]api.OutboxView, error) {
			page, err := r.outbox(ctx, p)
			return page.Messages, err
		}),
		api.OutboxPage.Handle(r.outbox),
		api.OutboxItem.Handle(r.outboxItem),
		api.Thread.Handle(r.thread),
		api.Peers.Handle(func(ctx context.Context, p api.PeersParams) ([]api.PeerView, error) {
			page, err := r.peers(ctx, p)
			return page.Peers, err
		}),
		api.PeersPage.Handle(r.peers),
	}
}

// maxPage is how many of the newest messages are looked through for the end of an id.
const maxPage = 1000

// sized is how many entries a page has: as many as are asked for, and 100 where nobody says.
func sized(limit int) int {
	if limit <= 0 {
		return 100
	}
	return min(limit, math.MaxInt32) // one more is read
}

// key is the key of a peer that a user names; none: the zero key.
func (r *Reader) key(ref string) (core.PublicKey, error) {
	if ref == "" {
		return core.PublicKey{}, nil
	}
	p, err := r.Gateway.Resolve(ref)
	if err != nil {
		return core.PublicKey{}, err
	}
	return p.Key, nil
}

// name is our name for a peer.
func (r *Reader) name(k core.PublicKey) string {
	if p := r.Gateway.Peer(k); p != nil {
		return p.Name()
	}
	return k.Fingerprint()
}

func (r *Reader) inbox(ctx context.Context, p api.InboxParams) (api.InboxPageView, error) {
	page := api.InboxPageView{Messages: []api.InboxView{}}
	k, err := r.key(p.Peer)
	if err != nil {
		return page, err
	}
	var want func(*core.InboxMessage) bool
	if words := wordsOf(p.Search); len(words) > 0 {
		want = func(m *core.InboxMessage) bool { return r.holdsMessage(words, m) }
	}
	f := core.InboxFilter{Peer: k, Status: p.Status, Intent: p.Intent, Since: p.Since, Before: strings.ToUpper(p.Before), Limit: sized(p.Limit)}
	list, end, err := Received(ctx, r.Store, f, want, searched)
	if err != nil {
		return page, err
	}
	for _, m := range list {
		page.Messages = append(page.Messages, r.InboxView(m))
	}
	page.Next, page.Looked = end.Next, end.Looked
	return page, nil
}

// InboxView shows a message.
func (r *Reader) InboxView(m *core.InboxMessage) api.InboxView {
	return api.InboxView{InboxMessage: *m, From: r.name(m.Peer), Fingerprint: m.Peer.Fingerprint(), Text: api.OneLine(m.Message.Payload)}
}

// FindInbox finds a message by its id, however old, or among the newest by the end of it
// or "last".
func (r *Reader) FindInbox(ctx context.Context, id string) (*core.InboxMessage, error) {
	m, err := r.Store.InboxMessage(ctx, strings.ToUpper(id))
	if err == nil || !errors.Is(err, core.NotFound) {
		return m, err
	}
	recent, err := r.Store.Inbox(ctx, core.InboxFilter{Limit: maxPage})
	if err != nil {
		return nil, err
	}
	i, err := pick(len(recent), func(i int) string { return recent[i].ID }, id, "ogp inbox list")
	if err != nil {
		return nil, err
	}
	return recent[i], nil
}

// pick finds the one of n ids that a user means by its end or by "last" (the
// first of the list).
func pick(n int, id func(int) string, ref, list string) (int, error) {
	if ref == "last" && n > 0 {
		return 0, nil
	}
	found := -1
	for i := range n {
		if len(ref) >= 4 && strings.HasSuffix(id(i), strings.ToUpper(ref)) {
			if found >= 0 {
				e := core.Refusef(core.Ambiguous, "several ids end in %q", ref)
				e.Candidates = []string{id(found), id(i)}
				return 0, e
			}
			found = i
		}
	}
	if found < 0 {
		if n == 0 {
			return 0, core.Refuse(core.NotFound, "there is none yet").
				WithHint(`"` + list + `" shows them when there are some`)
		}
		return 0, core.Refusef(core.NotFound, "nothing has the id %q", ref).
			WithHint(`"` + list + `" shows the ids; "last" is the newest`)
	}
	return found, nil
}

func (r *Reader) inboxMessage(ctx context.Context, p api.IDParams) (api.InboxView, error) {
	m, err := r.FindInbox(ctx, p.ID)
	if err != nil {
		return api.InboxView{}, err
	}
	return r.InboxView(m), nil
}

func (r *Reader) outbox(ctx context.Context, p api.OutboxParams) (api.OutboxPageView, error) {
	page := api.OutboxPageView{Messages: []api.OutboxView{}}
	k, err := r.key(p.Peer)
	if err != nil {
		return page, err
	}
	var want func(*core.OutboxItem) bool
	if words := wordsOf(p.Search); len(words) > 0 {
		want = func(o *core.OutboxItem) bool { return r.holdsItem(words, o) }
	}
	f := core.OutboxFilter{Peer: k, State: p.State, Before: strings.ToUpper(p.Before), Limit: sized(p.Limit)}
	list, end, err := Sent(ctx, r.Store, f, want, searched)
	if err != nil {
		return page, err
	}
	for _, item := range list {
		page.Messages = append(page.Messages, r.outboxView(item))
	}
	page.Next, page.Looked = end.Next, end.Looked
	return page, nil
}

func (r *Reader) outboxView(item *core.OutboxItem) api.OutboxView {
	v := api.OutboxView{OutboxItem: *item, To: r.name(item.Peer)}
	v.Body = nil
	if p := r.Gateway.Peer(item.Peer); p != nil {
		v.GiveUp = outbox.Ends(p, item)
	}
	return v
}

// answered is outboxView with the peer's answer.
func (r *Reader) answered(ctx context.Context, item *core.OutboxItem) (api.OutboxView, error) {
	v := r.outboxView(item)
	if v.Nonce == "" || v.Kind != core.OutMessage {
		return v, nil
	}
	reply, err := r.Store.Reply(ctx, v.Peer, v.Nonce)
	if err != nil && !errors.Is(err, core.NotFound) {
		return v, err
	}
	v.Reply = reply
	return v, nil
}

// FindOutbox finds an envelope of ours by its id, however old, or among the newest by the
// end of it or "last".
func (r *Reader) FindOutbox(ctx context.Context, ref string) (*core.OutboxItem, error) {
	item, err := r.Store.OutboxItem(ctx, strings.ToUpper(ref))
	if err == nil || !errors.Is(err, core.NotFound) {
		return item, err
	}
	items, err := r.Store.Outbox(ctx, core.OutboxFilter{Limit: maxPage})
	if err != nil {
		return nil, err
	}
	i, err := pick(len(items), func(i int) string { return items[i].ID }, ref, "ogp outbox list --all")
	if err != nil {
		return nil, err
	}
	return items[i], nil
}

func (r *Reader) outboxItem(ctx context.Context, p api.IDParams) (api.OutboxView, error) {
	item, err := r.FindOutbox(ctx, p.ID)
	if err != nil {
		return api.OutboxView{}, err
	}
	return r.answered(ctx, item)
}
