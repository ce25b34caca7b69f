// Package gateway composes the mechanisms into a gateway: Receive is the way in,
// Send the way out, and between them the moves that make and end a federation.
// Nothing is answered with success before what it means is on disk.
//
// A Gateway is made by New, which reads the state; its Run does the work that
// waits: envelopes of ours that are to be sent, checks, and pruning.
//
// docs/architecture.md
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/freshness"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/locks"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/scope"
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

// Options are what a gateway is made of.
type Options struct {
	Key       keys.Private
	Store     core.Store
	Transport Transport
	Settings  Settings
	Version   string       // of this program, for the card
	Logger    *slog.Logger // nil: discarded
	Now       func() time.Time

	// Plugins gives the policies and handlers in force, in order. It is asked
	// once for each envelope. An error of kind Unavailable means that they are not
	// ready. nil: none.
	Plugins func() (Plugins, error)
	// Notifiers gives the names of the notifiers that every event is owed to.
	// nil: none.
	Notifiers func() []string
	// Told is called after events were kept, so that delivery need not wait for
	// its clock. nil: nobody waits.
	Told func()
	// Redeem says whether a request follows an invite of ours that approves by
	// itself, and with which grants (none: the defaults). It takes one use. nil:
	// no invite does.
	Redeem func(in *core.Invited, accepter core.PublicKey) ([]core.Grant, bool)
}

// Plugins are the policies and handlers in force.
type Plugins struct {
	Policies map[core.Hook][]core.Policy // by what they are asked about
	Handlers []core.Handler
}

// Gateway is one gateway. Safe for concurrent use.
type Gateway struct {
	o        Options
	log      *slog.Logger
	self     core.PublicKey
	sealer   envelope.Sealer
	fresh    *freshness.Guard
	scopes   scope.Checker
	settings atomic.Pointer[Settings]
	peers    peerIndex
	watch    watchers
	started  time.Time

	transitions sync.Mutex // held over every move of trust, from read to commit

	locks  locks.Set[lockName] // over the envelopes that are under way
	outbox *outbox.Queue

	asks     requestLimits
	warned   warnings
	digest   digest // guarded by moves
	counters Counters

	background sync.WaitGroup
	stop       context.Context
	cancel     context.CancelFunc
}

// lockName is what a lock is about.
type lockName struct {
	what string // envelope, request, removed, inbox
	peer core.PublicKey
	name string
}

// Counters count envelopes by what came of them, for status and metrics.
type Counters struct {
	mu        sync.Mutex // guards all below
	verdict   map[[2]string]uint64
	questions uint64
	asked     time.Duration
}

// Policies is how many questions were put to policies, and how long the answers
// took together.
func (c *Counters) Policies() (questions uint64, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.questions, c.asked
}

func (c *Counters) askedPolicy(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.questions++
	c.asked += took
}

func (c *Counters) add(kind, verdict string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.verdict == nil {
		c.verdict = map[[2]string]uint64{}
	}
	c.verdict[[2]string{kind, verdict}]++
}

// Snapshot returns the counts by envelope and verdict.
func (c *Counters) Snapshot() map[[2]string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.verdict)
}

