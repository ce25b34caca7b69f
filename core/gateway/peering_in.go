package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

type received struct {
	Received bool   `json:"received"`
	Status   string `json:"status,omitempty"`
	PeerID   string `json:"peerId,omitempty"`
	Message  string `json:"message,omitempty"`
}

var (
	answerPending  = received{Received: true, Status: "pending", Message: "Federation request received and pending approval"}
	answerReceived = received{Received: true}
)

func ok(v any) core.Answer { return core.Answer{Status: http.StatusOK, Body: encode(v)} }

// once names an envelope in the memory of used nonces, for envelopes without a nonce
// of their own.
func once(shape envelope.Shape, digest [32]byte) core.Nonce {
	return core.Nonce(string(shape) + ":" + hex.EncodeToString(digest[:]))
}

// ReceiveRequest takes the body of POST /federation/request. from is the
// address it came from, as far as it can be told.
//
// docs/protocol.md#request
func (g *Gateway) ReceiveRequest(ctx context.Context, body []byte, from netip.Addr) (core.Answer, error) {
	a, err := g.receiveRequest(ctx, body, from)
	g.count("request", a, err)
	return a, err
}

func (g *Gateway) receiveRequest(ctx context.Context, body []byte, from netip.Addr) (core.Answer, error) {
	none := core.Answer{}
	s := g.settings.Load()
	opened, err := envelope.Open(g.opener(), envelope.Request, body, nil)
	if err != nil {
		return none, err
	}
	plain := opened.SentAt.IsZero()
	if plain && s.NoPlainRequests {
		return none, core.Refuse(core.Malformed, "Missing payloadStr or signature")
	}
	if opened.Key == g.self {
		return none, core.Refuse(core.Malformed, "A gateway cannot federate with itself")
	}
	r := opened.Value
	target, err := gatewayURL(r.Peer.GatewayURL)
	if err != nil {
		return none, core.Refuse(core.Malformed, "Invalid peer.gatewayUrl")
	}

	// One key's requests are taken one after the other, so that policies are asked
	// once for the same envelope.
	unlock, err := g.locks.Lock(ctx, lockName{"request", opened.Key, ""})
	if err != nil {
		return none, err
	}
	defer unlock()
	asker := requester{request: r, url: target, plain: plain, sentAt: opened.SentAt, v2: opened.V2, from: from}
	nonce := once(envelope.ShapeRequest, opened.Digest)
	for ctx.Err() == nil {
		if !plain && g.fresh.Seen(opened.Key, nonce) {
			if a, err := g.answered(ctx, opened.Key, nonce, opened.Digest); !errors.Is(err, core.NotFound) {
				return a, err
			}
		}
		known := g.peers.get(opened.Key)
		asker.peer = known
		if known == nil {
			asker.peer = &core.Peer{Key: opened.Key}
		}
		if asker.peer.V2 && !opened.V2 {
			return none, errDowngrade
		}
		verdict, err := g.askedAbout(ctx, &asker)
		if err != nil {
			return none, err
		}
		a, again, err := g.takeRequest(ctx, asker, known, verdict, nonce, opened.Digest)
		if !again {
			return a, err
		}
	}
	return none, &core.Error{Kind: core.Unavailable, Err: ctx.Err()}
}

// takeRequest makes the move under the lock, unless the record has changed while
// the policies were asked: then it says to do it again.
func (g *Gateway) takeRequest(ctx context.Context, r requester, known *core.Peer, v core.Verdict, nonce core.Nonce, sum [32]byte) (a core.Answer, again bool, err error) {
	g.transitions.Lock()
	defer g.transitions.Unlock()
	if g.peers.get(r.peer.Key) != known {
		return a, true, nil
	}
	change, digest := &core.Change{}, g.digest
	answer, err := g.asked(r, v, change, &digest)
	if err != nil {
		return a, false, err
	}
	if len(change.Peers) == 0 && len(change.Events) == 0 { // nothing happened, so there is nothing to remember
		return answer, false, nil
	}
	now := g.o.Now()
	if !r.plain {
		change.Receipt = &core.Receipt{Peer: r.peer.Key, Nonce: nonce, Digest: sum, At: now, Status: answer.Status, Answer: answer.Body}
	}
	if err := g.keep(ctx, change); err != nil {
		return a, false, err
	}
	g.digest = digest
	if !r.plain {
		g.fresh.Note(r.peer.Key, nonce, now)
	}
	g.peers.contact(r.peer.Key, now)
	g.outbox.Wake(r.peer.Key)
	return answer, false, nil
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
}

