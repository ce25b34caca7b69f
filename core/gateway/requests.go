package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/budget"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// ReceiveRequest takes the body of POST /federation/request. from is the
// address it came from, as far as it can be told.
//
// docs/protocol.md#request
func (g *trust) ReceiveRequest(ctx context.Context, body []byte, from netip.Addr) (core.Answer, error) {
	return g.judged(ctx, "request", func() (core.Answer, error) { return g.receiveRequest(ctx, body, from) })
}

func (g *trust) receiveRequest(ctx context.Context, body []byte, from netip.Addr) (core.Answer, error) {
	none := core.Answer{}
	opened, target, err := g.openRequest(ctx, body)
	if err != nil {
		return none, err
	}
	plain := opened.SentAt.IsZero()

	// One key's requests are taken one after the other, so that policies are asked
	// once for the same envelope.
	unlock, err := g.locks.Lock(ctx, lockName{"request", opened.Key, ""})
	if err != nil {
		return none, err
	}
	defer unlock()
	r := requester{request: opened.Value, url: target, plain: plain, sentAt: opened.SentAt, v2: opened.V2, from: from}
	nonce := bookkeepingOf(envelope.ShapeRequest, opened.Digest)
	for ctx.Err() == nil {
		if !plain {
			if a, err := g.answered(ctx, opened.Key, nonce, opened.Digest); !errors.Is(err, core.NotFound) {
				return a, err
			}
		}
		known := g.peers.Get(opened.Key)
		r.peer = cmp.Or(known, &core.Peer{Key: opened.Key})
		if isApproved(r.peer) && r.peer.V2 && !r.v2 {
			return none, g.oldForm(ctx, known)
		}
		verdict, err := g.judge(ctx, &r)
		if err != nil {
			return none, err
		}
		said, again := none, false
		_, err = g.transition(ctx, opened.Key, func(p *core.Peer, st *step) (next *core.Peer, err error) {
			if again = p != known; again { // it has changed while the policies were asked
				return nil, nil
			}
			said, next, err = g.counted(&r, verdict, st)
			if err == nil && (next != nil || len(st.Events) > 0) {
				if !plain {
					st.remember(opened.Key, nonce, opened.Digest, said)
				}
				if r.question.Kind != "" {
					g.record(&st.Change, r.question, verdict, "")
				}
			}
			return next, err
		})
		if err != nil {
			if r.question.Kind != "" && verdict.Decision == core.Deny {
				g.recordRefusal(ctx, r.question, verdict)
			}
			return none, err
		}
		if !again {
			g.peers.Contact(opened.Key, g.o.Now())
			return said, nil
		}
	}
	return none, &core.Error{Kind: core.Unavailable, Err: ctx.Err()}
}

// openRequest opens a request and finds where its sender is.
func (g *trust) openRequest(ctx context.Context, body []byte) (opened envelope.Opened[core.Request], target string, err error) {
	if opened, err = envelope.Open(g.opener(ctx), envelope.Request, body, nil); err != nil {
		return opened, "", err
	}
	if opened.SentAt.IsZero() && !g.settings.Load().Compat.PlainRequests {
		return opened, "", core.Refuse(core.Malformed, "Missing payloadStr or signature")
	}
	if opened.Key == g.self {
		return opened, "", core.Refuse(core.Malformed, "A gateway cannot federate with itself")
	}
	if target, err = core.GatewayURL(opened.Value.Peer.GatewayURL); err != nil {
		return opened, "", core.Refuse(core.Malformed, "Invalid peer.gatewayUrl")
	}
	return opened, target, nil
}

// requester is who asks, with a proof that it holds its key.
type requester struct {
	peer    *core.Peer // as we know it; a stranger's has no more than a key
	request core.Request
	url     string
	plain   bool
	sentAt  time.Time // zero: the plain form
	v2      bool
	from    netip.Addr
	counted bool // toward the limit of its network
	shown   bool // its key answers at the URL that it claims
	looked  bool // the URL was asked
	redeems bool // its invite has been looked at
	invited bool // it follows an invite of ours that approves by itself
	grants  []core.Grant

	question core.Question // what the policies were asked; without a kind: nothing
}

// still reports whether the request changes nothing by itself: it waits already, or it
// is of a peer that stands higher than one that asks. An envelope from before the
// approval must not undo it, whoever sends it again.
func (r *requester) still() bool {
	switch peering.StateOf(r.peer) {
	case peering.Pending:
		return !r.follows() && !(r.v2 && r.peer.OldForm)
	case peering.Approved, peering.Unconfirmed, peering.Lapsed:
		return true
	case peering.Requested:
		return !r.v2 // it names nobody, so that it may be meant for somebody else
	}
	return false
}

// follows says whether the request claims an invite: one that waits may have
// asked with the short code first, and now shows that it holds the secret.
func (r *requester) follows() bool { return r.request.Invite != nil && !r.plain }

