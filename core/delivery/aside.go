package delivery

import (
	"context"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
)

// List finds deliveries: those that wait, and, with Dead alone, those that were set aside.
func (c *Dispatcher) List(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	if err := c.flush(ctx); err != nil {
		return nil, err
	}
	return c.o.Store.Deliveries(ctx, f)
}

// Retry makes deliveries due now and alive again, as if they were new, but in the same calls
// as before, of which an answer may be lost, and returns how many. The error is of kind
// NotFound when the filter finds none.
func (c *Dispatcher) Retry(ctx context.Context, f core.DeliveryFilter) (int, error) {
	names := map[string]bool{}
	now := c.o.Now().UTC()
	n, err := c.forAll(ctx, f, func(d *core.Delivery, change *core.Change) {
		next := *d
		next.Dead, next.Attempts, next.Error, next.Next, next.Created = false, 0, "", now, now
		change.Deliveries = append(change.Deliveries, &next)
		names[d.Notifier] = true
	})
	c.again(func(q *notifierQueue) bool { return names[q.n.Name()] })
	return n, err
}

// Drop forgets deliveries and returns how many. The events stay among the events. The
// error is of kind NotFound when the filter finds none.
func (c *Dispatcher) Drop(ctx context.Context, f core.DeliveryFilter) (int, error) {
	return c.forAll(ctx, f, func(d *core.Delivery, change *core.Change) {
		change.Delivered = append(change.Delivered, d)
	})
}

// forAll calls f for all deliveries of a filter and commits what it changes, page by page.
func (c *Dispatcher) forAll(ctx context.Context, filter core.DeliveryFilter, f func(*core.Delivery, *core.Change)) (n int, err error) {
	filter.Limit = 500
	for {
		page, err := c.List(ctx, filter)
		if err != nil {
			return n, err
		}
		full := len(page) == filter.Limit
		if full { // an event's deliveries that the page may have cut come with the next
			if last := page[len(page)-1].EventID; last != page[0].EventID {
				page = slices.DeleteFunc(page, func(d *core.Delivery) bool { return d.EventID == last })
			}
		}
		change := &core.Change{}
		for _, d := range page {
			f(d, change)
		}
		if len(page) > 0 {
			if err := c.commit(ctx, change); err != nil {
				return n, err
			}
			filter.After = page[len(page)-1].EventID
		}
		if n += len(page); !full {
			break
		}
	}
	if n == 0 {
		return 0, core.Refuse(core.NotFound, "no such delivery").
			WithHint(`"ogp delivery list --all" shows what waits and what was set aside`)
	}
	return n, nil
}
