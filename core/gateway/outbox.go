package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
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
	p := g.peers.get(k)
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
		item.Message.ReplyTo = g.settings.Load().URL + core.PathReply + string(item.Nonce)
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
	if m.Now {
		item, err := g.attempt(ctx, item, true)
		return Outgoing{p, item, err}, nil
	}
	item, err := g.sendNow(ctx, item)
	return Outgoing{p, item, err}, nil
}

func (g *Gateway) outboxItem(k core.PublicKey, kind core.OutboxKind) *core.OutboxItem {
	now := g.o.Now().UTC()
	return &core.OutboxItem{ID: newID(), Peer: k, Kind: kind, State: core.OutWaiting,
		Created: now, Next: now, GiveUp: now.Add(g.settings.Load().OutboxGiveUp)}
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

const (
	// maxSendsAtOnce bounds how many peers are written to at the same time.
	maxSendsAtOnce = 64
	// patience is how often an envelope that its peer answers with "not now" holds up
	// the later ones. An envelope without an answer always does.
	patience = 4
	// lateBy is how long after its time to give up an envelope may still be tried, so
	// that one which is to be tried only once is.
	lateBy = time.Minute
)

// runOutbox sends what is due until ctx is done: the envelopes of one peer in
// order, each peer by itself, so that a slow one holds up nobody.
func (g *Gateway) runOutbox(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxSendsAtOnce)
	var mu sync.Mutex // guards busy
	busy := map[core.PublicKey]bool{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-timer.C:
		}
		mu.Lock()
		held := maps.Clone(busy)
		mu.Unlock()
		peers, err := g.duePeers(ctx, held)
		if err != nil && ctx.Err() == nil {
			g.log.Error("outbox not readable", "err", err)
		}
		for _, k := range peers {
			mu.Lock()
			busy[k] = true
			mu.Unlock()
			wg.Go(func() {
				select {
				case slots <- struct{}{}:
					_, _ = g.sendLine(ctx, k, "")
					<-slots
				case <-ctx.Done():
				}
				mu.Lock()
				delete(busy, k)
				mu.Unlock()
				g.wakeOutbox()
			})
		}
		timer.Reset(g.nextRound(ctx, len(held)+len(peers) > 0))
	}
}

// nextRound is how long the outbox can wait; while peers are written to, their
// envelopes look due.
func (g *Gateway) nextRound(ctx context.Context, busy bool) time.Duration {
	next, err := g.o.Store.NextOutbox(ctx)
	least := 50 * time.Millisecond
	if busy {
		least = time.Second
	}
	switch {
	case err != nil:
		return 5 * time.Second
	case next.IsZero():
		return time.Minute
	}
	return min(time.Minute, max(next.Sub(g.o.Now()), least))
}

// duePeers lists the peers with envelopes that are due, without the busy ones.
func (g *Gateway) duePeers(ctx context.Context, busy map[core.PublicKey]bool) ([]core.PublicKey, error) {
	var peers []core.PublicKey
	for limit := 256; ; limit *= 4 {
		items, err := g.o.Store.DueOutbox(ctx, g.o.Now(), limit)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			if !busy[item.Peer] && !slices.Contains(peers, item.Peer) {
				peers = append(peers, item.Peer)
			}
		}
		// A long line of a busy peer may hide the others.
		if len(peers) > 0 || len(items) < limit || limit > 16384 {
			return peers, nil
		}
	}
}

// sendNow sends an envelope that has just been kept, after the earlier ones to the
// same peer. The error is why it was not delivered.
func (g *Gateway) sendNow(ctx context.Context, item *core.OutboxItem) (*core.OutboxItem, error) {
	sent, err := g.sendLine(ctx, item.Peer, item.ID)
	if sent == nil {
		sent = item
	}
	if sent.State == core.OutWaiting {
		g.wakeOutbox() // it has a time now
	}
	return sent, err
}

