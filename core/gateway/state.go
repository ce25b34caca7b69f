package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/budget"
	"github.com/opengatewayprotocol/ogp/core/counts"
	"github.com/opengatewayprotocol/ogp/core/digest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/follow"
	"github.com/opengatewayprotocol/ogp/core/freshness"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/locks"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// state is what the parts of a gateway share. What is kept changes in two ways
// alone: transition, for all that touches a peer, and keep, for what does not.
type state struct {
	o        Options
	log      *slog.Logger
	self     core.PublicKey
	sealer   envelope.Sealer
	fresh    *freshness.Guard
	settings atomic.Pointer[ours.Settings]
	peers    peers.Index
	watch    follow.Watchers
	others   follow.Log // what other nodes keep
	outbox   *outbox.Queue
	locks    locks.Set[lockName] // over the envelopes that are under way
	warned   budget.Warnings[lockName]
	counters counts.Counters
	started  time.Time
	plan     func(p *core.Peer) // of the confirmer: there may be something to ask
	changed  chan struct{}      // holds one when our URL or names have changed

	memory follow.State // of a store that other nodes share

	mu     sync.Mutex    // held over every transition, from read to commit
	digest digest.Digest // guarded by mu
}

// lockName is what a lock is about.
type lockName struct {
	what string // envelope, request, inbox; for warnings: what was said
	peer core.PublicKey
	name string
}

// step is a transition on its way: what it leaves behind beside the record.
type step struct {
	core.Change
	now    time.Time
	digest digest.Digest
}

