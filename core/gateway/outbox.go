package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// Sending is a message of ours.
type Sending struct {
	Intent         string
	Payload        core.Raw // JSON
	ToAgent        string
	ConversationID string
	WantReply      bool // ask for the reply at our own gateway URL
	Now            bool // try once, and give up if that fails
}

// Send signs a message and sends it. It is kept in the outbox first, so that it
// is tried again until the peer has it, unless Now says otherwise. The first try
// is made before Send returns: Outgoing.Err tells what came of it.
//
// Errors are of kind NotApproved or Malformed.
//
// docs/protocol.md#messages
func (g *Gateway) Send(ctx context.Context, k core.PublicKey, m Sending) (Outgoing, error) {
	p := g.book.get(k)
	if p == nil {
		return Outgoing{}, core.Refuse(core.NotFound, "no such peer")
	}
	if p.Trust != core.Approved {
		e := core.Refusef(core.NotApproved, "%s is not approved, but %s", p.Name(), p.Trust)
		e.Hint = `"ogp federation list" shows where each peer stands`
		return Outgoing{}, e
	}
	if m.Intent == "" {
		return Outgoing{}, core.Refuse(core.Malformed, "no intent")
	}
	item := g.outboxItem(k, core.OutMessage)
	item.Nonce = envelope.NewNonce()
	item.Message = &core.Message{
		Intent: m.Intent, From: g.self.ID(), To: k.ID(), ToAgent: m.ToAgent, Nonce: item.Nonce,
		ConversationID: m.ConversationID, Payload: m.Payload,
	}
	if m.Intent == core.IntentAgentComms && m.ConversationID == "" {
		item.Message.ConversationID = string(item.Nonce)
	}
	if m.WantReply {
		item.Message.ReplyTo = g.settings.Load().URL + PathReply + string(item.Nonce)
	}
	if p.Label != "" { // an old gateway knows itself by the id that it announced
		item.Message.To = p.Label
	}
	if _, err := g.sealer.SealMessage(k, *item.Message); err != nil {
		return Outgoing{}, err
	}
	if m.Now {
		item.GiveUp = item.Created
	}
	if err := g.keep(ctx, &core.Change{Outbox: []*core.OutboxItem{item}}); err != nil {
		return Outgoing{}, err
	}
	item, err := g.attempt(ctx, item)
	return Outgoing{p, item, err}, nil
}

func (g *Gateway) outboxItem(k core.PublicKey, kind core.OutboxKind) *core.OutboxItem {
	now := g.o.Now().UTC()
	return &core.OutboxItem{ID: newID(), Peer: k, Kind: kind, State: core.OutWaiting,
		Created: now, Next: now, GiveUp: now.Add(g.settings.Load().OutboxGiveUp)}
}

// lastOutbox returns the newest letter of a kind to a peer.
func (g *Gateway) lastOutbox(ctx context.Context, k core.PublicKey, kind core.OutboxKind) (*core.OutboxItem, error) {
	items, err := g.o.Store.Outbox(ctx, core.OutboxFilter{Peer: k, Limit: 100})
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if item.Kind == kind {
			return item, nil
		}
	}
	return nil, core.Refuse(core.NotFound, "no such letter")
}

// cancelOutbox gives up what waits for a peer that has gone.
func (g *Gateway) cancelOutbox(ctx context.Context, k core.PublicKey, why string, change *core.Change) error {
	items, err := g.o.Store.Outbox(ctx, core.OutboxFilter{Peer: k, State: core.OutWaiting, Limit: 10000})
	if err != nil {
		return err
	}
	for _, item := range items {
		item.State, item.Error, item.Done = core.OutExpired, why, g.o.Now().UTC()
		change.Outbox = append(change.Outbox, item)
	}
	return nil
}

// wakeOutbox makes the outbox look for work now.
func (g *Gateway) wakeOutbox() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// claim marks a letter as under way, so that it is tried by one at a time.
func (g *Gateway) claim(id string) bool {
	g.sending.Lock()
	defer g.sending.Unlock()
	if g.inFlight[id] {
		return false
	}
	g.inFlight[id] = true
	return true
}

func (g *Gateway) release(id string) {
	g.sending.Lock()
	defer g.sending.Unlock()
	delete(g.inFlight, id)
}

// maxSendsAtOnce bounds how many peers are written to at the same time.
const maxSendsAtOnce = 16

// runOutbox sends what is due until ctx is done.
func (g *Gateway) runOutbox(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-timer.C:
		}
		g.sendDue(ctx)
		wait := time.Minute
		if next, err := g.o.Store.NextOutbox(ctx); err == nil && !next.IsZero() {
			wait = min(wait, max(next.Sub(g.o.Now()), 100*time.Millisecond))
		}
		timer.Reset(wait)
	}
}

// sendDue tries every letter that is due: those of one peer in order, several
// peers at a time.
func (g *Gateway) sendDue(ctx context.Context) {
	items, err := g.o.Store.DueOutbox(ctx, g.o.Now(), 256)
	if err != nil {
		if ctx.Err() == nil {
			g.log.Error("outbox not readable", "err", err)
		}
		return
	}
	byPeer := map[core.PublicKey][]*core.OutboxItem{}
	for _, item := range items {
		byPeer[item.Peer] = append(byPeer[item.Peer], item)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxSendsAtOnce)
	for _, list := range byPeer {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			for _, item := range list {
				if _, err := g.attempt(ctx, item); errors.Is(err, core.Unreachable) || ctx.Err() != nil {
					return // the rest of this peer's letters wait as well
				}
			}
		})
	}
	wg.Wait()
}

