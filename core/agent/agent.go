// Package agent is the role of the agent behind a gateway: what its own control socket
// answers. It may read what approved peers have sent, send, ask, answer, and propose; it
// may not change trust, grants, names, plugins or settings, and sees no key
// (docs/threat-model.md#g1).
//
// Peers stand in it under our own names. What a peer wrote is in texts alone, fenced as
// in notices, by the same code.
package agent

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// Gateway is what the role sees of the gateway.
type Gateway interface {
	Key() core.PublicKey
	Settings() ours.Settings
	Peers() []*core.Peer
	Peer(k core.PublicKey) *core.Peer
	Health(k core.PublicKey) peering.Health
	Send(ctx context.Context, k core.PublicKey, m gateway.Sending) (gateway.Outgoing, error)
	AwaitReply(ctx context.Context, item *core.OutboxItem) (*core.StoredReply, error)
	InboxReply(ctx context.Context, id string, reply core.Reply, byAgent bool) (gateway.Outgoing, error)
	ReplyBack(ctx context.Context, d *core.Delivery, reply core.Reply) error
	Propose(ctx context.Context, p *core.Peer, note string) error
	TakeBack(ctx context.Context, item *core.OutboxItem, p *core.Peer) error
}

// Options are what a Role is made of.
type Options struct {
	Gateway Gateway
	Store   core.Store
	// PerDay is what the agent may send to one peer within 24 hours; zero members bound
	// nothing. It is asked at each act.
	PerDay func() brake.Use
	Now    func() time.Time // nil: time.Now
	// Command is what a command for this gateway begins with; empty: "ogp".
	Command string
}

// Role answers the agent. Safe for concurrent use.
type Role struct {
	o        Options
	used     brake.Tally[core.PublicKey]
	watchers watchers
}

// New makes the role, and counts what the agent has sent of late.
func New(ctx context.Context, o Options) (*Role, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Role{o: o}
	return r, r.recount(ctx)
}

// Handlers answer the methods of the agent, and no others.
func (r *Role) Handlers() []control.Handler {
	return []control.Handler{
		api.AgentPeers.Handle(r.peers),
		api.AgentInbox.Handle(r.inbox),
		api.AgentRead.Handle(r.read),
		api.AgentConversation.Handle(r.conversation),
		api.AgentSend.Handle(r.Send),
		api.AgentResult.Handle(r.Result),
		api.AgentReply.Handle(r.reply),
		api.AgentOutbox.Handle(r.outbox),
		api.AgentPropose.Handle(r.propose),
		api.AgentStatus.Handle(r.status),
	}
}

// approved lists the peers that the agent may know of.
func (r *Role) approved() []*core.Peer {
	return slices.DeleteFunc(r.o.Gateway.Peers(), func(p *core.Peer) bool { return p.Trust != core.Approved })
}

// find finds an approved peer by our name for it or its fingerprint, or by the only
// beginning of at least four characters that fits one.
func (r *Role) find(ref string) (*core.Peer, error) {
	ref = strings.TrimSpace(ref)
	var same, fits []*core.Peer
	for _, p := range r.approved() {
		switch {
		case strings.EqualFold(p.Key.Fingerprint(), ref): // no alias takes it
			return p, nil
		case strings.EqualFold(p.Alias, ref) && ref != "":
			same = append(same, p)
		case len(ref) >= 4 && (begins(p.Alias, ref) || begins(p.Key.Fingerprint(), ref)):
			fits = append(fits, p)
		}
	}
	if i := slices.IndexFunc(same, func(p *core.Peer) bool { return p.Alias == ref }); i >= 0 {
		return same[i], nil
	}
	if len(same) > 0 {
		fits = same
	}
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0:
		return nil, core.Refuse(core.NotFound, "there is no approved peer of this name; the tool peers lists them")
	}
	e := core.Refuse(core.Ambiguous, "several peers fit this name; give more of it, or the fingerprint")
	for _, p := range fits {
		e.Candidates = append(e.Candidates, p.Name())
	}
	return nil, e
}

func begins(s, with string) bool {
	return len(s) >= len(with) && strings.EqualFold(s[:len(with)], with)
}

func (r *Role) peers(context.Context, api.None) ([]api.AgentPeer, error) {
	out := []api.AgentPeer{}
	for _, p := range r.approved() {
		out = append(out, api.AgentPeer{Name: p.Name(), Fingerprint: p.Key.Fingerprint(),
			Reach: string(cmp.Or(r.o.Gateway.Health(p.Key).Outbound, peering.Unknown)), WeMay: intents(p.Received), TheyMay: intents(p.Granted)})
	}
	return out, nil
}

// maxWords bounds lists of a peer's own making.
const maxWords = 50

// intents are the names in a bundle, each no more than a word.
func intents(b *core.Bundle) []string {
	out := []string{}
	if b == nil {
		return out
	}
	for _, g := range b.Scopes {
		if !g.Enabled || len(out) == maxWords {
			continue
		}
		name := word(g.Intent)
		if topics := g.Topics; len(topics) > 0 {
			named := make([]string, 0, len(topics))
			for _, t := range topics[:min(len(topics), maxWords)] {
				named = append(named, word(t))
			}
			name += " on " + strings.Join(named, ", ")
		}
		out = append(out, name)
	}
	return out
}

func (r *Role) status(ctx context.Context, _ api.None) (api.AgentState, error) {
	s := r.o.Gateway.Settings()
	most := r.o.PerDay()
	out := api.AgentState{Name: s.Names.DisplayName, Fingerprint: r.o.Gateway.Key().Fingerprint(), URL: s.URL,
		Peers: len(r.approved()), PerDay: api.AgentBound{Messages: most.Messages, Bytes: most.Bytes}}
	d, err := r.o.Store.Depths(ctx, core.ManyWait)
	if err != nil {
		return out, err
	}
	out.Waiting = d.Outbox
	recent, err := r.messages(ctx, core.InboxFilter{Status: core.InboxNew, Since: r.o.Now().Add(-24 * time.Hour)}, maxShown)
	if err != nil {
		return out, err
	}
	out.Unanswered = len(recent)
	r.used.Each(r.o.Now(), func(k core.PublicKey, u brake.Use) {
		if p := r.o.Gateway.Peer(k); p != nil && p.Trust == core.Approved {
			out.Used = append(out.Used, api.AgentUse{Peer: p.Name(), Messages: u.Messages, Bytes: u.Bytes})
		}
	})
	slices.SortFunc(out.Used, func(a, b api.AgentUse) int { return cmp.Compare(a.Peer, b.Peer) })
	return out, nil
}
