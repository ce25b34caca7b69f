// Package delivery is the durable queue between "kept" and "told". Every event
// that the gateway keeps is owed to every notifier; a Dispatcher tells each one
// until it says delivered, waits longer after each failure, and at last gives a
// delivery up for the operator to see. What is owed is in the store, so that a
// crash repeats a notice and loses none.
package delivery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Options are a dispatcher's settings. Zero durations mean the defaults.
type Options struct {
	Store  core.Store
	Logger *slog.Logger
	// Peer gives the record of an event's peer, or nil.
	Peer func(core.PublicKey) *core.Peer
	// Failed keeps an event of type delivery.failed. nil: none is made.
	Failed func(ctx context.Context, d *core.Delivery, detail string)
	Settings
	Limit time.Duration // of one call to a notifier; zero: 60 seconds
	Now   func() time.Time
}

// Settings are what the operator can change while notifiers are told. Zero fields
// mean the defaults.
type Settings struct {
	First  time.Duration // wait after the first failure; zero: core.DefaultDeliveryFirst
	Most   time.Duration // longest wait; zero: core.DefaultDeliveryMost
	GiveUp time.Duration // after which a delivery is dead; zero: core.DefaultDeliveryGiveUp
}

func (s *Settings) fill() {
	s.First = cmp.Or(s.First, core.DefaultDeliveryFirst)
	s.Most = cmp.Or(s.Most, core.DefaultDeliveryMost)
	s.GiveUp = cmp.Or(s.GiveUp, core.DefaultDeliveryGiveUp)
}

// Dispatcher tells notifiers. Safe for concurrent use.
type Dispatcher struct {
	o        Options
	settings atomic.Pointer[Settings]

	mu    sync.Mutex // guards the rest
	lines map[string]*line
	ctx   context.Context
	wg    sync.WaitGroup
}

// line is one notifier with the goroutine that tells it.
type line struct {
	n     core.Notifier
	wake  chan struct{}
	stop  context.CancelFunc
	after <-chan struct{} // closed when the predecessor of the same name has ended; nil: there is none
	done  chan struct{}   // closed when the line has ended; nil: it was never started
	state Health          // guarded by Dispatcher.mu
	until time.Time       // after a failure: no call before; the line's own
}

// Health is how a notifier does.
type Health struct {
	Name        string    `json:"name"`
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	LastFailure time.Time `json:"lastFailure,omitzero"`
	Failures    int       `json:"failures"` // in a row
	LastError   string    `json:"lastError,omitempty"`
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
	c := &Dispatcher{o: o, lines: map[string]*line{}}
	c.SetSettings(o.Settings)
	return c
}

// Settings are those in force.
func (c *Dispatcher) Settings() Settings { return *c.settings.Load() }

// SetSettings puts other settings in force, for what fails from now on.
func (c *Dispatcher) SetSettings(s Settings) {
	s.fill()
	c.settings.Store(&s)
}

// Set makes these the notifiers in force; one of the same name takes over what
// its predecessor was owed.
func (c *Dispatcher) Set(notifiers ...core.Notifier) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.lines
	c.lines = map[string]*line{}
	for _, n := range notifiers {
		l := &line{n: n, wake: make(chan struct{}, 1), state: Health{Name: n.Name()}}
		if was := old[n.Name()]; was != nil {
			l.state, l.after = was.state, was.done
			if was.done == nil {
				l.after = was.after
			}
		}
		c.lines[n.Name()] = l
	}
	for _, l := range old {
		if l.stop != nil {
			l.stop()
		}
	}
	if c.ctx != nil && c.ctx.Err() == nil {
		for _, l := range c.lines {
			c.start(l)
		}
	}
}

// start runs a line. Called with mu held.
func (c *Dispatcher) start(l *line) {
	ctx, stop := context.WithCancel(c.ctx)
	l.stop, l.done = stop, make(chan struct{})
	c.wg.Go(func() {
		defer close(l.done)
		defer stop()
		if l.after != nil {
			<-l.after // a notifier gets one call at a time
		}
		c.run(ctx, l)
	})
}

