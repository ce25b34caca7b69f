package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// copyPage is how many rows of one kind are copied at a time.
const copyPage = 500

// copyWriters is how many receipts are on their way at a time: they share commits.
const copyWriters = 256

// copyKey is where a store says that a copy into it has begun, and was not compared yet.
const copyKey = "copy.into"

// Whole refuses a store that has half a copy.
func Whole(ctx context.Context, s core.Store) error {
	mark, err := s.Meta(ctx, copyKey)
	switch {
	case errors.Is(err, core.NotFound), err == nil && mark == "":
		return nil
	case err != nil:
		return err
	}
	return core.Refuse(core.Conflict, "store: a copy into this store was cut short, so it is incomplete").WithHint(
		`set "store" back to what it was, and run "ogp store migrate" again to continue the copy`)
}

// Copied says how much a copy has of each kind.
type Copied struct {
	Peers, Events, Receipts, Deliveries, Outbox, Replies int
	Before                                               bool // it was copied before, and was compared alone
}

// Progress is told how many rows of a step are done, the same step again with more of them.
// Several may call it at once.
type Progress func(step string, rows int)

// from counts the rows of a step, and tells of them.
func (p Progress) from(step string) func(rows int) {
	var n atomic.Int64
	return func(rows int) {
		if done := n.Add(int64(rows)); p != nil {
			p(step, int(done))
		}
	}
}

// by is told of each page that f takes.
func by[T any](done func(rows int), f func(page []T) error) func(page []T) error {
	return func(page []T) error {
		err := f(page)
		done(len(page))
		return err
	}
}

// stillThere is how long after it was heard of a gateway may be at work.
const stillThere = 10 * time.Second

// unused refuses a store that a gateway is at work on.
func unused(ctx context.Context, s core.Store) error {
	table, ok := s.(core.NodeTable)
	if !ok {
		return nil
	}
	nodes, err := table.Nodes(ctx)
	for _, n := range nodes {
		if n.Ago < stillThere {
			return core.Refusef(core.Conflict, "store: the gateway %s is at work on the database", n.ID).
				WithHint(fmt.Sprintf("stop all gateways that use it, and try again after %v", stillThere))
		}
	}
	return err
}

// Copy puts all that one store has into another, which is empty, or holds a copy that was
// cut short, at whatever moment. It compares both at the end, by their counts and by a hash
// of all; where the other has a whole copy already, it compares alone. Nobody else may use the
// two meanwhile. It returns an error of kind Conflict where the other store holds something
// else, where the one has half a copy itself, or where both differ in the end.
func Copy(ctx context.Context, from, to core.Store, tell Progress) (Copied, error) {
	for _, s := range []core.Store{from, to} {
		if err := unused(ctx, s); err != nil {
			return Copied{}, err
		}
	}
	if err := Whole(ctx, from); err != nil {
		return Copied{}, err
	}
	mark, err := to.Meta(ctx, copyKey)
	switch {
	case err == nil && mark == "":
		return again(ctx, from, to, tell)
	case errors.Is(err, core.NotFound):
		err = empty(ctx, to)
	}
	if err != nil {
		return Copied{}, err
	}
	if err := to.Commit(ctx, &core.Change{Meta: map[string]string{copyKey: "under way"}}); err != nil {
		return Copied{}, err
	}
	for _, part := range []func(ctx context.Context, from, to core.Store, tell Progress) error{copyPeers, copyLog, copyDeliveries, copyOutbox, copyReceipts, copyRest} {
		if err := part(ctx, from, to, tell); err != nil {
			return Copied{}, err
		}
	}
	n, err := compare(ctx, from, to, tell)
	if err != nil {
		return n, err
	}
	return n, to.Commit(ctx, &core.Change{Meta: map[string]string{copyKey: ""}})
}

// again compares a source with the copy of it that was finished before.
func again(ctx context.Context, from, to core.Store, tell Progress) (Copied, error) {
	n, err := compare(ctx, from, to, tell)
	n.Before = true
	if errors.Is(err, core.Conflict) {
		err = core.Refuse(core.Conflict, "store: the destination holds a copy that was finished, and differs from the source: a gateway has used one of them since").
			WithHint("to copy again, name an empty database, or move what is there away")
	}
	return n, err
}