// transition changes one peer, and what goes with it, in one commit. decide gets the
// record as it is now, nil for a stranger's, and gives the record as it is to be, or
// nil to leave it alone; an error keeps nothing. It returns the record that is in
// force then. decide must not wait: every other transition waits for it.
//
// docs/architecture.md#what-is-locked
func (s *state) transition(ctx context.Context, k core.PublicKey, decide func(p *core.Peer, st *step) (*core.Peer, error)) (*core.Peer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p *core.Peer
	err := s.decide(ctx, func(st *step) error {
		p = s.peers.Get(k)
		next, err := decide(p, st)
		if err != nil {
			return err
		}
		if next != nil {
			st.Peers = append(st.Peers, s.peers.Number(p, next, s.settings.Load().Notified())...)
		}
		if p != nil && (next != nil || slices.Contains(st.Forget, k)) {
			st.Expect = append(st.Expect, core.Expect{Peer: k, Revision: p.Revision})
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	return s.peers.Get(k), nil
}

// decide keeps what fill puts into a step; an error of it keeps nothing. fill is called
// again where another node has changed something meanwhile. Called with mu held.
func (s *state) decide(ctx context.Context, fill func(st *step) error) error {
	return s.memory.Decide(ctx, func() error {
		st := &step{now: s.o.Now().UTC(), digest: s.digest}
		st.Seen = s.memory.Seen()
		if err := fill(st); err != nil {
			return err
		}
		return s.commit(ctx, st)
	})
}

// commit keeps a step. Called with mu held.
func (s *state) commit(ctx context.Context, st *step) error {
	if !st.digest.Same(s.digest) {
		st.digest.Put(&st.Change)
	}
	if st.empty() {
		return nil
	}
	if s.o.Record != nil {
		for _, k := range st.Forget {
			s.o.Record.Forgotten(&st.Change, k)
		}
	}
	if err := s.keep(ctx, &st.Change); err != nil {
		if errors.Is(err, core.Replayed) { // another node has taken it
			s.fresh.Note(st.Receipt.Peer, st.Receipt.Nonce, st.Receipt.At)
		}
		return err
	}
	s.digest = st.digest
	for _, item := range st.Outbox {
		if item.State == core.OutWaiting {
			s.outbox.Wake(item.Peer)
		}
	}
	if st.Receipt != nil {
		s.fresh.Note(st.Receipt.Peer, st.Receipt.Nonce, st.Receipt.At)
	}
	for _, p := range st.Peers {
		s.plan(p)
	}
	return nil
}

func (st *step) empty() bool {
	return len(st.Peers)+len(st.Forget)+len(st.Events)+len(st.Outbox)+len(st.Inbox)+len(st.Replies)+len(st.Meta) == 0 && st.Receipt == nil
}

// remember lets a step keep that an envelope was answered.
func (st *step) remember(k core.PublicKey, nonce core.Nonce, digest [32]byte, a core.Answer) {
	st.Receipt = &core.Receipt{Peer: k, Nonce: nonce, Digest: digest, At: st.now, Status: a.Status, Answer: a.Body}
}

// change replaces a known peer's record by a changed copy.
func (s *state) change(ctx context.Context, k core.PublicKey, f func(*core.Peer) error) (*core.Peer, error) {
	return s.transition(ctx, k, func(p *core.Peer, _ *step) (*core.Peer, error) {
		if p == nil {
			return nil, errNoSuchPeer
		}
		next := p.Clone()
		return next, f(next)
	})
}

var errNoSuchPeer = core.Refuse(core.NotFound, "no such peer")

// keep commits a change with its events, tells the watchers, and wakes delivery.
// Every event of the change is pending for every notifier.
func (s *state) keep(ctx context.Context, c *core.Change) error {
	return s.keepFor(ctx, c, func(string) bool { return true })
}

// keepFor is keep for the notifiers that wanted accepts.
func (s *state) keepFor(ctx context.Context, c *core.Change, wanted func(notifier string) bool) error {
	var names []string
	if s.o.Notifiers != nil {
		names = s.o.Notifiers()
	}
	events := slices.Clone(c.Events)
	for _, m := range c.Inbox {
		if m.Status == core.InboxNew && m.Reply == nil {
			events = append(events, messageEvent(m))
		}
	}
	queued := make([]*core.Delivery, 0, len(events)*len(names))
	for _, e := range events {
		created := e.At
		if e.Message != nil && e.Message.Decided != nil { // it is let through now
			created = e.Message.Decided.At
		}
		for _, name := range names {
			if wanted(name) && !e.Quiet {
				d := &core.Delivery{EventID: e.ID, Notifier: name, Created: created, Event: *e}
				if s.o.Alone != nil && s.o.Alone(name) {
					d.Group = e.ID
				}
				queued = append(queued, d)
			}
		}
	}
	c.Deliveries = append(c.Deliveries, queued...)
	c.Fences = append(c.Fences, lease.Fences(ctx)...)
	if s.o.Leases.Shared() {
		s.others.Own(events)
	}
	if err := s.o.Store.Commit(ctx, c); err != nil {
		s.others.NotKept(events)
		s.o.Leases.Lost(err, c.Fences...)
		return notStored(err)
	}
	for _, p := range c.Peers {
		s.replace(p)
	}
	for _, k := range c.Forget {
		s.peers.Forget(k)
	}
	s.memory.Kept(c)
	s.tellOf(c, events, queued)
	return nil
}

// tellOf tells those who wait for it of a change that was kept.
func (s *state) tellOf(c *core.Change, events []*core.Event, queued []*core.Delivery) {
	for _, e := range events {
		s.watch.Tell(*e)
	}
	if len(queued) > 0 && s.o.Queued != nil {
		s.o.Queued(queued)
	}
	if s.o.Kept != nil {
		s.o.Kept(c)
	}
}

// runFollow tells those who wait for it of what other nodes keep.
func (s *state) runFollow(ctx context.Context) {
	if s.o.Leases.Shared() {
		s.others.Run(ctx, func(e core.Event) {
			s.watch.Tell(e)
			s.o.Brake.Elsewhere(&e)
			if s.o.Elsewhere != nil {
				s.o.Elsewhere(&e)
			}
			if s.o.Kept != nil { // whatever it is about has perhaps an answer
				s.o.Kept(&core.Change{Replies: []*core.StoredReply{{Peer: e.Peer}}})
			}
		})
	}
}

// once has a change kept by one node alone, though others may decide the same at this
// moment: the commit of the second is refused as Replayed.
func (s *state) once(c *core.Change, k core.PublicKey, what, name string) {
	if s.o.Leases.Shared() {
		c.Receipt = &core.Receipt{Peer: k, Nonce: bookkeeping(envelope.Shape(what), name), At: s.o.Now(), Answer: []byte{}}
	}
}

// notStored is what a failed commit means outside: not now, with a time to try
// again. What a store says of its disk stays in the log.
func notStored(err error) error {
	if errors.Is(err, core.Replayed) || errors.Is(err, core.Moved) || errors.Is(err, core.RateLimited) {
		return err
	}
	e := &core.Error{Kind: core.Unavailable, Public: "Cannot store now", RetryAfter: 30 * time.Second, Err: err}
	var said *core.Error
	if errors.As(err, &said) {
		e.Hint = said.Hint
		switch said.Kind {
		case core.Full:
			e.Kind, e.Public = core.Full, "No space to store it"
		case core.Internal, core.NotFound, core.Malformed:
			e.Kind, e.Public = core.Internal, ""
		}
		if said.RetryAfter > 0 {
			e.RetryAfter = said.RetryAfter
		}
	}
	return e
}

// answered gives the answer that is on record for a used nonce, if the bytes are
// the same, or it was a refusal: who signs a message anew, as the answer got lost, takes a
// Conflict for a yes. It returns an error of kind NotFound when the nonce is new after all.
func (s *state) answered(ctx context.Context, k core.PublicKey, n core.Nonce, digest [32]byte) (core.Answer, error) {
	// What has a nonce of its own, the commit judges, whatever other nodes have taken.
	if !s.fresh.Seen(k, n) && (s.memory.Shared() == nil || !strings.HasPrefix(string(n), bookkeptPrefix)) {
		return core.Answer{}, core.NotFound
	}
	r, err := s.o.Store.Receipt(ctx, k, n)
	if err != nil {
		return core.Answer{}, err
	}
	if r.Digest != digest && r.Status < http.StatusBadRequest {
		return core.Answer{}, core.Refuse(core.Conflict, "Nonce already used for another message")
	}
	return core.Answer{Status: r.Status, Body: r.Answer}, nil
}

// bookkeeping names an envelope in the memory of used nonces that has no nonce of
// its own there. No nonce of a peer's begins like it: see addressed.
func bookkeeping(shape envelope.Shape, what string) core.Nonce {
	return core.Nonce(bookkeptPrefix + string(shape) + ":" + what)
}

const bookkeptPrefix = "\x01"

func (s *state) opener(ctx context.Context) *envelope.Opener {
	return &envelope.Opener{Self: s.self, Near: s.fresh.Near, Verified: core.Verified(ctx)}
}

// to is the sealer for envelopes to a peer: one that has shown v2 gets no legacy
// signature. docs/threat-model.md#t11
func (s *state) to(p *core.Peer) *envelope.Sealer { return s.sealer.For(p.V2) }

// newID returns a ULID for now: ids sort by time.
func newID() string { return ulid.Make().String() }

// event makes an event about a peer; a nil peer makes one about none.
func (s *state) event(t core.EventType, p *core.Peer, by, text string, data any) *core.Event {
	e := &core.Event{ID: newID(), Type: t, At: s.o.Now().UTC(), By: by, Text: text}
	if p != nil {
		e.Peer = p.Key
		e.Then = p.Then()
	}
	if data != nil {
		e.Data = encode(data)
	}
	return e
}

// warn lets a step tell the operator something about a peer, once in a while.
func (s *state) warn(st *step, p *core.Peer, what string, every time.Duration, format string, args ...any) {
	if s.warned.Due(lockName{what, p.Key, ""}, st.now, every) {
		st.Events = append(st.Events, s.event(core.EventWarning, p, core.Them, fmt.Sprintf(format, args...), nil))
	}
}

// plugins gives the policies and handlers in force; while they are not ready,
// nobody can say. docs/threat-model.md#p3
func (s *state) plugins() (Plugins, error) {
	if s.o.Plugins == nil {
		return Plugins{}, nil
	}
	return s.o.Plugins()
}

// handled are the intents that handlers answer.
func (s *state) handled() (intents []string) {
	if plugins, err := s.plugins(); err == nil {
		for _, h := range plugins.Handlers {
			intents = append(intents, h.Intents()...)
		}
	}
	return intents
}

// limits are what the limits in force look back on: how many messages of one intent at
// the most, and for how long. Receipts are kept as long, and as long as a nonce must be
// remembered.
func (s *state) limits() (requests int, span time.Duration) {
	requests, span = core.DefaultRate.Requests, s.fresh.Span()
	look := func(grants []core.Grant) {
		n, back := scope.Counted(grants)
		requests, span = max(requests, n), max(span, back)
	}
	look(s.settings.Load().Grants)
	for _, p := range s.peers.Unsorted() {
		if p.Granted != nil {
			look(p.Granted.Scopes)
		}
	}
	return requests, span
}