// Names are the notifiers in force.
func (c *Dispatcher) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(c.lines))
	for name := range c.lines {
		names = append(names, name)
	}
	return names
}

// Health says how each notifier does.
func (c *Dispatcher) Health() []Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Health, 0, len(c.lines))
	for _, l := range c.lines {
		out = append(out, l.state)
	}
	return out
}

// Wake makes every line look for work now.
func (c *Dispatcher) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Run tells notifiers until ctx is done.
func (c *Dispatcher) Run(ctx context.Context) error {
	c.mu.Lock()
	c.ctx = ctx
	for _, l := range c.lines {
		c.start(l)
	}
	c.mu.Unlock()
	c.lookForOrphans(ctx)
	c.mu.Lock()
	c.ctx = nil // nobody starts a line any more
	c.mu.Unlock()
	c.wg.Wait()
	return nil
}

const orphansEvery = time.Hour

// lookForOrphans gives up, until ctx is done, what is owed to notifiers that are
// not in force any more and have not come back in time.
func (c *Dispatcher) lookForOrphans(ctx context.Context) {
	timer := time.NewTimer(orphansEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := c.giveUpOrphans(ctx); err != nil && ctx.Err() == nil {
			c.o.Logger.Error("deliveries not given up", "err", err)
		}
		timer.Reset(orphansEvery)
	}
}

func (c *Dispatcher) giveUpOrphans(ctx context.Context) error {
	depths, err := c.o.Store.Depths(ctx)
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
			if now.Sub(d.Created) > c.settings.Load().GiveUp {
				next := *d
				next.Dead, next.Error = true, "no notifier of this name is configured"
				change.Deliveries = append(change.Deliveries, &next)
			}
		}
		if len(change.Deliveries) == 0 {
			continue
		}
		c.o.Logger.Warn("deliveries given up, as their notifier is not configured any more", "notifier", name, "count", len(change.Deliveries))
		if err := c.o.Store.Commit(ctx, change); err != nil {
			return err
		}
	}
	return nil
}

// readAtOnce is how many deliveries are read from the store at a time.
const readAtOnce = 128

func (c *Dispatcher) run(ctx context.Context, l *line) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
		wait := l.until.Sub(c.o.Now())
		if wait <= 0 {
			wait = c.round(ctx, l)
		}
		if ctx.Err() != nil {
			return
		}
		timer.Reset(wait)
	}
}

// round tells what is due, until something fails, and returns how long to wait
// for the next round.
func (c *Dispatcher) round(ctx context.Context, l *line) time.Duration {
	const afterError = 5 * time.Second
	l.until = time.Time{}
	due, err := c.o.Store.DueDeliveries(ctx, l.n.Name(), c.o.Now(), readAtOnce)
	more := len(due) > 0
	for err == nil && len(due) > 0 && l.until.IsZero() && ctx.Err() == nil {
		n := together(due, max(1, l.n.Batch()))
		err = c.tell(ctx, l, due[:n])
		due = due[n:]
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			c.o.Logger.Error("deliveries not kept", "notifier", l.n.Name(), "err", err)
		}
		return afterError
	case !l.until.IsZero():
		return max(l.until.Sub(c.o.Now()), time.Millisecond)
	case more:
		return 0
	}
	next, err := c.o.Store.NextDelivery(ctx, l.n.Name())
	switch {
	case err != nil:
		return afterError
	case next.IsZero():
		return time.Minute
	}
	return min(time.Minute, max(next.Sub(c.o.Now()), time.Millisecond))
}

// together is how many of the first deliveries go in one call: those for the
// same agent, that have failed as often.
func together(due []*core.Delivery, most int) int {
	n := 1
	for n < len(due) && n < most && recipient(due[n]) == recipient(due[0]) && due[n].Attempts == due[0].Attempts {
		n++
	}
	return n
}