// New makes a gateway from its store. It reads all peers and the envelopes that
// the nonce memory and the rate limits still count.
func New(ctx context.Context, o Options) (*Gateway, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gateway{
		o: o, log: o.Logger, self: o.Key.Public(),
		sealer:  envelope.Sealer{Key: o.Key, Now: o.Now},
		started: o.Now(),
	}
	g.peers.alive = func(k core.PublicKey) { g.outbox.Alive(k) }
	g.outbox = outbox.New(outbox.Options{Gateway: outward{g}, Store: o.Store, Transport: o.Transport, Logger: o.Logger, Now: o.Now})
	g.stop, g.cancel = context.WithCancel(context.Background())
	g.SetSettings(o.Settings)
	s := g.settings.Load()
	g.fresh = &freshness.Guard{Window: s.Window, Remember: s.Remember, Now: o.Now}
	peers, err := o.Store.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("gateway: read peers: %w", err)
	}
	for _, p := range peers {
		g.peers.put(p)
	}
	if err := g.readDigest(ctx); err != nil {
		return nil, fmt.Errorf("gateway: read digest: %w", err)
	}
	now := o.Now()
	err = o.Store.EachReceipt(ctx, now.Add(-g.letterSpan()), func(l core.Receipt) {
		g.fresh.Note(l.Peer, l.Nonce, l.At)
		if l.Intent != "" {
			g.scopes.Count(l.Peer, l.Intent, l.At)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: read envelopes: %w", err)
	}
	return g, nil
}

// letterSpan is how long envelopes are kept: as long as a nonce must be
// remembered, and as long as the longest rate limit in force counts back.
func (g *Gateway) letterSpan() time.Duration {
	span := g.fresh.Span()
	longest := func(grants []core.Grant) {
		for _, grant := range grants {
			if grant.RateLimit != nil {
				span = max(span, min(grant.RateLimit.Window(), core.MaxRateWindow))
			}
		}
	}
	longest(g.settings.Load().Grants)
	for _, p := range g.peers.unsorted() {
		if p.Granted != nil {
			longest(p.Granted.Scopes)
		}
	}
	return span
}

// SetSettings puts other settings in force, for envelopes from now on.
func (g *Gateway) SetSettings(s Settings) {
	s.fill(g.self)
	g.settings.Store(&s)
	if g.fresh != nil {
		g.fresh.SetTimes(s.Window, s.Remember)
	}
}

// Settings returns the settings in force.
func (g *Gateway) Settings() Settings { return *g.settings.Load() }

// Key is our public key.
func (g *Gateway) Key() core.PublicKey { return g.self }

// Counters returns the gateway's counters.
func (g *Gateway) Counters() *Counters { return &g.counters }

// Started is when the gateway was made.
func (g *Gateway) Started() time.Time { return g.started }

// Close waits for what runs in the background. Run must have returned.
func (g *Gateway) Close() {
	g.cancel()
	g.background.Wait()
}

// Run does the work that waits until ctx is done.
func (g *Gateway) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, f := range []func(context.Context){g.outbox.Run, g.runChecks, g.runPrune, g.runDigest} {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
	return nil
}

// inBackground runs f in the background of the gateway's life.
func (g *Gateway) inBackground(f func(ctx context.Context)) {
	g.background.Go(func() { f(g.stop) })
}

func (g *Gateway) opener() *envelope.Opener {
	return &envelope.Opener{Self: g.self, Near: g.fresh.Near}
}

// newID returns a ULID for now: ids sort by time.
func newID() string { return ulid.Make().String() }

// keep commits a change with its events, tells the watchers, and wakes delivery.
// Every event of the change becomes owed to every notifier.
func (g *Gateway) keep(ctx context.Context, c *core.Change) error {
	return g.keepFor(ctx, c, func(string) bool { return true })
}

// keepFor is keep for the notifiers of which owed says so.
func (g *Gateway) keepFor(ctx context.Context, c *core.Change, owed func(notifier string) bool) error {
	var names []string
	if g.o.Notifiers != nil {
		names = g.o.Notifiers()
	}
	events := slices.Clone(c.Events)
	for _, m := range c.Inbox {
		if m.Status == core.InboxNew && m.Reply == nil {
			events = append(events, messageEvent(m))
		}
	}
	for _, e := range events {
		for _, name := range names {
			if !owed(name) {
				continue
			}
			c.Deliveries = append(c.Deliveries, &core.Delivery{EventID: e.ID, Notifier: name, Created: e.At})
		}
	}
	if err := g.o.Store.Commit(ctx, c); err != nil {
		return notKept(err)
	}
	for _, p := range c.Peers {
		old := g.peers.get(p.Key)
		g.peers.put(p)
		if old != nil && (old.URL != p.URL || old.Trust != p.Trust) {
			g.outbox.Alive(p.Key)
		}
	}
	for _, k := range c.Forget {
		g.peers.forget(k)
	}
	for _, e := range events {
		g.watch.tell(*e)
	}
	if len(events) > 0 && g.o.Told != nil {
		g.o.Told()
	}
	return nil
}

// notKept is what a failed commit means outside: not now, with a time to try
// again. What a store says of its disk stays in the log.
func notKept(err error) error {
	if errors.Is(err, core.Replayed) {
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

// event makes an event about a peer; a nil peer makes one about none.
func (g *Gateway) event(t core.EventType, p *core.Peer, by, text string, data any) *core.Event {
	e := &core.Event{ID: newID(), Type: t, At: g.o.Now().UTC(), By: by, Text: text}
	if p != nil {
		e.Peer = p.Key
	}
	if data != nil {
		e.Data = encode(data)
	}
	return e
}

// network is the block that requests from strangers are counted by: /24 for
// IPv4, /48 for IPv6; the zero prefix for addresses that say nothing.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	if !a.IsValid() || a.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits)
	return p
}
