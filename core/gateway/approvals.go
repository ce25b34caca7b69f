package gateway

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// ReceiveApproval takes the body of POST /federation/approve.
//
// docs/protocol.md#approve
func (g *trust) ReceiveApproval(ctx context.Context, body []byte) (core.Answer, error) {
	return g.judged(ctx, "approve", func() (core.Answer, error) { return g.receiveApproval(ctx, body) })
}

func (g *trust) receiveApproval(ctx context.Context, body []byte) (core.Answer, error) {
	none := core.Answer{}
	if claim, unsigned := unsignedApproval(body); unsigned {
		g.unsigned(claim)
		return answer.Received(), nil
	}
	opened, err := envelope.Open(g.opener(ctx), envelope.Approval, body, g.approvers)
	if err != nil {
		return none, err
	}
	if err := g.checkApproval(opened); err != nil {
		return none, err
	}
	a := opened.Value
	named := opened.V2 || a.PeerID != "" && a.PeerID != g.self.ShortID()

	taken := answer.Received()
	nonce := bookkeepingOf(envelope.ShapeApproval, opened.Digest)
	if a, err := g.answered(ctx, opened.Key, nonce, opened.Digest); !errors.Is(err, core.NotFound) {
		return a, err
	}
	if p := g.peers.Get(opened.Key); p != nil && p.V2 && !opened.V2 {
		return none, g.oldForm(ctx, p)
	}
	_, err = g.transition(ctx, opened.Key, func(p *core.Peer, st *step) (*core.Peer, error) {
		if p == nil {
			return nil, errNoPending
		}
		next, err := g.approval(p, a, named, opened.V2, st)
		if err != nil || next == nil {
			return nil, err
		}
		st.remember(p.Key, nonce, opened.Digest, taken)
		return next, nil
	})
	if err != nil {
		return none, err
	}
	g.peers.Contact(opened.Key, g.o.Now())
	return taken, nil
}

// checkApproval says what an approval lacks, whoever it is from.
func (g *trust) checkApproval(opened envelope.Opened[core.Approval]) error {
	switch a := opened.Value; {
	case opened.Unsigned:
		return errNoPending
	case a.FromPublicKey != "" && !sameKey(a.FromPublicKey, opened.Key):
		return core.Refuse(core.Forbidden, "fromPublicKey does not match stored peer publicKey")
	case a.ScopeGrants != nil && (a.ScopeGrants.Scopes == nil || len(a.ScopeGrants.Scopes) > scope.MaxGrants):
		return core.Refuse(core.Malformed, "Invalid scopeGrants")
	case !opened.V2 && a.PeerID != "" && a.PeerID != g.self.ShortID() && !g.settings.Load().Named(a.PeerID):
		return errNoPending // it is meant for another gateway, and was carried over to us
	}
	return nil
}

// approvers finds the keys that an approval may be from. Direction counts: only a
// key that we asked can approve, only one that is approved can change what it
// grants. docs/threat-model.md#t1
func (g *trust) approvers(claim string) ([]core.PublicKey, error) {
	fits := g.peers.Fits(claim, func(p *core.Peer) bool { return p.Trust == core.Requested || isApproved(p) || inDoubt(p) })
	if len(fits) != 1 || len(claim) != len(core.SPKIPrefix)+64 {
		return nil, errNoPending
	}
	return peers.Keys(fits), nil
}

// approval is the record after a verified approval; nil for no change.
func (g *trust) approval(p *core.Peer, a core.Approval, named, v2 bool, st *step) (*core.Peer, error) {
	if !named {
		return g.approvalOfNobody(p, a, st)
	}
	event := peering.ApprovedBy
	if a.Rejects() {
		event = peering.RejectedBy
	}
	if isApproved(p) {
		if err := g.takeChange(p.Key, st, "changes of grants"); err != nil {
			return nil, err
		}
	}
	next, err := peering.Apply(p, event, st.now)
	if err != nil {
		return nil, errNoPending
	}
	next.V2, next.OldForm = next.V2 || v2, next.OldForm && !v2
	next.Asking.Series, next.Asking.Pending = nil, 0
	if a.Rejects() {
		st.Events = append(st.Events, g.event(core.EventRejected, next, core.Them, "The peer has rejected our federation request.", nil))
		return next, nil
	}
	if inDoubt(p) {
		st.digest.Restored++
		peering.Refuted(next, st.now)
	}
	g.introduceApprover(next, a)
	if isApproved(p) || inDoubt(p) {
		return next, g.tellGrantsAgain(p, a, v2, st)
	}
	if next.Granted == nil {
		g.grant(next, nil)
		if _, err := g.tellApproved(next, false, st); err != nil {
			return nil, err
		}
	}
	st.Events = append(st.Events, g.event(core.EventApproved, next, core.Them, "The peer has approved our federation request.",
		map[string]any{"unverified": next.Names, "gatewayUrl": next.URL}))
	return next, nil
}