// attempt tries a letter once and writes down what came of it. The error is why
// it was not delivered.
func (g *Gateway) attempt(ctx context.Context, item *core.OutboxItem) (*core.OutboxItem, error) {
	if !g.claim(item.ID) {
		return item, nil // under way already
	}
	defer g.release(item.ID)
	if fresh, err := g.o.Store.OutboxItem(ctx, item.ID); err == nil {
		if item = fresh; item.State != core.OutWaiting {
			return item, nil
		}
	}
	p := g.book.get(item.Peer)
	next := *item
	now := g.o.Now().UTC()
	if p == nil || p.Trust != core.Approved && item.Kind != core.OutReject {
		next.State, next.Error, next.Done = core.OutExpired, "the peer is no longer approved", now
		return &next, errors.Join(core.Refuse(core.NotApproved, next.Error), g.keepItem(ctx, &next))
	}
	next.Attempts++
	answer, err := g.deliver(ctx, p, &next)
	g.book.checked(p.Key, err, now, g.settings.Load().CheckFailures)
	g.settle(&next, answer, err)
	result := error(nil)
	if next.State != core.OutSent {
		result = err
		if result == nil {
			result = refusedBy(answer)
		}
	}
	g.log.Info("letter tried", "kind", next.Kind, "peer", p.Name(), "state", next.State, "attempt", next.Attempts, "err", next.Error)
	// What the peer has taken is written down even when our caller has gone.
	return &next, errors.Join(result, g.keepItem(context.WithoutCancel(ctx), &next))
}

func (g *Gateway) keepItem(ctx context.Context, item *core.OutboxItem) error {
	change := &core.Change{Outbox: []*core.OutboxItem{item}}
	if (item.State == core.OutRefused || item.State == core.OutExpired) && item.Attempts > 1 {
		change.Events = append(change.Events, g.event(core.EventDeliveryFailed, g.book.get(item.Peer), core.Us,
			"A letter of ours could not be delivered.", map[string]any{"outboxId": item.ID, "kind": item.Kind, "error": item.Error}))
	}
	return g.keep(ctx, change)
}

// deliver signs and posts a letter. The body of the last try is sent again while
// its time is fresh, so that the peer knows it for the same.
func (g *Gateway) deliver(ctx context.Context, p *core.Peer, item *core.OutboxItem) (core.Answer, error) {
	now := g.o.Now()
	fresh := item.Body != nil && now.Sub(item.SignedAt) < g.settings.Load().windowOrDefault()*3/4
	if !fresh {
		body, err := g.seal(p, item)
		if err != nil {
			return core.Answer{}, err
		}
		item.Body, item.SignedAt = body, now.UTC()
	}
	switch item.Kind {
	case core.OutMessage:
		return g.o.Wire.Post(ctx, p.URL, PathMessage, item.Body)
	case core.OutReply:
		return g.o.Wire.PostURL(ctx, item.URL, item.Body)
	default:
		return g.o.Wire.Post(ctx, p.URL, PathApprove, item.Body)
	}
}

func (s *Settings) windowOrDefault() time.Duration {
	if s.Window > 0 {
		return s.Window
	}
	return 5 * time.Minute
}

func (g *Gateway) seal(p *core.Peer, item *core.OutboxItem) ([]byte, error) {
	switch item.Kind {
	case core.OutMessage:
		return g.sealer.SealMessage(p.Key, *item.Message)
	case core.OutReply:
		return g.sealer.SealReply(p.Key, *item.Reply)
	case core.OutReject:
		no := false
		return g.sealer.SealApproval(p.Key, core.Approval{Approved: &no, FromPublicKey: g.self.String(), Nonce: envelope.NewNonce()}), nil
	default:
		return g.sealer.SealApproval(p.Key, g.approval(p, item)), nil
	}
}

// settle decides what a try means for the letter.
func (g *Gateway) settle(item *core.OutboxItem, answer core.Answer, err error) {
	s := g.settings.Load()
	now := g.o.Now().UTC()
	item.Error, item.Answer = "", nil
	retry := time.Duration(0)
	switch {
	case err != nil:
		item.Error = err.Error()
	case answer.Status >= 200 && answer.Status < 300:
		item.State, item.Done = core.OutSent, now
		item.Answer = jsonOrNil(answer.Body)
		return
	case answer.Status == http.StatusConflict && item.Attempts > 1:
		// The peer has this nonce from a try of which the answer got lost.
		item.State, item.Done = core.OutSent, now
		return
	default:
		item.Error, item.Answer = refusedBy(answer).Error(), jsonOrNil(answer.Body)
		retry = answer.RetryAfter
		switch answer.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		default:
			item.State, item.Done = core.OutRefused, now
			return
		}
	}
	wait := max(core.Backoff(item.Attempts, s.OutboxFirst, s.OutboxMax), retry)
	if item.Next = now.Add(wait); item.Next.After(item.GiveUp) {
		item.State, item.Done = core.OutExpired, now
	}
}

func jsonOrNil(b []byte) core.Raw {
	if len(b) == 0 || !validJSON(b) {
		return nil
	}
	return b
}
