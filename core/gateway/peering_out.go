package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

func sameKey(text string, k core.PublicKey) bool {
	return strings.EqualFold(text, k.String())
}

// Ask is how to ask another gateway for federation.
type Ask struct {
	URL      string
	Alias    string         // our name for it; empty: none
	Expect   core.PublicKey // the key that the card must have; zero: any
	Invite   *core.Invited  // the invite that we follow, if it approves by itself
	Again    bool           // ask even if the peer is approved
	Fallback []string       // further URLs to try, in order
	Grants   []core.Grant   // for a peer that has asked already: what to grant
}

// Asked is what came of asking.
type Asked struct {
	Peer   *core.Peer
	Status string // pending, approved, or what the peer said
	// Unchecked is set when our own gateway URL could not be reached from here, so
	// that the peer's answer may not find its way.
	Unchecked string
}

// RequestFederation asks the gateway at a URL for federation. The card's key is
// pinned: nobody else can approve.
//
// Errors are of kind Malformed, Unreachable, Refused (the peer said no),
// Conflict (the card's key is not the expected one, or the peer is approved).
//
// docs/threat-model.md#t2
func (g *Gateway) RequestFederation(ctx context.Context, a Ask) (Asked, error) {
	target, err := gatewayURL(a.URL)
	if err != nil {
		return Asked{}, err
	}
	card, err := g.o.Transport.Card(ctx, target, nil)
	for i := 0; err != nil && errors.Is(err, core.Unreachable) && i < len(a.Fallback); i++ {
		if target, err = gatewayURL(a.Fallback[i]); err == nil {
			card, err = g.o.Transport.Card(ctx, target, nil)
		}
	}
	if err != nil {
		return Asked{}, err
	}
	key, err := keys.Parse(card.PublicKey)
	if err != nil {
		return Asked{}, &core.Error{Kind: core.Refused, Public: "the gateway's card has no sound public key", Err: err}
	}
	switch {
	case key == g.self:
		return Asked{}, core.Refuse(core.Malformed, "that is this gateway itself")
	case !a.Expect.IsZero() && key != a.Expect:
		e := core.Refusef(core.Conflict, "the gateway at %s has another key than expected: %s, not %s. Nothing was stored",
			target, key.Fingerprint(), a.Expect.Fingerprint())
		e.Hint = "ask your peer, by another way, for the fingerprint that \"ogp whoami\" shows"
		return Asked{}, e
	}
	// The card names the canonical URL; it is followed only to where the same key
	// answers, which the request itself proves by its recipient.
	if canonical, err := gatewayURL(card.GatewayURL); err == nil && canonical != target {
		if again, err := g.o.Transport.Card(ctx, canonical, nil); err == nil && sameKey(again.PublicKey, key) {
			target = canonical
		}
	}
	old, next, err := g.keepRequest(ctx, key, target, card, a)
	if err != nil {
		return Asked{Peer: next}, err
	}
	if next.Trust == core.Approved {
		return Asked{Peer: next, Status: string(core.Approved)}, nil
	}
	got, err := g.postRequest(ctx, next, a)
	if err != nil {
		return Asked{}, errors.Join(err, g.unask(context.WithoutCancel(ctx), old, next, err))
	}
	var said received
	if json.Unmarshal(got.Body, &said) != nil || said.Status == "" {
		said.Status = "pending"
	}
	return Asked{Peer: next, Status: clean(said.Status, 40)}, nil
}

// keepRequest writes down that we ask, before we do: an approval may come back before our
// own answer. A peer that has asked us is approved instead: asking it is saying
// yes. It returns the record before and after.
func (g *Gateway) keepRequest(ctx context.Context, key core.PublicKey, target string, card core.Card, a Ask) (old, next *core.Peer, err error) {
	g.transitions.Lock()
	defer g.transitions.Unlock()
	if err := g.checkAlias(a.Alias, key); err != nil {
		return nil, nil, err
	}
	old = g.peers.get(key)
	if old == nil {
		old = &core.Peer{Key: key}
	}
	switch {
	case old.Trust == core.Approved && !a.Again:
		e := core.Refusef(core.Conflict, "%s is approved already", old.Name())
		e.Hint = `"ogp federation request --again" asks once more, if the peer has lost us`
		return old, nil, e
	case old.Trust == core.Pending:
		next, _, err = g.approveLocked(ctx, old, a.Grants, func(p *core.Peer) { setDefault(&p.Alias, a.Alias) })
		g.outbox.Wake(key)
		return old, next, err
	}
	next, err = peering.Apply(old, peering.Ask, g.o.Now().UTC())
	if err != nil {
		return old, nil, err
	}
	next.URL = target
	next.Names = cleanNames(core.Names{DisplayName: card.DisplayName, Email: card.Email})
	next.Features, next.Version = cleanIntents(card.Capabilities.Features), clean(card.Version, 32)
	next.Warning = ""
	if a.Alias != "" {
		next.Alias = a.Alias
	}
	return old, next, g.keep(ctx, &core.Change{Peers: []*core.Peer{next}})
}

