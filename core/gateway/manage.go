package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// Approval is how to approve a peer.
type Approval struct {
	Grants []core.Grant // empty: what it has, or the configured defaults
	Alias  string
}

// Outgoing is an envelope of ours and how far it got in its first try.
type Outgoing struct {
	Peer  *core.Peer        `json:"-"`
	Item  *core.OutboxItem  `json:"-"`
	Err   error             `json:"-"` // of the first try: Unreachable, Refused, ...
	Reply *core.StoredReply `json:"-"` // that was waited for; nil: none came
}

// ApprovePeer approves a peer that has asked, or changes what an approved one is
// granted, and tells it: at once if it can be reached, else as soon as it can.
//
// Errors are of kind Conflict where there is nothing to approve.
func (g *trust) ApprovePeer(ctx context.Context, k core.PublicKey, a Approval) (Outgoing, error) {
	var item *core.OutboxItem
	next, err := g.transition(ctx, k, func(p *core.Peer, st *step) (next *core.Peer, err error) {
		if p == nil {
			return nil, errNoSuchPeer
		}
		if err := g.peers.CheckAlias(a.Alias, k); err != nil {
			return nil, err
		}
		if a.Alias != "" { // by which the notifiers call it, too
			p = p.Clone()
			p.Alias = a.Alias
		}
		next, item, err = g.approve(p, a.Grants, st)
		return next, err
	})
	if err != nil {
		return Outgoing{}, err
	}
	return g.sendFirst(ctx, next, item), nil
}

// sendFirst tries an envelope that has just been queued, if it is due.
func (g *trust) sendFirst(ctx context.Context, p *core.Peer, item *core.OutboxItem) Outgoing {
	if item.Next.After(g.o.Now()) { // it waits for the peer's command line
		return Outgoing{Peer: p, Item: item}
	}
	item, sendErr := g.outbox.SendNow(ctx, item)
	return Outgoing{Peer: p, Item: item, Err: sendErr}
}

// approve is the record of a peer that our operator approves, and the envelope that
// tells it.
func (g *trust) approve(p *core.Peer, grants []core.Grant, st *step) (*core.Peer, *core.OutboxItem, error) {
	was := peering.StateOf(p)
	next, err := applied(p, peering.Approve, st)
	if err != nil {
		return nil, nil, err
	}
	if len(grants) == 0 && (was == peering.Approved || was.InDoubt()) && p.Granted != nil {
		grants = p.Granted.Scopes
	}
	if err := scope.CheckGrants(grants); err != nil {
		return nil, nil, err
	}
	g.grant(next, grants)
	next.Warning = ""
	if next.OldForm { // our operator has seen the warning: what we send it are bilingual again
		next.V2, next.OldForm = false, false
	}
	if was != peering.Approved {
		next.ApprovedAt = st.now
		st.Events = append(st.Events, g.event(core.EventApproved, next, core.Us, "We have approved the peer.",
			map[string]any{"unverified": next.Names, "gatewayUrl": next.URL}))
	}
	item, err := g.tellApproved(next, true, st)
	return next, item, err
}

// applied makes the transition of an operator's command, or says why it is none.
func applied(p *core.Peer, e peering.Event, st *step) (*core.Peer, error) {
	if err := peering.Refusal(p, e); err != nil {
		return nil, err
	}
	return peering.Apply(p, e, st.now)
}

// tellApproved queues the envelope that tells a peer what it is granted, in the place of
// those that wait: it is written from the record as it is when it leaves.
func (g *trust) tellApproved(p *core.Peer, full bool, st *step) (*core.OutboxItem, error) {
	item := g.approvalItem(p, full)
	err := g.outbox.CancelApprovals(context.Background(), p.Key, "a later approval has replaced it", false, &st.Change)
	st.Outbox = append(st.Outbox, item)
	return item, err
}

