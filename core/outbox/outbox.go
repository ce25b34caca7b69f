// Package outbox is the durable queue of our envelopes to other gateways: each is
// stored first and then tried until its peer has it, in order for each peer, so
// that a silent one holds up nobody else.
//
// docs/protocol.md#messages
package outbox

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/locks"
)

// Gateway is what the queue needs of the gateway whose envelopes it sends.
type Gateway interface {
	// Peer is the peer's record as it is now, or nil.
	Peer(k core.PublicKey) *core.Peer
	// Tried notes that a peer was written to; err is nil if it answered.
	Tried(k core.PublicKey, err error)
	// Store commits a change and tells of its events.
	Store(ctx context.Context, c *core.Change) error
	// Seal makes the signed body of an envelope, from the record as it is now.
	Seal(p *core.Peer, item *core.OutboxItem) ([]byte, error)
	// OutboxSettings are the settings in force.
	OutboxSettings() Settings
}

// Settings are the times of the queue, as the gateway's settings have them.
type Settings struct {
	GiveUp     time.Duration // how long an envelope is tried
	First, Max time.Duration // the first wait after a failure, and the longest
	Window     time.Duration // how old a signed body may be for its peer
}

// Store is what the queue reads of the store.
type Store interface {
	Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error)
	OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error)
	DueOutbox(ctx context.Context, now time.Time, limit int) ([]*core.OutboxItem, error)
	NextOutbox(ctx context.Context) (time.Time, error)
	Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error)
}

// Transport carries envelopes. Errors are of kind Unreachable when no answer came.
type Transport interface {
	Card(ctx context.Context, gatewayURL string, headers map[string]string) (core.Card, error)
	Post(ctx context.Context, gatewayURL, path string, body []byte) (core.Answer, error)
	PostURL(ctx context.Context, url string, body []byte) (core.Answer, error)
}

// Options are what a queue is made of. All are needed.
type Options struct {
	Gateway   Gateway
	Store     Store
	Transport Transport
	Logger    *slog.Logger
	Now       func() time.Time
}

// Queue is the queue outward. Safe for concurrent use.
type Queue struct {
	o     Options
	locks locks.Set[lockName]
	wake  chan struct{} // holds a token when there is work
}

// lockName is what a lock is about.
type lockName struct {
	what string // queue: of one peer; item: one envelope; reply: a nonce and its reply
	peer core.PublicKey
	name string
}

// New makes a queue; its Run sends what waits.
func New(o Options) *Queue { return &Queue{o: o, wake: make(chan struct{}, 1)} }

// LockReply keeps what comes of a message apart from what comes of its reply: hold
// it while a reply is stored. The error is of kind Unavailable when ctx ends first.
func (q *Queue) LockReply(ctx context.Context, k core.PublicKey, n core.Nonce) (unlock func(), err error) {
	return q.locks.Lock(ctx, lockName{"reply", k, string(n)})
}

// Item is a new envelope, due now.
func (q *Queue) Item(k core.PublicKey, kind core.OutboxKind) *core.OutboxItem {
	now := q.o.Now().UTC()
	return &core.OutboxItem{ID: ulid.Make().String(), Peer: k, Kind: kind, State: core.OutWaiting,
		Created: now, Next: now, GiveUp: now.Add(q.o.Gateway.OutboxSettings().GiveUp)}
}

// Cancel lets a change give up what waits for a peer.
func (q *Queue) Cancel(ctx context.Context, k core.PublicKey, why string, change *core.Change) error {
	items, err := q.o.Store.Outbox(ctx, core.OutboxFilter{Peer: k, State: core.OutWaiting, Limit: 10000})
	if err != nil {
		return err
	}
	for _, item := range items {
		item.State, item.Error, item.Done = core.OutExpired, why, q.o.Now().UTC()
		change.Outbox = append(change.Outbox, item)
	}
	return nil
}