// unask takes a request back that nobody has heard, unless something has come of
// it in the meantime. A request of which the answer got lost may have arrived, so
// that one to a known peer stays.
func (g *Gateway) unask(ctx context.Context, old, next *core.Peer, cause error) error {
	g.transitions.Lock()
	defer g.transitions.Unlock()
	if g.peers.get(next.Key) != next || !errors.Is(cause, core.Refused) && old.Trust != core.Stranger {
		return nil
	}
	if old.Trust == core.Stranger {
		return g.keep(ctx, &core.Change{Forget: []core.PublicKey{next.Key}})
	}
	return g.keep(ctx, &core.Change{Peers: []*core.Peer{old}})
}

func (g *Gateway) postRequest(ctx context.Context, p *core.Peer, a Ask) (core.Answer, error) {
	body := g.sealer.SealRequest(p.Key, core.Request{Peer: g.peerCard(), OfferedIntents: g.intents(), Invite: a.Invite})
	got, err := g.o.Transport.Post(ctx, p.URL, core.PathRequest, body)
	if err == nil {
		err = g.outbox.Judge(ctx, p, answer.Request, got, false).Err()
	}
	g.peers.checked(p.Key, outbox.Unheard(err), g.o.Now(), g.settings.Load().CheckFailures)
	if outbox.Unheard(err) == nil {
		g.outbox.Alive(p.Key)
	}
	return got, err
}

// peerCard is what we say of ourselves when we ask.
func (g *Gateway) peerCard() core.PeerCard {
	s := g.settings.Load()
	return core.PeerCard{ID: g.self.ID(), DisplayName: s.Names.DisplayName, Email: s.Names.Email, GatewayURL: s.URL,
		PublicKey: g.self.String(), HumanName: s.Names.HumanName, AgentName: s.Names.AgentName, Organization: s.Names.Organization}
}

// intents are the intents that we know, in the card's order.
func (g *Gateway) intents() []string {
	out := slices.Clone(core.BuiltinIntents)
	add := func(intents []string) {
		for _, i := range intents {
			if !slices.Contains(out, i) {
				out = append(out, i)
			}
		}
	}
	add(g.settings.Load().Intents)
	if plugins, err := g.plugins(); err == nil {
		for _, h := range plugins.Handlers {
			add(h.Intents())
		}
	}
	return out
}

// Approval is how to approve a peer.
type Approval struct {
	Grants []core.Grant // empty: the configured defaults
	Alias  string
}

// Outgoing is an envelope of ours and how far it got in its first try.
type Outgoing struct {
	Peer *core.Peer       `json:"-"`
	Item *core.OutboxItem `json:"-"`
	Err  error            `json:"-"` // of the first try: Unreachable, Refused, ...
}

// ApprovePeer approves a peer that has asked, or changes what an approved one is
// granted, and tells it: at once if it can be reached, else as soon as it can.
//
// Errors are of kind Conflict where there is nothing to approve.
func (g *Gateway) ApprovePeer(ctx context.Context, k core.PublicKey, a Approval) (Outgoing, error) {
	g.transitions.Lock()
	p := g.peers.get(k)
	if p == nil {
		g.transitions.Unlock()
		return Outgoing{}, core.Refuse(core.NotFound, "no such peer")
	}
	if err := g.checkAlias(a.Alias, k); err != nil {
		g.transitions.Unlock()
		return Outgoing{}, err
	}
	grants := a.Grants
	if len(grants) == 0 && p.Trust == core.Approved && p.Granted != nil {
		grants = p.Granted.Scopes
	}
	next, item, err := g.approveLocked(ctx, p, grants, func(p *core.Peer) {
		if a.Alias != "" {
			p.Alias = a.Alias
		}
	})
	g.transitions.Unlock()
	if err != nil {
		return Outgoing{}, err
	}
	item, sendErr := g.outbox.SendNow(ctx, item)
	return Outgoing{next, item, sendErr}, nil
}

