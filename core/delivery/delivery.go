// Package delivery is the durable queue between the store and the notifiers. Every
// event that the gateway stores is pending for every notifier; a Dispatcher notifies
// each one until it says delivered, waits longer after each failure, and at last
// gives a delivery up for the operator to see. What is pending is in the store, so
// that a crash repeats a notice and loses none. A fresh event goes to its notifier from
// memory; the store is read after a start, a failure or an overflow.
//
// docs/operating.md#notices
package delivery

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// Options are a dispatcher's settings. Zero durations mean the defaults.
type Options struct {
	Store  core.Store
	Logger *slog.Logger
	Leases *lease.Keeper // who tells a notifier; nil: there is one node alone
	// Peer gives the record of an event's peer, or nil.
	Peer func(core.PublicKey) *core.Peer
	// Failed keeps an event of type delivery.failed. nil: none is made.
	Failed func(ctx context.Context, d *core.Delivery, detail string)
	// SetUp tells the operator, by others than the notifier, that it can tell nothing
	// until something is changed. It is called once until it works again. nil: nobody.
	SetUp func(ctx context.Context, notifier, detail string)
	// Reply keeps the answer that a notifier has brought back, in one step with the
	// delivery of the notice. nil: answers are left out.
	Reply func(ctx context.Context, d *core.Delivery, r core.Reply) error
	Settings
	Limit time.Duration // of one call to a notifier; zero: 60 seconds
	Now   func() time.Time
}

// Settings are what the operator can change while it runs, a part of the [delivery] table
// of the configuration. Zero fields mean the defaults.
type Settings struct {
	GiveUp time.Duration `koanf:"give_up" unit:"duration" check:"1s.." doc:"How long a notice is tried before it is set aside."`
	First  time.Duration `koanf:"first_retry" unit:"duration" check:"1ms.." doc:"The wait after the first failure; it doubles with each."`
	Most   time.Duration `koanf:"max_retry" unit:"duration" check:"1ms.." doc:"The longest wait between two tries."`
}

// Defaults are the settings of an operator who chooses none.
func Defaults() Settings {
	return Settings{GiveUp: 72 * time.Hour, First: time.Second, Most: 10 * time.Minute}
}

func (s *Settings) fill() {
	d := Defaults()
	s.GiveUp, s.First, s.Most = cmp.Or(s.GiveUp, d.GiveUp), cmp.Or(s.First, d.First), cmp.Or(s.Most, d.Most)
}

func (s *Settings) times() queue.Times { return queue.Times(*s) }

// Keyed reports whether a notifier's repeats are known for what they are, by their
// events' IDs: the backend knows a call that comes again. Such a notifier may be notified
// something twice after a crash, and several events in one call keep together.
func Keyed(n core.Notifier) bool {
	k, ok := n.(interface{ Keyed() bool })
	return ok && k.Keyed()
}

// Dispatcher tells notifiers. Safe for concurrent use.
type Dispatcher struct {
	o        Options
	settings atomic.Pointer[Settings]
	engine   *queue.Engine[string]
	noting   chan struct{} // holds a token when there is something to note

	mu     sync.Mutex // guards the rest
	queues map[string]*notifierQueue
	notes  map[note]core.Fence // what was delivered and is not written down yet
}

// notifierQueue is one notifier and what it is to be notified of.
type notifierQueue struct {
	n     core.Notifier
	state Health
	cut   context.CancelFunc // ends the call under way; nil: there is none
	fence core.Fence         // of the lease to tell it, as it was last had
	said  string             // by other nodes, as it was last read

	fresh  []*core.Delivery // from memory, oldest first
	behind bool             // the store holds what memory does not
	sweep  bool             // what the store holds is due, whatever was written down
	page   []*core.Delivery // read from the store, to be sent before fresh
	read   [2]map[string]bool
	next   time.Time     // when something that failed is due, by the wall clock; zero: nothing
	alone  time.Time     // until then, an event that goes alone is being kept
	took   time.Duration // of the last call

	until  time.Time // after a failure: no call before
	warned bool      // the operator knows of the set-up error
}

// Health is how a notifier does.
type Health struct {
	Name        string    `json:"name"`
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	LastFailure time.Time `json:"lastFailure,omitzero"`
	Failures    int       `json:"failures"` // in a row
	LastError   string    `json:"lastError,omitempty"`
	SetUp       bool      `json:"setUp,omitempty"` // the last error is of the set-up: it waits for the operator
	Delivered   uint64    `json:"delivered"`
}

// New returns a dispatcher that tells nobody yet.
func New(o Options) *Dispatcher {
	o.Limit = cmp.Or(o.Limit, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Dispatcher{o: o, queues: map[string]*notifierQueue{}, notes: map[note]core.Fence{}, noting: make(chan struct{}, 1)}
	c.engine = queue.New(maxAtOnce, c.work)
	c.SetSettings(o.Settings)
	return c
}

// maxAtOnce bounds how many notifiers are called at the same time.
const maxAtOnce = 64

// Settings are those in force.
func (c *Dispatcher) Settings() Settings { return *c.settings.Load() }

// SetSettings puts other settings in force, for what fails from now on.
func (c *Dispatcher) SetSettings(s Settings) {
	s.fill()
	c.settings.Store(&s)
}

// Set makes these the notifiers in force; one of the same name takes over what
// was pending for its predecessor, at once and whatever had failed before. One that has not
// changed goes on as it is.
func (c *Dispatcher) Set(notifiers ...core.Notifier) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.queues
	c.queues = map[string]*notifierQueue{}
	for _, n := range notifiers {
		was := old[n.Name()]
		if was != nil && was.n == n {
			c.queues[n.Name()] = was
			continue
		}
		q := &notifierQueue{n: n, state: Health{Name: n.Name()}, behind: true, sweep: true}
		if was != nil {
			q.state = was.state
			was.end()
		}
		c.queues[n.Name()] = q
		c.engine.Wake(n.Name())
	}
	for name, q := range old {
		if c.queues[name] == nil {
			q.end()
		}
	}
}