// next is the record after the request.
func (g *trust) next(r *requester, now time.Time) (*core.Peer, error) {
	event := peering.Asked
	if r.peer.Trust == core.Requested {
		event = peering.AskedToo
	}
	next, err := peering.Apply(r.peer, event, now)
	if err == nil {
		g.introduce(next, r)
	}
	return next, err
}

// judge asks the policies about a request, if it would change anything. No lock is
// held meanwhile, as a policy may take its time. An invite is looked at first, as
// strangers must not lock out those whom we have invited.
func (g *trust) judge(ctx context.Context, r *requester) (core.Verdict, error) {
	if r.still() {
		return core.Verdict{}, nil
	}
	if r.follows() && !r.redeems && g.o.Redeem != nil {
		r.redeems = true
		r.grants, r.invited = g.o.Redeem(r.request.Invite, r.peer.Key)
	}
	plugins, err := g.plugins()
	policies := err == nil && len(plugins.Policies[core.HookRequest]) > 0
	if peering.StateOf(r.peer).IsNothing() && !r.invited { // it costs a place among what waits
		if err := g.room(ctx, r); err != nil {
			return core.Verdict{}, err
		}
	}
	now := g.o.Now().UTC()
	if policies {
		g.lookAt(ctx, r)
	}
	next, err := g.next(r, now)
	if err != nil {
		return core.Verdict{}, err
	}
	next.Refused = !r.invited && (r.peer.Refused || r.peer.By == core.Us) // our invite is a yes
	r.question = core.Question{Kind: core.HookRequest, Now: now, Peer: next, Request: &r.request, URLVerified: r.shown}
	v, err := g.ask(ctx, r.question)
	if r.peer.V2 && !r.v2 && v.Decision != core.Deny { // it has gone back to an older gateway, or somebody would have it so
		v = core.Verdict{Decision: core.Hold}
	}
	return v, err
}