// approveLocked makes the move and queues the envelope. Called with moves held.
func (g *Gateway) approveLocked(ctx context.Context, p *core.Peer, grants []core.Grant, also func(*core.Peer)) (*core.Peer, *core.OutboxItem, error) {
	next, err := peering.Apply(p, peering.Approve, g.o.Now().UTC())
	if err != nil {
		e := core.Refusef(core.Conflict, "%s is %s; there is nothing to approve", p.Name(), peering.StateName(p.Trust))
		switch p.Trust {
		case core.Requested:
			e.Hint = "we asked; it is the peer's turn to approve"
		default:
			e.Hint = `"ogp federation request" asks it to federate`
		}
		return nil, nil, e
	}
	g.grant(next, grants)
	next.Warning = ""
	also(next)
	item := g.approvalItem(next, true)
	change := &core.Change{Peers: []*core.Peer{next}, Outbox: []*core.OutboxItem{item}}
	if p.Trust != core.Approved {
		change.Events = append(change.Events, g.event(core.EventApproved, next, core.Us, "We have approved the peer.",
			map[string]any{"unverified": next.Names, "gatewayUrl": next.URL}))
	}
	if err := g.keep(ctx, change); err != nil {
		return nil, nil, err
	}
	return next, item, nil
}

// approvalItem is the envelope that tells a peer what it is granted. A full one
// says that it is approved; the other only grants back.
func (g *Gateway) approvalItem(p *core.Peer, full bool) *core.OutboxItem {
	item := g.outbox.Item(p.Key, core.OutApprove)
	if full {
		item.Nonce = envelope.NewNonce()
	}
	return item
}

// approval writes the envelope for an item, from the record as it is now.
func (g *Gateway) approval(p *core.Peer, item *core.OutboxItem) core.Approval {
	s := g.settings.Load()
	a := core.Approval{
		FromGatewayID: s.HostPort(), FromDisplayName: s.Names.DisplayName, FromGatewayURL: s.URL,
		FromPublicKey: g.self.String(), FromEmail: s.Names.Email,
		ProtocolVersion: core.BundleVersion, ScopeGrants: p.Granted,
	}
	if item.Nonce != "" {
		yes := true
		a.PeerID, a.Approved, a.Nonce = p.Key.ID(), &yes, item.Nonce
	}
	return a
}

// RejectPeer says no to a peer that has asked. Only a peer that reads v2 is told:
// to every older gateway an envelope on that endpoint is an approval.
func (g *Gateway) RejectPeer(ctx context.Context, k core.PublicKey) (Outgoing, error) {
	g.transitions.Lock()
	p := g.peers.get(k)
	if p == nil {
		g.transitions.Unlock()
		return Outgoing{}, core.Refuse(core.NotFound, "no such peer")
	}
	next, err := peering.Apply(p, peering.Reject, g.o.Now().UTC())
	if err != nil {
		g.transitions.Unlock()
		e := core.Refusef(core.Conflict, "%s is %s; there is no request to reject", p.Name(), peering.StateName(p.Trust))
		if p.Trust == core.Approved {
			e.Hint = `"ogp federation remove" ends a federation`
		}
		return Outgoing{}, e
	}
	change := &core.Change{Peers: []*core.Peer{next}}
	change.Events = append(change.Events, g.event(core.EventRejected, next, core.Us, "We have rejected the peer's request.", nil))
	var item *core.OutboxItem
	if p.V2 {
		item = g.outbox.Item(k, core.OutReject)
		change.Outbox = append(change.Outbox, item)
	}
	err = g.keep(ctx, change)
	g.transitions.Unlock()
	if err != nil || item == nil {
		return Outgoing{Peer: next}, err
	}
	item, sendErr := g.outbox.SendNow(ctx, item)
	return Outgoing{next, item, sendErr}, nil
}

// RemovePeer ends a federation, or forgets a request. It is final for us as soon
// as it is kept; the peer is told once, as well as can be. notified is nil when
// the peer took the notice.
//
// docs/protocol.md#removed
func (g *Gateway) RemovePeer(ctx context.Context, k core.PublicKey) (removed *core.Peer, notified error, err error) {
	g.transitions.Lock()
	p := g.peers.get(k)
	if p == nil {
		g.transitions.Unlock()
		return nil, nil, core.Refuse(core.NotFound, "no such peer")
	}
	next, err := peering.Apply(p, peering.Remove, g.o.Now().UTC())
	if err != nil {
		g.transitions.Unlock()
		return nil, nil, core.Refusef(core.Conflict, "%s is %s already", p.Name(), peering.StateName(p.Trust))
	}
	change := &core.Change{Peers: []*core.Peer{next}, Events: []*core.Event{g.removedEvent(next, core.Us)}}
	err = g.outbox.Cancel(ctx, k, "the peer was removed", change)
	if err == nil {
		err = g.keep(ctx, change)
	}
	g.transitions.Unlock()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	got, err := g.o.Transport.Post(ctx, p.URL, core.PathRemoved, g.sealer.SealRemoval(k))
	if err != nil {
		g.log.Warn("could not notify peer of removal", "peer", p.Name(), "err", err)
		return next, err, nil
	}
	if j := g.outbox.Judge(ctx, p, answer.Removed, got, false); j.Verdict != answer.Yes {
		g.log.Warn("the peer has not taken the removal notice", "peer", p.Name(), "status", got.Status, "err", j.Text)
		return next, j.Err(), nil
	}
	return next, nil, nil
}