// approvalItem is the envelope that tells a peer what it is granted. A full one
// says that it is approved; the other only grants back. To a peer that has not shown
// v2 it leaves a while after its request.
func (g *trust) approvalItem(p *core.Peer, full bool) *core.OutboxItem {
	item := g.outbox.Item(p.Key, core.OutApprove)
	if full {
		item.Nonce = envelope.NewNonce()
	}
	if !p.V2 {
		after := g.times().ApproveAfter
		if p.Version == "" || peers.Before(p, 0, 4) {
			after = g.times().ApproveAfterOld
		}
		if at := p.RequestedAt.Add(after); at.After(item.Next) {
			item.Next = at
		}
	}
	return item
}

// approvalSent has it asked whether an approval has arrived that a peer of an older
// version has taken: its command line may have written over it.
func (g *trust) approvalSent(k core.PublicKey, item *core.OutboxItem) {
	g.inBackground(func(ctx context.Context) {
		_, err := g.transition(ctx, k, func(p *core.Peer, st *step) (*core.Peer, error) {
			if p == nil || !isApproved(p) || p.V2 || !p.Asking.Confirm.IsZero() {
				return nil, nil
			}
			next := p.Clone()
			next.Asking.Ordered = outbox.Ordered(p, item)
			if at := st.now.Add(g.times().Confirm); !p.Asking.Resent && mayResend(next, at) {
				next.Asking.Confirm = at
			}
			next.Asking.Resent = false
			return next, nil
		})
		if err != nil && ctx.Err() == nil {
			g.log.Error("confirmation not stored", "err", err)
		}
	})
}

// mayResend reports whether an approval that was sent may be sent once more: not for
// long, and not past a removal notice.
func mayResend(p *core.Peer, at time.Time) bool {
	return !at.After(p.Asking.Ordered.Add(outbox.ApproveWithin)) && !outbox.Outrun(p, p.Asking.Ordered)
}

// RejectPeer says no to a peer that has asked. Only a peer that reads v2 is told:
// to every older gateway an envelope on that endpoint is an approval. later says not to
// wait for its first try. No notifier is told: our operator knows.
func (g *trust) RejectPeer(ctx context.Context, k core.PublicKey, later bool) (Outgoing, error) {
	var item *core.OutboxItem
	next, err := g.transition(ctx, k, func(p *core.Peer, st *step) (*core.Peer, error) {
		if p == nil {
			return nil, errNoSuchPeer
		}
		next, err := applied(p, peering.Reject, st)
		if err != nil {
			return nil, err
		}
		event := g.event(core.EventRejected, next, core.Us, "We have rejected the peer's request.", nil)
		event.Quiet = true
		st.Events = append(st.Events, event)
		if p.V2 && !p.OldForm {
			item = g.outbox.Item(k, core.OutReject)
			st.Outbox = append(st.Outbox, item)
		}
		return next, nil
	})
	if err != nil || item == nil || later {
		return Outgoing{Peer: next, Item: item}, err
	}
	return g.sendFirst(ctx, next, item), nil
}

// RemovePeer ends a federation, or forgets a request. It is final for us as soon
// as it is stored; the peer is told once, as well as can be. notified is nil when
// the peer took the notice.
//
// docs/protocol.md#removed
func (g *trust) RemovePeer(ctx context.Context, k core.PublicKey) (removed *core.Peer, notified error, err error) {
	known := g.peers.Get(k)
	if known == nil {
		return nil, nil, errNoSuchPeer
	}
	notice, unsigned := g.to(known).SealRemoval(k) // before the removal, so that its time is not after it
	next, err := g.transition(ctx, k, func(p *core.Peer, st *step) (*core.Peer, error) {
		if p == nil {
			return nil, errNoSuchPeer
		}
		next, err := applied(p, peering.Remove, st)
		if err != nil {
			return nil, err
		}
		st.Events = append(st.Events, g.removedEvent(next, core.Us))
		return next, g.outbox.Cancel(ctx, k, "the peer was removed", &st.Change)
	})
	if err != nil {
		return nil, nil, err
	}
	if unsigned != nil {
		g.log.Warn("could not notify peer of removal", "peer", next.Name(), "err", unsigned)
		return next, unsigned, nil
	}
	return next, g.notify(ctx, next, notice), nil
}