// sendLine sends what waits for a peer, in order, until one holds up the rest.
// With the id of an envelope it stops after that one and returns it with why it was
// not delivered.
func (g *Gateway) sendLine(ctx context.Context, k core.PublicKey, id string) (*core.OutboxItem, error) {
	queue, cancel := ctx, func() {}
	if id != "" {
		queue, cancel = context.WithTimeout(ctx, maxQueue)
	}
	defer cancel()
	unlock, err := g.locks.lock(queue, lockName{"line", k, ""})
	if err != nil {
		return nil, errBehind
	}
	defer unlock()
	items, err := g.o.Store.Outbox(ctx, core.OutboxFilter{Peer: k, State: core.OutWaiting, Limit: maxLine})
	if err != nil {
		return nil, err
	}
	slices.Reverse(items) // the store gives the newest first
	reached := false
	for i, item := range items {
		mine := item.ID == id
		if queue.Err() != nil && !mine {
			return nil, errors.Join(errBehind, g.dueNow(ctx, item))
		}
		// An operator's envelope is a reason to try a silent peer at once, and so is one
		// that it has just taken; a time that the peer asked for is kept.
		if wait := item.Next.Sub(g.o.Now()); wait > 0 && (item.Answer != nil || id == "" && !reached) {
			if !holdsUp(item) {
				continue
			}
			e := core.Refuse(core.Unavailable, "waits behind an earlier envelope: "+item.Error)
			e.RetryAfter = wait
			return g.putOff(ctx, items[i:], id, e)
		}
		next, err := g.attempt(ctx, item, mine)
		reached = reached || next.State == core.OutSent
		if next.State == core.OutWaiting && holdsUp(next) {
			items[i] = next
			return g.putOff(ctx, items[i:], id, err)
		}
		if mine {
			return next, err
		}
	}
	if id == "" {
		return nil, nil
	}
	item, err := g.o.Store.OutboxItem(ctx, id) // the background was faster
	if err != nil {
		return nil, err
	}
	return item, failureOf(item)
}

// maxQueue is how long somebody who has just sent an envelope waits for the earlier
// ones to leave. The envelope itself goes on waiting.
const maxQueue = 15 * time.Second

var errBehind = core.Refuse(core.Unavailable, "waits behind earlier envelopes to this peer")

// maxLine bounds how many envelopes to one peer are looked at together.
const maxLine = 10000

func holdsUp(item *core.OutboxItem) bool { return item.Answer == nil || item.Attempts < patience }

// putOff lets the envelopes behind the first of a line wait as long as that one.
// It returns the one with the id, if it is among them.
func (g *Gateway) putOff(ctx context.Context, line []*core.OutboxItem, id string, why error) (*core.OutboxItem, error) {
	var mine *core.OutboxItem
	if line[0].ID == id {
		mine = line[0]
	}
	change := &core.Change{}
	for _, item := range line[1:] {
		if item.Next.Before(line[0].Next) {
			next := *item
			next.Next = line[0].Next
			change.Outbox = append(change.Outbox, &next)
			item = &next
		}
		if item.ID == id {
			mine = item
		}
	}
	if len(change.Outbox) == 0 {
		return mine, why
	}
	return mine, errors.Join(why, g.keep(context.WithoutCancel(ctx), change))
}

// dueNow makes an envelope due that was put off for an earlier one.
func (g *Gateway) dueNow(ctx context.Context, item *core.OutboxItem) error {
	now := g.o.Now().UTC()
	if item.Answer != nil || !item.Next.After(now) {
		return nil
	}
	next := *item
	next.Next = now
	return g.keep(context.WithoutCancel(ctx), &core.Change{Outbox: []*core.OutboxItem{&next}})
}

// failureOf is why an envelope that was tried before was not delivered, or nil.
func failureOf(item *core.OutboxItem) error {
	switch item.State {
	case core.OutSent:
		return nil
	case core.OutRefused:
		return core.Refuse(core.Refused, item.Error)
	}
	return core.Refuse(core.Unreachable, item.Error)
}

// attempt tries an envelope once and writes down what came of it. The error is why
// it was not delivered. first says that somebody waits for the outcome, who need
// not be told by an event.
func (g *Gateway) attempt(ctx context.Context, item *core.OutboxItem, first bool) (*core.OutboxItem, error) {
	unlock, err := g.locks.lock(ctx, lockName{"outbox", item.Peer, item.ID})
	if err != nil {
		return item, err
	}
	defer unlock()
	fresh, err := g.o.Store.OutboxItem(ctx, item.ID)
	if err != nil {
		return item, err
	}
	if item = fresh; item.State != core.OutWaiting {
		return item, failureOf(item)
	}
	p := g.peers.get(item.Peer)
	next := *item
	now := g.o.Now().UTC()
	stop := func(why error, tell bool) (*core.OutboxItem, error) {
		next.State, next.Error, next.Done = core.OutExpired, why.Error(), now
		return &next, errors.Join(why, g.keepItem(ctx, &next, tell))
	}
	wanted := core.Approved
	if item.Kind == core.OutReject {
		wanted = core.Rejected // a peer that has come back since is not turned away
	}
	if p == nil || p.Trust != wanted {
		return stop(core.Refuse(core.NotApproved, "the peer is no longer "+string(wanted)), !first && (item.Kind == core.OutMessage || item.Kind == core.OutReply))
	}
	if now.Sub(item.GiveUp) > lateBy {
		return stop(core.Refuse(core.Unreachable, "given up: "+item.Error), !first)
	}
	if item.Attempts > 0 && g.hasReplied(ctx, item) {
		next.State, next.Done, next.Error = core.OutSent, now, ""
		return &next, g.keepItem(ctx, &next, false)
	}
	next.Attempts++
	got, err := g.deliver(ctx, p, &next)
	result := g.settle(ctx, p, &next, got, err)
	if err == nil || ctx.Err() == nil { // else we were cut short ourselves
		g.peers.checked(p.Key, unheard(result), now, g.settings.Load().CheckFailures)
	}
	if next.State == core.OutWaiting && result != nil && next.Answer == nil && item.Next.After(now) { // tried before its time, which stays
		next.Attempts, next.Next = max(1, item.Attempts), item.Next
	}
	g.log.Info("envelope tried", "kind", next.Kind, "peer", p.Name(), "state", next.State, "attempt", next.Attempts, "err", next.Error)
	// What the peer has taken is written down even when our caller has gone.
	ctx = context.WithoutCancel(ctx)
	if next.State != core.OutSent && next.Kind == core.OutMessage {
		unlock, err := g.locks.lock(ctx, lockName{"reply", p.Key, string(next.Nonce)})
		if err != nil {
			return &next, err
		}
		defer unlock()
		if g.hasReplied(ctx, &next) {
			next.State, next.Done, next.Error, result = core.OutSent, now, "", nil
		}
	}
	return &next, errors.Join(result, g.keepItem(ctx, &next, !first || next.Attempts > 1))
}

