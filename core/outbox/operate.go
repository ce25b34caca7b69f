package outbox

import (
	"context"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Which chooses envelopes: one by ID, or those to a peer, or all.
type Which struct {
	ID   string
	Peer core.PublicKey // zero: to anybody
}

// Retry makes envelopes due now: those that wait, and by ID one that was refused or given
// up as well. It returns how many, and how many of them have their turn only after earlier
// ones to the same peer. The error is of kind NotFound for an ID of none, or Conflict for
// one that was sent.
func (q *Queue) Retry(ctx context.Context, w Which) (n, behind int, err error) {
	now := q.o.Now().UTC()
	first := map[core.PublicKey]string{} // the ID of the oldest that waits for a peer
	n, err = q.operate(ctx, w, func(item *core.OutboxItem, _ *core.Change) error {
		if item.State == core.OutSent {
			return core.Refusef(core.Conflict, "%s was sent", item.ID)
		}
		if item.State != core.OutWaiting { // once more, from the beginning: what ended it is over
			item.State, item.GiveUp, item.Done = core.OutWaiting, now.Add(q.o.Gateway.OutboxSettings().GiveUp), time.Time{}
			item.Error, item.Hint, item.Answered = "", "", false
		}
		if first[item.Peer] == "" {
			oldest, err := q.o.Store.Outbox(ctx, core.OutboxFilter{Peer: item.Peer, State: core.OutWaiting, Oldest: true, Limit: 1})
			if err != nil {
				return err
			}
			first[item.Peer] = item.ID
			if len(oldest) > 0 {
				first[item.Peer] = min(item.ID, oldest[0].ID)
			}
		}
		if first[item.Peer] != item.ID {
			behind++
		}
		item.Next, item.Answer, item.Asked = now, nil, false
		item.Ordered, item.NotPending = now, 0
		return nil
	}, func(k core.PublicKey) {
		q.waits(k, true)
		q.Alive(k)
	})
	return n, behind, err
}

// CancelBy gives up envelopes that wait, and returns how many. event makes what is kept in
// one step with each; nil: nothing. The error is of kind NotFound for an ID of none, or
// Conflict for one that does not wait.
func (q *Queue) CancelBy(ctx context.Context, w Which, why string, event func(*core.OutboxItem) *core.Event) (int, error) {
	now := q.o.Now().UTC()
	return q.operate(ctx, w, func(item *core.OutboxItem, change *core.Change) error {
		if item.State != core.OutWaiting {
			return core.Refusef(core.Conflict, "%s is not waiting: it is %s", item.ID, item.State)
		}
		item.State, item.Error, item.Hint, item.Answered, item.Done = core.OutExpired, why, "", false, now
		if event != nil {
			change.Events = append(change.Events, event(item))
		}
		return nil
	}, func(k core.PublicKey) { q.Wake(k) })
}

// operate changes envelopes, each while nobody tries it, and calls done for their peers.
func (q *Queue) operate(ctx context.Context, w Which, f func(*core.OutboxItem, *core.Change) error, done func(core.PublicKey)) (int, error) {
	peers := []core.PublicKey{w.Peer}
	if w.ID != "" {
		item, err := q.o.Store.OutboxItem(ctx, w.ID)
		if err != nil {
			return 0, err
		}
		peers[0] = item.Peer
	} else if w.Peer.IsZero() {
		var err error
		if peers, err = q.o.Store.WaitingPeers(ctx); err != nil {
			return 0, err
		}
	}
	n := 0
	for _, k := range peers {
		count, err := q.operatePeer(ctx, k, w.ID, f)
		if n += count; err != nil {
			return n, err
		}
		done(k)
	}
	return n, nil
}

func (q *Queue) operatePeer(ctx context.Context, k core.PublicKey, id string, f func(*core.OutboxItem, *core.Change) error) (int, error) {
	release, err := q.engine.Lease(ctx, k) // a try that is under way ends first
	if err != nil {
		return 0, err
	}
	defer release()
	ctx, leave, err := q.o.Leases.Wait(ctx, leaseOf(k), maxQueue) // also one on another node
	if err != nil {
		e := core.Refuse(core.Unavailable, "another node is sending to this peer, and has not finished")
		e.Hint, e.Err = "try again in a minute", err
		return 0, e
	}
	defer leave()
	change := &core.Change{}
	if id != "" {
		item, err := q.o.Store.OutboxItem(ctx, id)
		if err == nil {
			err = f(item, change)
		}
		if err != nil {
			return 0, err
		}
		change.Outbox = append(change.Outbox, item)
	} else if err := q.each(ctx, k, func(item *core.OutboxItem) {
		if f(item, change) == nil {
			change.Outbox = append(change.Outbox, item)
		}
	}); err != nil {
		return 0, err
	}
	if len(change.Outbox) == 0 {
		return 0, nil
	}
	return len(change.Outbox), q.o.Gateway.Store(ctx, change)
}