func recipient(d *core.Delivery) string {
	if d.Event.Message != nil {
		return d.Event.Message.Message.ToAgent
	}
	return ""
}

// tell makes one call and writes down what came of it.
func (c *Dispatcher) tell(ctx context.Context, l *line, batch []*core.Delivery) error {
	notices := make([]core.Notice, len(batch))
	for i, d := range batch {
		notices[i] = core.Notice{Event: d.Event, Attempt: d.Attempts + 1}
		if c.o.Peer != nil && !d.Event.Peer.IsZero() {
			notices[i].Peer = c.o.Peer(d.Event.Peer)
		}
	}
	callCtx, cancel := context.WithTimeout(ctx, c.o.Limit)
	outcome := l.n.Notify(callCtx, notices)
	cancel()
	if ctx.Err() != nil && outcome.Status != core.OutcomeDelivered {
		return ctx.Err() // cut short by ourselves: no failure of the notifier's
	}
	if outcome.Status == core.OutcomeFailed && len(batch) > 1 {
		// One of them may be to blame: each alone then costs only itself.
		for i := range batch {
			if err := c.tell(ctx, l, batch[i:i+1]); err != nil || !l.until.IsZero() {
				return err
			}
		}
		return nil
	}
	now := c.o.Now().UTC()
	change := &core.Change{}
	var dead []*core.Delivery
	for _, d := range batch {
		if outcome.Status == core.OutcomeDelivered {
			change.Delivered = append(change.Delivered, d)
			continue
		}
		next := *d
		next.Attempts++
		next.Error = outcome.Detail
		next.Next = now.Add(max(core.Backoff(next.Attempts, c.settings.Load().First, c.settings.Load().Most), outcome.RetryAfter+c.settings.Load().First))
		if outcome.Status == core.OutcomeFailed || now.Sub(next.Created) > c.settings.Load().GiveUp {
			next.Dead = true
			dead = append(dead, &next)
		}
		change.Deliveries = append(change.Deliveries, &next)
	}
	failures := c.note(l, outcome, now, len(batch))
	l.until = time.Time{}
	if outcome.Status != core.OutcomeDelivered && outcome.Status != core.OutcomeFailed {
		// The notifier is left alone for a while, but for less than these notices
		// wait, so that the next try is another one's: one bad notice holds up
		// nobody for long.
		l.until = now.Add(max(core.Backoff(failures, c.settings.Load().First, c.settings.Load().Most)/2, outcome.RetryAfter))
	}
	// What was told is written down even when we are about to stop.
	if err := c.o.Store.Commit(context.WithoutCancel(ctx), change); err != nil && !errors.Is(err, core.NotFound) {
		return err
	}
	for _, d := range dead {
		c.o.Logger.Error("delivery given up", "notifier", l.n.Name(), "event", d.EventID, "type", d.Event.Type, "attempts", d.Attempts, "err", d.Error)
		if c.o.Failed != nil && d.Event.Type != core.EventDeliveryFailed {
			c.o.Failed(ctx, d, outcome.Detail)
		}
	}
	return nil
}

// note counts a call and returns how many have failed in a row.
func (c *Dispatcher) note(l *line, o core.Outcome, now time.Time, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Status == core.OutcomeDelivered {
		if l.state.Failures > 0 {
			c.o.Logger.Info("notifier works again", "notifier", l.n.Name(), "failures", l.state.Failures)
		}
		l.state.LastSuccess, l.state.Failures, l.state.LastError = now, 0, ""
		l.state.Delivered += uint64(n)
		return 0
	}
	if l.state.Failures == 0 {
		c.o.Logger.Warn("notifier failed", "notifier", l.n.Name(), "err", o.Detail)
	}
	l.state.LastFailure, l.state.LastError = now, o.Detail
	l.state.Failures++
	return l.state.Failures
}