// compare reads all of two stores. The error is of kind Conflict where they differ.
func compare(ctx context.Context, from, to core.Store, tell Progress) (Copied, error) {
	want, err := digest(ctx, from, tell.from("compared: read from the source"))
	if err != nil {
		return Copied{}, err
	}
	got, err := digest(ctx, to, tell.from("compared: read from the copy"))
	if err != nil {
		return Copied{}, err
	}
	if got != want {
		return got.n, core.Refusef(core.Conflict, "store: the copy differs from what was copied: %+v and %+v", got.n, want.n)
	}
	return got.n, nil
}

// empty refuses a store that holds something.
func empty(ctx context.Context, s core.Store) error {
	peers, err := s.Peers(ctx)
	if err != nil {
		return err
	}
	events, err := s.Events(ctx, "", 1)
	if err != nil {
		return err
	}
	outbox, err := s.Outbox(ctx, core.OutboxFilter{Limit: 1})
	if err != nil {
		return err
	}
	if len(peers)+len(events)+len(outbox) > 0 {
		return core.Refuse(core.Conflict, "store: the destination of the copy is not empty").
			WithHint("name an empty database, or move what is there away")
	}
	return nil
}

func copyPeers(ctx context.Context, from, to core.Store, tell Progress) error {
	done := tell.from("copied: peers")
	all, err := from.Peers(ctx)
	for len(all) > 0 && err == nil {
		n := min(len(all), copyPage)
		err = to.Commit(ctx, &core.Change{Peers: all[:n]})
		all = all[n:]
		done(n)
	}
	return err
}

// copyLog copies messages and other events in the order in which they were kept.
func copyLog(ctx context.Context, from, to core.Store, tell Progress) error {
	return eachEvent(ctx, from, by(tell.from("copied: messages and events"), func(page []*core.Event) error {
		c := &core.Change{}
		for _, e := range page {
			isMessage := e.Type == core.EventMessage
			// A change keeps its messages before its events.
			if isMessage && len(c.Events) > 0 || len(c.Events)+len(c.Inbox) >= copyPage {
				if err := to.Commit(ctx, c); err != nil {
					return err
				}
				c = &core.Change{}
			}
			if isMessage {
				c.Inbox = append(c.Inbox, e.Message)
			} else {
				c.Events = append(c.Events, e)
			}
		}
		return to.Commit(ctx, c)
	}))
}

// each calls f with page after page of what read gives, each from where the last ended.
func each[T any](read func(after string) ([]T, error), id func(T) string, f func(page []T) error) error {
	for after := ""; ; {
		page, err := read(after)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := f(page); err != nil {
			return err
		}
		after = id(page[len(page)-1])
	}
}

func eachEvent(ctx context.Context, s core.Store, f func(page []*core.Event) error) error {
	return each(func(after string) ([]*core.Event, error) { return s.Events(ctx, after, copyPage) },
		func(e *core.Event) string { return e.ID }, f)
}

func copyDeliveries(ctx context.Context, from, to core.Store, tell Progress) error {
	return eachDelivery(ctx, from, by(tell.from("copied: notices that wait"), func(page []*core.Delivery) error {
		return to.Commit(ctx, &core.Change{Deliveries: page})
	}))
}

func eachDelivery(ctx context.Context, s core.Store, f func(page []*core.Delivery) error) error {
	depths, err := s.Depths(ctx, 0)
	if err != nil {
		return err
	}
	names := maps.Clone(depths.DeliveriesByNotifier)
	maps.Copy(names, depths.DeadByName)
	for name := range names {
		err := each(func(after string) ([]*core.Delivery, error) {
			return s.Deliveries(ctx, core.DeliveryFilter{Notifier: name, After: after, Limit: copyPage})
		}, func(d *core.Delivery) string { return d.EventID }, f)
		if err != nil {
			return err
		}
	}
	return nil
}

func copyOutbox(ctx context.Context, from, to core.Store, tell Progress) error {
	return eachEnvelope(ctx, from, by(tell.from("copied: envelopes of ours"), func(page []*core.OutboxItem) error {
		return to.Commit(ctx, &core.Change{Outbox: page})
	}))
}

func eachEnvelope(ctx context.Context, s core.Store, f func(page []*core.OutboxItem) error) error {
	return each(func(after string) ([]*core.OutboxItem, error) {
		return s.Outbox(ctx, core.OutboxFilter{Oldest: true, After: after, Limit: copyPage})
	}, func(o *core.OutboxItem) string { return o.ID }, f)
}

