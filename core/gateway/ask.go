package gateway

import (
	"context"
	"errors"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// Ask is how to ask another gateway for federation.
type Ask struct {
	URL      string
	Alias    string         // our name for it; empty: none
	Expect   core.PublicKey // the key that the card must have; zero: any
	Invite   *core.Invited  // the invite that we follow, if it approves by itself
	Again    bool           // ask even if the peer is approved and gives no answer
	Fallback []string       // further URLs to try, in order
	Grants   []core.Grant   // for a peer that has asked already, or has approved us: what to grant
}

// Asked is what came of asking.
type Asked struct {
	Peer   *core.Peer
	Status string // pending, approved, or what the peer said
	// Confirmed says that no request was sent, as the peer says it has approved us.
	Confirmed bool
	// Waits says that the peer has our request already, and says that it has not approved
	// us.
	Waits bool
	// Approval is what came of telling a peer that had asked, and is approved by this. nil:
	// it had not asked.
	Approval *Outgoing
}

// RequestFederation asks the gateway at a URL for federation. The card's key is
// pinned: nobody else can approve. A gateway that we know is first asked whether it
// has approved us; if so, no request is sent and it is approved here, too. Until the
// peer has answered, nothing that is there is lost.
//
// Errors are of kind Malformed, Unreachable, Refused (the peer said no),
// Conflict (the card's key is not the expected one, or the peer is approved).
//
// docs/threat-model.md#t2
func (g *trust) RequestFederation(ctx context.Context, a Ask) (Asked, error) {
	target, card, key, err := g.find(ctx, a)
	if err != nil {
		return Asked{}, err
	}
	not := false // it says that it has not approved us
	if p := g.peers.Get(key); p != nil {
		asked, done, err := g.askFirst(ctx, p, target, card, a)
		if done || err != nil {
			return asked, err
		}
		not = asked.Waits
	}
	old, next, err := g.storeRequest(ctx, key, target, card, a)
	if err != nil {
		return Asked{Peer: old}, err
	}
	got, err := g.postRequest(ctx, next, target, a)
	if err != nil {
		return Asked{}, errors.Join(err, g.unask(context.WithoutCancel(ctx), old, next, err))
	}
	asked := Asked{Peer: next, Status: clean(answer.RequestStatus(got.Body), 40)}
	if asked.Status != answer.Known {
		return asked, nil
	}
	if old == nil { // it knows us, and we have forgotten it
		again, done, err := g.askFirst(ctx, next, target, card, a)
		if err == nil && done {
			return again, nil
		}
		not = again.Waits
	}
	asked.Waits = not
	return asked, nil
}

// find gets the card at the URL that was asked for, or at one of its fallbacks, and
// follows it to the URL that it names, if the same key answers there.
func (g *trust) find(ctx context.Context, a Ask) (target string, card core.Card, key core.PublicKey, err error) {
	if target, err = core.GatewayURL(a.URL); err != nil {
		return target, card, key, err
	}
	card, err = g.o.Transport.Card(ctx, target, nil)
	for i := 0; err != nil && errors.Is(err, core.Unreachable) && i < len(a.Fallback); i++ {
		if target, err = core.GatewayURL(a.Fallback[i]); err == nil {
			card, err = g.o.Transport.Card(ctx, target, nil)
		}
	}
	if err != nil {
		return target, card, key, err
	}
	if key, err = keys.Parse(card.PublicKey); err != nil {
		return target, card, key, &core.Error{Kind: core.Refused, Public: "the gateway's card has no sound public key", Err: err}
	}
	switch {
	case key == g.self:
		return target, card, key, core.Refuse(core.Malformed, "that is this gateway")
	case !a.Expect.IsZero() && key != a.Expect:
		return target, card, key, core.Refusef(core.Conflict, "the gateway at %s has another key than expected: %s, not %s. Nothing was stored",
			target, key.Fingerprint(), a.Expect.Fingerprint()).WithHint(
			"ask your peer another way, by phone say, for the fingerprint that the command ogp whoami shows there")
	}
	if canonical, err := core.GatewayURL(card.GatewayURL); err == nil && canonical != target {
		if again, err := g.o.Transport.Card(ctx, canonical, nil); err == nil && sameKey(again.PublicKey, key) {
			target = canonical
		}
	}
	return target, card, key, nil
}

// isOld reports whether a gateway's card names a version without the v2 form.
func isOld(c core.Card) bool {
	return c.Version != "" && !slices.Contains(c.Capabilities.Features, core.FeatureV2)
}

// askFirst asks a peer that we know whether it has approved us, before a request is
// sent. done says that there is nothing left to ask for: it has, or it has asked us, and
// asking it is saying yes.
func (g *trust) askFirst(ctx context.Context, p *core.Peer, target string, card core.Card, a Ask) (asked Asked, done bool, err error) {
	waits := peering.StateOf(p).Waits()
	if p.V2 && !(waits && p.OldForm) && isOld(card) {
		return Asked{Peer: p}, false, core.Refusef(core.Conflict, "%s has signed in the v2 form before, and its card now names version %s, which has none", p.Name(), clean(card.Version, 32)).
			WithHint(`let its operator ask you, and approve that; or forget the peer first: "ogp federation remove ` + p.Name() + `", then "ogp federation forget ` + p.Name() + `"`)
	}
	h := g.round(ctx, p, target)
	switch {
	case h.word == core.HeardYes, waits:
	case h.word == core.HeardNil && isApproved(p) && !a.Again:
		return Asked{Peer: p}, false, core.Refusef(core.Conflict, "%s is approved already, and could not be asked whether it has approved us", p.Name()).
			WithHint(`"ogp federation request ` + target + ` --again" asks it to federate, if it has lost us`)
	default:
		return Asked{Waits: h.word == core.HeardNo}, false, nil
	}
	var item *core.OutboxItem
	next, err := g.transition(ctx, p.Key, func(now *core.Peer, st *step) (next *core.Peer, err error) {
		if now == nil || now.Revision != p.Revision {
			return nil, errChanged
		}
		if err := g.peers.CheckAlias(a.Alias, p.Key); err != nil {
			return nil, err
		}
		now = now.Clone()
		now.V2, now.OldForm = now.V2 || h.signed, now.OldForm && !h.signed
		h.rename(now, g.self)
		g.introduceAsked(now, target, card, a.Alias)
		if inDoubt(now) && h.word == core.HeardYes {
			st.digest.Restored++
		}
		if waits {
			next, item, err = g.approve(now, a.Grants, st)
		} else {
			next, err = g.heardYes(now, a.Grants, st)
		}
		if err != nil {
			return nil, err
		}
		return next, g.sure(next, h, st)
	})
	if err != nil {
		return Asked{Peer: p}, false, err
	}
	asked = Asked{Peer: next, Status: string(core.Approved), Confirmed: h.word == core.HeardYes}
	if item != nil {
		out := g.sendFirst(ctx, next, item)
		asked.Approval = &out
	}
	return asked, true, nil
}

var errChanged = &core.Error{Kind: core.Conflict, Public: "the peer has changed meanwhile", Hint: "run the command again"}

// introduceAsked writes down where and how a peer answers that our operator has
// asked for by its URL. docs/threat-model.md#t13
func (g *trust) introduceAsked(p *core.Peer, target string, card core.Card, alias string) {
	p.URL, p.Claimed = target, ""
	peers.TakeNames(p, card.DisplayName, card.Email)
	p.Features, p.Version = peers.Runs(card)
	p.Warning = ""
	if alias != "" {
		p.Alias = alias
	}
}

// storeRequest writes down that we ask, before we do: an approval may come back
// before our own answer. It returns the record before and after.
func (g *trust) storeRequest(ctx context.Context, key core.PublicKey, target string, card core.Card, a Ask) (old, next *core.Peer, err error) {
	next, err = g.transition(ctx, key, func(p *core.Peer, st *step) (*core.Peer, error) {
		old = p
		if err := g.peers.CheckAlias(a.Alias, key); err != nil {
			return nil, err
		}
		if p == nil {
			p = &core.Peer{Key: key}
		}
		if peering.StateOf(p).Waits() { // it has asked in this moment
			return nil, errChanged
		}
		next, err := peering.Apply(p, peering.Ask, st.now)
		if err != nil {
			return nil, err
		}
		if next.Trust == core.Requested { // what is more stays as it is until the peer has answered
			g.introduceAsked(next, target, card, a.Alias)
		}
		return next, nil
	})
	return old, next, err
}

// unask takes a request back that nobody has heard, unless something has come of
// it in the meantime. A request of which the answer got lost may have arrived, so
// that one to a known peer stays.
func (g *trust) unask(ctx context.Context, old, asked *core.Peer, cause error) error {
	if !errors.Is(cause, core.Refused) && old != nil {
		return nil
	}
	_, err := g.transition(ctx, asked.Key, func(p *core.Peer, st *step) (*core.Peer, error) {
		switch {
		case p != asked:
			return nil, nil
		case old == nil:
			st.Forget = append(st.Forget, p.Key)
			return nil, nil
		}
		back := old.Clone()
		back.Revision = asked.Revision
		return back, nil
	})
	return err
}

func (g *trust) postRequest(ctx context.Context, p *core.Peer, target string, a Ask) (core.Answer, error) {
	set := g.settings.Load()
	body, err := g.to(p).SealRequest(p.Key, core.Request{Peer: set.PeerCard(), OfferedIntents: set.Offered(g.handled()), Invite: a.Invite})
	if err != nil {
		return core.Answer{}, err
	}
	got, err := g.o.Transport.Post(ctx, target, core.PathRequest, body)
	if err == nil {
		err = g.outbox.Judge(ctx, p, answer.Request, got, answer.Try{}).Err()
	}
	g.peers.Checked(p.Key, outbox.Unheard(err), g.o.Now(), set.Health.Failures)
	if outbox.Unheard(err) == nil {
		g.outbox.Alive(p.Key)
	}
	return got, err
}