// SetAlias names a peer. An empty alias takes the name away.
func (g *Gateway) SetAlias(ctx context.Context, k core.PublicKey, alias string) (*core.Peer, error) {
	return g.change(ctx, k, func(p *core.Peer) error {
		if err := g.checkAlias(alias, k); err != nil {
			return err
		}
		p.Alias = alias
		return nil
	})
}

// SetLevel sets how much a peer's agent may ask on a topic; an empty topic sets
// the peer's default, an empty level takes the setting away.
func (g *Gateway) SetLevel(ctx context.Context, k core.PublicKey, topic, level string) (*core.Peer, error) {
	return g.change(ctx, k, func(p *core.Peer) error {
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

// change replaces a record by a changed copy.
func (g *Gateway) change(ctx context.Context, k core.PublicKey, f func(*core.Peer) error) (*core.Peer, error) {
	g.transitions.Lock()
	defer g.transitions.Unlock()
	p := g.peers.get(k)
	if p == nil {
		return nil, core.Refuse(core.NotFound, "no such peer")
	}
	next := p.Clone()
	if err := f(next); err != nil {
		return nil, err
	}
	return next, g.keep(ctx, &core.Change{Peers: []*core.Peer{next}})
}

// checkAlias refuses an alias that another peer has or that reads like a key.
func (g *Gateway) checkAlias(alias string, k core.PublicKey) error {
	if alias == "" {
		return nil
	}
	if alias != clean(alias, 64) || strings.ContainsAny(alias, " \t") || strings.HasPrefix(alias, "-") ||
		strings.HasPrefix(strings.ToLower(alias), core.SPKIPrefix[:16]) {
		return core.Refusef(core.Malformed, "alias %q: want up to 64 characters without spaces", clean(alias, 64))
	}
	g.peers.mu.RLock()
	defer g.peers.mu.RUnlock()
	if e := g.peers.byAlias[alias]; e != nil && e.peer.Key != k {
		return core.Refusef(core.Conflict, "alias %q is the name of another peer", alias)
	}
	return nil
}

// ImportPeers adds peers that another gateway's state held. A key that we know
// already keeps our record. It returns how many were added.
func (g *Gateway) ImportPeers(ctx context.Context, peers []*core.Peer) (int, error) {
	g.transitions.Lock()
	defer g.transitions.Unlock()
	change := &core.Change{}
	aliases := map[string]bool{}
	for _, p := range peers {
		if old := g.peers.get(p.Key); old != nil || p.Key == g.self {
			continue
		}
		p = p.Clone()
		if aliases[p.Alias] || g.checkAlias(p.Alias, p.Key) != nil {
			p.Alias = ""
		}
		aliases[p.Alias] = true
		change.Peers = append(change.Peers, p)
	}
	if len(change.Peers) == 0 {
		return 0, nil
	}
	return len(change.Peers), g.keep(ctx, change)
}

// Peers returns all peers, the longest known first.
func (g *Gateway) Peers() []*core.Peer { return g.peers.all() }

// Peer returns a peer by key, or nil.
func (g *Gateway) Peer(k core.PublicKey) *core.Peer { return g.peers.get(k) }

// Health says how a peer can be reached.
func (g *Gateway) Health(k core.PublicKey) peering.Health { return g.peers.healthOf(k) }

// Used says how much of a grant's rate a peer has used up.
func (g *Gateway) Used(k core.PublicKey, grant core.Grant) int {
	rate := core.DefaultRate
	if grant.RateLimit != nil {
		rate = *grant.RateLimit
	}
	return g.scopes.Used(k, grant.Intent, rate.Window(), g.o.Now())
}

// PingGateway asks a gateway whether it is there.
func (g *Gateway) PingGateway(ctx context.Context, url string) (core.Pong, time.Duration, error) {
	start := time.Now()
	pong, err := g.o.Transport.Ping(ctx, url)
	if err == nil {
		for _, p := range g.peers.unsorted() {
			if p.URL == strings.TrimRight(url, "/") {
				g.outbox.Alive(p.Key)
			}
		}
	}
	return pong, time.Since(start), err
}
