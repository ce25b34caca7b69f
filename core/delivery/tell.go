package delivery

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

const (
	// readAtOnce is how many deliveries are read from the store at a time.
	readAtOnce = 128
	// afterError is how long to wait when the store fails.
	afterError = 5 * time.Second
	// outage is how many failures in a row are more than one bad notice: the first
	// success after them is a reason to try all that waits.
	outage = 3
)

// work sends what is pending for a notifier until something fails, and returns how long to
// wait.
func (c *Dispatcher) work(ctx context.Context, name string) time.Duration {
	c.mu.Lock()
	q := c.queues[name]
	if q == nil {
		c.mu.Unlock()
		return 0
	}
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	q.cut = cut
	c.mu.Unlock()
	if c.o.Leases.Shared() {
		return c.workShared(ctx, q)
	}
	return c.tellAll(ctx, q)
}

// workShared is tellAll while this node has the lease to tell the notifier.
func (c *Dispatcher) workShared(ctx context.Context, q *notifierQueue) time.Duration {
	under, release, err := c.o.Leases.Keep(ctx, "notifier/"+q.n.Name())
	if err != nil {
		return lease.AskEvery
	}
	defer release()
	c.follow(under, q)
	c.mu.Lock()
	q.behind, q.fresh = true, nil // other nodes keep something at any time
	c.mu.Unlock()
	wait := c.tellAll(under, q)
	if wait <= 0 || wait > lookEvery {
		wait = lookEvery
	}
	return wait
}

// lookEvery is how often to look for what other nodes have kept for a notifier.
const lookEvery = 500 * time.Millisecond

// tellAll sends what is pending for a notifier until something fails.
func (c *Dispatcher) tellAll(ctx context.Context, q *notifierQueue) time.Duration {
	for ctx.Err() == nil {
		if wait := c.paused(q); wait > 0 {
			return wait
		}
		batch, wait, err := c.batch(ctx, q)
		if err == nil && len(batch) == 0 {
			return wait
		}
		if err == nil {
			err = c.tell(ctx, q, batch)
		}
		if err != nil && ctx.Err() == nil {
			c.storeFailed("deliveries not stored", err, "notifier", q.n.Name())
			c.mu.Lock()
			q.behind, q.fresh, q.page = true, nil, nil
			c.mu.Unlock()
			return afterError
		}
	}
	return 0
}

// storeFailed logs that the store has failed. While it keeps nothing at all, that is said
// once, by who watches its health.
func (c *Dispatcher) storeFailed(what string, err error, more ...any) {
	level := slog.LevelError
	if c.o.Store.Health() != nil {
		level = slog.LevelDebug
	}
	c.o.Logger.Log(context.Background(), level, what, append(more, "err", err)...)
}

// paused is how long a notifier is left alone.
func (c *Dispatcher) paused(q *notifierQueue) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(q.until)
}

