package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// note is a delivery that was notified of.
type note struct{ event, notifier string }

// noteNotified notes what a notifier has been notified of. The note is written down with the next
// change of the store, or within core.LazyWait: after a kill at that very moment the
// notifier hears it again, under the same key.
func (c *Dispatcher) noteNotified(batch []*core.Delivery) {
	c.mu.Lock()
	for _, d := range batch {
		c.notes[note{d.EventID, d.Notifier}] = true
	}
	c.mu.Unlock()
	select {
	case c.noting <- struct{}{}:
	default:
	}
}

// writeNotes writes down what was delivered until ctx is done.
func (c *Dispatcher) writeNotes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.noting:
		}
		if err := c.write(ctx, true); err != nil && ctx.Err() == nil {
			c.storeFailed("deliveries not written down", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(afterError):
			}
			c.noteNotified(nil) // once more
		}
	}
}

// flush writes all notes down now.
func (c *Dispatcher) flush(ctx context.Context) error { return c.write(ctx, false) }

func (c *Dispatcher) write(ctx context.Context, lazy bool) error {
	c.mu.Lock()
	change := &core.Change{Lazy: lazy}
	for n := range c.notes {
		change.Delivered = append(change.Delivered, &core.Delivery{EventID: n.event, Notifier: n.notifier})
	}
	c.mu.Unlock()
	if len(change.Delivered) == 0 {
		return nil
	}
	if err := c.o.Store.Commit(ctx, change); err != nil && !errors.Is(err, core.NotFound) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range change.Delivered {
		delete(c.notes, note{d.EventID, d.Notifier})
	}
	return nil
}

// noted reports whether a delivery was made and is only not written down yet.
func (c *Dispatcher) noted(d *core.Delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.notes[note{d.EventID, d.Notifier}]
}

// Depths are the lengths of the queues, each counted up to most, without what was delivered
// and is only not written down yet. Zero counts all.
func (c *Dispatcher) Depths(ctx context.Context, most int) (core.Depths, error) {
	if err := c.flush(ctx); err != nil && ctx.Err() != nil {
		return core.Depths{}, err
	}
	return c.o.Store.Depths(ctx, most)
}