// end cuts the call under way. Called with mu held.
func (q *notifierQueue) end() {
	if q.cut != nil {
		q.cut()
	}
}

// Changed says that something outside has changed by which notifiers may work again: a
// token, say. What waits for them is tried now.
func (c *Dispatcher) Changed() { c.again(func(*notifierQueue) bool { return true }) }

// Names are the notifiers in force.
func (c *Dispatcher) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(c.queues))
	for name := range c.queues {
		names = append(names, name)
	}
	return names
}

// Health says how each notifier does.
func (c *Dispatcher) Health() []Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Health, 0, len(c.queues))
	for _, q := range c.queues {
		out = append(out, q.state)
	}
	return out
}

// Alone reports whether an event that is about to be kept goes to a notifier in a call of its
// own, as the notifier answers at once and nothing waits that could go with it. The delivery
// then says so from the first (core.Delivery.Group): what goes in one call is written down
// before it is made, and so that costs no commit more.
func (c *Dispatcher) Alone(notifier string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	q, now := c.queues[notifier], time.Now()
	if q == nil || !q.groups() || q.behind || q.took > atOnce || now.Before(q.alone) || c.o.Leases.Shared() {
		return false
	}
	if len(q.page)+len(q.fresh) >= maxAlone || slices.ContainsFunc(q.fresh, func(d *core.Delivery) bool { return d.Group == "" }) {
		return false
	}
	q.alone = now.Add(aloneWait)
	return true
}

const (
	// atOnce is how long a call takes of a notifier that answers at once. What comes for
	// others gathers meanwhile.
	atOnce = 20 * time.Millisecond
	// maxAlone bounds how many events wait that each go alone.
	maxAlone = 3
	// aloneWait bounds how long one that goes alone is waited for, as it may not be kept.
	aloneWait = time.Second
)

// maxFresh bounds what a queue holds in memory. Past it, the store is read.
const maxFresh = 1024

// Queued takes what has just been stored and is pending, each with its event, so that the
// store need not be read for it. Call it after the commit, never before.
func (c *Dispatcher) Queued(pending []*core.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range pending {
		q := c.queues[d.Notifier]
		if q != nil && d.Group != "" {
			q.alone = time.Time{}
		}
		switch {
		case q == nil, q.read[0][d.EventID], q.read[1][d.EventID]:
			continue
		case q.behind: // it is read with the others
		case len(q.fresh) >= maxFresh, c.o.Leases.Shared(): // in the order in which all nodes have kept them
			q.behind, q.fresh = true, nil
		default:
			q.fresh = append(q.fresh, d)
		}
		c.engine.Wake(d.Notifier)
	}
}

// Wake makes every queue look into the store.
func (c *Dispatcher) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, q := range c.queues {
		q.behind = true
		c.engine.Wake(name)
	}
}

// Run notifies until ctx is done, and then writes down what was delivered.
func (c *Dispatcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	c.mu.Lock()
	for name := range c.queues {
		c.engine.Wake(name)
	}
	c.mu.Unlock()
	wg.Go(func() { c.engine.Run(ctx) })
	wg.Go(func() { c.writeNotes(ctx) })
	wg.Go(func() { c.o.Leases.Under("schedule", c.runOrphans)(ctx) })
	wg.Wait()
	return c.flush(context.WithoutCancel(ctx))
}

const orphansEvery = time.Hour

func (c *Dispatcher) runOrphans(ctx context.Context) {
	_ = core.Every(ctx, orphansEvery, func(ctx context.Context) {
		if err := c.giveUpOrphans(ctx); err != nil && ctx.Err() == nil {
			c.storeFailed("deliveries not given up", err)
		}
	})
}

// giveUpOrphans gives up what is pending for notifiers that are not in force any more
// and have not come back in time.
func (c *Dispatcher) giveUpOrphans(ctx context.Context) error {
	if err := c.flush(ctx); err != nil {
		return err
	}
	depths, err := c.o.Store.Depths(ctx, 1) // for the names
	if err != nil {
		return err
	}
	names := c.Names()
	now := c.o.Now().UTC()
	for name := range depths.DeliveriesByNotifier {
		if slices.Contains(names, name) {
			continue
		}
		due, err := c.o.Store.DueDeliveries(ctx, name, now, 1000)
		if err != nil {
			return err
		}
		change := &core.Change{}
		for _, d := range due {
			if c.settings.Load().times().Over(d.Created, now) {
				next := *d
				next.Dead, next.Error = true, "no notifier of this name is configured"
				change.Deliveries = append(change.Deliveries, &next)
			}
		}
		if len(change.Deliveries) == 0 {
			continue
		}
		c.o.Logger.Warn("deliveries given up, as their notifier is not configured any more", "notifier", name, "count", len(change.Deliveries))
		if err := c.commit(ctx, change); err != nil {
			return err
		}
	}
	return nil
}