// still reports whether the request changes nothing of where the peer stands: it
// waits already, or it is approved and may have asked before that. An envelope from
// before the approval must not undo it, whoever sends it again, and one in the
// plain form does not say when it is from.
func (r *requester) still() bool {
	return r.peer.Trust == core.Pending && !r.follows() ||
		r.peer.Trust == core.Approved && (r.plain || !r.sentAt.After(r.peer.Since))
}

// follows says whether the request claims an invite: one that waits may have
// asked with the short code first, and now shows that it holds the secret.
func (r *requester) follows() bool { return r.request.Invite != nil && !r.plain }

// next is the record after the request.
func (g *Gateway) next(r requester, now time.Time) (*core.Peer, error) {
	event := peering.Asked
	if r.plain {
		event = peering.AskedPlain
	}
	next, err := peering.Apply(r.peer, event, now)
	if err == nil {
		g.introduce(next, r)
	}
	return next, err
}

// askedAbout asks the policies about a request, if it would move anything. No
// lock is held meanwhile, as a policy may take its time.
func (g *Gateway) askedAbout(ctx context.Context, r *requester) (core.Verdict, error) {
	if r.still() {
		return core.Verdict{}, nil
	}
	if stranger(r.peer) {
		if err := g.roomFor(r); err != nil {
			return core.Verdict{}, err
		}
	}
	now := g.o.Now().UTC()
	next, err := g.next(*r, now)
	if err != nil {
		return core.Verdict{}, err
	}
	q := core.Question{Kind: core.HookRequest, Now: now, Peer: next, Request: &r.request}
	if plugins, err := g.plugins(); err == nil && len(plugins.Policies[core.HookRequest]) > 0 {
		q.URLVerified = g.answersAt(ctx, next)
	}
	return g.ask(ctx, q)
}

// answersAt asks the gateway URL that a peer claims for its card, and says
// whether the peer's key is on it. Without that, the URL is anybody's.
func (g *Gateway) answersAt(ctx context.Context, p *core.Peer) bool {
	ctx, cancel := context.WithTimeout(ctx, g.settings.Load().AskBack)
	defer cancel()
	card, err := g.o.Transport.Card(ctx, p.URL, nil)
	return err == nil && sameKey(card.PublicKey, p.Key)
}

func stranger(p *core.Peer) bool {
	return p.Trust != core.Requested && p.Trust != core.Approved && p.Trust != core.Pending
}

// moveEvery is how often a peer that waits may change what it says of itself, and
// how often the operator is warned of the same thing.
const moveEvery = time.Minute