// Wake makes the queue look for work now.
func (q *Queue) Wake() {
	select {
	case q.wake <- struct{}{}:
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

// Run sends what is due until ctx is done: the envelopes of one peer in
// order, each peer by itself, so that a slow one holds up nobody.
func (q *Queue) Run(ctx context.Context) {
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
		case <-q.wake:
		case <-timer.C:
		}
		mu.Lock()
		held := maps.Clone(busy)
		mu.Unlock()
		peers, err := q.duePeers(ctx, held)
		if err != nil && ctx.Err() == nil {
			q.o.Logger.Error("outbox not readable", "err", err)
		}
		for _, k := range peers {
			mu.Lock()
			busy[k] = true
			mu.Unlock()
			wg.Go(func() {
				select {
				case slots <- struct{}{}:
					_, _ = q.sendQueue(ctx, k, "")
					<-slots
				case <-ctx.Done():
				}
				mu.Lock()
				delete(busy, k)
				mu.Unlock()
				q.Wake()
			})
		}
		timer.Reset(q.nextRound(ctx, len(held)+len(peers) > 0))
	}
}

// nextRound is how long the outbox can wait; while peers are written to, their
// envelopes look due.
func (q *Queue) nextRound(ctx context.Context, busy bool) time.Duration {
	next, err := q.o.Store.NextOutbox(ctx)
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
	return min(time.Minute, max(next.Sub(q.o.Now()), least))
}