// hasReplied reports whether a message of ours was answered: who replies has it,
// whatever became of the answer to the envelope itself.
func (g *Gateway) hasReplied(ctx context.Context, item *core.OutboxItem) bool {
	if item.Kind != core.OutMessage {
		return false
	}
	r, err := g.o.Store.Reply(ctx, item.Nonce)
	return err == nil && !r.Ours && r.Peer == item.Peer
}

func (g *Gateway) keepItem(ctx context.Context, item *core.OutboxItem, tell bool) error {
	change := &core.Change{Outbox: []*core.OutboxItem{item}}
	if tell && (item.State == core.OutRefused || item.State == core.OutExpired) {
		change.Events = append(change.Events, g.event(core.EventDeliveryFailed, g.peers.get(item.Peer), core.Us,
			"An envelope of ours could not be delivered.", map[string]any{"outboxId": item.ID, "kind": item.Kind, "error": item.Error}))
	}
	return g.keep(ctx, change)
}

// deliver signs and posts an envelope. The body of the last try is sent again while
// its time is fresh, so that the peer knows it for the same.
func (g *Gateway) deliver(ctx context.Context, p *core.Peer, item *core.OutboxItem) (core.Answer, error) {
	now := g.o.Now()
	fresh := item.Body != nil && now.Sub(item.SignedAt).Abs() < g.settings.Load().windowOrDefault()*3/4
	if !fresh {
		body, err := g.seal(p, item)
		if err != nil {
			return core.Answer{}, err
		}
		item.Body, item.SignedAt = body, now.UTC()
	}
	switch item.Kind {
	case core.OutMessage:
		return g.o.Transport.Post(ctx, p.URL, core.PathMessage, item.Body)
	case core.OutReply:
		return g.o.Transport.PostURL(ctx, item.URL, item.Body)
	default:
		return g.o.Transport.Post(ctx, p.URL, core.PathApprove, item.Body)
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

// endpoints are what the outbox posts to.
var endpoints = map[core.OutboxKind]answer.Endpoint{
	core.OutMessage: answer.Message, core.OutReply: answer.Reply, core.OutApprove: answer.Approve, core.OutReject: answer.Approve,
}

// settle decides what a try means for the envelope, and returns why it was not
// delivered.
func (g *Gateway) settle(ctx context.Context, p *core.Peer, item *core.OutboxItem, got core.Answer, err error) error {
	s := g.settings.Load()
	now := g.o.Now().UTC()
	item.Error, item.Answer = "", nil
	retry := time.Duration(0)
	if err == nil {
		j := g.judge(ctx, p, endpoints[item.Kind], got, item.Attempts > 1)
		if j.Said != "" || j.Verdict == answer.Yes {
			item.Answer = jsonOrNil(got.Body)
		}
		switch {
		case j.Verdict == answer.Yes:
			item.State, item.Done = core.OutSent, now
			return nil
		case j.Stale && item.SignedAt.Before(now.Add(-time.Minute)):
			item.Body = nil // the clocks differ a little: signed anew it may be taken
		case j.Verdict != answer.Wait:
			item.State, item.Done = core.OutRefused, now
		}
		retry, err = j.RetryAfter, j.Err()
	}
	item.Error = err.Error()
	if item.State != core.OutWaiting {
		return err
	}
	wait := max(core.Backoff(item.Attempts, s.OutboxFirst, s.OutboxMax), retry)
	if item.Next = now.Add(wait); item.Next.After(item.GiveUp) {
		item.State, item.Done = core.OutExpired, now
	}
	return err
}

func jsonOrNil(b []byte) core.Raw {
	if len(b) == 0 || !validJSON(b) {
		return nil
	}
	return b
}
