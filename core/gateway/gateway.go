// Package gateway composes the mechanisms into a gateway: Receive is the way in,
// Send the way out, and between them the transitions that make and end a federation.
// Nothing is answered with success before what it means is on disk.
//
// A Gateway is made by New, which reads the state; its Run does the work that
// waits: envelopes of ours that are to be sent, checks, and pruning.
//
// docs/architecture.md
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/counts"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/freshness"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// Transport carries our envelopes to other gateways. Errors are of kind Unreachable
// when no answer came.
type Transport interface {
	Card(ctx context.Context, gatewayURL string, headers map[string]string) (core.Card, error)
	Ping(ctx context.Context, gatewayURL string) (core.Pong, error)
	Post(ctx context.Context, gatewayURL, path string, body []byte) (core.Answer, error)
	PostURL(ctx context.Context, url string, body []byte) (core.Answer, error)
	PollReply(ctx context.Context, gatewayURL string, nonce core.Nonce) (core.Answer, error)
}

// Store is what the gateway needs of a core.Store: it changes what is kept by Commit
// and Prune alone, and finds single things by name.
type Store interface {
	outbox.Store
	Commit(ctx context.Context, c *core.Change) error
	Events(ctx context.Context, after string, limit int) ([]*core.Event, error)
	Prune(ctx context.Context, c core.Cutoffs) error

	Peers(ctx context.Context) ([]*core.Peer, error)
	Receipt(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.Receipt, error)
	EachReceipt(ctx context.Context, since time.Time, most int, f func(core.Receipt)) error
	EachNonce(ctx context.Context, f func(hash uint64)) error
	InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error)
	OutboxByNonce(ctx context.Context, nonce core.Nonce) (*core.OutboxItem, error)
	OurReply(ctx context.Context, nonce core.Nonce) (*core.StoredReply, error)
	Meta(ctx context.Context, key string) (string, error)
}

// Options are what a gateway is made of.
type Options struct {
	Signer    core.Signer // signs as us
	Store     Store
	Transport Transport
	Settings  ours.Settings
	Version   string       // of this program, for the card
	Logger    *slog.Logger // nil: discarded
	Now       func() time.Time

	// Plugins gives the policies and handlers in force, in order. It is asked
	// once for each envelope. An error of kind Unavailable means that they are not
	// ready. nil: none.
	Plugins func() (Plugins, error)
	// Notifiers gives the names of the notifiers that are to be notified of every event.
	// nil: none.
	Notifiers func() []string
	// Alone says whether an event goes to a notifier in a call of its own. nil: none does.
	Alone func(notifier string) bool
	// Queued is called after events were stored with what is pending for notifiers, each with
	// its event, so that delivery need not read the store. nil: nobody waits.
	Queued func(pending []*core.Delivery)
	// Kept is called after each change, once everything shows it. nil: nobody watches.
	Kept func(c *core.Change)
	// Leases are of what one node alone does at a time. nil: there is one node alone.
	Leases *lease.Keeper
	Brake  *brake.Brake // bounds what agents that answer each other cost; nil: nothing does
	// AgentMost is what the agent may send to one peer, where several nodes share the store;
	// a refusal wraps core.Over. Nil: as much as it likes.
	AgentMost func() core.Limit
	// Elsewhere hears of each event that another node has kept. May be nil.
	Elsewhere func(*core.Event)
	// Record keeps what was decided. Nil: nothing is.
	Record Recorder
	// Redeem says whether a request follows an invite of ours that approves by
	// itself, and with which grants (none: the defaults). It takes one use. nil:
	// no invite does.
	Redeem func(in *core.Invited, accepter core.PublicKey) ([]core.Grant, bool)
}

// Recorder keeps what was decided, with the change that keeps the rest.
type Recorder interface {
	// Decided adds what was decided about a question; inboxID is of the message that is
	// kept, if one is.
	Decided(c *core.Change, q core.Question, v core.Verdict, inboxID string)
	// Forgotten lets go of all that was decided about a peer.
	Forgotten(c *core.Change, k core.PublicKey)
}

// Plugins are the policies and handlers in force.
type Plugins struct {
	Policies map[core.Hook][]core.Policy // by what they are asked about
	Handlers []core.Handler
}