// duePeers lists the peers with envelopes that are due, without the busy ones.
func (q *Queue) duePeers(ctx context.Context, busy map[core.PublicKey]bool) ([]core.PublicKey, error) {
	var peers []core.PublicKey
	for limit := 256; ; limit *= 4 {
		items, err := q.o.Store.DueOutbox(ctx, q.o.Now(), limit)
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

// SendNow sends an envelope that has just been kept, after the earlier ones to the
// same peer. The error is why it was not delivered.
func (q *Queue) SendNow(ctx context.Context, item *core.OutboxItem) (*core.OutboxItem, error) {
	sent, err := q.sendQueue(ctx, item.Peer, item.ID)
	if sent == nil {
		sent = item
	}
	if sent.State == core.OutWaiting {
		q.Wake() // it has a time now
	}
	return sent, err
}

// sendQueue sends what waits for a peer, in order, until one holds up the rest.
// With the id of an envelope it stops after that one and returns it with why it was
// not delivered.
func (q *Queue) sendQueue(ctx context.Context, k core.PublicKey, id string) (*core.OutboxItem, error) {
	queue, cancel := ctx, func() {}
	if id != "" {
		queue, cancel = context.WithTimeout(ctx, maxQueue)
	}
	defer cancel()
	unlock, err := q.locks.Lock(queue, lockName{"queue", k, ""})
	if err != nil {
		return nil, errBehind
	}
	defer unlock()
	items, err := q.o.Store.Outbox(ctx, core.OutboxFilter{Peer: k, State: core.OutWaiting, Limit: maxTogether})
	if err != nil {
		return nil, err
	}
	slices.Reverse(items) // the store gives the newest first
	reached := false
	for i, item := range items {
		mine := item.ID == id
		if queue.Err() != nil && !mine {
			return nil, errors.Join(errBehind, q.dueNow(ctx, item))
		}
		// An operator's envelope is a reason to try a silent peer at once, and so is one
		// that it has just taken; a time that the peer asked for is kept.
		if wait := item.Next.Sub(q.o.Now()); wait > 0 && (item.Answer != nil || id == "" && !reached) {
			if !holdsUp(item) {
				continue
			}
			e := core.Refuse(core.Unavailable, "waits behind an earlier envelope: "+item.Error)
			e.RetryAfter = wait
			return q.putOff(ctx, items[i:], id, e)
		}
		next, err := q.Attempt(ctx, item, mine)
		reached = reached || next.State == core.OutSent
		if next.State == core.OutWaiting && holdsUp(next) {
			items[i] = next
			return q.putOff(ctx, items[i:], id, err)
		}
		if mine {
			return next, err
		}
	}
	if id == "" {
		return nil, nil
	}
	item, err := q.o.Store.OutboxItem(ctx, id) // the background was faster
	if err != nil {
		return nil, err
	}
	return item, failureOf(item)
}

// maxQueue is how long somebody who has just sent an envelope waits for the earlier
// ones to leave. The envelope itself goes on waiting.
const maxQueue = 15 * time.Second

var errBehind = core.Refuse(core.Unavailable, "waits behind earlier envelopes to this peer")

// maxTogether bounds how many envelopes to one peer are looked at together.
const maxTogether = 10000

func holdsUp(item *core.OutboxItem) bool { return item.Answer == nil || item.Attempts < patience }

// putOff lets the envelopes behind the first of a line wait as long as that one.
// It returns the one with the id, if it is among them.
func (q *Queue) putOff(ctx context.Context, line []*core.OutboxItem, id string, why error) (*core.OutboxItem, error) {
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
	return mine, errors.Join(why, q.o.Gateway.Store(context.WithoutCancel(ctx), change))
}

// dueNow makes an envelope due that was put off for an earlier one.
func (q *Queue) dueNow(ctx context.Context, item *core.OutboxItem) error {
	now := q.o.Now().UTC()
	if item.Answer != nil || !item.Next.After(now) {
		return nil
	}
	next := *item
	next.Next = now
	return q.o.Gateway.Store(context.WithoutCancel(ctx), &core.Change{Outbox: []*core.OutboxItem{&next}})
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

// Attempt tries an envelope once and writes down what came of it. The error is why
// it was not delivered. first says that somebody waits for the outcome, who need
// not be told by an event.
func (q *Queue) Attempt(ctx context.Context, item *core.OutboxItem, first bool) (*core.OutboxItem, error) {
	unlock, err := q.locks.Lock(ctx, lockName{"item", item.Peer, item.ID})
	if err != nil {
		return item, err
	}
	defer unlock()
	fresh, err := q.o.Store.OutboxItem(ctx, item.ID)
	if err != nil {
		return item, err
	}
	if item = fresh; item.State != core.OutWaiting {
		return item, failureOf(item)
	}
	p := q.o.Gateway.Peer(item.Peer)
	next := *item
	now := q.o.Now().UTC()
	stop := func(why error, tell bool) (*core.OutboxItem, error) {
		next.State, next.Error, next.Done = core.OutExpired, why.Error(), now
		return &next, errors.Join(why, q.keepItem(ctx, &next, tell))
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
	if item.Attempts > 0 && q.hasReplied(ctx, item) {
		next.State, next.Done, next.Error = core.OutSent, now, ""
		return &next, q.keepItem(ctx, &next, false)
	}
	next.Attempts++
	got, err := q.deliver(ctx, p, &next)
	result := q.settle(ctx, p, &next, got, err)
	if err == nil || ctx.Err() == nil { // else we were cut short ourselves
		q.o.Gateway.Tried(p.Key, Unheard(result))
	}
	if next.State == core.OutWaiting && result != nil && next.Answer == nil && item.Next.After(now) { // tried before its time, which stays
		next.Attempts, next.Next = max(1, item.Attempts), item.Next
	}
	q.o.Logger.Info("envelope tried", "kind", next.Kind, "peer", p.Name(), "state", next.State, "attempt", next.Attempts, "err", next.Error)
	// What the peer has taken is written down even when our caller has gone.
	ctx = context.WithoutCancel(ctx)
	if next.State != core.OutSent && next.Kind == core.OutMessage {
		unlock, err := q.locks.Lock(ctx, lockName{"reply", p.Key, string(next.Nonce)})
		if err != nil {
			return &next, err
		}
		defer unlock()
		if q.hasReplied(ctx, &next) {
			next.State, next.Done, next.Error, result = core.OutSent, now, "", nil
		}
	}
	return &next, errors.Join(result, q.keepItem(ctx, &next, !first || next.Attempts > 1))
}

// hasReplied reports whether a message of ours was answered: who replies has it,
// whatever became of the answer to the envelope itself.
func (q *Queue) hasReplied(ctx context.Context, item *core.OutboxItem) bool {
	if item.Kind != core.OutMessage {
		return false
	}
	_, err := q.o.Store.Reply(ctx, item.Peer, item.Nonce)
	return err == nil
}

func (q *Queue) keepItem(ctx context.Context, item *core.OutboxItem, tell bool) error {
	change := &core.Change{Outbox: []*core.OutboxItem{item}}
	if tell && (item.State == core.OutRefused || item.State == core.OutExpired) {
		change.Events = append(change.Events, q.failed(item))
	}
	return q.o.Gateway.Store(ctx, change)
}

// failed is the event of an envelope that was given up.
func (q *Queue) failed(item *core.OutboxItem) *core.Event {
	data, err := json.Marshal(map[string]any{"outboxId": item.ID, "kind": item.Kind, "error": item.Error}, json.Deterministic(true))
	if err != nil {
		panic(err) // three texts always encode
	}
	return &core.Event{ID: ulid.Make().String(), Type: core.EventDeliveryFailed, At: q.o.Now().UTC(), Peer: item.Peer, By: core.Us,
		Text: "An envelope of ours could not be delivered.", Data: data}
}

// deliver signs and posts an envelope. The body of the last try is sent again while
// its time is fresh, so that the peer knows it for the same.
func (q *Queue) deliver(ctx context.Context, p *core.Peer, item *core.OutboxItem) (core.Answer, error) {
	now := q.o.Now()
	fresh := item.Body != nil && now.Sub(item.SignedAt).Abs() < q.o.Gateway.OutboxSettings().Window*3/4
	if !fresh {
		body, err := q.o.Gateway.Seal(p, item)
		if err != nil {
			return core.Answer{}, err
		}
		item.Body, item.SignedAt = body, now.UTC()
	}
	switch item.Kind {
	case core.OutMessage:
		return q.o.Transport.Post(ctx, p.URL, core.PathMessage, item.Body)
	case core.OutReply:
		return q.o.Transport.PostURL(ctx, item.URL, item.Body)
	default:
		return q.o.Transport.Post(ctx, p.URL, core.PathApprove, item.Body)
	}
}

// endpoints are what the queue posts to.
var endpoints = map[core.OutboxKind]answer.Endpoint{
	core.OutMessage: answer.Message, core.OutReply: answer.Reply, core.OutApprove: answer.Approve, core.OutReject: answer.Approve,
}

// settle decides what a try means for the envelope, and returns why it was not
// delivered.
func (q *Queue) settle(ctx context.Context, p *core.Peer, item *core.OutboxItem, got core.Answer, err error) error {
	s := q.o.Gateway.OutboxSettings()
	now := q.o.Now().UTC()
	item.Error, item.Answer = "", nil
	retry := time.Duration(0)
	if err == nil {
		j := q.Judge(ctx, p, endpoints[item.Kind], got, item.Attempts > 1)
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
	wait := max(core.Backoff(item.Attempts, s.First, s.Max), retry)
	if item.Next = now.Add(wait); item.Next.After(item.GiveUp) {
		item.State, item.Done = core.OutExpired, now
	}
	return err
}

func jsonOrNil(b []byte) core.Raw {
	if len(b) == 0 || !jsontext.Value(b).IsValid() {
		return nil
	}
	return b
}

// Unheard is err where it means that no gateway has spoken, else nil: one that says
// no is there.
func Unheard(err error) error {
	if errors.Is(err, core.Refused) {
		return nil
	}
	return err
}

// Judge says what a peer's answer to an envelope means. That an endpoint is missing
// counts only where the peer's own card stands. again says that the envelope was
// sent before.
func (q *Queue) Judge(ctx context.Context, p *core.Peer, to answer.Endpoint, a core.Answer, again bool) answer.Judged {
	j := answer.Judge(to, a, answer.Try{V2: p.V2, Again: again, Now: q.o.Now()})
	if j.Verdict == answer.NoEndpoint {
		if card, err := q.o.Transport.Card(ctx, p.URL, nil); err != nil || !strings.EqualFold(card.PublicKey, p.Key.String()) {
			j.Verdict = answer.Wait
		}
	}
	return j
}