// lookAt asks the gateway URL that a requester claims for its card, once and
// unsigned, and notes whether its key is on it. Without that, the URL is anybody's.
func (g *trust) lookAt(ctx context.Context, r *requester) {
	if r.looked {
		return
	}
	r.looked = true
	select {
	case g.fetches <- struct{}{}:
		defer func() { <-g.fetches }()
	default:
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	card, err := g.o.Transport.Card(ctx, r.url, nil)
	r.shown = err == nil && sameKey(card.PublicKey, r.peer.Key)
}

// lookFor is how long the look at a stranger's card may take.
const lookFor = 3 * time.Second

// room bounds what strangers may leave with us, in all and from one network. Those
// whose claimed URL shows their key have places of their own.
//
// docs/threat-model.md#t6
func (g *trust) room(ctx context.Context, r *requester) error {
	if block := budget.Network(r.from); block.IsValid() && !r.counted {
		if err := g.asks.Take(block, g.settings.Load().Limits.PendingPerNetworkPerHour, g.o.Now()); err != nil {
			return err
		}
		r.counted = true
	}
	if g.roomNow(r) {
		return nil
	}
	g.lookAt(ctx, r)
	if r.shown && g.roomNow(r) {
		return nil
	}
	return tooManyWait()
}

func tooManyWait() error {
	return budget.TooMany("Too many federation requests are waiting", time.Hour)
}

func (g *trust) roomNow(r *requester) bool {
	g.mu.Lock()
	withdrawn := len(g.digest.Withdrawn)
	g.mu.Unlock()
	return g.roomInAll(r, withdrawn)
}

// roomInAll says whether what strangers may leave with us has room for one more, beside
// those that were withdrawn.
func (g *trust) roomInAll(r *requester, withdrawn int) bool {
	n, most := g.peers.Waiting(), g.settings.Load().Limits.PendingTotal
	if r.shown {
		return n.Shown < most
	}
	return n.All-n.Shown+withdrawn < most
}

// moveEvery is how often a peer that waits may change what it says of itself.
const moveEvery = time.Minute

// counted is asked, and counts what the request leaves with us.
func (g *trust) counted(r *requester, verdict core.Verdict, st *step) (core.Answer, *core.Peer, error) {
	said, next, err := g.asked(*r, verdict, st)
	if err == nil {
		err = g.takeRequest(r, next, st)
	}
	return said, next, err
}

// asked decides what a request brings: the record after it, nil for no change, and
// the answer. It is called within a transition.
func (g *trust) asked(r requester, verdict core.Verdict, st *step) (core.Answer, *core.Peer, error) {
	waits := answer.AlreadyKnown(r.peer.Key.ID())
	if r.still() {
		return waits, g.askedStill(r, st), nil
	}
	next, err := g.next(&r, st.now)
	if err != nil {
		return core.Answer{}, nil, err
	}
	state := peering.StateOf(r.peer)
	if state == peering.Withdrawn { // it asks again: what waits, waits on
		return waits, next, nil
	}
	if verdict.Decision == core.Deny {
		return g.turnedAway(r.peer, verdict, st)
	}
	mutual := state == peering.Requested
	if state == peering.Pending && !r.invited && verdict.Decision != core.Allow && !r.peer.OldForm {
		return waits, nil, nil
	}
	switch {
	case mutual, verdict.Decision == core.Allow, r.invited && verdict.Decision == core.Abstain:
		grants := verdict.Grants
		if len(grants) == 0 {
			grants = r.grants
		}
		if !mutual {
			if next, err = peering.Apply(next, peering.Approve, st.now); err != nil {
				return core.Answer{}, nil, err
			}
		}
		g.grant(next, grants)
		if _, err := g.tellApproved(next, true, st); err != nil {
			return core.Answer{}, nil, err
		}
		st.Events = append(st.Events, g.event(core.EventApproved, next, core.Us, "Federation approved.", map[string]any{
			"unverified": next.Names, "gatewayUrl": next.URL, "approvedBy": approvedBy(mutual, verdict.Policy, r.invited)}))
	case state != peering.Pending:
		g.tellOfRequest(r.peer.Trust, next, st)
	}
	return answer.Pending(), next, nil
}

// askedStill is what a request leaves that changes nothing by itself: something to
// ask the peer about, or a new URL of one that waits.
func (g *trust) askedStill(r requester, st *step) *core.Peer {
	next := r.peer.Clone()
	if back := next.V2 && !r.v2 && !next.OldForm; back {
		next.OldForm, next.Warning = true, warnOldForm
		if peering.StateOf(next) == peering.Pending {
			return next
		}
	}
	switch peering.StateOf(r.peer) {
	case peering.Pending:
		if r.url == r.peer.URL || r.plain || !g.warned.Due(lockName{"moved", r.peer.Key, ""}, st.now, moveEvery) {
			return nil
		}
		g.introduce(next, &r) // it has moved while it waits
		return next
	case peering.Requested:
		next.AskedToo = true
		g.warn(st, next, "asked too", 24*time.Hour, "%s, whom we have asked, has sent a request in a form that names nobody; it is asked whether it has approved us. "+
			"\"ogp federation approve %s\" says yes to it.", next.Name(), next.Name())
	default:
		if !r.plain && !r.sentAt.After(r.peer.Since) {
			return nil
		}
		if !peers.HearsOfMoves(next) { // it asks where we are now
			next.Notified.URL = g.settings.Load().URL
		}
	}
	if next.OldForm == r.peer.OldForm && (next.Asking.Pending&core.HintRequest != 0 || next.Asking.Series != nil && next.Asking.Series.About == core.HintRequest && next.AskedToo == r.peer.AskedToo) {
		return nil // about to be asked
	}
	request := r.request
	peering.Hint(next, core.HintRequest, st.now, &request, r.v2)
	return next
}

func approvedBy(mutual bool, policy string, invited bool) string {
	switch {
	case mutual:
		return "both sides asked"
	case policy != "":
		return "policy " + policy
	case invited:
		return "invite"
	}
	return ""
}

// turnedAway answers a request that a policy refuses. A stranger leaves no
// trace; a known peer's record says so.
func (g *trust) turnedAway(p *core.Peer, v core.Verdict, st *step) (core.Answer, *core.Peer, error) {
	e := core.Refuse(core.Forbidden, "Federation request refused")
	if p.Trust == core.Stranger || p.Trust == core.Removed || p.Trust == core.Rejected {
		return core.Answer{}, nil, e
	}
	next, err := peering.Apply(p, peering.Remove, st.now)
	if err != nil {
		return core.Answer{}, nil, e
	}
	st.Events = append(st.Events, g.event(core.EventRejected, next, core.Us, "A policy refused a peer's request.",
		map[string]any{"policy": v.Policy, "reason": clean(v.Reason, 200)}))
	return answer.Plain(http.StatusForbidden, e.Public), next, nil
}

const warnOldForm = "it has signed in the v2 form before; it may have gone back to an older gateway. Approving it allows the old form again"

// introduce writes what a requester says of itself into its record.
func (g *trust) introduce(p *core.Peer, r *requester) {
	old := p.URL
	known := p.Trust == core.Approved // asked too: its URL is the one that we have
	p.Names = peers.Names(r.request.Peer.Names())
	p.Offered = peers.Words(r.request.OfferedIntents)
	p.OldForm = p.V2 && !r.v2
	p.V2 = p.V2 || r.v2
	p.Shown = r.shown
	p.Warning = ""
	if known && old != "" && !r.v2 {
		return
	}
	p.URL = r.url
	p.Label = peers.HostLabel(r.request.Peer.ID, p.URL)
	if p.OurLabel, p.FormerLabel = "", ""; p.Label != "" { // a gateway of 0.2.20, which knows us by what it was told to dial
		p.OurLabel = peers.Dialled(g.settings.Load().URL)
	}
	switch other := g.peers.ByURL(r.url, p.Key); {
	case other != nil:
		p.Warning = "it claims the gateway URL of another peer, " + other.Name()
	case p.OldForm:
		p.Warning = warnOldForm
	case r.plain:
		p.Warning = "its request carries no time, so it may be an old one sent again"
	case old != "" && old != r.url:
		p.Warning = "its gateway URL was " + clean(old, 100) + " before"
	}
}