// Gateway is one gateway, put together from its parts over one state. Safe for
// concurrent use.
type Gateway struct {
	*state
	*inbound
	*trust
	*replies
	*reach

	confirm *confirmer
}

// New makes a gateway from its store. It reads all peers, and of the receipts as
// many as the rate limits count. The memory of used nonces is filled by Run; until
// then the store is asked about each.
func New(ctx context.Context, o Options) (*Gateway, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &state{o: o, log: o.Logger, self: o.Signer.Public(), sealer: envelope.Sealer{Key: o.Signer, Now: o.Now}, started: o.Now(), changed: make(chan struct{}, 1)}
	s.others.Read, s.peers.Self = o.Store.Events, s.self
	s.SetSettings(o.Settings)
	s.fresh = &freshness.Guard{Window: s.settings.Load().Freshness.Window, Remember: s.settings.Load().Freshness.Remember, Now: o.Now}

	confirm := newConfirmer(s)
	s.plan = confirm.plan
	t := newTrust(s)
	confirm.trust = t
	r := &replies{state: s, trust: t, awaits: &lease.Awaits{Leases: o.Leases}}
	r.polls = queue.New(maxPollsAtOnce, r.pollForReply)
	s.outbox = outbox.New(outbox.Options{Leases: o.Leases, Gateway: outward{s, t, r}, Store: o.Store, Transport: o.Transport, Logger: o.Logger, Now: o.Now})
	s.peers.Alive = func(k core.PublicKey) { s.outbox.Alive(k) }
	g := &Gateway{state: s, trust: t, replies: r, inbound: &inbound{state: s, trust: t, replies: r}, reach: &reach{state: s, trust: t}, confirm: confirm}

	if err := s.readAll(ctx); err != nil {
		return nil, err
	}
	if s.memory.Shared() != nil { // which judges nonces and limits itself
		return g, nil
	}
	s.fresh.Expect()
	requests, span := s.limits()
	err := o.Store.EachReceipt(ctx, o.Now().Add(-span), requests, func(r core.Receipt) {
		if r.Intent != "" {
			g.scopes.Count(r.Peer, r.Intent, r.At, r.Bytes)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: read receipts: %w", err)
	}
	return g, nil
}

// SetSettings puts other settings in force, for envelopes from now on.
func (s *state) SetSettings(to ours.Settings) {
	to.Fill(s.self)
	if was := s.settings.Swap(&to); was != nil && (was.URL != to.URL || was.Names != to.Names) {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	if s.fresh != nil {
		s.fresh.SetTimes(to.Freshness.Window, to.Freshness.Remember)
	}
}

// Settings returns the settings in force.
func (s *state) Settings() ours.Settings { return *s.settings.Load() }

// Key is our public key.
func (s *state) Key() core.PublicKey { return s.self }

// Counters returns the gateway's counters.
func (s *state) Counters() *counts.Counters { return &s.counters }

// Started is when the gateway was made.
func (s *state) Started() time.Time { return s.started }

// runFill fills the memory of used nonces.
func (g *Gateway) runFill(ctx context.Context) {
	for start := time.Now(); g.memory.Shared() == nil && ctx.Err() == nil; core.Sleep(ctx, 30*time.Second) {
		err := g.fresh.Fill(func(add func(hash uint64)) error { return g.o.Store.EachNonce(ctx, add) })
		if err == nil {
			g.log.Debug("used nonces are in memory", "took", time.Since(start))
			return
		}
		if ctx.Err() == nil {
			g.log.Error("used nonces not read: the store is asked about each", "err", err)
		}
	}
}

// Close waits for what runs in the background. Run must have returned.
func (g *Gateway) Close() {
	g.trust.cancel()
	g.trust.background.Wait()
}

// Run does the work that waits until ctx is done.
func (g *Gateway) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	once := func(f func(context.Context)) func(context.Context) { return g.o.Leases.Under("schedule", f) }
	for _, f := range []func(context.Context){g.runFill, g.runFollow, func(ctx context.Context) { g.memory.Run(ctx, g.log) }, g.outbox.Run, g.o.Leases.Under(pollsLease, g.runPolls),
		g.o.Leases.Under("confirm", g.confirm.run), once(g.runChecks), once(g.runPrune), once(g.runDigest), once(g.runTell)} {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
	return nil
}