// copyReceipts copies what peers have used. One that is there was copied before.
func copyReceipts(ctx context.Context, from, to core.Store, tell Progress) error {
	done := tell.from("copied: receipts")
	return eachReceipt(ctx, from, func(ctx context.Context, whole *core.Receipt) error {
		err := to.Commit(ctx, &core.Change{Receipt: whole})
		done(1)
		if errors.Is(err, core.Replayed) {
			return nil
		}
		return err
	})
}

// eachReceipt calls f with all of every receipt, of many at a time: each is read by itself.
func eachReceipt(ctx context.Context, s core.Store, f func(ctx context.Context, whole *core.Receipt) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan core.Receipt)
	var wg sync.WaitGroup
	for range copyWriters {
		wg.Go(func() {
			for r := range work {
				whole, err := s.Receipt(ctx, r.Peer, r.Nonce)
				if err == nil {
					whole.Bytes = r.Bytes
					err = f(ctx, whole)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	err := s.EachReceipt(ctx, time.Time{}, 0, func(r core.Receipt) {
		select {
		case work <- r:
		case <-ctx.Done():
		}
	})
	close(work)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// copyRest copies replies, Meta and KV, but for what from says of a copy into itself.
func copyRest(ctx context.Context, from, to core.Store, tell Progress) error {
	done := tell.from("copied: replies and plugins' values")
	return from.Dump(ctx, func(c *core.Change) error {
		delete(c.Meta, copyKey)
		done(len(c.Replies) + len(c.Meta) + len(c.KV))
		return to.Commit(ctx, c)
	})
}

// sum is a hash of everything in a store, in whatever order it is read.
type sum struct {
	n   Copied
	all [4]uint64
}

func (s *sum) add(kind string, v any) error {
	text, err := rows.Encode(v)
	if err != nil {
		return err
	}
	h := sha256.Sum256([]byte(kind + "\x00" + text))
	for i := range s.all {
		s.all[i] += binary.LittleEndian.Uint64(h[8*i:])
	}
	return nil
}

// adding is what takes in a page of a kind, and counts it in n.
func adding[T any](s *sum, n *int, kind string) func(page []T) error {
	return func(page []T) (err error) {
		for _, v := range page {
			*n++
			err = errors.Join(err, s.add(kind, v))
		}
		return err
	}
}

// digest reads everything in a store. How big a message was is not part of a receipt: not
// every store keeps it there.
func digest(ctx context.Context, s core.Store, done func(rows int)) (d sum, err error) {
	peers, err := s.Peers(ctx)
	if err != nil {
		return d, err
	}
	if err := adding[*core.Peer](&d, &d.n.Peers, "peer")(peers); err != nil {
		return d, err
	}
	err = eachEvent(ctx, s, by(done, func(page []*core.Event) (err error) {
		for _, e := range page {
			d.n.Events++
			err = errors.Join(err, d.add(fmt.Sprint("event ", d.n.Events), e), d.add("message", e.Message))
		}
		return err
	}))
	if err != nil {
		return d, err
	}
	if err := eachDelivery(ctx, s, by(done, adding[*core.Delivery](&d, &d.n.Deliveries, "delivery"))); err != nil {
		return d, err
	}
	if err := eachEnvelope(ctx, s, by(done, adding[*core.OutboxItem](&d, &d.n.Outbox, "envelope"))); err != nil {
		return d, err
	}
	var mu sync.Mutex // guards d
	err = eachReceipt(ctx, s, func(_ context.Context, whole *core.Receipt) error {
		mu.Lock()
		defer mu.Unlock()
		d.n.Receipts++
		done(1)
		whole.Bytes = 0
		return d.add("receipt", whole)
	})
	if err != nil {
		return d, err
	}
	err = s.Dump(ctx, func(c *core.Change) error {
		err := by(done, adding[*core.StoredReply](&d, &d.n.Replies, "reply"))(c.Replies)
		for key, value := range c.Meta {
			if key != copyKey {
				err = errors.Join(err, d.add("meta", [2]string{key, value}))
			}
		}
		for _, kv := range c.KV {
			err = errors.Join(err, d.add("value", kv))
		}
		return err
	})
	return d, err
}
