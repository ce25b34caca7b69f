package replay

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/record"
)

// Past is what has come: what the policies have decided, and the messages of the inbox
// that none was asked about. Safe for concurrent use.
type Past struct {
	Store  core.Store
	Record *record.Ring
	Peers  func(ctx context.Context) ([]*core.Peer, error) // nil: those of the store
}

// atOnce is how many decisions, with payloads of 64 KiB at the most, go in one page.
const atOnce = 100

// inboxPage begins the place of a page that is of the inbox.
const inboxPage = "inbox/"

// Page gives what was decided since a time, the newest first; then the messages of the
// inbox, also those that were told before: whoever asks knows which. before is
// DecisionsPage.Next of the page before.
func (p Past) Page(ctx context.Context, since time.Time, before string) (api.DecisionsPage, error) {
	if before, inInbox := strings.CutPrefix(before, inboxPage); inInbox {
		return p.undecided(ctx, since, before)
	}
	page := api.DecisionsPage{Decisions: []api.DecisionView{}}
	list, err := p.Record.Page(ctx, since, before, atOnce)
	if err != nil {
		return page, err
	}
	for _, one := range list {
		if one.Kind == "" {
			continue
		}
		page.Decisions = append(page.Decisions, p.view(ctx, one))
	}
	if page.Next = inboxPage; len(list) == atOnce {
		page.Next = list[len(list)-1].ID
	}
	return page, nil
}

// view adds what the inbox still has of a decision.
func (p Past) view(ctx context.Context, one record.Decision) api.DecisionView {
	v := api.DecisionView{Decision: one}
	if one.InboxID != "" && len(one.Message.Payload) == 0 {
		if m, err := p.Store.InboxMessage(ctx, one.InboxID); err == nil {
			v.Payload = m.Message.Payload
		}
	}
	return v
}

func (p Past) undecided(ctx context.Context, since time.Time, before string) (api.DecisionsPage, error) {
	page := api.DecisionsPage{Decisions: []api.DecisionView{}}
	messages, err := p.Store.Inbox(ctx, core.InboxFilter{Since: since, Before: before, Limit: atOnce})
	if err != nil {
		return page, err
	}
	peers, err := p.peersByKey(ctx)
	if err != nil {
		return page, err
	}
	for _, m := range messages {
		if peer := peers[m.Peer]; peer != nil { // nobody can say of whom a forgotten peer's are
			page.Decisions = append(page.Decisions, keptView(peer, m))
		}
	}
	if len(messages) == atOnce {
		page.Next = inboxPage + messages[len(messages)-1].ID
	}
	return page, nil
}

func (p Past) peersByKey(ctx context.Context) (map[core.PublicKey]*core.Peer, error) {
	get := p.Peers
	if get == nil {
		get = p.Store.Peers
	}
	peers, err := get(ctx)
	byKey := make(map[core.PublicKey]*core.Peer, len(peers))
	for _, p := range peers {
		byKey[p.Key] = p
	}
	return byKey, err
}

// keptView is a message that no decision is recorded of: it came in, or was held.
func keptView(p *core.Peer, m *core.InboxMessage) api.DecisionView {
	q := hooks.Asked(p, m)
	v := api.DecisionView{NotAsked: true, Decision: record.Decision{ID: m.ID, InboxID: m.ID, At: m.At, Kind: core.HookMessage, Peer: m.Peer, Bytes: q.Bytes, Message: &m.Message,
		Topic: q.Topic, Verdict: core.Abstain, Reason: m.Reason, Then: record.Peer{Alias: cmp.Or(m.Alias, p.Alias), Tags: p.Tags, Trust: p.Trust, Names: p.Names, URL: p.URL, Offered: p.Offered}}}
	if p.Granted != nil {
		v.Then.Grants = p.Granted.Scopes
	}
	if m.Status == core.InboxHeld || m.Status == core.InboxDenied || m.Decided != nil {
		v.Verdict = core.Hold
	}
	return v
}

// About gives what was decided about one message of the inbox.
func (p Past) About(ctx context.Context, m *core.InboxMessage) (page api.DecisionsPage, err error) {
	for before := ""; ; {
		list, err := p.Record.Page(ctx, m.At.Add(-time.Minute), before, atOnce)
		if err != nil {
			return page, err
		}
		for _, one := range list {
			if one.InboxID == m.ID {
				page.Decisions = append(page.Decisions, p.view(ctx, one))
				return page, nil
			}
			before = one.ID
		}
		if len(list) < atOnce {
			break
		}
	}
	peers, err := p.peersByKey(ctx)
	if err != nil {
		return page, err
	}
	peer := peers[m.Peer]
	if peer == nil {
		peer = &core.Peer{Key: m.Peer}
	}
	page.Decisions = append(page.Decisions, keptView(peer, m))
	return page, nil
}
