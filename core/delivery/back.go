package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// reply keeps the answer that a notifier has brought back, and returns what the outcome is
// with that. The error is the store's.
func (c *Dispatcher) reply(ctx context.Context, q *notifierQueue, d *core.Delivery, outcome core.Outcome) (core.Outcome, error) {
	err := c.o.Reply(context.WithoutCancel(ctx), d, *outcome.Reply)
	var e *core.Error
	switch {
	case err == nil:
		return outcome, nil
	case errors.Is(err, core.Conflict), errors.Is(err, core.NotFound), errors.Is(err, core.NotApproved):
		c.o.Logger.Info("an answer from a notifier is ignored", "notifier", q.n.Name(), "event", d.EventID, "err", err)
		return outcome, nil
	case errors.Is(err, core.RateLimited):
		outcome.Status, outcome.Detail = core.OutcomeWorking, "the answer waits: "+err.Error()
		if errors.As(err, &e) {
			outcome.RetryAfter = e.RetryAfter
		}
		return outcome, nil
	case errors.Is(err, core.Malformed), errors.Is(err, core.TooLarge):
		outcome.Status, outcome.Detail = core.OutcomeFailed, "its answer cannot be sent: "+err.Error()
		return outcome, nil
	}
	return outcome, err
}

// workingFirst is when to ask again about what a notifier is at work on and named no time.
const workingFirst = 5 * time.Second

// working writes down that a notifier has taken a notice and is not done with it. It is
// asked again at its own pace, which holds up no other notice, and up to the time at which
// deliveries are given up.
func (c *Dispatcher) working(ctx context.Context, q *notifierQueue, batch []*core.Delivery, outcome core.Outcome) error {
	now := c.o.Now().UTC()
	wait := outcome.RetryAfter
	if wait <= 0 {
		wait = workingFirst
	}
	times := c.settings.Load().times()
	if !slices.ContainsFunc(batch, func(d *core.Delivery) bool { return !times.Over(d.Created, now) }) {
		outcome.Status = core.OutcomeFailed
		return c.failed(ctx, q, batch, outcome)
	}
	c.works(q, 0)
	change := &core.Change{}
	for _, d := range batch {
		next := *d
		next.Error, next.Next = outcome.Detail, now.Add(max(wait, time.Second))
		change.Deliveries = append(change.Deliveries, &next)
	}
	c.mu.Lock()
	if due := change.Deliveries[0].Next; q.next.IsZero() || due.Before(q.next) {
		q.next = due
	}
	c.mu.Unlock()
	if err := c.commit(context.WithoutCancel(ctx), change); err != nil && !errors.Is(err, core.NotFound) {
		return err
	}
	return nil
}