// asked makes the move that a request brings, and says what the answer is.
// Called with moves held.
func (g *Gateway) asked(r requester, verdict core.Verdict, change *core.Change, digest *digest) (core.Answer, error) {
	now := g.o.Now().UTC()
	if r.still() {
		switch {
		case r.peer.Trust == core.Approved:
			// The peer may well have lost us.
			if g.warned.due(lockName{"asked", r.peer.Key, ""}, now, g.settings.Load().DigestInterval) {
				change.Events = append(change.Events, g.event(core.EventWarning, r.peer, core.Them,
					"An approved peer has asked for federation again, as it may have lost our approval. Approving it again sends the approval once more.", nil))
			}
		case r.url != r.peer.URL && !r.plain && g.warned.due(lockName{"moved", r.peer.Key, ""}, now, moveEvery): // it has moved while it waits
			next := r.peer.Clone()
			g.introduce(next, r)
			change.Peers = append(change.Peers, next)
		}
		return ok(received{Received: true, Status: "already-pending-or-approved", PeerID: r.peer.Key.ID()}), nil
	}
	if stranger(r.peer) {
		if err := g.roomInAll(); err != nil {
			return core.Answer{}, err
		}
	}
	next, err := g.next(r, now)
	if err != nil {
		return core.Answer{}, err
	}
	if verdict.Decision == core.Deny {
		return g.turnedAway(r.peer, verdict, change)
	}
	mutual := next.Trust == core.Approved
	invited, invitedGrants := g.invited(r)
	if r.peer.Trust == core.Pending && !invited && verdict.Decision != core.Allow {
		return ok(received{Received: true, Status: "already-pending-or-approved", PeerID: r.peer.Key.ID()}), nil
	}
	switch {
	case mutual, verdict.Decision == core.Allow, invited && verdict.Decision == core.Abstain:
		grants := verdict.Grants
		if len(grants) == 0 {
			grants = invitedGrants
		}
		if !mutual {
			if next, err = peering.Apply(next, peering.Approve, now); err != nil {
				return core.Answer{}, err
			}
		}
		g.grant(next, grants)
		change.Outbox = append(change.Outbox, g.approvalItem(next, true))
		change.Events = append(change.Events, g.event(core.EventApproved, next, core.Us, "Federation approved.", map[string]any{
			"unverified": next.Names, "gatewayUrl": next.URL, "approvedBy": approvedBy(mutual, verdict.Policy, invited)}))
	default:
		*digest = g.tellOfRequest(next, change)
	}
	change.Peers = append(change.Peers, next)
	return ok(answerPending), nil
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
func (g *Gateway) turnedAway(p *core.Peer, v core.Verdict, change *core.Change) (core.Answer, error) {
	e := core.Refuse(core.Forbidden, "Federation request refused")
	if p.Trust == core.Stranger || p.Trust == core.Removed || p.Trust == core.Rejected {
		return core.Answer{}, e
	}
	next, err := peering.Apply(p, peering.Remove, g.o.Now().UTC())
	if err != nil {
		return core.Answer{}, e
	}
	change.Peers = append(change.Peers, next)
	change.Events = append(change.Events, g.event(core.EventRejected, next, core.Us, "A policy refused a peer's request.",
		map[string]any{"policy": v.Policy, "reason": clean(v.Reason, 200)}))
	return core.Answer{Status: http.StatusForbidden, Body: encode(map[string]string{"error": e.Public})}, nil
}

// introduce writes what a requester says of itself into its record.
func (g *Gateway) introduce(p *core.Peer, r requester) {
	old := p.URL
	p.Names = cleanNames(r.request.Peer.Names())
	p.URL = r.url
	p.Offered = cleanIntents(r.request.OfferedIntents)
	p.V2 = p.V2 || r.v2
	p.Label = hostLabel(r.request.Peer.ID, p.URL)
	p.Warning = ""
	switch other := g.peers.byURL(r.url, p.Key); {
	case other != nil:
		p.Warning = "it claims the gateway URL of another peer, " + other.Name()
	case r.plain:
		p.Warning = "its request carries no time, so it may be an old one sent again"
	case old != "" && old != r.url:
		p.Warning = "its gateway URL was " + clean(old, 100) + " before"
	}
}

// hostLabel is the id that a gateway of 0.2.20 and before announces: its host and
// port, if it is at the host of its URL. Whoever could choose any label would be
// addressed by it, and so get envelopes that fit another gateway, too.
func hostLabel(id, gatewayURL string) string {
	host, port, err := net.SplitHostPort(id)
	u, err2 := url.Parse(gatewayURL)
	if err != nil || err2 != nil || !strings.EqualFold(host, u.Hostname()) {
		return ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || len(id) > 100 {
		return ""
	}
	return id
}

func cleanIntents(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	const most = 32
	if len(in) > most {
		in = in[:most]
	}
	out := make([]string, 0, len(in))
	for _, i := range in {
		if i = clean(i, 64); i != "" {
			out = append(out, i)
		}
	}
	return out
}

// cleanBundle bounds what a peer says that it grants us, which is for people to
// read: nothing of ours is decided by it.
func cleanBundle(b *core.Bundle) *core.Bundle {
	out := &core.Bundle{Version: clean(b.Version, 16), GrantedAt: clean(b.GrantedAt, 40)}
	for _, g := range b.Scopes {
		out.Scopes = append(out.Scopes, core.Grant{Intent: clean(g.Intent, 64), Enabled: g.Enabled, RateLimit: g.RateLimit,
			Topics: cleanIntents(g.Topics), Personas: cleanIntents(g.Personas), ExpiresAt: clean(g.ExpiresAt, 40)})
	}
	return out
}

// requestLimits counts strangers' requests by network, for an hour.
type requestLimits struct {
	mu   sync.Mutex // guards seen
	seen map[netip.Prefix][]time.Time
}

// roomInAll bounds how many requests wait. docs/threat-model.md#t6
func (g *Gateway) roomInAll() error {
	if g.peers.count(core.Pending) < g.settings.Load().MaxPending {
		return nil
	}
	e := core.Refuse(core.RateLimited, "Too many federation requests are waiting")
	e.RetryAfter = time.Hour
	return e
}

// roomFor bounds what strangers may leave with us, in all and from one network.
// docs/threat-model.md#t6
func (g *Gateway) roomFor(r *requester) error {
	if err := g.roomInAll(); err != nil {
		return err
	}
	s := g.settings.Load()
	block := network(r.from)
	if !block.IsValid() || r.counted {
		return nil
	}
	now := g.o.Now()
	l := &g.asks
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[netip.Prefix][]time.Time{}
	}
	old := func(t time.Time) bool { return now.Sub(t) >= time.Hour }
	if len(l.seen) > 4096 { // far more networks than can have left a request
		for k, times := range l.seen {
			if times = slices.DeleteFunc(times, old); len(times) == 0 {
				delete(l.seen, k)
			}
		}
	}
	times := slices.DeleteFunc(l.seen[block], old)
	if len(times) >= s.MaxPerNetwork {
		l.seen[block] = times
		e := core.Refuse(core.RateLimited, "Too many federation requests from your network")
		e.RetryAfter = (time.Hour - now.Sub(times[0]) + time.Second - 1).Truncate(time.Second)
		return e
	}
	l.seen[block] = append(times, now)
	r.counted = true
	return nil
}

// invited says whether a request follows an invite of ours that approves by
// itself. The old form has no part in that: anyone can send it again.
func (g *Gateway) invited(r requester) (bool, []core.Grant) {
	if r.request.Invite == nil || r.plain || g.o.Redeem == nil {
		return false, nil
	}
	grants, ok := g.o.Redeem(r.request.Invite, r.peer.Key)
	return ok, grants
}

// grant gives a peer its grants; none means the configured ones. It never reads
// what the peer asked for. docs/threat-model.md#t9
func (g *Gateway) grant(p *core.Peer, grants []core.Grant) {
	if len(grants) == 0 {
		grants = g.settings.Load().Grants
	}
	p.Granted = &core.Bundle{Version: core.BundleVersion, GrantedAt: core.FormatTime(g.o.Now()), Scopes: slices.Clone(grants)}
}

// maxScopes bounds a peer's bundle.
const maxScopes = 64

// ReceiveApproval takes the body of POST /federation/approve.
//
// docs/protocol.md#approve
func (g *Gateway) ReceiveApproval(ctx context.Context, body []byte) (core.Answer, error) {
	a, err := g.receiveApproval(ctx, body)
	g.count("approve", a, err)
	return a, err
}

var errNoPending = core.Refuse(core.NotFound, "No pending peer found")

func (g *Gateway) receiveApproval(ctx context.Context, body []byte) (core.Answer, error) {
	none := core.Answer{}
	s := g.settings.Load()
	var hint *core.Peer
	opened, err := envelope.Open(g.opener(), envelope.Approval, body, func(claim string) ([]core.PublicKey, error) {
		// Direction counts: only a key that we asked can approve, only one that is
		// approved can change what it grants. docs/threat-model.md#t1
		fits := g.peers.fits(claim, func(p *core.Peer) bool { return p.Trust == core.Requested || p.Trust == core.Approved })
		if len(fits) != 1 || len(claim) != len(core.SPKIPrefix)+64 {
			return nil, errNoPending
		}
		hint = fits[0]
		return keysOf(fits), nil
	})
	if err == nil && opened.Unsigned && !s.UnsignedApprovals {
		err = core.Refuse(core.Malformed, "Missing payloadStr or signature")
	}
	if err != nil {
		if hint != nil && hint.Trust == core.Requested && errors.Is(err, core.Malformed) {
			g.log.Warn("an approval without a signature was refused; if this peer runs a version before 0.7, compat.unsigned_approvals = true takes it",
				"peer", hint.Name())
		}
		return none, err
	}
	a := opened.Value
	if opened.Unsigned && (hint.Trust != core.Requested || a.Rejects()) {
		return none, errNoPending
	}
	if a.FromPublicKey != "" && !sameKey(a.FromPublicKey, opened.Key) {
		return none, core.Refuse(core.Forbidden, "fromPublicKey does not match stored peer publicKey")
	}
	if a.ScopeGrants != nil && (a.ScopeGrants.Scopes == nil || len(a.ScopeGrants.Scopes) > maxScopes) {
		return none, core.Refuse(core.Malformed, "Invalid scopeGrants")
	}

	g.transitions.Lock()
	defer g.transitions.Unlock()
	p := g.peers.get(opened.Key)
	if p == nil || opened.Unsigned && p.Trust != core.Requested { // it has changed since
		return none, errNoPending
	}
	nonce := once(envelope.ShapeApproval, opened.Digest)
	if g.fresh.Seen(p.Key, nonce) {
		if a, err := g.answered(ctx, p.Key, nonce, opened.Digest); !errors.Is(err, core.NotFound) {
			return a, err
		}
	}
	if p.V2 && !opened.V2 {
		return none, errDowngrade
	}
	event := peering.ApprovedBy
	if a.Rejects() {
		event = peering.RejectedBy
	}
	now := g.o.Now().UTC()
	next, err := peering.Apply(p, event, now)
	if err != nil {
		return none, errNoPending
	}
	next.V2 = next.V2 || opened.V2
	change := &core.Change{}
	if a.Rejects() {
		change.Events = append(change.Events, g.event(core.EventRejected, next, core.Them, "The peer has rejected our federation request.", nil))
	} else {
		g.approvedBy(p, next, a, change)
		if opened.Unsigned { // the gateways that do so know themselves by this id
			next.Label = hostLabel(a.FromGatewayID, next.URL)
		}
	}
	answer := ok(answerReceived)
	change.Peers = append(change.Peers, next)
	change.Receipt = &core.Receipt{Peer: p.Key, Nonce: nonce, Digest: opened.Digest, At: now, Status: answer.Status, Answer: answer.Body}
	if err := g.keep(ctx, change); err != nil {
		return none, err
	}
	g.fresh.Note(p.Key, nonce, now)
	g.peers.contact(p.Key, now)
	g.outbox.Wake(p.Key)
	return answer, nil
}

// approvedBy fills the record of a peer that has approved us, or has changed
// what it grants us, and grants back in the same handshake.
func (g *Gateway) approvedBy(old, next *core.Peer, a core.Approval, change *core.Change) {
	if a.FromDisplayName != "" {
		next.Names.DisplayName = clean(a.FromDisplayName, maxNameRunes)
	}
	if a.FromEmail != "" {
		next.Names.Email = clean(a.FromEmail, maxNameRunes)
	}
	if url, err := gatewayURL(a.FromGatewayURL); err == nil && url != next.URL {
		if g.peers.byURL(url, next.Key) == nil {
			next.URL = url
		} else {
			next.Warning = "it claims the gateway URL of another peer"
		}
	}
	if a.ScopeGrants != nil {
		next.Received = cleanBundle(a.ScopeGrants)
	}
	if old.Trust == core.Approved {
		return
	}
	if next.Granted == nil {
		g.grant(next, nil)
		change.Outbox = append(change.Outbox, g.approvalItem(next, false))
	}
	change.Events = append(change.Events, g.event(core.EventApproved, next, core.Them, "The peer has approved our federation request.",
		map[string]any{"unverified": next.Names, "gatewayUrl": next.URL}))
}

// ReceiveRemoval takes the body of POST /federation/removed.
//
// docs/protocol.md#removed
func (g *Gateway) ReceiveRemoval(ctx context.Context, body []byte) (core.Answer, error) {
	a, err := g.receiveRemoval(ctx, body)
	g.count("removed", a, err)
	return a, err
}

var errUnknownPeer = core.Refuse(core.NotFound, "Unknown peer")

// removable are the states in which a removal notice is acted on.
func removable(t core.Trust) bool {
	return t == core.Approved || t == core.Pending || t == core.Requested
}

type removedAnswer struct {
	Success bool   `json:"success"`
	PeerID  string `json:"peerId"`
	Status  string `json:"status"`
}

func (g *Gateway) receiveRemoval(ctx context.Context, body []byte) (core.Answer, error) {
	none := core.Answer{}
	opened, err := envelope.Open(g.opener(), envelope.Removal, body, func(label string) ([]core.PublicKey, error) {
		// Those who have something to remove come first, and strangers cannot use
		// up the tries of approved peers.
		fits := g.peers.fits(label, isApproved)
		for _, wanted := range []func(*core.Peer) bool{
			func(p *core.Peer) bool { return removable(p.Trust) && !isApproved(p) },
			func(p *core.Peer) bool { return !removable(p.Trust) },
		} {
			fits = append(fits, g.peers.fits(label, wanted)...)
		}
		if len(fits) == 0 {
			return nil, errUnknownPeer
		}
		return keysOf(fits), nil
	})
	if err != nil {
		return none, err
	}
	// One peer's notices are taken one after the other: the same one again gets
	// the answer of the first.
	unlock, err := g.locks.Lock(ctx, lockName{"removed", opened.Key, ""})
	if err != nil {
		return none, err
	}
	defer unlock()
	nonce := once(envelope.ShapeRemoval, opened.Digest)
	p := g.peers.get(opened.Key)
	if p == nil {
		return none, errUnknownPeer
	}
	if g.fresh.Seen(p.Key, nonce) {
		if a, err := g.answered(ctx, p.Key, nonce, opened.Digest); !errors.Is(err, core.NotFound) {
			return a, err
		}
	}
	if !removable(p.Trust) {
		return none, errUnknownPeer
	}
	if p.V2 && !opened.V2 {
		return none, core.Refuse(core.Forbidden, "v2 signature required")
	}
	if !opened.V2 && g.stillHasUs(ctx, p) {
		return none, g.refuseRemoval(ctx, p)
	}

	g.transitions.Lock()
	defer g.transitions.Unlock()
	answer := core.Answer{Status: http.StatusOK, Body: encode(removedAnswer{true, p.Key.ID(), string(core.Removed)})}
	receipt := &core.Receipt{Peer: p.Key, Nonce: nonce, Digest: opened.Digest, At: g.o.Now(), Status: answer.Status, Answer: answer.Body}
	if err := g.removedBy(ctx, p.Key, opened.V2, receipt); err != nil {
		if errors.Is(err, core.Replayed) {
			return g.answered(ctx, p.Key, nonce, opened.Digest)
		}
		return none, err
	}
	g.fresh.Note(p.Key, nonce, receipt.At)
	return answer, nil
}

// refuseRemoval refuses a notice that its sender does not stand by, tells the
// operator, and asks the peer again in a while.
func (g *Gateway) refuseRemoval(ctx context.Context, p *core.Peer) error {
	refused := core.Refuse(core.Conflict, "Peer still reports this gateway as approved")
	now, s := g.o.Now(), g.settings.Load()
	if g.warned.due(lockName{"ask again", p.Key, ""}, now, s.AskAgain) {
		g.askAgain(p.Key)
	}
	if !g.warned.due(lockName{"removal", p.Key, ""}, now, s.DigestInterval) {
		return refused
	}
	change := &core.Change{Events: []*core.Event{g.event(core.EventWarning, p, core.Them,
		"A removal notice was refused, as the peer itself still reports us as approved. It may be an old card request sent again by somebody else; we ask once more shortly.", nil)}}
	if err := g.keep(ctx, change); err != nil {
		return err
	}
	return refused
}

// removedBy makes the move of a peer that has parted. Called with moves held.
func (g *Gateway) removedBy(ctx context.Context, k core.PublicKey, v2 bool, receipt *core.Receipt) error {
	p := g.peers.get(k)
	if p == nil {
		return errUnknownPeer
	}
	next, err := peering.Apply(p, peering.RemovedBy, g.o.Now().UTC())
	if err != nil {
		return errUnknownPeer
	}
	next.V2 = next.V2 || v2
	change := &core.Change{Peers: []*core.Peer{next}, Receipt: receipt}
	change.Events = append(change.Events, g.removedEvent(next, core.Them))
	if err := g.outbox.Cancel(ctx, k, "the peer has removed us", change); err != nil {
		return err
	}
	return g.keep(ctx, change)
}

// removedEvent tells of the end of a federation; both sides get one.
func (g *Gateway) removedEvent(p *core.Peer, by string) *core.Event {
	text := "We have removed the peer: the federation is terminated."
	if by == core.Them {
		text = "The peer has removed us: the federation is terminated."
	}
	return g.event(core.EventRemoved, p, by, text, map[string]any{
		"type": "federation_removed", "peerId": p.Key.ID(), "unverified": p.Names})
}

// stillHasUs asks a peer's pinned card whether it has us as approved. A removal
// notice of the old form has the same signed text as a signed card request, so
// the peer is asked before it is believed. docs/threat-model.md#t5
func (g *Gateway) stillHasUs(ctx context.Context, p *core.Peer) bool {
	ctx, cancel := context.WithTimeout(ctx, g.settings.Load().AskBack)
	defer cancel()
	card, err := g.o.Transport.Card(ctx, p.URL, g.sealer.CardHeaders())
	return err == nil && sameKey(card.PublicKey, p.Key) && card.PeerStatus != nil
}

// askAgain asks a while later whether a removal that was refused has come true:
// gateways since 0.6 send the notice before they write the removal down.
func (g *Gateway) askAgain(k core.PublicKey) {
	g.inBackground(func(ctx context.Context) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(g.settings.Load().AskAgain):
		}
		p := g.peers.get(k)
		if p == nil || !removable(p.Trust) || p.V2 {
			return
		}
		ctx2, cancel := context.WithTimeout(ctx, g.settings.Load().AskBack)
		defer cancel()
		card, err := g.o.Transport.Card(ctx2, p.URL, g.sealer.CardHeaders())
		if err != nil || !sameKey(card.PublicKey, p.Key) || card.PeerStatus != nil {
			return
		}
		g.transitions.Lock()
		defer g.transitions.Unlock()
		if q := g.peers.get(k); q == nil || q.Trust != p.Trust || !q.Since.Equal(p.Since) { // it has moved since we asked
			return
		}
		if err := g.removedBy(ctx, k, false, nil); err != nil {
			g.log.Error("removal not kept", "peer", p.Name(), "err", err)
		}
	})
}