// batch is what is sent next, or after how long there is something; zero: when it comes.
func (c *Dispatcher) batch(ctx context.Context, q *notifierQueue) ([]*core.Delivery, time.Duration, error) {
	for ctx.Err() == nil {
		c.mu.Lock()
		from := &q.page
		if len(q.page) == 0 && !q.behind {
			from = &q.fresh
		}
		if len(*from) > 0 && q.grouped((*from)[0]) {
			batch := together(*from, max(1, q.n.Batch()))
			*from = slices.DeleteFunc(slices.Clone(*from), func(d *core.Delivery) bool { return slices.Contains(batch, d) })
			c.mu.Unlock()
			return batch, 0, nil
		}
		if len(*from) > 0 {
			due := slices.Clone((*from)[:min(len(*from), groupAtOnce)])
			c.mu.Unlock()
			if err := c.group(ctx, q, due); err != nil {
				return nil, 0, err
			}
			continue
		}
		wait := queue.Until(q.next, c.o.Now(), time.Minute)
		failed := !q.next.IsZero()
		if failed && wait == 0 {
			q.behind = true
		}
		behind := q.behind
		c.mu.Unlock()
		if !behind {
			if failed {
				return nil, max(wait, time.Millisecond), nil
			}
			return nil, 0, nil
		}
		if err := c.read(ctx, q); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, ctx.Err()
}

// read takes a page from the store. What comes meanwhile is in memory or on the page.
func (c *Dispatcher) read(ctx context.Context, q *notifierQueue) error {
	c.mu.Lock()
	q.behind, q.fresh = false, nil
	now := c.o.Now()
	if q.sweep {
		now = now.Add(farFuture)
	}
	c.mu.Unlock()
	if err := c.flush(ctx); err != nil {
		return err
	}
	name := q.n.Name()
	page, err := c.o.Store.DueDeliveries(ctx, name, now, readAtOnce)
	if err != nil {
		return err
	}
	full := len(page) == readAtOnce
	if full { // a group that the page may have cut is read with the next
		if group := page[len(page)-1].Group; group != "" && group != page[0].Group {
			page = slices.DeleteFunc(page, func(d *core.Delivery) bool { return d.Group == group })
		}
	}
	next := time.Time{}
	if !full {
		if next, err = c.o.Store.NextDelivery(ctx, name); err != nil {
			return err
		}
	}
	page = slices.DeleteFunc(page, c.noted)
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := make(map[string]bool, len(page))
	for _, d := range page {
		seen[d.EventID] = true
	}
	q.read = [2]map[string]bool{seen, q.read[0]}
	q.fresh = slices.DeleteFunc(q.fresh, func(d *core.Delivery) bool { return seen[d.EventID] })
	if q.page = page; full {
		q.behind, q.fresh = true, nil
		return nil
	}
	q.sweep = false
	q.next = time.Time{}
	if len(page) == 0 && next.After(c.o.Now()) { // else it is on its way
		q.next = next
	} else if len(page) > 0 {
		q.next = c.o.Now().Add(time.Second) // look for what else waits when these are sent
	}
	return nil
}

// farFuture makes everything due.
const farFuture = 100 * 365 * 24 * time.Hour

// together are those of the first deliveries that go in one call: a group that was sent
// together before, or those for the same agent that have failed as often.
func together(due []*core.Delivery, most int) []*core.Delivery {
	first := due[0]
	if first.Group != "" {
		var group []*core.Delivery
		for _, d := range due {
			if d.Group == first.Group {
				group = append(group, d)
			}
		}
		return group
	}
	n := 1
	for n < len(due) && n < most && due[n].Group == "" && recipient(due[n]) == recipient(first) && due[n].Attempts == first.Attempts {
		n++
	}
	return slices.Clone(due[:n])
}

func recipient(d *core.Delivery) string {
	if d.Event.Message != nil {
		return d.Event.Message.Message.ToAgent
	}
	return ""
}

// notice is what a notifier gets of a delivery: of its peer as it was when it happened.
func (c *Dispatcher) notice(d *core.Delivery) core.Notice {
	n := core.Notice{Event: d.Event, Attempt: d.Attempts + 1}
	if n.Event.Message != nil { // the same from memory and from the store
		n.Event.By = core.Them
	}
	if d.Event.Peer.IsZero() || c.o.Peer == nil {
		return n
	}
	then := d.Event.Then
	if m := d.Event.Message; m != nil { // what the peer calls itself may change between two tries
		then = &core.PeerThen{Alias: m.Alias, Trust: core.Approved}
	}
	if then == nil {
		n.Peer = c.o.Peer(d.Event.Peer)
	} else {
		n.Peer = &core.Peer{Key: d.Event.Peer, Alias: then.Alias, Trust: then.Trust, Names: then.Names, URL: then.URL}
	}
	return n
}

// grouped reports whether it is written down what goes in one call with a delivery. Who
// takes one event at a time, or knows no repeats, has nothing to keep.
func (q *notifierQueue) grouped(d *core.Delivery) bool { return d.Group != "" || !q.groups() }

func (q *notifierQueue) groups() bool { return Keyed(q.n) && q.n.Batch() > 1 }

// groupAtOnce bounds how many deliveries are put into calls by one commit.
const groupAtOnce = 512

// group writes down what is sent in which call, before it is, also where that is one event
// alone: whatever becomes of us or of an answer, they are sent again as the same calls.
// Those of one backlog are written by one commit.
func (c *Dispatcher) group(ctx context.Context, q *notifierQueue, due []*core.Delivery) error {
	change := &core.Change{}
	now := map[string]*core.Delivery{}
	for rest := due; len(rest) > 0; {
		call := together(rest, q.n.Batch())
		rest = slices.DeleteFunc(slices.Clone(rest), func(d *core.Delivery) bool { return slices.Contains(call, d) })
		if call[0].Group != "" {
			continue
		}
		for _, d := range call {
			next := *d
			next.Group = call[0].EventID
			now[d.EventID] = &next
			change.Deliveries = append(change.Deliveries, &next)
		}
	}
	if err := c.commit(context.WithoutCancel(ctx), change); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range [][]*core.Delivery{q.page, q.fresh} {
		for i, d := range list {
			if next := now[d.EventID]; next != nil {
				list[i] = next
			}
		}
	}
	return nil
}

// alone writes down that each of a call goes in one of its own.
func (c *Dispatcher) alone(ctx context.Context, batch []*core.Delivery) error {
	change := &core.Change{}
	for i, d := range batch {
		next := *d
		next.Group = d.EventID
		batch[i] = &next
		change.Deliveries = append(change.Deliveries, &next)
	}
	return c.commit(context.WithoutCancel(ctx), change)
}

// tell makes one call and writes down what came of it.
func (c *Dispatcher) tell(ctx context.Context, q *notifierQueue, batch []*core.Delivery) error {
	notices := make([]core.Notice, len(batch))
	for i, d := range batch {
		notices[i] = c.notice(d)
	}
	callCtx, cancel := context.WithTimeout(ctx, c.o.Limit)
	began := time.Now()
	outcome := q.n.Notify(callCtx, notices)
	cancel()
	c.mu.Lock()
	q.took = time.Since(began)
	c.mu.Unlock()
	if outcome.Reply != nil && outcome.Status == core.OutcomeDelivered && c.o.Reply != nil {
		var err error
		if outcome, err = c.reply(ctx, q, batch[0], outcome); err != nil {
			return err
		}
	}
	done, left := batch, []*core.Delivery(nil)
	if outcome.Status != core.OutcomeDelivered {
		done, left = apart(batch, outcome.Notified)
	}
	if err := c.notified(ctx, q, done); err != nil || len(left) == 0 {
		return err
	}
	batch = left
	switch {
	case outcome.Status == core.OutcomeWorking:
		return c.working(ctx, q, batch, outcome)
	case ctx.Err() != nil:
		return ctx.Err() // cut short by ourselves: no failure of the notifier's
	}
	if outcome.Status == core.OutcomeFailed && len(batch) > 1 {
		return c.tellApart(ctx, q, batch)
	}
	return c.failed(ctx, q, batch, outcome)
}

// notified notes what a notifier was notified of.
func (c *Dispatcher) notified(ctx context.Context, q *notifierQueue, done []*core.Delivery) error {
	if len(done) == 0 {
		return nil
	}
	c.works(q, len(done))
	c.noteNotified(done)
	if Keyed(q.n) {
		return nil
	}
	return c.flush(context.WithoutCancel(ctx)) // even when we are about to stop
}

// apart are those of a call that the notifier was notified of all the same, and the others.
func apart(batch []*core.Delivery, notified []string) (done, rest []*core.Delivery) {
	for _, d := range batch {
		if slices.Contains(notified, d.EventID) {
			done = append(done, d)
		} else {
			rest = append(rest, d)
		}
	}
	return done, rest
}

// tellApart tells several that were refused together one by one: one of them may be to
// blame, and each alone then costs only itself.
func (c *Dispatcher) tellApart(ctx context.Context, q *notifierQueue, batch []*core.Delivery) error {
	if batch[0].Group != "" {
		if err := c.alone(ctx, batch); err != nil {
			return err
		}
	}
	for i := range batch {
		if err := c.tell(ctx, q, batch[i:i+1]); err != nil {
			return err
		}
		if c.paused(q) > 0 { // the others are due as they were
			c.mu.Lock()
			q.page = append(slices.Clone(batch[i+1:]), q.page...)
			c.mu.Unlock()
			return nil
		}
	}
	return nil
}

// works notes that a call went well.
func (c *Dispatcher) works(q *notifierQueue, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.state.Failures > 0 {
		c.o.Logger.Info("notifier works again", "notifier", q.n.Name(), "failures", q.state.Failures)
	}
	if q.state.Failures >= outage || q.state.Failures > 0 && q.state.LastSuccess.IsZero() {
		q.behind, q.sweep = true, true // of an outage before our start we know no failures
	}
	q.state.LastSuccess, q.state.Failures, q.state.LastError, q.state.SetUp = c.o.Now().UTC(), 0, "", false
	q.state.Delivered += uint64(n)
	q.until, q.warned = time.Time{}, false
}

// failed writes down a call that did not go well, and leaves the notifier alone for a
// while unless the notice itself is to blame.
func (c *Dispatcher) failed(ctx context.Context, q *notifierQueue, batch []*core.Delivery, outcome core.Outcome) error {
	now := c.o.Now().UTC()
	times := c.settings.Load().times()
	change := &core.Change{}
	var dead []*core.Delivery
	// What was sent together stays together: due at one time, and given up with the newest.
	due := now.Add(max(times.Wait(batch[0].Attempts+1, 0), outcome.RetryAfter+times.First))
	over := outcome.Status == core.OutcomeFailed || !slices.ContainsFunc(batch, func(d *core.Delivery) bool { return !times.Over(d.Created, now) })
	for _, d := range batch {
		next := *d
		next.Attempts, next.Error, next.Next = next.Attempts+1, outcome.Detail, due
		if over {
			next.Dead = true
			dead = append(dead, &next)
		}
		change.Deliveries = append(change.Deliveries, &next)
	}
	first := c.pause(q, outcome, times, change.Deliveries)
	err := c.commit(context.WithoutCancel(ctx), change)
	if err != nil && !errors.Is(err, core.NotFound) {
		return err
	}
	if first && c.o.SetUp != nil && batch[0].Error != outcome.Detail { // else it was said before we were started
		c.o.SetUp(ctx, q.n.Name(), outcome.Detail)
	}
	for _, d := range dead {
		c.o.Logger.Error("delivery given up", "notifier", q.n.Name(), "event", d.EventID, "type", d.Event.Type, "attempts", d.Attempts, "err", d.Error)
		if c.o.Failed != nil && d.Event.Type != core.EventDeliveryFailed {
			c.o.Failed(ctx, d, outcome.Detail)
		}
	}
	return nil
}

// pause counts a failure and leaves the notifier alone for a while, but for less than
// these notices wait, so that the next try is another one's: one bad notice holds up
// nobody for long. It reports whether this is the first set-up error in a row.
func (c *Dispatcher) pause(q *notifierQueue, outcome core.Outcome, times queue.Times, tried []*core.Delivery) (firstSetUp bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.state.Failures == 0 {
		c.o.Logger.Warn("notifier failed", "notifier", q.n.Name(), "err", outcome.Detail)
	}
	q.state.LastFailure, q.state.LastError, q.state.SetUp = c.o.Now().UTC(), outcome.Detail, outcome.Status == core.OutcomeSetup
	q.state.Failures++
	for _, d := range tried {
		if !d.Dead && (q.next.IsZero() || d.Next.Before(q.next)) {
			q.next = d.Next
		}
	}
	if outcome.Status == core.OutcomeFailed {
		return false
	}
	q.until = time.Now().Add(max(core.Backoff(q.state.Failures, times.First, times.Most)/2, outcome.RetryAfter))
	if q.sweep = false; outcome.Status != core.OutcomeSetup || q.warned {
		return false
	}
	q.warned = true
	return true
}