// tellGrantsAgain answers an approved peer that approves us anew with what we grant it: it
// may have lost that with its record of us. A peer that never showed v2 hears it only if we
// have asked it anew ourselves. What answers is no full approval, so that nobody answers it.
func (g *trust) tellGrantsAgain(p *core.Peer, a core.Approval, v2 bool, st *step) error {
	if a.Approved == nil || !v2 && !p.RequestedAt.After(p.ApprovedAt) {
		return nil
	}
	if waits, err := g.outbox.ApprovalWaits(context.Background(), p.Key); waits || err != nil {
		return err // it says the same
	}
	st.Outbox = append(st.Outbox, g.approvalItem(p, false))
	return nil
}

// introduceApprover takes over what an approval says that is for us.
func (g *trust) introduceApprover(p *core.Peer, a core.Approval) {
	peers.TakeNames(p, cmp.Or(a.FromDisplayName, p.Names.DisplayName), cmp.Or(a.FromEmail, p.Names.Email))
	if url, err := core.GatewayURL(a.FromGatewayURL); err == nil && url != p.URL {
		if g.peers.ByURL(url, p.Key) == nil {
			p.URL = url
		} else {
			p.Warning = "it claims the gateway URL of another peer"
		}
	}
	if a.ScopeGrants != nil {
		p.Received = peers.Bundle(a.ScopeGrants)
	}
}

// approvalOfNobody takes a signed approval that names no recipient, as gateways of
// 0.7 send it back for ours. It may be meant for somebody else: from an approved
// peer its grants are noted, which decide nothing of ours; where we have asked, it is
// a hint.
func (g *trust) approvalOfNobody(p *core.Peer, a core.Approval, st *step) (*core.Peer, error) {
	next := p.Clone()
	switch {
	case a.Rejects():
		return nil, errNoPending
	case isApproved(p):
		if a.ScopeGrants == nil {
			return nil, nil
		}
		if err := g.takeChange(p.Key, st, "changes of grants"); err != nil {
			return nil, err
		}
		next.Received = peers.Bundle(a.ScopeGrants)
	case p.Trust == core.Requested, inDoubt(p):
		peering.Hint(next, core.HintApproval, st.now, nil, false)
	default:
		return nil, errNoPending
	}
	return next, nil
}

// unsignedApproval reports whether a body is the approval of a gateway before 0.7,
// which nobody has signed, and whom it claims to be from.
func unsignedApproval(body []byte) (claim string, unsigned bool) {
	var b struct {
		PayloadStr    jsontext.Value `json:"payloadStr"`
		Signature     jsontext.Value `json:"signature"`
		V2            jsontext.Value `json:"v2"`
		FromPublicKey string         `json:"fromPublicKey"`
		FromGatewayID string         `json:"fromGatewayId"`
		FromURL       string         `json:"fromGatewayUrl"`
		Approved      *bool          `json:"approved"`
	}
	if json.Unmarshal(body, &b) != nil || b.PayloadStr != nil || b.Signature != nil || b.V2 != nil || b.Approved != nil && !*b.Approved {
		return "", false
	}
	return b.FromPublicKey, b.FromPublicKey != "" || b.FromGatewayID != "" || b.FromURL != ""
}

// unsigned takes the hint of an unsigned approval. The answer and its time are the
// same whoever it names, so that nobody learns whom we have asked: what is to be
// stored is stored afterwards. Nothing of it counts but that we ask.
func (g *trust) unsigned(claim string) {
	fits := g.peers.Fits(claim, func(p *core.Peer) bool { return takesUnsigned(p) })
	if len(fits) != 1 || len(claim) != len(core.SPKIPrefix)+64 {
		return
	}
	k := fits[0].Key
	if !g.warned.Due(lockName{"unsigned", k, ""}, g.o.Now(), time.Second) {
		return
	}
	g.inBackground(func(ctx context.Context) {
		_, err := g.transition(ctx, k, func(p *core.Peer, st *step) (*core.Peer, error) {
			if p == nil || !takesUnsigned(p) || p.Asking.Pending&core.HintApproval != 0 {
				return nil, nil
			}
			next := p.Clone()
			peering.Hint(next, core.HintApproval, st.now, nil, false)
			return next, nil
		})
		if err != nil {
			g.log.Error("hint not stored", "peer", fits[0].Name(), "err", err)
		}
	})
}

// takesUnsigned reports whether an unsigned approval of a peer is worth a confirmation:
// we have asked it, it runs a version that signs none, and has never shown v2. One of
// 0.2.20 that has lost us knows us by another label once it has approved again.
func takesUnsigned(p *core.Peer) bool {
	return (p.Trust == core.Requested || inDoubt(p) || isApproved(p) && p.OurLabel != "") && !p.V2 && (peers.Before(p, 0, 7) || p.Version == "")
}