// maxSeenIDs bounds how many old-form identity envelopes a peer may ever send.
const maxSeenIDs = 64

// ReceiveIdentity takes the body of POST /federation/update-identity.
//
// docs/protocol.md#update-identity
func (g *Gateway) ReceiveIdentity(ctx context.Context, body []byte) (core.Answer, error) {
	a, err := g.receiveIdentity(ctx, body)
	g.count("update-identity", a, err)
	return a, err
}

func (g *Gateway) receiveIdentity(ctx context.Context, body []byte) (core.Answer, error) {
	none := core.Answer{}
	opened, err := envelope.Open(g.opener(), envelope.Identity, body, nil)
	if err != nil {
		return none, err
	}
	g.transitions.Lock()
	defer g.transitions.Unlock()
	p := g.peers.get(opened.Key)
	switch {
	case p == nil:
		return none, core.Refuse(core.NotFound, "Peer not found - no existing federation")
	case p.Trust != core.Approved:
		return none, core.Refuse(core.Forbidden, "Cannot update identity - peer is not approved")
	case p.V2 && !opened.V2:
		return none, errDowngrade
	}
	answer := ok(struct {
		Updated bool   `json:"updated"`
		Message string `json:"message"`
	}{true, "Identity updated successfully"})
	next := p.Clone()
	change := &core.Change{Peers: []*core.Peer{next}}
	if opened.V2 {
		next.V2 = true
		nonce := once(envelope.ShapeIdentity, opened.Digest) + core.Nonce(":"+opened.Nonce)
		nonce = nonce[max(0, len(nonce)-core.MaxNonceBytes):]
		if g.fresh.Seen(p.Key, nonce) {
			return answer, nil
		}
		change.Receipt = &core.Receipt{Peer: p.Key, Nonce: nonce, Digest: opened.Digest, At: g.o.Now(), Status: answer.Status, Answer: answer.Body}
	} else {
		// The old form has no time, so its very bytes count once for good.
		digest := hex.EncodeToString(opened.Digest[:16])
		if slices.Contains(p.SeenIDs, digest) {
			return answer, nil
		}
		if len(p.SeenIDs) >= maxSeenIDs {
			return none, core.Refuse(core.Forbidden, "Too many identity updates without a time")
		}
		next.SeenIDs = append(next.SeenIDs, digest)
	}
	id := opened.Value
	next.Names = cleanNames(core.Names{DisplayName: id.DisplayName, Email: id.Email, HumanName: id.HumanName,
		AgentName: id.AgentName, Organization: id.Organization})
	if err := g.keep(ctx, change); err != nil {
		return none, err
	}
	if change.Receipt != nil {
		g.fresh.Note(p.Key, change.Receipt.Nonce, change.Receipt.At)
	}
	g.peers.contact(p.Key, g.o.Now())
	return answer, nil
}