// notify tells a peer once that we have removed it.
func (g *trust) notify(ctx context.Context, p *core.Peer, notice []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	got, err := g.o.Transport.Post(ctx, p.URL, core.PathRemoved, notice)
	if err != nil {
		g.log.Warn("could not notify peer of removal", "peer", p.Name(), "err", err)
		return err
	}
	if j := g.outbox.Judge(ctx, p, answer.Removed, got, answer.Try{}); j.Verdict != answer.Yes {
		g.log.Warn("the peer has not taken the removal notice", "peer", p.Name(), "status", got.Status, "err", j.Text)
		// The specification's words for whatever answer is no yes.
		return &core.Error{Kind: core.Refused, Public: strings.TrimSpace(fmt.Sprintf("%d %s", got.Status, http.StatusText(got.Status))), Hint: j.Text}
	}
	return nil
}

// ForgetPeer deletes the record of a peer that is removed or rejected, and with it
// that it has shown v2. One whose removal is in doubt is removed first, and told so:
// notified says what came of that, as for RemovePeer.
func (g *trust) ForgetPeer(ctx context.Context, k core.PublicKey) (notified error, err error) {
	if p := g.peers.Get(k); p != nil && inDoubt(p) {
		if _, notified, err = g.RemovePeer(ctx, k); err != nil {
			return notified, err
		}
	}
	_, err = g.transition(ctx, k, func(p *core.Peer, st *step) (*core.Peer, error) {
		if p == nil {
			return nil, errNoSuchPeer
		}
		st.Forget = append(st.Forget, k)
		return nil, peering.Refusal(p, peering.Forget)
	})
	return notified, err
}

// SetAlias names a peer. An empty alias takes the name away.
func (g *trust) SetAlias(ctx context.Context, k core.PublicKey, alias string) (*core.Peer, error) {
	return g.change(ctx, k, func(p *core.Peer) error {
		if err := g.peers.CheckAlias(alias, k); err != nil {
			return err
		}
		p.Alias = alias
		return nil
	})
}

// Tag adds words to those of a peer, by which lists choose, and takes others away.
// Errors are of kind Malformed.
func (g *trust) Tag(ctx context.Context, k core.PublicKey, add, drop []string) (*core.Peer, error) {
	return g.change(ctx, k, func(p *core.Peer) (err error) {
		p.Tags, err = core.Tags(p.Tags, add, drop)
		return err
	})
}

// SetLevel sets how much a peer's agent may ask on a topic; an empty topic sets
// the peer's default, an empty level takes the setting away. A peer that is not approved
// gets none: the error is of kind NotApproved.
func (g *trust) SetLevel(ctx context.Context, k core.PublicKey, topic, level string) (*core.Peer, error) {
	return g.change(ctx, k, func(p *core.Peer) error {
		if err := peering.NotApproved(p); err != nil && level != "" {
			return err
		}
		switch {
		case topic == "":
			p.DefaultLevel = level
		case level == "":
			delete(p.Levels, topic)
		default:
			if p.Levels == nil {
				p.Levels = map[string]string{}
			}
			p.Levels[topic] = level
		}
		return nil
	})
}

// ImportPeers adds peers that another gateway's state held. A key that we know
// already keeps our record. It returns how many were added.
func (g *trust) ImportPeers(ctx context.Context, peers []*core.Peer) (added int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	err = g.decide(ctx, func(st *step) error {
		aliases := map[string]bool{}
		for _, p := range peers {
			if old := g.peers.Get(p.Key); old != nil || p.Key == g.self {
				continue
			}
			p = p.Clone()
			if err := g.peers.CheckAlias(p.Alias, p.Key); err != nil || aliases[strings.ToLower(p.Alias)] {
				g.log.Warn("a peer goes without its alias", "peer", p.Key.Fingerprint(), "alias", clean(p.Alias, 64), "err", err)
				p.Alias = ""
			}
			aliases[strings.ToLower(p.Alias)] = true
			g.peers.Number(nil, p, g.settings.Load().Notified())
			st.Peers = append(st.Peers, p)
		}
		added = len(st.Peers)
		return nil
	})
	return added, err
}
