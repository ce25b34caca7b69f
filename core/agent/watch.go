package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// sentTo names a message of ours, as it and its answer are kept.
type sentTo struct {
	peer  core.PublicKey
	nonce core.Nonce
}

// watchers are those who wait for a message of ours to change.
type watchers struct {
	mu   sync.Mutex                       // guards list
	list map[sentTo]map[*watcher]struct{} // by what they wait for
}

type watcher struct{ changed func() }

// add has changed called at each change, until stop is.
func (w *watchers) add(of sentTo, changed func()) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.list == nil {
		w.list = map[sentTo]map[*watcher]struct{}{}
	}
	if w.list[of] == nil {
		w.list[of] = map[*watcher]struct{}{}
	}
	one := &watcher{changed}
	w.list[of][one] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.list[of], one); len(w.list[of]) == 0 {
			delete(w.list, of)
		}
	}
}

// wake calls those who wait for one message or, with an empty nonce, for any to a peer.
func (w *watchers) wake(of sentTo) {
	for key, all := range w.list {
		if key != of && (of.nonce != "" || key.peer != of.peer) {
			continue
		}
		for one := range all {
			one.changed()
		}
	}
}

// Kept takes note of a change, which wakes those who wait for one of our messages: the
// gateway calls it after each.
func (r *Role) Kept(c *core.Change) {
	w := &r.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) == 0 {
		return
	}
	for _, item := range c.Outbox {
		if item.Kind == core.OutMessage {
			w.wake(sentTo{item.Peer, item.Nonce})
		}
	}
	for _, reply := range c.Replies {
		if !reply.Ours {
			w.wake(sentTo{reply.Peer, reply.Nonce})
		}
	}
	for _, p := range c.Peers {
		w.wake(sentTo{peer: p.Key})
	}
	for _, k := range c.Forget {
		w.wake(sentTo{peer: k})
	}
}

// Watch has changed called, which must not wait, whenever something about a message of
// ours or its peer changes, until stop is called. What changes by time alone wakes nobody.
// The error is of kind NotFound for a message of none.
func (r *Role) Watch(ctx context.Context, id string, changed func()) (stop func(), err error) {
	item, err := r.ours(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.watchers.add(sentTo{item.Peer, item.Nonce}, changed), nil
}

// Follow waits until a message of ours stands otherwise than when it was last shown, at the
// most for a time or until ctx is done, and shows it. An answer that comes meanwhile is
// shown to the caller alone: the agent is not told of it.
func (r *Role) Follow(ctx context.Context, last api.AgentSent, most time.Duration) (api.AgentSent, error) {
	over := time.Now().Add(most)
	for {
		now, err := r.followOnce(ctx, last, over)
		if err != nil || now.State != last.State || now.Answered != last.Answered || !time.Now().Before(over) || ctx.Err() != nil {
			return now, err
		}
	}
}

// followOnce waits for one change.
func (r *Role) followOnce(ctx context.Context, last api.AgentSent, over time.Time) (api.AgentSent, error) {
	wait, cancel := context.WithDeadline(ctx, over)
	defer cancel()
	stop, err := r.Watch(ctx, last.ID, cancel)
	if err != nil {
		return last, err
	}
	defer stop()
	item, err := r.ours(ctx, last.ID)
	if err != nil {
		return last, err
	}
	now, err := r.sent(ctx, item, readBytes)
	if err != nil || now.State != last.State || now.Answered != last.Answered {
		return now, err
	}
	if _, err := r.o.Gateway.AwaitReply(wait, item); err != nil && !errors.Is(err, core.Unavailable) {
		return now, err
	}
	if item, err = r.ours(ctx, last.ID); err != nil {
		return last, err
	}
	return r.sent(ctx, item, readBytes)
}
